"""The pages on the code: the reference names every module, the picture is current, and the worked examples run."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
import torch

import lemmse
from lemmse.book.docstrings import to_restructured_text
from lemmse.book.layers import WHAT, draw, layers
from lemmse.book.notebooks import Project, execute
from lemmse.book.reference import expanded, modules_of
from lemmse.engines.registry import ENGINES
from lemmse.estimators.pixels import PixelFeatures
from tests.conftest import PROJECT, random_images

BOOK = PROJECT.root / "book"
PAGE = (BOOK / "how_it_is_built.md").read_text(encoding="utf-8")
UNDOCUMENTED = {"lemmse.cli"}  # it prints its own help


def code_of(section: str) -> list[str]:
    """The blocks of Python in a section of the page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_reference_names_every_module():
    pages = "".join(expanded(path.read_text(encoding="utf-8")) for path in BOOK.glob("api_*.md"))
    listed = re.findall(r"automodule:: (\S+)", pages)
    package = PROJECT.root / "lemmse"
    modules = {
        ".".join(path.relative_to(PROJECT.root).with_suffix("").parts)
        for path in package.rglob("*.py")
        if not path.stem.startswith("_") and path.parent.name not in ("cpu", "cuda")
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == modules - UNDOCUMENTED


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"'lemmse\.nothing' is no package or module of lemmse"):
        modules_of("lemmse.nothing")


def test_the_overview_names_every_public_name():
    page = (BOOK / "api.md").read_text(encoding="utf-8")
    public = set(lemmse.__all__) - {"Physics", "Probe"}  # the base class, and a result
    assert {entry.rsplit(".", 1)[1] for entry in re.findall(r"^   ~(\S+)", page, re.MULTILINE)} >= public


def test_the_picture_of_the_layers_is_current():
    """If this fails: python -m lemmse.book.layers."""
    rows = layers(PROJECT.root)
    assert {name for row in rows for name in row} == set(WHAT)
    assert (BOOK / "images" / "layers.svg").read_text(encoding="utf-8") == draw(rows)


def test_the_files_that_the_page_names_exist():
    for path in re.findall(r"`((?:lemmse|notebooks)/[\w/]+\.\w+)`", PAGE):
        assert (PROJECT.root / path).exists() or path in ("lemmse/engines/plain/brute.py", "notebooks/90_more_noise.py")


def test_an_operator_of_ones_own():
    names: dict[str, object] = {}
    for block in code_of("Add your own operator"):
        exec(block, names)
    physics, x = names["physics"], random_images(2, 1, 6, 7)
    spectrum = physics.normal_spectrum(6, 7)
    normal = torch.fft.ifft2(spectrum * torch.fft.fft2(x)).real
    torch.testing.assert_close(physics.A_adjoint(physics.A(x)), normal)
    assert torch.isfinite(names["estimator"](names["y"], 0.1)).all()


@pytest.mark.parametrize("physics", [lemmse.Denoising(), lemmse.Inpainting((torch.arange(30) % 4 > 0).reshape(5, 6))])
def test_an_engine_of_ones_own(monkeypatch, physics):
    module = ModuleType("lemmse.engines.plain.brute")
    code, register = code_of("Add your own engine")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(PixelFeatures, "engines", PixelFeatures.engines)
    monkeypatch.setitem(ENGINES, "brute", None)
    exec(register, {})
    images = random_images(4, 2, 5, 6)
    pre_inverse = "identity" if isinstance(physics, lemmse.Denoising) else "pinv"
    plain, brute = (
        lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, pre_inverse=pre_inverse, engine=engine)
        for engine in ("torch", "brute")
    )
    assert brute.engine == "brute"
    y = physics.measure(images[:2], 0.2, generator=torch.Generator().manual_seed(0))
    expected, got = plain.posterior(y, 0.2, top_k=3), brute.posterior(y, 0.2, top_k=3)
    for field in ("mean", "variance", "log_density", "weights"):
        torch.testing.assert_close(getattr(got, field), getattr(expected, field))
    assert torch.equal(got.indices[..., 0, :], expected.indices[..., 0, :])


def test_a_chapter_of_ones_own(tmp_path, cache):
    (source,) = code_of("Add your own chapter")
    (tmp_path / "notebooks" / "presets").mkdir(parents=True)
    (tmp_path / "_config.yml").write_text("title: A book\n", encoding="utf-8")
    (tmp_path / "notebooks" / "presets" / "quick.yaml").write_text("", encoding="utf-8")
    path = tmp_path / "notebooks" / "90_more_noise.py"
    path.write_text(source, encoding="utf-8")
    project = Project(tmp_path)
    assert project.sources == [path]
    execute(project, path, project.preset("quick", path), tmp_path / "out.ipynb", progress=False)
    assert "least_noise" in (tmp_path / "out.ipynb").read_text(encoding="utf-8")


def test_docstrings_become_restructured_text():
    docstring = """Write `A x`s, $\\sigma^2$ and |x| * 2.

Code over `two
lines`:

    x | y * `z`

Args:
    x: a \\ b | c.

Example:
    >>> 2 * 3  # `not` code
    6
"""
    assert to_restructured_text(docstring.splitlines()) == [
        r"Write ``A x``\ s, :math:`\sigma^2` and \|x\| \* 2.",
        "",
        "Code over ``two",
        "lines``:",
        "",
        ".. code-block:: text",
        "",
        "    x | y * `z`",
        "",
        "Args:",
        r"    x: a \\ b \| c.",
        "",
        "Example:",
        "    >>> 2 * 3  # `not` code",
        "    6",
    ]
