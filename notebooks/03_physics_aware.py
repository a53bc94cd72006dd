# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Physics-aware against physics-agnostic
#
# **Question.** A network can see the measurement $y$ itself, or $z = By$, where the pre-inverse $B$ already undoes
# the operator $A$ in part. Does it help a local network to know the physics?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A solver is called *aware* if it sees $z = By$ with a $B$ that inverts $A$ in part, and *agnostic*
# if it sees the measurement, $B = I$. Let $v$ be the patch of $z$ around the output pixel $m$, $\Pi_k$ the operator
# that cuts out the patch around $k$, and $g$ the Gaussian density. Then the best local and equivariant solver,
# [LE-MMSE](../theory.md), is
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} x_i[k]\, w_{i,k}(v), \\[1ex]
# w_{i,k}(v) \propto g\left(v;\ \Pi_k B A x_i,\ \sigma^2 S_k\right), \\[1ex]
# S_k = \Pi_k B B^\top \Pi_k^\top.
# \end{gathered}
# $$
#
# The pre-inverse changes both what the patches show and the covariance $\sigma^2 S_k$ of their noise. The sum runs
# over the positions $k$ for which the matrices $S_k$ and $S_m$ have the same column space; we say that these positions
# *compete* for $m$.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 200  # N, training images
size: int = 16  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
lambdas: list[float] = [0.01, 1.0]  # of the two Tikhonov inverses of the blur, growing
architecture: str = "PatchMLP"  # one network for each operator and input, all trained alike
network_size: str = "tiny"  # tiny (30,000 weights), small, medium, or paper (4 million weights)
steps: int = 1000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation, growing
tested: int = 6  # training and test images of the evaluation, each
seed: int = 0  # of masks, weights, training, noise and resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import figures, load_images
from lemmse.analysis.controls import AFFINE
from lemmse.analysis.evaluate import FORMULA, TRUTH, BehindPreInverse, compare, formula_error
from lemmse.analysis.experiment import Training, evaluation_images
from lemmse.analysis.margins import sure_from
from lemmse.analysis.pre_inverses import (
    AGNOSTIC,
    BLUR,
    HOLE,
    NETWORK,
    PINV,
    compare_inputs,
    competitions,
    deep_error,
    drawn_on,
    errors_by_region,
    gains,
    input_margins,
    side_by_side,
    solvers_behind,
)
from lemmse.analysis.second_moments import affine_beside, affine_table, noise_covariance
from lemmse.analysis.uncertainty import means_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.physics.gallery import FOURIER

images = load_images(data, count=count, size=size, channels=1)
clean = evaluation_images(images, data, tested)  # "training" and "test"
groups = {
    "training": image_groups(data, count=tested, size=size, channels=1),
    "test": image_groups(data, split="test", count=tested, size=size, channels=1),
}

# %% [markdown]
# ## Three operators, and what a solver may see of them
#
# We hide a square in the center of the image, blur the image with a Gaussian of one pixel, or keep only some columns
# of its Fourier transform. Behind each operator one formula sees the measurement and one sees its pseudo-inverse; the
# blur also has two Tikhonov inverses $A^\top (A A^\top + \lambda I)^{-1}$. For each input we also train a network of
# the same receptive field.

# %%
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)
solvers = solvers_behind(
    images,
    lambdas,
    training,
    architecture,
    patch_size=patch_size,
)
{operator: list(inputs) for operator, inputs in solvers.items()}

# %% [markdown]
# One input has no network here. Behind the pseudo-inverse of the blur a network that was trained like the others did
# not learn; [a table below](#tab-did-not-learn) shows what happened. What the best local solver can do
# with this input is answered by the formula and by the best affine filter.

# %%
pairs = compare_inputs(solvers, clean, sigmas, groups=groups, seed=seed + 1)
gained = gains(pairs, solvers)

# %% [markdown]
# ## What the physics gains
#
# All solvers of an operator restore the same measurements. The gain is the PSNR to the truth of a solver that sees
# $By$, less that of the solver of the same kind that sees $y$.

# %% tags=["hide-input"]
resampling = torch.Generator().manual_seed(seed)
key = ["operator", "split", "solver", "input", "sigma"]
aware = gained[gained.input != AGNOSTIC]
gain = means_by_group(aware, "gain", key, generator=resampling)
on_test = gain[gain.split == "test"]
inputs = list(solvers[BLUR])
show_figure(
    figures.input_lines(on_test, "operator", "solver", inputs=inputs, label="gain (dB)", level=0),
    name="fig-gains",
    caption=f"""Gain over the agnostic solver of the same kind, on test images: mean and standard error over
    {tested} images, resampled by photographs. Above the gray line it helps to see $By$. From left to right: the
    formula, the best affine filter of a patch, and the trained networks.""",
    alt="Gain against sigma for three operators, formula, affine filter and network; the blur's pseudo-inverse loses.",
)

# %% tags=["hide-input"]
middle = sorted(sigmas)[len(sigmas) // 2]
rows = side_by_side(solvers, clean["test"], middle, generator=torch.Generator().manual_seed(seed))
show_figure(
    figures.gallery(rows, list(next(iter(rows.values()))), figures.note_input, cell=1.0),
    name="fig-aware-pictures",
    caption=f"""Test images at $\\sigma = {middle:g}$. Below a formula stands its PSNR to the truth, below a network
    its PSNR to the formula that sees the same input.""",
    alt="For each operator: measurement, agnostic formula, the aware input, formula and network behind it, and truth.",
)

# %% [markdown]
# On training images two of the gains cannot be negative, apart from chance. In inpainting and in Fourier sampling,
# $y$ is made of $z$ and of independent noise where nothing was measured. Whoever sees $z$ could add such noise and
# imitate the agnostic solver, so the best aware solver is at least as good. For a blur there is no such argument: a
# pixel of $z$ is made of more pixels of $y$ than the window holds.

# %% [markdown]
# ## What the pre-inverse does to the noise
#
# The pseudo-inverse of the blur amplifies fine noise until it fills every pixel. Someone who saw the whole image
# could blur it again. A window of a few pixels does not allow that.

# %%
formulas = {
    f"{operator}\n{label}": behind.formula
    for operator in (BLUR, FOURIER)
    for label, behind in solvers[operator].items()
}
covariances, amplified = {}, {}
for label, formula in formulas.items():
    B = formula.pre_inverse
    covariances[label] = noise_covariance(B, patch_size, size, size)
    amplified[label] = float(covariances[label][0, 0].sqrt())

# %% tags=["hide-input"]
show_figure(
    figures.covariances(covariances),
    name="fig-noise-covariances",
    caption="""The covariance $S$ of the noise between the pixels of a patch, row by row, divided by its largest
    entry. Below: the standard deviation of the noise at a pixel in units of $\\sigma$, and the ratio of the largest
    to the smallest eigenvalue of $S$.""",
    alt="Matrices of the noise covariance of a patch for six inputs: diagonal for the agnostic, else striped.",
)

# %% tags=["hide-input"]
show_table(
    affine_table(formulas, sigmas),
    name="tab-affine",
    caption="""The best affine map of a patch, by $\\sigma$: PSNR to the truth in dB on the training images,
    computed from second moments, and in brackets the number of directions of the patch that hold more signal than
    noise.""",
)

# %% [markdown]
# ## A network that did not learn
#
# We also train a network behind the pseudo-inverse of the blur, as the others were trained. We compare it with the
# mean gray value of the training images, which needs no input at all, and with the affine filter of the same input.
#
# Our networks divide their input by one number, its standard deviation at this noise level. So we also compute what is
# left of the image after this division, and which weights the affine filter would need in these units.

# %%
unscaled = solvers[BLUR][PINV].formula
network = training.network(
    architecture,
    images,
    unscaled.physics,
    patch_size=patch_size,
    pre_inverse="pinv",
)
affine = affine_beside(unscaled)
mean_gray = images.mean()
rivals = {
    NETWORK: BehindPreInverse(network, unscaled.pre_inverse),
    AFFINE: affine,
    "mean gray": lambda y, sigma: torch.full_like(y, mean_gray),
}
learned = compare(
    rivals,
    unscaled.physics,
    clean,
    sigmas,
    seed=seed + 1,
    groups=groups,
)

# %%
impulse = torch.zeros(2, 1, size, size)
impulse[0, 0, 0, 0] = 1  # and an empty image
blurred_impulse = unscaled.physics.A(impulse)
image_left, weight_needed = {}, {}
for sigma in sigmas:
    response = affine(blurred_impulse, sigma)
    weight = (response[0] - response[1]).abs().max()
    scales = network.scales(torch.tensor([sigma]))
    image_left[sigma] = float(images.std() * scales.input_scale)
    in_its_units = weight / (scales.input_scale * scales.spread)
    weight_needed[sigma] = float(in_its_units)
largest_weight = float(next(network.body.parameters()).abs().max())

# %% tags=["hide-input"]
resampled = torch.Generator().manual_seed(seed)
to_truth = learned[(learned.other == TRUTH) & (learned.split == "training")]
reached = means_by_group(to_truth, "psnr", ["one", "sigma"], generator=resampled).set_index(["one", "sigma"])
table = to_truth.pivot(index=["sigma", "image", "group"], columns="one", values="psnr").reset_index()
table["learned"] = table[NETWORK] - table["mean gray"]
table["possible"] = table[AFFINE] - table["mean gray"]
learning, possible = (
    means_by_group(table, column, ["sigma"], generator=resampled).set_index("sigma")
    for column in ("learned", "possible")
)
show_table(
    pd.DataFrame(
        {
            "σ": [f"{sigma:g}" for sigma in sigmas],
            "mean gray (dB)": [f"{reached['mean']['mean gray', sigma]:.1f}" for sigma in sigmas],
            "network (dB)": [f"{reached['mean'][NETWORK, sigma]:.1f}" for sigma in sigmas],
            "network gains": [figures.plus_minus(*learning.loc[sigma, ["mean", "error"]]) for sigma in sigmas],
            "affine filter gains": [figures.plus_minus(*possible.loc[sigma, ["mean", "error"]]) for sigma in sigmas],
            "image left (%)": [figures.rounded(100 * image_left[sigma], 2) for sigma in sigmas],
            "weight needed": [figures.rounded(weight_needed[sigma], 2) for sigma in sigmas],
        }
    ),
    name="tab-did-not-learn",
    caption=f"""Behind the pseudo-inverse of the blur, {tested} training images: PSNR to the truth of the mean gray
    value and of the network, and by how much the network and the affine filter of the same input are better than the
    mean gray value, in dB ± standard error. *Image left*: the standard deviation of the image in the scaled input,
    in % of that of the scaled input. *Weight needed*: the largest weight of the affine filter, if it reads the scaled
    input and returns what the body of the network returns.""",
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
noise = covariances[f"{BLUR}\n{PINV}"]
eigenvalues = torch.linalg.eigvalsh(noise)
uneven = float((eigenvalues[-1] / eigenvalues[0]).sqrt())
most = learning["mean"].abs().max()
verdict = (
    f"the network did not learn: at no noise level is it more than {most:.2f} dB from the mean gray value"
    if most < 0.1
    else f"the network gains at most {learning['mean'].max():.1f} dB over the mean gray value"
)
could_gain = " to ".join(
    figures.plus_minus(*possible.loc[sigma, ["mean", "error"]]) for sigma in (max(sigmas), min(sigmas))
)
Markdown(f"""On training images {verdict}. The affine filter of the same input gains {could_gain} dB, so the input
still tells something about the image. The scaling hides it. After the division, the image has
{figures.rounded(100 * max(image_left.values()), 2)} % of the standard deviation of the input at $\\sigma =
{min(sigmas):g}$ and {figures.rounded(100 * min(image_left.values()), 2)} % at $\\sigma = {max(sigmas):g}$; the rest
is amplified noise. The noise is not equally large in all directions of the patch: its standard deviation is
{figures.rounded(uneven, 2)} times as large in the worst direction as in the best. The affine filter uses the best
directions. To do the same, a network needs weights of up to
{figures.rounded(max(weight_needed.values()), 2)} in its own units. The largest weight of its first layer is
{largest_weight:.1f} after {steps:,} steps, each of which moves a weight by about {learning_rate:g} or less.""")

# %% [markdown]
# We conclude that one number cannot scale this input: a network would first have to divide each direction of the patch
# by its own noise, as $S_k^{-1/2}$ does in the formula. We did not train such a network. So this failure says something
# about our networks and their training, and nothing about the formula.

# %% [markdown]
# ## Who competes with whom, and what happens in the hole
#
# Behind a mask, exact zeros tell the solver where it is: only positions with the same pattern of hidden pixels in
# their window compete. The agnostic solver has to guess from the values whether it sees a hole; there all positions
# compete.

# %% tags=["hide-input"]
show_figure(
    figures.competitors(competitions((HOLE, "random inpainting"), size, patch_size, seed=seed)),
    name="fig-strata",
    caption="""Positions of one shade compete with each other and with no others. Behind a random mask almost every
    position is alone, and draws on one pixel of each training image.""",
    alt="Masks, competing positions in shades, and their number: many far from the hole, few at its rim.",
)

# %%
inpainting = solvers[HOLE]
regions = errors_by_region(
    inpainting,
    clean,
    sigmas,
    groups=groups,
    seed=seed + 1,
)
drawn_at = regions[(regions.split == "test") & (regions.sigma == middle)]
drawn = drawn_on(inpainting, drawn_at)

# %% tags=["hide-input"]
names = {
    "region": "region",
    "pixels": "pixels",
    "competing": "competing positions",
    "effective": "effective patches, aware",
    "agnostic": "effective patches, agnostic",
    "gain": "gain (dB)",
}
text = drawn.copy().astype(object)
for column in ("competing", "effective", "agnostic"):
    text[column] = [figures.rounded(value) for value in drawn[column]]
text["gain"] = [f"{value:+.1f}" for value in drawn.gain]
show_table(
    text.rename(columns=names),
    name="tab-drawn",
    caption=f"""Inpainting at $\\sigma = {middle:g}$, test images, by what the window sees. *Clear*: all of it.
    *Rim, seen*: the pixel, but not all. *Rim, hidden*: something, but not the pixel. *Deep*: nothing. A position
    can draw on {count} patches, one of each training image, for every competing position. *Gain*: of the aware
    formula over the agnostic one, mean over images.""",
)

# %% tags=["hide-input"]
by_region = means_by_group(
    regions[regions.split == "test"], "psnr", ["region", "solver", "input", "sigma"], generator=resampling
)
show_figure(
    figures.input_lines(by_region, "region", "solver", inputs=inputs, label="PSNR (dB)"),
    name="fig-rim",
    caption="""Inpainting, test images: PSNR to the truth in the regions of [the table](#tab-drawn), mean and
    standard error. Deep in the hole the aware formula is a constant: the mean of the pixels deep in the hole over
    all training images.""",
    alt="PSNR to the truth against sigma in four regions of inpainting, aware and agnostic, formula and network.",
)

# %% [markdown]
# ## Do the networks follow the formula of their own input?
#
# A network that sees $By$ should be nearer to the formula that sees $By$ than to anything simpler. The controls are
# the affine filter of the same input, the formula of the same input with a smaller window, and the formulas of the
# other inputs.

# %%
nearness = input_margins(pairs, solvers, generator=resampling)
start = sure_from(nearness)

# %% tags=["hide-input"]
margin_text = nearness[nearness.split == "test"].copy()
margin_text["text"] = [figures.plus_minus(m, e) for m, e in zip(margin_text.margin, margin_text.error, strict=True)]
wide = margin_text.pivot(index=["operator", "input"], columns="sigma", values="text")
wide = wide.rename(columns=lambda s: f"{s:g}").reset_index()
wide.columns.name = None
show_table(
    wide,
    name="tab-aware-margins",
    caption=f"""By how much the networks are nearer to the formula of their own input than to the nearest control,
    in dB of PSNR, by $\\sigma$: mean ± standard error over {tested} test images. Where the number is negative, a
    control is nearer.""",
)

# %%
by_solver = (
    gained[gained.input != AGNOSTIC]
    .pivot(
        index=["operator", "input", "split", "sigma", "image"],
        columns="solver",
        values="gain",
    )
    .dropna()
)
difference = by_solver[NETWORK] - by_solver[FORMULA]
apart = difference.groupby("sigma").mean()
spread = difference.abs().groupby("sigma").mean()

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""What a network gains from its input need not be what the formula gains. Image by image, the two gains
differ by {spread.loc[max(sigmas)]:.1f} dB on average at $\\sigma = {max(sigmas):g}$ and by
{spread.loc[min(sigmas)]:.1f} dB at $\\sigma = {min(sigmas):g}$, over the operators and inputs that have networks.
The gain of the networks is {apart.loc[min(sigmas)]:+.1f} dB from that of the formulas at $\\sigma =
{min(sigmas):g}$, on average.""")

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, on training images, the aware formula of inpainting or Fourier sampling had a larger
# risk than the agnostic one, by more than three standard errors. It would also be wrong if, at the middle noise level
# and above, the formula did not lose behind the pseudo-inverse of the blur, by more than two standard errors; or if, at
# some noise level, the best affine map behind it did not have a larger risk on training images than the agnostic one.
# About the networks with other inputs nothing is claimed: they
# were trained for a short time, and [the table](#tab-aware-margins) shows where controls are still nearer to them.

# %%
at_low = {}
for label in (AGNOSTIC, PINV):
    formula = solvers[BLUR][label].formula
    noise = torch.Generator().manual_seed(seed + 1)
    y = formula.physics.measure(clean["test"], min(sigmas), generator=noise)
    voters = formula.posterior(y, min(sigmas)).effective_samples
    at_low[label] = float(voters.median())

# %% tags=["remove-input"] jupyter={"source_hidden": true}
behind_pinv = gain[(gain.operator == BLUR) & (gain.input == PINV)].set_index(["solver", "split", "sigma"])


def gain_text(solver, split, sigma):
    """A gain behind the pseudo-inverse of the blur, with its standard error."""
    return f"{figures.plus_minus(*behind_pinv.loc[(solver, split, sigma), ['mean', 'error']])} dB"


def is_sure(solver, split, sigma, sign):
    """Whether a gain has this sign by more than two standard errors."""
    row = behind_pinv.loc[(solver, split, sigma)]
    return sign * row["mean"] > 2 * row["error"]


loses = [sigma for sigma in sorted(sigmas) if is_sure(FORMULA, "test", sigma, -1)]
wins = [sigma for sigma in sorted(sigmas) if is_sure(FORMULA, "test", sigma, 1)]
recites = (
    min(sigmas) in wins
    and not is_sure(FORMULA, "training", min(sigmas), 1)
    and not is_sure(AFFINE, "test", min(sigmas), 1)
    and at_low[PINV] > at_low[AGNOSTIC]
)
reason = (
    "So the input is not better. The agnostic formula copies from too few patches, which fit training images better "
    "than test images, and the amplified noise makes more patches vote."
    if recites
    else "These numbers do not tell why."
)
Markdown(f"""At $\\sigma = {min(sigmas):g}$ the formula behind the pseudo-inverse of the blur gains
{gain_text(FORMULA, "test", min(sigmas))} on test images. On training images its gain is
{gain_text(FORMULA, "training", min(sigmas))}, and that of the affine filter on the same test images is
{gain_text(AFFINE, "test", min(sigmas))}. The median of the effective number of patches on test images is
{figures.rounded(at_low[AGNOSTIC], 2)} for the agnostic formula and {figures.rounded(at_low[PINV], 2)} behind the
pseudo-inverse. {reason if min(sigmas) in wins else ""}""")

# %% tags=["hide-input"]
strong = inputs[-1]
of_formula = gain[(gain.solver == FORMULA) & (gain.split == "test") & (gain.sigma == middle)]
of_formula = of_formula.set_index(["operator", "input"])
quoted = {place: f"{figures.plus_minus(row['mean'], row.error)} dB" for place, row in of_formula.iterrows()}
hole, fourier, tikhonov = (quoted[place] for place in ((HOLE, PINV), (FOURIER, PINV), (BLUR, strong)))
lost_at = ", ".join(f"{gain_text(FORMULA, 'test', sigma)} at $\\sigma = {sigma:g}$" for sigma in sigmas)
if recites:
    lost_at += f"; the gain at $\\sigma = {min(sigmas):g}$ fits with more patches voting, not with a better input"
sure = nearness[nearness.sigma >= (start or float("inf"))]
if start is None:
    followed = f"""Whether networks follow is not decided here: after {steps:,} steps of training, even at $\\sigma
    = {max(sigmas):g}$ at least one is not clearly nearer to the formula of its own input than to every control."""
else:
    followed = f"""The networks are nearer to the formula of their own input than to any control, by
    {sure.margin.min():.1f} dB or more, for $\\sigma$ of {start:g} and above; at less noise at least one is not."""
show_answer(f"""It depends on what $B$ does to the noise inside a patch. The formula on {tested} test images at
$\\sigma = {middle:g}$ gains {hole} where $B$ erases the noise of hidden pixels, and {fourier} where it erases that
of frequencies that were not measured. The pseudo-inverse of a blur amplifies noise. Behind it the gain of the formula,
where a negative number is a loss, is {lost_at}.
Behind {strong}, which hardly amplifies noise, it gains {tikhonov} at $\\sigma = {middle:g}$. {followed} Behind
the pseudo-inverse of the blur {verdict}, on training images; at $\\sigma = {middle:g}$ the affine filter of the same
input gains {figures.plus_minus(*possible.loc[middle, ["mean", "error"]])} dB over it. The network divides
its input by one number. After that, the standard deviation of the image is
{figures.rounded(100 * image_left[middle], 2)} % of that of the input, and the rest is amplified noise. All this holds
for $\\sigma$ from {min(sigmas):g} to {max(sigmas):g}.""")

# %% tags=["hide-input"]
blurred = solvers[BLUR][AGNOSTIC].formula
y = blurred.physics.measure(clean["test"][:1], middle, generator=torch.Generator().manual_seed(seed))
assert formula_error(blurred, y, middle) < 1e-5, "the engine must agree with the formula"
deep = deep_error(solvers[HOLE][PINV].formula, clean["test"][:2], middle, generator=torch.Generator().manual_seed(seed))
assert deep < 1e-4, "where nothing is seen, the aware formula must be a mean over training images"
assert amplified[f"{BLUR}\n{PINV}"] > 100, "the pseudo-inverse of the blur must amplify the noise"
lost = means_by_group(
    aware[(aware.solver == FORMULA) & (aware.split == "training") & aware.operator.isin([HOLE, FOURIER])],
    "lost",
    ["operator", "sigma"],
    generator=resampling,
)
not_blurred = of_formula.drop(index=BLUR, level="operator")
at_more_noise = [sigma for sigma in sigmas if sigma >= middle]
affine_of = {label: affine_beside(solvers[BLUR][label].formula) for label in (AGNOSTIC, PINV)}
statements = {
    "On training images the aware formula of inpainting and Fourier sampling is not worse than the agnostic one.": (
        lost["mean"] < 3 * lost.error
    ).all(),
    f"On test images at sigma = {middle:g} it is not worse either, by more than three standard errors.": (
        not_blurred["mean"] > -3 * not_blurred.error
    ).all(),
    f"Behind the pseudo-inverse of the blur the formula loses on test images, at every sigma from {middle:g} on.": all(
        sigma in loses for sigma in at_more_noise
    ),
    "The best affine map behind it has the larger risk on the training images, at every noise level.": all(
        affine_of[PINV].risk(sigma) > affine_of[AGNOSTIC].risk(sigma) for sigma in sigmas
    ),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    gain_hole=float(of_formula.loc[(HOLE, PINV), "mean"]),
    gain_fourier=float(of_formula.loc[(FOURIER, PINV), "mean"]),
    gain_pinv=float(of_formula.loc[(BLUR, PINV), "mean"]),
    gain_tikhonov=float(of_formula.loc[(BLUR, strong), "mean"]),
    margin=float(nearness[nearness.sigma == max(sigmas)].margin.min()),
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 03 -p patch_size 9`: a window that is almost wide enough to undo the amplified noise.
# - `lemmse run 03 -p lambdas "[0.1, 10.0]"`: towards the adjoint of the blur, which amplifies nothing.
# - `lemmse run 03 -p count 50`: at the rim of the hole the aware formula has few patches left to draw on.
