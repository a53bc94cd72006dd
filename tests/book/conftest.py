"""The built book, served on localhost, and a headless Chromium to open it with.

The browser is the one that `LEMMSE_BROWSER` names (it must then work), else Playwright's own (`playwright install
chromium`), else a Chromium or Chrome on the PATH. Where there is none, the tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Hidden pixels as the address of the page "Try it" holds them: rows 8 to 14 of columns 10 to 19, and pixel (20, 3).
HOLE = (
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_8AAD_wAAP_AAA_8AAD_wAAP_AA"
    "A_8AAAAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site(html):
    """The address of the book on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(html))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(site):  # after the book is built: Playwright's event loop and the one that runs notebooks do not mix
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("LEMMSE_BROWSER")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    paths = [named] if named else [None, *filter(None, map(shutil.which, names))]
    errors = []
    with sync_api.sync_playwright() as playwright:
        for path in paths:
            try:
                found = playwright.chromium.launch(executable_path=path, args=FLAGS)
            except sync_api.Error as error:
                errors.append(error)
            else:
                yield found
                found.close()
                return
    if named:
        raise errors[0]
    pytest.skip(f"no browser: {errors[0].message.splitlines()[0]}")


@pytest.fixture
def visit(browser, site):
    """Open a page of the book at a width; returns it with all that went wrong while it loaded."""
    contexts = []

    def open_page(name: str, width: int, scheme: str = "light", **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options))
        page, wrong = contexts[-1].new_page(), []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
        page.on("response", lambda r: wrong.append(f"{r.url}: status {r.status}") if r.status >= 400 else None)
        page.on("request", lambda r: None if is_here(r.url, site) else wrong.append(f"asks another host: {r.url}"))
        address, mark, fragment = name.partition("#")
        page.goto(f"{site}{address}.html{mark}{fragment}", wait_until="networkidle")
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


def is_here(url: str, site: str) -> bool:
    return url.startswith(site) or urlsplit(url).scheme in ("data", "blob")
