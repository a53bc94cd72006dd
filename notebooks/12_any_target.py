# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Any target, any loss
#
# **Question.** A network need not be trained on the squared error, and need not return the image that was measured.
# Suppose it was trained on the absolute error, or to color a gray picture. Does the formula also say what it does then?
# And can one trust the intervals that the formula gives for each pixel?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The weights of the training patches do not depend on what is averaged. For any target $t(x)$, an
# image that is made of the clean image and moves with it, the best local and equivariant map for the squared error is
#
# $$
# \begin{gathered}
# \hat t[m] = \sum_{i,k} w_{i,k}\, t(x_i)[k], \\[1ex]
# w_{i,k} \propto \exp\left(-\|\Pi_m y - \Pi_k x_i\|^2 / 2 \sigma^2\right).
# \end{gathered}
# $$
#
# With the target $1[x \le q]$ this is the posterior distribution function of the pixel,
#
# $$
# F_m(q) = \sum_{i,k} w_{i,k}\, 1\big[x_i[k] \le q\big],
# $$
#
# and with it we know the median, every quantile, and intervals. The median minimizes the *absolute* error. A network
# that was trained on it should thus be near the median, and a network that was trained on squares near the mean,
# although both saw the same images.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 300  # N, training images
size: int = 20  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
network_size: str = "small"  # tiny, small, medium, or paper (4 million weights)
steps: int = 1500  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
thresholds: int = 24  # values q at which the distribution function is computed, from 0 to 1
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels
tested: int = 4  # images of each set
picture_size: int = 40  # pixels a side of the pictures that are colored
picture_sigma: float = 0.2  # noise level of the pictures that are colored
claimed_from: float = 0.8  # the least noise level at which the claims about networks are tested
colored_from: float = 0.4  # the same for the network that colors
seed: int = 0  # of the weights and of the training
noise_seed: int = 0  # of the noise, the worlds and the resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, half_and_double, patch_size_control
from lemmse.analysis.evaluate import FORMULA, NETWORK, TRUTH, formula_error, pair_distances, restore, restore_each
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margins, sure_from
from lemmse.analysis.quantiles import Indicators
from lemmse.analysis.uncertainty import means_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.pixels import in_channels
from lemmse.data.unseen import world_images
from lemmse.patches import extract_patches

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=1)
shape = {"count": tested, "size": size, "channels": 1}
sets = {"training": images[:tested], "test": load_images(data, split="test", **shape)}
generator = torch.Generator().manual_seed(noise_seed)
for world in ("textures", "faces", "text", "uniform noise"):
    sets[world] = world_images(world, tested, size, 1, generator)
groups = {name: list(range(tested)) for name in sets} | {
    "training": list(image_groups(data, split="train", **shape)),
    "test": list(image_groups(data, split="test", **shape)),
    "textures": [number % 3 for number in range(tested)],
    "text": [0] * tested,
}  # what each image was cut from; other worlds have independent images

# %% [markdown]
# ## One pass, the whole distribution
#
# The indicators of all thresholds are targets of one pass over the training images.

# %%
physics = Denoising()
indicators = Indicators(torch.linspace(0, 1, thresholds))
P = patch_size
mean = LocalEquivariantMMSE(images, physics, patch_size=P)
below = LocalEquivariantMMSE(
    images,
    physics,
    patch_size=P,
    targets=indicators,
)


def quantiles(y, sigma):
    """Median, and the ends of the interval that holds 90 %."""
    F = indicators.distribution(below(y, sigma))
    levels = {"median": 0.5, "5 %": 0.05, "95 %": 0.95}
    return {name: indicators.quantile(F, a) for name, a in levels.items()}


# %% [markdown]
# ## Two losses, one set of images
#
# The two networks differ in the loss alone. Everything else is the same: images, architecture, first weights, order of
# the images, noise.

# %%
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    size=network_size,
    seed=seed,
)
networks = {}
for loss in ("squared", "absolute"):
    networks[f"{loss} error"] = training.network(
        "PatchMLP",
        images,
        physics,
        patch_size=P,
        loss=loss,
    )

# %%
distances, coverage = [], []
solvers = networks | {"mean": mean}
runs = restore_each(solvers, physics, sets, sigmas, seed=noise_seed + 1)
for run in runs:
    q = quantiles(run.y, run.sigma)
    about = {"split": run.split, "sigma": run.sigma}
    known = run.estimates | {"median": q["median"], TRUTH: run.truth}
    rows = pair_distances(known, about, groups[run.split])
    distances.append(rows)
    inside = (q["5 %"] <= run.truth) & (run.truth <= q["95 %"])
    share = inside.double().mean((1, 2, 3))
    row = {**about, "group": groups[run.split], "inside": share}
    coverage.append(pd.DataFrame(row))
distances = pd.concat(distances, ignore_index=True)
coverage = pd.concat(coverage, ignore_index=True)

# %% tags=["hide-input"]
home = distances[distances["split"].isin(["training", "test"])]
own = {"squared error": "mean", "absolute error": "median"}  # what theory says each network is near
other = {"squared error": "median", "absolute error": "mean"}
resampling = torch.Generator().manual_seed(noise_seed)
margin_table = pd.concat(
    margins(home, [name], [other[name]], formula=own[name], generator=resampling) for name in networks
)
figure, (axes,) = figures.new_figure(1, 2, 6.4, 3.4, sharey=True)
for axis, (split, part) in zip(axes, margin_table.groupby("split", sort=False), strict=True):
    for turn, (name, line) in enumerate(part.groupby("network", sort=False)):
        look = figures.style("", turn) | {"markersize": 6, "capsize": 3}
        bars = SURE * line["error"]
        aside = 1 + 0.03 * (turn - 0.5)
        label = f"{name}: nearer to the {own[name]}"
        axis.errorbar(line["sigma"] * aside, line["margin"], bars, label=label, **look)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xscale="log", xlabel="noise level σ", title=f"{split} images")
    axis.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
axes[0].set_ylabel("margin (dB)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1)
show_figure(
    figure,
    name="fig-losses",
    caption=f"""How much nearer each network is to what its loss asks for than to what the other loss asks for: PSNR
    to the one minus PSNR to the other, in dB. Above the line the theory is right. Bars are ±{SURE:g} standard
    errors over {tested} images.""",
    alt="Margins of the two networks against sigma, on training and on test images, with a line at zero.",
)

# %% tags=["hide-input"]
pairs = home[home["sigma"] == max(sigmas)]
rows = []
for (split, sigma), part in home.groupby(["split", "sigma"], sort=False):
    average = part.groupby(["one", "other"])["psnr"].mean()
    row = {"images": split, "σ": f"{sigma:g}", "mean to median": f"{average['mean', 'median']:.1f}"}
    for name in networks:
        for estimate in ("mean", "median"):
            row[f"{name} to {estimate}"] = f"{average[name, estimate]:.1f}"
    rows.append(row)
show_table(
    pd.DataFrame(rows),
    name="tab-losses",
    caption=f"""PSNR in dB between networks and formulas, means over {tested} images. Where mean and median are as near
    to each other as the networks are to them, the networks cannot tell them apart.""",
)

# %% [markdown]
# ## Can one trust the interval?
#
# Nine of ten pixels should lie between the quantiles at 5 % and at 95 %. On images of the training set, with noise as
# assumed, this holds by construction. Elsewhere it is a claim about the world, and the formula has no way to know.

# %% tags=["hide-input"]
covered = means_by_group(coverage, "inside", ["split", "sigma"], generator=resampling)
covered["text"] = [figures.plus_minus(100 * row["mean"], 100 * row["error"]) for _, row in covered.iterrows()]
table = covered.pivot(index="split", columns="sigma", values="text").loc[list(sets)]
show_table(
    table.rename(columns=lambda sigma: f"σ = {sigma:g}").rename_axis("images").reset_index(),
    name="tab-coverage",
    caption=f"""Pixels inside their interval of 90 %, in %, ± standard error over {tested} images. The error resamples
    the pictures that images were cut from, then the images; where all were cut from one, it is too small.""",
)

# %% [markdown]
# ## Color from gray
#
# The target need not have as many channels as the measurement. Here the measurement is gray and noisy, and the target
# is the color image. The formula takes the gray images as keys and the color images as values, and the network is
# trained on the same pairs. There are three kinds of controls. *Tinted gray* knows that photographs have a tint, and
# nothing else: it is the gray estimate of the formula, with the one line for each color that fits best on the training
# images. The *affine filter* is the best affine map from a gray patch to a color. The others are the same formula
# with windows of half and of double the radius.

# %%
colors = load_images(data, count=count, size=size, channels=3)
grays = in_channels(colors, 1)
formula = LocalEquivariantMMSE(
    grays,
    physics,
    patch_size=P,
    targets=colors,
)
colorist = training.network(
    "PatchMLP",
    grays,
    physics,
    patch_size=P,
    targets=colors,
    target_channels=3,
)
gray_mean = LocalEquivariantMMSE(grays, physics, patch_size=P)
gray, wanted = grays.flatten(), colors.transpose(0, 1).flatten(1).T
line = torch.stack([gray, torch.ones_like(gray)], 1)
fit = torch.linalg.lstsq(line, wanted).solution
slope, offset = fit[..., None, None]


def tinted(y, sigma):
    """The control: the gray estimate, tinted as photographs are."""
    return slope * gray_mean(y, sigma) + offset


# %%
patches = extract_patches(grays, P)[:, 0].flatten(0, 1).double()
patch_mean, color_mean = patches.mean(0), wanted.double().mean(0)
centered = patches - patch_mean
covariance = centered.T @ centered / len(patches)
tint = wanted.double() - color_mean
with_colors = centered.T @ tint / len(patches)


def affine_filter(y, sigma):
    """The control: the best affine map from a gray patch to a color."""
    noisy = covariance + sigma**2 * torch.eye(len(covariance))
    weights = torch.linalg.solve(noisy, with_colors)
    seen = extract_patches(y.double(), P)[:, 0] - patch_mean
    colored = color_mean + seen @ weights
    return colored.mT.unflatten(2, y.shape[2:]).to(y.dtype)


color_controls = {"tinted gray": tinted, AFFINE: affine_filter}
for size_of_control in half_and_double(P):
    name = patch_size_control(size_of_control)
    color_controls[name] = LocalEquivariantMMSE(
        grays,
        physics,
        patch_size=size_of_control,
        targets=colors,
    )


# %% tags=["hide-input"]
squares = {"count": 3, "size": picture_size}
pictures = load_images(data, split="test", channels=3, **squares)
measured = in_channels(pictures, 1)
painters = {"network": colorist, "formula": formula, "tinted gray": tinted}
noise = torch.Generator().manual_seed(noise_seed)
painted = restore(painters, physics, measured, picture_sigma, generator=noise)
show_figure(
    figures.gallery(
        {
            f"picture {n + 1}": {
                "measurement": painted.y[n],
                **{name: painted.estimates[name][n] for name in painters},
                TRUTH: pictures[n],
            }
            for n in range(len(pictures))
        },
        ["measurement", *painters, TRUTH],
        figures.note_truth,
        cell=1.5,
    ),
    name="fig-color",
    caption=f"""Crops of photographs that were held out, measured in gray with noise of σ = {picture_sigma:g}, and
    colored from patches of {P} × {P} pixels. Below is the PSNR to the truth.""",
    alt="Three crops; columns are gray measurement, network, formula, tinted gray and the true colors.",
)

# %%
color_shape = shape | {"channels": 3}
held_out = load_images(data, split="test", **color_shape)
wanted_colors = {"training": colors[:tested], "test": held_out}
colorers = {NETWORK: colorist, FORMULA: formula, **color_controls}
found = []
for split, truth in wanted_colors.items():
    noise = torch.Generator().manual_seed(noise_seed + 2)
    for sigma in sigmas:
        y = physics.measure(in_channels(truth, 1), sigma, generator=noise)
        known = {name: solve(y, sigma) for name, solve in colorers.items()}
        about = {"split": split, "sigma": sigma}
        known[TRUTH] = truth
        found.append(pair_distances(known, about, groups[split]))
found = pd.concat(found, ignore_index=True)

# %% tags=["hide-input"]
key = ["split", "sigma", "image", "group"]
color_errors = found[found["other"] == TRUTH].pivot(index=key, columns="one", values="psnr").reset_index()
color_errors["gain"] = color_errors[FORMULA] - color_errors[["tinted gray", AFFINE]].max(axis=1)
gains = means_by_group(color_errors, "gain", ["split", "sigma"], generator=resampling).set_index(["split", "sigma"])
color_margins = margins(found, [NETWORK], color_controls, generator=resampling)
over_tint = margins(found, [NETWORK], ["tinted gray"], generator=resampling)
averages = color_errors.groupby(["split", "sigma"], sort=False)[list(colorers)].mean()
show_table(
    pd.DataFrame(
        [
            {
                "images": split,
                "σ": f"{sigma:g}",
                **{name: f"{line[name]:.1f}" for name in colorers},
                "gain": figures.plus_minus(*gains.loc[(split, sigma), ["mean", "error"]]),
            }
            for (split, sigma), line in averages.iterrows()
        ]
    ),
    name="tab-color",
    caption=f"""PSNR in dB to the true colors, means over {tested} images. *Gain*: by how much the formula is nearer to
    them than the better one of tinted gray and the affine filter, image by image, in dB ± standard error.""",
)
rows = []
for part, over in zip(color_margins.itertuples(), over_tint.itertuples(), strict=True):
    rows.append(
        {
            "images": part.split,
            "σ": f"{part.sigma:g}",
            "to the formula": f"{part.to_formula:.1f}",
            "nearest control": part.control,
            "to this control": f"{part.to_control:.1f}",
            "margin": figures.plus_minus(part.margin, part.error),
            "margin, tinted gray": figures.plus_minus(over.margin, over.error),
        }
    )
show_table(
    pd.DataFrame(rows),
    name="tab-color-margins",
    caption=f"""Is the network that colors nearer to the formula than to the controls? PSNR in dB of the network to
    the formula and to the nearest control, and the margin between them, ± its standard error over {tested} images. The
    last column is the margin over tinted gray alone.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at some noise level that it names, the network of the absolute error were nearer to the
# mean, or that of squares nearer to the median; if on training images the interval held more or fewer pixels than it
# says; if, at some noise level that it names, the network that colors were nearer to a control than to the formula; or
# if tinted gray or the affine filter were as near to the true colors of training images as the formula is, at the
# lowest noise level.

# %% tags=["hide-input"]
judged = margin_table[margin_table["sigma"] >= claimed_from]
rate = covered.set_index(["split", "sigma"])["mean"] * 100
at_home = rate["training"]
away = rate.drop("training", level="split")
worst_set, worst_sigma = away.idxmin()
least_noise = ("training", min(sigmas))
like_formula = color_margins[color_margins["sigma"] >= colored_from]
colored_like = sure_from(color_margins)
nearer_control = color_margins[color_margins["margin"] < -SURE * color_margins["error"]]


def least(table):
    """The least margin of a table, with its standard error."""
    row = table.sort_values("margin").iloc[0]
    return f"{figures.plus_minus(row['margin'], row['error'])} dB"


def held(split):
    """The least and the largest share of pixels inside their interval over the noise levels, with errors."""
    rows = covered[covered["split"] == split].set_index("sigma")
    ends = [rows.loc[rows["mean"].idxmin()], rows.loc[rows["mean"].idxmax()]]
    return " to ".join(figures.plus_minus(100 * row["mean"], 100 * row["error"]) for row in ends)


def levels_of(rows):
    """The noise levels of the rows of a table."""
    return ", ".join(f"{sigma:g}" for sigma in sorted(set(rows["sigma"])))


weak = margin_table[margin_table["margin"].abs() <= SURE * margin_table["error"]]
wrong = margin_table[margin_table["margin"] < -SURE * margin_table["error"]]
exceptions = f" At σ = {levels_of(weak)} this is not sure for every network." if len(weak) else ""
if len(wrong):
    exceptions += (
        f" At σ = {levels_of(wrong)} the network of the {wrong['network'].iloc[0]} is nearer to the other estimate; "
        "[the table](#tab-losses) shows how near mean and median are to each other there."
    )
if colored_like is None:
    colored = "is not clearly nearer to the formula than to every control, even at the largest noise"
else:
    sure_rows = color_margins[color_margins["sigma"] >= colored_like]
    colored = (
        f"is nearer to the formula with colors as its values than to any control from σ = {colored_like:g} on, by "
        f"{least(sure_rows)} or more"
    )
if len(nearer_control):
    nearest = ", ".join(sorted(set(nearer_control["control"])))
    colored += f". At σ = {levels_of(nearer_control)} a control is nearer: {nearest}"
widest = covered.set_index(["split", "sigma"]).loc[(worst_set, worst_sigma)]
show_answer(f"""Yes at large noise. From σ = {claimed_from:g} on, a network that was trained on squares is nearer to the
mean than to the median, and one that was trained on the absolute error is nearer to the median, by {least(judged)} or
more.{exceptions} A network that was trained to color gray pictures {colored}. The controls are tinted gray, the best
affine filter, and the formula with other windows. Network and formula know only the colors of the training images:
at σ = {min(sigmas):g} the formula is nearer to the true colors than tinted gray and the affine filter by
{figures.plus_minus(*gains.loc[least_noise, ["mean", "error"]])} dB on training images, and by
{figures.plus_minus(*gains.loc[("test", min(sigmas)), ["mean", "error"]])} dB on test images. The interval of 90 % holds
{held("training")} % of the pixels on training images, and it cannot be trusted elsewhere: on test images it holds
{held("test")} %, and in the world "{worst_set}" at σ = {worst_sigma:g} only
{figures.plus_minus(100 * widest["mean"], 100 * widest["error"])} %. All this is about {tested} images of each kind, a
receptive field of {P} × {P} pixels, and σ from {min(sigmas):g} to {max(sigmas):g}.""")

# %% tags=["hide-input"]
assert distances.notna().all(axis=None), "every distance must be a number"
y = physics.measure(sets["test"][:1], 0.2, generator=torch.Generator().manual_seed(noise_seed))
assert formula_error(mean, y, 0.2) < 1e-5, "the engine must agree with the formula written out"
own_image = LocalEquivariantMMSE(images, physics, patch_size=P, targets=images)
assert torch.equal(own_image(y, 0.2), mean(y, 0.2)), "the image as its own target is the mean, to the bit"
F = indicators.distribution(below(y, 0.2))
assert bool((F.diff(dim=2) >= -1e-6).all()), "a distribution function does not fall"
statements = {
    f"At every sigma from {claimed_from:g} on, the network of the {name} is nearer to the {own[name]} than to the "
    f"{other[name]}, by more than {SURE:g} standard errors.": bool((part["margin"] > SURE * part["error"]).all())
    for name, part in judged.groupby("network", sort=False)
}
statements |= {
    "On training images the interval of 90 % holds between 80 and 97 % of the pixels at every sigma.": bool(
        at_home.between(80, 97).all()
    ),
    "In some other world it holds at least 20 points less than on training images.": bool(
        away.min() < at_home.min() - 20
    ),
    f"At every sigma from {colored_from:g} on, the network that colors is nearer to the formula than to any control, "
    f"by more than {SURE:g} standard errors, on training and on test images.": bool(
        (like_formula["margin"] > SURE * like_formula["error"]).all()
    ),
    f"On training images at sigma = {min(sigmas):g} the formula is nearer to the true colors than tinted gray and "
    f"the affine filter, by more than {SURE:g} standard errors.": bool(
        gains.loc[least_noise, "mean"] > SURE * gains.loc[least_noise, "error"]
    ),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    margin_least=judged["margin"].min(),
    covered_training=at_home.mean(),
    covered_least=away.min(),
    color_gain_least=gains.loc["training", "mean"].min(),
    color_margin_least=like_formula["margin"].min(),
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 12 -p thresholds 64`: a finer distribution function.
# - `lemmse run 12 -p picture_sigma 0.05`: colors from a cleaner picture.
# - `lemmse run 12 -p patch_size 3`: less context for the colors. The networks are trained anew, which takes minutes.
