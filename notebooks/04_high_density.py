# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # High-density regions
#
# **Question.** A network sees common patches often in training, and rare ones hardly ever. Is it nearer to the
# formula where patches are common, and does it learn those first?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The weights of [LE-MMSE](../theory.md) have a common denominator, and this denominator is a
# density: that of noisy training patches. We measure how rare a noisy patch $v = \Pi_m y$ of $r$ numbers is by its
# *surprisal* in nats,
#
# $$
# \begin{gathered}
# s(v) = -\log p_\sigma(v) - \tfrac r2 \log (2 \pi e \sigma^2), \\[1ex]
# p_\sigma(v) = \frac{1}{N n} \sum_{i,k} \mathcal N(v; \Pi_k x_i, \sigma^2 I),
# \end{gathered}
# $$
#
# where the second term is the entropy of the noise. If a patch makes up a share $q$ of all training patches and no
# other patch is near it, then its noisy copies have $s = -\log q$ on average. Only densities of the same $\sigma$ can
# be compared, so we compare pixels of one noise level with each other.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # the denoisers of the first chapter
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.2, 0.8]  # noise levels of the evaluation, growing
tested: int = 6  # training and test images of the evaluation, each
few: int = 20  # training images of the control that has few of them
worlds: list[str] = ["textures", "text", "uniform noise"]  # images unlike those of the training
elsewhere: int = 2  # images of each of these worlds
watched_size: int = 16  # pixels a side, of the trainings that are watched
watched: int = 12  # test images on which they are watched
watched_count: int = 100  # their training images
checkpoints: list[int] = [25, 50, 100, 200]  # steps after which they are watched
seed: int = 0  # of weights, training, worlds, noise and resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import controls, half_and_double
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import Training, evaluation_images
from lemmse.analysis.margins import SURE
from lemmse.analysis.risk import training_checkpoints
from lemmse.analysis.surprisal import deciles, pixel_errors, rank_correlation, surprisals, tenths
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.unseen import world_images

images = load_images(data, count=count, size=size, channels=1)
sets = evaluation_images(images, data, tested)  # "training" and "test"
groups = {
    "training": image_groups(data, count=tested, size=size, channels=1),
    "test": image_groups(data, split="test", count=tested, size=size, channels=1),
}
of_worlds = torch.Generator().manual_seed(seed)
sets |= {name: world_images(name, elsewhere, size, 1, of_worlds) for name in worlds}

# %% [markdown]
# ## The surprisal of every pixel
#
# The formula returns the logarithm of the patch density together with its output. We measure training images, test
# images and images of other kinds, and ask for the surprisal of each noisy patch.

# %%
physics = Denoising()
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
queries = surprisals(formula, sets, sigmas, seed=seed + 1)

# %% [markdown]
# The networks are the denoisers of [the main claim](01_theory_predicts_network.ipynb).

# %%
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

# %% [markdown]
# The controls are the measurement itself, the best affine filter of the same window, the formula of a smaller window
# and of few images, and non-local means. The formula of a larger window is left out, because of the time that it takes.
# Where a network is nearer to a control than to the formula, the formula does not explain it.

# %%
half = [P for P in half_and_double(patch_size) if patch_size > P]
rivals = controls(formula, few=few, patch_sizes=half)

# %%
tables = []
for name, asked in queries.items():
    table = pixel_errors(
        networks,
        asked,
        rivals=rivals if name in groups else {},
        groups=groups.get(name),
    )
    tables.append(table.assign(set=name))
pixels = pd.concat(tables, ignore_index=True)

# %% tags=["hide-input"]
rows = {}
for query in queries["test"]:
    squares = [(net(query.z, query.sigma) - query.posterior.mean).square().mean(1) for net in networks.values()]
    rows[f"sigma = {query.sigma:g}"] = (query, torch.stack(squares).mean(0))
show_figure(
    figures.density_maps(rows, image=tested // 2),
    name="fig-density-maps",
    caption="""A test image. *Surprisal*, in nats: light patches are rare among the training patches. *Difference*:
    root mean square over the networks of their distance to the formula, on the scale from 0, black, to 1, white, of
    the image; light pixels are far. Each map has a scale of its own.""",
    alt="For each noise level: measurement, formula, map of surprisal, and map of the difference to the networks.",
)

# %% [markdown]
# ## Agreement against surprisal
#
# We sort the pixels of a set of images by surprisal and cut them into tenths, from the densest to the rarest. In each
# tenth we average the squared difference between networks and formula.

# %%
resampling = torch.Generator().manual_seed(seed)
found = []
for (name, sigma), part in pixels.groupby(["set", "sigma"], sort=False):
    compared = list(rivals) if name in groups else []
    table = tenths(part, compared, generator=resampling)
    found.append(table.assign(set=name, sigma=sigma))
found = pd.concat(found, ignore_index=True)

# %% tags=["hide-input"]
label = "network to formula: PSNR (dB)"
show_figure(
    figures.error_over_surprisal(found, "set", label),
    name="fig-tenths",
    caption="""PSNR between networks and formula against surprisal. Each point is a tenth of the pixels of a set of
    images, over all networks. Training images, test images and images of other kinds share one axis.""",
    alt="Agreement against surprisal, a panel for each noise level, a line for each set of images; all fall.",
)

# %%
at_home = found[found.set.isin(list(groups))]
rarest = at_home[at_home.decile == 10]
nearer = at_home[at_home.margin > SURE * at_home.margin_error]

# %% tags=["hide-input"]
rows = []
for (name, sigma), part in at_home.groupby(["set", "sigma"], sort=False):
    dense, rare = part.set_index("decile").loc[1], part.set_index("decile").loc[10]
    rows.append(
        {
            "images": name,
            "sigma": sigma,
            "drop (dB)": figures.plus_minus(rare["drop"], rare.drop_error),
            "margin, densest tenth (dB)": figures.plus_minus(dense.margin, dense.margin_error),
            "margin, rarest tenth (dB)": figures.plus_minus(rare.margin, rare.margin_error),
            "nearest control there": rare.rival,
        }
    )
show_table(
    pd.DataFrame(rows),
    name="tab-tenths",
    caption=f"""*Drop*: by how much the agreement of networks and formula is smaller in the rarest tenth of the
    pixels than in the densest. *Margin*: by how much the networks are nearer to the formula than to the nearest
    control in that tenth; a negative number means that a control is nearer. Mean ± standard error, from resampling
    the {tested} images of each set by photographs.""",
)

# %% [markdown]
# Surprisal is not the only thing that could order the pixels. A rival explanation is that networks fail where the
# formula itself is unsure, that is, where the posterior variance is large.

# %%
correlations = []
for (name, sigma), part in pixels.groupby(["set", "sigma"], sort=False):
    for against in ("surprisal", "variance"):
        rho = rank_correlation(part, against, generator=resampling)
        numbers = dict(zip(("mean", "low", "high"), rho, strict=True))
        about = {"set": name, "sigma": sigma, "against": against}
        correlations.append(about | numbers)
correlations = pd.DataFrame(correlations)

# %% tags=["hide-input"]
text = correlations.apply(lambda row: f"{row['mean']:.2f} ({row.low:.2f} to {row.high:.2f})", axis=1)
for against, name in (("surprisal", "tab-correlation"), ("variance", "tab-variance")):
    part = correlations.assign(text=text)[correlations.against == against]
    wide = part.pivot(index="set", columns="sigma", values="text").loc[list(sets)]
    wide = wide.rename(columns=lambda s: f"sigma = {s:g}").reset_index().rename(columns={"set": "images"})
    wide.columns.name = None
    what = {"surprisal": "surprisal", "variance": "the posterior variance, the rival explanation"}[against]
    show_table(
        wide,
        name=name,
        caption=f"""Rank correlation of the squared difference between network and formula with {what}, over the
        pixels of an image: mean over networks and images, and its 95 % interval when photographs, images and
        networks are drawn anew.""",
    )

# %% [markdown]
# ## Are dense regions learned first?
#
# We train networks on smaller images and compare them with the formula at several steps of their training, on test
# images. The learning rate decays to zero before each comparison, so that we see what has been learned and not the
# last steps.

# %%
middle = sorted(sigmas)[len(sigmas) // 2]
of_size = {"size": watched_size, "channels": 1}
small = load_images(data, count=watched_count, **of_size)
small_test = load_images(data, split="test", count=watched, **of_size)
small_formula = LocalEquivariantMMSE(small, physics, patch_size=patch_size)
watched_set = {"test": small_test}
asked = surprisals(small_formula, watched_set, [middle], seed=seed + 1)
path = pd.concat(
    pixel_errors({name: network}, asked["test"]).assign(steps=done)
    for name, done, network in training_checkpoints(
        architectures[-1:],
        small,
        physics,
        checkpoints,
        patch_size=patch_size,
        size=network_size,
        batch_size=batch_size,
        lr=learning_rate,
        seed=seed,
        repeats=1,
    )
)
path = deciles(path, ["network", "steps"])

# %% tags=["hide-input"]
last = architectures[-1]
show_figure(
    figures.deciles_over_steps(path, [1, 4, 7, 10], label),
    name="fig-density-path",
    caption=f"""Tenths of the pixels by surprisal, mean over two trainings of {last} on {len(small)} images of
    {watched_size} × {watched_size} pixels, at $\\sigma = {middle:g}$ on {watched} test images. Left: PSNR to the
    formula. Right: what is left of the squared difference at the first comparison, in percent; a tenth that is
    learned first falls first.""",
    alt="Left, agreement against steps for four tenths of the patches; right, the share of squared error that is left.",
)

# %%
on_the_way = path.groupby(["steps", "decile"]).error.mean().unstack()
ahead = bool((on_the_way[1] < on_the_way[10]).all())
of_each = path.set_index(["network", "steps", "decile"]).error
of_each = of_each.unstack("steps")
left = 100 * of_each[checkpoints[-1]] / of_each[checkpoints[0]]
left = left.unstack("network")  # one number for each tenth and training


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def left_in(tenth):
    """What is left of the squared difference in a tenth, in both trainings, as a part of a sentence."""
    return " and ".join(f"{share:.0f}" for share in sorted(left.loc[tenth])) + " %"


Markdown(f"""The two panels answer different questions. The densest tenth is {"" if ahead else "not "}nearer to the
formula at every comparison. But it also starts nearer. After {checkpoints[-1]} steps the two trainings have
{left_in(1)} of the first squared difference left in it, and {left_in(10)} in the rarest tenth.""")

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, on training or test images, the difference between network and formula did not grow
# with surprisal at some noise level; if the rarest tenth of the pixels were not behind the densest by more than two
# standard errors; or if, on average over trainings, the rarest tenth were ahead of the densest at some step. Which
# tenth sheds the larger share of its error is reported above and not claimed.

# %% tags=["hide-input"]
home = correlations[(correlations.against == "surprisal") & correlations.set.isin(list(groups))]
counted = ", ".join(
    f"{len(nearer[nearer.sigma == s])} of {len(at_home[at_home.sigma == s])} at $\\sigma = {s:g}$" for s in sigmas
)
least, most = rarest.loc[rarest["drop"].idxmin()], rarest.loc[rarest["drop"].idxmax()]
weak, strong = home.loc[home["mean"].idxmin()], home.loc[home["mean"].idxmax()]
falls = (rarest["drop"] > SURE * rarest.drop_error).all()
quoted = ", ".join(f"'{name}'" for name in rivals)
opening = "Yes, networks are nearer" if falls else "It is not sure at every noise level that networks are nearer"
show_answer(f"""{opening} to the formula where the training patches are dense. From the tenth of the pixels where they
are densest to the tenth where they are rarest, the agreement falls by
{figures.plus_minus(least["drop"], least.drop_error)} to {figures.plus_minus(most["drop"], most.drop_error)} dB, on
training and on test images, for $\\sigma$ from {min(sigmas):g} to {max(sigmas):g}. Density orders the pixels only
loosely: the rank correlation is from {weak["mean"]:.2f} (95 % interval {weak.low:.2f} to {weak.high:.2f}) to
{strong["mean"]:.2f} ({strong.low:.2f} to {strong.high:.2f}). Not every tenth supports the formula. We count the tenths
of training and test images in which the networks are nearer to it than to every control ({quoted}), by {SURE:g}
standard errors: {counted}. Whether dense regions are learned *first* depends on what one counts: the densest tenth is
{"ahead" if ahead else "not ahead"} at every step that we looked at, but after {checkpoints[-1]} steps two trainings
have {left_in(1)} of the first squared difference left in it, and {left_in(10)} in the rarest tenth.""")

# %% tags=["hide-input"]
assert not pixels[["error", "surprisal"]].isna().any(axis=None), "every error and surprisal must be a number"
assert formula_error(formula, queries["test"][0].z[:1], sigmas[0]) < 1e-5, "the engine must agree with the formula"
statements = {
    "On training and test images the difference grows with surprisal, beyond the 95 % interval.": (home.low > 0).all(),
    f"On training and test images the rarest tenth is behind the densest by more than {SURE:g} standard errors.": falls,
    "On average over trainings the rarest tenth is behind the densest at every step.": ahead,
}
if max(sigmas) >= 0.8:
    at_largest = at_home[at_home.sigma == max(sigmas)]
    statements[
        "At the largest sigma the networks are nearer to the formula than to every control in each tenth, by more than "
        f"{SURE:g} standard errors."
    ] = (at_largest.margin > SURE * at_largest.margin_error).all()
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    least_drop=float(rarest["drop"].min()),
    most_drop=float(rarest["drop"].max()),
    least_correlation=float(home["mean"].min()),
    most_correlation=float(home["mean"].max()),
    left_dense=float(left.loc[1].mean()),
    left_rare=float(left.loc[10].mean()),
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 04 -p steps 200`: networks that were trained for a short time; see how the gap between
#   dense and rare patches grows.
# - `lemmse run 04 -p patch_size 9`: all patches are rarer, and the other kinds of images are farther
#   away.
# - `lemmse run 04 -p count 1000`: there are more training patches, and more of them are near any test
#   patch.
