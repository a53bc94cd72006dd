# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A patchwork of training patches
#
# **Question.** Every pixel of the formula's output is a weighted mean of pixels of training images. Which training
# images do they come from, and how many take part?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The output of [LE-MMSE](../theory.md) at the pixel $m$ is
#
# $$
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k],
# $$
#
# with one weight for each pixel $k$ of each training image $x_i$; the weights add up to one. The *effective number of
# patches* counts how many of them share the weight:
#
# $$
# N_{\mathrm{eff}}[m] = \frac{1}{\sum_{i,k} w_{i,k}^2}.
# $$
#
# It is one if a single patch has all the weight, and $N n$ if all patches of $N$ training images with $n$ pixels have
# the same weight. The largest weight always lies between $1 / N_{\mathrm{eff}}$ and $1 / \sqrt{N_{\mathrm{eff}}}$.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 5  # P, odd
sigmas: list[float] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels, growing
tested: int = 8  # training and test images, each
seed: int = 0  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import math

import pandas as pd
import torch
from IPython.display import Markdown
from tqdm import tqdm

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import evaluation_images
from lemmse.analysis.sources import origins, patchwork_table
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.distinct import distinct_centers
from lemmse.data.groups import image_groups
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=channels)
clean = evaluation_images(images, data, tested)  # "training" and "test"
positions = count * size**2
different = distinct_centers(images, patch_size)
pictures = len(set(image_groups(data, count=count, size=size, channels=channels)))
kind = "photographs" if data == "photos" else "independent pictures"

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""The {count} training images come from {pictures} {kind}. They have {positions:,} positions, and at each of
them a patch has a vote. {different:,} of the patches are different: where crops of one photograph overlap, the same
patch occurs several times, and it has a vote each time.""")

# %% [markdown]
# ## Weights and where they point
#
# Besides its output, the formula can return the largest weights of every pixel, and for each of them the training
# image, row and column that the weight points to.

# %%
physics = Denoising()
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
noisy, posteriors = {}, {}
for split, truth in clean.items():
    for sigma in tqdm(sigmas, desc=f"{split} images"):
        generator = torch.Generator().manual_seed(seed)
        y = physics.measure(truth, sigma, generator=generator)
        noisy[split, sigma] = y
        posteriors[split, sigma] = formula.posterior(y, sigma, top_k=5)

# %% [markdown]
# ## The patchwork, and how it dissolves
#
# If every pixel took only its heaviest patch, the output would be a patchwork of pixels that are copied from training
# images.

# %% tags=["hide-input"]
shown = sorted({sigmas[0], sigmas[len(sigmas) // 2 - 1], sigmas[-2], sigmas[-1]})
rows = {f"sigma = {sigma:g}": (noisy["test", sigma][0], posteriors["test", sigma]) for sigma in shown}
show_figure(
    figures.patchwork(rows, images),
    name="fig-patchwork",
    caption="""One test image at several noise levels. *Heaviest patches*: every pixel is the clean center of the
    patch with the largest weight. *Their pieces*: one shade for each training image and shift, so that a region of
    one shade is copied from one place. *Effective patches*: how many patches share the weight, from one (dark) to
    all of them (light), on a logarithmic scale.""",
    alt="For growing noise: measurement, estimate, heaviest patches, their pieces, and a map of effective numbers.",
)

# %%
tables = []
for (split, sigma), posterior in posteriors.items():
    table = patchwork_table(posterior, clean[split], images)
    tables.append(table.assign(split=split, sigma=sigma))
numbers = pd.concat(tables)
low, high = min(sigmas), max(sigmas)
at_low = numbers[(numbers.split == "test") & (numbers.sigma == low)]

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""The pieces are small. At $\\sigma = {low:g}$, {at_low.together.mean():.0%} of neighboring pixels of
test images take their heaviest patches from neighboring places in one training image; all others change the source
from one pixel to the next. The estimate can still look like one picture, because the center pixels of different
sources agree.""")

# %% [markdown]
# ## Dissolve the patchwork yourself
#
# The book computes the patchwork live, in the browser: move $\sigma$ and $P$, and watch the pieces grow, shrink and
# dissolve. It votes with the first 100 training images only, so its pieces differ from those above. In a notebook,
# follow the link to [Try it](../try_it.md).
#
# <lemmse-try view="patchwork" image="test-0" sigma="0.1">
#
# *In the published book the live picture stands here, where the browser runs JavaScript.*
#
# </lemmse-try>

# %% [markdown]
# ## Where a pixel comes from
#
# The patches with the largest weights need not come from images that look like the test image. They only have to look
# like the noisy patch, over $P \times P$ pixels.

# %% tags=["hide-input"]
sigma_origin = min(sigmas, key=lambda sigma: abs(sigma - 0.1))
pixels = [(size // 4, size // 4), (size // 4, 3 * size // 4), (size // 2, size // 2), (3 * size // 4, size // 3)]
patches = extract_patches(noisy["test", sigma_origin][:1], patch_size)[0]
noisy_patches = [patches[:, row * size + column].unflatten(1, (-1, min(patch_size, size))) for row, column in pixels]
sources = origins(images, posteriors["test", sigma_origin], 0, pixels)
show_figure(
    figures.origins(noisy_patches, list(sources.values()), patch_size),
    name="fig-origins",
    caption=f"""Four pixels of the same test image at $\\sigma = {sigma_origin:g}$. On the left is the noisy patch
    around each pixel; next to it are the training images that carry most of its weight, with the patch framed, its
    weight above and the value of its center pixel below.""",
    alt="Each row shows a noisy patch and the training images that carry most of its weight, with the patch framed.",
)

# %% [markdown]
# ## How many patches share the weight
#
# On training images and on test images, the effective number of patches grows with the noise.

# %% tags=["hide-input"]
show_figure(
    figures.quartile_lines(numbers, "effective", "split", "effective number of patches"),
    name="fig-effective",
    caption=f"""Effective number of patches against the noise level: median over pixels and range from the first to
    the third quartile, averaged over {tested} images of each split.""",
    alt="The effective number of patches rises with sigma over several decades, on training and on test images.",
)

# %% tags=["hide-input"]
names = {
    "split": "images",
    "sigma": "sigma",
    "effective": "effective patches",
    "sources": "training images",
    "own": "own patch (%)",
    "together": "neighbors together (%)",
}
percent = numbers[list(names)].assign(own=100 * numbers.own, together=100 * numbers.together)
show_table(
    figures.mean_and_spread(percent, ["split", "sigma"]).rename(columns=names),
    name="tab-patchwork",
    caption=f"""The patchwork in numbers: mean ± standard deviation over {tested} images. *Effective patches*: the
    median over pixels. *Training images*: how many different ones the heaviest patches of one image come from. *Own
    patch*: the share of pixels whose heaviest patch has exactly their value in its center, which is the pixel
    itself, or its copy where crops of one photograph overlap. *Neighbors together*: the share of neighboring pixels
    whose heaviest patches are neighbors in one training image.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if the effective number of patches did not grow with $\sigma$, by more than two standard
# errors: on test images from each noise level to the next, and on training images from the lowest to the highest. A
# second statement is a check of the code, as it can hardly fail: at the lowest noise level, training images take their
# pixels from their own patches, while test images hit their own values by chance alone.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
own = numbers[numbers.sigma == low].groupby("split").own.mean()
crowd = 100  # patches
crowded = posteriors["training", low].effective_samples.flatten() > crowd
contrast = extract_patches(clean["training"], patch_size).std(dim=3).mean(dim=1).flatten()
flat = ""
if crowded.any():
    flat = f"""There the clean patch is flat: its standard deviation is {contrast[crowded].mean():.3f} on average, and
    {contrast[~crowded].mean():.3f} elsewhere. In flat regions only the noise tells patches apart."""
Markdown(f"""Even at $\\sigma = {low:g}$ a training image is not a plain copy of itself. {own["training"]:.0%} of its
pixels take their heaviest patch from their own place or from a copy of it. At {crowded.double().mean():.0%} of the
pixels, more than {crowd} patches share the weight, by their effective number. {" ".join(flat.split())}""")


# %% tags=["hide-input"]
def is_sure(growth):
    """Whether the mean over images of the growth of a logarithm is above zero, by more than two standard errors."""
    return growth.mean() > 2 * growth.sem()


numbers["image"] = numbers.index  # of its split
logarithms = {
    split: part.pivot(index="image", columns="sigma", values="effective").map(math.log)
    for split, part in numbers.groupby("split")
}
sure = {split: table.diff(axis=1).iloc[:, 1:].apply(is_sure) for split, table in logarithms.items()}
unsure = [f"to σ = {sigma:g} on {split} images" for split, steps in sure.items() for sigma in steps.index[~steps]]
grows = "It grows from each noise level to the next, on training and on test images, by more than two standard errors"
if unsure:
    grows += f", except for the step {' and the step '.join(unsure)}"
of_images = numbers.groupby(["split", "sigma"]).effective
average, deviation = of_images.mean(), of_images.std(ddof=0)
typical = {sigma: figures.plus_minus(average["test", sigma], deviation["test", sigma]) for sigma in (low, high)}
used = numbers[numbers.split == "test"].groupby("sigma").sources.mean()
show_answer(f"""At every noise level the pixels of one test image come from many training images: their heaviest patches
lie in {figures.span(used, ".0f")} of {count}, on average over images. How many patches take part depends on the noise.
At $\\sigma = {low:g}$ the median over the pixels of a test image is an effective number of {typical[low]} patches, out
of {positions:,} ({different:,} different ones, from {pictures} {kind}). At $\\sigma = {high:g}$ the median is
{typical[high]} patches, {average["test", high] / positions:.0%} of all. {grows}. The numbers are means ± standard
deviations over {tested} test images of this data set, for $\\sigma$ from {low:g} to {high:g}; they say nothing about a
network by themselves. [Another chapter](01_theory_predicts_network.ipynb) tests where networks agree with the
formula.""")

# %% tags=["hide-input"]
factor = 5
for posterior in posteriors.values():
    largest, effective = posterior.weights[..., 0].double(), posterior.effective_samples.double()
    assert (largest * effective > 1 - 1e-3).all(), "the largest weight must be at least 1 / N_eff"
    assert (largest.square() * effective < 1 + 1e-3).all(), "the largest weight must be at most 1 / sqrt(N_eff)"
    assert (effective < positions * 1.001).all(), "no more effective patches than there are patches"
assert formula_error(formula, noisy["test", high][:1], high) < 1e-5, (
    "the engine must agree with the formula written out"
)
statements = {
    "On test images the effective number of patches grows from each sigma to the next.": sure["test"].all(),
    "On training images it grows from the lowest sigma to the highest.": is_sure(
        logarithms["training"][high] - logarithms["training"][low]
    ),
    f"Check of the code: at sigma = {low:g}, training images take a pixel from its own patch {factor} times as often "
    "as test images do.": own["training"] > factor * own["test"],
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(few=average["test", low], many=average["test", high], sources=used[low], together=at_low.together.mean())

# %% [markdown]
# ## Try it
#
# - `patch_size 11`: few training patches look like a large noisy patch, so fewer of them share the weight, and the
#   pieces grow.
# - `count 20`: with few training images the pieces are larger.
# - `data fashion_mnist` (after `lemmse data fetch fashion_mnist`): along seams few patches decide, even at a noise
#   level at which the plain ground around them is an average of very many.
