# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Accelerated magnetic resonance imaging
#
# **Question.** A fast scan measures only a fourth or an eighth of the frequencies of an image. Does the formula predict
# what a network makes of such a scan, also at the frequencies that were not measured?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The image $x$ is complex, and the scanner measures $y = M F x + e$: the Fourier transform $F$ of the
# image on the columns that the mask $M$ keeps, with noise of deviation $\sigma$ in the real and in the imaginary part.
# A network sees $z = B y$, and the noise of a patch of $z$ has the covariance $\sigma^2 S$ with the Hermitian matrix
# $S = \Pi B B^H \Pi^\top$, the same at every position. The formula compares whitened patches,
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \quad w_{i,k} \propto e^{-d_{i,k} / 2 \sigma^2}, \\[1ex]
# d_{i,k} = \big\| S^{-1/2} \left( \Pi_m z - \Pi_k B A x_i \right) \big\|^2,
# \end{gathered}
# $$
#
# with $S^{-1/2}$ on the range of $S$. The *agnostic* input is $z = F^H y$: it fills in zeros for what was not measured
# and keeps the noise there. The *aware* input is $z = A^+ y = F^H M y$. The formula is exact against the same problem
# written as a real matrix on stacked real and imaginary parts; the tests check it.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "brain"  # brain (an average brain), or mri_t1 and mri_pd (one person) where LEMMSE_DATA has them
count: int = 72  # N, training slices
size: int = 24  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
accelerations: list[int] = [4, 8]  # how many times fewer columns are measured
center: int = 2  # columns of lowest frequency that are always measured
architecture: str = "PatchMLP"  # of the networks
with_network: list[str] = ["aware", "agnostic"]  # inputs for which networks are trained
network_size: str = "tiny"  # tiny, small, medium or paper (4 million weights)
steps: int = 800  # of training
longer: int = 5  # times as many steps for one more network, of the first acceleration and input
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform from here
sigma_max: float = 0.5  # to here
sigmas: list[float] = [0.05, 0.1, 0.2, 0.4]  # noise levels of the evaluation
shown: float = 0.1  # noise level of the pictures
tested: int = 6  # test slices
few: int = 18  # training slices of the control that has few of them
claimed_from: float = 0.1  # the least noise level at which the claim is made
seed: int = 0  # of the masks, the phases, the weights and the training
noise_seed: int = 1  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
import warnings

import numpy as np
import pandas as pd
import torch

from lemmse import FourierSampling, Linear, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import AFFINE, MEASUREMENT, with_images, with_patch_size
from lemmse.analysis.evaluate import FORMULA, TRUTH, BehindPreInverse, pair_distances, restore_each
from lemmse.analysis.margins import SURE, margin_gains, margins, mean_margins
from lemmse.analysis.second_moments import affine_beside
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.brain import with_smooth_phase
from lemmse.data.groups import image_groups
from lemmse.networks.weights import trained
from lemmse.physics.gallery import cartesian_mask

logging.basicConfig(level=logging.INFO, format="%(message)s")
warnings.filterwarnings("ignore", "images span")  # real and imaginary parts may be negative

# %% [markdown]
# ## Slices of a head, and masks
#
# The slices are magnitudes of an average of 152 heads, smoother than any head. The phase is smooth and synthetic: it
# was drawn, not measured.

# %%
held_out = {"split": "test", "count": tested, "size": size}
magnitudes = load_images(data, count=count, size=size, channels=1)
magnitudes_of_test = load_images(data, channels=1, **held_out)
phases = torch.Generator().manual_seed(seed)
images = with_smooth_phase(magnitudes, phases)  # (N, 2, H, W)
test = with_smooth_phase(magnitudes_of_test, phases)
scans = {}
for acceleration in accelerations:
    drawn = torch.Generator().manual_seed(seed)
    mask = cartesian_mask(size, size, acceleration, center, drawn)
    scans[acceleration] = FourierSampling(mask, complex_images=True)

# %%
inputs = {"aware": "pinv", "agnostic": "identity"}
options = {
    "batch_size": batch_size,
    "lr": learning_rate,
    "sigma_min": sigma_min,
    "sigma_max": sigma_max,
    "weighting": "inverse_error",
}
more = f"{architecture}, {longer} x the steps"
formulas, networks = {}, {}
for acceleration, physics in scans.items():
    for kind, name in inputs.items():
        key = acceleration, kind
        formulas[key] = LocalEquivariantMMSE(
            images,
            physics,
            patch_size=patch_size,
            pre_inverse=name,
        )
        lengths = {architecture: steps} if kind in with_network else {}
        if key == (accelerations[0], with_network[0]):
            lengths[more] = longer * steps
        networks[key] = {
            title: trained(
                architecture,
                images,
                physics,
                patch_size=patch_size,
                size=network_size,
                seed=seed,
                pre_inverse=name,
                steps=length,
                **options,
            )
            for title, length in lengths.items()
        }

# %% [markdown]
# ## Network, formula and controls, frequency by frequency
#
# The error of an estimate can be read frequency by frequency. At the measured ones the scan says something. At the
# others everything comes from the training images. There are four controls: the affine filter, the formula with a
# smaller window, the formula of few training slices, and what the network sees, taken as the answer.


# %%
def spectrum(x, seen):
    """The Fourier coefficients of complex images where `seen`."""
    f = torch.fft.fft2(torch.complex(x[:, 0], x[:, 1]), norm="ortho")
    return torch.view_as_real(f[:, seen])[:, None]


smaller = f"formula, P = {patch_size - 2}"
of_few = f"formula of {few} slices"
frames, pictures = [], {}
for key, formula in formulas.items():
    acceleration, kind = key
    B = formula.pre_inverse
    solvers = {
        FORMULA: formula,
        AFFINE: affine_beside(formula),
        smaller: with_patch_size(formula, patch_size - 2),
        of_few: with_images(formula, images[:few]),
        MEASUREMENT: BehindPreInverse(lambda z, sigma: z, B),
    }
    for title, network in networks[key].items():
        solvers[title] = BehindPreInverse(network, B)
    for restored in restore_each(
        solvers,
        scans[acceleration],
        {"test": test},
        sigmas,
        seed=noise_seed,
    ):
        estimates = restored.estimates | {TRUTH: restored.truth}
        pictures[(*key, restored.sigma)] = estimates
        seen = scans[acceleration].mask.bool()
        for zone, where in {"measured": seen, "not": ~seen}.items():
            parts = {}
            for name, batch in estimates.items():
                parts[name] = spectrum(batch, where)
            about = {
                "split": f"{acceleration} x, {kind}, {zone}",
                "sigma": restored.sigma,
            }
            groups = image_groups(data, **held_out)
            frames.append(pair_distances(parts, about, groups))
pairs = pd.concat(frames, ignore_index=True)

# %% tags=["hide-input"]
level = min(sigmas, key=lambda sigma: abs(sigma - shown))
columns = [MEASUREMENT, architecture, FORMULA, AFFINE, TRUTH]
show_figure(
    figures.gallery(
        {
            f"{acceleration} x\n{kind}": {
                name: pictures[acceleration, kind, level][name][1 % tested].norm(dim=0, keepdim=True)
                for name in columns
                if name in pictures[acceleration, kind, level]
            }
            for acceleration, kind in formulas
        },
        columns,
    ),
    name="fig-mri",
    caption=f"""Magnitudes of one test slice at $\\sigma = {level:g}$, for each acceleration and input. *Measurement*
    is what the network sees, $z = B y$.""",
    alt="Rows for acceleration and input; columns are the measurement, network, formula, affine filter and truth.",
)

# %%
rivals = [
    AFFINE,
    smaller,
    of_few,
    MEASUREMENT,
]
margin_table = margins(
    pairs,
    [architecture, more],
    rivals,
    generator=torch.Generator().manual_seed(noise_seed),
)
with_net = pairs.loc[pairs["one"] == architecture, "split"].unique()
over_zeros = margins(
    pairs[pairs["split"].isin(with_net)],
    [TRUTH],
    [MEASUREMENT],
    formula=architecture,
    generator=torch.Generator().manual_seed(noise_seed),
)

# %% tags=["hide-input"]
unseen = margin_table[margin_table["split"].str.endswith("not")]
truth = pairs[(pairs["other"] == TRUTH) & (pairs["one"].isin([architecture, FORMULA]))]
to_truth = truth.groupby(["split", "sigma", "one"])["psnr"].mean()
show_table(
    pd.DataFrame(
        {
            "scan": line["split"].removesuffix(", not"),
            "σ": f"{line['sigma']:g}",
            "to the formula": f"{line['to_formula']:.1f}",
            "nearest control": line["control"],
            "margin": figures.plus_minus(line["margin"], line["error"]),
            "network to truth": f"{to_truth[line['split'], line['sigma'], architecture]:.1f}",
            "formula to truth": f"{to_truth[line['split'], line['sigma'], FORMULA]:.1f}",
        }
        for _, line in unseen[unseen["network"] == architecture].iterrows()
    ),
    name="tab-mri",
    caption=f"""The frequencies that were not measured: PSNR in dB of the Fourier coefficients, mean over {tested} test
    slices, from network to formula, its margin over the nearest control ± standard error, and from both to the
    truth.""",
)

# %% [markdown]
# What moves the margin? More noise does, and longer training may.

# %% tags=["hide-input"]
measured = {"measured": "measured", "not": "not measured"}
by_level = margin_table.set_index(["split", "network", "sigma"])
show_table(
    pd.DataFrame(
        {
            "scan": split.rpartition(", ")[0],
            "frequencies": measured[split.rpartition(", ")[2]],
            "steps": f"{steps * (longer if network == more else 1):,}",
            **{
                f"σ = {sigma:g}": figures.plus_minus(line.loc[sigma, "margin"], line.loc[sigma, "error"])
                for sigma in sigmas
            },
        }
        for (split, network), line in by_level.groupby(["split", "network"])
        for line in [line.droplevel(["split", "network"])]
    ),
    name="tab-mri-margins",
    caption=f"""Margins in dB ± standard error over {tested} test slices, over noise and training: positive where the
    network is nearer to the formula than to every control.""",
)

# %% tags=["hide-input"]
at_level = pairs[(pairs["other"] == TRUTH) & (pairs["sigma"] == level)]
found = at_level.groupby(["split", "one"])["psnr"].mean().unstack("one")
show_table(
    pd.DataFrame(
        {
            "scan": split.rpartition(", ")[0],
            "frequencies": measured[split.rpartition(", ")[2]],
            **{name: f"{line[name]:.1f}" for name in (FORMULA, smaller, AFFINE, MEASUREMENT)},
        }
        for split, line in found.iterrows()
    ),
    name="tab-mri-truth",
    caption=f"""What can be recovered: PSNR in dB of the Fourier coefficients to those of the truth at
    $\\sigma = {level:g}$, mean over {tested} test slices, for both inputs.""",
)

# %% [markdown]
# ## Several coils
#
# Real scanners have several coils, each of which sees the image through a sensitivity $s_c$ that varies over the image:
# $A^H A = \sum_c \mathrm{diag}(\bar s_c)\, F^H M F\, \mathrm{diag}(s_c)$. With one coil of constant sensitivity this is
# circulant, and the formula commutes with translations. With several it is not: the noise of a patch depends on where
# it was cut, so that the matrix $S_k$ has to be computed for every position $k$. The best map is still local, but no
# longer the same at all positions, and a convolutional network, which is the same everywhere, cannot be it.
#
# A small example with the exact matrix of a real image of 6 x 6 pixels: how much does the output change if the image,
# the measurement and the training images are all shifted by one pixel, and the output is shifted back?

# %%
side = 6
cells = side * side
at, to = np.divmod(np.arange(cells), side)
turns = (np.outer(at, at) + np.outer(to, to)) / side
fourier = np.exp(-2j * np.pi * turns)[at % 2 == 0] / side
sensitivities = {
    "one constant coil": [np.ones(cells)],
    "two coils": [
        0.6 + 0.4 * np.cos(2 * np.pi * to / side),
        0.6 - 0.4 * np.cos(2 * np.pi * to / side),
    ],
}
small = load_images(data, count=6, size=8, channels=1)
small = small[..., 1:-1, 1:-1].double()  # 6 x 6
broken = {}
for name, coils in sensitivities.items():
    rows = [fourier * s for s in coils]
    matrix = np.concatenate([f for r in rows for f in (r.real, r.imag)])
    coil_scan = Linear(torch.as_tensor(matrix), shape=(side, side))
    outputs = []
    for shift in (0, 1):
        moved = small.roll(shift, -1)
        best = LocalEquivariantMMSE(
            moved,
            coil_scan,
            patch_size=3,
            pre_inverse="adjoint",
        )
        outputs.append(best(coil_scan.A(moved[:1]), 0.3).roll(-shift, -1))
    broken[name] = float((outputs[1] - outputs[0]).abs().max())

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {"coils": name, "largest change of a pixel": "0 (rounding)" if value < 1e-9 else f"{value:.3f}"}
        for name, value in broken.items()
    ),
    name="tab-coils",
    caption="""How far the exact formula is from commuting with a translation by one pixel, image range 0 to 1.""",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at the frequencies that were not measured, the network were no nearer to the truth than
# its input is; if, at the largest noise level and with the agnostic input, a control predicted it there as well as the
# formula does; or if longer training did not raise the margin. Where a control is nearer, the answer says so. The
# affine filter is a strong control here: it knows the mean and the covariance of the patches of the heads. With few
# training slices and little noise the formula copies patches of single slices; a network that was trained for minutes
# averages instead.

# %% tags=["hide-input"]
judged = unseen[(unseen["sigma"] >= claimed_from) & (unseen["network"] == architecture)]
ahead = judged[judged["margin"] > SURE * judged["error"]]
least, most = (judged.loc[place] for place in (judged["margin"].idxmin(), judged["margin"].idxmax()))
scan_of = {name: name.removesuffix(", not") for name in judged["split"]}
filled = over_zeros[(over_zeros["sigma"] >= claimed_from) & over_zeros["split"].str.endswith("not")]
least_filled = filled.loc[filled["margin"].idxmin()]
verdict = {0: "No, not for these networks.", len(judged): "Yes."}.get(len(ahead), "In part.")
by_scan = {
    (scan_of[line["split"]], line["sigma"]): figures.plus_minus(line["margin"], line["error"])
    for _, line in judged.iterrows()
}
low, high = min(judged["sigma"]), max(judged["sigma"])
moved_by_noise = "; ".join(
    f"{scan}: {by_scan[scan, low]} dB at $\\sigma = {low:g}$, {by_scan[scan, high]} dB at $\\sigma = {high:g}$"
    for scan in scan_of.values()
)
behind = judged[judged["margin"] <= 0]
nearest = behind["control"].value_counts()
whose = "; ".join(f"{name} ({number} of {len(behind)})" for name, number in nearest.items())
who_is_nearer = f"Where a control is nearer, it is: {whose}." if len(behind) else "No control is nearer."
first_scan = f"{accelerations[0]} x, {with_network[0]}"
first_pairs = pairs[(pairs["split"] == f"{first_scan}, not") & (pairs["sigma"] >= claimed_from)]
resampling = torch.Generator().manual_seed(noise_seed)
longer_training = margin_gains(first_pairs, architecture, more, rivals, generator=resampling).iloc[0]
reached = mean_margins(first_pairs, [more], rivals, generator=resampling).iloc[0]
of_training = figures.plus_minus(longer_training["gain"], longer_training["error"])
if longer_training["gain"] > SURE * longer_training["error"]:
    by_training = f"raises the margin by {of_training} dB"
elif longer_training["gain"] < -SURE * longer_training["error"]:
    by_training = f"lowers the margin by {figures.plus_minus(-longer_training['gain'], longer_training['error'])} dB"
else:
    by_training = f"does not surely change the margin ({of_training} dB)"
the_controls = f"the affine filter, the formula with P = {patch_size - 2}, the {of_few} and its own input"
fills_in = (
    "The network does fill in what was not measured"
    if bool((filled["margin"] > SURE * filled["error"]).all())
    else "It is not sure that the network fills in what was not measured"
)
person = "an average brain" if data == "brain" else "one person"
show_answer(f"""{verdict} At the frequencies that were not measured, for $\\sigma$ from {low:g} to {high:g}, the network
is nearer to the formula than to {the_controls} by {SURE:g} standard errors in {len(ahead) or "none"} of {len(judged)}
cases, with margins from {figures.plus_minus(least["margin"], least["error"])} dB ({scan_of[least["split"]]}, $\\sigma =
{least["sigma"]:g}$) to {figures.plus_minus(most["margin"], most["error"])} dB ({scan_of[most["split"]]}, $\\sigma =
{most["sigma"]:g}$). Noise moves the margin: {moved_by_noise}. {who_is_nearer} Training for {longer} times as many steps
{by_training}, to {figures.plus_minus(reached["margin"], reached["error"])} dB in the mean over these noise levels
({first_scan}). {fills_in}: it is there nearer to the truth than its input is, by
{figures.plus_minus(least_filled["margin"], least_filled["error"])} dB or more. With two coils the exact formula does
not commute with translations (a pixel changes by {broken["two coils"]:.2f}), so that no convolutional network can
follow it. All this is about one {architecture} for each scan with P = {patch_size} and {tested} test slices of {person}
with a synthetic phase.""")

# %% tags=["hide-input"]
assert broken["one constant coil"] < 1e-9, "one constant coil must leave the formula equivariant"
assert broken["two coils"] > 1e-3, "two coils must break equivariance"
assert pairs.notna().all(axis=None), "every distance must be a number"
whole = LocalEquivariantMMSE(images[:6].double(), scans[accelerations[0]], patch_size=size | 1, pre_inverse="pinv")
y = scans[accelerations[0]].measure(images[:1].double(), 1e-4, generator=torch.Generator().manual_seed(noise_seed))
assert float((whole(y, 1e-4) - images[:1]).abs().max()) < 1e-4, "a window of the whole image must find the image"
statements = {
    f"For the scan {scan_of[scan]}, from sigma = {claimed_from:g} on, the network is nearer to the truth at the "
    f"frequencies that were not measured than its input is, by {SURE:g} standard errors in the mean.": bool(
        part["margin"].mean() > SURE * part["error"].mean()
    )
    for scan, part in filled.groupby("split", sort=False)
}
noisy = judged[(judged["sigma"] == high) & judged["split"].str.endswith("agnostic, not")]
statements |= {
    f"For the scan {scan_of[line['split']]}, at sigma = {high:g}, the network is nearer to the formula there than to "
    f"{the_controls}, by {SURE:g} standard errors.": bool(line["margin"] > SURE * line["error"])
    for _, line in noisy.iterrows()
}
if longer > 1:
    statements[
        f"For the scan {first_scan}, {longer} times as many steps raise the margin by {SURE:g} standard errors, in the "
        "mean over these noise levels."
    ] = bool(longer_training["gain"] > SURE * longer_training["error"])
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(least_margin=least["margin"], most_margin=most["margin"], cases_ahead=len(ahead), coils=broken["two coils"])
record(margin=longer_training["before"], margin_longer=longer_training["after"])

# %% [markdown]
# ## Try it
#
# - `lemmse run 18 -p data mri_t1 -p count 60`, where `LEMMSE_DATA` holds slices of one person. The networks are trained
#   anew, which takes minutes.
# - `lemmse run 18 -p center 4 -p accelerations "[4]"`: a denser center.
