"""Networks from names and files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lemmse
from lemmse.networks.loading import load_network

SOURCE = """
import torch

def double(z):
    return 2 * z

def scaled(z, sigma):
    return z * sigma

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
    def forward(self, z):
        return self.drop(z)

net = Net()
def made():
    return Net()
number = 3
"""
Z = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z):
        return z - self.conv(z)


class WithTensor(Plain):
    def forward(self, z, sigma: torch.Tensor):
        return z - self.conv(z) * sigma[:, None, None, None]


class WithNumber(Plain):
    def forward(self, z, sigma: float):
        return z - self.conv(z) * sigma


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(SOURCE)
    (tmp_path / "broken_networks.py").write_text("raise RuntimeError('no licence\\nmore')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    yield
    for name in ("my_networks", "broken_networks"):
        __import__("sys").modules.pop(name, None)


def test_a_function_of_the_current_folder(module):
    torch.testing.assert_close(load_network("my_networks:double")(Z), 2 * Z)
    torch.testing.assert_close(load_network("my_networks:scaled")(Z, 0.5), Z / 2)


@pytest.mark.parametrize("name", ["net", "Net", "made"])
def test_a_module_comes_in_eval_mode(module, name):
    net = load_network(f"my_networks:{name}")
    assert not net.training
    torch.testing.assert_close(net(Z), Z)


@pytest.mark.parametrize("kind", [Plain, WithTensor, WithNumber])
@pytest.mark.parametrize("traced", [False, True])
def test_torch_script_gives_what_the_module_gives(tmp_path, kind, traced):
    torch.manual_seed(0)
    net = kind().eval()
    takes = kind is not Plain
    if traced and kind is WithNumber:
        pytest.skip("tracing freezes numbers")
    saved = torch.jit.trace(net, (Z, torch.tensor([0.3, 0.3])) if takes else Z) if traced else torch.jit.script(net)
    torch.jit.save(saved, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    expected = net(Z, torch.full((2,), 0.2) if kind is WithTensor else 0.2) if takes else net(Z)
    torch.testing.assert_close(loaded(Z, 0.2) if takes else loaded(Z), expected)
    found = lemmse.probe(loaded)
    assert (found.receptive_field, found.border, found.takes_sigma) == (3, "zeros", takes)


@pytest.mark.parametrize("kind", [Plain, WithTensor])
def test_an_exported_program_gives_what_the_module_gives(tmp_path, kind):
    torch.manual_seed(0)
    net, auto = kind().eval(), torch.export.Dim.AUTO
    sizes = {2: auto, 3: auto}
    example = (Z[:1], torch.tensor([0.3]))[: 1 if kind is Plain else 2]
    program = torch.export.export(net, example, dynamic_shapes=(sizes, None)[: len(example)])
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = load_network(str(tmp_path / "net.pt2"))
    found = loaded(Z) if kind is Plain else loaded(Z, 0.2)
    torch.testing.assert_close(found, net(Z) if kind is Plain else net(Z, torch.full((2,), 0.2)))
    assert lemmse.probe(loaded).receptive_field == 3


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("my_networks:nothing", "cannot import my_networks:nothing: AttributeError"),
        ("no_such_module:net", "cannot import no_such_module:net: ModuleNotFoundError"),
        ("broken_networks:net", "cannot import broken_networks:net: RuntimeError: no licence$"),
        ("my_networks:number", "must be a function or a torch.nn.Module, got int"),
        ("nothing.pt", "a network is 'package.module:function' or the path of"),
        ("", "a network is 'package.module:function'"),
        (None, "a network is 'package.module:function' .* got None"),
        ("my_networks.py", "is no TorchScript file .*give 'package.module:function'"),
    ],
)
def test_bad_names_are_one_line(module, where, message):
    with pytest.raises(ValueError, match=message) as error:
        load_network(where)
    assert "\n" not in str(error.value)


def test_weights_alone_are_no_network(tmp_path):
    torch.save(Plain().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="weights alone are no network"):
        load_network(tmp_path / "weights.pt")
