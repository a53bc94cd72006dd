"""Every tensor that the library makes states its dtype and its device, so that torch's defaults change nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from torch.utils._device import _device_constructors

import lemmse

SOURCES = sorted(Path(lemmse.__file__).parent.rglob("*.py"))
FACTORIES = {function.__name__.removeprefix("fft_") for function in _device_constructors()}


def unstated(source: str) -> list[tuple[int, str]]:
    """(line, what) of calls such as `torch.zeros(3)` that leave dtype or device to torch's defaults."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("torch.")):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        stated = {keyword.arg for keyword in node.keywords}
        if name in FACTORIES and not {"dtype", "device"} <= stated:
            missing.append((node.lineno, ast.unparse(node)))
    return missing


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_every_factory_states_dtype_and_device(path):
    assert not unstated(path.read_text(encoding="utf-8"))


def test_the_lint_sees_what_it_should():
    assert {"zeros", "tensor", "arange", "randperm", "fftfreq", "as_tensor", "eye"} <= FACTORIES
    assert unstated("torch.zeros(3)") == [(1, "torch.zeros(3)")]
    assert unstated("torch.fft.fftfreq(3, dtype=d)")
    assert not unstated("torch.zeros(3, dtype=torch.float64, device=d) + torch.zeros_like(x) + x.new_zeros(3)")
