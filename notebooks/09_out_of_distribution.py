# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Out of distribution
#
# **Question.** A network that was trained on photographs is given textures, print, faces, noise, a constant, a single
# bright pixel. Does the formula, which knows the same photographs, still say what it will do, mistakes included?
#
# **Answer.** Yes, as far as the noise covers what is new. From $\sigma =$ {glue:text}`sigma_high` on, the formula
# accounts for {glue:text}`explained_least:.0f` % or more of the squared error of the networks in every world, and for
# {glue:text}`explained_mean:.0f` % on average. Where it accounts for least, at any noise level
# ({glue:text}`worst_world`, $\sigma =$ {glue:text}`worst_sigma`), it is {glue:text}`explained_worst:.0f` %: there the
# truth says more of the network than the formula does.
#
# **What is tested.** Both know the training images only. The network $f$ is close to LE-MMSE where the training data
# put noisy patches; elsewhere nothing in the theory ties it to the formula
#
# $$
# \hat x[m] = \sum_{i,k} x_i[k]\, w_{i,k}(\Pi_m y),
# $$ (eq-elsewhere)
#
# which always returns an average of *training* pixels. If $f$ errs as the formula errs, then
# $\lVert f - \hat x \rVert^2$ is small against $\lVert f - x \rVert^2$: *explained* is one minus their ratio. It is
# one if the network is the formula, zero if the formula says no more of it than the truth does, and negative if less.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side
channels: int = 1  # 1 grey, 3 colour
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the first chapter
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 1600  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
tested: int = 8  # images of each world
seed: int = 0  # of weights, training, worlds and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch

from lemmse import Denoising, figures, load_images
from lemmse.analysis.evaluate import compare, formula_error, network_distances, restore_one, restorers, summarise
from lemmse.analysis.experiment import experiment
from lemmse.book.chapter import check_claim, keep
from lemmse.data.unseen import WORLDS, world_images

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The worlds
#
# The denoisers of {doc}`01_theory_predicts_network`, {glue:text}`last` with {glue:text}`times` seeds, and the formula
# know {glue:text}`count` training images ({glue:text}`data`). *Home* is test images of the same set. Then, in order:
# crops of brick, grass and gravel; a printed page; faces, of another data set; pixels drawn at random; one grey for all
# pixels; one bright pixel on black. {glue:text}`tested` images of each.
#
# ```{glue:figure} worlds
# :name: fig-worlds
# :alt: A row for each world; columns are measurement, network, formula and truth. Network and formula look alike.
#
# One image of each world at $\sigma =$ {glue:text}`shown`. Print and the bright pixel are blurred away, by network and
# formula alike: no training patch holds them.
# ```

# %% tags=["hide-input"]
images = load_images(data, count=count, size=size, channels=channels)
generator = torch.Generator().manual_seed(seed)
evaluated = {"home": load_images(data, split="test", count=tested, size=size, channels=channels)}
evaluated |= {name: world_images(name, tested, size, channels, generator) for name in WORLDS}
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
options |= {"patch_size": patch_size, "steps": steps, "repeats": repeats}
formula, nets = experiment(images, Denoising(), architectures, **options)
pairs = compare(restorers(formula, nets), Denoising(), evaluated, sigmas, seed=seed + 1)
results = network_distances(pairs, nets).rename(columns={"split": "world"})
shown = min(sigmas, key=lambda s: abs(s - 0.2))
rows = {name: restore_one(nets, formula, x[0], shown, seed) for name, x in evaluated.items()}
columns = ["measurement", architectures[0], "formula", "truth"]
keep(worlds=figures.gallery(rows, columns, figures.note_distance, cell=1.4))

# %% [markdown]
# ## How far the formula goes
#
# ```{glue:figure} elsewhere
# :name: fig-elsewhere
# :alt: PSNR between networks and formula against sigma, a line for each world; uniform noise is far below at first.
#
# PSNR between network and formula: mean and standard deviation over networks and images of each world.
# ```
#
# ```{glue:figure} explained
# :name: tab-explained
#
# Share of the networks' squared error that the formula accounts for, in %: mean over networks and images, ± standard
# deviation over networks.
# ```
#
# ```{glue:figure} worlds_psnr
# :name: tab-worlds
#
# PSNR in dB over images and networks, mean ± standard deviation, at $\sigma =$ {glue:text}`shown`.
# ```

# %% tags=["hide-input"]
label = "network to formula: PSNR (dB)"
lines = figures.psnr_lines(results.assign(over="all networks"), "network_formula", "world", "over", label=label)
lines.set_size_inches(5.6, 4.2)
squares = 10 ** (-results[["network_formula", "network_truth"]] / 10)
means = pd.concat([results[["world", "network", "sigma"]], squares], axis=1).groupby(["world", "network", "sigma"])
means = means.mean()
explained = 100 * (1 - means.network_formula / means.network_truth)
over = explained.groupby(["world", "sigma"])
text = over.mean().map("{:.0f}".format) + " ± " + over.std(ddof=0).map("{:.0f}".format)
keep(
    elsewhere=lines,
    explained=text.unstack("sigma").loc[list(evaluated)].style.format_index("{:g}", axis=1),
    worlds_psnr=summarise(results[results.sigma == shown], ["world"]).style,
)

# %% [markdown]
# ## The claim
#
# The claim is wrong if, from $\sigma =$ {glue:text}`sigma_high` on, there is a world in which the formula accounts for
# less than {glue:text}`bar:.0f` % of the error of the networks: they would then err in a way of their own. At small
# $\sigma$ nothing is claimed. There the formula answers a patch that is like no other with its nearest training patch,
# and a network, which never saw such a patch, with whatever its weights make of it.

# %%
bar = 75.0
sigma_high = min((s for s in sigmas if s >= 0.4), default=max(sigmas))
at_high = explained.groupby(["world", "sigma"]).mean().unstack("sigma")
judged = at_high[[s for s in at_high.columns if s >= sigma_high]]
y = formula.physics.measure(evaluated["one pixel"][:1], shown, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y, shown) < 1e-5, "the engine must agree with the formula written out"
worst_case, of_all = judged.min(axis=None), at_high.min(axis=None)
check_claim(
    {f"the formula accounts for {bar:.0f} % of the error in every world": worst_case > bar}, preset, strict=strict
)

# %% tags=["remove-cell"]
worst_world, worst_sigma = at_high.stack().idxmin()
keep(**{name: globals()[name] for name in ("count", "data", "tested", "shown", "bar", "sigma_high")})
keep(explained_least=worst_case, explained_mean=judged.mean(axis=None), explained_worst=of_all)
keep(worst_world=worst_world, worst_sigma=worst_sigma, last=architectures[-1], times=repeats + 1)

# %% [markdown]
# ## Try it
#
# - `sigmas "[0.02, 0.4, 1.6]"`: less noise than in this chapter, and more than the networks were trained on.
# - `patch_size 11`: larger patches leave the training world sooner: look at which $\sigma$ the two part.
# - `data fashion_mnist` (after `lemmse data fetch fashion_mnist`): another home; see which worlds are near it.
