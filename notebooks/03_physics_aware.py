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
steps: int = 1200  # of training
batch_size: int = 2  # images a step
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
cell = ["operator", "split", "sigma", "solver", "image", "region"]
results = results.set_index(cell)
results["gain"] = results.psnr - results[results.input == AGNOSTIC].psnr.reindex(results.index)
results = results.reset_index()
whole = results[results.region == "all"]
aware = whole[whole.input != AGNOSTIC]
label = "gain over agnostic (dB)"
glue("gains", figures.input_lines(aware, "gain", "operator", "split", label=label, level=0), display=False)
label = "PSNR to the truth (dB)"
glue("risks", figures.input_lines(whole, "psnr", "operator", "split", label=label), display=False)

# %% [markdown]
# ```{glue:figure} risks
# :name: fig-risks
# :alt: PSNR to the truth against sigma for every input, formula and network, on training and on test images.
#
# The same as PSNR to the truth. A network is nearer to its own formula than to the truth, by
# {glue:text}`side:.1f` dB on average; behind the pseudo-inverse of the blur, whose input is the wildest, it is
# {glue:text}`close_pinv:.1f` dB from its formula, elsewhere {glue:text}`close_rest:.1f` dB.
# ```
#
# On training images two of the gains are certain: the hole and the columns. There $y$ is $z$ and, independent of it,
# noise where nothing was measured. Who sees a patch of $z$ could add such noise and play the agnostic; so the aware
# optimum cannot be worse. A blur allows no such argument: $z$ at one pixel is made of more of $y$ than the window holds.
#
# A better fit is not always a better guess. At $\sigma =$ {glue:text}`least`, {glue:text}`strong` gains
# {glue:text}`recite_train:+.1f` dB on training images and {glue:text}`recite_test:+.1f` dB on test images: it reads more of
# the image, so fewer training patches fit ({glue:text}`few:.0f` effective samples against {glue:text}`many:.0f`).

# %% [markdown]
# ## What the pre-inverse does to the noise
#
# ```{glue:figure} noise
# :name: fig-noise
# :alt: Matrices of the patch noise covariance for six inputs: diagonal for the agnostic, striped for the others.
#
# The noise covariance $S = \Pi_k B B^\top \Pi_k^\top$ between the pixels of a patch, taken row by row. Below: the standard
# deviation of the noise at a pixel in units of $\sigma$, and the largest eigenvalue of $S$ over the smallest.
# ```
#
# The pseudo-inverse of the blur amplifies fine noise, and every pixel of a patch is dominated by it. The whole image
# could be blurred again; a window of {glue:text}`patch_size` pixels cannot. Second moments already say so: below is the
# risk of the best *affine* map of a patch, as PSNR, and in brackets how many of the directions of a patch carry more signal
# than noise.
#
# ```{glue:figure} affine
# :name: tab-affine
#
# Best affine solver on the training distribution: PSNR in dB (directions above the noise), by noise level.
# ```

# %% tags=["hide-input"]
panels, lines = {}, {}
for operator in (BLUR, FOURIER):
    for name, (formula, _) in solvers[operator].items():
        moments = patch_moments(images, formula.pre_inverse, patch_size)
        spread = torch.linalg.eigvalsh(moments.noise)
        note = f"{float(moments.noise[0, 0]) ** 0.5:.2g} sigma; ratio {float(spread[-1] / spread[0]):.2g}"
        panels[f"{operator}\n{name}"] = (moments.noise, note)
        lines[operator, name] = {s: (moments.affine_psnr(s), moments.directions(s)) for s in sigmas}
affine = pd.DataFrame(lines).T
glue("noise", figures.covariances(panels), display=False)
glue("affine", affine.map(lambda v: f"{v[0]:.1f} ({v[1]})").rename_axis(columns="sigma"), display=False)

# %% [markdown]
# ## Who competes with whom, and how much of the image that is
#
# Behind a mask, $Q_k$ depends on the position: the exact zeros tell the solver where it is. Agnostic, all
# {glue:text}`positions` positions compete for every pixel. Aware, only those whose window shows the same pattern:
#
# ```{glue:figure} strata
# :name: fig-strata
# :alt: Masks, strata in shades, and the number of competing positions: many far from the hole, few at its rim.
#
# One shade, one stratum: these positions compete with each other, and with no others. At a random mask almost every
# position is alone, and draws on one pixel of each training image.
# ```
#
# ```{glue:figure} drawn
# :name: tab-drawn
#
# Centre inpainting at $\sigma =$ {glue:text}`shown`, test images: pixels, competing positions (mean), and effective number
# of samples of the formula, out of {glue:text}`count` times as many as compete.
# ```

# %% tags=["hide-input"]
shown = sorted(sigmas)[len(sigmas) // 2]
maps = {}
for operator in (HOLE, "random inpainting"):
    physics = make_operator(operator, size, size, torch.Generator().manual_seed(seed))
    family = LocalEquivariantMMSE(images[:1], physics, patch_size=patch_size, pre_inverse="pinv").family
    maps[operator] = (physics.mask, family.strata, family.competing.reshape(size, size))
glue("strata", figures.competitors(maps), display=False)
mask, _, competing = maps[HOLE]
regions = window_regions(mask, patch_size)
at = results[(results.operator == HOLE) & (results.sigma == shown) & (results.solver == "LE-MMSE")]
effective = at[at.split == "test"].pivot_table("effective", "region", "input")
drawn = pd.DataFrame({"pixels": {name: int(inside.sum()) for name, inside in regions.items()}})
drawn["competing, agnostic"] = size * size
drawn["competing, aware"] = {name: float(competing[inside].double().mean()) for name, inside in regions.items()}
drawn["effective, agnostic"], drawn["effective, aware"] = effective[AGNOSTIC], effective[PINV]
glue("drawn", drawn.round(0).astype(int), display=False)

# %% [markdown]
# ## Inside the hole and at its rim
#
# ```{glue:figure} rim
# :name: fig-rim
# :alt: PSNR to the truth against sigma in four regions of centre inpainting, aware and agnostic, formula and network.
#
# Centre inpainting by what the window sees: all; the pixel but not all; something but not the pixel; nothing. Deep in the
# hole the aware formula is a constant, the mean of these pixels over the training images.
# ```
#
# Far from the hole the two are close. The agnostic solver has to guess from the values whether it looks at a hole or at
# something dark; the more noise, the worse it guesses, and the rim and the hole pay for it: at $\sigma =$ {glue:text}`shown`
# on test images the aware formula gains {glue:text}`gain_clear:+.1f` dB in the clear and {glue:text}`gain_deep:+.1f` dB deep in
# the hole.

# %% tags=["hide-input"]
parts = results[(results.operator == HOLE) & (results.region != "all")]
glue("rim", figures.input_lines(parts, "psnr", "split", "region", label="PSNR (dB)"), display=False)

# %% [markdown]
# ## The two, side by side
#
# ```{glue:figure} pictures
# :name: fig-pictures
# :alt: For each operator and a test image: both inputs, formula and network behind each, and the truth.
#
# Test images at $\sigma =$ {glue:text}`shown`. Formula: PSNR to the truth. Network: PSNR to its formula.
# ```

# %% tags=["hide-input"]
rows = {}
for turn, (operator, name) in enumerate((operator, name) for operator in plan for name in list(plan[operator])[1:]):
    row = {}
    for who, which in ((AGNOSTIC, AGNOSTIC), ("aware", name)):
        formula, nets = solvers[operator][which]
        one = evaluated["test"][turn % tested][None]
        found = restore(nets, formula, one, shown, torch.Generator().manual_seed(seed))
        names = {"input": "measurement", "formula": "formula", "network": architecture}
        row |= {f"{who}\n{column}": found[key][0] for column, key in names.items()}
    rows[f"{operator}\n{name}"] = row | {"truth": found["truth"][0]}


def note(row: dict[str, torch.Tensor], name: str) -> str:
    """PSNR of a formula to the truth, of a network to its formula."""
    if name.endswith(("input", "truth")):
        return ""
    other = "truth" if name.endswith("formula") else name.replace("network", "formula")
    return f"{float(psnr(row[name][None], row[other][None])):.1f} dB"


glue("pictures", figures.gallery(rows, list(row) + ["truth"], note, cell=1.1), display=False)

# %% [markdown]
# ## The claim
#
# It would be wrong if the aware formula were behind where the argument above says that it cannot be; if the
# pseudo-inverse of the blur did not lose; or if a network gained where its formula loses, or the other way round.

# %%
few, hole = images[:8], solvers[HOLE][PINV][0]
y = hole.physics.measure(evaluated["test"], shown, generator=generator)
written = Linear(torch.diag(mask.flatten().double()))  # the same operator, by the path that asks nothing of a mask
ours, theirs = (
    LocalEquivariantMMSE(few, A, patch_size=patch_size, pre_inverse="pinv")(y, shown) for A in (hole.physics, written)
)
assert (ours - theirs).abs().max() < 1e-4, "strata of the mask must be those of the ranges of Q_k"
if "deep" in regions:
    constant = images[:, :, regions["deep"]].mean()
    assert (hole(y, shown)[:, :, regions["deep"]] - constant).abs().max() < 1e-4, "nothing seen: the mean"
mean = aware.groupby(["operator", "input", "split", "solver", "sigma"]).gain.mean()
exact, learned = mean.xs("LE-MMSE", level="solver"), mean.xs(architecture, level="solver")
clear_cut = exact[exact.abs() > 1.0]  # dB
held = {
    "TODO": True,
}
if preset == "smoke":
    print("smoke: the formulas agree where they must; the claim itself is not tested at this size")
else:
    print(pd.Series(held).to_string())
    assert all(held.values()) or not strict, [what for what, holds in held.items() if not holds]

# %% tags=["remove-cell"]
for name in ("count", "data", "patch_size", "architecture", "steps", "batch_size", "tested", "shown"):
    glue(name, globals()[name], display=False)
least, strong, test_gain = min(sigmas), list(tikhonov)[-1], exact.xs("test", level="split")
some = whole[(whole.operator == BLUR) & (whole.sigma == least) & (whole.split == "training")]
samples = some[some.solver == "LE-MMSE"].groupby("input").effective.median()
learnt = whole[whole.solver == architecture]
wild = (learnt.operator == BLUR) & (learnt.input == PINV)
local = at[(at.input == PINV) & (at.split == "test")].groupby("region").gain.mean()
measured = {
    "gain_hole": test_gain[HOLE, PINV, shown],
    "gain_fourier": test_gain[FOURIER, PINV, shown],
    "gain_pinv": test_gain[BLUR, PINV, shown],
    "gain_best": test_gain[BLUR, strong, shown],
    "recite_train": exact[BLUR, strong, "training", least],
    "recite_test": exact[BLUR, strong, "test", least],
    "few": samples[strong],
    "many": samples[AGNOSTIC],
    "side": (learnt.closeness - learnt.psnr).mean(),
    "close_pinv": learnt[wild].closeness.mean(),
    "close_rest": learnt[~wild].closeness.mean(),
    "gain_clear": local["clear"],
    "gain_deep": local.get("deep", float("nan")),
}
for name, value in measured.items():
    glue(name, float(value), display=False)
for name, value in {"least": least, "strong": strong, "positions": size * size}.items():
    glue(name, value, display=False)

# %% [markdown]
# ## Try it
#
# - `patch_size 9`: the window is nearly large enough to undo the amplified noise; the pseudo-inverse loses less.
# - `lambdas [0.1, 10.0]`: towards the adjoint of the blur, which amplifies nothing.
# - `count 50`: fewer images to recite; the aware formula pays for its few competitors at the rim.
#
# ```bash
# lemmse run 03 -p patch_size 9 -p strict False
# ```
