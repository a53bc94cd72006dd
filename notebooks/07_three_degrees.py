# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Three degrees of constraint
#
# **Question.** The best denoiser of a finite training set recites that set. What keeps a convolutional network from it?
#
# **Answer.** Locality, much more than translation equivariance. On this run, at $\sigma =$ {glue:text}`shown`, MMSE
# and E-MMSE return training images to {glue:text}`recall_mmse:.0f` and {glue:text}`recall_emmse:.0f` dB, but test
# images to no more than {glue:text}`test_mmse:.1f` and {glue:text}`test_emmse:.1f` dB; LE-MMSE reaches
# {glue:text}`test_le:.1f` dB there, and the networks {glue:text}`test_low:.1f` to {glue:text}`test_high:.1f` dB.
#
# **The formulas**, {eq}`eq-mmse`, {eq}`eq-emmse` and {eq}`eq-lemmse` of {doc}`/theory`, are best in smaller classes
# among maps: all; those that commute with translations; those that also see only $P \times P$ pixels. So, in training,
#
# $$
# \mathbb E \lVert \hat x_{\mathrm{MMSE}} - x \rVert^2 \le \mathbb E \lVert \hat x_{\mathrm{E}} - x \rVert^2
# \le \mathbb E \lVert \hat x_{\mathrm{LE}} - x \rVert^2 \le \mathbb E \lVert f - x \rVert^2,
# $$ (eq-order)
#
# for every local and equivariant $f$, a trained network for one.

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
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
tested: int = 16  # training and test images of the evaluation, each
draws: int = 256  # of image, noise level and noise, for the risk identity
seed: int = 0  # of weights, training, images and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from itertools import pairwise

import pandas as pd
import torch

from lemmse import MMSE, Denoising, EquivariantMMSE, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import compare, restore_one
from lemmse.analysis.experiment import evaluation_images, experiment
from lemmse.analysis.risk import split_risks
from lemmse.book.chapter import check_claim, keep

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The experiment
#
# {glue:text}`count` images ({glue:text}`data`) of {glue:text}`size` x {glue:text}`size` pixels, noise, $P =$
# {glue:text}`patch_size`; the networks of {doc}`01_theory_predicts_network`. All restore the same measurements of
# {glue:text}`tested` training and {glue:text}`tested` test images; {glue:text}`last` is there with
# {glue:text}`times` seeds.
#
# MMSE answers a test image with a training image, E-MMSE with one that is moved: sharp and wrong; the others are not.
#
# ```{glue:figure} degrees
# :name: fig-degrees
# :alt: Training and test images; columns are measurement, MMSE, E-MMSE, LE-MMSE, a network, truth.
#
# Two training and two test images at $\sigma =$ {glue:text}`shown`. Under each estimate: its PSNR to the truth.
# ```

# %% tags=["hide-input"]
images = load_images(data, count=count, size=size, channels=1)
evaluated = evaluation_images(images, data, tested)
generator = torch.Generator().manual_seed(seed)
physics = Denoising()
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
options |= {"patch_size": patch_size, "steps": steps, "repeats": repeats}
formula, nets = experiment(images, physics, architectures, **options)
estimators = {"MMSE": MMSE(images, physics), "E-MMSE": EquivariantMMSE(images, physics), "LE-MMSE": formula, **nets}
pairs = compare(estimators, physics, evaluated, sigmas, seed=seed + 1)
errors = pairs[pairs.other == "truth"]
shown = sorted(sigmas)[len(sigmas) // 2]
pictures = {
    f"{split} {i + 1}": restore_one(estimators, formula, x[i], shown, seed)
    for split, x in evaluated.items()
    for i in range(2)
}
columns = ["measurement", "MMSE", "E-MMSE", "LE-MMSE", *architectures[:1], "truth"]
recalled = 48.1  # dB: a root mean square error of one grey level of 255
capped = errors[~errors.one.isin(set(nets) - set(architectures))]
capped = capped.assign(psnr=capped.psnr.clip(upper=recalled))
keep(
    degrees=figures.gallery(pictures, columns, figures.note_truth),
    memory=figures.psnr_lines(capped, "psnr", "one", "split", label="estimate to truth: PSNR (dB)"),
)

# %% [markdown]
# ## Memorisation against generalisation
#
# ```{glue:figure} memory
# :name: fig-memory
# :alt: PSNR to the truth against sigma for MMSE, E-MMSE, LE-MMSE and the networks, on training and on test images.
#
# PSNR to the truth, mean and standard deviation over images. The top, {glue:text}`recalled:.0f` dB, stands for itself
# and more: a root mean square error below one grey level of a byte, the image is recalled.
# ```
#
# Two things do not fit the simple story. E-MMSE is ahead of LE-MMSE on test images at $\sigma =$ {glue:text}`ahead`:
# there a patch says little, and a whole image that is wrong may still have the right light and shade. And the best
# network is ahead of the formula on test images at $\sigma =$ {glue:text}`network_ahead`: where LE-MMSE begins to
# recall training patches, a network trained for minutes does not yet.

# %% [markdown]
# ## The order of risks, and the identity
#
# For every local, equivariant $f$ equation {eq}`eq-risk` splits the risk: what remains,
# $2\, \mathbb E \langle f - \hat x_{\mathrm{LE}}, \hat x_{\mathrm{LE}} - x \rangle$, is zero. Tested on
# {glue:text}`draws` draws of the training distribution, all noise levels together, as in training. The networks obey,
# and so does the measurement itself, a local map that learned nothing; MMSE and E-MMSE are not local, and must not.
#
# ```{glue:figure} identity
# :name: tab-identity
#
# Squared error per pixel, times 1000: the first column rises in the order {eq}`eq-order`. At each noise level, on
# {glue:text}`tested` training images, neighbours are out of order by at most {glue:text}`out_of_order:.1f` standard
# errors of their difference. Rest: left minus right side, in per cent of the left, ± its standard error.
# ```

# %% tags=["hide-input"]
judged = {**estimators, "measurement": lambda y, sigma: y}
splits = split_risks(judged, "LE-MMSE", images, physics, draws, sigma_min=sigma_min, generator=generator)
rest, error = 100 * splits.rest / splits.risk, 100 * splits.error / splits.risk
sides = {"E|f - x|²": splits.risk, "E|f - LE|² + E|LE - x|²": splits.risk - splits.rest}
table = pd.DataFrame(sides).map(lambda v: f"{1e3 * v:.3f}")
table["rest (%)"] = rest.map("{:+.2f}".format) + " ± " + error.map("{:.2f}".format)
keep(identity=table)

# %% [markdown]
# ## The claim
#
# It would be wrong if a class had a smaller risk on the training distribution than one that it lies in; if the rest of
# the identity were not zero for a network; or if the networks were nearer to E-MMSE, which shares their equivariance,
# than to LE-MMSE. A difference counts beyond three standard errors.

# %%
best = splits.risk[list(nets)].idxmin()  # the network that comes closest to the floor
mse = errors[errors.split == "training"].pivot(index=["sigma", "image"], columns="one", values="mse")
steps_up = [(mse[b] - mse[a]).groupby("sigma") for a, b in pairwise(["MMSE", "E-MMSE", "LE-MMSE", best])]
z = pd.concat([step.mean() / step.sem().clip(lower=1e-9) for step in steps_up])
score = pairs.groupby(["split", "other", "sigma", "one"]).psnr.mean().unstack("one")
on_test = score.loc["test", "truth"]
gap = score.loc["training", "truth"] - on_test
lead = on_test["LE-MMSE"] - on_test[["MMSE", "E-MMSE"]].max(axis=1)
sided = (score.loc["test", "LE-MMSE"] - score.loc["test", "E-MMSE"])[list(nets)]  # dB nearer to LE-MMSE
covering = LocalEquivariantMMSE(images, physics, patch_size=size | 1)
y = physics.measure(evaluated["test"][:2], 0.3, generator=generator)
assert (covering(y, 0.3) - estimators["E-MMSE"](y, 0.3)).abs().max() < 1e-4, "a window as large as the image: E-MMSE"
held = {
    "the risks are in order": (z > -3).all(),
    "LE-MMSE recites least": gap["LE-MMSE"][shown] < 5 < 20 < gap[["E-MMSE", "MMSE"]].loc[shown].min(),
    "LE-MMSE leads on test images to sigma 0.4": (lead[:0.4] > 0).all(),
    "the networks side with LE-MMSE": (sided > 3).all(axis=None),  # dB: at most half the squared distance
    "the identity holds for local maps": (rest.abs() < 3 * error)[[*nets, "measurement"]].all(),
    "to the third digit": (rest.abs() + error < 0.5)[list(nets)].all(),  # per cent, of three digits
    "it fails beyond": (rest < -3 * error)[["MMSE", "E-MMSE"]].all(),
}
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
keep(**{name: globals()[name] for name in ("count", "data", "size", "patch_size", "tested", "draws", "shown")})
keep(last=architectures[-1], times=repeats + 1, recalled=recalled, out_of_order=max(0.0, -z.min()))
reached = on_test.loc[shown]
keep(test_low=reached[list(nets)].min(), test_high=reached[list(nets)].max())
for name, key in (("mmse", "MMSE"), ("emmse", "E-MMSE"), ("le", "LE-MMSE")):
    keep(**{f"test_{name}": reached[key], f"recall_{name}": reached[key] + gap[key][shown]})
for name, key, least in (("ahead", "E-MMSE", 0), ("network_ahead", best, 0.5)):
    levels = on_test.index[on_test[key] > on_test["LE-MMSE"] + least]
    keep(**{name: ", ".join(f"{s:g}" for s in levels) or "none of these levels"})

# %% [markdown]
# ## Try it
#
# - `patch_size 9`: a wider window; LE-MMSE recites up to a higher noise level.
# - `count 20`: fewer images to recite; MMSE and E-MMSE get worse on test images, LE-MMSE hardly does.
# - `sigmas "[0.8, 1.2, 2.0]"`: where a patch says little, E-MMSE, which sees the whole image, stays ahead.
#
# ```bash
# lemmse run 07 -p count 20 -p strict False
# ```
