"""What all forward operators share: how they measure, what a subclass has to define, and which noise they may have."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from lemmse.checks import check_tensor
from lemmse.physics.noise import add_noise, check_gaussian_model, check_noise, draw


class Physics(nn.Module):
    """A forward operator A says how an image x is measured, `y = A x + e`; all operators share this class.

    It takes no parameters. A subclass defines `A` and, where A is linear, `A_adjoint` and `A_dagger`; all of them take
    and return batches. The noise e is white, real, and complex where the measurements are.

    Raises:
        ValueError: in a method that the subclass does not define.

    Source: arXiv 2601.10334; the page on the theory, "The setting".

    Example:
        >>> import lemmse, torch
        >>> class Half(lemmse.Physics):
        ...     def A(self, x):
        ...         return x / 2
        >>> y = Half().measure(torch.ones(2, 1, 4, 4), 0.1, generator=torch.Generator().manual_seed(0))
        >>> y.shape
        torch.Size([2, 1, 4, 4])
    """

    def A(self, x: Tensor) -> Tensor:
        """Noiseless measurement of the images x (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A"))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Adjoint: `Re <A x, y> = <x, A_adjoint(y)>`, measurements to images (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A_adjoint"))

    def A_dagger(self, y: Tensor) -> Tensor:
        """Moore-Penrose pseudo-inverse, measurements to images (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A_dagger"))

    def measure(
        self,
        x: Tensor,
        sigma: float | Tensor,
        generator: torch.Generator | None = None,
        *,
        noise: str = "gaussian",
        background: float = 0.0,
    ) -> Tensor:
        """Measure images with noise, `y = A x + e`, e ~ N(0, sigma^2 I), while `A` gives the noiseless measurement.

        The noise is on every measurement, unseen pixels and both complex parts included.

        Args:
            x: clean images (Q, C, H, W), float32 or float64.
            sigma: standard deviation of the noise, in units of the image range: a number, (Q,) or a map (Q, 1, H, W),
                positive.
            generator: the source of the noise, on any device; without one, torch's own.
            noise: "gaussian", or another law of `physics.noise`: "poisson" gives counts
                y ~ Poisson(sigma (A x + background)), sigma being the rate.
            background: the mean count of the background per unit rate, at least 0, for "poisson" only.

        Returns:
            The measurements, of the shape of `A(x)`.

        Raises:
            ValueError: for a sigma that is not positive and finite, for means that the law does not have, and for a
                background without "poisson".
        """
        noise, background = check_noise(noise, background)
        if noise == "gaussian":
            return add_noise(self.A(x), sigma, generator)
        return draw(self.A(x), sigma, noise, background, generator)

    def to_image(self, y: Tensor) -> Tensor:
        """The physics-agnostic input of a network: the measurements y themselves, where they are images."""
        return y


def check_gaussian(physics: Physics) -> None:
    """Warn or raise where an operator has noise of its own, because the theory here is that of white Gaussian noise.

    Raises ValueError for a `noise_model` that is not Gaussian by its name; warns about a `measure` that is overridden.
    """
    check_gaussian_model(physics)
    if getattr(physics.measure, "__func__", None) is not Physics.measure:
        warnings.warn(
            f"{type(physics).__name__} has a measure of its own: the formulas hold only if it adds white Gaussian "
            "noise of standard deviation sigma",
            UserWarning,
            stacklevel=4,
        )


@torch.inference_mode(False)
def constant_matrix(values: Tensor, name: str, shape: str) -> Tensor:
    """A copy of a real, finite matrix in float64, which gradients may pass even if it was made in inference mode."""
    check_tensor(values, name)
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"{name} must be a tensor of shape {shape}, got {tuple(values.shape)}")
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be real and finite, but it is complex or holds NaN or infinity")
    return values.detach().to(torch.float64, copy=True)


def _lacks(physics: Physics, method: str) -> str:
    return (
        f"{type(physics).__name__} has no {method}: use Denoising, Inpainting, Blur, FourierSampling, Linear or "
        f"Nonlinear, or define {method} in a subclass"
    )
