"""From executed notebooks to the published book: every notebook is executed, then Jupyter Book compiles the pages.

The book is built aside and swapped in when it is complete, so that a build that fails leaves the last good one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from lemmse.book.export import export_page
from lemmse.book.notebooks import WEIGHTS, Project, execute, read_record
from lemmse.book.pages import FIGURES, figure_files
from lemmse.book.photographs import photographs_list
from lemmse.files import writable_folder, write_atomically

_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


class BuildFailed(Exception):
    """Jupyter Book found an error or a warning; it has printed which."""


def make_book(project: Project, preset: str, say: Callable[[str], None], *, retrain: bool = False) -> Path:
    """Execute every notebook at a preset, build the book into book/_build/html, and return its index page.

    Args:
        project: the checkout.
        preset: "smoke", "quick" or "paper".
        say: takes the lines that tell how far the book is.
        retrain: whether every network is trained anew, whatever weights come with the project or lie in the cache. An
            interrupted book goes on with the networks that it has trained already.

    Raises:
        ValueError: for a preset or parameters that are unknown.
        NotebookFailed: if a cell raises.
        BuildFailed: if Jupyter Book finds an error or a warning.
    """
    started = time.monotonic()
    with _weights_trained_anew(project) if retrain else nullcontext():
        for source in project.sources:
            say(f"{source.stem}: preset {preset}")
            reused = execute(project, source, project.preset(preset, source), project.executed(preset, source))
            about = read_record(project.executed(preset, source))
            say(
                f"{source.stem}: "
                + ("re-used, nothing that it depends on has changed" if reused else f"{about['seconds']:.0f} s")
            )
    publish(project, preset, project.root / "book")
    say("building the pages")
    html = build_html(project.root / "book", project.root / "book" / "_build" / "html")
    say(f"the book took {time.monotonic() - started:.0f} s; open {html / 'index.html'}")
    return html / "index.html"


@contextmanager
def _weights_trained_anew(project: Project) -> Iterator[None]:
    """Let notebooks take networks from a new folder only; it stays if the book is interrupted, and is used again then.

    The name of the folder is new each time, and part of the keys of the notebooks that use networks: they are executed.
    """
    retrained = writable_folder(project.root / "build" / "retrained", "folder of retrained networks")
    begun = sorted(path for path in retrained.iterdir() if path.is_dir())
    folder = begun[0] if begun else retrained / secrets.token_hex(4)
    before = os.environ.get(WEIGHTS)
    os.environ[WEIGHTS] = str(folder)
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.environ.pop(WEIGHTS)
        if before is not None:
            os.environ[WEIGHTS] = before


def publish(project: Project, preset: str, book: Path) -> None:
    """Put the executed notebooks in book/notebooks and their figures, as files, in book/_generated.

    The list of the photographs is written beside the figures. The data of the page "Try it", where the book has it, go
    to book/_static/try/data.
    """
    for source in project.sources:
        executed = project.executed(preset, source)
        write_atomically(book / "notebooks" / executed.name, partial(shutil.copy, executed))
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        for name, content in figure_files(notebook).items():
            write_atomically(book / FIGURES / name, partial(Path.write_bytes, data=content))
    photographs = photographs_list()
    write_atomically(book / FIGURES / "photographs.md", partial(Path.write_text, data=photographs, encoding="utf-8"))
    if (book / "try_it.md").exists():
        export_page(book, preset)


def build_html(book: Path, html: Path) -> Path:
    """Compile `book` with warnings as errors and swap the result in as `html`; raises `BuildFailed`."""
    writable_folder(html.parent, "folder of the book")
    with tempfile.TemporaryDirectory(dir=html.parent, prefix=".next.") as aside:
        command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(book), "-n", "-W", "--keep-going"]
        done = subprocess.run(
            [*command, "--path-output", aside], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        new, old = Path(aside, "_build", "html"), html.with_name(".previous")
        if done.returncode or not (new / "index.html").exists():
            print(done.stdout, file=sys.stderr)
            raise BuildFailed(
                f"jupyter-book found errors or warnings in {book}, see above; the last book stays in place"
            )
        shutil.rmtree(old, ignore_errors=True)
        try:
            if html.exists():
                os.replace(html, old)
            os.replace(new, html)
        except BaseException:
            if old.exists() and not html.exists():
                os.replace(old, html)
            raise
        shutil.rmtree(old, ignore_errors=True)
    return html
