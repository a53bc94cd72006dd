# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Small noise
#
# **Question.** With little noise, networks part from the formula, and the other chapters say from which noise level on
# they agree. Why do they part? Is it how they were trained, how large they are, or what the formula itself does there?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A network $\varphi$ that is told $\sigma$ minimizes a mean over noise levels, with some weight
# $w(\sigma) > 0$. The [risk identity](../theory.md) holds at each noise level apart, so
#
# $$
# \begin{gathered}
# L_w(\varphi) = \mathbb E_\sigma \left[ w(\sigma)\, \mathbb E \|\varphi(y, \sigma) - x\|^2 \right], \\[1ex]
# L_w(\varphi) - L_w(\hat x)
#   = \mathbb E_\sigma \left[ w(\sigma)\, \mathbb E \|\varphi - \hat x\|^2 \right],
# \end{gathered}
# $$
#
# where $\hat x$ is LE-MMSE. The difference is zero for $\varphi = \hat x$ alone, whatever the weights are. They only
# decide how a network that cannot reach the formula divides its error among the noise levels. With equal weights nearly
# all of the loss is at large noise, since the error of the formula itself is a hundred times larger there.
#
# What the formula does changes with the noise. It averages training pixels with weights $w_{i,k}$, and the *effective
# number of patches* $1 / \sum_{i,k} w_{i,k}^2$ says how many. With much noise they are thousands, and the formula is
# smooth. With little noise there is one: the formula looks up the nearest patch, and jumps from one training pixel to
# another where another patch becomes the nearest.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images of the base
size: int = 28  # pixels a side
patch_size: int = 5  # P, odd: the receptive field of the base
architecture: str = "PatchMLP"  # of all networks
network_size: str = "small"  # of the base: tiny, small, medium or paper
steps: int = 2000  # of the training of the base
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
weighting: str = "inverse_error"  # of the base: inverse_error gives each noise level an equal part of the loss
other_weighting: str = "uniform"  # of one change
other_steps: list[int] = [500, 8000]  # of two changes
other_learning_rates: list[float] = [1.0e-2]  # of one change
other_sizes: list[str] = ["tiny", "medium"]  # of two changes: 0.03 and 0.5 million weights
other_counts: list[int] = [100, 1600]  # of two changes
other_patch_sizes: list[int] = [3, 7]  # of two changes
windows: list[int] = [1, 3]  # patch sizes whose formula the base is compared with, besides its own
sigmas: list[float] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
small: float = 0.1  # the largest of the noise levels that are called small
large: float = 0.4  # the least of the noise levels that are called large
tested: int = 4  # test images of the evaluation
seed: int = 0  # of weights and training
noise_seed: int = 1  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import replace

import pandas as pd
import torch

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, with_patch_size
from lemmse.analysis.evaluate import NETWORK, compare, formula_error
from lemmse.analysis.experiment import Training
from lemmse.analysis.second_moments import affine_beside
from lemmse.analysis.small_noise import agreement_and_voters, correlation_within_levels, gains
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.book.results import show_windows
from lemmse.data.groups import image_groups

logging.basicConfig(level=logging.INFO, format="%(message)s")
most = max(count, *other_counts)
images = load_images(data, count=most, size=size, channels=1)
clean = {"test": load_images(data, split="test", count=tested, size=size, channels=1)}
groups = {"test": image_groups(data, split="test", count=tested, size=size, channels=1)}

# %% [markdown]
# ## Which window a network uses
#
# A network with a receptive field of 5 x 5 need not use all of it. We compare it with the formula of its receptive
# field and of smaller patches. The patch size whose formula is nearest is its *effective window* at that noise level.

# %%
physics = Denoising()
base = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    weighting=weighting,
    seed=seed,
)


def formula_and_network(training, count=count, patch_size=patch_size):
    """LE-MMSE of the first images, and a network trained on them."""
    some, P = images[:count], patch_size
    formula = LocalEquivariantMMSE(some, physics, patch_size=P)
    network = training.network(architecture, some, physics, patch_size=P)
    return formula, network


def asked(network, formula):
    """Agreement of a network with a formula, and how many patches vote."""
    return agreement_and_voters(
        network,
        formula,
        clean,
        sigmas,
        groups=groups,
        seed=noise_seed,
    )


formula, network = formula_and_network(base)
by_window = {patch_size: formula}
for P in windows:
    by_window[P] = with_patch_size(formula, P)
answers = {P: asked(network, by_window[P]) for P in sorted(by_window)}
of_windows = pd.concat(
    [answer.assign(P=P) for P, answer in answers.items()],
    ignore_index=True,
)
mean = of_windows.groupby(["sigma", "P"])[["psnr", "voters"]].mean()
psnr, voters = mean["psnr"].unstack(), mean["voters"].unstack()
nearest = psnr.idxmax(axis=1)

# %% tags=["hide-input"]
solvers = {NETWORK: network, AFFINE: affine_beside(formula)}
distances = compare(solvers, physics, clean, sigmas, seed=noise_seed, groups=groups, progress=False)
filtered = distances[(distances["one"] == NETWORK) & (distances["other"] == AFFINE)]
to_affine = filtered.groupby("sigma")["psnr"].mean()
lines = pd.concat(
    [of_windows.assign(what="formula, P = " + of_windows["P"].astype(str)), filtered.assign(what=AFFINE)],
    ignore_index=True,
)
label = "PSNR to the network (dB)"
show_figure(
    figures.psnr_lines(lines, "psnr", "what", "split", label=label),
    name="fig-window",
    caption=f"""How near a {architecture} with a receptive field of {patch_size} x {patch_size} pixels is to the
    formula of several patch sizes, and to the best affine filter of its receptive field: mean and standard deviation
    over {tested} test images. The highest line explains the network best.""",
    alt="PSNR to the network against sigma: one line for the formula of each patch size, one for the affine filter.",
    chart=figures.spread_chart(lines, "psnr", "what", label=label),
)

# %% tags=["hide-input"]
inside = [window for window in sorted(by_window) if window <= patch_size]
wider = {sigma: min((w for w in inside if w > nearest[sigma]), default=None) for sigma in sorted(sigmas)}
of_wider = {sigma: voters.loc[sigma, P] for sigma, P in wider.items() if P is not None}
of_nearest = {sigma: voters.loc[sigma, nearest[sigma]] for sigma in sorted(sigmas)}
show_table(
    pd.DataFrame(
        {
            "sigma": list(of_nearest),
            "nearest P": [nearest[sigma] for sigma in of_nearest],
            "to it (dB)": [f"{psnr.loc[sigma].max():.1f}" for sigma in of_nearest],
            "to the formula of its field (dB)": [f"{psnr.loc[sigma, patch_size]:.1f}" for sigma in of_nearest],
            "to the affine filter (dB)": [f"{to_affine[sigma]:.1f}" for sigma in of_nearest],
            "patches that vote": [figures.rounded(value) for value in of_nearest.values()],
            "with the next wider P": [
                figures.rounded(of_wider[sigma]) if sigma in of_wider else "" for sigma in of_nearest
            ],
        }
    ),
    name="tab-window",
    caption=f"""The effective window of the {architecture} on {tested} test images, and the effective number of patches
    (geometric mean over pixels) that vote in the formula of that window and in the formula of the next wider window
    within the receptive field.""",
)

# %% [markdown]
# ## What changes the agreement
#
# Now we change one thing at a time and train anew: the length of the training, the weights of the noise levels in the
# loss, the learning rate, the number of weights of the network, the number of training images, and the receptive field.
# Each network is compared with the formula of *its own* images and patch size, on the same measurements.

# %%
BASE = "base"
changes = {}
for n in other_steps:
    changes[f"{n:,} steps"] = {"training": replace(base, steps=n)}
equal = replace(base, weighting=other_weighting)
changes[f"{other_weighting} weights of sigma"] = {"training": equal}
for rate in other_learning_rates:
    change = f"learning rate {rate:g}"
    changes[change] = {"training": replace(base, lr=rate)}
for name in other_sizes:
    changes[f"{name} network"] = {"training": replace(base, size=name)}
for n in other_counts:
    changes[f"N = {n:,}"] = {"training": base, "count": n}
for P in other_patch_sizes:
    changes[f"P = {P}"] = {"training": base, "patch_size": P}

frames = [answers[patch_size].assign(change=BASE)]
for change, what in changes.items():
    own_formula, own_network = formula_and_network(**what)
    agreement = asked(own_network, own_formula)
    frames.append(agreement.assign(change=change))
agreements = pd.concat(frames, ignore_index=True)

# %%
bands = {
    f"sigma to {small:g}": (0.0, small),
    f"sigma from {large:g}": (large, 1.0),
}
generator = torch.Generator().manual_seed(noise_seed)
gained = gains(agreements, BASE, bands, generator=generator)

# %% tags=["hide-input"]
show_figure(
    figures.gain_dots(gained, "gain in agreement with the formula (dB)"),
    name="fig-changes-of-training",
    caption=f"""What each change gains in PSNR between the network and its formula, over the base ({steps:,} steps,
    {weighting.replace("_", " ")} weights, a learning rate of {learning_rate:g}, a {network_size} network, N = {count},
    P = {patch_size}): paired differences on {tested} test images, with standard errors that resample photographs.""",
    alt="A row for each change, with a dot for small noise and one for large noise, and error bars around zero.",
)

# %% [markdown]
# ## Looking up, or averaging
#
# Do networks agree with the formula where it averages many patches? The agreement and the number of patches that vote
# both grow with the noise. So we also ask the question at one noise level at a time: do the trainings in which more
# patches vote agree better with their formula than the other trainings do? We compare the answer with what random
# orders of the trainings would give.

# %%
by = ["change", "sigma"]
points = agreements.groupby(by)[["psnr", "voters"]].mean()
ranks = points.rank()
rank_correlation = float(ranks["psnr"].corr(ranks["voters"]))
sigma_ranks = points.reset_index("sigma")["sigma"].rank()
with_sigma = float(ranks["psnr"].corr(sigma_ranks.set_axis(ranks.index)))
within, chance = correlation_within_levels(agreements, generator=generator)

# %% tags=["hide-input"]
show_figure(
    figures.agreement_over_voters(agreements),
    name="fig-voters",
    caption=f"""Each point is one of the {len(frames)} trainings at one noise level. Across: how many patches the
    formula averages, effectively, for a pixel. Up: how near the network is to the formula. The rank correlation is
    {rank_correlation:.2f}. With the noise level in place of the number of patches it is {with_sigma:.2f}; among the
    trainings at one noise level it is {within:.2f}, mean over noise levels (p = {chance:.2g}).""",
    alt="PSNR between network and formula against the effective number of patches: points rise from left to right.",
)

# %% tags=["hide-input"]
show_windows()

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if longer training, other weights or a larger network closed most of the gap at small noise;
# if networks agreed with the formula where few patches vote, or failed to agree where many do; or if, at some noise
# level, fewer patches voted in the formula that is nearest to the network than vote, at some noise level, in the
# formula of the next wider window.

# %% tags=["hide-input"]
levels = sorted(sigmas)
of_training = [
    *(f"{n:,} steps" for n in other_steps if n > steps),
    f"{other_weighting} weights of sigma",
    *(f"learning rate {rate:g}" for rate in other_learning_rates),
    *(f"{name} network" for name in other_sizes[-1:]),
]
at_small = gained[gained["band"] == next(iter(bands))].set_index("change")
best_training = at_small.loc[at_small.loc[of_training, "mean"].idxmax()]
agreement = points.loc[BASE, "psnr"]
gap = float(agreement[levels[-1]] - agreement[[sigma for sigma in levels if sigma <= small]].mean())
closes_less_than_half = all(
    at_small.loc[change, "mean"] + 2 * at_small.loc[change, "error"] < gap / 2 for change in of_training
)
used = ", ".join(f"{nearest[sigma]} ($\\sigma = {sigma:g}$)" for sigma in levels)
fewest, most_unused = min(of_nearest.values()), max(of_wider.values(), default=0.0)
shrinks = nearest[levels[0]] < patch_size
ahead = float(to_affine[levels[0]] - psnr.loc[levels[0]].max())
filter_says = (
    f"an affine filter is nearer to the network than any of these formulas, by {ahead:.1f} dB."
    if ahead > 0
    else f"the affine filter is {-ahead:.1f} dB farther from the network than the nearest of these formulas."
)
windows_say = (
    f"""The patch size whose formula is nearest to a network with a receptive field of {patch_size} is {used}. It
    is the widest window within the receptive field in which many patches vote: at least
    {figures.rounded(fewest)}, while in the next wider window there are at most {figures.rounded(most_unused)}."""
    if shrinks and of_wider and fewest > most_unused
    else f"The patch size whose formula is nearest to a network with a receptive field of {patch_size} is {used}."
)
narrower = [f"P = {P}" for P in other_patch_sizes if patch_size > P]
best_window = at_small.loc[at_small.loc[narrower, "mean"].idxmax()] if narrower else None
by_narrower = (
    f"""A smaller receptive field, '{best_window.name}', gains
    {figures.plus_minus(best_window["mean"], best_window["error"])} dB, since many more patches vote."""
    if best_window is not None
    else ""
)
verdict, closing = (
    "It goes together with how few patches the formula averages there.",
    "none closes half of the gap by itself",
)
if not closes_less_than_half or chance >= 0.01:
    verdict = "This run does not tell."
if not closes_less_than_half:
    closing = "at least one closes half of the gap by itself"
show_answer(f"""{verdict} Of longer training, another learning rate, other weights of the noise levels and a larger
network, {closing}. With little noise the formula of the whole receptive field looks its answer up in few patches
({figures.rounded(points.loc[BASE, "voters"][levels[0]])} at $\\sigma = {levels[0]:g}$, against
{figures.rounded(points.loc[BASE, "voters"][levels[-1]])} at $\\sigma = {levels[-1]:g}$), and a network does not follow
it there. {windows_say} Of the changes of the training, '{best_training.name}' gains most at
$\\sigma \\le {small:g}$: {figures.plus_minus(best_training["mean"], best_training["error"])} dB, where the agreement is
{gap:.1f} dB below that at $\\sigma = {levels[-1]:g}$. {by_narrower} Over all {len(frames)} trainings and noise levels,
the rank correlation of the agreement with the number of patches that vote is {rank_correlation:.2f} ({with_sigma:.2f}
with the noise level alone); among the trainings at one noise level the rank correlation is {within:.2f}
(p = {chance:.2g}). At $\\sigma = {levels[0]:g}$ {filter_says} This is about one architecture
({architecture}), trained for minutes on {min(count, *other_counts)} to {most} images.""")

# %% tags=["hide-input"]
y = physics.measure(clean["test"][:1], large, generator=torch.Generator().manual_seed(noise_seed))
assert formula_error(formula, y, large) < 1e-5, "the engine must agree with the formula written out"
assert agreements.notna().all(axis=None), "every distance must be a number"
training_changes = "Longer training, other weights, another learning rate and a larger network"
statements = {
    "Among the trainings at one noise level, the agreement follows the number of patches that vote, with a rank "
    "correlation that fewer than one in a hundred random orders of the trainings reach.": chance < 0.01,
    "Over all trainings and noise levels, the agreement follows the number of patches that vote more closely than it "
    "follows the noise level.": rank_correlation > with_sigma,
    f"At sigma = {levels[0]:g} the formula of a smaller patch is nearer to the network than that of its receptive "
    f"field, and from sigma = {large:g} on the formula of its receptive field is nearest.": shrinks
    and bool((nearest[nearest.index >= large] == patch_size).all()),
    "More patches vote in the formula of every effective window than in that of any next wider one.": fewest
    > most_unused,
    f"{training_changes} close less than half of the gap at small noise, each.": closes_less_than_half,
}
if best_window is not None:
    statements["A smaller receptive field gains more at small noise than any change of the training."] = bool(
        best_window["mean"] - 2 * best_window["error"] > best_training["mean"]
    )
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    rank_correlation=rank_correlation,
    within_levels=within,
    gap=gap,
    gain=float(best_training["mean"]),
    least_voters=fewest,
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 21 -p noise_seed 2`: other noise.
# - `lemmse run 21 -p other_counts "[200, 800]"`: other numbers of images. The networks are trained anew, which takes
#   minutes.
# - `lemmse run 21 -p architecture ResNet`: another architecture. All networks are trained anew, which takes longer.
