# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The border tells where you are
#
# **Question.** Nearly every network pads its images with zeros. Does such a network know where in the image a pixel
# lies? How far from the border does it know this? Does the formula predict what the network does with this knowledge?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** Zeros outside the image are no measurement of the image, but they show where the border is. Let
# $\partial_m$ be the pattern of the pixels that lie outside the image in the $P \times P$ window around $m$. A patch
# with the pattern $\partial_m$ can only have come from a position with the same pattern, so only these compete:
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} \propto
# \begin{cases}
# e^{-\|\Pi_m y - \Pi_k x_i\|^2 / 2 \sigma^2} & \text{if } \partial_k = \partial_m, \\
# 0 & \text{else.}
# \end{cases}
# \end{gathered}
# $$
#
# A position whose window lies inside the image competes with all others of that kind. Near an edge only the positions
# of one row or column are left, and near a corner only the position itself. With circular padding all positions
# compete.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "brain"  # what load_images takes: a name, or the path of a folder or zip
count: int = 72  # N, training images
size: int = 24  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 7  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # each trained with zero padding and with circular padding
longer: str = "ResNet"  # the one that is trained once more, longer, with zero padding
network_size: str = "tiny"  # tiny, small, medium or paper (4 million weights)
steps: int = 1500  # of training
longer_steps: int = 10000  # of the longer training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.8  # noise level of the pictures
tested: int = 16  # test images
claimed_from: float = 0.2  # the least noise level at which the claim is made
seed: int = 0  # of the weights and of the training
noise_seed: int = 1  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import replace

import pandas as pd
import torch

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, MEASUREMENT, half_and_double
from lemmse.analysis.evaluate import FORMULA, TRUTH, formula_error, pair_distances, restore_each
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margin_gains, margins
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=channels)
held_out = {"split": "test", "count": tested, "size": size, "channels": channels}
test = load_images(data, **held_out)
physics = Denoising()

# %% [markdown]
# ## Who competes with whom
#
# The positions that compete with one another form a *stratum*.

# %%
paddings = ("zeros", "circular")
formulas = {
    padding: LocalEquivariantMMSE(
        images,
        physics,
        patch_size=patch_size,
        padding=padding,
    )
    for padding in paddings
}
competing = formulas["zeros"].features.competing.reshape(size, size)

# %% tags=["hide-input"]
show_figure(
    figures.strata(formulas["zeros"]),
    name="fig-border-strata",
    caption=f"""Left: the strata of zero padding for P = {patch_size} in images of {size} x {size} pixels, one shade for
    each. Right: how many positions of each training image compete for a pixel, from {int(competing.min())} in the
    corners to {int(competing.max())} inside. With circular padding all {size * size} compete everywhere.""",
    alt="Strata: one large square inside, stripes along the edges, single pixels in the corners.",
)

# %% [markdown]
# ## How far from the border is the position known?
#
# An image of one gray without noise looks the same everywhere, except at the border. So if the output of a network at
# some pixel differs from its output in the middle, then the network has used the border to tell where this pixel is.

# %%
recipe = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)


def train(name, padding, training):
    """The trained network."""
    return training.network(
        name,
        images,
        physics,
        patch_size=patch_size,
        padding=padding,
    )


networks = {}
for name in architectures:
    for padding in paddings:
        networks[name, padding] = train(name, padding, recipe)
again = f"{longer} 2"  # trained longer
long_recipe = replace(recipe, steps=longer_steps)
networks[again, "zeros"] = train(longer, "zeros", long_recipe)

# %%
gray = torch.full((1, channels, size, size), 0.5)
row = torch.arange(size)
to_edge = torch.minimum(row, size - 1 - row)
distance = torch.minimum(to_edge[:, None], to_edge)  # to the border
reach = {}
for (name, padding), f in {
    **networks,
    **{(FORMULA, padding): formulas[padding] for padding in paddings},
}.items():
    with torch.no_grad():
        output = f(gray, claimed_from)[0]
    change = (output - output[:, size // 2, size // 2, None, None]).abs()
    reach[name, padding] = []
    for d in range(size // 2):
        largest = float(change[:, distance == d].max())
        reach[name, padding].append(largest)

# %% tags=["hide-input"]
show_figure(
    figures.border_reach(reach, patch_size),
    name="fig-border-reach",
    caption=f"""The largest change of the output of a gray image against the middle, over the distance from the border,
    P = {patch_size}, at $\\sigma = {claimed_from:g}$; *{again}* was trained for {longer_steps:,} steps, the others for
    {steps:,}. With zero padding it ends where the window no longer reaches the border (dotted line). With circular
    padding there is only the rounding of the arithmetic, which is drawn as $10^{{-7}}$.""",
    alt="With zero padding the change falls to zero at half the receptive field; with circular padding it is zero.",
)

# %% [markdown]
# That the change ends at half the receptive field, and that there is none with circular padding, is no evidence about
# training. It follows from how a network with this receptive field is built, whatever its weights are, and from the
# formula. It is a check of the code. What the figure does show is how strongly a network uses what it can know.

# %% [markdown]
# ## What does the position change?
#
# In slices of a head the border is nearly always black. A network that knows that a pixel is near the border needs no
# other evidence for that.

# %%
rivals = {
    AFFINE: AffineMMSE(images, physics, patch_size=patch_size),
    MEASUREMENT: lambda y, sigma: y,
}
for other in half_and_double(patch_size):
    rivals[f"zeros, P = {other}"] = LocalEquivariantMMSE(
        images,
        physics,
        patch_size=other,
        padding="zeros",
    )
named = {f"{name}, {padding}": f for (name, padding), f in networks.items()}
for padding in paddings:
    named[f"{FORMULA}, {padding}"] = formulas[padding]
border = (distance < patch_size // 2).flatten()
zones = {"border": border, "inside": ~border}
frames, pictures = [], {}
everyone = named | rivals
for restored in restore_each(
    everyone,
    physics,
    {"test": test},
    sigmas,
    seed=noise_seed,
):
    estimates = restored.estimates | {TRUTH: restored.truth}
    pictures[restored.sigma] = {MEASUREMENT: restored.y} | estimates
    for zone, pixels in zones.items():
        parts = {}
        for name, batch in estimates.items():
            parts[name] = batch.flatten(2)[:, :, pixels, None]
        about = {"split": zone, "sigma": restored.sigma}
        groups = image_groups(data, **held_out)
        frames.append(pair_distances(parts, about, groups))
pairs = pd.concat(frames, ignore_index=True)

# %% tags=["hide-input"]
level = min(sigmas, key=lambda sigma: abs(sigma - shown))
columns = {MEASUREMENT: MEASUREMENT}
shown_networks = [key for key in networks if key[1] == "zeros"]
for name, padding in [*shown_networks, (FORMULA, "zeros"), (FORMULA, "circular")]:
    columns[f"{name}, {padding}"] = f"{name},\n{padding}"
columns[TRUTH] = TRUTH
show_figure(
    figures.gallery(
        {
            f"image {i + 1}": {title: pictures[level][name][i] for name, title in columns.items()}
            for i in range(min(3, tested))
        },
        list(columns.values()),
        cell=0.97,
    ),
    name="fig-border",
    caption=f"""Test images at $\\sigma = {level:g}$. With zero padding the networks and the formula know that the rim
    is dark; with circular padding they have to guess from the patch alone.""",
    alt="Noisy slices of a brain, restored by networks and formulas with zero padding and with circular padding.",
)

# %% tags=["hide-input"]
psnr = pairs[(pairs["sigma"] == level)].groupby(["split", "one", "other"])["psnr"]
means, spreads = psnr.mean(), psnr.std(ddof=0)
table = []
for name, padding in networks:
    for zone in zones:
        key = (zone, f"{name}, {padding}")
        cells = {
            f"to the formula, {kind}": figures.plus_minus(
                means[(*key, f"{FORMULA}, {kind}")], spreads[(*key, f"{FORMULA}, {kind}")]
            )
            for kind in paddings
        }
        truth = figures.plus_minus(means[(*key, TRUTH)], spreads[(*key, TRUTH)])
        table.append({"network": key[1], "pixels": zone, **cells, "to the truth": truth})
show_table(
    pd.DataFrame(table),
    name="tab-border",
    caption=f"""PSNR in dB between networks and formulas at $\\sigma = {level:g}$: mean ± standard deviation over
    {tested} test images. *Border*: pixels whose window of {patch_size} x {patch_size} pixels leaves the image.""",
)

# %% [markdown]
# The margin of a network with zero padding is how much nearer it is to the formula with zero padding than to the
# nearest control. The controls are the formula with circular padding, the affine filter, the measurement, and the
# formula with zero padding for other receptive fields.

# %%
controls = [f"{FORMULA}, circular", *rivals]
zero_networks = [f"{name}, zeros" for name in (*architectures, again)]
margin_table = margins(
    pairs,
    zero_networks,
    controls,
    formula=f"{FORMULA}, zeros",
    generator=torch.Generator().manual_seed(noise_seed),
)
longer_training = margin_gains(
    pairs[pairs["sigma"] >= claimed_from],
    f"{longer}, zeros",
    f"{again}, zeros",
    controls,
    formula=f"{FORMULA}, zeros",
    generator=torch.Generator().manual_seed(noise_seed),
).set_index("split")
gains = margins(
    pairs,
    [TRUTH],
    [f"{FORMULA}, circular"],
    formula=f"{FORMULA}, zeros",
    generator=torch.Generator().manual_seed(noise_seed),
)

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {
            "network": name,
            "pixels": zone,
            **{
                f"σ = {line['sigma']:g}": f"{figures.plus_minus(line['margin'], line['error'])} ({line['control']})"
                for _, line in part.iterrows()
            },
        }
        for (name, zone), part in margin_table.groupby(["network", "split"], sort=False)
    ),
    name="tab-border-margins",
    caption=f"""Margins in dB of the networks with zero padding ± standard errors over {tested} test images, and in
    brackets the nearest control. A margin above zero says that the network is nearest to the formula with zero
    padding.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if knowing the border brought the formula no nearer to the truth there at much noise, or if,
# at the noise level that it names, a control came as near to the network that was trained longest as the formula with
# zero padding does. Near a corner the formula knows one patch of each training image and copies it; a network that was
# trained for minutes does not recite the corners of its training images.

# %% tags=["hide-input"]
half = patch_size // 2
known = {
    key: max([d + 1 for d, value in enumerate(values) if value > 1e-5], default=0) for key, values in reach.items()
}
reached = sorted({known[name, "zeros"] for name in (*architectures, again)})
at_border = gains[gains["split"] == "border"]
high, low = (at_border.loc[place] for place in (at_border["sigma"].idxmax(), at_border["margin"].idxmin()))
after = margin_table.set_index(["network", "split", "sigma"])
loud = max(sigmas)
strongest = {name: max(reach[name, "zeros"]) for name in (*architectures, again)}


def written(line):
    """A margin with its error."""
    return f"{figures.plus_minus(line['margin'], line['error'])} dB"


def is_sure(line):
    """Whether it is above zero by two standard errors."""
    return bool(line["margin"] > SURE * line["error"])


costs = "costs" if low["margin"] < -SURE * low["error"] else "does not surely help or cost"
helps = "helps" if is_sure(high) else "does not surely help"
at_loud = "; ".join(f"{name} {written(after.loc[f'{name}, zeros', 'border', loud])}" for name in architectures)
of_longer = {zone: after.loc[f"{again}, zeros", zone, loud] for zone in zones}
quiet = after.loc[f"{again}, zeros", "border", claimed_from]
by_formula = (
    f"At $\\sigma = {loud:g}$, for the network that was trained longest, yes"
    if all(is_sure(line) for line in of_longer.values())
    else "Not surely, for any network here"
)
gained = {zone: figures.plus_minus(line["gain"], line["error"]) for zone, line in longer_training.iterrows()}
several = f"{', '.join(architectures[:-1])} and {architectures[-1]}" if len(architectures) > 1 else architectures[0]
show_answer(f"""A network with zero padding knows the position of a pixel that lies near the border, within half a
receptive field, here {" or ".join(map(str, reached))} pixels. The same holds for the formula. Farther inside neither
can know it, and with circular padding neither knows it at all. {several} use it: the border of a gray image changes by
{figures.span(strongest.values())}. With much noise, knowing the border {helps}: at $\\sigma = {high["sigma"]:g}$ the
formula with zero padding is {written(high)} nearer to the truth at the border than the circular one. At $\\sigma =
{low["sigma"]:g}$ it {costs}: the difference is {written(low)}, and a corner has only one competing patch in each of the
{count} training images. Does the formula say what the networks make of the border? {by_formula}. The controls are the
formula with circular padding, the formula with zero padding for P =
{" and ".join(map(str, half_and_double(patch_size)))}, the affine filter and the measurement. At the border and $\\sigma
= {loud:g}$ the margins over the nearest of them are, after {steps:,} steps, {at_loud}. {longer} trained for
{longer_steps:,} steps has {written(of_longer["border"])} there and {written(of_longer["inside"])} inside. In the mean
from $\\sigma = {claimed_from:g}$ on, the longer training changes its margin by {gained["border"]} dB at the border and
{gained["inside"]} dB inside. At $\\sigma = {claimed_from:g}$ its margin at the border is {written(quiet)}, and the
nearest control is '{quiet["control"]}'. All this is about P = {patch_size}, one training of each network, and {tested}
test slices of one average brain.""")

# %% tags=["hide-input"]
y = physics.measure(test[:1], 0.2, generator=torch.Generator().manual_seed(noise_seed))
assert formula_error(formulas["circular"], y, 0.2) < 1e-5, "the engine must agree with the formula written out"
inside = (size // 2, size // 2)
moved = formulas["zeros"](y + (distance == 0) * 0.3, 0.2) - formulas["zeros"](y, 0.2)
assert float(moved[0, :, inside[0], inside[1]].abs().max()) < 1e-6 or size <= patch_size, "the formula must be local"
assert int(competing[inside]) == (size - patch_size + 1) ** 2, "inside, all windows inside the image compete"
assert int(competing[0, 0]) == 1, "a corner competes with itself alone"
for name in (*architectures, again, FORMULA):
    assert known[name, "zeros"] <= half, f"{name} must not see farther than its receptive field"
for name in (*architectures, FORMULA):
    assert known[name, "circular"] == 0, f"with circular padding {name} must be the same everywhere"
statements = {
    f"At the border, at sigma = {high['sigma']:g}, the formula with zero padding is nearer to the truth than the "
    f"circular one by {SURE:g} standard errors.": is_sure(high)
}
for zone in zones:
    statements[
        f"{zone.capitalize()}, at sigma = {loud:g}, {again} is nearer to the formula with zero padding than to the "
        f"controls, by {SURE:g} standard errors."
    ] = is_sure(of_longer[zone])
    line = longer_training.loc[zone]
    statements[
        f"{zone.capitalize()}, longer training raises the margin of {longer} in the mean from sigma = "
        f"{claimed_from:g} on, by {SURE:g} standard errors."
    ] = bool(line["gain"] > SURE * line["error"])
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    margin=float(after.loc[f"{again}, zeros", "border", loud]["margin"]),
    quiet_margin=quiet["margin"],
    least_gain=low["margin"],
    gain=high["margin"],
    reach=max(reached),
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 19 -p patch_size 11`: the position is known five pixels far, which leaves few positions inside. The
#   networks are trained anew, which takes minutes.
# - `lemmse run 19 -p data photos -p count 200`: crops of photographs have no layout, and the position says little.
# - The chapter [A generator without training](20_generator.ipynb) draws images from noise with both paddings.
