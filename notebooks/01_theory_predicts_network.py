# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The theory predicts the network
#
# **Question.** A convolutional network is trained to remove noise, to fill a hole or to undo a blur. Does a formula
# that was never fitted to the network predict its output, and does it predict it better than simpler explanations do?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A network of receptive field $P \times P$ sees the measurement $y = A x + e$ around a pixel $m$
# through the patch $\Pi_m y$. Among all maps that see no more than this patch, and treat all pixels alike, the one
# with the least mean squared error on the training images $x_1, \dots, x_N$ returns a weighted mean of training pixels:
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} = \frac{e^{-\|\Pi_m y - \Pi_k A x_i\|^2 / 2 \sigma^2}}
#                {\sum_{j,l} e^{-\|\Pi_m y - \Pi_l A x_j\|^2 / 2 \sigma^2}}.
# \end{gathered}
# $$
#
# The network is *physics-agnostic*: it is given $y$ itself. The page about [the theory](../theory.md) derives the
# formula.
#
# **The controls.** A network that is near the formula proves little where it is just as near to something simpler.
# Therefore we compare it with *controls*, which are other restorers that could explain the network as well: the
# measurement itself; the best affine map of the same patch; the formula for smaller and for larger patches; the formula
# for few of the training images; and, for noise alone, non-local means, a filter that knows no training image. The
# *margin* of a network is its PSNR to the formula minus its PSNR to the nearest control, in dB. A large PSNR means
# near, so a positive margin means that the formula is nearer than every control.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained on denoising
repeats: int = 2  # further trainings of the last of them, with other seeds
everywhere: str = "PatchMLP"  # the architecture that is trained on the other operators too
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training, on noise alone
operator_steps: int = 800  # of training, on the other operators and in color
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
operator_sigmas: list[float] = [0.1, 0.4, 0.8]  # noise levels of the evaluation on the other operators
tested: int = 6  # training and test images of the evaluation, each
few: int = 20  # training images of the control that has few of them
claimed_from: float = 0.2  # the noise level from which on the claim at the end is tested
photographs: list[str] = ["flower", "coffee", "grace_hopper"]  # of the pictures in color, none seen in training
color_count: int = 200  # training images in color, crops of other photographs
color_size: int = 48  # pixels a side of the pictures in color
picture_sigma: float = 0.4  # noise level of the pictures in color
row: int = 24  # of the pixel whose votes are shown
column: int = 31  # of the pixel whose votes are shown
seed: int = 0  # of masks, weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import replace

import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images, psnr
from lemmse.analysis.controls import AFFINE, controls, half_and_double, with_images
from lemmse.analysis.evaluate import FORMULA, TRUTH, compare, formula_error, restore
from lemmse.analysis.experiment import Training, evaluation_images, other_images
from lemmse.analysis.margins import margin_sentence, margins, sure_from
from lemmse.analysis.second_moments import affine_beside
from lemmse.analysis.sources import origins
from lemmse.analysis.uncertainty import means_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.book.results import show_campaign
from lemmse.data.groups import image_groups
from lemmse.data.photographs import photograph
from lemmse.data.unseen import world_images
from lemmse.physics.gallery import BLUR_STD, HIDDEN, OPERATORS, make_operator

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=channels)
clean = evaluation_images(images, data, tested)  # "training" and "test"
sources = {
    split: image_groups(data, split=name, count=tested, size=size, channels=channels)
    for split, name in (("training", "train"), ("test", "test"))
}  # the number of the photograph that each image was cut from

# %% tags=["hide-input"]
campaign_says = show_campaign()

# %% [markdown]
# ## The networks, and the formula that never saw them
#
# The training images are all that the networks and the formula share. Each network minimizes the squared error by
# stochastic gradient descent; the formula is evaluated, not trained.

# %%
physics = Denoising()
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)
networks = training.networks(
    architectures,
    images,
    physics,
    patch_size=patch_size,
    repeats=repeats,
)

# %% [markdown]
# ## What it looks like
#
# Before we measure anything, here are three photographs of which no network has seen any part. Each is measured in
# another way: with noise alone, with a hidden square in its center, and through a blur. A network of its own was
# trained for each of the three, on color crops of the training photographs.


# %%
def network_and_formula(name, truth):
    """Measure one image; restore it by network, formula and control."""
    generator = torch.Generator().manual_seed(seed)
    A = make_operator(name, color_size, color_size, generator)
    P = patch_size
    formula = LocalEquivariantMMSE(color_images, A, patch_size=P)
    shorter = replace(training, steps=operator_steps)
    network = shorter.network("ResNet", color_images, A, patch_size=P)
    affine = affine_beside(formula)
    solvers = {"network": network, FORMULA: formula, AFFINE: affine}
    sigma = picture_sigma
    return formula, restore(solvers, A, truth, sigma, generator=generator)


# %% tags=["hide-input"]
def central_square(image):
    """The square of `color_size` pixels in the middle of a photograph."""
    top, left = ((side - color_size) // 2 for side in image.shape[-2:])
    return image[..., top : top + color_size, left : left + color_size]


color_images = load_images("photos", count=color_count, size=color_size, channels=3)
whole = [central_square(photograph(name, short_side=color_size, channels=3)) for name in photographs]
pictured = dict(zip(("denoising", "centre inpainting", "Gaussian blur"), whole, strict=True))
in_color = {name: network_and_formula(name, truth) for name, truth in pictured.items()}

# %% tags=["hide-input"]
labels = {"denoising": "noise", "centre inpainting": "hole and noise", "Gaussian blur": "blur and noise"}
columns = ["measurement", "network", "formula", "10 × difference", "truth"]
rows = {}
for name, (_, restored) in in_color.items():
    network, predicted = restored.estimates["network"][0], restored.estimates[FORMULA][0]
    difference = figures.magnified_difference(network, predicted)
    rows[labels[name]] = dict(
        zip(columns, (restored.y[0], network, predicted, difference, restored.truth[0]), strict=True)
    )
near = {
    name: {other: float(psnr(r.estimates["network"], r.estimates[other])) for other in (FORMULA, AFFINE)}
    for name, (_, r) in in_color.items()
}
numbers = "; ".join(f"{labels[name]} {d[FORMULA]:.1f} dB ({d[AFFINE]:.1f} dB)" for name, d in near.items())
show_figure(
    figures.gallery(rows, columns, cell=1.25),
    name="fig-headline",
    caption=f"""Three photographs that no network has seen, {color_size} pixels a side, each with noise of $\\sigma =
    {picture_sigma:g}$. The formula was not fitted to the networks. The fourth column is ten times their difference
    around middle gray: where it is gray, they agree. Deep in the hole neither of them sees anything, and both return
    one color. PSNR between the network and the formula, and in parentheses between the network and the affine filter:
    {numbers}.""",
    alt="Rows: noise, a hole, a blur. Columns: measurement, network, formula, ten times their difference, truth.",
)

# %% [markdown]
# The formula also tells where each pixel of its output comes from.

# %%
color_formula, restored = in_color["denoising"]
posterior = color_formula.posterior(restored.y, picture_sigma, top_k=4)
voters = origins(color_images, posterior, 0, [(row, column)])[row, column]

# %% tags=["hide-input"]
effective = float(posterior.effective_samples[0, row, column])
show_figure(
    figures.votes(restored.y[0], restored.truth[0], posterior.mean[0], (row, column), voters, patch_size),
    name="fig-votes",
    caption=f"""One pixel of the noisy photograph and the training patches that vote for it. The formula compares the
    noisy patch with all {color_count * color_size**2:,} training patches and returns the weighted mean of their center
    pixels. Below are the training images whose patches have the largest weights. Because of the noise the vote is
    spread over many patches: the effective number of patches is {figures.rounded(effective)}.""",
    alt="A noisy photograph and its noisy patch, the output pixel, and four training images with a framed patch.",
)

# %% [markdown]
# ## Nearer to the formula than to the controls?
#
# Now we measure. All networks, the formula and all controls restore the same measurements of training images and of
# test images, and we compute the distances between them.
#
# One control is weak on purpose: the formula of a few images has so few of them that it differs clearly from the
# formula of all. The section "Which images count?" asks what larger parts of the training images, and other images,
# predict.

# %%
rivals = controls(formula, few=few)
solvers = {**networks, FORMULA: formula, **rivals}
distances = compare(
    solvers,
    physics,
    clean,
    sigmas,
    seed=seed + 1,
    groups=sources,
)

# %% tags=["hide-input"]
show_figure(
    figures.control_lines(distances, networks, rivals),
    name="fig-controls",
    caption=f"""How near the trained denoisers are to the formula and to each control: PSNR, means over {len(networks)}
    networks and {tested} images of each split. Where the thick line of the formula is above all others, the formula is
    the best explanation of what the networks do.""",
    alt="PSNR to the networks against sigma: a thick line for the formula and a thin line for each control.",
    chart=figures.control_chart(distances, networks, rivals),
)

# %% [markdown]
# The margin of each network comes with a standard error. Images that were cut from one photograph resemble each
# other, so the standard error comes from drawing photographs, and then images of each photograph, with replacement.
# The nearest control is chosen anew in each draw.

# %%
generator = torch.Generator().manual_seed(seed)
margin_table = margins(distances, networks, rivals, generator=generator)
start = sure_from(margin_table)

# %% tags=["hide-input"]
show_figure(
    figures.margin_lines(margin_table),
    name="fig-margins",
    caption=f"""Margins of the denoisers with their standard errors. Above zero, the network is nearer to the formula
    than to every control. The networks called {everywhere} differ in their seed alone.""",
    alt="Margins against sigma, one line with error bars for each network, on training images and on test images.",
    chart=figures.margin_chart(margin_table),
)


# %% tags=["hide-input"]
def as_text(table, first):
    """Margins for the reader: one row for each row of the table, its first columns as they are."""
    spread = [figures.plus_minus(*pair) for pair in zip(table["margin"], table["error"], strict=True)]
    numbers = {
        "to the formula (dB)": table["to_formula"].map("{:.1f}".format),
        "nearest control": table["control"],
        "to it (dB)": table["to_control"].map("{:.1f}".format),
        "margin (dB)": spread,
    }
    return table[first].assign(**numbers)


worst = margin_table.loc[margin_table.groupby(["split", "sigma"], sort=False)["margin"].idxmin()]
show_table(
    as_text(worst, ["split", "sigma", "network"]).rename(columns={"split": "images"}),
    name="tab-margins",
    caption="The network with the least margin at each noise level: how near it is to the formula and to its nearest "
    "control, and the margin ± its standard error.",
)

# %%
to_formula = distances[distances["other"] == FORMULA]
to_truth = distances[distances["other"] == TRUTH]
seeds = [name for name in networks if name.startswith(architectures[-1])]
by_seed = to_formula[to_formula["one"].isin(seeds)]
by_seed = by_seed.groupby(["split", "sigma", "one"])["psnr"].mean()
by_seed = by_seed.unstack()
apart = (by_seed.max(axis=1) - by_seed.min(axis=1)).max()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""The {len(seeds)} trainings of {architectures[-1]} differ in their first weights and in the order of the
images. At each noise level their mean PSNR to the formula lies within {apart:.1f} dB of one another. The other
architectures were trained once.""")

# %% [markdown]
# ## Which images count?
#
# Do the votes of exactly these training images predict the networks, or would others do as well? We compare the
# networks with the formula of a quarter of the images, with that of as many other crops of the same photographs, and
# with those of images of other kinds: faces, and a printed page. All use the same patch size. We ask at the two largest
# noise levels.

# %%
quarter = max(1, count // 4)
generator = torch.Generator().manual_seed(seed)
sets = {f"a quarter of them ({quarter:,})": images[:quarter]}
others = other_images(images, data)
if others is not None:
    sets[f"{count:,} other images of the set"] = others
for kind in ("faces", "text"):
    shape = (count, size, channels)
    sets[kind] = world_images(kind, *shape, generator)
voted = {name: with_images(formula, some) for name, some in sets.items()}
from_sets = compare(
    {**networks, FORMULA: formula, **voted},
    physics,
    {"test": clean["test"]},
    sorted(sigmas)[-2:],
    seed=seed + 1,
    groups={"test": sources["test"]},
)

# %% tags=["hide-input"]
to_sets = from_sets[from_sets["one"].isin(list(networks))]
key = ["one", "sigma", "image", "group"]
near = to_sets.pivot(index=key, columns="other", values="psnr")
lead = near[list(voted)].rsub(near[FORMULA], axis=0).melt(var_name="images", value_name="lead", ignore_index=False)
leads = means_by_group(lead.reset_index(), "lead", ["images", "sigma"], generator=generator)
leads = leads.set_index(["images", "sigma"])
table = {
    f"σ = {sigma:g}": [
        f"{near[name].groupby('sigma').mean()[sigma]:.1f} ({figures.plus_minus(*leads.loc[name, sigma])})"
        for name in voted
    ]
    for sigma in sorted(set(to_sets["sigma"]))
}
show_table(
    pd.DataFrame({"formula of": list(voted), **table}),
    name="tab-which-images",
    caption=f"""PSNR in dB from the {len(networks)} networks to the formula of several sets of images, and in
    parentheses by how much less that is than their PSNR to the formula of all {count:,} training images, ± its standard
    error: means over {tested} test images.""",
)

# %%
of_networks = to_truth[to_truth["one"].isin(list(networks))]
of_networks = of_networks.groupby(["split", "sigma"])["psnr"].mean()
of_formula = to_truth[to_truth["one"] == FORMULA]
of_formula = of_formula.groupby(["split", "sigma"])["psnr"].mean()
ahead = of_formula - of_networks

# %% tags=["remove-input"] jupyter={"source_hidden": true}
low, high = min(sigmas), max(sigmas)


def compared(split, sigma):
    """How the formula and the networks compare as restorers, as a part of a sentence."""
    gap = ahead[split, sigma]
    return f"{abs(gap):.1f} dB {'nearer to the truth than' if gap > 0 else 'farther from the truth than'} the networks"


Markdown(f"""At small noise the formula and the networks part ways, and the truth tells how. At $\\sigma = {low:g}$ the
formula is {compared("training", low)} on training images, and {compared("test", low)} on test images. At $\\sigma =
{high:g}$ it is {compared("test", high)} on test images.""")

# %% [markdown]
# ## Holes and blur
#
# The formula needs no more than $A x_i$, so it predicts networks behind other operators as well.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""We train {everywhere} on images with a hidden square in their center, on images of which {HIDDEN:.0%} of
the pixels are hidden at random, and on images that were blurred by a Gaussian of standard deviation {BLUR_STD:g}
pixel. The controls of other patch sizes are left out here, since each of them costs as much as the formula.""")


# %%
def operator_margins(name):
    """The margins of a network behind one operator, on test images."""
    generator = torch.Generator().manual_seed(seed)
    A = make_operator(name, size, size, generator)
    formula = LocalEquivariantMMSE(images, A, patch_size=patch_size)
    shorter = replace(training, steps=operator_steps)
    network = shorter.network(everywhere, images, A, patch_size=patch_size)
    rivals = controls(formula, few=few, patch_sizes=[])
    solvers = {everywhere: network, FORMULA: formula, **rivals}
    test, photos = {"test": clean["test"]}, {"test": sources["test"]}
    distances = compare(
        solvers,
        A,
        test,
        operator_sigmas,
        seed=seed + 1,
        groups=photos,
    )
    return margins(distances, [everywhere], rivals, generator=generator)


rest = OPERATORS[1:]
tables = [operator_margins(name).assign(operator=name) for name in rest]
by_operator = pd.concat(tables, ignore_index=True)

# %% tags=["hide-input"]
show_table(
    as_text(by_operator, ["operator", "sigma"]),
    name="tab-operators",
    caption=f"""The same for {everywhere} behind other operators: PSNR to the formula and to the nearest control, and
    the margin ± its standard error, on {tested} test images.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if a trained network were nearer to a control than to the formula. The formula would also
# fail if it predicted the networks on training images but not on test images, since then the networks would know
# something that it does not; or if another architecture or another seed led elsewhere. At small noise the first of
# these happens, and the answer says from which noise level on it does not. That the distance to the formula falls
# while the training error falls is no evidence: it [follows from the formula being the best possible](../theory.md).

# %% tags=["hide-input"]
most_noise = max(operator_sigmas)
behind = by_operator[by_operator["sigma"] == most_noise]
least = behind.loc[behind["margin"].idxmin()]
verdict = "No: on this run, simpler explanations do as well."
if start is not None:
    verdict = f"""Yes, from $\\sigma = {start:g}$ on: there the formula predicts trained denoisers better than every
    control does, on images that they were trained on and on photographs of which they saw no part."""
at_most_noise = leads.xs(max(sigmas), level="sigma")
sets_say = "; ".join(f"{name}, {figures.plus_minus(*row)}" for name, row in at_most_noise.iterrows())
operators = ", ".join(rest)
show_answer(f"""{verdict} {margin_sentence(margin_table)} The controls are the measurement, the affine filter, the
formula for P = {" and ".join(str(P) for P in half_and_double(patch_size))} and of {few} images, and non-local means.
Behind the other operators ({operators}), where the formula for other P is not among the controls, {everywhere} has a
margin of {figures.plus_minus(least.margin, least.error)} dB or more on test images at $\\sigma = {most_noise:g}$; with
less noise it depends on the operator, as [the table](#tab-operators) shows. This is about receptive fields of
{patch_size} x {patch_size} pixels, networks that were trained for minutes, and {count} training images of
{size} x {size} pixels.

At $\\sigma = {max(sigmas):g}$ the formula of the training images is nearer to the networks than the formula of other
sets of images by so many dB: {sets_say}. {campaign_says}""")

# %% tags=["hide-input"]
y = physics.measure(clean["test"][:1], high, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y, high) < 1e-5, "the engine must agree with the formula written out"
assert distances.notna().all(axis=None), "every distance must be a number"
held = margin_table[margin_table["sigma"] >= claimed_from]
statements = {
    f"From sigma = {claimed_from:g} on, every denoiser is nearer to the formula than to every control by more than two "
    f"standard errors, on {split} images.": bool((part["margin"] > 2 * part["error"]).all())
    for split, part in held.groupby("split", sort=False)
}
statements |= {
    f"Behind the operator {name}, the network is nearer to the formula than to every control by more than two "
    f"standard errors, on test images at sigma = {most_noise:g}.": bool((part["margin"] > 2 * part["error"]).all())
    for name, part in behind.groupby("operator", sort=False)
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(sure_from=start, least_margin=held["margin"].min(), least_operator_margin=least.margin, seeds=apart)
for name, other in (("formula", FORMULA), ("affine", AFFINE)):
    near_test = distances[distances["one"].isin(list(networks)) & (distances["split"] == "test")]
    record(**{f"to_{name}": near_test[(near_test["other"] == other) & (near_test["sigma"] == high)]["psnr"].mean()})

# %% [markdown]
# ## Try it
#
# - `lemmse run 01 -p patch_size 9 -p steps 6000`: the network sees more, and needs a longer training to
#   reach the formula. With
#   a changed parameter the chapter reports whether the claim holds, and does not fail.
# - `lemmse run 01 -p count 20 -p few 5`: with few images the formula recites them. See how far
#   the networks follow.
# - `lemmse run 01 -p data fashion_mnist`, after `lemmse data fetch fashion_mnist`: independent images
#   of another kind.
