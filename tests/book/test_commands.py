"""Every command of the pages runs as it is written: README, the page on running, the page on sweeps, each "Try it"."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lemmse.book.parameters import read_parameters
from lemmse.data.sets import DATASETS, is_here
from tests.conftest import PROJECT

ROOT = PROJECT.root
PAGES = [ROOT / "README.md", ROOT / "book" / "run.md", ROOT / "book" / "sweep.md"]
FENCE = re.compile(r"^```(?:bash|shell|sh)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(lemmse [^`]+)`")
ELSEWHERE = {  # what other tests run, and what needs a network, another machine or hours
    "lemmse book": "the fixture of the whole book, and tests of `make_book`",
    "lemmse bench": "tests/bench",
    "lemmse data fetch": "needs a network",
    "lemmse --help": "prints its help",
    "lemmse explain": "tests/analysis",
    "lemmse restore": "tests/analysis",
}
TRAINING = ("steps", "elsewhere_steps")  # smoke trains a few steps only, whatever a command asks for


def commands_of(text: str) -> list[str]:
    """The lines `lemmse ...` of the shell blocks, and the code `lemmse ...` in sentences, comments left out."""
    lines = [line.split(" #")[0].strip() for block in FENCE.findall(text) for line in block.splitlines()]
    in_prose = [" ".join(code.split()) for code in INLINE.findall(FENCE.sub("", text))]
    return [line for line in (*lines, *in_prose) if line.startswith("lemmse ")]


def all_commands() -> list[str]:
    """The commands of all pages and chapters, each once."""
    chapters = [re.sub(r"(?m)^# ?", "", path.read_text(encoding="utf-8")) for path in PROJECT.sources]
    texts = [*(page.read_text(encoding="utf-8") for page in PAGES), *chapters]
    return list(dict.fromkeys(command for text in texts for command in commands_of(text)))


def is_complete(command: str) -> bool:
    """Whether a command is one to type, not the name of one in a sentence, such as `lemmse run`."""
    return len(shlex.split(command)) > 2 and "..." not in command and "NOTEBOOK" not in command


RUNS = [command for command in all_commands() if command.startswith("lemmse run ") and is_complete(command)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder that counts as a checkout, so that what the commands write stays out of this one."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("_config.yml", "notebooks", "book", "results", "benchmarks"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    images = folder / "images"
    images.mkdir()
    for i in range(40):
        Image.radial_gradient("L").rotate(9 * i).resize((40, 40)).convert("RGB").save(images / f"{i:02}.png")
    return folder


def at_smoke(command: str, folder: Path) -> list[str]:
    """The words of a `lemmse run`, at the preset smoke, with a folder of images that exists."""
    words = shlex.split(command.replace("/path/to/images", str(folder / "images")))[1:]
    if "--preset" not in words:
        words += ["--preset", "smoke"]
    source = PROJECT.source(words[1])
    smoke = yaml.safe_load((ROOT / "notebooks" / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    known = {**{name: p.default for name, p in read_parameters(source).items()}, **(smoke.get(source.stem) or {})}
    for name in TRAINING:
        if name in words and name in known:
            words[words.index(name) + 1] = str(known[name])
    return words


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`lemmse WORDS` in the folder, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "lemmse", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def test_there_are_commands_for_every_chapter_that_can_be_changed():
    assert len(RUNS) >= 10


def test_every_other_command_is_run_somewhere():
    """A command that this file does not run must be one that another test runs, or that no test can."""
    others = [command for command in all_commands() if is_complete(command) and command not in RUNS]
    here = ("lemmse sweep ", "lemmse collect ", "lemmse plot ", "lemmse data list")
    unknown = [c for c in others if not c.startswith((*here, *ELSEWHERE))]
    assert not unknown


@pytest.mark.timeout(3000)  # some fifty runs, two at a time
def test_every_run_of_the_pages_is_written(checkout):
    """With a changed parameter a claim may fail; it is reported, the notebook is written, and the exit code is 0."""
    possible = [c for c in RUNS if all(is_here(name) for name in DATASETS if name in shlex.split(c))]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda command: run(at_smoke(command, checkout), checkout), possible))
    failed = {c: r.stderr[-600:] for c, r in zip(possible, results, strict=True) if r.returncode}
    assert not failed, "\n\n".join(f"{command}\n{error}" for command, error in failed.items())


@pytest.mark.timeout(900)
def test_the_commands_of_the_page_on_sweeps(checkout):
    """The grid of the page, one value of each list, is swept at smoke and listed, collected and plotted as it says."""
    page = (ROOT / "book" / "sweep.md").read_text(encoding="utf-8")
    grid = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", page, re.M | re.S).group(1))
    grid["product"] = {name: values[:1] for name, values in grid["product"].items()}
    (checkout / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    for command in commands_of(page):
        if not is_complete(command) or "tcp://" in command or command.startswith("lemmse run"):
            continue
        words = shlex.split(command)[1:]
        if words[0] == "sweep" and "--preset" not in words:
            words += ["--preset", "smoke"]
        result = run(words, checkout)
        assert result.returncode == 0, f"{command}\n{result.stderr[-600:]}"


def test_the_data_sets_are_listed(checkout):
    assert "photos" in run(["data", "list"], checkout).stdout
