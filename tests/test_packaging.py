"""The files around the package: they agree on versions, and Binder, make, the hooks and the wheel do what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from contextlib import nullcontext
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import lemmse

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
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


def load_post_build():
    loader = SourceFileLoader("post_build", str(ROOT / "postBuild"))
    spec = spec_from_loader("post_build", loader)
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        loader.exec_module(module)
    return module


def test_conda_chooses_torch_within_the_bounds_of_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    asked = {r.name: r.specifier for r in map(Requirement, environment["dependencies"])}
    needed = {r.name: r.specifier for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
    assert asked["python"] == SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert PINS["torch"] in asked["pytorch-cpu"], "what is tested must be among what conda may choose"
    assert str(needed["torch"]) in str(asked["pytorch-cpu"]), "the bounds of the package are among those of conda"
    assert not any(bound.operator in ("==", "===") for bound in asked["pytorch-cpu"])


def test_binder_keeps_what_conda_installed():
    """Every installed package is constrained to its own version, torch among them; all others to the tested ones."""
    post_build = load_post_build()
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    conda = {"torch": "2.10.0", "numpy": "2.3.5", "typing-extensions": "4.15.0"}
    lines = post_build.constraints(text, conda).splitlines()
    kept = {name(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert len(kept) == len(lines)
    assert kept == {name(k): v for k, v in PINS.items()} | conda
    assert post_build.constraints("", conda).split() == [f"{k}=={v}" for k, v in sorted(conda.items())]
    here = post_build.installed_versions()
    assert here["torch"] == version("torch")


@pytest.mark.parametrize(("answers", "calls", "fails"), [([0], 1, False), ([1, 0], 2, False), ([1, 1], 2, True)])
def test_binder_falls_back_to_versions_that_fit(monkeypatch, answers, calls, fails):
    post_build = load_post_build()
    seen = []

    def pip(command, check):
        assert "[book]" in command[-1]
        seen.append(Path(command[command.index("-c") + 1]).read_text(encoding="utf-8"))
        return subprocess.CompletedProcess(command, answers[len(seen) - 1])

    monkeypatch.setattr(post_build.subprocess, "run", pip)
    with pytest.raises(SystemExit, match="no versions") if fails else nullcontext():
        post_build.install()
    assert len(seen) == calls
    assert all(f"torch=={version('torch')}\n" in text for text in seen)
    assert f"papermill=={version('papermill')}\n" in seen[0]


def test_binder_runs_what_follows_the_installation(tmp_path, cache):
    """Beside a copy of the sources: a notebook for each chapter, and the networks of chapter 1 are in the cache."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("_config.yml", "postBuild"):
        shutil.copy(ROOT / file, tmp_path / file)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "postBuild", "--no-install", "--preset", "smoke"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    chapters = {p.stem for p in (tmp_path / "notebooks").glob("[0-9]*.py")}
    assert {p.stem for p in (tmp_path / "book" / "notebooks").glob("*.ipynb")} == chapters
    assert not (tmp_path / "build").exists()
    assert list(Path(os.environ["LEMMSE_CACHE"]).rglob("*.safetensors"))
    assert os.access(ROOT / "postBuild", os.X_OK)


def test_python_versions_are_said_alike():
    allowed = SpecifierSet(PYPROJECT["project"]["requires-python"])
    minors = [m for m in range(5, 30) if f"3.{m}.0" in allowed]
    assert minors == [11, 12, 13]
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "book/run.md"):
        assert "Python 3.11, 3.12 or 3.13" in (ROOT / page).read_text(encoding="utf-8")


def test_licence_and_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PYPROJECT["project"]["version"]
    assert citation["license"] == PYPROJECT["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_the_book_reads_the_config_of_the_root():
    assert os.readlink(ROOT / "book" / "_config.yml") == "../_config.yml"
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["execute"]["execute_notebooks"] == "off"


@pytest.mark.parametrize("python", ["", "/bin/false"])
def test_make_without_a_supported_python_says_so(tmp_path, python):
    """One line, exit code 2 of make, and no environment left behind."""
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_text((ROOT / file).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        ["make", "book", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "lemmse needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_hooks_run_what_make_lints():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == commands


def test_the_lint_of_layers_refuses_an_import_upward_and_a_package_without_a_layer(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lemmse", tmp_path / "lemmse", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def broken() -> str:
        done = subprocess.run(lint, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode else ""

    assert not broken()
    with (tmp_path / "lemmse" / "patches.py").open("a", encoding="utf-8") as file:
        file.write("\nimport lemmse.estimators.posterior\n")
    assert "lemmse.patches is not allowed to import lemmse.estimators" in broken()
    shutil.copy(ROOT / "lemmse" / "patches.py", tmp_path / "lemmse" / "patches.py")
    (tmp_path / "lemmse" / "nowhere.py").write_text("", encoding="utf-8")
    assert "lemmse.nowhere" in broken()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, Path]:
    """The sdist and the wheel made from it, by suffix, built from a copy so that the checkout stays as it is."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for folder in ("lemmse", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / file, source / file)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in built.iterdir()}


def test_a_wheel_holds_the_package_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[".whl"]) as wheel:
        names = {n for n in wheel.namelist() if ".dist-info/" not in n}
        metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    source = ROOT / "lemmse"
    assert names == {f"lemmse/{p.relative_to(source)}" for p in source.rglob("*") if is_source(p)}
    assert {"lemmse/py.typed", "lemmse/__init__.pyi"} <= names
    assert "Project-URL: Repository, https://github.com/lemmse/lemmse" in metadata


def is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory) -> Path:
    """A new environment that holds the wheel; its dependencies are those of this environment, the checkout is not."""
    folder = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(distributions[".whl"])], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return folder


def run_away_from_the_checkout(installed: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = [str(installed / "bin" / command[0]), *command[1:]]
    return subprocess.run(program, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_an_installed_wheel_restores_an_image(installed):
    code = """
import torch, lemmse
print(lemmse.__file__, lemmse.__version__)
images = lemmse.load_images("photos", count=4, size=16)
y = lemmse.Denoising().measure(images[:1], 0.1, generator=torch.Generator().manual_seed(0))
estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, engine="torch")
print(tuple(estimator(y, 0.1).shape))
"""
    done = run_away_from_the_checkout(installed, "python", "-c", code)
    file, number, *shape = done.stdout.split()
    assert Path(file).is_relative_to(installed), done.stderr
    assert number == PYPROJECT["project"]["version"]
    assert " ".join(shape) == "(1, 3, 16, 16)"


def test_an_installed_wheel_has_the_command_line(installed):
    version_line = run_away_from_the_checkout(installed, "lemmse", "--version")
    assert PYPROJECT["project"]["version"] in version_line.stdout
    assert "photos" in run_away_from_the_checkout(installed, "lemmse", "data", "list").stdout
    book = run_away_from_the_checkout(installed, "lemmse", "book")
    assert (book.returncode, len(book.stderr.splitlines())) == (2, 1), book.stderr
    assert "checkout" in book.stderr


def test_the_version_is_written_in_one_place():
    assert lemmse.__version__ == version("lemmse")
    assert "0.1.0" not in (ROOT / "lemmse" / "__init__.py").read_text(encoding="utf-8")


def test_the_change_log_has_the_version_or_what_is_unreleased():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PYPROJECT["project"]["version"] in headings


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.stem)
def test_workflows_use_commands_that_exist(path):
    """Every target of make and every folder of tests that a workflow names is there."""
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"run: make (\S+)", text)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(t == ".venv/.installed" or re.search(rf"^{t}:", makefile, re.MULTILINE) for t in targets)
    assert all((ROOT / t).exists() for t in re.findall(r"\btests(?:/\w+(?:\.py)?)+", text))
    assert yaml.safe_load(text)["jobs"]
