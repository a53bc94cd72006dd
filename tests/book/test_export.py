"""What the page "Try it" loads: the export, and the modules under Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from lemmse.book import export
from tests.book.conftest import HOLE

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "book" / "_static" / "try"
BIOME = "@biomejs/biome@2.6.8"
ASSEMBLYSCRIPT = "assemblyscript@0.28.20"


def test_noise_is_normal_and_its_own_for_each_seed():
    noise = torch.cat([export.page_noise(seed) for seed in range(8)])
    assert noise.shape == (8, 1, 28, 28)
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.square().mean()) - 1) < 0.05
    assert torch.equal(export.page_noise(3), export.page_noise(3))
    assert not torch.equal(export.page_noise(3), export.page_noise(4))


def test_a_hole_and_a_drawing_survive_the_address():
    mask = export.page_physics("hole", HOLE).mask
    assert mask.shape == (28, 28)
    assert int((mask == 0).sum()) == 71
    assert bool((mask[8:15, 10:20] == 0).all())
    drawing = export.page_drawing("_" * 1046)
    assert drawing.shape == (1, 1, 28, 28)
    assert float(drawing.max()) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: export.page_images("validation"), "unknown split 'validation'"),
        (lambda: export.page_physics("melt"), "unknown operator 'melt'"),
        (lambda: export.page_physics("hole", "AAAA"), "hidden pixels must be base64 of 98 bytes, got 4 characters"),
        (lambda: export.page_drawing("a"), "gray values must be base64 of 784 bytes, got 1 characters"),
        (lambda: export.page_noise(-1), "seed must be an integer of at least 0, got -1"),
        (lambda: export.page_network("hole", "smoke"), "unknown operator of a trained network 'hole'"),
        (lambda: export.page_network("noise", "huge"), "unknown preset 'huge'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)


def test_export_is_what_the_library_has_and_is_light(cache, tmp_path):
    export.export_page(tmp_path, "smoke")
    folder = tmp_path / "_static" / "try" / "data"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    def array(name: str) -> torch.Tensor:
        about = manifest["arrays"][name]
        content = bytearray((folder / about["file"]).read_bytes())
        count = max(1, torch.Size(about["shape"]).numel())
        values = torch.frombuffer(content, dtype=torch.float32, count=count, offset=about["offset"])
        return values.reshape(about["shape"])

    assert torch.equal(array("training"), export.page_images())
    assert torch.equal(array("test"), export.page_images("test"))
    for operator in export.TRAINED_OPERATORS:
        for name, value in export.page_network(operator, "smoke").state_dict().items():
            assert torch.equal(array(f"{operator}/{name}"), value)
    assert (tmp_path / "_generated" / "try_it.png").read_bytes().startswith(b"\x89PNG")
    pages = sum(path.stat().st_size for path in [*folder.iterdir(), *MODULES.glob("*.*")])
    assert pages < 2_000_000


def run_node(*command: str) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if command[0] == "npx" and re.search("E?NOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH", done.stderr):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_modules_pass_their_unit_tests():
    run_node("node", "--test", "tests/js/")


def test_modules_are_linted_and_formatted():
    run_node("npx", "--yes", BIOME, "check", "--error-on-warnings", ".")


def test_webassembly_is_compiled_from_its_source(tmp_path):
    flags = "--enable simd --enable bulk-memory -O3 --runtime stub --noAssert --importMemory --memoryBase 0"
    compiled = tmp_path / "vote.wasm"
    run_node(
        *("npx", "--yes", "--package", ASSEMBLYSCRIPT, "asc", "book/_static/try/vote.ts"),
        *(*flags.split(), "-o", str(compiled)),
    )
    assert compiled.read_bytes() == (MODULES / "vote.wasm").read_bytes()
