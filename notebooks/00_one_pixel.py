# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # One pixel, explained
#
# **Question.** The best denoiser among those that are local and equivariant has a formula. What does this formula do
# to produce one pixel of its output?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A local denoiser sees the noisy image $y$ around a pixel through a window of $P \times P$ pixels.
# We call what it sees the noisy patch $v$. The training images $x_1, \dots, x_N$ have $n$ pixels each, and around
# each pixel $k$ of $x_i$ there is a training patch $\Pi_k x_i$. The formula compares $v$ with all $N n$ training
# patches. The weight of a training patch falls with its squared distance to $v$, and the output is the weighted mean
# of the clean pixels in the centers of the training patches:
#
# $$
# \begin{gathered}
# \hat x = \sum_{i=1}^N \sum_{k=1}^n w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} = \frac{\exp\left(-\|v - \Pi_k x_i\|^2 / 2 \sigma^2\right)}
#                {\sum_{j,l} \exp\left(-\|v - \Pi_l x_j\|^2 / 2 \sigma^2\right)}.
# \end{gathered}
# $$
#
# The page about [the theory](../theory.md) explains where this comes from.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
patch_size: int = 7  # P, odd
sigma: float = 0.1  # noise level of the picture
sigmas: list[float] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the table
draws: int = 8  # of the noise, at each level of the table
image: int = 4  # number of the test image
row: int = 21  # of the pixel
column: int = 10  # of the pixel
top_k: int = 5  # patches shown
seed: int = 0  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=1)
truth = load_images(data, split="test", count=image + 1, size=size, channels=1)[image:]
physics = Denoising()
noisy_image = physics.measure(truth, sigma, generator=torch.Generator().manual_seed(seed))

# %% [markdown]
# ## The formula in three lines of code
#
# First we cut all patches out of the training images, note the clean pixel in the center of each, and cut one patch
# out of the noisy image.

# %%
clean, noisy = images.double(), noisy_image.double()
training_patches = extract_patches(clean, patch_size)[:, 0].flatten(0, 1)
center_pixels = clean.flatten()
noisy_patch = extract_patches(noisy, patch_size)[0, 0, row * size + column]
tuple(training_patches.shape), tuple(noisy_patch.shape)

# %% [markdown]
# Then the formula is a softmax over the training patches:

# %%
squared_distances = (noisy_patch - training_patches).square().sum(dim=1)
weights = torch.softmax(-squared_distances / (2 * sigma**2), dim=0)
output = (weights * center_pixels).sum()

# %% tags=["hide-input"]
heaviest = weights.topk(top_k)
side = min(patch_size, size)
true_pixel = float(truth[0, 0, row, column])
share = float(heaviest.values.sum())
show_figure(
    figures.patch_lottery(
        noisy_patch.reshape(1, side, side),
        training_patches[heaviest.indices].reshape(top_k, 1, side, side),
        heaviest.values,
        center_pixels[heaviest.indices],
        float(output),
        true_pixel,
    ),
    name="fig-one-pixel",
    caption=f"""From a noisy patch to one pixel, at $\\sigma = {sigma:g}$. The {top_k} training patches with the
    largest weights stand next to the noisy patch, with their weights above and their center pixels, in the frames,
    below. The output is the weighted mean of the center pixels of all {len(weights):,} training patches; the
    {top_k} shown carry {share:.0%} of the weight.""",
    alt="A noisy patch, the training patches with the largest weights, the pixel that results, and the true pixel.",
)

# %% [markdown]
# ## How many patches take part, and how far off the pixel may be
#
# Two more numbers come from the same weights. The *effective number of patches* $1 / \sum w^2$ is one if a single
# patch has all the weight, and $N n$ if all patches have the same weight. The *posterior standard deviation* tells
# how much the center pixels differ from their weighted mean.

# %%
effective_patches = 1 / weights.square().sum()
deviation = (weights * (center_pixels - output).square()).sum().sqrt()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""For this pixel the effective number of patches is {figures.rounded(float(effective_patches))}. The
output is {output:.3f} and the true pixel is {true_pixel:.3f}, on a scale from 0, black, to 1, white: the error is
{abs(output - true_pixel):.3f}, and the posterior standard deviation is {deviation:.3f}.""")

# %% [markdown]
# ## All pixels at once
#
# The library computes the same for every pixel of an image. It neither stores the patches nor the weights, and its
# cost does not grow with the patch size; [a later chapter](02_what_it_costs.ipynb) explains how.

# %%
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
posterior = formula.posterior(noisy_image, sigma)
difference = abs(float(posterior.mean[0, 0, row, column]) - float(output))

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"The library's output differs from that of the three lines above by {difference:.0e}, which is rounding.")

# %% [markdown]
# With the library we repeat the experiment at other noise levels. As $\sigma$ grows, more and more patches share the
# weight; as $\sigma$ shrinks, few of them decide.

# %%
measurements = []
generator = torch.Generator().manual_seed(seed)
for level in sigmas:
    copies = truth.expand(draws, -1, -1, -1)
    noisy_copies = physics.measure(copies, level, generator=generator)
    found = formula.posterior(noisy_copies, level, top_k=1)
    pixels = found.mean[:, 0, row, column]
    of_this_level = {
        "sigma": level,
        "effective patches": found.effective_samples[:, row, column],
        "largest weight (%)": 100 * found.weights[:, row, column, 0],
        "error": (pixels - true_pixel).abs(),
        "posterior deviation": found.variance[:, 0, row, column].sqrt(),
    }
    measurements.append(pd.DataFrame(of_this_level))
measurements = pd.concat(measurements)
means = measurements.groupby("sigma").mean()

# %% tags=["hide-input"]
show_table(
    figures.mean_and_spread(measurements, ["sigma"]),
    name="tab-one-pixel",
    caption=f"""The same pixel at several noise levels: mean ± standard deviation over {draws} draws of the noise.
    The error and the posterior standard deviation are on the scale from 0, black, to 1, white.""",
)

# %% [markdown]
# The posterior standard deviation is the error that the formula would expect if the test image were one of its
# training images. It is not, so the error can be larger.

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""For this pixel, the mean error at $\\sigma = {sigmas[0]:g}$ is {means["error"].iloc[0]:.3f}, and the
mean posterior standard deviation is {means["posterior deviation"].iloc[0]:.3f}. At $\\sigma = {sigmas[-1]:g}$ they
are {means["error"].iloc[-1]:.3f} and {means["posterior deviation"].iloc[-1]:.3f}.""")

# %% [markdown]
# ## Move the noise, and point at another pixel
#
# The book computes the formula live, in the browser. It votes with the first 100 training images and draws noise of
# its own, so its numbers differ from those above. In a notebook, follow the link to [Try it](../try_it.md).
#
# <lemmse-try view="pixel" image="test-4" sigma="0.1" patch="7" pixel="21,10">
#
# *In the published book the live picture stands here, where the browser runs JavaScript.*
#
# </lemmse-try>

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if the library computed something else than the three lines of code; if the patches with
# the largest weights were not those nearest to the noisy patch; or if the effective number of patches did not grow
# with $\sigma$.

# %% tags=["hide-input"]
effective = means["effective patches"]
show_answer(f"""The formula takes a weighted mean of pixels of training images. It gives the largest weights to the
pixels whose surroundings look most like the surroundings of the noisy pixel. For the pixel below, which belongs to
a test image, the {top_k} heaviest of {len(weights):,} training patches carry {share:.0%} of the weight at $\\sigma
= {sigma:g}$. How many take part depends on the noise: the effective number of patches is
{figures.rounded(effective.iloc[0])} at $\\sigma = {sigmas[0]:g}$ and {figures.rounded(effective.iloc[-1])} at
$\\sigma = {sigmas[-1]:g}$, on average over {draws} draws of the noise.""")

# %% tags=["hide-input"]
assert difference < 1e-5, "the library must agree with the formula written out"
nearest = squared_distances.sort().values[:top_k]  # patches that are equally far may come in any order
assert torch.allclose(squared_distances[heaviest.indices], nearest), "the nearest patches weigh most"
check_claim(
    {"The effective number of patches grows with sigma.": effective.is_monotonic_increasing}, preset, strict=strict
)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(share=share, effective=effective_patches, deviation=deviation, error=abs(output - true_pixel))

# %% [markdown]
# ## Try it
#
# - `sigma 0.5`: many patches share the weight, and the pixel becomes a local mean.
# - `patch_size 15`: hardly any two patches are alike, so few of them carry the weight. This is how a network with a
#   large receptive field memorizes its training images.
# - `row 5` and `column 22`: another pixel. Look for an edge, then for a flat region.
