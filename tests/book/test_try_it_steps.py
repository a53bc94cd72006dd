"""The five steps of the page "Try it": what each says is true, with the networks of the published book."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from lemmse import LocalEquivariantMMSE
from lemmse.book import export
from tests.book.live_page import PATIENCE, SETTLED, distances, set_state, shown

STEPS = range(5)
STATE = "document.querySelector('lemmse-try').state"


@pytest.fixture(scope="module")
def page(browser, site, tmp_path_factory):
    """The page of the book at smoke size, with the data of the preset quick, whose weights are committed."""
    exported = tmp_path_factory.mktemp("quick")
    export.export_page(exported, "quick")
    data = exported / "_static" / "try" / "data"
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.route("**/try/data/*", lambda route: route.fulfill(path=data / route.request.url.rsplit("/", 1)[1]))
    opened = context.new_page()
    opened.goto(f"{site}try_it.html")
    opened.wait_for_function(SETTLED, timeout=PATIENCE)
    yield opened
    context.close()


def take(page, step: int) -> str:
    """Press the button of a step, and return what it says."""
    set_state(page, seed=5)
    page.locator(".try-guide button").nth(step).click()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.evaluate(f"{STATE}.seed") == 0
    return page.locator(".try-look").inner_text()


def move(page, **change) -> dict[str, float]:
    """Change a part of the setting that the address holds, and return the distances shown."""
    setting = dict(parse_qsl(page.url.partition("#try?")[2]))
    set_state(page, **setting | change)
    return distances(page)


def median_votes(page) -> float:
    return page.evaluate("document.querySelector('lemmse-try').estimates.votes")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_says_what_to_look_at(page, step):
    assert len(take(page, step)) > 80
    assert page.locator(".try-look").get_attribute("role") == "status"
    assert page.locator(".try-guide button[aria-current=step]").count() == 1
    assert page.locator(".try-guide button").nth(step).get_attribute("aria-current") == "step"


def test_step_1_the_vote_spreads(page):
    take(page, 0)
    assert 1 <= median_votes(page) < 5, "a few training patches decide each pixel"
    votes = []
    for sigma in (0.1, 0.2, 0.5, 1):
        move(page, sigma=sigma)
        votes.append(median_votes(page))
    assert votes == sorted(votes)
    assert votes[-1] > 0.4 * 100 * 28**2, "each pixel is an average of many"


def test_step_2_it_recites(page):
    take(page, 1)
    copy = distances(page)
    assert copy["Formula to truth"] > copy["Measurement to truth"] + 30
    assert median_votes(page) < 1.05
    other = move(page, image="test-1")
    assert other["Formula to truth"] < other["Trained network to truth"] - 2


def test_step_3_votes_come_from_the_same_place(page):
    take(page, 2)
    hidden, row, col = page.evaluate(f"[[...{STATE}.hidden], {STATE}.row, {STATE}.col]")
    assert hidden[28 * row + col] == 1
    text = dict(parse_qsl(page.url.partition("#try?")[2]))["hidden"]
    formula = LocalEquivariantMMSE(export.page_images(), export.page_physics("hole", text), patch_size=7)
    voters = formula.posterior(shown(page)["y"], 0.05, top_k=6).indices[0, row, col]
    near = (voters[:, 1:] - voters.new_tensor([row, col])).abs().amax(dim=1) <= 1
    assert int(near.sum()) >= 4
    assert len(voters[:, 0].unique()) >= 4


def test_step_4_both_fail_alike(page):
    take(page, 3)
    far = distances(page)
    assert max(far["Formula to truth"], far["Trained network to truth"]) < far["Trained network to formula"] - 8


def test_step_5_they_part(page):
    take(page, 4)
    near = distances(page)["Trained network to formula"]
    for P in (3, 7):
        assert move(page, P=P)["Trained network to formula"] < near - 2
    apart = [move(page, P=5, sigma=sigma) for sigma in (0.1, 0.05, 0.02)]
    assert [d["Trained network to formula"] for d in apart] == sorted(
        (d["Trained network to formula"] for d in apart), reverse=True
    )
    assert apart[0]["Trained network to formula"] < near
    assert apart[-1]["Trained network to truth"] > apart[-1]["Formula to truth"] + 5
