# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The theory predicts the network
#
# **Question.** A convolutional network is trained to undo noise, a hole or a blur. Can its output be written down
# without
# training it?
#
# **Answer.** Yes, from its receptive field and its training images alone. On this run the denoisers
# ({glue:text}`architectures`) agree with the formula below to {glue:text}`floor_low:.1f` dB or better at
# $\sigma =$ {glue:text}`sigma_low`, and to {glue:text}`floor_high:.1f` dB or better from $\sigma =$
# {glue:text}`sigma_high` on: means over images, the worst architecture, on training images and on images that it has
# never seen.
#
# **The formula.** Among all maps that commute with translations and see $P \times P$ pixels, the one of least squared
# error returns at output pixel $m$ a mean of training pixels {cite}`nguyen2026analytic`:
#
# $$
# \hat x[m] = \sum_{i,k} x_i[k]\, w_{i,k}, \qquad
# w_{i,k} \propto \exp\!\Big(-\frac{\lVert \Pi_m y - \Pi_k A x_i \rVert^2}{2\sigma^2}\Big),
# $$ (eq-le-mmse)
#
# over all training images $i$ and positions $k$, where $\Pi_k$ cuts out the patch centred at $k$. The network sees the
# measurement $y = A x + e$ itself: it is *physics-agnostic*. {doc}`/theory` derives the formula.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side
channels: int = 1  # 1 grey, 3 colour
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained on denoising
everywhere: list[str] = ["ResNet"]  # trained on the other operators too
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 1600  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
tested: int = 8  # training and test images of the evaluation, each
seed: int = 0  # of masks, weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from myst_nb import glue

from lemmse import figures, load_images
from lemmse.comparison import EQUAL, brute_force, compare, experiment, restore, summarise
from lemmse.operators import OPERATORS, make_operator
from lemmse.results import committed_table

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The experiment
#
# {glue:text}`count` images ({glue:text}`data`) of {glue:text}`size` x {glue:text}`size` pixels are all that the formula
# and the networks know. Each network minimises the squared error (AdamW, {glue:text}`steps` steps of
# {glue:text}`batch_size` images), for noise levels uniform in ({glue:text}`sigma_min`, 1); nothing tells it about
# patches. Then networks and formula restore the same measurements of {glue:text}`tested` training and
# {glue:text}`tested` test images. The operators: noise alone; a hidden centre square; 30 % of the pixels hidden at
# random; a Gaussian blur of standard deviation 1 pixel.

# %% tags=["hide-input"]
if not set(everywhere) <= set(architectures):
    raise ValueError(f"everywhere must name some of the architectures {architectures}, got {everywhere}")
images = load_images(data, count=count, size=size, channels=channels)
test = load_images(data, split="test", count=tested, size=size, channels=channels)
evaluated = {"training": images[:tested], "test": test}
trained, frames = {}, []
for name in OPERATORS:
    trained[name] = experiment(
        images,
        make_operator(name, size, size, torch.Generator().manual_seed(seed)),
        architectures if name == "denoising" else everywhere,
        patch_size=patch_size,
        seed=seed,
        size=network_size,
        steps=steps,
        batch_size=batch_size,
        lr=learning_rate,
        sigma_min=sigma_min,
    )
    formula, nets = trained[name]
    for split, x in evaluated.items():
        frame = compare(nets, formula, x, sigmas, generator=torch.Generator().manual_seed(seed + 1))
        frames.append(frame.assign(operator=name, split=split))
results = pd.concat(frames, ignore_index=True)

# %% [markdown]
# ## What it looks like
#
# The columns of the networks and of the formula should be the same picture, and differ from the truth in the same way.
#
# ```{glue:figure} predictions
# :name: fig-predictions
# :alt: Rows are operators; columns are the measurement, the networks, the formula and the truth.
#
# Test images through each operator, at the noise level named in the row. The formula was computed from the training
# images, not fitted to any network. A blank place: that network was not trained on that operator at this preset.
# ```

# %% tags=["hide-input"]
shown = sigmas[len(sigmas) // 2]
rows = {}
for turn, (name, (formula, nets)) in enumerate(trained.items()):
    one = test[turn % tested][None]
    found = restore(nets, formula, one, shown, torch.Generator().manual_seed(seed))
    rows[f"{name}\nsigma = {shown:g}"] = {column: batch[0] for column, batch in found.items()}
columns = ["measurement", *architectures, "formula", "truth"]
glue("predictions", figures.gallery(rows, columns, figures.note_distance), display=False)

# %% [markdown]
# ## How close, and where
#
# ```{glue:figure} closeness
# :name: fig-closeness
# :alt: PSNR between network and formula against sigma, on training and on test images; all lines rise.
#
# Denoising: PSNR between network and formula, mean and standard deviation over images. The step is what the claim at
# the end of this chapter demands. A value of 30 dB is a root mean square difference of 3 % of the image range.
# ```
#
# ```{glue:figure} operators
# :name: fig-operators
# :alt: PSNR between network and formula against sigma, one line for each of the four operators.
#
# The same for {glue:text}`everywhere` on each operator. The formula needs no more than $A x_i$, whatever $A$ is.
# ```

# %% tags=["hide-input"]
denoising = results[results.operator == "denoising"]
bar = [(s, 25.0 if s < 0.2 else 30.0) for s in sigmas if s >= 0.1]
label = "network to formula: PSNR (dB)"
lines = figures.psnr_lines(denoising, "network_formula", "network", "split", label=label, bar=bar)
glue("closeness", lines, display=False)
some = results[results.network.isin(everywhere)]
glue("operators", figures.psnr_lines(some, "network_formula", "operator", "split", label=label), display=False)

# %% [markdown]
# The table holds all three distances. Where *network to formula* exceeds *network to truth*, the network errs as the
# formula does: on average by {glue:text}`excess:.1f` dB for $\sigma \ge 0.1$. As restorers the two differ by
# {glue:text}`gap:.2f` dB on average from $\sigma =$ {glue:text}`sigma_high` on. At $\sigma =$ {glue:text}`sigma_least`,
# on training images, the formula is ahead of the denoisers by {glue:text}`ahead:.1f` dB: it recalls these images, and
# networks trained for minutes do not yet.
#
# ```{glue:figure} distances
# :name: tab-distances
#
# PSNR in dB, mean ± standard deviation over {glue:text}`tested` images of each split, one noise draw each.
# ```

# %% tags=["hide-input"]
table = summarise(results, ["operator", "network", "sigma", "split"]).unstack("split").swaplevel(axis=1)
table.columns = table.columns.set_levels([d.replace("_", " to ") for d in table.columns.levels[1]], level=1)
glue("distances", table.sort_index(axis=1, ascending=False).style.format_index(precision=2), display=False)
glue("gpu_table", committed_table("network_vs_formula"), display=False)

# %% [markdown]
# ## At the scale of the paper
#
# ```{glue:} gpu_table
# ```

# %% [markdown]
# ## The claim
#
# The cell below raises, and the book does not build, if the claim fails. It would be wrong if a network of receptive
# field $P$ stayed far from equation {eq}`eq-le-mmse` although its loss is near the least possible; or if the two agreed
# on training images but not on test images, for then the network would know something that the formula does not.

# %%
results["capped"] = results.network_formula.clip(upper=EQUAL)
mean = results.groupby(["operator", "network", "sigma", "split"]).capped.mean().reset_index()
judged = mean[mean.sigma >= 0.1]
least = judged.sigma.map(lambda sigma: 25.0 if sigma < 0.2 else 30.0)
least = least.where(judged.operator == "denoising", 22.0)  # the worst cell, of random inpainting, was 24.0 dB when set
failed = judged[judged.capped < least]
at_least_tenth = results[results.sigma >= 0.1]
excess = (at_least_tenth.capped - at_least_tenth.network_truth).mean()
sigma_low, sigma_least = min(sigmas, key=lambda s: abs(s - 0.1)), min(sigmas)
sigma_high = min((s for s in sigmas if s >= 0.2), default=max(sigmas))
behind = results.formula_truth - results.network_truth
gap = behind[results.sigma >= sigma_high].abs().mean()
recalled = (results.sigma == sigma_least) & (results.split == "training") & (results.operator == "denoising")
ahead = behind[recalled].mean()
if preset == "smoke":
    formula, _ = trained["denoising"]
    y = formula.physics.measure(test, shown, generator=torch.Generator().manual_seed(seed))
    pixels = [(0, 0), (size // 2, size // 3), (size - 1, 1)]
    exact = brute_force(images, formula.physics, y, shown, patch_size, pixels)
    ours = torch.stack([formula(y, shown)[:, :, r, c] for r, c in pixels], -1)
    assert (ours - exact).abs().max() < 1e-5, "the engine must agree with the formula written out"
    assert results.notna().all(axis=None), "every distance must be a number"
    print("smoke: the formula is exact; the claim itself is not tested at this size")
elif strict:
    assert len(judged) > 0, "no sigma of at least 0.1 was evaluated"
    assert failed.empty, f"too far from the formula:\n{failed.to_string()}"
    assert excess > 5, "networks must be nearer to the formula than to the truth"
    print("every network is within the claimed distance of the formula")
else:
    print(f"not strict: {len(failed)} of {len(judged)} means are under the bar of the quick preset")

# %% tags=["remove-cell"]
worst = mean[mean.operator == "denoising"]
glue("floor_low", float(worst[worst.sigma == sigma_low].capped.min()), display=False)
glue("floor_high", float(worst[worst.sigma >= sigma_high].capped.min()), display=False)
for name in ("count", "data", "size", "steps", "batch_size", "tested", "sigma_min"):
    glue(name, globals()[name], display=False)
glue("architectures", ", ".join(architectures), display=False)
glue("everywhere", ", ".join(everywhere), display=False)
measured = {"excess": excess, "gap": gap, "ahead": ahead}
measured |= {"sigma_low": sigma_low, "sigma_high": sigma_high, "sigma_least": sigma_least}
for name, value in measured.items():
    glue(name, float(value), display=False)

# %% [markdown]
# ## Try it
#
# Other parameters may miss the bar, which is set for the presets; `strict False` reports instead of failing.
#
# - `patch_size 11`: the network sees more, and needs longer training to reach the formula.
# - `count 20`: with few images both memorise; at small $\sigma$ the output is stitched from training pixels.
# - `data fashion_mnist` (after `lemmse data fetch fashion_mnist`): another world, the same agreement.
#
# ```bash
# lemmse run 01 -p patch_size 11 -p steps 5000 -p strict False
# ```
