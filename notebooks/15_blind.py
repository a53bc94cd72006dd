# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The price of not knowing the noise
#
# **Question.** Some networks are told how strong the noise is, others have to guess it from the picture. What does a
# network do if it is not told? What does that cost, and where in a picture?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** Let the noise level be one of $\sigma_1, \dots, \sigma_S$, drawn with equal probability. A map is
# *blind* if it is not told which level was drawn. The best blind map, local and equivariant, is a weighted mean of the
# estimates of the best maps that know the level. The weight of a level is its probability, given the noisy patch:
#
# $$
# \begin{gathered}
# \hat x_{\text{blind}}[m] = \sum_s \pi_s(v)\, \hat x_{\sigma_s}[m], \\[1ex]
# \pi_s(v) = \frac{p_s(v)}{\sum_t p_t(v)},
# \end{gathered}
# $$
#
# with $p_s$ the density of noisy training patches at $\sigma_s$. The price of not knowing is exact:
#
# $$
# \begin{gathered}
# \underbrace{\mathbb E \|\hat x_{\text{blind}} - x\|^2 - \mathbb E \|\hat x_\sigma - x\|^2}_{\text{price}} \\
# = \mathbb E \|\hat x_{\text{blind}} - \hat x_\sigma\|^2 ,
# \end{gathered}
# $$
#
# in the mean over images, noise and levels as they were assumed. The map that knows is the best of all maps that may
# use the level, so it is the orthogonal projection of the truth on them. A blind map is also one of these maps: it
# makes no use of the level. So the theorem of Pythagoras gives the equation.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 300  # N, training images
size: int = 20  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # the noise levels that occur, also in training
network_size: str = "small"  # tiny, small, medium, or paper (4 million weights)
steps: int = 1500  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
draws: int = 12  # training images for each noise level, drawn at random, for the identity
tested: int = 4  # test images
shown: list[float] = [0.1, 0.4]  # noise levels of the pictures, among the above
claimed_from: float = 0.4  # the least noise level at which the claim about the networks is made
seed: int = 0  # of the weights and of the training
noise_seed: int = 0  # of the noise, the draws and the resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch

from lemmse import BlindMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import compare, formula_error, squared_distances
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE, margins, mean_margins
from lemmse.analysis.second_moments import affine_beside
from lemmse.analysis.uncertainty import bootstrap_by_group, means_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups

logging.basicConfig(level=logging.INFO, format="%(message)s")
shape = {"size": size, "channels": 1}
images = load_images(data, count=count, **shape)
albums = image_groups(data, count=count, **shape)
test = load_images(data, split="test", count=tested, **shape)
test_albums = list(image_groups(data, split="test", count=tested, **shape))

# %% [markdown]
# ## Two formulas, and two networks
#
# The networks have the same architecture and the same noise levels in training. One has $\sigma$ as an input.

# %%
physics = Denoising()
P = patch_size
knows = LocalEquivariantMMSE(images, physics, patch_size=P)
blind = BlindMMSE(knows, sigmas)
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    size=network_size,
    weighting="uniform",
    seed=seed,
)
networks = {}
kinds = {"network that knows": False, "blind network": True}
for name, is_blind in kinds.items():
    networks[name] = training.network(
        "PatchMLP",
        images,
        physics,
        patch_size=P,
        blind=is_blind,
        sigmas=sigmas,
    )

# %% [markdown]
# ## The price, and the identity
#
# We draw training images and noise as assumed, and compute both sides.

# %%
draw = torch.Generator().manual_seed(noise_seed)
rows = []
for sigma in sigmas:
    drawn = torch.randperm(count, generator=draw)[:draws]
    truth = images[drawn]
    y = physics.measure(truth, sigma, generator=draw)
    x_known, x_blind = knows(y, sigma), blind(y)
    row = {
        "sigma": sigma,
        "group": [albums[i] for i in drawn.tolist()],
        "known": squared_distances(x_known, truth),
        "blind": squared_distances(x_blind, truth),
        "apart": squared_distances(x_blind, x_known),
    }
    rows.append(pd.DataFrame(row))
risks = pd.concat(rows, ignore_index=True)
risks["price"] = risks["blind"] - risks["known"]
rest = risks["price"] - risks["apart"]

# %% tags=["hide-input"]
resampling = torch.Generator().manual_seed(noise_seed)


def ratio_with_error(part, one, other):
    """The mean of one column over the mean of another, and its standard error."""
    both = torch.tensor(part[[one, other]].to_numpy().copy())
    drawn = bootstrap_by_group(both, part["group"].to_list(), resampling)
    top, bottom = both.mean(0)
    return float(top / bottom), float((drawn[:, 0] / drawn[:, 1]).std())


def percent(ratio):
    """A ratio and its error as text."""
    return figures.plus_minus(100 * ratio[0], 100 * ratio[1])


labels = {
    "known": "risk, σ known",
    "blind": "risk, blind",
    "price": "price",
    "apart": "distance of the two",
}
by_level = pd.concat([risks.assign(level=risks["sigma"].map("{:g}".format)), risks.assign(level="all")])
means = {name: means_by_group(by_level, name, ["level"], generator=resampling).set_index("level") for name in labels}
relative = {level: ratio_with_error(part, "price", "known") for level, part in by_level.groupby("level", sort=False)}
rest_error = float(bootstrap_by_group(torch.tensor(rest.to_numpy().copy()), risks["group"].to_list(), resampling).std())
rest_z = float(rest.mean()) / rest_error
rows = [
    {
        "σ": level,
        **{label: figures.plus_minus(*(1e3 * means[name].loc[level])) for name, label in labels.items()},
        "price in %": percent(ratio),
    }
    for level, ratio in relative.items()
]
show_table(
    pd.DataFrame(rows),
    name="tab-price",
    caption=f"""Squared errors times 1000 of the two formulas, {draws} training images at each level, ± standard error.
    The identity is about the last line, the mean over all levels: there price and distance agree up to the chance of
    the draw, {abs(rest_z):.1f} standard errors here. At one level alone they need not agree.""",
)

# %% [markdown]
# ## Where blindness costs
#
# The blind formula guesses the level from one patch. In a flat place the patch itself shows the noise. Where the image
# has texture, texture and noise look alike.

# %% tags=["hide-input"]
panels = []
for sigma in shown:
    noise = torch.Generator().manual_seed(noise_seed + 1)
    y = physics.measure(test, sigma, generator=noise)
    probabilities = blind.level_probabilities(y)
    own = probabilities[:, min(range(len(sigmas)), key=lambda s: abs(sigmas[s] - sigma))]
    cost = (blind(y) - knows(y, sigma)).square().sqrt()
    panels.append((sigma, y, own, cost))
figure, axes = figures.new_figure(2 * len(shown), 4, 6.0, 3.2 * len(shown))
brightest = max(float(cost[:2].max()) for *_, cost in panels)
for turn, (sigma, y, own, cost) in enumerate(panels):
    for picture in range(2):
        line = axes[2 * turn + picture]
        titles = ["truth", "measurement", "weight of the true σ", "|blind − known|"]
        contents = [test[picture], y[picture], own[picture][None].float(), cost[picture] / brightest]
        for axis, image, title in zip(line, contents, titles, strict=True):
            figures.draw_image(axis, image)
            if turn == 0 and picture == 0:
                axis.set_title(title, fontsize=9)
        line[0].set_ylabel(f"σ = {sigma:g}")
show_figure(
    figure,
    name="fig-blind",
    caption=f"""Where the blind formula knows the noise level (third column, white is certain) and where not knowing
    changes the estimate (last column, black is 0, white is {brightest:.2f}). Test images.""",
    alt="Rows of test images at two noise levels: truth, measurement, weight of the true level, cost of blindness.",
)

# %%
rows = []
for sigma in sigmas:
    noise = torch.Generator().manual_seed(noise_seed + 1)
    y = physics.measure(test, sigma, generator=noise)
    cost = (blind(y) - knows(y, sigma)).square()[:, 0]
    smooth = torch.nn.functional.pad(test, (2, 2, 2, 2), mode="circular")
    patches = smooth.unfold(2, 5, 1).unfold(3, 5, 1).flatten(-2)
    texture = patches.std(-1)[:, 0]
    flat = texture <= texture.flatten(1).median(1).values[:, None, None]
    for place, where in (("flat", flat), ("textured", ~flat)):
        for n in range(tested):
            group = test_albums[n]
            about = {"sigma": sigma, "image": n, "group": group}
            value = float(cost[n][where[n]].mean())
            rows.append({**about, "place": place, "cost": value})
costs = pd.DataFrame(rows)

# %% tags=["hide-input"]
place_means = means_by_group(costs, "cost", ["place", "sigma"], generator=resampling)
figure, ((axis,),) = figures.new_figure(1, 1, 4.6, 3.2)
for turn, (place, part) in enumerate(place_means.groupby("place", sort=False)):
    look = figures.style("", turn) | {"capsize": 3, "markersize": 6}
    axis.errorbar(part["sigma"] * (1 + 0.03 * turn), 1e3 * part["mean"], 1e3 * part["error"], label=place, **look)
axis.set(xscale="log", xlabel="noise level σ", ylabel="|blind − known|² × 1000")
axis.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
axis.minorticks_off()
axis.grid(alpha=0.3)
axis.legend()
show_figure(
    figure,
    name="fig-places",
    caption=f"""What not knowing the level changes, in the flatter and in the more textured half of each image (by the
    standard deviation of 5 × 5 clean pixels), ± standard error over {tested} test images.""",
    alt="Squared difference between blind and knowing formula against sigma, for flat and for textured places.",
)

# %% [markdown]
# ## Do networks do the same?
#
# If the theory is right, the blind network is nearer to the blind formula than to the one that knows, and the network
# that knows is the other way around, wherever the two formulas differ.

# %%
affine = affine_beside(knows)
known_names = {
    "formula that knows": knows,
    "blind formula": lambda y, sigma: blind(y),
    "affine filter": affine,
}
distances = compare(
    networks | known_names,
    physics,
    {"training": images[:tested], "test": test},
    sigmas,
    seed=noise_seed + 2,
    groups={"training": list(albums[:tested]), "test": test_albums},
)

# %% tags=["hide-input"]
own = {"network that knows": "formula that knows", "blind network": "blind formula"}
other = {"network that knows": "blind formula", "blind network": "formula that knows"}
table = pd.concat(
    margins(distances, [name], [other[name], "affine filter"], formula=own[name], generator=resampling)
    for name in networks
)
apart = distances[(distances["one"] == "blind formula") & (distances["other"] == "formula that knows")]
apart = apart.groupby(["split", "sigma"])["psnr"].mean()
rows = []
for (split, sigma), part in table.groupby(["split", "sigma"], sort=False):
    row = {"images": split, "σ": f"{sigma:g}", "blind to knowing formula": f"{apart[split, sigma]:.1f}"}
    for _, line in part.iterrows():
        row[f"{line['network']} to its formula"] = f"{line['to_formula']:.1f}"
        row[f"{line['network']}: margin"] = figures.plus_minus(line["margin"], line["error"])
    rows.append(row)
show_table(
    pd.DataFrame(rows),
    name="tab-blind-networks",
    caption=f"""PSNR in dB between networks and formulas, means over {tested} images. The margin is how much nearer a
    network is to its own formula than to the nearest of the other formula and the affine filter, ± standard error.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The identity would be wrong if, over all levels, price and distance differed by more than chance allows. The answer
# would be wrong if the blind network were nearer to the formula that knows than to the blind one.

# %% tags=["hide-input"]
total = relative.pop("all")
dearest = max(relative, key=lambda level: relative[level][0])
by_place = costs.pivot(index=["sigma", "image", "group"], columns="place", values="cost").reset_index()
texture_ratio = {
    sigma: ratio_with_error(part, "textured", "flat") for sigma, part in by_place.groupby("sigma", sort=False)
}
least_ratio, most_ratio = min(texture_ratio.values()), max(texture_ratio.values())
claimed = distances[distances["sigma"] >= claimed_from]
in_the_mean = pd.concat(
    mean_margins(claimed, [name], [other[name], "affine filter"], formula=own[name], generator=resampling)
    for name in networks
).set_index(["network", "split"])
knowing, unknowing = (in_the_mean.loc[name] for name in ("network that knows", "blind network"))


def written(of_network):
    """The margins on both sets of images as text."""
    return " and ".join(
        f"{figures.plus_minus(line.margin, line.error)} dB on {line.Index} images" for line in of_network.itertuples()
    )


def is_sure(of_network):
    """Whether the margins on both sets are above zero by two standard errors."""
    return bool((of_network["margin"] > SURE * of_network["error"]).all())


verdict = (
    "For the formula, not knowing costs less than 15 % of the risk."
    if total[0] + SURE * total[1] < 0.15
    else "For the formula, not knowing does not surely cost less than 15 % of the risk."
)
for_knowing = "is nearer" if is_sure(knowing) else "is not surely nearer"
for_unknowing = (
    "The blind network is nearer to the blind formula than to the one that knows and to the affine filter by"
    if is_sure(unknowing)
    else "Of the blind network it is not sure that the blind formula is nearer than the one that knows or than the "
    "affine filter: the two formulas are so near to each other that networks of this size hardly tell them apart. Its "
    "margin is"
)
small = table[table["sigma"] < claimed_from]
below = ""
if len(small) and small["margin"].min() < 0:
    lowest = small.iloc[int(small["margin"].argmin())]
    below = f"""At less noise the margins fall to {figures.plus_minus(lowest["margin"], lowest["error"])} dB (the
    {lowest["network"]}, $\\sigma = {lowest["sigma"]:g}$): there the {lowest["control"]} is nearer. """
show_answer(f"""{verdict} Over all levels the price is {percent(total)} % of the risk of the formula that knows, and it
equals the distance of the two formulas, as it must: the two differ by {abs(rest_z):.1f} standard errors. Relative to
the risk at one level it is highest at $\\sigma = {dearest}$ ({percent(relative[dearest])} %). On test images textured
places cost {figures.plus_minus(*least_ratio)} to {figures.plus_minus(*most_ratio)} times what flat ones do, depending
on the level. In the mean over the levels from $\\sigma = {claimed_from:g}$ on, the network that knows {for_knowing} to
the formula that knows than to the blind one and to the affine filter, by {written(knowing)}. {for_unknowing}
{written(unknowing)}. {below}All this is about $\\sigma$ in {", ".join(f"{s:g}" for s in sigmas)}, with equal
probability, one training of each network, {tested} training and {tested} test images, and a receptive field of {P} ×
{P} pixels.""")

# %% tags=["hide-input"]
assert risks.select_dtypes("number").notna().all(axis=None), "every risk must be a number"
y = physics.measure(test[:1], sigmas[-1], generator=torch.Generator().manual_seed(noise_seed))
assert formula_error(knows, y, sigmas[-1]) < 1e-5, "the engine must agree with the formula written out"
posteriors = [knows.posterior(y, sigma) for sigma in sigmas]
weights = torch.softmax(torch.stack([p.log_density for p in posteriors], 1), 1)
by_hand = (weights[:, :, None] * torch.stack([p.mean for p in posteriors], 1)).sum(1)
assert float((by_hand - blind(y)).abs().max()) < 1e-5, "the blind formula is the weighted mean"
statements = {
    "Over all levels, price and distance agree within 3 standard errors.": abs(rest_z) < 3,
    f"The price is less than 15 % of the risk, by {SURE:g} standard errors.": total[0] + SURE * total[1] < 0.15,
    f"In the mean over the levels from sigma = {claimed_from:g} on, the network that knows is nearer to its formula "
    f"than to the blind one and to the affine filter, by {SURE:g} standard errors, on training and on test "
    "images.": is_sure(knowing),
    "In this mean the blind network is not nearer to the formula that knows or to the affine filter than to the blind "
    f"formula by {SURE:g} standard errors.": bool((unknowing["margin"] > -SURE * unknowing["error"]).all()),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(price=total[0], rest_z=rest_z, margin_least=unknowing["margin"].min())

# %% [markdown]
# ## Try it
#
# - `lemmse run 15 -p draws 60`: a sharper test of the identity.
# - `lemmse run 15 -p tested 12`: more test images.
# - `lemmse run 15 -p sigmas "[0.1, 0.8]"`: two levels that are easy to tell apart. The networks are trained anew, which
#   takes minutes.
