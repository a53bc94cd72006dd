# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Error bars without the truth
#
# **Question.** A denoised image comes without its truth. Can one know how wrong it is? When can one trust the deviation
# that the formula gives for each pixel, and does the formula notice when it cannot be trusted? And which filter do
# network and formula apply to the pixels around an edge?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The derivative of the formula is a covariance under its own weights, of the clean center $u$ and a
# pixel $a_p$ of the training patches:
#
# $$
# \frac{\partial \hat x[m]}{\partial y_p} = \frac{\operatorname{Cov}_w(u, a_p)}{\sigma^2}.
# $$
#
# For $p = m$ it is the variance $\operatorname{Var}_m$ of the pixel. With Stein's identity this gives an estimate of
# the squared error without the truth, whose mean over the noise is right for *every* clean image, like the training
# images or not:
#
# $$
# \begin{gathered}
# \|\hat x - x\|^2 \;\approx\; \\
# \|\hat x - y\|^2 - n \sigma^2 + 2 \sum_m \operatorname{Var}_m .
# \end{gathered}
# $$
#
# On images as in training, the expected error is $\sum_m \operatorname{Var}_m$. Elsewhere the formula may be wrong
# without knowing it. The difference of the two,
#
# $$
# \text{gap} = \frac1n \|\hat x - y\|^2 - \sigma^2 + \frac1n \sum_m \operatorname{Var}_m,
# $$
#
# needs no truth either. It is 0 on average at home, so we can use it as an alarm.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 300  # N, training images
size: int = 20  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
sigmas: list[float] = [0.05, 0.2, 0.8]  # noise levels
tested: int = 15  # images of each world
alarm_sigma: float = 0.05  # noise level of the alarm, the nearest of the above
network_images: int = 400  # N of the networks, as in the chapter on the main claim
network_pixels: int = 28  # pixels a side of their training images
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the chapter on the main claim
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
filter_sigmas: list[float] = [0.2, 0.8]  # noise levels at which filters are compared
filter_pixels: int = 14  # pixels a side of the crop whose filters are compared
filter_images: int = 3  # test images whose filters are compared
seed: int = 0  # of the weights and of the training
noise_seed: int = 0  # of the noise, the worlds and the draws
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from matplotlib.patches import Rectangle

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images, stein_error
from lemmse.analysis.alarm import area_under_roc, error_gap, roc
from lemmse.analysis.evaluate import formula_error, squared_distances
from lemmse.analysis.experiment import Training
from lemmse.analysis.jacobian import filter_at, formula_jacobian, network_jacobian
from lemmse.analysis.margins import SURE
from lemmse.analysis.uncertainty import bootstrap_by_group, jackknife
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.unseen import WORLDS, world_images

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=1)
shape = {"count": tested, "size": size, "channels": 1}
pick = torch.randperm(count, generator=torch.Generator().manual_seed(noise_seed))[:tested]
worlds = {"training": images[pick], "test": load_images(data, split="test", **shape)}
generator = torch.Generator().manual_seed(noise_seed)
for world in WORLDS:
    worlds[world] = world_images(world, tested, size, 1, generator)
albums = image_groups(data, count=count, size=size, channels=1)
groups = {name: list(range(tested)) for name in worlds} | {
    "training": [albums[i] for i in pick.tolist()],
    "test": list(image_groups(data, split="test", **shape)),
    "textures": [number % 3 for number in range(tested)],
    "text": [0] * tested,
}  # what each image was cut from; other worlds have independent images
alarm_sigma = min(sigmas, key=lambda level: abs(level - alarm_sigma))

# %% [markdown]
# ## The error, with and without the truth
#
# One pass gives the estimate and its variance. The truth is used for the last column alone.

# %%
physics = Denoising()
P = patch_size
formula = LocalEquivariantMMSE(images, physics, patch_size=P)
rows = []
noise = torch.Generator().manual_seed(noise_seed + 1)
for world, truth in worlds.items():
    for sigma in sigmas:
        y = physics.measure(truth, sigma, generator=noise)
        known = formula.posterior(y, sigma)
        row = {
            "world": world,
            "sigma": sigma,
            "group": groups[world],
            "estimated": stein_error(y, known, sigma),
            "expected": known.variance.mean((1, 2, 3)),
            "gap": error_gap(y, known, sigma),
            "surprise": -known.log_density.mean((1, 2)),
            "true": squared_distances(known.mean, truth),
        }
        rows.append(pd.DataFrame(row))
errors = pd.concat(rows, ignore_index=True)

# %% tags=["hide-input"]
figure, (axes,) = figures.new_figure(1, len(sigmas), 2.7 * len(sigmas) + 0.4, 3.9)
for axis, sigma in zip(axes, sigmas, strict=True):
    part = errors[errors["sigma"] == sigma]
    for turn, (world, dots) in enumerate(part.groupby("world", sort=False)):
        look = figures.style("", turn) | {"linestyle": "none", "markersize": 5, "alpha": 0.7}
        if world == "constant":
            look |= {"fillstyle": "none", "color": "#7F3B08"}
        if world == "one pixel":
            look |= {"fillstyle": "none", "color": "#000000", "marker": "^"}
        axis.plot(1e3 * dots["true"], 1e3 * dots["estimated"], label=world, **look)
    ends = [0, 1.05e3 * part["true"].max()]
    axis.plot(ends, ends, color="black", linewidth=0.8)
    axis.set(title=f"σ = {sigma:g}", xlabel="true error × 1000")
    axis.grid(alpha=0.3)
axes[0].set_ylabel("error estimated without the truth × 1000")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
show_figure(
    figure,
    name="fig-stein",
    caption=f"""One dot an image, {tested} of each world: the squared error of the formula as estimated from the
    measurement alone, against the true one. On the line the two are equal. The estimate may be negative.""",
    alt="Scatter of estimated against true squared error for three noise levels; dots lie around the diagonal.",
)

# %% tags=["hide-input"]


def correlation(pairs):
    """Of two columns, (n, 2)."""
    return float(torch.corrcoef(pairs.T)[0, 1])


errors["bias"] = errors["estimated"] - errors["true"]
bias = errors.groupby("sigma")["bias"].agg(["mean", "sem", "std"])
found = [
    jackknife(correlation, torch.tensor(part[["estimated", "true"]].to_numpy().copy()), axes=(0,))
    for _, part in errors.groupby("sigma")
]
bias[["correlation", "correlation error"]] = found
show_table(
    pd.DataFrame(
        {
            "σ": [f"{sigma:g}" for sigma in bias.index],
            "mean of estimate minus truth, × 1000": [
                figures.plus_minus(1e3 * m, 1e3 * e) for m, e in bias[["mean", "sem"]].to_numpy()
            ],
            "spread for one image, × 1000": [figures.rounded(1e3 * value, 2) for value in bias["std"]],
            "correlation over images": [figures.plus_minus(*pair) for pair in found],
        }
    ),
    name="tab-stein",
    caption=f"""How far the estimate without the truth is from the true squared error, over all {len(worlds)} worlds of
    {tested} images, ± standard error. Without bias the mean is 0; the spread is the price of not knowing the truth.""",
)

# %% [markdown]
# ## Where the deviation is calibrated, and where it is wrong
#
# The posterior variance is the error that the formula expects. On the training images, with noise as assumed, it is
# right by construction. We divide the error that occurs by the error that is expected.

# %% tags=["hide-input"]
resampling = torch.Generator().manual_seed(noise_seed)
rows = []
for (world, sigma), part in errors.groupby(["world", "sigma"], sort=False):
    both = torch.tensor(part[["true", "expected"]].to_numpy().copy())
    true, expected = both.mean(0)
    drawn = bootstrap_by_group(both, part["group"].to_list(), resampling)
    row = {"world": world, "sigma": sigma, "factor": float(true / expected)}
    rows.append(row | {"error": float((drawn[:, 0] / drawn[:, 1]).std())})
factors = pd.DataFrame(rows).set_index(["world", "sigma"])
factors["text"] = [figures.plus_minus(*pair) for pair in factors[["factor", "error"]].to_numpy()]
factor, factor_error, factor_text = (factors[name].unstack("sigma").loc[list(worlds)] for name in factors)
show_table(
    factor_text.rename(columns=lambda sigma: f"σ = {sigma:g}").reset_index(),
    name="tab-calibration",
    caption=f"""True squared error divided by the posterior variance, means over {tested} images of each world ±
    standard error: 1 is calibrated, 4 means that the deviation is half of what it should be.""",
)

# %% [markdown]
# ## An alarm
#
# The gap needs no truth. Does it tell whether an image is like the training images? We compare with fresh noise on
# training images, and with test images, which are new crops of other photographs. The control is the surprise, the
# negative log density of the patches, which needs no truth either.

# %%
areas = []
for sigma in sigmas:
    at = errors[errors["sigma"] == sigma].set_index("world")
    for home in ("training", "test"):
        for world in worlds:
            row = {"sigma": sigma, "home": home, "world": world}
            for alarm in ("gap", "surprise"):
                quiet = at.loc[home, alarm].tolist()
                loud = at.loc[world, alarm].tolist()
                row[alarm] = area_under_roc(quiet, loud)
            areas.append(row)
areas = pd.DataFrame(areas)

# %% tags=["hide-input"]
at = errors[errors["sigma"] == alarm_sigma].set_index("world")
figure, (axes,) = figures.new_figure(1, 2, 6.4, 3.9, sharey=True)
for axis, home in zip(axes, ("training", "test"), strict=True):
    for turn, world in enumerate(list(worlds)[1:]):
        if world == home:
            continue
        false, true = roc(at.loc[home, "gap"].tolist(), at.loc[world, "gap"].tolist())
        look = figures.style("", turn) | {"marker": "", "linewidth": 2}
        axis.plot(false, true, label=world, **look)
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axis.set(title=f"home: {home} images", xlabel="false alarms at home", aspect="equal")
axes[0].set_ylabel("alarms elsewhere")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
show_figure(
    figure,
    name="fig-roc",
    caption=f"""Share of images of a world that raise the alarm, against the share of images at home that do, over all
    thresholds of the gap, at $\\sigma = {alarm_sigma:g}$; {tested} images each. A curve in the upper left corner tells
    the two apart.""",
    alt="Two panels of ROC curves of the gap, one line for each world: home is training images, and test images.",
)
areas["text"] = areas["gap"].map("{:.2f}".format) + areas["surprise"].map(" ({:.2f})".format)
wide = areas[areas["world"] != areas["home"]].pivot(index="world", columns=["home", "sigma"], values="text")
wide = wide.loc[list(worlds)[1:]].fillna("")
wide.columns = [f"{home}, σ = {sigma:g}" for home, sigma in wide.columns]
show_table(
    wide.reset_index(),
    name="tab-alarm",
    caption="""Area under the curve of the gap, in parentheses that of the surprise. 1: every image of the world has a
    larger value than every image at home. 0.5: the alarm is no better than chance. Below 0.5: images at home have the
    larger values.""",
)

# %% [markdown]
# ## Which filter is applied where
#
# A row of the derivative is the filter that makes one pixel of the estimate. The formula has it in one pass; a network,
# by automatic differentiation. We look at a pixel at the strongest edge and at one in the flattest place. The control
# is the affine filter, which does the same everywhere.

# %%
options = {"size": network_pixels, "channels": 1}
crops = load_images(data, count=network_images, **options)
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)
networks = training.networks(architectures, crops, physics, patch_size=P)
taught = LocalEquivariantMMSE(crops, physics, patch_size=P)
affine = AffineMMSE(crops, physics, patch_size=P)
held_out = load_images(data, split="test", count=filter_images, **options)
start = (network_pixels - filter_pixels) // 2
middle = slice(start, start + filter_pixels)
truth = held_out[..., middle, middle]

# %%
tiles, rest = divmod(network_pixels, filter_pixels)
if rest:
    raise ValueError("network_pixels must be a multiple of filter_pixels")


def affine_jacobian(sigma):
    """What one bright pixel adds to the affine filter's estimate."""
    n = filter_pixels
    bright = torch.eye(n * n).reshape(-1, 1, n, n)
    black = torch.zeros(1, 1, n, n)
    y = torch.cat([black, bright]).repeat(1, 1, tiles, tiles)
    estimate = affine(y, sigma)[..., :n, :n].flatten(1)
    return (estimate[1:] - estimate[0]).T.expand(filter_images, -1, -1)


jacobians, seen = {}, {}
for sigma in filter_sigmas:
    noise = torch.Generator().manual_seed(noise_seed + 2)
    seen[sigma] = physics.measure(truth, sigma, generator=noise)
    derivative = {"formula": formula_jacobian(taught, seen[sigma], sigma)}
    for name, network in networks.items():
        derivative[name] = network_jacobian(network, seen[sigma], sigma)
    derivative["affine filter"] = affine_jacobian(sigma)
    jacobians[sigma] = derivative

# %% tags=["hide-input"]
sides = (filter_pixels, filter_pixels)
inner = slice(P // 2, filter_pixels - P // 2 - 1)
slope = (truth[0, 0].diff(dim=0)[:, 1:].square() + truth[0, 0].diff(dim=1)[1:].square())[inner, inner]
places = {}
for name, at_pixel in (("edge", int(slope.argmax())), ("flat", int(slope.argmin()))):
    row, column = divmod(at_pixel, slope.shape[1])
    places[name] = (row + P // 2 + 1, column + P // 2 + 1)
shown_sigma = filter_sigmas[0]
kinds = ["formula", *networks, "affine filter"]
first = {kind: jacobians[shown_sigma][kind][0].float() for kind in kinds}
picked = {name: {kind: filter_at(first[kind], place, sides, P) for kind in kinds} for name, place in places.items()}
most = max(float(image.abs().max()) for row in picked.values() for image in row.values())
figure, axes = figures.new_figure(2, len(kinds) + 1, 1.35 * (len(kinds) + 1) + 0.3, 3.2)
for row, (name, place) in zip(axes, places.items(), strict=True):
    figures.draw_image(row[0], truth[0], title="truth" if name == "edge" else "")
    half = P / 2
    row[0].add_patch(Rectangle((place[1] - half, place[0] - half), P, P, fill=False, edgecolor="#D55E00", linewidth=2))
    row[0].set_ylabel(name)
    for axis, kind in zip(row[1:], kinds, strict=True):
        figures.draw_image(axis, picked[name][kind], title=kind if name == "edge" else "", limits=(-most, most))
show_figure(
    figure,
    name="fig-filters",
    caption=f"""The filters of {P} × {P} pixels that formula, networks and control apply at $\\sigma = {shown_sigma:g}$:
    at an edge of the framed crop above, in a flat place below. Gray is 0, white is {most:.2f}.""",
    alt="Two rows, edge and flat place: the crop with its window, then the filters of formula, networks and control.",
)

# %% tags=["hide-input"]


def relative_distance(own, reference):
    """Of the filters of all pixels and images, relative to the norm of the network's."""
    return float((own - reference).norm() / own.norm())


def nearer_to_formula(own, of_formula, of_affine):
    """How much smaller the distance to the formula is than that to the affine filter."""
    return relative_distance(own, of_affine) - relative_distance(own, of_formula)


likeness, spectra = [], []
for sigma, derivative in jacobians.items():
    of_formula, of_affine = (derivative[kind].double() for kind in ("formula", "affine filter"))
    for kind in networks:
        own = derivative[kind].double()
        ahead, error = jackknife(nearer_to_formula, own, of_formula, of_affine, axes=(0,))
        row = {"sigma": sigma, "restorer": kind, "ahead": ahead, "error": error}
        for name, reference in (("formula", of_formula), ("affine filter", of_affine)):
            row[f"distance to {name}"] = relative_distance(own, reference)
            row[f"cosine to {name}"] = float(torch.nn.functional.cosine_similarity(own, reference, dim=2).mean())
        likeness.append(row)
    for kind in kinds:
        matrix = derivative[kind][0].double()
        values = torch.linalg.eigvals(matrix)
        skew = (matrix - matrix.T).norm() / matrix.norm()
        row = {"sigma": sigma, "restorer": kind, "trace": float(matrix.trace()), "skew": float(skew)}
        row |= {"largest": float(values.real.max()), "above": int((values.real > 0.5).sum())}
        spectra.append(row)
likeness, spectra = pd.DataFrame(likeness), pd.DataFrame(spectra)
show_table(
    pd.DataFrame(
        {
            "σ": likeness["sigma"].map("{:g}".format),
            "network": likeness["restorer"],
            "to formula": likeness["distance to formula"].map("{:.2f}".format),
            "to affine filter": likeness["distance to affine filter"].map("{:.2f}".format),
            "difference": [figures.plus_minus(*pair) for pair in likeness[["ahead", "error"]].to_numpy()],
            "cosine to formula": likeness["cosine to formula"].map("{:.2f}".format),
            "to affine": likeness["cosine to affine filter"].map("{:.2f}".format),
        }
    ),
    name="tab-jacobian",
    caption=f"""The filters of the networks against those of the formula and of the affine filter, over all pixels of
    {filter_images} test crops of {filter_pixels} × {filter_pixels}: distances relative to the norm of the network's
    filters, how much smaller that to the formula is (± standard error over the crops), and mean cosines.""",
)

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {
            "σ": spectra["sigma"].map("{:g}".format),
            "restorer": spectra["restorer"],
            "trace": spectra["trace"].map("{:.1f}".format),
            "largest eigenvalue": spectra["largest"].map("{:.2f}".format),
            "above 1/2": spectra["above"],
            "skew part": spectra["skew"].map("{:.2f}".format),
        }
    ),
    name="tab-jacobian-spectrum",
    caption="""The matrix of all filters of the first crop: its trace (how many pixels of noise come through), its
    largest eigenvalue and how many are above 1/2 (real parts), and the relative norm of its antisymmetric part.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if the estimate without the truth were biased; if the deviation were wrong on training
# images; if the alarm told fewer than five worlds from training images; or if, at large noise, the affine filter were
# as near to the filters of the networks as the formula is.

# %% tags=["hide-input"]
bias["z"] = bias["mean"] / bias["sem"]
low, high = min(sigmas), max(sigmas)
away_factor = factor.drop(index=["training", "test"])
worst = away_factor[low].idxmax()
alarm = areas[(areas["sigma"] == alarm_sigma) & (areas["world"] != areas["home"])].set_index(["home", "world"])
from_training, from_test = alarm.loc["training"], alarm.loc["test"]


def listed(names):
    """Names as a part of a sentence."""
    quoted = [f'"{name}"' for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]])) or "none"


caught = from_training.index[from_training["gap"] >= 0.9]
missed = from_training.index[from_training["gap"] < 0.9]
caught_again = from_test.index[from_test["gap"] >= 0.9]
surprised = from_training.index[from_training["surprise"] >= 0.9]
first_sigma, last_sigma = min(filter_sigmas), max(filter_sigmas)


def about_filters(sigma):
    """Whether the filters of the networks are nearer to those of the formula, in a sentence."""
    part = likeness[likeness["sigma"] == sigma]
    texts = [f"{line.restorer} {figures.plus_minus(line.ahead, line.error)}" for line in part.itertuples()]
    if bool((part["ahead"] > SURE * part["error"]).all()):
        where = "nearer to those of the formula than to the affine filter"
    elif bool((part["ahead"] < -SURE * part["error"]).all()):
        where = "nearer to the affine filter than to those of the formula"
    else:
        where = "not all surely nearer to those of the formula than to the affine filter"
    return f"""At $\\sigma = {sigma:g}$ the filters of the networks are {where}: their relative distance to the formula
    is {figures.span(part["distance to formula"])}, that to the affine filter
    {figures.span(part["distance to affine filter"])}, and the difference is {", ".join(texts)}."""


unnoticed = f", and not {listed(missed)}" if len(missed) else ""
if len(missed) and bool((factor.loc[missed, alarm_sigma] < 1).all()):
    unnoticed += ", where the errors are smaller than expected"
is_one = (factor.loc["test"] - 1).abs() < SURE * factor_error.loc["test"]
on_test = (
    "at " + " and ".join(f"$\\sigma = {sigma:g}$" for sigma in sigmas if is_one[sigma]) if is_one.any() else "nowhere"
)
at_low, at_high = (figures.plus_minus(*bias.loc[sigma, ["correlation", "correlation error"]]) for sigma in (low, high))
show_answer(f"""On average over the pixels of an image, yes, where the noise is not too strong. The estimate without the
truth is off by {bias["z"].abs().max():.1f} standard errors at most over {len(errors) // len(sigmas)} images of
{len(worlds)} worlds. It correlates with the true error at {at_low} at $\\sigma = {low:g}$, but at {at_high} at $\\sigma
= {high:g}$, where chance is as large as the errors. The deviation itself is right on training images, and on test
images {on_test}. At $\\sigma$ = {", ".join(f"{sigma:g}" for sigma in sigmas)} error over expectation is
{", ".join(factor_text.loc["training"])} on training images, {", ".join(factor_text.loc["test"])} on test images, and
{factor_text.loc[worst, low]} in the world "{worst}" at $\\sigma = {low:g}$. At $\\sigma = {alarm_sigma:g}$ the gap
tells {listed(caught)} from training images (area of at least 0.9){unnoticed}; the control, the surprise, tells
{listed(surprised)}. From test images the gap tells {listed(caught_again)}. {about_filters(last_sigma)}
{about_filters(first_sigma)} All this is about P = {P}, one training of each network, {tested} images of each world, and
filters of {filter_images} test crops.""")

# %% tags=["hide-input"]
assert errors.select_dtypes("number").notna().all(axis=None), "every error must be a number"
probe = seen[filter_sigmas[0]][:1]
assert formula_error(taught, probe, filter_sigmas[0]) < 1e-5, "the engine must agree with the formula written out"
divergence = float(taught.posterior(probe, filter_sigmas[0]).variance.sum()) / filter_sigmas[0] ** 2
trace = float(jacobians[filter_sigmas[0]]["formula"][0].trace())
assert abs(divergence - trace) < 1e-3 * divergence, "the trace of the derivative is the sum of the variances"
noisy = likeness[likeness["sigma"] == last_sigma]
statements = {
    "At every sigma the mean of the estimate without the truth is within 3 standard errors of the true one.": bool(
        (bias["z"].abs() < 3).all()
    ),
    f"It correlates with the true error at sigma = {low:g} better than at sigma = {high:g}, by {SURE:g} standard "
    "errors.": bool(
        bias["correlation"][low] - bias["correlation"][high]
        > SURE * (bias["correlation error"][low] ** 2 + bias["correlation error"][high] ** 2) ** 0.5
    ),
    "On training images error and expectation agree within 3 standard errors.": bool(
        ((factor.loc["training"] - 1).abs() < 3 * factor_error.loc["training"]).all()
    ),
    f"At sigma = {low:g} the error is more than ten times the expectation in some world, by {SURE:g} standard "
    "errors.": bool((away_factor[low] - SURE * factor_error[low] > 10).any()),
    f"At sigma = {alarm_sigma:g} the gap tells five worlds or more from training images, with an area of 0.9.": (
        len(caught) >= 5
    ),
    f"At sigma = {last_sigma:g} the filters of every network are nearer to those of the formula than to the affine "
    f"filter, by {SURE:g} standard errors.": bool((noisy["ahead"] > SURE * noisy["error"]).all()),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(worst_z=bias["z"].abs().max(), worst_factor=away_factor.max(axis=None), caught=len(caught))

# %% [markdown]
# ## Try it
#
# - `lemmse run 14 -p alarm_sigma 0.2`: the alarm at more noise.
# - `lemmse run 14 -p patch_size 7`: a larger window is calibrated in fewer places. The networks are trained anew, which
#   takes minutes.
# - `lemmse run 14 -p data fashion_mnist`, after `lemmse data fetch fashion_mnist`: another home.
