# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A patchwork of training patches
#
# **Question.** The formula mixes centre pixels of training patches. Which ones, and how many?
#
# **Answer.** At little noise a few: at $\sigma =$ {glue:text}`sigma_low` half of the pixels of a test image rest on
# {glue:text}`few:.0f` effective patches or fewer, out of {glue:text}`all_pairs` that compete, and one image is stitched
# together from {glue:text}`sources:.0f` training images. At $\sigma =$ {glue:text}`sigma_high` the median is
# {glue:text}`many:.0f`: the patchwork has dissolved into an average.
#
# **The formula.** Each output pixel $m$ of LE-MMSE ({doc}`/theory`) is $\hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k]$ with
# weights that add up to one. How many patches carry it is told by the *effective number of samples*
#
# $$
# N_{\mathrm{eff}}[m] = \frac{1}{\sum_{i,k} w_{i,k}^2},
# $$ (eq-effective)
#
# one if a single patch has all the weight, $N n$ if all patches weigh the same. The heaviest weight lies between
# $1 / N_{\mathrm{eff}}$ and $1 / \sqrt{N_{\mathrm{eff}}}$.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side
channels: int = 1  # 1 grey, 3 colour
patch_size: int = 5  # P, odd
sigmas: list[float] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels
tested: int = 8  # training and test images, each
seed: int = 0  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import pandas as pd
import torch
from tqdm import tqdm

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import evaluation_images
from lemmse.analysis.sources import origins, patchwork_table
from lemmse.book.chapter import check_claim, keep
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=channels)
evaluated = evaluation_images(images, data, tested)
formula = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size)
measured, posteriors = {}, {}
for split, x in evaluated.items():
    for sigma in tqdm(sigmas, desc=f"posterior of {split} images"):
        y = formula.physics.measure(x, sigma, generator=torch.Generator().manual_seed(seed))
        measured[split, sigma], posteriors[split, sigma] = y, formula.posterior(y, sigma, top_k=5)

# %% [markdown]
# ## The patchwork, and how it dissolves
#
# ```{glue:figure} patchwork
# :name: fig-patchwork
# :alt: For growing noise: measurement, estimate, the heaviest patches and their pieces, and a map of effective samples.
#
# One test image. *Heaviest patches*: each pixel is the clean centre of the patch that weighs most there. *Their
# pieces*: a shade for each training image and shift; a region of one shade is copied from one place. *Effective
# samples*: from one patch (dark) to all of them (light), on a logarithmic scale.
# ```
#
# The pieces are small. At $\sigma =$ {glue:text}`sigma_low`, {glue:text}`together:.0%` of neighbouring pixels of test
# images come from neighbours in one training image; the others change source from pixel to pixel. Centres that agree
# make one picture of many sources.

# %% tags=["hide-input"]
shown = sorted({sigmas[0], sigmas[len(sigmas) // 2 - 1], sigmas[-2], sigmas[-1]})
rows = {f"sigma = {sigma:g}": (measured["test", sigma][0], posteriors["test", sigma]) for sigma in shown}
keep(patchwork=figures.patchwork(rows, images))

# %% [markdown]
# ## Where a pixel comes from
#
# ```{glue:figure} origins
# :name: fig-origins
# :alt: Rows are pixels of a test image; columns the noisy patch and the training images that weigh most, patch framed.
#
# Four pixels of the same test image at $\sigma =$ {glue:text}`sigma_origin`: the noisy patch around each, then the
# training images that carry most of its weight, the patch framed, its weight above and the value of its centre below.
# ```
#
# Patches that win need not look like the image: they only have to look like the noisy patch, over $P \times P$ pixels.

# %% tags=["hide-input"]
sigma_origin = min(sigmas, key=lambda s: abs(s - 0.1))
pixels = [(size // 4, size // 4), (size // 4, 3 * size // 4), (size // 2, size // 2), (3 * size // 4, size // 3)]
patches = extract_patches(measured["test", sigma_origin][:1], patch_size)[0]
noisy = [patches[:, r * size + c].unflatten(1, (-1, min(patch_size, size))) for r, c in pixels]
sources = origins(images, posteriors["test", sigma_origin], 0, pixels)
keep(origins=figures.origins(noisy, list(sources.values()), patch_size))

# %% [markdown]
# ## How many patches carry a pixel
#
# ```{glue:figure} effective
# :name: fig-effective
# :alt: Effective number of samples against sigma on training and test images; it rises over several decades.
#
# Effective number of samples against the noise level: median over the pixels of {glue:text}`tested` images of each
# split, and the range from the first to the third quartile.
# ```
#
# ```{glue:figure} patchwork_numbers
# :name: tab-patchwork
#
# Means over {glue:text}`tested` images ± standard deviation. *own patch*: share of pixels whose heaviest patch has
# exactly their value in its centre: the pixel itself, or its copy where crops of one photograph overlap. *neighbours
# together*: share of neighbouring pixels whose heaviest patches are neighbours in one training image: the size of the
# pieces.
# ```

# %% tags=["hide-input"]
numbers = pd.concat(
    patchwork_table(posterior, evaluated[split], images).assign(split=split, sigma=sigma)
    for (split, sigma), posterior in posteriors.items()
)
columns = ["effective", "heaviest", "sources", "own", "together", "psnr"]
names = ["effective samples (median)", "weight of the heaviest", "training images used"]
names += ["own patch", "neighbours together", "PSNR to truth (dB)"]
groups = numbers.groupby(["split", "sigma"], sort=False)[columns]
text = groups.mean().map("{:.3g}".format) + " ± " + groups.std(ddof=0).map("{:.2g}".format)
text = text.set_axis(names, axis=1).style.format_index(lambda v: f"{v:g}" if isinstance(v, float) else v)
lines = figures.quartile_lines(numbers, "effective", "split", "effective number of samples")
keep(effective=lines, patchwork_numbers=text)

# %% [markdown]
# ## The claim
#
# The claim is wrong if the median effective number of samples does not grow with $\sigma$; or if, at the least noise,
# training images are not drawn from their own patches {glue:text}`factor` times as often as test images hit theirs by
# chance. Even there a training image is no copy of itself: in flat regions noise alone tells patches apart, and
# hundreds share the weight. A network that agrees with the formula ({doc}`01_theory_predicts_network`) does what these
# maps show: it stitches.

# %%
median = numbers.groupby(["split", "sigma"]).effective.median()
own = numbers[numbers.sigma == min(sigmas)].groupby("split").own.mean()
factor = 5
for posterior in posteriors.values():
    heaviest, effective = posterior.weights[..., 0].double(), posterior.effective_samples.double()
    assert (heaviest * effective > 1 - 1e-3).all(), "max w must be at least 1 / N_eff"
    assert (heaviest.square() * effective < 1 + 1e-3).all(), "max w must be at most 1 / sqrt(N_eff)"
    assert (effective < count * size**2 * 1.001).all(), "no more effective samples than pairs"
y = measured["test", max(sigmas)][:1]
assert formula_error(formula, y, max(sigmas)) < 1e-5, "the engine must agree with the formula written out"
held = {
    f"the effective number grows with sigma on {split} images": median[split].is_monotonic_increasing
    for split in evaluated
}
held["training images are drawn from their own patches"] = own["training"] > factor * own["test"]
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
low, high = min(sigmas), max(sigmas)
at_low = numbers[(numbers.split == "test") & (numbers.sigma == low)]
keep(sigma_low=low, sigma_high=high, sigma_origin=sigma_origin, tested=tested, factor=factor)
keep(together=at_low.together.mean())
keep(
    few=median["test"][low], many=median["test"][high], sources=at_low.sources.mean(), all_pairs=f"{count * size**2:,}"
)

# %% [markdown]
# ## Try it
#
# - `patch_size 11`: larger patches are rarer: fewer share the weight, the pieces grow, and test images come out worse.
# - `count 20`: few sources: larger pieces, worse copies.
# - `data fashion_mnist` (after `lemmse data fetch fashion_mnist`): seams, where few patches decide, even at a noise
#   level at which the ground around them has dissolved.
