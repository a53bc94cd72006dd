"""How tests drive the page "Try it": they set it by its address, and read what it holds and shows."""

from __future__ import annotations

import re

import torch

PATIENCE = 240_000  # milliseconds: a machine that is busy with other things is no failure
SETTLED = """() => { const page = document.querySelector('lemmse-try');
    return page.dataset.settled && page.dataset.settled == page.revision
        && page.querySelector('.try-vote').dataset.status == 'current'; }"""


def set_state(page, **state) -> None:
    """Set the page by its address, and wait until all that it shows is exact."""
    given = {"image": "test-1", "operator": "noise", "sigma": 0.2, "P": 5, "seed": 0, "pixel": "14,14"} | state
    text = "&".join(f"{name}={value}" for name, value in given.items())
    page.evaluate(
        """text => location.hash === text || new Promise(done => {
        addEventListener('hashchange', done, {once: true}); location.hash = text; })""",
        f"#try?{text}",
    )
    page.wait_for_function(SETTLED, timeout=PATIENCE)


def shown(page) -> dict[str, torch.Tensor]:
    """The images that the page holds: measurement, truth and estimates, (1, 1, 28, 28)."""
    values = page.evaluate(
        """() => { const page = document.querySelector('lemmse-try'); const found = {y: page.y, truth: page.truth};
        for (const name of ['formula', 'network', 'affine']) found[name] = page.estimates[name];
        return Object.fromEntries(Object.entries(found).filter(e => e[1]).map(([n, v]) => [n, Array.from(v)])); }"""
    )
    return {name: torch.tensor(value, dtype=torch.float32).reshape(1, 1, 28, 28) for name, value in values.items()}


def distances(page) -> dict[str, float]:
    """The numbers that the page shows in dB, as "Formula to truth": 23.1."""
    found = {}
    for name in ("Measurement", "Formula", "Trained network", "Best affine filter"):
        for note in page.locator(f".try-picture:has(b:text-is('{name}')) .try-note > div").all_inner_texts():
            what, value = re.fullmatch(r"to (\w+) ([\d.]+) dB", note).groups()
            found[f"{name} to {what}"] = float(value)
    return found
