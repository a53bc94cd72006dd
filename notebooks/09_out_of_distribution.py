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
sigmas: list[float] = [0.05, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.2  # noise level of the pictures
tested: int = 6  # images of each world with structure: home, textures, text and faces
tested_without: int = 3  # images of each world without structure
few: int = 20  # training images of the control that has few of them
claimed_from: float = 0.4  # the least noise level at which the claim is made
seed: int = 0  # of weights, training, worlds and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, controls, half_and_double
from lemmse.analysis.evaluate import FORMULA, TRUTH, compare, formula_error, restore_one
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margins, sure_from
from lemmse.analysis.uncertainty import bootstrap_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.unseen import WORLDS, world_images

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## The worlds
#
# *Home* is the reference: crops of photographs that were held out. The other worlds are crops of brick, grass and
# gravel; a printed page; faces from another data set; pixels drawn at random; one gray for all pixels; and one bright
# pixel on black. We call the first four worlds *structured*: their patches hold edges and surfaces, as training patches
# do.

# %%
images = load_images(data, count=count, size=size, channels=channels)
shape = {"count": tested, "size": size, "channels": channels}
home = load_images(data, split="test", **shape)
generator = torch.Generator().manual_seed(seed)
structured = ["home", "textures", "text", "faces"]
worlds = {"home": home}
for name in WORLDS:
    number = tested if name in structured else tested_without
    worlds[name] = world_images(name, number, size, channels, generator)

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
    the formula its PSNR to the truth. The difference between the two is shown around middle gray. Thin lines and
    the bright pixel fade in both, because few training patches look like them.""",
    alt="A row for each world; columns are measurement, network, formula, their difference and the truth.",
)

# %% [markdown]
# ## Does anything simpler predict the networks as well?
#
# All networks restore the same measurements as the formula. So do the controls of [the main
# claim](01_theory_predicts_network.ipynb). Only the formula of a larger window is left out, because of the time that it
# takes.

# %%
half = [P for P in half_and_double(patch_size) if patch_size > P]
rivals = controls(formula, few=few, patch_sizes=half)
pictures = {
    "home": image_groups(data, split="test", **shape),
    "textures": [number % 3 for number in range(tested)],
    "text": [0] * tested,
}  # what each image was cut from; other worlds have independent images
distances = compare(
    networks | {FORMULA: formula} | rivals,
    physics,
    worlds,
    sigmas,
    seed=seed + 1,
    groups=pictures,
)

# %% [markdown]
# The margin is how much nearer a network is to the formula than to the nearest control. Its standard error comes from
# drawing the pictures that the images were cut from, and then the images of each picture, with replacement.

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
).set_index(["split", "sigma"])


def by_world(entries):
    """A table with a row for each world and a column for each noise level."""
    wide = entries.unstack("sigma").loc[list(worlds), sorted(sigmas)]
    return wide.rename(columns=lambda sigma: f"σ = {sigma:g}").rename_axis("world").reset_index()


about_images = f"{tested} images of each structured world and {tested_without} of each other world"
show_table(
    by_world(least["text"]),
    name="tab-world-margins",
    caption=f"""Margin in dB of the formula over the nearest control, for the network with the least margin, ± its
    standard error, on {about_images}. Positive means that the formula is nearer to every network than any control
    is. All print is cut from one page, so the error in the world "text" does not include that of another page.""",
)
show_table(
    by_world(least["control"]),
    name="tab-world-controls",
    caption="The nearest control in each case of [the table of margins](#tab-world-margins).",
)

# %% tags=["hide-input"]
from_networks = distances[distances["one"].isin(list(networks))]
to_formula = from_networks[from_networks["other"] == FORMULA]
means = to_formula.groupby(["split", "sigma"], sort=False)["psnr"].mean().reset_index()
means = means.assign(over=f"means over {len(networks)} networks and all images of a world")
lines = figures.psnr_lines(means, "psnr", "split", "over", label="network to formula: PSNR (dB)")
lines.set_size_inches(5.6, 4.2)
show_figure(
    lines,
    name="fig-elsewhere",
    caption="How near the networks are to the formula in each world: PSNR, means over networks and images.",
    alt="PSNR between networks and formula against sigma, one line for each world.",
)

# %% [markdown]
# ## How much of the error does the formula explain?
#
# At large noise every reasonable denoiser averages, so a large share proves little by itself. We therefore give the
# share for the formula and, beside it, for the affine filter in the place of the formula.

# %%
by_image = from_networks.pivot_table(
    values="mse",
    index=["split", "sigma", "image", "group"],
    columns="other",
)  # means over the networks


def share_explained(squares, by):
    """Share of the error that `by` explains, in %, and its error."""
    both = torch.tensor(squares[[by, TRUTH]].to_numpy().copy())
    groups = list(squares.index.get_level_values("group"))
    generator = torch.Generator().manual_seed(seed)
    drawn = bootstrap_by_group(both, groups, generator)
    mean, error = both.mean(0), drawn[:, 0] / drawn[:, 1]
    share = 1 - mean[0] / mean[1]
    return 100 * float(share), 100 * float(error.std())


shares = {
    (world, sigma, by): share_explained(squares, by)
    for (world, sigma), squares in by_image.groupby(["split", "sigma"])
    for by in (FORMULA, AFFINE)
}


# %% tags=["hide-input"]
def share_table(by):
    """The shares that one predictor explains, with a row for each world."""
    entries = {
        world: {f"σ = {sigma:g}": figures.plus_minus(*shares[world, sigma, by]) for sigma in sorted(sigmas)}
        for world in worlds
    }
    return pd.DataFrame(entries).T.rename_axis("world").reset_index()


show_table(
    share_table(FORMULA),
    name="tab-explained",
    caption=f"""Share of the squared error of the networks that the formula explains, in %, over {len(networks)}
    networks, ± its standard error from drawing images anew. Negative means that the truth is nearer to the networks
    than the formula is.""",
)
show_table(
    share_table(AFFINE),
    name="tab-explained-affine",
    caption="""The same for the affine filter: the share that it explains, in %, ± the standard error. Where it is
    nearly as large as that of the formula, a large share is no evidence for the formula.""",
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
low, high = min(sigmas), max(sigmas)


def listed(names):
    """Names as a part of a sentence."""
    names = [str(name) for name in names]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def is_negative(share, error):
    """Whether a share is below zero by more than `SURE` of its errors."""
    return share < -SURE * error


negative = {sigma: [world for world in worlds if is_negative(*shares[world, sigma, FORMULA])] for sigma in sigmas}
below = [f"at $\\sigma = {sigma:g}$ for {listed(negative[sigma])}" for sigma in sorted(sigmas) if negative[sigma]]
there = "; there the truth says more about the networks than the formula does" if below else ""
Markdown(
    f"""The share of the formula is below zero by more than {SURE:g} standard errors {"; ".join(below) or "nowhere"}{
        there
    }. At $\\sigma = {low:g}$ the share is {figures.plus_minus(*shares["home", low, FORMULA])} % at home."""
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, in a world and in the range of noise levels that it names, a control predicted the
# networks as well as the formula does. The answer also says where controls are nearer at small noise. A possible
# reason, which is not tested here: for a patch that is unlike all training patches, the formula returns pixels of the
# nearest ones, while a network was never trained on such a patch, and nothing fixes its output there. For worlds
# without structure no margin is claimed. Where pixels are independent, for instance, the affine filter knows nearly all
# that can be known about them.


# %% tags=["hide-input"]
def extremes(table):
    """The least and the largest margin of a table, with their errors, as a part of a sentence."""
    ends = (table.loc[table["margin"].idxmin()], table.loc[table["margin"].idxmax()])
    return " to ".join(figures.plus_minus(end["margin"], end["error"]) for end in ends)


def by_noise(names):
    """The worlds by the noise level from which on the formula is surely nearer than any control."""
    starts = sorted({start_in[name] for name in names if start_in[name] is not None})
    return "; ".join(f"{start:g} for {listed(name for name in names if start_in[name] == start)}" for start in starts)


def explained(world, sigma):
    """The shares of the formula and of the affine filter, as a part of a sentence."""
    of_formula, of_affine = (figures.plus_minus(*shares[world, sigma, by]) for by in (FORMULA, AFFINE))
    return f"the formula explains {of_formula} % of the squared error of the networks, the affine filter {of_affine} %"


unstructured = [world for world in worlds if world not in structured]
never = [world for world in unstructured if start_in[world] is None]
failing = [world for world in structured if start_in[world] is None]
at_low = least.reset_index()
at_low = at_low[at_low["sigma"] == low].set_index("split")
beaten = [world for world in worlds if at_low["margin"][world] < -SURE * at_low["error"][world]]
at_home = at_low.loc["home"]
if failing:
    verdict = f"""Not in all worlds: even at $\\sigma = {high:g}$ a control predicts some network as well for
    {listed(failing)}."""
else:
    start = max(start_in[world] for world in structured)
    inside = margin_table[margin_table["split"].isin(structured) & (margin_table["sigma"] >= start)]
    span = f"for $\\sigma$ from {start:g} to {high:g}" if start < high else f"at $\\sigma = {high:g}$"
    verdict = f"""Yes where the noise is large{", no where it is small" if "home" in beaten else ""}. In the worlds
    {listed(structured)} the formula predicts every network better than every control does, by {extremes(inside)} dB
    {span}."""
exceptions = "".join(
    [
        f" In the worlds without structure this begins at $\\sigma$ = {by_noise(unstructured)}."
        if len(never) < len(unstructured)
        else "",
        f" For {listed(never)} a control is as near or nearer at $\\sigma = {high:g}$." if never else "",
    ]
)
where = "in all worlds" if len(beaten) == len(worlds) else f"for {listed(beaten)}"
small_noise = (
    f"""At $\\sigma = {low:g}$ a control is nearer to some network than the formula is, by more than {SURE:g}
    standard errors, {where}; at home, the margin over '{at_home["control"]}' is
    {figures.plus_minus(at_home["margin"], at_home["error"])} dB."""
    if beaten
    else f"At $\\sigma = {low:g}$ no control is nearer by more than {SURE:g} standard errors."
)
judged = [(world, sigma) for world in structured for sigma in sigmas if sigma >= claimed_from]
weakest = min(judged, key=lambda case: shares[(*case, FORMULA)][0])
quoted = listed(f"'{name}'" for name in rivals)
show_answer(f"""{verdict}{exceptions} {small_noise} The controls are {quoted}. How much of the error is explained says
less than these margins do: from $\\sigma = {claimed_from:g}$ on, the least share in the structured worlds is that for
{weakest[0]} at $\\sigma = {weakest[1]:g}$, where {explained(*weakest)}. At home, at $\\sigma = {low:g}$,
{explained("home", low)}. All this is about {about_images}, with print from a single page, and about networks with a
receptive field of {patch_size} x {patch_size} pixels.""")

# %% tags=["hide-input"]
assert distances.notna().all(axis=None), "every distance must be a number"
y = physics.measure(worlds["one pixel"][:1], shown, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y, shown) < 1e-5, "the engine must agree with the formula written out"
held = margin_table[(margin_table["sigma"] >= claimed_from) & margin_table["split"].isin(structured)]
statements = {
    f"At every sigma from {claimed_from:g} on, the formula is nearer to every network than every control is, by more "
    f"than {SURE:g} standard errors, in the world {world}.": bool((part["margin"] > SURE * part["error"]).all())
    for world, part in held.groupby("split", sort=False)
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(least_margin=held["margin"].min(), explained_least=shares[(*weakest, FORMULA)][0])
record(home_from=start_in["home"], explained_home=shares["home", low, FORMULA][0], least_world=weakest[0])

# %% [markdown]
# ## Try it
#
# - `lemmse run 09 -p sigmas "[0.02, 0.2, 0.4, 1.6]"`: less noise than in this chapter, and more than
#   the networks were trained on.
# - `lemmse run 09 -p patch_size 7`: a larger window leaves the world of the training patches sooner.
#   The networks are trained anew, which takes minutes.
# - `lemmse run 09 -p data fashion_mnist`, after `lemmse data fetch fashion_mnist`: another home. See
#   which worlds are near it.
