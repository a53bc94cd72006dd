"""What the files around the package say of one another: versions, Python, licence, Binder, make."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_every_dependency_is_pinned_to_an_allowed_version():
    pins = {name(k): v for k, v in PINS.items()}
    extras = PYPROJECT["project"]["optional-dependencies"]
    for text in PYPROJECT["project"]["dependencies"] + extras["book"] + extras["test"]:
        requirement = Requirement(text)
        assert pins[name(requirement.name)] in requirement.specifier, text
    assert not [v for v in PINS.values() if "+" in v or "/" in v]
    assert not [k for k in PINS if k.startswith("nvidia")]


def test_binder_agrees():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    versions = dict(d.split("=") for d in environment["dependencies"] if "=" in d)
    assert versions["pytorch-cpu"] == PINS["torch"]
    assert versions["python"] + ".0" in SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert "-c constraints.txt" in (ROOT / "postBuild").read_text()
    assert os.access(ROOT / "postBuild", os.X_OK)


def test_python_versions_are_said_alike():
    allowed = SpecifierSet(PYPROJECT["project"]["requires-python"])
    minors = [m for m in range(5, 30) if f"3.{m}.0" in allowed]
    assert minors == [11, 12, 13]
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()
    for page in ("README.md", "book/run.md"):
        assert "Python 3.11, 3.12 or 3.13" in (ROOT / page).read_text()


def test_licence_and_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PYPROJECT["project"]["version"]
    assert citation["license"] == PYPROJECT["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_the_book_reads_the_config_of_the_root():
    assert os.readlink(ROOT / "book" / "_config.yml") == "../_config.yml"
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"


@pytest.mark.parametrize("python", ["", "/bin/false"])
def test_make_without_a_supported_python_says_so(tmp_path, python):
    """One line, exit code 2 of make, and no environment left behind."""
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    done = subprocess.run(
        ["make", "book", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "lemmse needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()
