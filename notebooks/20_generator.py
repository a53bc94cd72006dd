# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A generator without training
#
# **Question.** A denoiser that was never trained can still turn noise into images. Which images does it draw, and does
# a trained network draw the same ones from the same noise?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A denoiser $\hat x(x, \sigma)$ estimates the clean image that is hidden in the noisy image $x$.
# Diffusion models draw images by following it, from pure noise to $\sigma = 0$:
#
# $$
# \frac{\mathrm d x}{\mathrm d \sigma} = \frac{x - \hat x(x, \sigma)}{\sigma}.
# $$
#
# The best denoiser is known in closed form for each of three classes of functions, and with it the generator.
# [MMSE](../theory.md) may do anything, E-MMSE commutes with translations, and LE-MMSE is also local: it sees a patch of
# $P \times P$ pixels. [Kamb and Ganguli](https://arxiv.org/abs/2412.20292) showed that the last one predicts what
# convolutional diffusion models draw.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 200  # N, training images
size: int = 20  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 5  # P, odd: the receptive field of the network, and of the formula that predicts it
patch_sizes: list[int] = [3, 11]  # other P
architecture: str = "UNet"  # of the network
network_size: str = "small"  # small, or paper (4 million weights)
training_steps: int = 2000  # gradient steps
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
drawn: int = 8  # images that each sampler draws
steps: int = 20  # noise levels of the flow
first_sigma: float = 1.0  # where the flow starts
last_sigma: float = 0.02  # the last noise level before zero
layout_data: str = "brain"  # images that have a layout
layout_count: int = 72  # how many of them
layout_size: int = 24  # pixels a side
layout_patch_size: int = 11  # P for them
layout_drawn: int = 6  # images drawn
claimed_from: float = 0.25  # the least noise level of the flow at which network and formula are claimed to agree
seed: int = 0  # of the weights and of the training
noise_seed: int = 1  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import numpy as np
import pandas as pd
import torch

from lemmse import (
    MMSE,
    AffineMMSE,
    Denoising,
    EquivariantMMSE,
    LocalEquivariantMMSE,
    figures,
    load_images,
    sample,
)
from lemmse.analysis.controls import AFFINE
from lemmse.analysis.evaluate import FORMULA, formula_error, pair_distances
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margins, mean_margins, sure_from
from lemmse.analysis.metrics import rank_correlation
from lemmse.analysis.sources import heaviest, patchwork_table
from lemmse.analysis.surprisal import surprisals
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=channels)
physics = Denoising()
training = Training(
    steps=training_steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)

# %% [markdown]
# ## One noise, several denoisers
#
# All samplers start from the same noise and take the same steps. The affine filter knows only the mean and the
# covariance of the patches; it is a control.

# %%
sigmas = np.geomspace(first_sigma, last_sigma, steps).tolist()


def local(size_of_patch):
    """LE-MMSE for another patch size."""
    return LocalEquivariantMMSE(images, physics, patch_size=size_of_patch)


formula = local(patch_size)
network = training.network(
    architecture,
    images,
    physics,
    patch_size=patch_size,
)
larger_first = sorted(patch_sizes, reverse=True)
others = {f"formula, P = {P}": local(P) for P in larger_first}
samplers = {
    "MMSE": MMSE(images, physics),
    "E-MMSE": EquivariantMMSE(images, physics),
    FORMULA: formula,
    architecture: network,
    **others,
    AFFINE: AffineMMSE(images, physics, patch_size=patch_size),
}

# %%
shape = tuple(images.shape[1:])
pictures, paths = {}, {}
for name, denoiser in samplers.items():
    path = paths[name] = []  # its estimates of the clean image

    def watched_denoiser(x, sigma, denoiser=denoiser, path=path):
        path.append(denoiser(x, sigma))
        return path[-1]

    noise = torch.Generator().manual_seed(noise_seed)
    pictures[name] = sample(
        watched_denoiser,
        drawn,
        sigmas,
        generator=noise,
        shape=shape,
    )

# %% tags=["hide-input"]
titles = {FORMULA: f"LE-MMSE,\nP = {patch_size}", AFFINE: "affine\nfilter"}
titles |= {f"formula, P = {P}": f"LE-MMSE,\nP = {P}" for P in larger_first}
rows = {
    f"noise {i + 1}": {titles.get(name, name): batch[i] for name, batch in pictures.items()}
    for i in range(min(4, drawn))
}
show_figure(
    figures.gallery(rows, [titles.get(name, name) for name in samplers], cell=0.95),
    name="fig-generator",
    caption=f"""Each row starts from one noise image, at $\\sigma = {first_sigma:g}$. From left to right: MMSE draws
    training images, E-MMSE draws them shifted, LE-MMSE with P = {patch_size} draws a patchwork, the network
    ({architecture}, trained with the same receptive field) draws a picture that [a table](#tab-same-picture) compares
    with this patchwork, LE-MMSE with other P draws other ones, and the affine filter draws smooth noise.""",
    alt="Rows of images drawn from one noise by MMSE, E-MMSE, LE-MMSE, a network, other patch sizes and affine filter.",
)

# %% [markdown]
# ## What the pictures are made of
#
# Every pixel of a drawn image has a training patch that is nearest to the patch around it. Where neighboring pixels
# take their patches from neighboring places of one training image, they form a *piece*. The *surprisal* of a patch, the
# negative logarithm of its density among noisy training patches beyond the entropy of the noise, says how rare such a
# patch is in the training images.

# %%
watched = 0.1  # noise level at which patches are compared
unseen = load_images(
    data,
    split="test",
    count=drawn,
    size=size,
    channels=channels,
)
sets = pictures | {"training images": images[:drawn], "test images": unseen}
queries = surprisals(formula, sets, [watched], seed=noise_seed)
rarity = {name: found[0].surprisal for name, found in queries.items()}
sources = {}
for name, batch in sets.items():
    sources[name] = formula.posterior(batch, last_sigma, top_k=1)

# %% tags=["hide-input"]
seen = [name for name in pictures if name not in others]
show_figure(
    figures.drawn_from_noise(
        {titles.get(name, name): pictures[name][0] for name in seen},
        {titles.get(name, name): heaviest(sources[name], images)[1] for name in seen},
        {titles.get(name, name): rarity[name][0] for name in seen},
    ),
    name="fig-generator-sources",
    caption=f"""The first noise. *Pieces*: one shade for each training image and shift, so that a region of one shade is
    a copy from one place; the patches have {patch_size} x {patch_size} pixels for all samplers. *Surprisal* of each
    patch at $\\sigma = {watched:g}$: dark patches are common in the training images, light ones are rare.""",
    alt="For each sampler the drawn image, a map of its pieces, and a map of the surprisal of its patches.",
)

# %%
nearest = {
    "training image": MMSE(images, physics),
    "translated one": EquivariantMMSE(images, physics),
}


def distance(batch, near):
    """Root mean square distance to the nearest image, of each image."""
    return (batch - near(batch, 1e-3)).square().mean((1, 2, 3)).sqrt()


rms = {}
for name, batch in sets.items():
    for kind, near in nearest.items():
        rms[name, kind] = distance(batch, near)


# %% tags=["hide-input"]
def written(distances):
    """Mean and spread of distances, "0" where all are rounding."""
    if float(distances.max()) < 1e-4:
        return "0"
    return figures.plus_minus(float(distances.mean()), float(distances.std()))


table = []
for name, batch in sets.items():
    parts = patchwork_table(sources[name], batch, images)
    table.append(
        {
            "sampler": name,
            **{kind: written(rms[name, kind]) for kind in nearest},
            "in pieces (%)": figures.plus_minus(100 * parts.together.mean(), 100 * parts.together.std()),
            "surprisal": figures.plus_minus(float(rarity[name].mean()), float(rarity[name].mean((1, 2)).std())),
        }
    )
show_table(
    pd.DataFrame(table),
    name="tab-generator",
    caption=f"""Mean ± standard deviation over {drawn} images. *Training image*, *translated one*: root mean square
    distance to the nearest one, image range 0 to 1. *In pieces*: share of neighboring pixels whose nearest training
    patches are neighbors in one training image. *Surprisal*: nats, mean over patches of {patch_size} x {patch_size}
    pixels at $\\sigma = {watched:g}$.""",
)

# %% [markdown]
# That MMSE ends at training images, and E-MMSE at translated ones, is no finding. With little noise left both formulas
# return the nearest of these images, whatever the start was. It is a check of the code. How far the pictures of LE-MMSE
# are from every training image is a finding.

# %% [markdown]
# ## Does the network draw the same picture?
#
# At every noise level of the flow we compare the estimates of the clean image by the network and by the formula, each
# on its own path from the same noise. The controls are the affine filter, the formula for other patch sizes, the
# estimators without locality, and the formula from another noise. PSNR compares gray values. The rank correlation
# compares only which pixels are brighter.

# %%
OTHER_NOISE = "formula, other noise"
rivals = [*others, OTHER_NOISE, AFFINE, "MMSE", "E-MMSE"]
frames, ranks = [], {}
for step, sigma in enumerate(sigmas):
    level = round(sigma, 3)
    seen_at = {name: path[step] for name, path in paths.items()}
    seen_at[OTHER_NOISE] = seen_at[FORMULA].roll(1, 0)
    about = {"split": "drawn", "sigma": level}
    frames.append(pair_distances(seen_at, about, range(drawn)))
    ours = seen_at[architecture]
    ranks[level] = {
        name: rank_correlation(ours, seen_at[name])
        for name in (FORMULA, *rivals)  # of the same noise but for one
    }
pairs = pd.concat(frames, ignore_index=True)
margin_table = margins(
    pairs,
    [architecture],
    rivals,
    generator=torch.Generator().manual_seed(noise_seed),
)
in_the_mean = mean_margins(
    pairs[pairs["sigma"] >= claimed_from],
    [architecture],
    rivals,
    generator=torch.Generator().manual_seed(noise_seed),
).iloc[0]
follows_to = sure_from(margin_table)

# %% tags=["hide-input"]
lines = figures.control_lines(pairs, [architecture], rivals)
lines.set_size_inches(5.8, 4.6)
show_figure(
    lines,
    name="fig-flow",
    caption=f"""At each noise level of the flow, each denoiser estimates the clean image. The lines show how near the
    estimate of the network is to those of the formula and of the controls, from $\\sigma = {first_sigma:g}$ (right) to
    the end (left): PSNR in dB, mean over {drawn} noise images.""",
    alt="PSNR to the network along the flow: the formula is highest at large sigma, the affine filter at small sigma.",
)

# %% tags=["hide-input"]
first, last = max(ranks), min(ranks)
from_network = pairs[pairs["one"] == architecture].groupby(["sigma", "other"])["psnr"]
means, spreads = from_network.mean(), from_network.std(ddof=0)
middle = min(ranks, key=lambda level: abs(level - claimed_from))
show_table(
    pd.DataFrame(
        {
            "compared with": name,
            **{
                f"σ = {level:g}": figures.plus_minus(means[level, name], spreads[level, name])
                for level in (first, middle, last)
            },
            **{
                f"ranks, σ = {level:g}": figures.plus_minus(
                    float(ranks[level][name].mean()), float(ranks[level][name].std())
                )
                for level in (middle, last)
            },
        }
        for name in (FORMULA, *rivals)
    ),
    name="tab-same-picture",
    caption=f"""The network compared with the formula and the controls at the start of the flow, in the middle and at
    its end: PSNR in dB and rank correlation (*ranks*), mean ± standard deviation over {drawn} noise images.""",
)

# %% [markdown]
# ## Zero padding draws a layout
#
# Photographs that are cut at random have no layout. Slices of a head have one: the head is in the middle. With circular
# padding no pixel knows where it is. With zero padding a pixel whose window reaches over the border does, and its
# neighbors follow.

# %%
heads = load_images(
    layout_data,
    count=layout_count,
    size=layout_size,
    channels=channels,
)
layouts = {}
for padding in ("zeros", "circular"):
    denoiser = LocalEquivariantMMSE(
        heads,
        physics,
        patch_size=layout_patch_size,
        padding=padding,
    )
    noise = torch.Generator().manual_seed(noise_seed)
    layouts[padding] = sample(
        denoiser,
        layout_drawn,
        sigmas,
        generator=noise,
    )
layouts["training images"] = heads[:layout_drawn]

# %% tags=["hide-input"]
show_figure(
    figures.gallery(
        {
            name.replace(" ", "\n"): {f"{i + 1}": batch[i] for i in range(layout_drawn)}
            for name, batch in layouts.items()
        },
        [f"{i + 1}" for i in range(layout_drawn)],
    ),
    name="fig-layout",
    caption=f"""Images drawn by LE-MMSE with P = {layout_patch_size} from {layout_count} slices of the set
    `{layout_data}`, with zero padding and with circular padding, each column from one noise, and training images below.
    Only with zero padding do heads appear.""",
    alt="Zero padding draws heads in the middle of the image, circular padding draws tissue without a shape.",
)

# %%
average = heads.mean(0, keepdim=True)
copied = MMSE(heads, physics)
likeness, apart = {}, {}
for name, batch in layouts.items():
    likeness[name] = rank_correlation(batch, average.expand_as(batch))
    apart[name] = distance(batch, copied)

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {
            "images": name,
            "rank correlation with the mean": figures.plus_minus(float(values.mean()), float(values.std())),
            "to the nearest training image": written(apart[name]),
        }
        for name, values in likeness.items()
    ),
    name="tab-layout",
    caption=f"""Layout: rank correlation of each image with the mean training image, and root mean square distance to
    the nearest training image; mean ± standard deviation over {layout_drawn} images.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at the noise levels that it names, a control came as near to the network as the formula
# does: if second moments were enough (the affine filter), if the receptive field did not matter (other P), if the noise
# did not matter (another noise), or if the network recited training images (MMSE, E-MMSE). The part about the layout
# would be wrong if circular padding drew images that are as much like the mean training image. At the end of the flow
# the details of a picture depend on what a network does at small noise, where this network is not near the formula
# ([the main claim](01_theory_predicts_network.ipynb) says where networks are).

# %% tags=["hide-input"]
score = {name: float(values.mean()) for name, values in likeness.items()}
error = float((likeness["zeros"].var() / layout_drawn + likeness["circular"].var() / layout_drawn).sqrt())
judged = margin_table[margin_table["sigma"] >= claimed_from]
least, most = (judged.loc[place] for place in (judged["margin"].idxmin(), judged["margin"].idxmax()))
end = margin_table.loc[margin_table["sigma"].idxmin()]
of_noise = margins(
    pairs[pairs["sigma"] == last],
    [architecture],
    [OTHER_NOISE],
    generator=torch.Generator().manual_seed(noise_seed),
).iloc[0]


def written(line):
    """A margin with its error."""
    return f"{figures.plus_minus(line['margin'], line['error'])} dB"


def is_sure(line):
    """Whether it is above zero by two standard errors."""
    return bool(line["margin"] > SURE * line["error"])


same = (
    f"""nearer to the picture of the formula than to that of every control, by {written(end)}"""
    if is_sure(end)
    else f"""not surely nearer to the picture of the formula than to that of the control '{end["control"]}': the margin
    is {written(end)}"""
)
agreement = (
    f"""the network follows the formula down to $\\sigma = {follows_to:.2g}$: so far it is nearer to the formula than
    to every control by {SURE:g} standard errors or more"""
    if follows_to is not None
    else f"""the network does not follow the formula: it is not surely nearer to it than to every control at $\\sigma =
    {first:g}$"""
)
copies = rms[FORMULA, "translated one"]
layout_gain = figures.plus_minus(score["zeros"] - score["circular"], error)
show_answer(f"""MMSE draws training images and E-MMSE translations of them, as they must. LE-MMSE draws patchworks that
are no copies: their distance to the nearest translated training image is
{figures.plus_minus(float(copies.mean()), float(copies.std()) / drawn**0.5)} of the image range, in the mean over
{drawn} noise images. From the same noise {agreement}. The controls are the formula with P =
{" and ".join(map(str, sorted(patch_sizes)))}, the formula from another noise, the affine filter, MMSE and E-MMSE. In
the mean over $\\sigma$ from {claimed_from:g} to {first:g} the margin is {written(in_the_mean)}, level by level
{written(least)} to {written(most)}. The finished picture of the network is {same}. It is nearer to the picture that the
formula draws from the same noise than to that from another noise by {written(of_noise)}. With zero padding the formula
draws a layout: the rank correlation with the mean training image is {score["zeros"]:.2f}, with circular padding
{score["circular"]:.2f}, a difference of {layout_gain}. This holds for one network with P = {patch_size} and {count}
images of {size} x {size} pixels, {drawn} noise images and {steps} steps from $\\sigma = {first_sigma:g}$.""")

# %% tags=["hide-input"]
y = physics.measure(images[:1], 0.2, generator=torch.Generator().manual_seed(noise_seed))
assert formula_error(formula, y, 0.2) < 1e-5, "the engine must agree with the formula written out"
assert all(torch.isfinite(batch).all() for batch in [*pictures.values(), *layouts.values()]), "images must be finite"
constant = images[:1]
alone = sample(MMSE(constant, physics), 1, sigmas, generator=torch.Generator().manual_seed(noise_seed), progress=False)
assert float((alone - constant).abs().max()) < 1e-5, "one training image must be drawn exactly"
if preset != "smoke":
    assert float(rms["MMSE", "training image"].max()) < 0.01, "MMSE must end at training images"
    assert float(rms["E-MMSE", "translated one"].max()) < 0.01, "E-MMSE must end at translated training images"
statements = {
    "No image that LE-MMSE draws is a translated training image to within 0.02.": float(copies.min()) > 0.02,
    f"Along the flow, in the mean over sigma from {claimed_from:g} on, the network is nearer to the formula than to "
    f"the controls, by {SURE:g} standard errors.": is_sure(in_the_mean),
    "The finished picture of the network is nearer to that of the formula from the same noise than from another, by "
    f"{SURE:g} standard errors.": is_sure(of_noise),
    f"Zero padding draws more of the layout than circular padding, by {SURE:g} standard errors.": score["zeros"]
    - score["circular"]
    > SURE * error,
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(follows_to=follows_to, least_margin=least["margin"], end=end["to_formula"], end_margin=end["margin"])
record(layout_zeros=score["zeros"], layout_circular=score["circular"])

# %% [markdown]
# ## Try it
#
# - `lemmse run 20 -p layout_patch_size 15`: nearly every pixel knows where it is, and heads come back that are almost
#   training images. With 5 only a rim does.
# - `lemmse run 20 -p layout_data fashion_mnist -p layout_count 300`, after `lemmse data fetch fashion_mnist`.
# - `lemmse run 20 -p last_sigma 0.2`: the flow stops early, and the pictures stay smooth.
