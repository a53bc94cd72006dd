"""`explain`: does the theory explain a given network, on a given picture?

The network and the formula restore the same measurement, and so do controls that a claim has to beat. What comes out is
one sentence, tables over the noise level, maps, and for single pixels the training patches that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lemmse.analysis.controls import (
    AFFINE,
    OTHER_IMAGES,
    controls,
    half_and_double,
    patch_size_control,
    with_patch_size,
)
from lemmse.analysis.evaluate import FORMULA, NETWORK, TRUTH, Restorer
from lemmse.analysis.explanation import (
    Squares,
    best_patch_sizes,
    distance_rows,
    margin_row,
    risk_row,
    verdict,
)
from lemmse.analysis.sources import origins
from lemmse.analysis.surprisal import deciles, surprisal_map
from lemmse.checks import (
    check_batch,
    check_count,
    check_generator,
    check_measurements,
    check_patch_sizes,
    check_positive,
    check_positive_numbers,
    shown,
)
from lemmse.estimators.blind import BlindMMSE
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.calling import check_repeatable, checked
from lemmse.networks.probe import probe
from lemmse.report.explanation import Explanation

if TYPE_CHECKING:
    import pandas as pd

    from lemmse.networks.probe import Probe

PATCH_SIZES = (1, 3, 5, 7, 9, 11, 15, 21, 31)  # of the formulas among which the best is looked for
_FEW = 20  # of this many training images, the control of few images has one


def explain(
    net: Callable[..., Tensor],
    est: LocalEquivariantMMSE | BlindMMSE,
    y: Tensor,
    sigma: float,
    truth: Tensor | None = None,
    *,
    sigmas: Sequence[float] | None = None,
    other_images: Tensor | None = None,
    another_set: Mapping[str, Tensor] | None = None,
    patch_sizes: Iterable[int] | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    top_k: int = 4,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> Explanation:
    """Measure how far a network is from LE-MMSE, and from everything simpler, on given measurements.

    With `d(f, g)` the PSNR between the images of f and g, the margin is

        margin = d(network, LE-MMSE) - max over controls c of d(network, c).

    Args:
        net: A torch.nn.Module in eval mode or a function of `z = B y`, or of z and sigma.
        est: LE-MMSE built from the training images of the network, its images in memory; or `BlindMMSE` of it, for a
            network that was trained on several noise levels and is not told which it sees. Its padding should be the
            border rule of the network, which `probe` tells.
        y: Measurements (Q, C, H, W) of the same kind, of any size that the estimator answers.
        sigma: The noise level of y, positive.
        truth: The clean images (Q, C, H, W), where they are known: the error of the network is then split as well.
        sigmas: Noise levels at which the truth is measured anew, in addition to y.
        other_images: Images (N, C, H, W) of the same distribution that were not trained on, for one more formula.
        another_set: Images of another kind by name, for the formula of each, a control.
        patch_sizes: P of the formulas among which the nearest to the network is looked for; default: odd sizes from 1
            to twice the radius of P.
        pixels: Row and column of pixels whose sources are shown; default: where network and formula differ most, as
            much as usual, and least. They belong to the first image.
        top_k: How many sources of each of these pixels are kept.
        generator: Source of noise and resampling, on the CPU; default: one with seed 0.
        progress: Whether a bar with the time that is left is shown.

    Returns:
        An `Explanation`: print it for the answer, or `save` it as a page with tables and pictures.

    Raises:
        ValueError: For bad input, a network that fails, and `sigmas` without the truth.

    Source:
        arXiv 2601.10334; the controls are those of `lemmse.analysis.controls`.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> est = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> net = lambda z, sigma: est(z, sigma).detach()
        >>> found = lemmse.explain(net, est, images[:1], 0.3, progress=False)
        >>> print(found.answer)  # doctest: +ELLIPSIS
        At sigma 0.3, yes: the formula with P = 3 is nearer to the network than every control, by ... dB.
    """
    import pandas as pd

    formula = est.estimator if isinstance(est, BlindMMSE) else est
    if not isinstance(formula, LocalEquivariantMMSE):
        raise ValueError(f"est must be LocalEquivariantMMSE, or BlindMMSE of it, got {type(formula).__name__}")
    if not isinstance(formula.images, Tensor):
        raise ValueError("explain needs the training images in memory, as one tensor, got a stream of batches")
    if formula.targets is not None:
        raise ValueError("explain holds a network that restores images against est, which was given other targets")
    if formula.noise != "gaussian":
        raise ValueError(f"explain compares under Gaussian noise, but est was built for noise {formula.noise!r}")
    check_measurements(y, formula.query_shape, formula.query_dtype, formula.device)
    sigma = check_positive(sigma, "sigma")
    levels = [] if sigmas is None else check_positive_numbers(sigmas, "sigmas", minimum=0)
    if levels and truth is None:
        raise ValueError("sigmas needs the truth, which is measured anew at each of them, got none")
    check_count(top_k, "top_k")
    asked = None if pixels is None else _checked_pixels(pixels, *formula.pre_inverse(y[:1]).shape[-2:])
    restore = _network(net, formula)
    if truth is not None:
        _check_truth(truth, formula, y)
    sizes = _patch_sizes(patch_sizes, formula, y)
    generator = check_generator(generator) or torch.Generator().manual_seed(0)
    check_repeatable(restore, y, sigma)
    found = _probe(net, formula, sigma)

    ladder = {size: est if size == formula.patch_size else _with_patch_size(est, size) for size in sizes}
    rivals = _controls(formula, y, other_images, another_set)
    restorers = _restorers(ladder, rivals, formula)
    measured = {sigma: y} | {
        level: formula.physics.measure(truth, level, generator=generator)
        for level in levels
        if truth is not None and level != sigma
    }
    squares = Squares(truth if truth is not None else formula.pre_inverse(y[:1]).expand(len(y), -1, -1, -1), generator)
    counted = [name for name in rivals if name != OTHER_IMAGES]
    distances, margins, by_size, risks, shown_at = [], [], [], [], {}
    for level, measurement, estimates in _restored(restore, restorers, formula, measured, progress=progress):
        known = estimates if truth is None else estimates | {TRUTH: truth}
        distances += distance_rows(known, level, squares)
        margins.append(margin_row(estimates, counted, level, squares))
        own = {size: FORMULA if size == formula.patch_size else patch_size_control(size) for size in sizes}
        near = {row["other"]: row["psnr"] for row in distances if row["sigma"] == level}
        by_size += [{"sigma": level, "patch_size": size, "psnr": near[name]} for size, name in own.items()]
        if truth is not None:
            risks.append(risk_row(estimates, truth, level, squares))
        if level == sigma:
            shown_at = {"measurement": formula.pre_inverse(measurement), **estimates}

    posterior = formula.posterior(y, sigma, top_k=top_k)
    surprisal = surprisal_map(formula, posterior, sigma)
    squared = (shown_at[NETWORK].double() - shown_at[FORMULA].double()).square().mean(1)
    chosen = asked or _pixels(squared[0], surprisal[0])
    frame = pd.DataFrame(margins).sort_values("sigma", ignore_index=True)
    sizes_frame = pd.DataFrame(by_size).sort_values(["sigma", "patch_size"], ignore_index=True)
    return Explanation(
        answer=verdict(frame, formula.patch_size),
        sigma=sigma,
        patch_size=formula.patch_size,
        formula=repr(est) if est is formula else f"BlindMMSE of {formula!r}",
        padding=formula.padding,
        controls=tuple(rivals),
        probe=found,
        distances=pd.DataFrame(distances).sort_values("sigma", kind="stable", ignore_index=True),
        margins=frame,
        patch_sizes=sizes_frame,
        best_patch_sizes=best_patch_sizes(sizes_frame),
        density=_by_density(surprisal, squared, sigma),
        risk=pd.DataFrame(risks).sort_values("sigma", ignore_index=True) if risks else None,
        images={
            **{name: shown_at[name][0].cpu() for name in ("measurement", NETWORK, FORMULA, AFFINE)},
            **({} if truth is None else {TRUTH: truth[0].cpu()}),
        },
        difference=squared[0].sqrt().cpu(),
        surprisal=surprisal[0].cpu(),
        sources=origins(formula.images, posterior, 0, chosen),
    )


def _network(net: Callable[..., Tensor], formula: LocalEquivariantMMSE) -> Restorer:
    """The network behind checks of what it takes and returns."""
    restore = checked(net)
    tensors = [*net.parameters(), *net.buffers()] if isinstance(net, nn.Module) else []
    for tensor in (t for t in tensors if t.is_floating_point()):
        if (tensor.device, tensor.dtype) != (formula.device, formula.dtype):
            raise ValueError(
                f"net is {tensor.dtype} on {tensor.device}, but the images of the formula are {formula.dtype} on "
                f"{formula.device}: move one of them"
            )
        break

    def behind(y: Tensor, sigma: float) -> Tensor:
        with torch.no_grad():
            x_hat = restore(formula.pre_inverse(y), sigma)
        if x_hat.shape[1] != formula.shape[0]:
            raise ValueError(f"net must return {formula.shape[0]} channels, as the images have, got {x_hat.shape[1]}")
        return x_hat

    return behind


def _probe(net: Callable[..., Tensor], formula: LocalEquivariantMMSE, sigma: float) -> Probe | None:
    """What the network looks at; None where it takes no image but those of its own size."""
    try:
        return probe(net, channels=formula.z_channels, sigma=sigma)
    except ValueError:  # the network works on the y that is given, as the comparison will find out
        return None


def _patch_sizes(asked: Iterable[int] | None, formula: LocalEquivariantMMSE, y: Tensor) -> list[int]:
    """The patch sizes to compare, P among them."""
    own = formula.patch_size
    if asked is None:
        asked = [size for size in PATCH_SIZES if size <= min(2 * own - 1, _longest(formula, y))]
    return sorted({own, *check_patch_sizes(asked)})


def _longest(formula: LocalEquivariantMMSE, y: Tensor) -> int:
    """The largest patch size that these sizes of images and measurements allow, or that differs from smaller ones."""
    same = tuple(y.shape[1:]) == formula.query_shape
    return max(formula.shape[1:]) if same else min(*y.shape[-2:], *formula.shape[1:])


def _with_patch_size(est: LocalEquivariantMMSE | BlindMMSE, size: int) -> LocalEquivariantMMSE | BlindMMSE:
    """The same estimator for another patch size."""
    if isinstance(est, BlindMMSE):
        assert isinstance(est.estimator, LocalEquivariantMMSE)
        return BlindMMSE(with_patch_size(est.estimator, size), est.sigmas, est.weights)
    return with_patch_size(est, size)


def _controls(
    formula: LocalEquivariantMMSE, y: Tensor, other_images: Tensor | None, another_set: Mapping[str, Tensor] | None
) -> dict[str, Restorer]:
    """The controls of the formula that can answer y, one with a twentieth of its images among them."""
    assert isinstance(formula.images, Tensor)
    few = max(1, len(formula.images) // _FEW)
    sizes = [size for size in half_and_double(formula.patch_size) if size <= _longest(formula, y)]
    return controls(formula, few=few, patch_sizes=sizes, other_images=other_images, another_set=another_set)


def _restorers(
    ladder: Mapping[int, LocalEquivariantMMSE | BlindMMSE],
    rivals: Mapping[str, Restorer],
    formula: LocalEquivariantMMSE,
) -> dict[str, Restorer]:
    """Everything that is compared with the network, each once; the formulas of the ladder take the place of rivals."""
    by_size = {
        FORMULA if size == formula.patch_size else patch_size_control(size): _told(estimator)
        for size, estimator in ladder.items()
    }
    return {**rivals, **by_size}


def _told(estimator: LocalEquivariantMMSE | BlindMMSE) -> Restorer:
    """An estimator as a function of y and sigma; a blind one ignores sigma."""
    return (lambda y, sigma: estimator(y)) if isinstance(estimator, BlindMMSE) else estimator


def _restored(
    restore: Restorer,
    restorers: Mapping[str, Restorer],
    formula: LocalEquivariantMMSE,
    measured: Mapping[float, Tensor],
    *,
    progress: bool,
) -> Iterable[tuple[float, Tensor, dict[str, Tensor]]]:
    """The estimates of the network and of every restorer, for each measurement in turn."""
    from tqdm import tqdm

    with tqdm(total=len(measured) * len(restorers), desc="explaining", disable=not progress) as bar:
        for sigma, y in measured.items():
            estimates = {NETWORK: restore(y, sigma)}
            for name, restorer in restorers.items():
                bar.set_postfix_str(f"sigma = {sigma:g}, {name}")
                with torch.no_grad():
                    estimates[name] = restorer(y, sigma)
                bar.update()
            yield sigma, y, estimates


def _check_truth(truth: Tensor, formula: LocalEquivariantMMSE, y: Tensor) -> None:
    """Raise ValueError unless the truth is what y was measured from, by its shape."""
    check_batch(truth, "truth", (formula.dtype,))
    if truth.device != formula.device:
        raise ValueError(f"truth must be on {formula.device}, where the images are, got {truth.device}")
    measured = tuple(formula.physics.A(truth).shape)
    if measured != tuple(y.shape):
        raise ValueError(
            f"truth must be the images that y was measured from: {tuple(truth.shape)} would give measurements of shape "
            f"{measured}, but y has {tuple(y.shape)}"
        )


def _checked_pixels(asked: Sequence[tuple[int, int]], height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of pixels; raises ValueError for those that no image of H x W has."""
    if not isinstance(asked, Sequence) or isinstance(asked, str):
        raise ValueError(f"pixels must be a list of (row, column), got {shown(asked)}")
    for pixel in asked:
        whole = isinstance(pixel, (tuple, list)) and len(pixel) == 2 and all(isinstance(n, Integral) for n in pixel)
        if not whole or not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
            raise ValueError(f"pixels must be (row, column) of an image of {height} x {width}, got {shown(pixel)}")
    return [(int(row), int(column)) for row, column in asked]


def _pixels(squared: Tensor, surprisal: Tensor) -> list[tuple[int, int]]:
    """Pixels with the largest, the median and the least difference, inside, where the border does not count."""
    width = squared.shape[1]
    inside = (~surprisal.isnan()).flatten().nonzero()[:, 0]
    order = inside[squared.flatten()[inside].argsort(descending=True)]
    chosen = [order[0], order[len(order) // 2], order[-1]]
    return list(dict.fromkeys((int(place) // width, int(place) % width) for place in chosen))


def _by_density(surprisal: Tensor, squared: Tensor, sigma: float) -> pd.DataFrame:
    """How near network and formula are in each tenth of the pixels, from dense to rare patches."""
    import pandas as pd

    frame = pd.DataFrame(
        {"sigma": sigma, "surprisal": surprisal.flatten().tolist(), "error": squared.flatten().tolist()}
    )
    tenths = deciles(frame.dropna(), ["sigma"]).drop(columns="sigma")
    psnr = -10 * torch.tensor(tenths["error"].tolist(), dtype=torch.float64, device="cpu").clamp_min(1e-10).log10()
    return tenths.drop(columns="error").assign(psnr=psnr.tolist())
