"""What a network looks at: receptive field, border rule, equivariance, and how much each distance counts.

The theory speaks of maps that commute with translations and whose output pixel m depends only on the P x P window
around m. `probe` measures how far any `torch.nn.Module` or function `(z)` or `(z, sigma)` is such a map, from its
outputs and derivatives alone:

    receptive field     the pixels p for which d x_hat[m] / d z_p is not zero for some random input
    equivariance        x_hat(T_g z) against T_g x_hat(z), for pixels near the border and far from it
    effective window    the share of sum_p (d x_hat[m] / d z_p)^2 that lies within each distance of m
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lemmse.checks import check_count, check_generator, check_images, check_positive, check_positive_numbers, shown
from lemmse.networks.borders import EQUAL, border_rule, equivariance_errors
from lemmse.networks.calling import Net, Restorer, accepts_sigma, check_repeatable, checked, place_of

if TYPE_CHECKING:
    import pandas as pd

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8)  # noise levels at which the effective window is measured
SIDES = (24, 48, 96, 192)  # of the random images: the first that a network accepts and that its field does not fill
_INPUTS = 4  # random images a measurement: a rectifier that is off for one is on for another
_MARGIN = 2  # pixels: a field that leaves fewer free is taken for the whole image
_POSITIONS = 4  # neighboring output pixels: a network with strides treats them differently

_WHOLE_IMAGE = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Probe:
    """A probe is what `probe` measured of a network; printing it gives a paragraph in words.

    Attributes:
        receptive_field: P, the side of the smallest centered square that holds every pixel on which an output pixel
            depends, or None if it depends on the whole image, however large.
        rows: First and last row of that dependence, relative to the output pixel.
        columns: First and last column of it.
        border: "circular", "zeros", "reflect", "replicate", "other", or "none" where P = 1 and no border is seen.
        equivariance_inside: Root mean square of `x_hat(T_g z) - T_g x_hat(z)` far from the border, relative to the
            standard deviation of x_hat.
        equivariance_border: The same near the border.
        takes_sigma: Whether the network has the noise level as an input.
        depends_on_sigma: Whether its output changes with that input.
        statistics: Names of layers that compute statistics over the image or the batch, which breaks locality.
        depends_on_batch: Whether the output for one image changes with the other images of its batch.
        effective_window: One row for each sigma and radius: the share of the energy of the derivative within it, or
            None for a function that torch cannot differentiate and where no noise level was asked for.

    Source: the conditions are those of arXiv 2601.10334.

    Example:
        >>> import torch, lemmse
        >>> found = lemmse.probe(torch.nn.Conv2d(1, 1, 3, padding=1).eval())
        >>> found.receptive_field, found.rows, found.border
        (3, (-1, 1), 'zeros')
        >>> found.takes_sigma, found.is_local_equivariant
        (False, True)
    """

    receptive_field: int | None
    rows: tuple[int, int]
    columns: tuple[int, int]
    border: str
    equivariance_inside: float
    equivariance_border: float
    takes_sigma: bool
    depends_on_sigma: bool
    statistics: tuple[str, ...]
    depends_on_batch: bool
    effective_window: pd.DataFrame | None

    @property
    def is_local_equivariant(self) -> bool:
        """Whether the theory of LE-MMSE speaks of this network, borders aside."""
        local = self.receptive_field is not None and not self.depends_on_batch
        return local and self.equivariance_inside < EQUAL

    def effective_radius(self, sigma: float, share: float = 0.99) -> int:
        """The least radius within which `share` of the energy of the derivative lies at a noise level.

        Args:
            sigma: One of the noise levels that were probed.
            share: In (0, 1).

        Returns:
            A distance in pixels, the larger of the vertical and the horizontal one.

        Raises:
            ValueError: If sigma was not probed, or the network has no derivative.
        """
        if self.effective_window is None:
            raise ValueError(
                "the effective window was not measured: sigmas was empty, or torch cannot differentiate this function"
            )
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {shown(share)}")
        table = self.effective_window[self.effective_window.sigma == sigma]
        if table.empty:
            levels = sorted(self.effective_window.sigma.unique().tolist())
            raise ValueError(f"sigma must be one of the probed levels {levels}, got {sigma!r}")
        return int(table[table.share >= min(share, float(table.share.max()))].radius.min())

    def __str__(self) -> str:
        P = self.receptive_field
        lines = [
            "The receptive field is the whole image."
            if P is None
            else f"The receptive field is {P} x {P} pixels (rows {self.rows[0]} to {self.rows[1]}, columns "
            f"{self.columns[0]} to {self.columns[1]} around the output pixel).",
            f"The border rule is {self.border!r}.",
            f"Shifting the input instead of the output changes the output by {self.equivariance_inside:.1e} of its "
            f"standard deviation far from the border and by {self.equivariance_border:.1e} near it.",
        ]
        if not self.takes_sigma:
            lines.append("The network does not take the noise level as an input.")
        elif not self.depends_on_sigma:
            lines.append("The network takes the noise level, but its output does not depend on it.")
        else:
            lines.append("The output depends on the noise level that the network is given.")
        if self.statistics:
            lines.append(f"These layers use statistics of the image or the batch: {', '.join(self.statistics)}.")
        if self.depends_on_batch:
            lines.append("The output for an image depends on the other images of its batch.")
        if self.effective_window is not None:
            radii = {sigma: self.effective_radius(sigma) for sigma in self.effective_window.sigma.unique()}
            windows = ", ".join(f"{2 * r + 1} x {2 * r + 1} at sigma {sigma:g}" for sigma, r in radii.items())
            lines.append(f"99 % of the energy of the derivative lies within {windows}.")
        return "\n".join(lines)


def probe(
    net: Net,
    channels: int = 1,
    sigma: float = 0.1,
    *,
    sigmas: Sequence[float] = SIGMAS,
    images: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Probe:
    """Measure the receptive field, border rule, equivariance and effective window of any network.

    The receptive field is the support of the derivative of an output pixel over several random inputs; a function that
    torch cannot differentiate is asked whether the output changes when everything outside a window is replaced.

    Args:
        net: A `torch.nn.Module` in eval mode, or a function; takes z (Q, C, H, W), or z and sigma, and returns an image
            of the same height and width.
        channels: C of the input.
        sigma: Noise level of the random inputs, in units of the image range.
        sigmas: Noise levels at which the effective window is measured.
        images: Clean images (Q, C, H, W) on which to measure the effective window; default: smooth random images.
        generator: Source of the random images, on the CPU; default: one with seed 0.

    Returns:
        A `Probe`; printing it gives a paragraph in words.

    Raises:
        ValueError: For a network in training mode, one that raises, returns NaN or another size, and bad arguments.

    Source:
        The conditions are those of Nguyen, Do, Pauwels, Weiss, arXiv 2601.10334.

    Example:
        >>> import torch, lemmse
        >>> found = lemmse.probe(torch.nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular").eval())
        >>> found.receptive_field, found.border
        (5, 'circular')
    """
    check_count(channels, "channels")
    sigma = check_positive(sigma, "sigma")
    sigmas = check_positive_numbers(sigmas, "sigmas", minimum=0)
    if images is not None and check_images(images).shape[1] != channels:
        raise ValueError(f"images must have {channels} channels, as asked for, got {images.shape[1]}")
    generator = check_generator(generator) or torch.Generator().manual_seed(0)
    takes_sigma = accepts_sigma(net)
    restore = checked(net, takes_sigma)
    place = place_of(net)
    side, rows, columns = _field(restore, channels, sigma, generator, place)
    whole = max(rows[1] - rows[0], columns[1] - columns[0]) + 1 >= side - _MARGIN
    radius = side // 4 if whole else max(-rows[0], rows[1], -columns[0], columns[1])

    z = _noisy(_smooth(_INPUTS, channels, side, generator), sigma, generator).to(**place)
    x_hat = check_repeatable(restore, z, sigma)
    with torch.no_grad():
        inside, border_error = equivariance_errors(restore, z, x_hat, sigma, radius)
        alone = torch.cat([restore(part, sigma) for part in z.split(1)])
        changed = takes_sigma and _differ(restore(z, 2 * sigma), x_hat)
        border = "none" if radius == 0 else border_rule(restore, z, x_hat, sigma, radius, circular=border_error < EQUAL)
    return Probe(
        receptive_field=None if whole else 2 * radius + 1,
        rows=rows,
        columns=columns,
        border=border,
        equivariance_inside=inside,
        equivariance_border=border_error,
        takes_sigma=takes_sigma,
        depends_on_sigma=bool(changed),
        statistics=_statistics(net),
        depends_on_batch=_differ(alone, x_hat),
        effective_window=_window(restore, z if images is None else images, sigmas, images is None, generator, place),
    )


def _smooth(count: int, channels: int, side: int, generator: torch.Generator) -> Tensor:
    """Random images in [0, 1] whose neighboring pixels are alike, (count, channels, side, side)."""
    x = torch.rand(count, channels, side, side, generator=generator, dtype=torch.float32, device="cpu")
    x = (x + x.roll(1, -1) + x.roll(1, -2) + x.roll((1, 1), (-2, -1))) / 4
    return (x - x.amin()) / (x.amax() - x.amin())


def _noisy(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")
    return x.cpu().float() + sigma * noise


def _differ(a: Tensor, b: Tensor) -> bool:
    """Whether two outputs differ by more than rounding."""
    return float((a - b).abs().max()) > EQUAL * max(float(b.std()), 1e-12)


def _field(
    restore: Restorer, channels: int, sigma: float, generator: torch.Generator, place: dict[str, Any]
) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """A side of image that the field does not fill, if there is one, and the rows and columns of the field."""
    refused: ValueError | None = None
    measured: tuple[int, tuple[int, int], tuple[int, int]] | None = None
    for side in SIDES:
        z = _noisy(_smooth(_INPUTS, channels, side, generator), sigma, generator).to(**place)
        try:
            support = _support(restore, z, sigma, generator)
        except ValueError as error:  # a network for one size of image refuses the others
            refused = error
            continue
        rows, columns = (torch.nonzero(support.any(dim))[:, 0] for dim in (1, 0))
        half = side // 2
        if not len(rows):
            return side, (0, 0), (0, 0)  # a constant
        measured = (
            side,
            (int(rows[0]) - half, int(rows[-1]) - half),
            (int(columns[0]) - half, int(columns[-1]) - half),
        )
        if len(rows) < side - _MARGIN and len(columns) < side - _MARGIN:
            return measured
    if measured is None:
        assert refused is not None
        raise refused
    return measured


def _support(restore: Restorer, z: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Which pixels (side, side) an output pixel at the center depends on, the union over inputs and neighbors."""
    side = z.shape[-1]
    center = side // 2
    support = torch.zeros(side, side, dtype=torch.bool, device="cpu")
    for step in range(_POSITIONS):
        row, column = center + step // 2, center + step % 2
        energy = derivative_energy(restore, z, sigma, row, column, generator)
        depends = (energy.sum(0) > 0).cpu() if energy is not None else _changes(restore, z, sigma, row, column)
        support |= depends.roll((center - row, center - column), (0, 1))
    return support


def derivative_energy(
    restore: Restorer, z: Tensor, sigma: float, row: int, column: int, generator: torch.Generator
) -> Tensor | None:
    """`sum_c (d x_hat[m] / d z[c, p])^2` at each pixel p, (Q, H, W), for one output pixel m; None without a derivative.

    The output channels of m are added with random signs, so that none hides another.
    """
    z = z.detach().requires_grad_(True)
    with torch.enable_grad():
        x_hat = restore(z, sigma)
        if not x_hat.requires_grad:
            return None
        signs = (
            torch.randint(2, (x_hat.shape[1],), generator=generator, dtype=torch.int64, device="cpu").to(x_hat) * 2 - 1
        )
        (x_hat[:, :, row, column] * signs).sum().backward()
    return torch.zeros_like(z[:, 0]) if z.grad is None else z.grad.square().sum(1)


@torch.no_grad()
def _changes(restore: Restorer, z: Tensor, sigma: float, row: int, column: int) -> Tensor:
    """Which rows and columns an output pixel depends on, by replacing everything from a row or column on."""
    side = z.shape[-1]
    center = restore(z, sigma)[:, :, row, column]
    other = z.flip(0).roll(3, -1)

    def depends(mask: Tensor) -> bool:
        return not torch.equal(restore(torch.where(mask, other, z), sigma)[:, :, row, column], center)

    index = torch.arange(side, dtype=torch.int64, device=z.device)
    reach = {}
    for name, axis in (("rows", index[:, None]), ("columns", index[None, :])):
        at = row if name == "rows" else column
        first = next((i for i in range(at) if depends((axis <= i).expand(side, side))), at)
        last = next((i for i in range(side - 1, at, -1) if depends((axis >= i).expand(side, side))), at)
        reach[name] = (axis >= first) & (axis <= last)
    return (reach["rows"] & reach["columns"]).cpu()


def _statistics(net: Net) -> tuple[str, ...]:
    """Names and types of the layers that use statistics of the image or the batch."""
    if not isinstance(net, nn.Module):
        return ()
    named: Iterable[tuple[str, nn.Module]] = net.named_modules()

    def is_global(layer: nn.Module) -> bool:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return layer.training or layer.running_mean is None
        return isinstance(layer, _WHOLE_IMAGE)

    return tuple(f"{name or 'net'} ({type(layer).__name__})" for name, layer in named if is_global(layer))


def _window(
    restore: Restorer,
    images: Tensor,
    sigmas: Sequence[float],
    synthetic: bool,
    generator: torch.Generator,
    place: dict[str, Any],
) -> pd.DataFrame | None:
    """The share of the energy of the derivative within each radius of the output pixel, for each sigma; None without
    a derivative or a sigma.
    """
    import pandas as pd

    if not sigmas:
        return None
    height, width = images.shape[-2:]
    row, column = height // 2, width // 2
    distance = torch.maximum(
        (torch.arange(height, dtype=torch.int64, device="cpu") - row).abs()[:, None],
        (torch.arange(width, dtype=torch.int64, device="cpu") - column).abs(),
    )
    rows = []
    for level in sigmas:
        clean = _smooth(len(images), images.shape[1], height, generator) if synthetic else images
        z = _noisy(clean, level, generator).to(**place)
        energy = derivative_energy(restore, z, level, row, column, generator)
        if energy is None:
            return None
        by_radius = torch.zeros(int(distance.max()) + 1, dtype=torch.float64, device="cpu")
        by_radius.index_add_(0, distance.flatten(), energy.double().sum(0).cpu().flatten())
        share = by_radius.cumsum(0) / by_radius.sum().clamp_min(1e-300)
        rows += [{"sigma": level, "radius": r, "share": value} for r, value in enumerate(share.tolist())]
    return pd.DataFrame(rows)
