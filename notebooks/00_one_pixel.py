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
draws: int = 25  # of the noise, at each level
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
from lemmse.data.distinct import distinct_centers
from lemmse.data.groups import image_groups
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=1)
truth = load_images(data, split="test", count=image + 1, size=size, channels=1)[image:]
physics = Denoising()


def noisy_images(level):
    """Noisy copies of the test image, one for each draw; all levels have the same draws, times sigma."""
    generator = torch.Generator().manual_seed(seed)
    return physics.measure(truth.expand(draws, -1, -1, -1), level, generator=generator)


# %% [markdown]
# ## The formula in three lines of code
#
# First we cut all patches out of the training images and note the clean pixel in the center of each.

# %%
clean = images.double()
training_patches = extract_patches(clean, patch_size)[:, 0].flatten(0, 1)
center_pixels = clean.flatten()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
positions = len(training_patches)
different = distinct_centers(images, patch_size)
pictures = len(set(image_groups(data, count=count, size=size, channels=1)))
kind = "photographs" if data == "photos" else "independent pictures"
Markdown(f"""The {count} training images have {positions:,} positions, and at each of them a patch has a vote. The
images come from {pictures} {kind}. They hold {different:,} different patches: where crops of one photograph overlap,
the same patch occurs several times, and it has a vote each time.""")

# %% [markdown]
# Then we cut one patch out of a noisy test image, and the formula is a softmax over the training patches. Since the
# weights depend on the noise, we add several draws of it to the same image. The three lines of the function compute the
# formula for all these noisy patches together.


# %%
def vote(noisy_patches, sigma):
    """Weights of the training patches and output, for each patch."""
    distances = torch.cdist(noisy_patches, training_patches)
    weights = torch.softmax(-distances.square() / (2 * sigma**2), dim=1)
    return weights, weights @ center_pixels


def patches_at(level):
    """The noisy patch around the pixel, for each draw of the noise."""
    noisy = noisy_images(level).double()
    return extract_patches(noisy, patch_size)[:, 0, row * size + column]


noisy_patches = patches_at(sigma)
weights, outputs = vote(noisy_patches, sigma)

# %% [markdown]
# The *effective number of patches* $1 / \sum w^2$ tells how many patches take part. It is one if a single patch has all
# the weight, and $N n$ if all patches have the same weight. It differs much from draw to draw. We show the draw whose
# effective number is the median.

# %%
effective_patches = 1 / weights.square().sum(dim=1)
shown = int(effective_patches.median(dim=0).indices)

# %% tags=["hide-input"]
heaviest = weights[shown].topk(top_k)
chosen = training_patches[heaviest.indices]
side = min(patch_size, size)
true_pixel = float(truth[0, 0, row, column])
noisy_pixel = float(noisy_images(sigma)[shown, 0, row, column])
output = float(outputs[shown])
share = float(heaviest.values.sum())
unlike = len(chosen.unique(dim=0))
copies = (
    "" if unlike == top_k else f" Only {unlike} of these {top_k} differ; the others are copies in overlapping crops."
)
show_figure(
    figures.patch_lottery(
        noisy_patches[shown].reshape(1, side, side),
        chosen.reshape(top_k, 1, side, side),
        heaviest.values,
        center_pixels[heaviest.indices],
        output,
        true_pixel,
    ),
    name="fig-one-pixel",
    caption=f"""From a noisy patch to one pixel, at $\\sigma = {sigma:g}$, for the median of {draws} draws of the noise.
    The {top_k} training patches with the largest weights stand next to the noisy patch, with their weights above and
    their center pixels, in the frames, below. The output is the weighted mean of the center pixels of all
    {positions:,} training patches; the {top_k} shown carry {100 * share:.2g} % of the weight.{copies}""",
    alt="A noisy patch, the training patches with the largest weights, the pixel that results, and the true pixel.",
)

# %% [markdown]
# ## How far off the pixel may be
#
# The same weights tell how much the center pixels differ from their weighted mean. This is the *posterior standard
# deviation*.

# %%
spread = (center_pixels - output).square()
deviation = float((weights[shown] @ spread).sqrt())

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""In the draw that the figure shows, {figures.rounded(float(effective_patches[shown]))} patches take part,
by their effective number. The true pixel is {true_pixel:.3f}, on a scale from 0, black, to 1, white. The noisy pixel
is {noisy_pixel:.3f} and errs by {abs(noisy_pixel - true_pixel):.3f}. The output is {output:.3f} and errs by
{abs(output - true_pixel):.3f}, and the posterior standard deviation is {deviation:.3f}.""")

# %% [markdown]
# ## All pixels at once
#
# The library computes the same for every pixel of an image. It neither stores the patches nor the weights, and its
# cost does not grow with the patch size; [a later chapter](02_what_it_costs.ipynb) explains how.

# %%
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
noisy_image = noisy_images(sigma)[shown : shown + 1]
estimate = formula(noisy_image, sigma)
difference = abs(float(estimate[0, 0, row, column]) - output)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"The library's output differs from that of the three lines above by {difference:.0e}, which is rounding.")

# %% [markdown]
# ## Other noise levels
#
# We repeat the experiment at other noise levels, with the same draws of the noise. As $\sigma$ grows, more and more
# patches share the weight; as $\sigma$ shrinks, few of them decide.

# %%
measurements = []
for level in sigmas:
    seen = patches_at(level)
    shares, pixels = vote(seen, level)
    second_moments = shares @ center_pixels.square()
    center = seen[:, side**2 // 2]
    of_this_level = {
        "sigma": level,
        "effective": 1 / shares.square().sum(dim=1),
        "largest": 100 * shares.amax(dim=1),
        "noisy": (center - true_pixel).square(),
        "formula": (pixels - true_pixel).square(),
        "posterior": second_moments - pixels.square(),
    }
    measurements.append(pd.DataFrame(of_this_level))
measurements = pd.concat(measurements)
by_level = measurements.groupby("sigma")
effective = by_level.effective.median()
root_mean = by_level[["noisy", "formula", "posterior"]].mean() ** 0.5
uncertain = by_level[list(root_mean)].sem() / (2 * root_mean)

# %% tags=["hide-input"]
quartiles = by_level[["effective", "largest"]].quantile([0.25, 0.5, 0.75]).unstack()


def middle_half(column, level):
    """The median and, in brackets, the quartiles."""
    low, median, high = (figures.rounded(quartiles.loc[level, (column, part)], 2) for part in (0.25, 0.5, 0.75))
    return f"{median} ({low} to {high})"


show_table(
    pd.DataFrame(
        {
            "σ": [f"{level:g}" for level in sigmas],
            "effective patches": [middle_half("effective", level) for level in sigmas],
            "largest weight (%)": [middle_half("largest", level) for level in sigmas],
            **{
                title: [figures.plus_minus(root_mean[name][level], uncertain[name][level]) for level in sigmas]
                for title, name in (
                    ("error, noisy pixel", "noisy"),
                    ("error, output", "formula"),
                    ("posterior deviation", "posterior"),
                )
            },
        }
    ),
    name="tab-one-pixel",
    caption=f"""The same pixel at several noise levels, over {draws} draws of the noise. *Effective patches* and
    *largest weight*: the median, with the quartiles in brackets. *Errors* of the noisy pixel and of the output, and
    *posterior deviation*: the root of the mean square ± its standard error, on the scale from 0, black, to 1,
    white.""",
)

# %% [markdown]
# The posterior standard deviation is the error that the formula expects. Over all pixels of the training images the
# two agree, in the mean of their squares. The pixel above belongs to a test image, and it is one pixel, so its error
# can be smaller or larger.


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def levels_where(larger, smaller):
    """Where the square of one error is larger, by more than two standard errors: "every level", "σ = 0.1, 0.2"."""
    excess = (measurements[larger] - measurements[smaller]).groupby(measurements["sigma"])
    found = [f"{level:g}" for level in sigmas if excess.mean()[level] > 2 * excess.sem()[level]]
    if len(found) == len(sigmas):
        return "every level"
    return f"σ = {', '.join(found)}" if found else "no level"


Markdown(f"""The error of the output is smaller than that of the noisy pixel at {levels_where("noisy", "formula")}, and
larger at {levels_where("formula", "noisy")}. It is smaller than the posterior standard deviation at
{levels_where("posterior", "formula")}, and larger at {levels_where("formula", "posterior")}. A level counts where the
mean squares differ by more than two standard errors.""")

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
# the largest weights were not those nearest to the noisy patch; or if the median of the effective number of patches did
# not grow with $\sigma$.

# %% tags=["hide-input"]
first, last = min(sigmas), max(sigmas)


def errors_at(level):
    """The errors of output and noisy pixel at a level, and the error that the formula expects, as text."""
    return [
        figures.plus_minus(root_mean[name][level], uncertain[name][level]) for name in ("formula", "noisy", "posterior")
    ]


of_output, of_noisy, expected = errors_at(first)
show_answer(f"""The formula takes a weighted mean of pixels of training images. It gives the largest weights to the
pixels whose surroundings look most like the surroundings of the noisy pixel. We follow one pixel of one test image
through {draws} draws of the noise. In the median draw at $\\sigma = {sigma:g}$, the {top_k} heaviest of {positions:,}
training patches ({different:,} different ones, from {pictures} {kind}) carry {100 * share:.2g} % of the weight. How
many take part depends on the noise: the median of the effective number of patches is
{figures.rounded(effective[first], 2)} at $\\sigma = {first:g}$ and {figures.rounded(effective[last], 2)} at $\\sigma =
{last:g}$. At $\\sigma = {first:g}$ the root-mean-square error is {of_output} for the output and {of_noisy} for the
noisy pixel, and the formula expects {expected}, its posterior standard deviation. At $\\sigma = {last:g}$ these three
numbers are {", ".join(errors_at(last))}.""")

# %% tags=["hide-input"]
assert difference < 1e-5, "the library must agree with the formula written out"
squared_distances = (noisy_patches[shown] - training_patches).square().sum(dim=1)
nearest = squared_distances.sort().values[:top_k]  # patches that are equally far may come in any order
assert torch.allclose(squared_distances[heaviest.indices], nearest), "the nearest patches weigh most"
check_claim(
    {"The median effective number of patches grows with sigma.": effective.is_monotonic_increasing},
    preset,
    strict=strict,
)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(share=share, effective=effective_patches[shown], deviation=deviation, error=abs(output - true_pixel))

# %% [markdown]
# ## Try it
#
# - `sigma 0.5`: many patches share the weight, and the pixel becomes a local mean.
# - `patch_size 15`: hardly any two patches are alike, so few of them carry the weight, and the formula copies
#   pixels of training images. [Another chapter](05_data_and_patch_size.ipynb) asks whether networks do so too.
# - `row 5` and `column 22`: another pixel. Look for an edge, then for a flat region.
