"""Parameters, presets, execution, keys, and what is kept when something fails; on tiny notebooks in a tiny checkout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from lemmse.book import build
from lemmse.book.build import BuildFailed, build_html, make_book, publish
from lemmse.book.claims import failed_claims
from lemmse.book.notebooks import NotebookFailed, Project, execute
from lemmse.book.parameters import Parameter, check_parameters, read_parameters
from lemmse.cli import cli
from tests.conftest import PROJECT

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A notebook

# %% tags=["parameters"]
preset: str = "quick"  # which sizes
n: int = 2  # how many
x: float = 0.5  # how much
names: list[str] = ["a"]  # which
data: str = "photos"  # from where
"""


@pytest.fixture
def project(tmp_path) -> Project:
    root = tmp_path / "checkout"
    for folder in ("notebooks/presets", "book"):
        (root / folder).mkdir(parents=True)
    (root / "_config.yml").write_text(
        "title: A book\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
    )
    (root / "book" / "_config.yml").symlink_to("../_config.yml")
    (root / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: notebooks/01_first\n")
    (root / "book" / "index.md").write_text("# A book\n\n{doc}`notebooks/01_first`\n")
    for preset in ("smoke", "quick", "paper"):
        (root / "notebooks" / "presets" / f"{preset}.yaml").write_text("01_first: {n: 3}\n")
    write(root, "print(n, x, preset)")
    return Project(root)


def write(root: Path, code: str, name: str = "01_first.py"):
    (root / "notebooks" / name).write_text(f"{HEADER}\n# %%\n{code}\n")


def run(project: Project, **values) -> bool:
    source = project.source("01")
    parameters = {**project.preset("smoke", source), **values}
    return execute(project, source, parameters, project.executed("smoke", source), progress=False)


def text(project: Project) -> str:
    return project.executed("smoke", project.source("01")).read_text()


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [0, -3], [1.0, "1", True, None]),
        ("float", [0.5, 2], ["1e-3", True, None, float("nan")]),
        ("str", ["a", ""], [1, None]),
        ("bool", [True], [1, "true"]),
        ("list[float]", [[0.1, 1]], [[], ["1e-3"], 0.1, [True]]),
        ("list[str]", [["a"]], ["a", [1]]),
    ],
)
def test_types(annotation, good, bad):
    parameter = Parameter(annotation, None)
    assert all(parameter.accepts(v) for v in good)
    assert not any(parameter.accepts(v) for v in bad)


@pytest.mark.parametrize(
    ("annotation", "words", "value"),
    [
        ("str", "2024", "2024"),
        ("str", "on", "on"),
        ("int", "010", 10),
        ("float", "1e-3", 1e-3),
        ("list[float]", "[0.1, 2]", [0.1, 2]),
        ("bool", "true", True),
        ("int", "1:30", "1:30"),
        ("int", "abc", "abc"),
        ("list[int]", "[1", "[1"),
        ("list[int]", "[010]", "[010]"),
        ("list[float]", "[1:30]", "[1:30]"),
        ("list[float]", "[1e3, -.5, 0.0, 1_0.0]", "[1e3, -.5, 0.0, 1_0.0]"),
    ],
)
def test_words_of_the_command_line(annotation, words, value):
    assert Parameter(annotation, None).parse(words) == value


def test_the_parameters_cell(project):
    found = read_parameters(project.source("01"))
    assert list(found) == ["preset", "n", "x", "names", "data"]
    assert found["x"] == Parameter("float", 0.5)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("n = 3", "name: type = literal"),
        ("n: int = 2.5", "name: type = literal"),
        ("n: Path = 1", "name: type = literal"),
        ("n: int = f()", "name: type = literal"),
        ("n: int = = 3", "no Python, line 1"),
    ],
)
def test_bad_parameters_cells(tmp_path, cell, message):
    path = tmp_path / "n.py"
    path.write_text(f'# %% tags=["parameters"]\n{cell}\n')
    with pytest.raises(ValueError, match=message):
        read_parameters(path)
    path.write_text("# %%\nn: int = 3\n")
    with pytest.raises(ValueError, match="0 cells tagged 'parameters'"):
        read_parameters(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"m": 1}, "no parameter 'm': it has preset, n, x, names, data"),
        ({"n": 1.5}, "n must be int, got 1.5"),
        ({"x": "1e-3"}, r"x must be float, got '1e-3' \(YAML reads 1e-3 as text"),
        ({"names": "a"}, r"names must be list\[str\], got 'a'"),
    ],
)
def test_bad_values(project, values, message):
    with pytest.raises(ValueError, match=message):
        check_parameters(project.source("01"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("01_furst: {n: 1}", "unknown notebook in smoke.yaml '01_furst': choose one of '01_first'"),
        ("[1]", "must map notebooks"),
        ("01_first: [n]", "must map notebooks"),
        ("01_first: {", "cannot read the preset"),
    ],
)
def test_bad_presets(project, content, message):
    (project.root / "notebooks" / "presets" / "smoke.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        run(project)


def test_names_of_notebooks(project):
    write(project.root, "1", "02_second.py")
    assert project.source("02") == project.source("02_second")
    write(project.root, "1", "10_tenth.py")
    write(project.root, "1", "02_twice.py")
    for name, message in (
        ("03", "unknown notebook '03': choose one of 01_first, 02_second, 02_twice, 10_tenth, or a path"),
        ("0", "unknown notebook '0'"),
        ("1", "unknown notebook '1'"),
        ("01_f", "unknown notebook '01_f'"),
        ("02", "ambiguous notebook '02'"),
    ):
        with pytest.raises(ValueError, match=message):
            project.source(name)
    with pytest.raises(ValueError, match="unknown preset 'huge'"):
        project.preset("huge", project.source("01"))
    with pytest.raises(ValueError, match="in no checkout"):
        Project.find(Path(project.root.anchor))
    assert Project.find(project.root / "book") == project


def test_execution_and_reuse(project):
    assert run(project) is False
    assert "3 0.5 smoke" in text(project)
    assert "papermill" not in json.loads(text(project))["metadata"]
    assert run(project) is True
    assert run(project, n=4) is False
    assert "4 0.5 smoke" in text(project)
    write(project.root, "print('other')")
    assert run(project, n=4) is False


def test_keys_see_the_results_and_the_notebooks_that_are_used(project, monkeypatch):
    def keys():
        return [project.key(project.source(name), {}) for name in ("01", "02", "03")]

    def changed_by(path: str, content: str):
        before = keys()
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / path).write_text(content)
        return [a != b for a, b in zip(before, keys(), strict=True)]

    write(project.root, "print('alone')")
    write(project.root, "from lemmse.book.results import show_campaign\nshow_campaign", "02_reads.py")
    write(project.root, "from lemmse.sweep import sweep\nsweep\nprint('swept.py')", "03_sweeps.py")
    assert changed_by("notebooks/cells/swept.py", "print('swept')") == [False, False, True]
    assert changed_by("notebooks/cells/other.py", "print('not swept')") == [False, False, False]
    assert changed_by("results/table.csv", "a\n1\n") == [False, True, False]
    write(project.root, "from lemmse.networks.weights import trained\ntrained")
    # the second reads weights too: where the images are at hand, a row of the campaign is measured again
    assert changed_by("results/weights/net.safetensors", "1") == [True, True, False]
    before = keys()
    monkeypatch.setenv("LEMMSE_WEIGHTS", str(project.root))
    assert [a != b for a, b in zip(before, keys(), strict=True)] == [True, True, False]


CLAIM = """
from lemmse.book.chapter import CHECK
CHECK({"the number is two": n == 2, "another statement": True}, preset, strict=strict)
print("after the claim")
"""


def command(project: Project, *arguments: str):
    return subprocess.run(
        [sys.executable, "-m", "lemmse", "run", "01", *arguments],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def claiming(project) -> Project:
    from lemmse.book import chapter

    check = "check_claim" if hasattr(chapter, "check_claim") else "judge"
    source = project.root / "notebooks" / "01_first.py"
    parameters = HEADER + "strict: bool = True  # whether a claim that fails is an error\n"
    source.write_text(f"{parameters}\n# %%{CLAIM.replace('CHECK', check)}", encoding="utf-8")
    for preset in ("quick", "smoke"):
        (project.root / "notebooks" / "presets" / f"{preset}.yaml").write_text("{}", encoding="utf-8")
    return project


def test_a_claim_that_fails_with_a_changed_parameter_is_reported_and_the_run_is_written(claiming):
    done = command(claiming, "-p", "n", "3", "-o", "mine.ipynb")
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip().splitlines()
    assert said[-2:] == ["the claim fails for these parameters: the number is two", "wrote mine.ipynb"]
    written = (claiming.root / "mine.ipynb").read_text(encoding="utf-8")
    assert "FAILS: the number is two" in written
    assert "after the claim" in written
    assert "the claim fails" in command(claiming, "-p", "n", "3", "-o", "mine.ipynb").stderr, "when re-used, too"


@pytest.mark.parametrize("how", [["--strict"], ["-p", "strict", "True"]])
def test_strict_makes_it_an_error(claiming, how):
    done = command(claiming, "-p", "n", "3", "-o", "mine.ipynb", *how)
    assert done.returncode == 1
    assert "the claim fails: the number is two" in done.stderr.strip().splitlines()[-1]
    assert not (claiming.root / "mine.ipynb").exists()


def test_the_claim_binds_the_presets(claiming):
    """Nothing is changed, or only in name: a claim that fails is an error."""
    (claiming.root / "notebooks" / "presets" / "quick.yaml").write_text("01_first: {n: 3}", encoding="utf-8")
    for arguments in ([], ["-p", "n", "3"]):
        done = command(claiming, *arguments, "-o", "mine.ipynb")
        assert done.returncode == 1
        assert "the claim fails: the number is two" in done.stderr


def test_statements_on_several_lines_are_put_together():
    output = {"output_type": "stream", "name": "stdout", "text": "Holds: a\nFAILS: b and\n       c\nFAILS: d\nend\n"}
    assert failed_claims({"cells": [{"outputs": [output]}, {}]}) == ["b and c", "d"]


def test_a_book_without_chapters_says_what_to_run(project):
    book = project.root / "book"
    config = project.root / "_config.yml"
    extra = "sphinx: {extra_extensions: [lemmse.book.fresh_clone]}\n"
    config.write_text(config.read_text(encoding="utf-8") + extra, encoding="utf-8")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(book)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "1 chapters have not been executed, notebooks/01_first first: run `make book`" in done.stdout + done.stderr
    real = yaml.safe_load((PROJECT.root / "_config.yml").read_text(encoding="utf-8"))
    assert "lemmse.book.fresh_clone" in real["sphinx"]["config"]["extensions"]


def test_retraining_uses_neither_committed_weights_nor_the_cache(project, monkeypatch):
    monkeypatch.setattr(build, "publish", lambda *_: None)
    monkeypatch.setattr(build, "build_html", lambda *_: Path("html"))
    code = "import os\nfrom lemmse.networks.weights import trained\n"
    write(project.root, code + "print('folder', os.environ.get('LEMMSE_WEIGHTS'), trained)")
    folders = []
    for retrain in (False, True, True, False):
        make_book(project, "smoke", lambda _: None, retrain=retrain)
        folders.append(re.search(r"folder (\S+) ", text(project))[1])
    assert folders[0] == folders[3] == "None"
    assert "None" not in folders[1:3]
    assert folders[1] != folders[2], "each time in a new folder"
    assert not list((project.root / "build" / "retrained").iterdir())
    assert "LEMMSE_WEIGHTS" not in os.environ


def test_file_names_that_are_no_utf_8(project, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/\xff.png", "wb"):
        pass
    project.key(project.source("01"), {"data": str(folder)})
    with pytest.raises(ValueError, match=r"data must be UTF-8 text, got '/\\udcff'") as caught:
        check_parameters(project.source("01"), {"data": "/\udcff"})
    str(caught.value).encode("ascii", "strict")


def test_reuse_sees_the_images_of_the_user(project, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    run(project, data=str(pictures))
    assert run(project, data=str(pictures)) is True
    (pictures / "0.png").write_bytes(b"new")
    assert run(project, data=str(pictures)) is False


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "# a comment\nraise ValueError('n is\\nbad')",
            r"code cell 2, line 2 \(\"raise ValueError.*raised ValueError: n is bad",
        ),
        (
            "assert True\n\ndef check(x):\n    assert x < 2, 'too large'\n\nfor i in range(3):\n    check(\n        i)",
            r"code cell 2, line 7 \('check\( i\)'\) raised AssertionError: too large",
        ),
        ("x = = 1", r"code cell 2, line 1 \('x = = 1'\) raised SyntaxError"),
        ("import os; os._exit(9)", "kernel died"),
    ],
)
def test_a_notebook_that_fails(project, code, said):
    run(project)
    good = text(project)
    write(project.root, code)
    with pytest.raises(NotebookFailed, match=f"01_first: .*{said}") as caught:
        run(project)
    assert "\n" not in str(caught.value)
    assert text(project) == good
    assert (project.root / "build" / "failed" / "01_first.ipynb").exists()
    assert not list((project.root / "build" / "running").iterdir())
    write(project.root, "print(1)")
    run(project)
    assert not (project.root / "build" / "failed" / "01_first.ipynb").exists()


def test_output_that_would_hide_a_source(project):
    source = project.source("01")
    with pytest.raises(ValueError, match=r"another \.ipynb file"):
        execute(project, source, {}, source, progress=False)
    assert "# %%" in source.read_text()


def test_a_folder_that_cannot_be_written(project):
    (project.root / "build").write_text("a file is in the way")
    with pytest.raises(ValueError, match="cannot write to the folder"):
        run(project)


def test_ctrl_c_ends_with_one_line_and_leaves_nothing_half_written(project):
    write(project.root, "import os, time\nopen('started', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "lemmse", "run", "01", "--preset", "smoke"],
        cwd=project.root,
        stderr=subprocess.PIPE,
        text=True,
    )
    started, deadline = project.root / "started", time.monotonic() + 60
    while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "lemmse: interrupted: what was complete is kept"
    assert "Traceback" not in said
    assert not list((project.root / "build" / "running").iterdir())
    time.sleep(1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)  # the kernel is gone


def invoke(*arguments: str):
    return subprocess.run([sys.executable, "-m", "lemmse", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "99"], "unknown notebook '99'"),
        (["run", "01", "-p", "nonsense", "1"], "no parameter 'nonsense'"),
        (["run", "01", "-p", "steps", "many"], "steps must be int, got 'many'"),
        (["run", "01", "--preset", "huge"], "'smoke', 'quick', 'paper'"),
        (["book", "--preset", "huge"], "'smoke', 'quick', 'paper'"),
        (["data", "fetch", "mnist"], "unknown data set 'mnist'"),
        (["data", "fetch", "photos"], "needs no download"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_command_lines_say_one_line_and_exit_with_2(arguments, said, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    done = invoke(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_and_lists():
    assert "book" in invoke("--help").stdout
    assert "fashion_mnist" in invoke("data", "list").stdout
    assert CliRunner().invoke(cli, ["--version"]).exit_code == 0


def test_the_command_line_starts_light():
    code = "import sys, lemmse.cli; print(sorted({'torch', 'numba', 'papermill', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_library_is_light():
    heavy = "{'numba', 'matplotlib', 'pandas', 'skimage', 'sklearn', 'papermill', 'IPython'}"
    code = f"import sys, lemmse; lemmse.LocalEquivariantMMSE, lemmse.UNet; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_broken_page_fails_the_build_and_leaves_the_last_book(project, capfd):
    run(project)
    book = project.root / "book"
    html = book / "_build" / "html"
    publish(project, "smoke", book)
    build_html(book, html)
    good = (html / "index.html").read_text()
    (book / "index.md").write_text("# A book\n\n{doc}`nowhere`\n")
    with pytest.raises(BuildFailed, match="the last book stays in place"):
        build_html(book, html)
    assert "nowhere" in capfd.readouterr().err
    assert (html / "index.html").read_text() == good
    assert {p.name for p in html.parent.iterdir()} == {"html"}


def test_an_interrupt_while_swapping_leaves_a_book(project, monkeypatch):
    run(project)
    book = project.root / "book"
    html = book / "_build" / "html"
    publish(project, "smoke", book)
    build_html(book, html)
    replace = os.replace

    def interrupted(a, b):
        if Path(b) == html and "next" in str(a):
            raise KeyboardInterrupt
        replace(a, b)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_html(book, html)
    assert (html / "index.html").exists()
