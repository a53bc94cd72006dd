"""The commands `lemmse explain` and `lemmse restore`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
PADDINGS = click.Choice(["circular", "zeros"])
_SHARED = (
    click.option("--images", required=True, metavar="FOLDER", help="Training images: folder, zip or name of a set."),
    click.option("--crop", type=click.IntRange(min=8), metavar="PIXELS", help="Cut crops of this side from the files."),
    click.option("--count", type=click.IntRange(min=2), default=400, show_default=True, help="Most training images."),
    click.option("--gray", is_flag=True, help="Work in gray [default: in color if IMAGE is]."),
    click.option("--progress/--no-progress", default=True, help="Whether a bar shows the time that is left."),
)


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of both commands."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command()
@click.argument("network")
@click.argument("image", type=FILE)
@click.option("--sigma", type=float, required=True, help="Noise level of the maps, of an image range from 0 to 1.")
@click.option("--sigmas", metavar="S,S,...", help="Further noise levels of the tables [default: 0.05,0.1,0.2,0.4,0.8].")
@click.option("--noisy", is_flag=True, help="IMAGE is the measurement itself; there is no truth, and one noise level.")
@click.option("--patch-size", type=int, help="P of the formula [default: the receptive field of the network].")
@click.option("--padding", type=PADDINGS, help="Border rule of the formula [default: that of the network].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("-o", "--output", type=FOLDER, default=Path("explanation"), show_default=True, help="Folder to write.")
@shared
def explain(
    network: str,
    image: Path,
    sigma: float,
    sigmas: str | None,
    noisy: bool,
    patch_size: int | None,
    padding: str | None,
    seed: int,
    output: Path,
    images: str,
    crop: int | None,
    count: int,
    gray: bool,
    progress: bool,
) -> None:
    """Does the theory explain NETWORK on IMAGE? Write a report, and print its answer.

    NETWORK is package.module:function, or a file of TorchScript or torch.export (.pt2). IMAGE is a clean picture, to
    which noise is added. The training images should be those of the network.
    """
    import torch

    from lemmse.checks import check_patch_size
    from lemmse.data.pictures import read_picture
    from lemmse.engines.progress import progress_bars
    from lemmse.estimators.lemmse import LocalEquivariantMMSE
    from lemmse.files import writable_folder
    from lemmse.networks.loading import load_network
    from lemmse.networks.probe import SIGMAS
    from lemmse.physics.operators import Denoising
    from lemmse.report.explain import explain as explain_network
    from lemmse.report.pictures import check_level, training_images

    progress_bars(None if progress else False)
    check_level(sigma)
    if noisy and sigmas:
        raise ValueError("--sigmas needs a clean picture, which is measured anew: leave out --noisy")
    levels = [] if noisy else _levels(sigmas) if sigmas else list(SIGMAS)
    net = load_network(network)
    picture = read_picture(image, 1 if gray else None)
    known = training_images(images, crop=crop, count=count, channels=picture.shape[1])
    if _is_inside(image, images):
        click.echo(f"lemmse: {image} lies among the training images: ask about one that is held out as well", err=True)
    if patch_size is not None:
        check_patch_size(patch_size)
    patch_size, padding = _like_network(net, picture.shape[1], patch_size, padding, sigma)
    est = LocalEquivariantMMSE(known, Denoising(), patch_size=patch_size, padding=padding)
    writable_folder(output, "folder of the report")  # before the long work, and after what bad input ends
    generator = torch.Generator().manual_seed(seed)
    y = picture if noisy else est.physics.measure(picture, sigma, generator=generator)
    truth = None if noisy else picture
    found = explain_network(net, est, y, sigma, truth, sigmas=levels, generator=generator, progress=progress)
    path = found.save(output)
    click.echo(found.answer)
    click.echo(f"wrote {path}", err=True)


@click.command()
@click.argument("image", type=FILE)
@click.option("--sigma", type=float, required=True, help="Noise level of IMAGE, of an image range from 0 to 1.")
@click.option("--patch-size", type=int, default=7, show_default=True, help="P of the formula.")
@click.option("--padding", type=PADDINGS, default="circular", show_default=True, help="What is beyond the border.")
@click.option("-o", "--output", type=FILE, required=True, help="Picture to write, .png or .tif.")
@shared
def restore(
    image: Path,
    sigma: float,
    patch_size: int,
    padding: str,
    output: Path,
    images: str,
    crop: int | None,
    count: int,
    gray: bool,
    progress: bool,
) -> None:
    """Restore the noisy picture IMAGE by LE-MMSE from training images, without a network."""
    from lemmse.checks import check_choice, check_patch_size
    from lemmse.data.pictures import ENDINGS, read_picture, write_picture
    from lemmse.engines.progress import progress_bars
    from lemmse.files import writable_folder
    from lemmse.report.pictures import check_level, restore_picture, training_images

    progress_bars(None if progress else False)
    check_level(sigma)
    check_patch_size(patch_size)
    check_choice(output.suffix.lower(), ENDINGS, "ending of a picture")
    if _is_inside(image, images):
        raise ValueError(f"{str(image)!r} lies among the training images, so the formula would return it: move it")
    y = read_picture(image, 1 if gray else None)
    known = training_images(images, crop=crop, count=count, channels=y.shape[1])
    writable_folder(output.parent, "folder of the picture")  # before the long work
    write_picture(restore_picture(y, known, sigma, patch_size=patch_size, padding=padding), output)
    click.echo(f"wrote {output}", err=True)


def _is_inside(image: Path, images: str) -> bool:
    """Whether a picture lies in the folder of the training images."""
    return image.resolve().is_relative_to(Path(images).resolve())


def _levels(text: str) -> list[float]:
    """Noise levels separated by commas."""
    from lemmse.report.pictures import check_level

    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--sigmas takes numbers separated by commas, as 0.1,0.2, got {text[:60]!r}") from None
    return [check_level(level, "each of sigmas") for level in levels]


def _like_network(
    net: Callable[..., Any], channels: int, patch_size: int | None, padding: str | None, sigma: float
) -> tuple[int, str]:
    """The patch size and the padding that were asked for, else those of the network."""
    from lemmse.networks.probe import probe

    if patch_size is not None and padding is not None:
        return patch_size, padding
    try:
        found = probe(net, channels=channels, sigma=sigma, sigmas=())
    except ValueError as error:
        raise ValueError(f"{error}: the network cannot be probed, so give both --patch-size and --padding") from error
    if patch_size is None and found.receptive_field is None:
        raise ValueError("the receptive field of the network is the whole image: choose P by --patch-size")
    own = found.receptive_field if patch_size is None else patch_size
    assert own is not None
    return own, padding or ("zeros" if found.border == "zeros" else "circular")
