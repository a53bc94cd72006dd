# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Data set size and patch size
#
# **Question.** How many training images does it take until the best local denoiser no longer recites them, and how
# large should its window be?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** Let $R_N$ be the risk, the mean squared error, of [LE-MMSE](../theory.md) on the $N$ images that it
# is built from, and $R'_N$ its risk on new images. Let $R^\star$ be the least risk on new images of all maps that are
# local and equivariant. If all images are drawn independently from one distribution, then
#
# $$
# \mathbb E R_N \le \mathbb E R_{N+1} \le R^\star \le \mathbb E R'_N,
# $$
#
# on average over training sets. The formula is the best map for its own $N$ images, so it cannot be worse there than
# the map that is best for all images; and it cannot be better on new images than that map. A larger patch size $P$
# lowers $R_N$ and $R^\star$, but not always $R'_N$.
#
# We say that the formula *recites* its training images if it restores them much better than new ones. Images also
# differ in difficulty, so we compare with a control that cannot recite: the best affine filter has only $P^2 + 1$
# numbers. With $A$ and $A'$ its risks on the same training images and new images, we measure the gap
#
# $$
# 10 \log_{10} \frac{R'_N}{R_N} - 10 \log_{10} \frac{A'}{A} \quad \text{in dB},
# $$
#
# and count a pair $(N, P)$ as reciting if its gap is above 3 dB: the formula then restores its training images twice
# as well as their difficulty explains.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = ""  # what load_images takes: a name, or a path; empty: Fashion-MNIST where it is at hand, else photos
counts: list[int] = [10, 40, 160, 640]  # N, training images, growing
patch_sizes: list[int] = [3, 5, 7, 11]  # P, odd, growing
size: int = 16  # pixels a side
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels, growing
recalled: int = 10  # training images of the evaluation, which are in all training sets
tested: int = 12  # test images of the evaluation
network_counts: list[int] = [10, 160]  # N for which a network is trained
network_patch_size: int = 5  # P of the networks
network_size: str = "tiny"  # tiny (30,000 weights), small, medium, or paper (4 million weights)
steps: int = 1000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
seed: int = 0  # of weights, training, noise and resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import pandas as pd
import torch
from IPython.display import Markdown
from tqdm import tqdm

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, controls
from lemmse.analysis.evaluate import FORMULA, TRUTH, compare, formula_error
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import margins, sure_from
from lemmse.analysis.memorization import CELL, MEMORIZED, best_patch_sizes, image_risks, memorized_below, risk_gaps
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.data.sets import is_here

data = data or ("fashion_mnist" if is_here("fashion_mnist") else "photos")
if not recalled <= min(counts):
    raise ValueError(f"recalled must be at most the least of counts, {min(counts)}, got {recalled}")
images = load_images(data, count=max(*counts, *network_counts), size=size, channels=1)
clean = {
    "training": images[:recalled],
    "test": load_images(data, split="test", count=tested, size=size, channels=1),
}
groups = {
    "training": image_groups(data, count=recalled, size=size, channels=1),
    "test": image_groups(data, split="test", count=tested, size=size, channels=1),
}
named = {
    "photos": "crops of photographs, with whole photographs held out for the test",
    "fashion_mnist": "pictures of Fashion-MNIST, which are independent of each other",
}
source = named.get(data, f"images of {data}")

# %% [markdown]
# ## A grid of pairs
#
# For each number of images $N$ and each patch size $P$ we build the formula from the first $N$ images, and the affine
# filter, the control for the difficulty, from all images. All formulas restore the same measurements of training
# images that are in every set, and of test images.

# %%
physics = Denoising()
grid = [(n, p) for p in patch_sizes for n in counts]
tables = []
for n, p in tqdm(grid, desc="pairs (N, P)"):
    affine = AffineMMSE(images, physics, patch_size=p)
    formula = LocalEquivariantMMSE(images[:n], physics, patch_size=p)
    table = image_risks(
        formula,
        affine,
        clean,
        sigmas,
        groups=groups,
        seed=seed,
    )
    tables.append(table)
risks = pd.concat(tables, ignore_index=True)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""The images have {size} × {size} pixels and are {source}. The grid has {len(grid)} pairs; each is
evaluated on {recalled} training images and {tested} test images, at {len(sigmas)} noise levels.""")

# %% [markdown]
# ## Where reciting begins

# %%
resampling = torch.Generator().manual_seed(seed)
gaps = risk_gaps(risks, generator=resampling)
onset = memorized_below(gaps)

# %% tags=["hide-input"]
show_figure(
    figures.cell_maps(gaps, "gap", "gap (dB)", darkest=20, border=MEMORIZED),
    name="fig-gaps",
    caption=f"""The gap between test and training images, in dB, beyond what their difficulty explains; dark is
    wide. Bold numbers are above {MEMORIZED:.0f} dB: there the formula recites. The standard error of a number is
    {gaps.error.median():.1f} dB in the median.""",
    alt="Maps over data set size and patch size of the gap between test and training risk, one for each noise level.",
    chart=figures.map_chart(
        gaps.assign(training=1e3 * gaps.training, test=1e3 * gaps.test),
        "gap",
        "gap (dB)",
        darkest=20,
        border=MEMORIZED,
        details={
            "error": "standard error (dB)",
            "training": "risk × 1000, training images",
            "test": "risk × 1000, test images",
        },
    ),
)

# %% tags=["hide-input"]
levels = onset.rename(columns=lambda p: f"P = {p}").map(figures.rounded, digits=2)
levels = levels.mask(onset.eq(0).to_numpy(), f"< {min(sigmas):g}")
levels = levels.mask(onset.eq(float("inf")).to_numpy(), f"> {max(sigmas):g}")
show_table(
    levels.rename_axis("N").reset_index(),
    name="tab-onset",
    caption="""The noise level $\\sigma$ below which the formula recites, interpolated between the levels of the
    evaluation. The first column holds the number of training images $N$.""",
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
difficulty = gaps.groupby("sigma").difficulty.mean()
Markdown(f"""The affine filter shows how much the two sets of images differ in difficulty. On average over $P$, its
risk on the test images differs from that on the training images by {difficulty.iloc[0]:+.1f} dB at $\\sigma =
{min(sigmas):g}$ and by {difficulty.iloc[-1]:+.1f} dB at $\\sigma = {max(sigmas):g}$; a positive number means that
test images are harder.""")

# %% [markdown]
# As the training set grows, the two risks approach each other. By the inequalities above, the least possible risk
# lies between them, on average over training sets of independent images.

# %% tags=["hide-input"]
middle = sorted(sigmas)[(len(sigmas) - 1) // 2]
some = sorted({patch_sizes[0], patch_sizes[len(patch_sizes) // 2], patch_sizes[-1]})
show_figure(
    figures.risks_over_count(risks[risks.sigma == middle], some),
    name="fig-risks-over-n",
    caption=f"""Risk of the formula on training images and on test images at $\\sigma = {middle:g}$, mean over
    images. Training and test images also differ in difficulty, so that the lines need not meet in one point.""",
    alt="Training and test risk against data set size, for several patch sizes; the lines approach each other.",
)

# %% [markdown]
# ## The best window, and how many patches it finds
#
# A small window misses what is farther away. A large window sees more, but few training patches look like a large
# noisy patch. The *effective number of patches* tells how many share the weight.

# %%
best = best_patch_sizes(risks, generator=resampling)
on_test = risks[risks.split == "test"]
effective = on_test.groupby(CELL).effective.median().reset_index()

# %% tags=["hide-input"]
show_figure(
    figures.cell_maps(effective, "effective", "effective number of patches", log=True),
    name="fig-effective-map",
    caption="""The effective number of patches on test images, median over pixels and images. It is one if a single
    training patch has all the weight.""",
    alt="Maps over data set size and patch size of the effective number of patches on test images.",
    chart=figures.map_chart(effective, "effective", "effective number of patches", log=True),
)

# %% tags=["hide-input"]
show_figure(
    figures.patch_size_choice(risks, best, middle),
    name="fig-choice",
    caption=f"""Left: risk on test images against the patch size at $\\sigma = {middle:g}$, mean and standard error
    over images. Right: the patch size of least test risk; the bars reach from the 5 % to the 95 % quantile when the
    test images are drawn again, with all patch sizes on the same draw.""",
    alt="Left, test risk against patch size for each data set size; right, the best patch size against that size.",
)

# %% [markdown]
# ## Do trained networks recite?
#
# We train a network on the same images, with the same window, for several $N$, and ask two questions. Is the network
# nearer to the formula than to controls that know less? And does it recite as much as the formula does?

# %%
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    size=network_size,
    seed=seed,
)
name = "PatchMLP"
parts, tables = [], []
for n in network_counts:
    first, window = images[:n], {"patch_size": network_patch_size}
    network = training.network(name, first, physics, **window)
    formula = LocalEquivariantMMSE(first, physics, **window)
    rivals = controls(formula, few=min(network_counts))
    solvers = {name: network, FORMULA: formula, **rivals}
    pairs = compare(
        solvers,
        physics,
        clean,
        sigmas,
        seed=seed,
        groups=groups,
    )
    margin = margins(pairs, [name], rivals, generator=resampling)
    tables.append(margin.assign(count=n))
    parts.append(pairs.assign(count=n, patch_size=network_patch_size))
nearness, pairs = pd.concat(tables), pd.concat(parts)

# %% tags=["hide-input"]
to_truth = pairs[(pairs.other == TRUTH) & pairs.one.isin([name, FORMULA, AFFINE])]
key = [*CELL, "split", "image", "group"]
to_truth = to_truth.pivot(index=key, columns="one", values="mse").reset_index()
of_formula, of_network = (
    risk_gaps(to_truth.rename(columns={solver: "risk", AFFINE: "affine_risk"}), generator=resampling)
    for solver in (FORMULA, name)
)
shown = nearness.set_index(["count", "sigma", "split"]).sort_index()
rows = []
for pair in of_formula.itertuples():
    here = shown.loc[(pair.count, pair.sigma)]
    net = of_network[(of_network["count"] == pair.count) & (of_network.sigma == pair.sigma)].iloc[0]
    rows.append(
        {
            "N": pair.count,
            "sigma": pair.sigma,
            "margin, training (dB)": figures.plus_minus(here.margin["training"], here.error["training"]),
            "margin, test (dB)": figures.plus_minus(here.margin["test"], here.error["test"]),
            "gap, formula (dB)": figures.plus_minus(pair.gap, pair.error),
            "gap, network (dB)": figures.plus_minus(net.gap, net.error),
        }
    )
rows.sort(key=lambda row: (row["N"], row["sigma"]))
show_table(
    pd.DataFrame(rows),
    name="tab-networks",
    caption=f"""A {name} with $P = {network_patch_size}$, trained for {steps:,} steps on $N$ images. *Margin*: by
    how much the network is nearer to the formula than to the nearest control, in dB of PSNR; a negative number
    means that a control is nearer. The controls are the measurement, the affine filter, the formula for half and
    double the radius of the window, the formula of the first {min(network_counts)} images where $N$ is larger, and
    non-local means. *Gap*: as [above](#fig-gaps), of the formula and of the
    network. Mean ± standard error.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if the formula restored new images better than its training images, by more than 1 dB beyond
# what their difficulty explains; if more images lowered the risk on training images or raised that on test images; if a
# smaller window or more noise widened the gap; if the best window became smaller as the data grow; or if, where the
# formula recites, networks recited as much. The tests about the difficulty, the window and the noise have a slack of
# three standard errors. That of the best window has the intervals of [the figure](#fig-choice). The others have no
# slack. Where a gap is below 1 dB, we do not test how it depends on $N$, $P$ and $\sigma$.

# %% tags=["hide-input"]
few, many, low, high = min(counts), max(counts), min(sigmas), max(sigmas)
still = int((gaps[(gaps["count"] == many) & (gaps.sigma == low)].gap > MEMORIZED).sum())
reciting = gaps[gaps.gap > MEMORIZED].groupby("sigma").size().reindex(sorted(sigmas), fill_value=0)
chosen = best.pivot(index="sigma", columns="count", values="best")
windows = ", ".join(f"{chosen[few][s]} and {chosen[many][s]} at $\\sigma = {s:g}$" for s in sorted(sigmas))
recited = of_formula.set_index(["count", "sigma"]).gap[min(network_counts), low]
recited_by_network = of_network.set_index(["count", "sigma"]).gap[min(network_counts), low]
errors = [table.set_index(["count", "sigma"]).error[min(network_counts), low] for table in (of_network, of_formula)]
start = sure_from(nearness)
followed = f"At $\\sigma = {high:g}$ at least one network is not clearly nearer to the formula than to every control."
if start is not None:
    levels = f"From $\\sigma = {start:g}$ on" if start < high else f"At $\\sigma = {high:g}$"
    followed = f"{levels} the networks are nearer to the formula than to any control, for every $N$"
    followed += "; at less noise at least one is not." if start > low else "."


def level_text(n, p):
    """The noise level below which the formula recites, as text."""
    level = onset.loc[n, p]
    if level == 0:
        return f"less than {low:g}"
    return f"more than {high:g}" if level > high else f"{level:.2g}"


onsets = "; ".join(
    f"for $P = {p}$, {level_text(few, p)} with $N = {few:,}$ and {level_text(many, p)} with $N = {many:,}$"
    for p in some
)
show_answer(f"""How many images it takes depends on the noise and on the window. The formula recites below these noise
levels $\\sigma$: {onsets}. With $N = {many:,}$ images it still recites at $\\sigma = {low:g}$ for {still} of
{len(patch_sizes)} windows. The best window depends on the noise and on the data, too: with $N = {few}$ and $N =
{many:,}$ images, the patch size of least risk on test images is {windows}. Networks that were trained for {steps:,}
steps recite less than the formula: with $N = {min(network_counts)}$ at $\\sigma = {low:g}$ the gap of the network is
{figures.plus_minus(recited_by_network, errors[0])} dB and that of the formula
{figures.plus_minus(recited, errors[1])} dB. {followed} The controls are: {"; ".join(rivals)}. All
this holds for $\\sigma$ from {low:g} to {high:g} and for images of {size} × {size} pixels that are {source}.""")

# %% tags=["hide-input"]
y = physics.measure(clean["test"][:1], low, generator=torch.Generator().manual_seed(seed))
assert formula_error(formula, y, low) < 1e-5, "the engine must agree with the formula written out"
assert risks.effective.between(0.999, 1.001 * risks["count"] * size**2).all(), "no more patches than there are"
table = gaps.pivot(index=["sigma", "patch_size"], columns="count")
wide = table.gap[few] > 1  # dB
ends = best.pivot(index="sigma", columns="count", values=["low", "high"])
by_patch, by_sigma = (table.gap.stack().unstack(level) for level in ("patch_size", "sigma"))
slack_patch, slack_sigma = (3 * table.error.stack().unstack(level) for level in ("patch_size", "sigma"))
rises = by_patch.diff(axis=1) > -slack_patch
falls = by_sigma.diff(axis=1) < slack_sigma
statements = {
    "No pair restores test images better than training images, by more than 1 dB.": (
        gaps.gap > -1 - 3 * gaps.error
    ).all(),
    "With more images the risk on training images rises.": (table.training[many] > table.training[few])[wide].all(),
    "With more images the risk on test images falls.": (table.test[many] < table.test[few])[wide].all(),
    "A larger window does not narrow the gap.": (rises | (by_patch < 1))[by_patch.columns[1:]].all(axis=None),
    "More noise does not widen the gap.": (falls | (by_sigma < 1))[by_sigma.columns[1:]].all(axis=None),
    f"The best window for N = {many} is nowhere smaller than that for N = {few}, beyond the intervals.": (
        ends.high[many] >= ends.low[few]
    ).all(),
    "Where the formula recites, networks recite less.": (of_network.gap < of_formula.gap)[
        of_formula.gap > MEMORIZED
    ].all(),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    reciting_low=int(reciting[low]),
    reciting_high=int(reciting[high]),
    best_few=int(chosen[few][middle]),
    best_many=int(chosen[many][middle]),
    gap_formula=recited,
    gap_network=recited_by_network,
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 05 -p sigmas "[0.05, 0.1, 1.6]"`: with less noise more pairs recite; with much more noise none does.
# - `lemmse run 05 -p patch_sizes "[1, 3, 5]"`: with $P = 1$ there is nothing to recite, and little to
#   go by.
# - `lemmse run 05 -p data photos`: other images, where Fashion-MNIST is the default.
#
# A light notebook computes one pair, and `lemmse sweep` runs it over a grid of your own:
#
# ```bash
# echo "product: {count: [30, 300], patch_size: [3, 7], seed: [0, 1, 2]}" > grid.yaml
# lemmse sweep notebooks/cells/data_and_patch_size.py grid.yaml --jobs 2
# ```
