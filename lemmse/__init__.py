"""lemmse: the analytic theory of CNN solvers of imaging inverse problems, as a library and a book."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "datasets": ["load_images"],
        "estimators": ["MMSE", "EquivariantMMSE", "LocalEquivariantMMSE"],
        "metrics": ["psnr"],
        "networks": ["PatchMLP", "ResNet", "UNet"],
        "physics": ["Blur", "Denoising", "FourierSampling", "Inpainting", "Linear", "Nonlinear", "Physics"],
        "posterior": ["PartialSum", "Posterior"],
        "training": ["train"],
    },
)
