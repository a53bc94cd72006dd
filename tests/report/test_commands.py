"""`lemmse explain` and `lemmse restore`, from files to files, and what they refuse."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

import lemmse
from lemmse import cli
from lemmse.data.pictures import read_picture, write_picture
from lemmse.report.pictures import restore_picture, training_images
from tests.conftest import random_images

PICTURE = random_images(1, 1, 24, 30, torch.float32, seed=9)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with training images of different sizes, a picture, a network, and a folder with one image."""
    for name, count in (("many", 6), ("single", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            write_picture(random_images(1, 1, 46 + i, 50, torch.float32, seed=i), tmp_path / name / f"{i}.png")
    write_picture(PICTURE, tmp_path / "picture.png")
    write_picture(random_images(1, 3, 24, 30, torch.float32, seed=10), tmp_path / "color.png")
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 3, padding=1)), tmp_path / "net.pt")
    (tmp_path / "own_network.py").write_text("def mean(z):\n    return (z + z.roll(1, -1) + z.roll(-1, -1)) / 3\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_network", None)


def run(monkeypatch, capsys, words):
    """Exit code, standard output and errors of `lemmse WORDS`."""
    monkeypatch.setattr("sys.argv", ["lemmse", *words.split()])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


EXPLAIN = "explain net.pt picture.png --images many --crop 10 --count 12 --sigma 0.2 --no-progress"


def test_explain_answers_and_writes_the_report(files, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, f"{EXPLAIN} --sigmas 0.1,0.4 -o made")
    assert code == 0
    assert out.startswith("At sigma 0.1")
    assert out.endswith(".\n")
    assert out.count("\n") == 1
    page = (files / "made" / "report.html").read_text()
    assert "The border rule is &#39;zeros&#39;" in page
    assert "Note: " not in page  # P and padding are those of the network
    margins = (files / "made" / "margins.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in margins] == ["sigma", "0.1", "0.2", "0.4"]


def test_explain_takes_a_function_and_a_noisy_picture(files, monkeypatch, capsys):
    words = EXPLAIN.replace("net.pt", "own_network:mean") + " --noisy --patch-size 5 --padding zeros -o made"
    code, out, _ = run(monkeypatch, capsys, words)
    assert code == 0
    assert out.startswith("At sigma 0.2, ")
    assert "but the formula was built for P = 5" in (files / "made" / "report.html").read_text()
    assert not (files / "made" / "risk.csv").exists()


def test_restore_writes_what_the_formula_returns(files, monkeypatch, capsys):
    words = "restore picture.png --images many --count 12 --sigma 0.1 --patch-size 3 -o out/restored.png"
    code, _, _ = run(monkeypatch, capsys, words)
    assert code == 0
    images = training_images("many", crop=None, count=12, channels=1)
    assert images.shape == (12, 1, 40, 40), "images of different sizes are cut into crops"
    y = read_picture("picture.png")
    expected = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)(y, 0.1)
    assert torch.equal(restore_picture(y, images, 0.1, patch_size=3), expected)
    assert (read_picture("out/restored.png") - expected).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (EXPLAIN.replace("0.2", "25"), "sigma is in units of the image range from 0 to 1, got 25: of 255 levels it is"),
        (EXPLAIN.replace("0.2", "-1"), "sigma must be a finite positive number"),
        (EXPLAIN + " --sigmas 0.1;0.2", "--sigmas takes numbers separated by commas"),
        (EXPLAIN + " --sigmas 0.1 --noisy", "--sigmas needs a clean picture"),
        (EXPLAIN.replace("net.pt", "nothing.pt"), "a network is 'package.module:function'"),
        (EXPLAIN.replace("picture.png", "nothing.png"), "cannot read the picture 'nothing.png'"),
        (EXPLAIN.replace("many", "nowhere"), "unknown data set 'nowhere'"),
        (
            EXPLAIN.replace("many --crop 10", "single"),
            "'single' holds one training image, but a formula needs",
        ),
        (EXPLAIN + " --patch-size 11", "10 x 10 pixels, or patch_size at most 9"),
        (EXPLAIN + " --patch-size 0", "patch_size must be odd and positive, got 0"),
        (EXPLAIN + " --crop 100", "choose a smaller size"),
        (EXPLAIN + " --patch-size 4", "patch_size must be odd"),
        ("restore picture.png --images many --sigma 0.1 -o out.jpg", "unknown ending of a picture '.jpg'"),
        ("restore picture.png --images many --crop 10 --sigma 0.1 --patch-size 31 -o out.png", "patch_size at most 9"),
        ("restore many/0.png --images many --sigma 0.1 -o out.png", "'many/0.png' lies among the training images"),
        ("restore picture.png --images many --sigma 0.1 -o picture.png/out.png", "cannot write to the folder of the"),
        (
            "restore color.png --images many --sigma 0.1 -o out.png",
            "the training images of 'many' are gray: add --gray",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(files, monkeypatch, capsys, words, message):
    code, out, errors = run(monkeypatch, capsys, words)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not out


def test_a_picture_among_the_training_images_is_named(files, monkeypatch, capsys):
    words = EXPLAIN.replace("picture.png", "many/0.png") + " --sigmas 0.4 --count 4 -o made"
    code, _, errors = run(monkeypatch, capsys, words)
    assert code == 0
    assert "many/0.png lies among the training images" in errors


def test_no_more_training_images_are_read_than_there_are_and_are_asked_for(files):
    assert len(training_images("many", crop=10, count=7, channels=1)) == 7
    every = training_images("many", crop=10, count=None, channels=1)
    assert torch.equal(training_images("many", crop=10, count=10**6, channels=1), every)


def test_a_network_without_a_field_needs_a_patch_size(files, monkeypatch, capsys):
    (files / "own_network.py").write_text("def mean(z):\n    return z - z.mean((2, 3), keepdim=True)\n")
    code, _, errors = run(monkeypatch, capsys, EXPLAIN.replace("net.pt", "own_network:mean"))
    assert code == 2
    assert "choose P by --patch-size" in errors
