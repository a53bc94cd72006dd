# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # High-density regions
#
# **Question.** A network sees common patches often and rare ones hardly ever. Is it nearer to the formula where patches
# are common, and does it learn those first?
#
# **Answer.** Nearer, yes: from the tenth of the patches where the training data are densest to the tenth where they are
# rarest, networks lose {glue:text}`least_drop:.0f` to {glue:text}`most_drop:.0f` dB of agreement, on training and on
# test images alike. But density only orders them loosely: pixel by pixel the rank correlation is
# {glue:text}`least_rho:.2f` to {glue:text}`most_rho:.2f`. {glue:text}`first`
#
# **The formula.** The denominator of LE-MMSE is the density of noisy training patches ({doc}`/theory`). For a patch
# $v = \Pi_m y$ of $r$ numbers we use its *surprisal* beyond the entropy of the noise, in nats,
#
# $$
# s(v) = -\log p_\sigma(v) - \tfrac r2 \log (2 \pi e \sigma^2), \qquad
# p_\sigma(v) = \frac{1}{N n} \sum_{i,k} \mathcal N(v; \Pi_k x_i, \sigma^2 I).
# $$ (eq-surprisal)
#
# A noisy copy of a patch that makes up a share $q$ of all has $s = -\log q$ on average, if no other is near. Densities
# compare within one $\sigma$ only, so correlations and tenths are taken at each $\sigma$ by itself.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the first chapter
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 1600  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.2, 0.8]  # noise levels of the evaluation
tested: int = 8  # training and test images of the evaluation, each
elsewhere: int = 3  # images of each other world
watched_size: int = 16  # pixels a side, of the trainings that are watched
watched: int = 16  # test images on which they are looked at
checkpoints: list[int] = [25, 50, 100, 200, 400]  # steps after which they are looked at
seed: int = 0  # of weights, training, worlds and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import numpy as np
import pandas as pd
import torch

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import evaluation_images, experiment
from lemmse.analysis.risk import training_checkpoints
from lemmse.analysis.surprisal import deciles, pixel_errors, rank_correlation, surprisals
from lemmse.book.chapter import check_claim, keep
from lemmse.data.unseen import WORLDS, world_images

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## Where the two part
#
# The denoisers of {doc}`01_theory_predicts_network`, {glue:text}`last` with {glue:text}`times` seeds.
#
# ```{glue:figure} maps
# :name: fig-density-maps
# :alt: For each noise level: measurement, formula, map of surprisal, and map of the difference to the network.
#
# A test image. *Surprisal*, in nats: light patches are rare among the training patches. *Difference* between networks
# and formula, root mean square over networks, image range 0 to 1: light is far. Each map has its own scale.
# ```

# %% tags=["hide-input"]
images, physics = load_images(data, count=count, size=size, channels=1), Denoising()
worlds = torch.Generator().manual_seed(seed)
sets = evaluation_images(images, data, tested)
sets |= {name: world_images(name, elsewhere, size, 1, worlds) for name in WORLDS}
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
options |= {"patch_size": patch_size, "repeats": repeats}
formula, nets = experiment(images, physics, architectures, steps=steps, **options)
queries = surprisals(formula, sets, sigmas, seed=seed + 1)
pixels = pd.concat([pixel_errors(nets, q).assign(set=name) for name, q in queries.items()], ignore_index=True)
rows = {}
for q in queries["test"]:
    squares = [(net(q.z, q.sigma) - q.posterior.mean).square().mean(1) for net in nets.values()]
    rows[f"sigma = {q.sigma:g}"] = (q, torch.stack(squares).mean(0))
keep(maps=figures.density_maps(rows, image=tested // 2))

# %% [markdown]
# ## Error against density, at home and elsewhere
#
# ```{glue:figure} tenths
# :name: fig-tenths
# :alt: Agreement against surprisal, a panel for each noise level, a line for each set of images; all fall.
#
# PSNR between networks and formula against surprisal: each point is a tenth of the pixels of a set of images, from its
# densest to its rarest, over all networks. Test images and other worlds lie on one axis with the training images. At
# the least noise, every patch of uniform noise is rarer than any of a training image.
# ```
#
# ```{glue:figure} correlation
# :name: tab-correlation
#
# Spearman correlation of the squared difference with surprisal, over the pixels of an image: mean over networks and
# images, and its 95 % bootstrap interval (networks and images drawn anew). Last columns: with the posterior variance
# instead, the rival explanation that networks fail where the formula is unsure.
# ```

# %% tags=["hide-input"]
tenths = deciles(pixels, ["sigma", "set"])
found = {}
for (name, sigma), part in pixels.groupby(["set", "sigma"], sort=False):
    for against in ("surprisal", "variance"):
        found[name, against, sigma] = rank_correlation(part, against, seed=seed)
rho = pd.DataFrame(found, index=["mean", "low", "high"]).T
text = rho.apply(lambda row: f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})", axis=1).unstack([1, 2])
text.columns = [f"{against}, sigma = {sigma:g}" for against, sigma in text.columns]
label = "network to formula: PSNR (dB)"
keep(tenths=figures.error_over_surprisal(tenths, "set", label), correlation=text.loc[list(sets)].style)

# %% [markdown]
# ## Are dense regions learned first?
#
# {glue:text}`last`, {glue:text}`times` seeds, new weights, on {glue:text}`watched_size` x {glue:text}`watched_size`
# pixels, looked at on {glue:text}`watched` test images at $\sigma =$ {glue:text}`shown`; the learning rate decays to
# zero before each checkpoint.
#
# ```{glue:figure} path
# :name: fig-density-path
# :alt: Left, agreement against steps for four tenths of the patches; right, share of the squared error that is left.
#
# Tenths of the patches by surprisal, mean over seeds. Left: PSNR to the formula. Right: what is left of the squared
# difference at the first checkpoint; a tenth that is learned first falls first.
# ```

# %% tags=["hide-input"]
small = load_images(data, count=count, size=watched_size, channels=1)
shown = sorted(sigmas)[len(sigmas) // 2]
near = LocalEquivariantMMSE(small, physics, patch_size=patch_size)
looked = load_images(data, split="test", count=watched, size=watched_size, channels=1)
looked = surprisals(near, {"test": looked}, [shown], seed=seed + 1)["test"]
path = pd.concat(
    pixel_errors({name: net}, looked).assign(steps=done)
    for name, done, net in training_checkpoints(architectures[-1:], small, physics, checkpoints, **options)
)
path = deciles(path, ["network", "steps"])
keep(path=figures.deciles_over_steps(path, [1, 4, 7, 10], label))

# %% [markdown]
# ## The claim
#
# It would be wrong if, on training or test images, error did not rise with surprisal at some $\sigma$ beyond the
# interval; if the rarest tenth of any set were within {glue:text}`bar:.0f` dB of its densest; or if, in the mean over
# seeds, the rarest tenth were ahead of the densest at a checkpoint. Which tenth sheds the larger *share* of its error
# sooner is reported above, not claimed.

# %%
bar = 3.0
assert np.isfinite(pixels.select_dtypes("number")).all(axis=None), "every error and surprisal must be a number"
assert formula_error(formula, queries["test"][0].z[:1], sigmas[0]) < 1e-5, "the engine must agree with the formula"
levels = -10 * np.log10(tenths.set_index(["set", "sigma", "decile"]).error.unstack())
drop = levels[1] - levels[10]
home = rho.loc[["training", "test"]].xs("surprisal", level=1)
on_the_way = path.groupby(["steps", "decile"]).error.mean().unstack()
least = pixels[pixels.sigma == min(sigmas)].groupby("set").surprisal.agg(["min", "max"]).stack()
held = {
    "error rises with surprisal, beyond the interval": (home.low > 0).all(),
    f"the rarest tenth is {bar:.0f} dB behind, at home": (drop.loc[["training", "test"]] > bar).all(),
    f"and in every other world at sigma = {shown:g}": (drop.xs(shown, level="sigma") > bar).all(),
    "uniform noise is rarer than any training patch": least["uniform noise", "min"] > least["training", "max"],
    "the rarest tenth is behind at every checkpoint": (on_the_way[10] > on_the_way[1]).all(),
}
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
left = 100 * on_the_way[[1, 10]] / on_the_way.iloc[0][[1, 10]]
ahead = held["the rarest tenth is behind at every checkpoint"]
first = f"Of training: the densest tenth is {'ahead' if ahead else 'not ahead'} at every checkpoint"
first += f"; after {checkpoints[-1]} steps it has {left[1].iloc[-1]:.0f} % of its first error left, the rarest"
first += f" {left[10].iloc[-1]:.0f} %; after {checkpoints[1]} steps it was {left[1].iloc[1]:.0f} and"
first += f" {left[10].iloc[1]:.0f} %."
keep(**{name: globals()[name] for name in ("count", "data", "watched_size", "watched", "shown", "bar", "first")})
keep(least_drop=drop.loc[["training", "test"]].min(), most_drop=drop.loc[["training", "test"]].max())
keep(least_rho=home["mean"].min(), most_rho=home["mean"].max(), last=architectures[-1], times=repeats + 1)

# %% [markdown]
# ## Try it
#
# - `steps 200`: young networks; see by how much the gap between dense and rare grows.
# - `patch_size 9`: all patches are rarer, and the other worlds are farther away.
# - `count 4000`: more training patches, more of them near any test patch: the two lines of home meet.
