# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Architectures agree
#
# **Question.** A U-Net, a residual network and a perceptron on patches have the same receptive field and are trained
# on the same images. Do they learn different denoisers?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** All three networks are local and equivariant, so [LE-MMSE](../theory.md) is the best that each of
# them can be. Let $\hat x_{\mathrm{LE}}$ be its output and $f$ that of any map which is local and equivariant. On the
# training distribution,
#
# $$
# \begin{aligned}
# \mathbb E \lVert f - x \rVert^2
# = {} & \mathbb E \lVert \hat x_{\mathrm{LE}} - x \rVert^2 \\
# & + \mathbb E \lVert f - \hat x_{\mathrm{LE}} \rVert^2 .
# \end{aligned}
# $$
#
# The first term on the right is a floor that no such map passes. The second term is how far the map is from the
# formula. So two networks whose training errors are both near the floor are near the formula, and then they are near
# each other. The formula does not say that training gets there, nor what networks do on images that they were not
# trained on. That is what this chapter measures.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 400  # N, training images
size: int = 28  # pixels a side, of the networks compared
patch_size: int = 5  # P, odd: the receptive field
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the chapter on the main claim
repeats: int = 2  # further trainings of the last of them, with other seeds, at least one
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.2  # noise level of the first figure, the nearest of the above
tested: int = 6  # training and test images of the evaluation, each
few: int = 20  # training images of the control that has few of them
claimed_from: float = 0.2  # the least noise level at which agreement is claimed
watched_size: int = 16  # pixels a side, of the trainings that are watched
checkpoints: list[int] = [25, 50, 100, 200, 400]  # steps after which they are looked at
draws: int = 256  # of image, noise level and noise, for their risks
seed: int = 0  # of weights, training, images and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from itertools import permutations

import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, controls, half_and_double
from lemmse.analysis.evaluate import FORMULA, TRUTH, compare, formula_error
from lemmse.analysis.experiment import Training, evaluation_images, trainings
from lemmse.analysis.margins import SURE, margins, sure_from
from lemmse.analysis.risk import error_correlation, training_path
from lemmse.analysis.uncertainty import bootstrap_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
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
# ## One denoiser, three architectures
#
# The networks differ in how they are built, in their first weights and in the order of their training images. They
# share the training images, the receptive field and the number of training steps.

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

# %% [markdown]
# All networks restore the same measurements, and so do the formula and the controls of [the main
# claim](01_theory_predicts_network.ipynb): the measurement, the best affine map of the same patch, the formula of a
# smaller window and of few images, and non-local means. The formula of a larger window is left out, because of the time
# that it takes. Test images come from photographs of which no network saw any part.

# %%
half = [P for P in half_and_double(patch_size) if patch_size > P]
rivals = controls(formula, few=few, patch_sizes=half)
everyone = networks | {FORMULA: formula} | rivals
distances = compare(
    everyone,
    physics,
    clean,
    sigmas,
    seed=seed + 1,
    groups=photographs,
)

# %% tags=["hide-input"]
names = [*architectures, FORMULA, AFFINE, TRUTH]
at_shown = {split: part[part["sigma"] == shown] for split, part in distances.groupby("split", sort=False)}
tables = {split: part.pivot_table("psnr", "one", "other").loc[names, names] for split, part in at_shown.items()}
show_figure(
    figures.agreement(tables),
    name="fig-agreement",
    caption=f"""PSNR in dB between all pairs at $\\sigma = {shown:g}$, mean over {tested} images of each split; dark
    means near. The truth and the affine filter, which is the best affine map of the same patch, are there for
    comparison.""",
    alt="Two square tables of PSNR between three networks, formula, affine filter and truth; network pairs are dark.",
)

# %% tags=["hide-input"]
built = {name: architecture for name, (architecture, _) in trainings(architectures, repeats, seed).items()}
from_networks = distances[distances["one"].isin(list(networks))]
built_other = from_networks["other"].map(built)
same = built_other == from_networks["one"].map(built)
kinds = from_networks["other"].where(from_networks["other"].isin([FORMULA, AFFINE, TRUTH]))
kinds = kinds.mask(built_other.notna() & same, "another seed").mask(built_other.notna() & ~same, "another architecture")
by_kind = from_networks.assign(kind=kinds)[kinds.notna()]
by_kind = by_kind.sort_values("kind", kind="stable")
drawn = by_kind[by_kind["kind"] != "another seed"]  # its line would hide that of another architecture
show_figure(
    figures.psnr_lines(drawn, "psnr", "kind", "split", label="PSNR from a network (dB)"),
    name="fig-pairs",
    caption="""How near a network is to a network of another architecture, to the formula, to the affine filter and to
    the truth: mean and standard deviation over images and pairs.""",
    alt="PSNR against sigma from a network to another architecture, formula, affine filter and truth.",
    chart=figures.spread_chart(drawn, "psnr", "kind", label="PSNR from a network (dB)"),
)


# %%
def mean_with_error(values):
    """Mean over images and its standard error, by photographs."""
    per_image = values.groupby(["split", "image", "group"]).mean()
    groups = [(split, group) for split, _, group in per_image.index]
    numbers = torch.tensor(per_image.to_numpy().copy())
    generator = torch.Generator().manual_seed(seed)
    drawn = bootstrap_by_group(numbers, groups, generator)
    return float(numbers.mean()), float(drawn.std())


by_kind = by_kind.set_index(["split", "image", "group"])
large_noise = by_kind[by_kind["sigma"] >= claimed_from]
usual = {}
for kind, part in large_noise.groupby("kind"):
    usual[kind] = mean_with_error(part["psnr"])

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""From $\\sigma = {claimed_from:g}$ on, a network agrees with a network of another architecture to
{figures.plus_minus(*usual["another architecture"])} dB on average, with the formula to
{figures.plus_minus(*usual[FORMULA])} dB, with the affine filter to {figures.plus_minus(*usual[AFFINE])} dB and with the
truth to {figures.plus_minus(*usual[TRUTH])} dB. The standard errors come from drawing photographs, and then images of
each photograph, with replacement.""")

# %% [markdown]
# ## Nearer to each other than to anything simpler?
#
# Good denoisers resemble each other because they all resemble the truth, and denoisers that smooth resemble each
# other because they smooth. So for each pair of architectures we compute a margin: how much nearer the two networks
# are to each other than the first of them is to the truth and to any control.

# %%
simpler = [*rivals, TRUTH]
pairs = []
for first, second in permutations(architectures, 2):
    generator = torch.Generator().manual_seed(seed)
    of_pair = margins(
        distances,
        [first],
        simpler,
        formula=second,
        generator=generator,
    )
    pairs.append(of_pair.assign(network=f"{first} and {second}"))
pair_margins = pd.concat(pairs, ignore_index=True)
start = sure_from(pair_margins)

# %% tags=["hide-input"]
least = pair_margins.loc[pair_margins.groupby(["split", "sigma"], sort=False)["margin"].idxmin()]
columns = {
    "images": least["split"],
    "sigma": least["sigma"],
    "networks": least["network"],
    "between them (dB)": least["to_formula"].map("{:.1f}".format),
    "nearest other": least["control"],
    "margin (dB)": [figures.plus_minus(*pair) for pair in zip(least["margin"], least["error"], strict=True)],
}
show_table(
    least.assign(**columns)[list(columns)],
    name="tab-pairs",
    caption="""At each noise level the pair of architectures with the least margin: the PSNR between the two, what
    else the first of them is nearest to, and how much nearer it is to the other network than to that, ± the standard
    error.""",
)

# %% [markdown]
# ## Another architecture or another seed?
#
# One architecture was trained with several seeds. For it we compare two differences, on the same images: how much
# farther another architecture is than another seed, and how much farther the nearest control is than another
# architecture. If the architecture did not matter, the first difference would be near zero.


# %%
def differences(part):
    """Both differences in dB, and by how much the second is larger."""
    table = part.pivot_table("psnr", ["image", "group"], "what")
    columns = ["another seed", "another architecture", *rivals]
    numbers = torch.tensor(table[columns].to_numpy().copy())
    groups = list(table.index.get_level_values("group"))
    generator = torch.Generator().manual_seed(seed)
    drawn = bootstrap_by_group(numbers, groups, generator)
    found = []
    for means in (numbers.mean(0, keepdim=True), drawn):
        of_seed, of_architecture = means[:, 0], means[:, 1]
        of_control = means[:, 2:].amax(1)
        first = of_seed - of_architecture
        second = of_architecture - of_control
        found.append(torch.stack([first, second, second - first]))
    return found[0][:, 0].tolist(), found[1].std(1).tolist()


what = kinds.where(built_other.notna(), from_networks["other"])
from_last = from_networks.assign(what=what)
from_last = from_last[from_last["one"].map(built) == architectures[-1]]
compared = {}
for case, part in from_last.groupby(["split", "sigma"], sort=False):
    compared[case] = differences(part)

# %% tags=["hide-input"]
rows = []
for (split, sigma), (means, errors) in compared.items():
    first, second, _ = (figures.plus_minus(*pair) for pair in zip(means, errors, strict=True))
    about = {"images": split, "sigma": sigma}
    rows.append(about | {"architecture beyond seed (dB)": first, "control beyond architecture (dB)": second})
show_table(
    pd.DataFrame(rows),
    name="tab-seeds",
    caption=f"""For {architectures[-1]}: how much farther another architecture is than another seed, and how much
    farther the nearest control is than another architecture, ± the standard error. *Farther* means a smaller
    PSNR, and a negative number means nearer.""",
)

# %% [markdown]
# ## What they have in common beyond the formula
#
# The networks do not reach the formula. What they lack could be an accident of each training, or something that they
# share. The correlation of $f - \hat x_{\mathrm{LE}}$ between two networks tells: it is zero if their deviations from
# the formula have nothing to do with each other, and one if they are the same.

# %%
by = ["sigma", "split", "image", "group"]
correlations = error_correlation(distances, architectures, FORMULA, by)
on_test = correlations.xs("test", level="split", drop_level=False)
shared = {}
for sigma, part in on_test.groupby("sigma"):
    shared[sigma] = mean_with_error(part)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
low, high = min(sigmas), max(sigmas)
of_test = by_kind.xs("test", level="split", drop_level=False)


def nearer(sigma):
    """How near the networks are to each other and to the formula at one noise level, as a part of a sentence."""
    at_sigma = of_test[of_test["sigma"] == sigma]
    pair, best = (
        figures.plus_minus(*mean_with_error(at_sigma[at_sigma["kind"] == kind]["psnr"]))
        for kind in ("another architecture", FORMULA)
    )
    return f"agree with each other to {pair} dB and with the formula to {best} dB"


Markdown(f"""On test images, the mean correlation over pairs of architectures and images is
{figures.plus_minus(*shared[low])} at $\\sigma = {low:g}$ and {figures.plus_minus(*shared[high])} at $\\sigma =
{high:g}$. At $\\sigma = {low:g}$ the networks {nearer(low)}; at $\\sigma = {high:g}$ they {nearer(high)}. A large
correlation means that what they lack is the same for all of them.""")

# %% [markdown]
# ## How training approaches the floor
#
# Here we watch new and smaller trainings on their way. Each training goes on from checkpoint to checkpoint, and the
# learning rate decays to zero before each of them. All risks are means over the same draws of the training
# distribution.

# %%
watched = load_images(data, count=count, size=watched_size, channels=1)
best = LocalEquivariantMMSE(watched, physics, patch_size=patch_size)
path = training_path(
    architectures,
    best,
    checkpoints,
    draws=draws,
    sigma_min=sigma_min,
    seed=seed,
    size=network_size,
    batch_size=batch_size,
    lr=learning_rate,
    weighting=training.weighting,
)
excess = path["risk"] - path["floor"]

# %% tags=["hide-input"]
show_figure(
    figures.risk_floor(path),
    name="fig-floor",
    caption=f"""Left: the mean squared error of each network on the training distribution falls toward that of the
    formula. Right: at each checkpoint, the error in excess of the floor against the squared distance to the formula,
    with the standard error of their difference. All points share the same {draws} draws, so they err to one side
    together.""",
    alt="Left, risk against training steps for three networks above the floor; right, excess against distance.",
)

# %% [markdown]
# That the points on the right lie on the line is no evidence that networks agree with the formula. It holds for every
# map that is local and equivariant, trained or not, because the formula is an orthogonal projection. It is a check:
# points off the line would mean that the code of the networks, of the formula or of the sampling is wrong. The same
# is true of the floor on the left. What the figure does show is how fast each architecture approaches it.

# %%
first_step, last_step = min(checkpoints), max(checkpoints)
at_first = excess[path["steps"] == first_step]
at_last = excess[path["steps"] == last_step]
worst_check = (path["rest"].abs() / path["error"]).max()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""From step {first_step} to step {last_step}, the error in excess of the floor falls from
{1e3 * at_first.min():.1f} to {1e3 * at_first.max():.1f} thousandths, depending on the architecture, to
{1e3 * at_last.min():.1f} to {1e3 * at_last.max():.1f}. Excess and distance differ by at most {worst_check:.1f}
standard errors of their difference.""")

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if two architectures were as near to the truth, to the affine filter or to another control
# as they are to each other, or if another architecture changed the denoiser, compared with another seed, by as much as
# a control differs from it.

# %% tags=["hide-input"]
judged = pair_margins[pair_margins["sigma"] >= claimed_from]
if start is None:
    verdict = "On this run they are not nearer to each other than to every control, at any noise level that was tested."
else:
    inside = pair_margins[pair_margins["sigma"] >= start]
    weakest, strongest = inside.loc[inside["margin"].idxmin()], inside.loc[inside["margin"].idxmax()]
    span = f"for $\\sigma$ from {start:g} to {high:g}" if start < high else f"at $\\sigma = {high:g}$"
    verdict = f"""No, they learn nearly the same one, {span}: two architectures are nearer to each other than to the
    truth and to any control, by {figures.plus_minus(weakest.margin, weakest.error)} to
    {figures.plus_minus(strongest.margin, strongest.error)} dB, on training and on test images."""
    below = pair_margins[pair_margins["sigma"] < start]
    if len(below):
        lowest = below.loc[below["margin"].idxmin()]
        verdict += f""" Below that this does not hold for every pair: at $\\sigma = {lowest.sigma:g}$ the margin of
        {lowest.network} is {figures.plus_minus(lowest.margin, lowest.error)} dB over '{lowest.control}'."""
claimed = {case: pair for case, pair in compared.items() if case[1] >= claimed_from}


def span_of(which):
    """The least and the largest of one of the differences from `claimed_from` on, as a part of a sentence."""
    pairs = sorted((means[which], errors[which]) for means, errors in claimed.values())
    return f"{figures.plus_minus(*pairs[0])} to {figures.plus_minus(*pairs[-1])} dB"


smaller = all(means[2] > SURE * errors[2] for means, errors in claimed.values())
counts = "matters less" if smaller else "does not surely matter less"
quoted = ", ".join(f"'{name}'" for name in rivals)
show_answer(f"""{verdict} The controls are {quoted}. The architecture {counts} than what separates the
networks from the controls: from $\\sigma = {claimed_from:g}$ on, another architecture is {span_of(0)} farther from
{architectures[-1]} than another seed is, and the nearest control is {span_of(1)} farther than another architecture. On
test images at $\\sigma = {low:g}$ the networks {nearer(low)}. This is
about {tested} images of each split and networks with the same receptive field of {patch_size} x {patch_size} pixels,
trained for minutes on the same {count} images. That the receptive field and the equivariance are the cause is what the
theory says; this chapter does not vary them.""")

# %% tags=["hide-input"]
assert path.notna().all(axis=None), "every risk must be a number"
y = physics.measure(clean["test"][:2], shown, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y[:1], shown) < 1e-5, "the engine must agree with the formula written out"
for name, denoiser in (networks | {FORMULA: formula}).items():
    moved = denoiser(y, shown).roll((1, 2), (-2, -1)) - denoiser(y.roll((1, 2), (-2, -1)), shown)
    assert moved.abs().max() < 1e-5, f"{name} must commute with translations"
if preset != "smoke":
    assert (path["rest"].abs() < 4 * path["error"]).all(), (
        "the excess over the floor must be the distance to the formula"
    )
statements = {
    f"From sigma = {claimed_from:g} on, every pair of architectures is nearer to each other than to the truth and to "
    f"every control by more than {SURE:g} standard errors, on {split} images.": bool(
        (part.margin > SURE * part.error).all()
    )
    for split, part in judged.groupby("split", sort=False)
}
statements["The error in excess of the floor at least halves for every architecture while its training is watched."] = (
    bool((at_last.to_numpy() < at_first.to_numpy() / 2).all())
)
statements[
    f"From sigma = {claimed_from:g} on, another architecture is farther than another seed by less than the nearest "
    f"control is farther than another architecture, by more than {SURE:g} standard errors."
] = smaller
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(sure_from=start, least_margin=judged["margin"].min(), excess=at_last.max(), shared=shared[low][0])
record(by_architecture=usual["another architecture"][0], by_seed=usual["another seed"][0])

# %% [markdown]
# ## Try it
#
# - `lemmse run 08 -p learning_rate 2.0e-4`: slow trainings are far from the formula, and the error in
#   excess of the floor says how far. The networks are trained anew, which takes minutes.
# - `lemmse run 08 -p checkpoints "[100, 400, 1600]"`: watch the trainings for longer.
# - `lemmse run 08 -p patch_size 9`: the floor is lower, and harder to reach.
