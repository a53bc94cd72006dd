# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Physics-aware against physics-agnostic
#
# **Question.** A network can see the measurement $y$ itself, or $z = By$, where $B$ already undoes the operator $A$ in
# part. Does knowing the physics help?
#
# **Answer.** It depends on what $B$ does to the noise of one patch. On this run, at $\sigma =$ {glue:text}`shown` on test
# images, the formula gains {glue:text}`gain_hole:+.1f` dB where $B$ erases the noise of hidden pixels and
# {glue:text}`gain_fourier:+.1f` dB where it erases that of frequencies never sampled, but loses as much as
# {glue:text}`gain_pinv:+.1f` dB behind the pseudo-inverse of a blur; a strong Tikhonov inverse gains
# {glue:text}`gain_best:+.1f` dB. The trained networks move the same way.
#
# **The formula** is {eq}`eq-lemmse` of {doc}`/theory` with $v = \Pi_m B y$ and $Q_k = \Pi_k B$:
#
# $$
# \hat x[m] = \sum_{i,k} x_i[k]\, w_{i,k}(v), \qquad
# w_{i,k}(v) \propto g\big(v;\, \Pi_k B A x_i,\, \sigma^2 Q_k Q_k^\top\big),
# $$ (eq-aware)
#
# $g$ the Gaussian density; $k$ competes for $m$ only if $Q_k$ and $Q_m$ have the same range. Agnostic: $B = I$.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 200  # training images
size: int = 20  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
lambdas: list[float] = [0.01, 1.0]  # of the two Tikhonov inverses of the blur, ascending
architecture: str = "ResNet"  # one network for each operator and input, all trained alike
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 800  # of training
batch_size: int = 4  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
tested: int = 6  # training and test images of the evaluation, each
seed: int = 0  # of masks, weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from myst_nb import glue

from lemmse import Linear, LocalEquivariantMMSE, figures, load_images, psnr
from lemmse.comparison import experiment, restore
from lemmse.operators import FOURIER, make_operator
from lemmse.regions import errors_by_region, window_regions
from lemmse.second_moments import patch_moments

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The risk
#
# {glue:text}`count` images ({glue:text}`data`), $P =$ {glue:text}`patch_size`; a {glue:text}`architecture` for each
# operator and input, all trained for {glue:text}`steps` steps of {glue:text}`batch_size` images. All inputs of an operator
# come from the same measurements of {glue:text}`tested` training and {glue:text}`tested` test images. Fourier sampling
# measures whole columns of frequencies, as in accelerated MRI.
#
# ```{glue:figure} gains
# :name: fig-gains
# :alt: Gain in dB over the agnostic solver against sigma; inpainting and Fourier gain, the pseudo-inverse of the blur loses.
#
# PSNR to the truth, less that of the agnostic formula (network) on the same measurements, mean over images.
# Above the grey line, knowing the physics helps.
# ```

# %% tags=["hide-input"]
images = load_images(data, count=count, size=size, channels=1)
generator = torch.Generator().manual_seed(seed)
evaluated = {
    "training": images[torch.randperm(count, generator=generator)[:tested]],
    "test": load_images(data, split="test", count=tested, size=size, channels=1),
}
AGNOSTIC, PINV = "agnostic", "pseudo-inverse"
inverses = {AGNOSTIC: {}, PINV: {"pre_inverse": "pinv"}}
tikhonov = {f"Tikhonov {lam:g}": {"pre_inverse": "tikhonov", "tikhonov_lambda": lam} for lam in lambdas}
HOLE, BLUR = "centre inpainting", "Gaussian blur"
plan = {HOLE: inverses, BLUR: inverses | tikhonov, FOURIER: inverses}
options = {"size": network_size, "steps": steps, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min}
solvers, frames = {}, []
for operator, inputs in plan.items():
    physics = make_operator(operator, size, size, torch.Generator().manual_seed(seed))
    common = {"patch_size": patch_size, "seed": seed, **options}
    solvers[operator] = {name: experiment(images, physics, [architecture], **common, **B) for name, B in inputs.items()}
    for split, x in evaluated.items():
        frame = errors_by_region(solvers[operator], x, sigmas, generator=generator)
        frames.append(frame.assign(operator=operator, split=split))
results = pd.concat(frames, ignore_index=True)
results["psnr"] = -10 * results.mse.map("log10".__class__ and __import__("math").log10)
