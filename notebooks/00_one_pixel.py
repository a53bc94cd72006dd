# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
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

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import formula_error
from lemmse.book.chapter import judge, keep
from lemmse.patches import extract_patches

images = load_images(data, count=count, size=size, channels=1)
test = load_images(data, split="test", count=image + 1, size=size, channels=1)[image:]
formula = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size)
y = formula.physics.measure(test, sigma, generator=torch.Generator().manual_seed(seed))
posterior = formula.posterior(y, sigma, top_k=top_k)

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
keep(one_pixel=figures.patch_lottery(noisy, patches.reshape(top_k, *shape), weights, values, estimate, truth))

# %% [markdown]
# ## How sure is the vote?
#
# The same pass gives the posterior standard deviation of the pixel: {glue:text}`deviation:.3f`; its error is
# {glue:text}`error:.3f`. As $\sigma$ grows the vote spreads over ever more patches; as it shrinks, few decide.
#
# ```{glue:figure} votes
# :name: tab-votes
#
# The same pixel at other noise levels, mean ± standard deviation over {glue:text}`draws` draws of the noise. Output,
# error and deviation are grey values, from 0, black, to 1, white.
# ```

# %% tags=["hide-input"]
rows, generator = [], torch.Generator().manual_seed(seed)
for level in sigmas:
    noisy = formula.physics.measure(test.expand(draws, -1, -1, -1), level, generator=generator)
    votes = formula.posterior(noisy, level, top_k=1)
    at_pixel = {
        "effective voters": votes.effective_samples[:, row, column],
        "heaviest vote (%)": 100 * votes.weights[:, row, column, 0],
        "output": votes.mean[:, 0, row, column],
        "error": (votes.mean - test)[:, 0, row, column].abs(),
        "posterior deviation": votes.variance[:, 0, row, column].sqrt(),
    }
    rows += [{"sigma": level, "draw": i, **{k: float(v[i]) for k, v in at_pixel.items()}} for i in range(draws)]
seen = pd.DataFrame(rows).drop(columns="draw").groupby("sigma")
keep(votes=seen.mean().map("{:.3g}".format) + " ± " + seen.std(ddof=0).map("{:.2g}".format))

# %% [markdown]
# ## The claim
#
# It would be wrong if the pixel were not what the formula, written out in float64, says; if the sources were not the
# training patches that are nearest to the noisy one; or if the number of effective voters did not grow with $\sigma$.

# %%
assert formula_error(formula, y, sigma, [(row, column)]) < 1e-5, "the engine must agree with the formula written out"
assert float(weights.sum()) <= 1 + 1e-6
distances = (patches - extract_patches(y, patch_size)[:, :, at]).square().sum((1, 2))
assert bool((weights.diff() <= 0).all() and (distances.diff() >= -1e-4).all()), "the nearest patches weigh most"
judge(
    {"the vote spreads as the noise grows": seen.mean()["effective voters"].is_monotonic_increasing},
    preset,
    strict=strict,
)

# %% tags=["remove-cell"]
keep(top_k=top_k, share=100 * weights.sum(), pairs=images.shape[0] * size**2, draws=draws, error=abs(estimate - truth))
keep(effective=posterior.effective_samples[0, row, column], deviation=posterior.variance[0, 0, row, column].sqrt())

# %% [markdown]
# ## Try it
#
# - `sigma 0.5`: the vote spreads, the pixel becomes a local mean.
# - `patch_size 15`: the patch is nearly unique, few sources decide: this is how a large receptive field memorises.
# - `row 5`, `column 22`: another pixel; look for an edge, then for a flat place.
