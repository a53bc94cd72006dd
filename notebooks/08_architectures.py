# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Architectures agree
#
# **Question.** A U-Net, a residual network and a perceptron on patches: do they learn different things?
#
# **Answer.** No: what they share, receptive field and equivariance, decides what they learn. On this run they agree
# with one another to {glue:text}`pair_low:.1f` dB or better for $\sigma \ge$ {glue:text}`from_sigma` (means over
# images, the worst pair), and with the formula to {glue:text}`formula_low:.1f` dB or better. At every checkpoint of
# every training, the loss exceeds the LE-MMSE risk by the squared distance to the formula, to within
# {glue:text}`worst:.1f` standard errors of the difference.
#
# **The formula.** LE-MMSE, {eq}`eq-lemmse` of {doc}`/theory`, has the least risk of all local, equivariant maps, and
#
# $$
# \mathbb E \lVert f - x \rVert^2 - \mathbb E \lVert \hat x_{\mathrm{LE}} - x \rVert^2
# = \mathbb E \lVert f - \hat x_{\mathrm{LE}} \rVert^2
# $$ (eq-floor)
#
# for every such map $f$, well or badly trained: loss minus floor is the distance to the formula.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side, of the networks compared
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the first chapter
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 1600  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
tested: int = 12  # training and test images of the evaluation, each
watched_size: int = 16  # pixels a side, of the trainings that are watched
checkpoints: list[int] = [25, 50, 100, 200, 400]  # steps after which they are looked at
draws: int = 384  # of image, noise level and noise, for their risks
seed: int = 0  # of weights, training, images and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from itertools import combinations

import pandas as pd

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import CLAIMED_FROM, claimed_psnr, compare
from lemmse.analysis.experiment import evaluation_images, experiment, trainings
from lemmse.analysis.risk import error_correlation, training_path
from lemmse.book.chapter import check_claim, keep

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## One function, three architectures
#
# The networks of {doc}`01_theory_predicts_network` ({glue:text}`count` images of {glue:text}`size` x {glue:text}`size`
# pixels, {glue:text}`data`, noise, $P =$ {glue:text}`patch_size`) restore the same measurements of {glue:text}`tested`
# training and {glue:text}`tested` test images. {glue:text}`last` is there with {glue:text}`times` seeds.
#
# ```{glue:figure} agreement
# :name: fig-agreement
# :alt: Tables of PSNR between U-Net, ResNet, PatchMLP, LE-MMSE and the truth, on training and on test images.
#
# PSNR in dB between all pairs at $\sigma =$ {glue:text}`shown`, mean over images; dark is close. The networks and the
# formula form a block; the truth is far from all of them, and equally far.
# ```
#
# ```{glue:figure} pairs
# :name: fig-pairs
# :alt: PSNR against sigma between architectures, between seeds, from network to LE-MMSE, and from network to truth.
#
# The same at every noise level, mean and standard deviation over images and pairs. *Another seed*: two trainings of
# {glue:text}`last`.
# ```
#
# Another architecture changes about as much as another seed does: on average from $\sigma =$ {glue:text}`from_sigma`
# on, a network agrees with another architecture to {glue:text}`by_architecture:.1f` dB and with another seed to
# {glue:text}`by_seed:.1f` dB.
#
# The networks are nearer to one another than errors of their own would leave them: what they still lack points the same
# way. The correlation of $f - \hat x_{\mathrm{LE}}$ between two networks, mean over pairs, is
# {glue:text}`shared_low:.2f` on test images at $\sigma =$ {glue:text}`sigma_low` and {glue:text}`shared_high:.2f` at
# {glue:text}`sigma_high`; independent errors would give 0.

# %% tags=["hide-input"]
images = load_images(data, count=count, size=size, channels=1)
evaluated = evaluation_images(images, data, tested)
physics = Denoising()
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
options |= {"repeats": repeats}
formula, nets = experiment(images, physics, architectures, patch_size=patch_size, steps=steps, **options)
estimators = {**nets, "LE-MMSE": formula}
pairs = compare(estimators, physics, evaluated, sigmas, seed=seed + 1)
shown = sorted(sigmas)[len(sigmas) // 2]
names = [*architectures, "LE-MMSE", "truth"]
at_shown = {split: part[part.sigma == shown] for split, part in pairs.groupby("split", sort=False)}
tables = {split: part.pivot_table("psnr", "one", "other").loc[names, names] for split, part in at_shown.items()}
built = {name: architecture for name, (architecture, _) in trainings(architectures, repeats, seed).items()}
of = pd.DataFrame({"one": pairs.one.map(built), "other": pairs.other.map(built).fillna(pairs.other)})
kinds = ("to " + of.other).where(of.other.isin(["LE-MMSE", "truth"]), "to another architecture")
kinds = kinds.where(of.one != of.other, "to another seed")
from_networks = pairs.assign(kind="network " + kinds)[pairs.one.isin(list(nets))]
keep(
    agreement=figures.agreement(tables),
    pairs=figures.psnr_lines(from_networks, "psnr", "kind", "split", label="PSNR (dB)"),
)

# %% [markdown]
# ## The floor, and the way down to it
#
# The same architectures, new weights, on {glue:text}`watched_size` x {glue:text}`watched_size` pixels. Training is
# continued from checkpoint to checkpoint, the learning rate decaying to zero before each. Loss, floor and distance are
# means over the same {glue:text}`draws` draws of the training distribution.
#
# ```{glue:figure} floor
# :name: fig-floor
# :alt: Left, risk against training steps for three networks above the LE-MMSE floor; right, gap against distance.
#
# Left: the risk of each network falls towards the floor and does not pass it. Right: at each checkpoint the gap to the
# floor against the distance to the formula; bars: standard error of their difference; line: {eq}`eq-floor`. All points
# share their draws, so they err to one side together.
# ```

# %% tags=["hide-input"]
watched = load_images(data, count=count, size=watched_size, channels=1)
best = LocalEquivariantMMSE(watched, physics, patch_size=patch_size)
path = training_path(architectures, best, checkpoints, draws=draws, **options)
keep(floor=figures.risk_floor(path))

# %% [markdown]
# ## The claim
#
# It would be wrong if a network had a smaller risk than LE-MMSE on the training distribution, or one whose loss is near
# the floor were far from the formula; or if two architectures agreed less than their distances to the truth suggest.
# The bar for pairs is that of {doc}`01_theory_predicts_network` for network and formula. A difference counts beyond
# three standard errors.

# %%
mean = pairs.groupby(["one", "other", "sigma", "split"]).psnr.mean()
between = pd.concat([mean[a, b] for a, b in combinations(nets, 2)], axis=1)
to_truth = pd.concat([mean[a, "truth"] for a in nets], axis=1)
to_formula = pd.concat([mean[a, "LE-MMSE"] for a in nets], axis=1)
sigma_of = between.index.get_level_values("sigma")
judged = sigma_of >= CLAIMED_FROM
bar = pd.Series(sigma_of.map(claimed_psnr), between.index)
shared = error_correlation(pairs, nets, "LE-MMSE", ["split", "sigma"])
gap, first, last = path.risk - path.floor, path.steps == min(checkpoints), path.steps == max(checkpoints)
assert path.notna().all(axis=None), "every risk must be a number"
y = evaluated["test"][:2]
for name, f in estimators.items():
    moved = f(y, 0.3).roll((1, 2), (-2, -1)) - f(y.roll((1, 2), (-2, -1)), 0.3)
    assert moved.abs().max() < 1e-5, f"{name} must commute with translations"
held = {
    "pairs agree": (between.min(axis=1) > bar)[judged].all(),
    "and are not merely good": (between.min(axis=1) - to_truth.max(axis=1) > 5)[judged].all(),  # dB
    "no network passes the floor": (gap > -3 * path.error).all(),
    "the gap is the distance": (path.rest.abs() < 3 * path.error).all(),
    "training closes it": gap[last].max() < gap[first].min() / 2,
}
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
keep(**{name: globals()[name] for name in ("count", "data", "size", "patch_size", "tested", "watched_size", "draws")})
high = sigma_of >= shown
keep(shown=shown, pair_low=between[high].min(axis=None), formula_low=to_formula[high].min(axis=None), from_sigma=shown)
keep(shared_low=shared["test", min(sigmas)], shared_high=shared["test", max(sigmas)])
keep(sigma_low=min(sigmas), sigma_high=max(sigmas), worst=(path.rest.abs() / path.error).max())
keep(last=architectures[-1], times=repeats + 1)
by_kind = from_networks[from_networks.sigma >= shown].groupby("kind").psnr.mean()
for name in ("architecture", "seed"):
    keep(**{f"by_{name}": by_kind.get(f"network to another {name}", float("nan"))})

# %% [markdown]
# ## Try it
#
# - `network_size paper`, `checkpoints [800, 3200]`: larger networks come nearer to the floor; none passes it.
# - `learning_rate 2.0e-4`: a slow training is far from the formula, and its loss says how far.
# - `patch_size 9`: the floor is lower, and harder to reach.
#
# ```bash
# lemmse run 08 -p patch_size 9 -p strict False
# ```
