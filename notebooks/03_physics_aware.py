# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Physics-aware against physics-agnostic
#
# **Question.** A network can see the measurement $y$ itself, or $z = By$, where $B$ already undoes the operator $A$ in
# part. Does it help to know the physics?
#
# **Answer.** It depends on what $B$ does to the noise inside a patch. On test images at $\sigma =$ {glue:text}`shown`,
# the formula gains {glue:text}`gain_hole` dB (mean and standard error) where $B$ erases the noise of hidden pixels,
# {glue:text}`gain_fourier` dB where that of frequencies never sampled; behind a blur's pseudo-inverse, which amplifies
# noise, {glue:text}`gain_pinv` dB, behind a strong Tikhonov inverse {glue:text}`gain_best` dB. Where the difference is
# clear, networks go the same way, but for the one behind that pseudo-inverse: {glue:text}`close_pinv:.1f` dB away.
#
# **The formula** is {eq}`eq-lemmse` of {doc}`/theory` with $v = \Pi_m B y$ and $Q_k = \Pi_k B$; agnostic is $B = I$.
# With $g$ the Gaussian density, and $k$ competing for $m$ only if $Q_k$ and $Q_m$ have one range,
#
# $$
# \hat x[m] = \sum_{i,k} x_i[k]\, w_{i,k}(v), \quad w_{i,k}(v) \propto g(v; \Pi_k B A x_i, \sigma^2 Q_k Q_k^\top).
# $$ (eq-aware)

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
tested: int = 12  # training and test images of the evaluation, each
seed: int = 0  # of masks, weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import torch

from lemmse import figures, load_images
from lemmse.analysis import pre_inverses as inputs
from lemmse.analysis.experiment import evaluation_images
from lemmse.analysis.pre_inverses import AGNOSTIC, BLUR, FOURIER, HOLE, PINV
from lemmse.analysis.second_moments import affine_table, noise_covariance
from lemmse.book.chapter import check_claim, keep

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The risk
# {glue:text}`count` images ({glue:text}`data`), $P =$ {glue:text}`patch_size`; a {glue:text}`architecture` for each
# operator and input, {glue:text}`steps` steps of {glue:text}`batch_size`; the inputs of an operator share measurements
# of {glue:text}`tested` training and {glue:text}`tested` test images. Fourier sampling keeps columns of frequencies.
#
# ```{glue:figure} gains
# :name: fig-gains
# :alt: Gain over the agnostic solver against sigma; inpainting and Fourier gain, the pseudo-inverse of the blur loses.
#
# PSNR to the truth less that of the agnostic formula (or network) on the same measurements; means and standard errors.
# ```
# ```{glue:figure} risks
# :name: fig-risks
# :alt: PSNR to the truth against sigma for every input, formula and network, on training and on test images.
#
# PSNR to the truth, means and standard errors. Networks are on average {glue:text}`close_rest:.1f` dB from their
# formula, behind the blur's pseudo-inverse {glue:text}`close_pinv:.1f` dB: its loss says nothing of the best network.
# ```
# ```{glue:figure} pictures
# :name: fig-pictures
# :alt: For each operator and a test image: both inputs, formula and network behind each, and the truth.
#
# Test images, $\sigma =$ {glue:text}`shown`. Under a formula: PSNR to the truth; under a network: to its formula.
# ```
#
# On training images two gains are certain: $y$ is a scrambled $z$ and, independent of it, noise where nothing was
# measured. Who sees a patch of $z$ could add such noise and play the agnostic: the aware optimum cannot be worse. A
# blur allows no such argument: one pixel of $z$ is made of more of $y$ than the window holds. And to fit is not to
# generalise: at $\sigma =$ {glue:text}`least`, {glue:text}`strong` gains {glue:text}`recite_train:+.1f` dB on training,
# {glue:text}`recite_test:+.1f` dB on test images. It reads more of the image, so fewer training patches fit:
# {glue:text}`few:.0f` effective samples against {glue:text}`many:.0f`, on training images. The network recites less
# ({glue:text}`recite_net:+.1f` dB). What rare patches do to a network: {doc}`04_high_density`.

# %% tags=["hide-input"]
images = load_images(data, count=count, size=size, channels=1)
generator = torch.Generator().manual_seed(seed)
evaluated = evaluation_images(images[torch.randperm(count, generator=generator)], data, tested)
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
solvers = inputs.experiments(images, lambdas, [architecture], patch_size=patch_size, steps=steps, **options)
results = inputs.gains(solvers, evaluated, sigmas, baseline=AGNOSTIC, seed=seed + 1)
shown, label, look = sorted(sigmas)[len(sigmas) // 2], "PSNR (dB)", {"inputs": list(solvers[BLUR])}
rows = inputs.side_by_side(solvers, evaluated["test"], shown, baseline=AGNOSTIC, seed=seed)
whole = results[results.region == "all"]
aware = whole[whole.input != AGNOSTIC]
keep(
    gains=figures.input_lines(aware, "gain", "operator", "split", label="gain over agnostic (dB)", level=0, **look),
    risks=figures.input_lines(whole, "psnr", "operator", "split", label=label, **look),
    pictures=figures.gallery(rows, list(next(iter(rows.values()))), figures.note_input, cell=1.1),
)

# %% [markdown]
# ## What the pre-inverse does to the noise
# The pseudo-inverse of the blur amplifies fine noise until it fills every pixel of a patch. A whole image could be
# blurred again; a window of {glue:text}`patch_size` pixels cannot. Second moments already say so.
#
# ```{glue:figure} noise
# :name: fig-noise
# :alt: Matrices of the patch noise covariance for six inputs: diagonal for the agnostic, striped for the others.
#
# The noise covariance $S = \Pi_k B B^\top \Pi_k^\top$ between the pixels of a patch, row by row. Below: the standard
# deviation of the noise at a pixel in units of $\sigma$, and the largest eigenvalue of $S$ over the smallest.
# ```
# ```{glue:figure} affine
# :name: tab-affine
#
# The best affine map of a patch, by $\sigma$: PSNR in dB on training images (directions with more signal than noise).
# ```
#
# ## Who competes with whom, and what happens in the hole
# Behind a mask, exact zeros tell the solver where it is: only positions with the same pattern in their window compete.
# The agnostic solver must guess from the values whether it sees a hole; the last column of the table is what it loses.
#
# ```{glue:figure} strata
# :name: fig-strata
# :alt: Masks, strata in shades, and the number of competing positions: many far from the hole, few at its rim.
#
# One shade, one stratum: these positions compete with each other, and with no others. Behind a random mask almost every
# position is alone, and draws on one pixel of each training image. Agnostic, all positions compete.
# ```
# ```{glue:figure} drawn
# :name: tab-drawn
#
# Centre inpainting at $\sigma =$ {glue:text}`shown`, test images: pixels, competing positions (mean), effective number
# of samples of the formula, of {glue:text}`count` times as many as compete, and what it gains over the agnostic one.
# ```
# ```{glue:figure} rim
# :name: fig-rim
# :alt: PSNR to the truth against sigma in four regions of centre inpainting, aware and agnostic, formula and network.
#
# Centre inpainting by what the window sees: all; the pixel but not all; something but not the pixel; nothing. Means and
# standard errors. Deep in the hole the aware formula is a constant, the mean of these pixels over the training images.
# ```

# %% tags=["hide-input"]
formulas = {f"{op}\n{name}": formula for op in (BLUR, FOURIER) for name, (formula, _) in solvers[op].items()}
parts = results[(results.operator == HOLE) & (results.region != "all")]
drawn = inputs.drawn_on(solvers[HOLE], parts[(parts.sigma == shown) & (parts.split == "test")], baseline=AGNOSTIC)
keep(
    noise=figures.covariances(
        {name: noise_covariance(f.pre_inverse, patch_size, size, size) for name, f in formulas.items()}
    ),
    affine=affine_table(formulas, sigmas),
    strata=figures.competitors(inputs.competitions((HOLE, "random inpainting"), size, patch_size, seed=seed)),
    drawn=drawn.style.format(precision=0).format("{:+.1f}", subset=drawn.columns[-1:]),
    rim=figures.input_lines(parts, "psnr", "region", "split", label=label, **look),
)

# %% [markdown]
# ## The claim
# It would be wrong if the aware formula had the larger risk where it cannot (by 3 standard errors); if the blur's
# pseudo-inverse did not lose; or if, where formulas differ by over 1 dB at $\sigma \ge 0.2$, other networks did not.

# %%
deep = inputs.deep_error(solvers[HOLE][PINV][0], evaluated["test"][:2], shown, generator=generator)
assert deep < 1e-4, "where nothing is seen, the mean"
gain = aware.groupby(["operator", "input", "split", "solver", "sigma"]).gain
mean, error = gain.mean(), gain.sem()
exact, learned = (mean.xs(solver, level="solver") for solver in ("LE-MMSE", architecture))
lost = aware[(aware.solver == "LE-MMSE") & (aware.split == "training")].groupby(["operator", "sigma"]).lost
clear = exact[(exact.abs() > 1) & (exact.index.get_level_values("sigma") >= 0.2)].drop((BLUR, PINV), errors="ignore")
held = {
    "nothing is lost with the noise of what was not measured": (lost.mean() < 3 * lost.sem())[[HOLE, FOURIER]].all(),
    "the aware formula gains in inpainting": (exact[HOLE, PINV].xs(shown, level="sigma") > 0).all(),
    "behind the pseudo-inverse of the blur it loses": (exact[BLUR, PINV].xs(shown, level="sigma") < -0.5).all(),
    "the networks go the same way, but for the one behind it": (learned[clear.index] * clear > 0).all(),
}
print(mean.unstack("sigma").round(2).to_string())
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
strong, least = list(solvers[BLUR])[-1], min(sigmas)
samples = whole.groupby(["operator", "split", "sigma", "input"]).effective.median()[BLUR, "training", least]
close = whole[whole.solver == architecture].groupby(["operator", "input"]).closeness.mean()
said = ("count", "data", "patch_size", "architecture", "steps", "batch_size", "tested", "shown", "least", "strong")
keep(**{name: globals()[name] for name in said}, close_rest=close.drop((BLUR, PINV)).mean())
keep(few=samples[strong], many=samples[AGNOSTIC], recite_net=learned[BLUR, strong, "training", least])
told = (mean.map("{:+.1f} ± ".format) + error.map("{:.1f}".format)).xs(("test", "LE-MMSE", shown), level=(2, 3, 4))
keep(gain_hole=told[HOLE, PINV], gain_fourier=told[FOURIER, PINV])
keep(gain_pinv=told[BLUR, PINV], gain_best=told[BLUR, strong], close_pinv=close[BLUR, PINV])
keep(recite_train=exact[BLUR, strong, "training", least], recite_test=exact[BLUR, strong, "test", least])

# %% [markdown]
# ## Try it
# - `lemmse run 03 -p patch_size 9 -p strict False`: a window almost wide enough to undo the amplified noise.
# - `lambdas [0.1, 10.0]`: towards the adjoint of the blur, which amplifies nothing.
# - `count 50`: at the rim the aware formula has few competitors left.
