# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One pixel, explained
#
# **Question.** Where does one output pixel of the best local, equivariant denoiser come from?
#
# **Answer.** From a vote among training patches. For the noisy patch below, the {glue:text}`top_k` patches shown carry
# {glue:text}`share:.0f` % of the vote of all {glue:text}`pairs:,d`, and the effective number of voters is
# {glue:text}`effective:.1f`.
#
# **The formula.** {eq}`eq-lemmse` of {doc}`/theory`, for one $m$: the weight of a training patch falls with its squared
# distance to the noisy patch, and its vote is its clean centre pixel.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # training images
size: int = 28  # pixels a side
patch_size: int = 7  # P, odd
sigma: float = 0.1  # noise level
image: int = 4  # number of the test image
row: int = 21  # of the pixel
column: int = 10  # of the pixel
top_k: int = 5  # patches shown
seed: int = 0  # of the noise

# %% tags=["hide-input"]
import torch
from myst_nb import glue

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.comparison import brute_force
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=1)
test = load_images(data, split="test", count=image + 1, size=size, channels=1)[image:]
y = Denoising().measure(test, sigma, generator=torch.Generator().manual_seed(seed))
posterior = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size).posterior(y, sigma, top_k=top_k)

# %% [markdown]
# ```{glue:figure} one_pixel
# :name: fig-one-pixel
# :alt: A noisy patch, the training patches with the largest weights, and the resulting pixel.
#
# A noisy patch of a test image, the training patches with the largest weights, the pixel that they vote for, and the
# truth. The framed centre pixels are averaged with the weights above the patches; all patches take part.
# ```

# %% tags=["hide-input"]
at = row * size + column
weights, sources = posterior.weights[0, row, column], posterior.indices[0, row, column]
patches = torch.stack(
    [extract_patches(images[i : i + 1], patch_size)[0, :, r * size + c] for i, r, c in sources.tolist()]
)
shape = (1, min(patch_size, size), min(patch_size, size))
values = images[sources[:, 0], 0, sources[:, 1], sources[:, 2]]
estimate, truth = float(posterior.mean[0, 0, row, column]), float(test[0, 0, row, column])
noisy = extract_patches(y, patch_size)[0, :, at].reshape(shape)
figure = figures.patch_lottery(noisy, patches.reshape(top_k, *shape), weights, values, estimate, truth)
glue("one_pixel", figure, display=False)

# %% [markdown]
# The same pass says how sure the vote is: the posterior standard deviation of this pixel is
# {glue:text}`deviation:.3f`, its error {glue:text}`error:.3f`. As $\sigma$ grows the vote spreads over ever more
# patches; as it shrinks, one patch decides.

# %%
exact = brute_force(images, Denoising(), y, sigma, patch_size, [(row, column)])
assert abs(float(exact) - estimate) < 1e-5, "the engine must agree with the formula written out"
assert float(weights.sum()) <= 1 + 1e-6
assert bool((weights.diff() <= 0).all()), "sources come in order of weight"
print("the pixel equals the formula, written out in float64")

# %% tags=["remove-cell"]
glue("top_k", top_k, display=False)
glue("share", 100 * float(weights.sum()), display=False)
glue("pairs", images.shape[0] * size * size, display=False)
glue("effective", float(posterior.effective_samples[0, row, column]), display=False)
glue("deviation", float(posterior.variance[0, 0, row, column].sqrt()), display=False)
glue("error", abs(estimate - truth), display=False)

# %% [markdown]
# ## Try it
#
# - `sigma = 0.5`: the vote spreads, the pixel becomes a local mean.
# - `patch_size = 15`: the patch is nearly unique, one source decides: this is how a large receptive field memorises.
# - `row`, `column`: look at an edge, then at a flat place.
