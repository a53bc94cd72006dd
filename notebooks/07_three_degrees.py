# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Locality and translation equivariance
#
# **Question.** The denoiser with the least error on a finite training set returns the training images themselves. A
# convolutional network does not. Is this because it is local, or because it treats all pixels alike?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formulas.** A convolutional network obeys two constraints. It is *local*: each pixel of its output depends on
# a window of $P \times P$ pixels of its input. It is *equivariant*: if the input is shifted, the output is shifted in
# the same way. With each constraint or without it, there is one denoiser with the least mean squared error on the
# training images $x_1, \dots, x_N$: MMSE obeys no constraint, E-MMSE is equivariant, L-MMSE is local, and LE-MMSE is
# both. All four are weighted means of training pixels, and they differ in what they compare and in who takes part.
# With $w \propto \exp(-d / 2 \sigma^2)$, and weights that add up to one,
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# \begin{array}{lll}
# \text{} & \text{distance } d & \text{pixels } k \\
# \text{MMSE:} & \|y - x_i\|^2 & k = m \\
# \text{E-MMSE:} & \|y - T_{m-k}\, x_i\|^2 & \text{all} \\
# \text{L-MMSE:} & \|\Pi_m y - \Pi_m x_i\|^2 & k = m \\
# \text{LE-MMSE:} & \|\Pi_m y - \Pi_k x_i\|^2 & \text{all}
# \end{array}
# \end{gathered}
# $$
#
# Here $\Pi_k$ cuts out the patch around the pixel $k$, and $T_{m-k}$ shifts an image so that its pixel $k$ lands on
# $m$. [The theory](../theory.md) derives MMSE, E-MMSE and LE-MMSE. L-MMSE follows in the same way: a local map that
# may treat each pixel differently solves one problem for each pixel, and only patches of that pixel inform it.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the chapter on the main claim
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.2  # noise level of the pictures and of the table, the nearest of the above
tested: int = 6  # training and test images of the evaluation, each
few: int = 20  # training images of the control that has few of them
claimed_from: float = 0.4  # the least noise level at which the claim about networks is made
seed: int = 0  # of weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from IPython.display import Markdown
from torch.nn.functional import avg_pool2d, pad

from lemmse import MMSE, Denoising, EquivariantMMSE, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, controls, half_and_double, patch_size_control
from lemmse.analysis.evaluate import TRUTH, compare, formula_error, restore
from lemmse.analysis.experiment import Training, evaluation_images
from lemmse.analysis.margins import SURE, margin_sentence, margins, sure_from
from lemmse.analysis.uncertainty import bootstrap_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.distinct import distinct_centers
from lemmse.data.groups import image_groups

logging.basicConfig(level=logging.INFO, format="%(message)s")
shown = min(sigmas, key=lambda sigma: abs(sigma - shown))
images = load_images(data, count=count, size=size, channels=1)
clean = evaluation_images(images, data, tested)  # "training" and "test"
photographs = {
    split: image_groups(data, split=name, count=tested, size=size, channels=1)
    for split, name in (("training", "train"), ("test", "test"))
}  # the number of the photograph that each image was cut from

# %% [markdown]
# ## Local, but not equivariant
#
# The library has the other three estimators. L-MMSE takes a few lines: at every pixel it compares the noisy patch
# with the patches of the $N$ training images at the same pixel, and with no others.


# %%
class LocalMMSE:
    """The best local denoiser that may treat each pixel differently."""

    def __init__(self, images, patch_size):
        self.images, self.patch_size = images, patch_size

    def __call__(self, y, sigma):
        differences = (y[:, None] - self.images).square().sum(dim=2)
        reach = self.patch_size // 2
        around = pad(differences, [reach] * 4, mode="circular")
        means = avg_pool2d(around, self.patch_size, stride=1)
        distances = self.patch_size**2 * means
        weights = torch.softmax(-distances / (2 * sigma**2), dim=1)
        return torch.einsum("qihw,ichw->qchw", weights, self.images)


# %%
physics = Denoising()
formulas = {
    "MMSE": MMSE(images, physics),
    "E-MMSE": EquivariantMMSE(images, physics),
    "L-MMSE": LocalMMSE(images, patch_size),
    "LE-MMSE": LocalEquivariantMMSE(images, physics, patch_size=patch_size),
}

# %% [markdown]
# Beside them stand trained networks, which obey both constraints. No test image shares a photograph with a training
# image.

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

# %% tags=["hide-input"]
network = architectures[0]
pictured = formulas | {network: networks[network]}
rows = {}
for split, truth in clean.items():
    for number in (0, 1):
        one = truth[number : number + 1]
        generator = torch.Generator().manual_seed(seed)
        restored = restore(pictured, physics, one, shown, generator=generator)
        estimates = {name: estimate[0] for name, estimate in restored.estimates.items()}
        rows[f"{split} {number + 1}"] = {"measurement": restored.y[0], **estimates, TRUTH: one[0]}
show_figure(
    figures.gallery(rows, ["measurement", *pictured, TRUTH], figures.note_truth),
    name="fig-degrees",
    caption=f"""Two training and two test images at $\\sigma = {shown:g}$, with the PSNR to the truth below each
    estimate. On training images, MMSE and E-MMSE return the image itself. On test images they return a training image,
    E-MMSE a shifted one. L-MMSE puts together pieces of training images, each in its place, and LE-MMSE pieces from
    anywhere.""",
    alt="Training and test images. Columns are the measurement, the four estimators, a network and the truth.",
)

# %% [markdown]
# ## Memorization and generalization
#
# Now we measure the error of all of them, on training images and on test images. An estimator that recites has a very
# small error on training images and a large one on test images. We call the difference of the two the *gap*, and give
# the root mean square error in gray levels, of which an image of eight bits has 255. Controls restore the same
# measurements: the measurement itself, the best affine map of the same patch, LE-MMSE of a smaller window and of few
# images, and non-local means. LE-MMSE of a larger window is left out, because of the time that it takes.

# %%
half = [P for P in half_and_double(patch_size) if patch_size > P]
rivals = controls(formulas["LE-MMSE"], few=few, patch_sizes=half)
everyone = formulas | networks | rivals
distances = compare(
    everyone,
    physics,
    clean,
    sigmas,
    seed=seed + 1,
    groups=photographs,
)
to_truth = distances[distances["other"] == TRUTH]
errors = to_truth.assign(levels=255 * to_truth["mse"] ** 0.5)

# %% tags=["hide-input"]
drawn = errors[errors["one"].isin(list(formulas))]
show_figure(
    figures.psnr_lines(drawn, "levels", "one", "split", label="rms error (gray levels)"),
    name="fig-memory",
    caption=f"""Error of the four estimators: mean and standard deviation over {tested} images of each split. A line at
    zero on the left means that training images are returned exactly.""",
    alt="Error against sigma for four estimators, on training images and on test images.",
    chart=figures.spread_chart(drawn, "levels", "one", label="rms error (gray levels)"),
)

# %%
per_image = errors.set_index(["split", "sigma", "image", "one"])
per_image = per_image["levels"].unstack("one")

# %% tags=["hide-input"]
beyond = per_image[list(networks)].sub(per_image["LE-MMSE"], axis=0)
beyond = beyond.stack().rename("levels").reset_index()
show_figure(
    figures.psnr_lines(beyond, "levels", "one", "split", label="error beyond LE-MMSE (gray levels)"),
    name="fig-memory-networks",
    caption=f"""How much larger the error of each network is than that of LE-MMSE on the same image: mean and standard
    deviation over {tested} images of each split. Where LE-MMSE recites and the network does not, the network is above
    zero on training images and not on test images.""",
    alt="Error of each network less that of LE-MMSE against sigma, on training images and on test images.",
    chart=figures.spread_chart(beyond, "levels", "one", label="error beyond LE-MMSE (gray levels)"),
)

# %%
by_denoiser = errors.groupby(["sigma", "one", "split"])["levels"]
mean_error = by_denoiser.mean().unstack("split")
at_shown = mean_error.loc[shown]


def gap_of(levels):
    """The gap between test and training error, and its standard error."""
    generator = torch.Generator().manual_seed(seed)
    mean, drawn = {}, {}
    for split, labels in photographs.items():
        of_split = torch.tensor(levels.loc[split].to_numpy().copy())
        mean[split] = float(of_split.mean())
        drawn[split] = bootstrap_by_group(of_split, labels, generator)
    error = float((drawn["test"] - drawn["training"]).std())
    return mean["test"] - mean["training"], error


gap = {
    (sigma, name): gap_of(levels[name])
    for sigma, levels in per_image.groupby("sigma")
    for name in (*formulas, *networks)
}

# %% tags=["hide-input"]
constraints = {"MMSE": "none", "E-MMSE": "equivariant", "L-MMSE": "local", "LE-MMSE": "both"}
at_level = errors[errors["sigma"] == shown]
spread = at_level.groupby(["one", "split"])["levels"].std(ddof=0).unstack("split")
named = {**constraints, **dict.fromkeys(networks, "both, trained")}
rows = {}
for name, constraint in named.items():
    of_splits = {
        f"{split} error": figures.plus_minus(mean, spread[split][name]) if mean >= 0.05 else "0.0"
        for split, mean in ((split, at_shown[split][name]) for split in clean)
    }
    rows[name] = {"constraint": constraint, **of_splits, "gap": figures.plus_minus(*gap[shown, name])}
show_table(
    pd.DataFrame(rows).T.rename_axis("denoiser").reset_index(),
    name="tab-constraints",
    caption=f"""Root mean square error in gray levels at $\\sigma = {shown:g}$, mean ± standard deviation over {tested}
    images of each split, and the gap between the two ± its standard error, which comes from drawing photographs and
    then images of each with replacement. The noise itself has {255 * shown:.0f} gray levels.""",
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
low = min(sigmas)


def told(sigma, name):
    """The gap of one denoiser, as a part of a sentence."""
    return figures.plus_minus(*gap[sigma, name])


cut_from = len(set(image_groups(data, split="train", count=count, size=size, channels=1)))
distinct = distinct_centers(images, patch_size)
Markdown(f"""At $\\sigma = {shown:g}$ the gap is {told(shown, "MMSE")} gray levels for MMSE, {told(shown, "E-MMSE")} for
E-MMSE, {told(shown, "L-MMSE")} for L-MMSE and {told(shown, "LE-MMSE")} for LE-MMSE. Shifted copies of the training
images are no help against reciting, since a whole image is recognized wherever it lies. A patch of {patch_size} x
{patch_size} pixels is harder to recognize, and hardest if it may come from any place and not from the same pixel of
{count} images. The training images have {count * size**2:,} places, which hold {distinct:,} distinct patches cut from
{cut_from} pictures.""")

# %% [markdown]
# ## Does LE-MMSE recite too, and do the networks?
#
# At small noise one patch can be enough to recognize a training image, so LE-MMSE may recite as well. Not every gap is
# reciting: test images may just be harder to denoise than training images. The affine filter tells how much of it that
# is, because its few weights cannot recite. We therefore compute by how much each gap exceeds that of the affine
# filter.

# %%
at_low = per_image.xs(low, level="sigma")
excess = {}
for name in ("LE-MMSE", *networks):
    excess[name] = gap_of(at_low[name] - at_low[AFFINE])


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def is_sure(mean, error):
    """Whether a difference is positive by more than `SURE` standard errors."""
    return mean > SURE * error


beyond_network = {name: gap_of(at_low["LE-MMSE"] - at_low[name]) for name in networks}
formula_recites = is_sure(*excess["LE-MMSE"])
networks_recite = any(is_sure(*excess[name]) for name in networks)
less = all(is_sure(*pair) for pair in beyond_network.values())
most = max(networks, key=lambda name: excess[name][0])
do = f"do so{', but less' if less else ''}" if networks_recite else "do not surely recite"
reciting = (
    f"At $\\sigma = {low:g}$ LE-MMSE {'recites as well' if formula_recites else 'does not surely recite'}: its gap "
    f"exceeds that of the affine filter by {figures.plus_minus(*excess['LE-MMSE'])} gray levels. "
    f"The trained networks {do}: the largest such excess among them is that of {most}, "
    f"{figures.plus_minus(*excess[most])} gray levels."
)
Markdown(reciting)

# %% [markdown]
# On training images the order of the errors is no finding. The larger a class of denoisers, the smaller the least
# error in it, so MMSE has the least error of the four on average and LE-MMSE the largest. The order on test images is
# a finding, and it is not one that holds at all noise levels.

# %%
on_test = mean_error["test"].unstack("one")
best_other = on_test[["MMSE", "E-MMSE", "L-MMSE"]].min(axis=1)
is_ahead = best_other - on_test["LE-MMSE"] > 1  # gray level
leads = [sigma for sigma in sorted(sigmas) if is_ahead[sigma]]


# %% tags=["remove-input"] jupyter={"source_hidden": true}
def listed(sigmas):
    """Noise levels as a part of a sentence."""
    texts = [f"{sigma:g}" for sigma in sigmas]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


behind = [sigma for sigma in sorted(sigmas) if sigma not in leads]
sentences = []
if leads:
    sentences += [
        f"""On test images, LE-MMSE has the least error of the four, by more than one gray level, at the noise levels
    {listed(leads)}."""
    ]
if behind:
    winners = " or ".join(dict.fromkeys(on_test.loc[behind, ["MMSE", "E-MMSE", "L-MMSE"]].idxmin(axis=1)))
    sentences += [
        f"""At {listed(behind)} {winners} is as good or better. A noisy patch says little there, so it helps to
    see the whole image or to know the position."""
    ]
Markdown(" ".join(sentences))

# %% [markdown]
# ## Which of the four do networks resemble?
#
# Networks obey both constraints, so the theory says LE-MMSE. We compare the networks with the four estimators and
# with the controls of [the main claim](01_theory_predicts_network.ipynb), which a claim of agreement has to beat.

# %%
others = [name for name in (*formulas, *rivals) if name != "LE-MMSE"]
margin_table = margins(
    distances,
    networks,
    others,
    formula="LE-MMSE",
    generator=torch.Generator().manual_seed(seed),
)
start = sure_from(margin_table)

# %% tags=["hide-input"]
smaller = [patch_size_control(P) for P in half]
resembled = distances[distances["one"].isin(list(networks))]
resembled = resembled[resembled["other"].isin([*formulas, AFFINE, *smaller])]
show_figure(
    figures.psnr_lines(resembled, "psnr", "other", "split", label="PSNR to the networks (dB)"),
    name="fig-resemblance",
    caption=f"""How near the networks are to each of the four estimators, to the affine filter, which is the best affine
    map of the same patch, and to LE-MMSE of a smaller window: mean and standard deviation over {len(networks)} networks
    and {tested} images of each split.""",
    alt="PSNR between networks and each estimator against sigma, on training images and on test images.",
    chart=figures.spread_chart(resembled, "psnr", "other", label="PSNR to the networks (dB)"),
)

# %% tags=["hide-input"]
worst = margin_table.loc[margin_table.groupby(["split", "sigma"], sort=False)["margin"].idxmin()]
columns = {
    "images": worst["split"],
    "sigma": worst["sigma"],
    "network": worst["network"],
    "to LE-MMSE (dB)": worst["to_formula"].map("{:.1f}".format),
    "nearest other": worst["control"],
    "margin (dB)": [figures.plus_minus(*pair) for pair in zip(worst["margin"], worst["error"], strict=True)],
}
show_table(
    worst.assign(**columns)[list(columns)],
    name="tab-resemblance",
    caption="""At each noise level the network with the least margin: its PSNR to LE-MMSE, which of the other estimators
    and controls it is nearest to, and how much nearer it is to LE-MMSE than to that one, ± the standard error.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if one constraint alone closed the gap between training and test images as both together
# do. It would also be wrong if the networks, which obey both constraints, were nearer to an estimator that obeys only
# one of them. That a control which obeys both is nearer at small noise does not contradict it: there the networks have
# learned less than LE-MMSE knows.

# %% tags=["hide-input"]
at_shown_images = per_image.xs(shown, level="sigma")
others_gap = {name: gap_of(at_shown_images[name] - at_shown_images["LE-MMSE"]) for name in ("MMSE", "E-MMSE", "L-MMSE")}
local_more = is_sure(*gap_of(at_shown_images["E-MMSE"] - at_shown_images["L-MMSE"]))
alone_not = all(is_sure(*pair) for pair in others_gap.values())
both_enough = not is_sure(*gap_of(at_shown_images["LE-MMSE"] - at_shown_images[AFFINE]))
opening = "Mostly because it is local" if local_more else "Locality does not surely count for more than equivariance"
if alone_not:
    opening += ", and with both constraints the gap is smaller than with one or with none"
    opening += ", and not surely larger than that of the affine filter" if both_enough else ""
resemblance = margin_sentence(margin_table).replace("the formula", "LE-MMSE")
resemblance = resemblance.replace("than to any control", "than to any of the other three and of the controls")
quoted = ", ".join(f"'{name}'" for name in rivals)
show_answer(f"""{opening}. At $\\sigma = {shown:g}$ the error on test images exceeds that on training images by
{told(shown, "MMSE")} gray levels for the best denoiser without constraints, by {told(shown, "E-MMSE")} for the best
equivariant one, by {told(shown, "L-MMSE")} for the best local one, and by {told(shown, "LE-MMSE")} for the best one
that is both. {reciting} {resemblance} The controls are {quoted}. This is about {tested} images of each
split, {count} training images of {size} x {size} pixels and windows of {patch_size} x {patch_size}.""")

# %% tags=["hide-input"]
assert distances.notna().all(axis=None), "every distance must be a number"
y = physics.measure(clean["test"][:1], shown, generator=torch.Generator().manual_seed(seed))
assert formula_error(formulas["LE-MMSE"], y, shown) < 1e-5, "the engine must agree with the formula written out"
odd = min(size, 9) // 2 * 2 - 1  # a window of this side covers an image of this side
small, noisy = images[:20, :, :odd, :odd].contiguous(), y[..., :odd, :odd].contiguous()
both = LocalEquivariantMMSE(small, physics, patch_size=odd)(noisy, shown)
assert (both - EquivariantMMSE(small, physics)(noisy, shown)).abs().max() < 1e-4, "a window that sees all: E-MMSE"
local = LocalMMSE(small, odd)(noisy, shown)
assert (local - MMSE(small, physics)(noisy, shown)).abs().max() < 1e-4, "a window that sees all: MMSE"
held = margin_table[margin_table["sigma"] >= claimed_from]
statements = {}
for name, (more, error) in others_gap.items():
    statements[
        f"At sigma = {shown:g}, the gap between test and training error of {name} exceeds that of LE-MMSE by more than "
        f"{SURE:g} standard errors ({figures.plus_minus(more, error)} gray levels)."
    ] = is_sure(more, error)
least = min(networks, key=lambda name: beyond_network[name][0] / beyond_network[name][1])
statements[
    f"At sigma = {low:g}, the gap of LE-MMSE exceeds that of every network by more than {SURE:g} standard errors "
    f"({figures.plus_minus(*beyond_network[least])} gray levels for {least})."
] = less
statements |= {
    f"From sigma = {claimed_from:g} on, every network is nearer to LE-MMSE than to every other estimator and control "
    f"by more than {SURE:g} standard errors, on {split} images.": bool((part["margin"] > SURE * part["error"]).all())
    for split, part in held.groupby("split", sort=False)
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(sure_from=start, least_margin=held["margin"].min())
for name, key in (("mmse", "MMSE"), ("emmse", "E-MMSE"), ("lmmse", "L-MMSE"), ("le", "LE-MMSE")):
    record(**{f"training_{name}": at_shown["training"][key], f"test_{name}": at_shown["test"][key]})

# %% [markdown]
# ## Try it
#
# - `lemmse run 07 -p patch_size 9`: with a wider window, LE-MMSE recites up to a higher noise level.
#   The networks are trained anew, which takes minutes.
# - `lemmse run 07 -p count 20 -p few 5`: with few images to recite, the estimators that recite get
#   worse on test images.
# - `lemmse run 07 -p sigmas "[0.1, 0.8, 1.2, 2.0]"`: where a patch says little, E-MMSE, which sees
#   the whole image, stays ahead.
