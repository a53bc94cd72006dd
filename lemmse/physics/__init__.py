"""What is measured, `y = A x + e`, and what the network is given of it, `z = B y`."""

from __future__ import annotations

from lemmse.physics.base import Physics
from lemmse.physics.downsampling import Downsampling
from lemmse.physics.general import Linear, Nonlinear
from lemmse.physics.operators import Blur, Denoising, FourierSampling, Inpainting

__all__ = ["Blur", "Denoising", "Downsampling", "FourierSampling", "Inpainting", "Linear", "Nonlinear", "Physics"]
