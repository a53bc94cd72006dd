"""lemmse: the analytic theory of CNN solvers of imaging inverse problems, as a library and a book."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data.sets": ["load_images"],
        "estimators.emmse": ["EquivariantMMSE"],
        "estimators.lemmse": ["LocalEquivariantMMSE"],
        "estimators.mmse": ["MMSE"],
        "analysis.metrics": ["psnr"],
        "networks.architectures": ["PatchMLP", "ResNet", "UNet"],
        "physics.operators": ["Blur", "Denoising", "FourierSampling", "Inpainting", "Linear", "Nonlinear", "Physics"],
        "estimators.posterior": ["PartialSum", "Posterior"],
        "networks.training": ["train"],
    },
)
