# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Out of distribution
#
# **Question.** A network that was trained on photographs is given textures, print, faces, random pixels, a constant
# image or a single bright pixel. Does the formula, which knows the same photographs, predict what the network does,
# mistakes included?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **What is tested.** The network $f$ and the formula both know the training images $x_1, \dots, x_N$ and nothing
# else. The theory says that a well-trained network is near
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} \propto \exp\left(-\|\Pi_m y - \Pi_k x_i\|^2 / 2 \sigma^2\right),
# \end{gathered}
# $$
#
# where noisy patches of training images fall. It says nothing about other patches. There the formula still returns a
# weighted mean of *training* pixels, which can be far from the truth $x$. If the network makes the same mistakes, its
# distance to the formula is small compared with its own error. We therefore call
#
# $$
# 1 - \frac{\mathbb E \|f - \hat x\|^2}{\mathbb E \|f - x\|^2}
# $$
#
# the share of the error of the network that the formula *explains*. It is 100 % if the network returns what the
# formula returns, 0 if the formula is as far from the network as the truth is, and negative if it is farther.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the chapter on the main claim
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.2  # noise level of the pictures
tested: int = 6  # images of each world
claimed_from: float = 0.4  # the least noise level at which the claim is made
seed: int = 0  # of weights, training, worlds and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, MEASUREMENT, NON_LOCAL_MEANS, controls
from lemmse.analysis.evaluate import FORMULA, TRUTH, compare, formula_error, restore_one
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margins, sure_from
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.unseen import WORLDS, world_images

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The worlds
#
# *Home* is the reference: crops of photographs that were held out. The other worlds are crops of brick, grass and
# gravel; a printed page; faces from another data set; pixels drawn at random; one gray for all pixels; and one bright
# pixel on black.

# %%
images = load_images(data, count=count, size=size, channels=channels)
shape = {"count": tested, "size": size, "channels": channels}
home = load_images(data, split="test", **shape)
generator = torch.Generator().manual_seed(seed)
worlds = {"home": home}
for name in WORLDS:
    worlds[name] = world_images(name, tested, size, channels, generator)

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

# %% tags=["hide-input"]
network = architectures[0]
rows = {}
for name, truth in worlds.items():
    row = restore_one({network: networks[network]}, formula, truth[0], shown, seed)
    rows[name] = row | {"difference": 0.5 + row[network] - row[FORMULA]}
show_figure(
    figures.gallery(
        rows,
        ["measurement", network, FORMULA, "difference", TRUTH],
        lambda row, name: "" if name == "difference" else figures.note_distance(row, name),
        cell=1.25,
    ),
    name="fig-worlds",
    caption=f"""One image of each world at $\\sigma = {shown:g}$. Below the network is its PSNR to the formula, below
    the formula its PSNR to the truth. The difference between the two is shown around middle gray. Print and the
    bright pixel are blurred away by both, because few training patches look like them.""",
    alt="A row for each world; columns are measurement, network, formula, their difference and the truth.",
)

# %% [markdown]
# ## How much of the error does the formula explain?
#
# All networks restore the same measurements as the formula. So do three controls, which know less: the measurement
# itself, the best affine map of the same patch, and non-local means.

# %%
kept = (MEASUREMENT, AFFINE, NON_LOCAL_MEANS)
every_control = controls(formula, few=None)
rivals = {name: every_control[name] for name in kept}
pictures = {
    "home": image_groups(data, split="test", **shape),
    "textures": [number % 3 for number in range(tested)],
    "text": [0] * tested,
}  # what each image was cut from; other worlds have independent images
everyone = networks | {FORMULA: formula} | rivals
distances = compare(
    everyone,
    physics,
    worlds,
    sigmas,
    seed=seed + 1,
    groups=pictures,
)

# %%
from_networks = distances[distances["one"].isin(list(networks))]
by = ["split", "sigma", "one", "other"]
squares = from_networks.groupby(by)["mse"].mean().unstack("other")
ratio = squares[[FORMULA, *rivals]].div(squares[TRUTH], axis=0)
explained = 100 * (1 - ratio)
by_world = explained[FORMULA].groupby(["split", "sigma"])
share = by_world.mean().unstack("sigma")
share = share.loc[list(worlds)]

# %% tags=["hide-input"]
over_networks = by_world.std(ddof=0).unstack("sigma").loc[list(worlds)]
as_text = share.copy().astype(object)
for sigma in share:
    as_text[sigma] = [
        f"{mean:.0f} ± {spread:.0f}" for mean, spread in zip(share[sigma], over_networks[sigma], strict=True)
    ]
show_table(
    as_text.rename(columns=lambda sigma: f"σ = {sigma:g}").rename_axis("world").reset_index(),
    name="tab-explained",
    caption=f"""Share of the squared error of the networks that the formula explains, in %: mean ± standard deviation
    over {len(networks)} networks, for {tested} images of each world. Negative means that the truth is nearer to the
    networks than the formula is.""",
)

# %% tags=["hide-input"]
to_formula = from_networks[from_networks["other"] == FORMULA]
means = to_formula.groupby(["split", "sigma"], sort=False)["psnr"].mean().reset_index()
means = means.assign(over=f"means over {len(networks)} networks and {tested} images")
lines = figures.psnr_lines(means, "psnr", "split", "over", label="network to formula: PSNR (dB)")
lines.set_size_inches(5.6, 4.2)
show_figure(
    lines,
    name="fig-elsewhere",
    caption="How near the networks are to the formula in each world: PSNR, means over networks and images.",
    alt="PSNR between networks and formula against sigma, one line for each world.",
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
low, high = min(sigmas), max(sigmas)
negative = {sigma: list(share.index[share[sigma] < 0]) for sigma in sorted(sigmas)}


def listed(names):
    """Names as a part of a sentence."""
    names = [str(name) for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


below = [f"at $\\sigma = {sigma:g}$ for {listed(names)}" for sigma, names in negative.items() if names]
Markdown(
    f"""The share is negative {"; ".join(below)}. This concerns not only worlds that are far from photographs: at
    $\\sigma = {low:g}$ it is {share[low]["home"]:.0f} % at home. There the noise is so small that the formula follows
    the nearest training patches, and the networks do not."""
    if below
    else f"""The share is positive in all worlds and at all noise levels that were tested; the least is
    {share.min(axis=None):.0f} %."""
)

# %% [markdown]
# ## Does something simpler explain as much?
#
# At large noise every reasonable denoiser averages, so a large share alone proves little. We compare with the
# controls: the margin is how much nearer a network is to the formula than to the nearest control.

# %%
margin_table = margins(
    distances,
    networks,
    rivals,
    generator=torch.Generator().manual_seed(seed),
)
start_in = {}
for world in worlds:
    of_world = margin_table[margin_table["split"] == world]
    start_in[world] = sure_from(of_world)

# %% tags=["hide-input"]
least = margin_table.loc[margin_table.groupby(["split", "sigma"], sort=False)["margin"].idxmin()]
least = least.assign(
    text=[figures.plus_minus(*pair) for pair in zip(least["margin"], least["error"], strict=True)]
).pivot(index="split", columns="sigma", values="text")
show_table(
    least.loc[list(worlds)].rename(columns=lambda sigma: f"σ = {sigma:g}").rename_axis("world").reset_index(),
    name="tab-world-margins",
    caption=f"""Margin in dB of the formula over the nearest control, for the network with the least margin, ± its
    standard error over {tested} images. Positive means that the formula is nearer to the network than every control
    is. Standard errors resample the pictures that images were cut from, then the images.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, in some world and in the range of noise levels that it names, a control predicted the
# networks better than the formula does, or if the truth did, so that the networks erred in a way of their own. At
# small noise this happens. There the formula answers a patch that is like no training patch with its nearest training
# patches, and a network, which never saw such a patch, answers with whatever its weights make of it. Worlds without
# structure, such as random pixels, are another exception. The affine filter knows nearly all that can be known about
# them, so no margin is claimed there.

# %% tags=["hide-input"]
judged = [sigma for sigma in sigmas if sigma >= claimed_from]
weakest = share[judged].stack()
weakest_world, weakest_sigma = weakest.idxmin()
# The answer names, for each world, the noise level from which on no control is nearer.
starts = sorted({start for start in start_in.values() if start is not None})
quoted = {start: [f'"{world}"' for world, own in start_in.items() if own == start] for start in starts}
by_start = "; ".join(f"{start:g} for {listed(names)}" for start, names in quoted.items())
depends = (
    f"""From which noise level on it is nearer to every network than the measurement, the best affine filter and
    non-local means depends on the world: {by_start}."""
    if starts
    else ""
)
never = [world for world, start in start_in.items() if start is None]
excepted = (
    f" For {listed(never)} a control predicts the networks as well or better at $\\sigma = {high:g}$." if never else ""
)
lowest = share[low]
show_answer(f"""Yes where the noise is large, no where it is small. From $\\sigma = {claimed_from:g}$ on, the formula
explains {weakest.min():.0f} % or more of the squared error of the networks in every world (the least in the world
"{weakest_world}", at $\\sigma = {weakest_sigma:g}$), and {weakest.mean():.0f} % on average. {depends}{excepted} At
$\\sigma = {low:g}$ the formula explains {lowest["home"]:.0f} % at home, and from {lowest.min():.0f} %
({lowest.idxmin()}) to {lowest.max():.0f} % ({lowest.idxmax()}) in the worlds: where the share is negative, the truth
says more about the networks than the formula does. All this is about {tested} images of each world and networks with
a receptive field of {patch_size} x {patch_size} pixels.""")

# %% tags=["hide-input"]
assert distances.notna().all(axis=None), "every distance must be a number"
y = physics.measure(worlds["one pixel"][:1], shown, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y, shown) < 1e-5, "the engine must agree with the formula written out"
bar = 75
statements = {
    f"From sigma = {claimed_from:g} on, the formula explains more than {bar} % of the error of the networks in the "
    f"world {world}.": bool((share.loc[world, judged] > bar).all())
    for world in worlds
}
of_scenes = margin_table[margin_table["split"].isin(["home", "textures", "text", "faces"])]
statements |= {
    f"At every sigma from {claimed_from:g} on, no control is nearer to a network than the formula by more than "
    f"{SURE:g} standard errors in the world {world}.": bool((part["margin"] > -SURE * part["error"]).all())
    for world, part in of_scenes[of_scenes["sigma"] >= claimed_from].groupby("split", sort=False)
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(explained_least=weakest.min(), explained_mean=weakest.mean(), explained_home=lowest["home"])
record(home_from=start_in["home"], least_world=weakest_world)

# %% [markdown]
# ## Try it
#
# - `lemmse run 09 -p sigmas "[0.02, 0.2, 0.4, 1.6]"`: less noise than in this chapter, and more than
#   the networks were trained on.
# - `lemmse run 09 -p patch_size 7`: a larger window leaves the world of the training patches sooner.
#   The networks are trained anew, which takes minutes.
# - `lemmse run 09 -p data fashion_mnist`, after `lemmse data fetch fashion_mnist`: another home. See
#   which worlds are near it.
