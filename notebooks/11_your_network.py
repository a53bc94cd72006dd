# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Your network
#
# **Question.** The denoisers that people use have convolutions of 3 x 3, zero padding and color, and were trained on
# crops of photographs, often without being told the noise level. One gives them whole photographs. Does the formula
# explain what such a network does to a photograph that it never saw?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula, for a picture of any size.** A network that was trained on small crops can be given a large picture,
# because each output pixel depends only on the patch around it. The formula can do the same: it compares the patch
# $\Pi_m y$ of the picture with all patches $\Pi_k x_i$ of the crops,
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} \propto \exp\left(-\|\Pi_m y - \Pi_k x_i\|^2 / 2 \sigma^2\right).
# \end{gathered}
# $$
#
# Zero padding tells a network where the border is. With it, a pixel near the border of the picture competes only with
# pixels of the crops that see the border in the same way, and a pixel inside only with pixels inside.
#
# Everything below works for a network of your own: `probe` finds out what it looks at, `explain` holds it against the
# formula and against the controls of [the first chapter](01_theory_predicts_network.ipynb), and neither needs to know
# how it was built. The page [Run it yourself](../run.md) shows the same from the command line.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
count: int = 200  # N, training crops
crop_size: int = 16  # pixels a side of a crop
short_side: int = 128  # pixels along the short side of the photographs, at least
picture: str = "grace_hopper"  # the photograph that is asked, of the test set
patch_size: int = 5  # the receptive field that the networks are built for
network_size: str = "small"  # tiny, small, or paper (4 million weights)
steps: int = 1500  # of training
batch_size: int = 8  # crops a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.4  # noise level of the pictures, and of the network that is not told it
guessed: list[float] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]  # noise levels that the formula may guess
claimed_from: float = 0.4  # the least noise level at which the claim is made
seed: int = 0  # of weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import BlindMMSE, Denoising, LocalEquivariantMMSE, explain, figures, probe, psnr
from lemmse.analysis.evaluate import FORMULA, TRUTH, formula_error
from lemmse.analysis.explanation import NETWORK
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.crops import Crops
from lemmse.data.photographs import PHOTOGRAPHS, photograph
from lemmse.networks.weights import trained

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## Crops to train on, and a whole photograph to ask
#
# The crops come from the color photographs of the training set. The photograph that we ask is of the test set.

# %%
known = [p.name for p in PHOTOGRAPHS if p.split == "train" and p.color]
whole = {}
for name in known:
    whole[name] = photograph(name, short_side=short_side, channels=3)[0]
images = Crops(whole, crop_size).images(count)
truth = photograph(picture, short_side=short_side, channels=3)
height, width = truth.shape[-2:]

# %% [markdown]
# Two networks are trained: one is told the noise level, the other is *blind*. Both are stacks of convolutions with zero
# padding and a skip connection, as in DnCNN, but shallow: the formula needs a small receptive field to have patches
# enough.


# %%
def train_network(blind):
    """A residual network with zero padding, trained on the crops."""
    return trained(
        "ResNet",
        images,
        Denoising(),
        patch_size=patch_size,
        padding="zeros",
        blind=blind,
        size=network_size,
        steps=steps,
        batch_size=batch_size,
        lr=learning_rate,
        sigma_min=sigma_min,
        weighting="uniform" if blind else "inverse_error",
        seed=seed,
    )


networks = {
    "told sigma": train_network(blind=False),
    "blind": train_network(blind=True),
}

# %% [markdown]
# ## What do the networks look at?
#
# From here on we use no more than that a network is a function of an image, or of an image and $\sigma$. Its
# derivatives and its outputs tell the rest.

# %%
probes = {}
for name, network in networks.items():
    probes[name] = probe(network, channels=3, sigma=shown, sigmas=[shown])

# %% tags=["hide-input"]
looks = pd.DataFrame(
    [
        {
            "network": name,
            "receptive field": f"{found.receptive_field} x {found.receptive_field}",
            "border rule": found.border,
            "shift inside": f"{found.equivariance_inside:.1e}",
            "shift at the border": f"{found.equivariance_border:.1e}",
            "uses sigma": "yes" if found.depends_on_sigma else "no",
        }
        for name, found in probes.items()
    ]
)
show_table(
    looks,
    name="tab-probe",
    caption="""What `probe` finds. A shift of the input instead of the output changes the output by these shares of its
    standard deviation: inside, the networks commute with translations; at the border, zero padding shows.""",
)

# %% [markdown]
# ## The formula for these networks
#
# The receptive field and the border rule that were measured are all that the formula needs to know of the networks.

# %%
measured = probes["told sigma"]
formula = LocalEquivariantMMSE(
    images,
    Denoising(),
    patch_size=measured.receptive_field,
    padding=measured.border,
)

# %%
physics = formula.physics
noise = torch.Generator().manual_seed(seed)
y = physics.measure(truth, shown, generator=noise)
explained = {}
for name, network in networks.items():
    explained[name] = explain(
        network,
        formula,
        y,
        shown,
        truth,
        sigmas=sigmas if name == "told sigma" else None,
        patch_sizes=[],
        generator=torch.Generator().manual_seed(seed + 1),
        progress=False,
    )
told, blind = explained["told sigma"], explained["blind"]

# %% tags=["hide-input"]
columns = ["measurement", "network", "formula", "10 × difference", "truth"]
rows = {}
for name, found in explained.items():
    network, predicted = found.images[NETWORK], found.images[FORMULA]
    difference = figures.magnified_difference(network, predicted)
    shown_images = (found.images["measurement"], network, predicted, difference, found.images[TRUTH])
    rows[name] = dict(zip(columns, shown_images, strict=True))
near = {name: found.distances.query("sigma == @shown").set_index("other").psnr for name, found in explained.items()}
numbers = "; ".join(
    f"{name} {distance[FORMULA]:.1f} dB ({distance['affine filter']:.1f} dB)" for name, distance in near.items()
)
show_figure(
    figures.gallery(rows, columns, cell=1.5),
    name="fig-your-photograph",
    caption=f"""A whole photograph of {height} x {width} pixels, with noise of $\\sigma = {shown:g}$. The networks and
    the formula know {count} crops of {crop_size} x {crop_size} pixels of other photographs, and the formula was not
    fitted to the networks. The fourth column is ten times their difference around middle gray. PSNR between the network
    and the formula, and in parentheses between the network and the affine filter: {numbers}.""",
    alt="Two rows, a network that is told sigma and a blind one: measurement, network, formula, difference, truth.",
)

# %% [markdown]
# ## Nearer to the formula than to simpler explanations?
#
# `explain` also asks the controls: the measurement itself, the best affine filter of the same patch, the formula of
# half and of twice the radius, the formula of a twentieth of the crops, and non-local means. Its standard errors come
# from resampling the squares of a grid on the photograph.

# %% tags=["hide-input"]
nearest = told.pictures()["nearest"]
show_figure(
    nearest.figure,
    name="fig-your-controls",
    caption=f"""The network that is told $\\sigma$, on the whole photograph. {nearest.caption}""",
    alt=nearest.alt,
)

# %% tags=["hide-input"]
both = pd.concat([found.margins.assign(network=name) for name, found in explained.items()], ignore_index=True)
margin = [figures.plus_minus(*pair) for pair in zip(both["margin"], both["error"], strict=True)]
show_table(
    both[["network", "sigma"]].assign(
        **{
            "to the formula (dB)": both["to_formula"].map("{:.1f}".format),
            "nearest control": both["control"],
            "to it (dB)": both["to_control"].map("{:.1f}".format),
            "margin (dB)": margin,
        }
    ),
    name="tab-your-margins",
    caption=f"""How near the networks are to the formula and to the nearest control on the photograph of {height} x
    {width} pixels, and the margin ± its standard error.""",
)

# %% [markdown]
# ## Where they differ
#
# The log density of the training patches, which comes with the formula, tells where to expect a difference.

# %% tags=["hide-input"]
maps = told.pictures()["maps"]
show_figure(
    maps.figure,
    name="fig-your-maps",
    caption=f"""The network that is told $\\sigma$. {maps.caption} At the border the patches hold fewer pixels and their
    density does not compare.""",
    alt=maps.alt,
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
dense, rare = told.density["psnr"].iloc[0], told.density["psnr"].iloc[-1]
Markdown(f"""In the tenth of the pixels whose patches are most like the training patches, network and formula agree to
{dense:.1f} dB; in the tenth least like them, to {rare:.1f} dB.""")

# %% [markdown]
# ## Which training patches made a pixel
#
# For any pixel the formula names its sources, and so predicts where the network has it from.

# %% tags=["hide-input"]
sources = told.pictures()["sources"]
show_figure(
    sources.figure,
    name="fig-your-sources",
    caption=f"""{sources.caption} The rows are the pixels where network and formula differ most, as much as usual, and
    least.""",
    alt=sources.alt,
)

# %% [markdown]
# ## What a blind network should do
#
# A network that is not told the noise level minimizes the error over all levels at once. The formula for it guesses the
# level from the patch itself: it mixes the estimates of all levels, each with the probability that the patch gives it.

# %%
piece = y[..., : min(height, 48), : min(width, 48)]
guessing = BlindMMSE(formula, guessed)(piece)
telling = formula(piece, shown)
price = float(psnr(guessing, telling))

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""On a piece of the photograph, the formula that has to guess $\\sigma$ among {len(guessed)} levels is
{price:.1f} dB from the formula that is told it, while the blind network is {near["blind"][FORMULA]:.1f} dB from the
latter: a noisy patch of {patch_size} x {patch_size} pixels in color tells its noise level well.""")

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if a control were nearer to a network than the formula is, in the range of noise levels that
# the answer names; if this held for crops and not for whole photographs, then the border or the size would matter in a
# way that the formula does not know. The answer is about networks of a small receptive field. A deep denoiser sees tens
# of pixels, and no set of crops is dense among patches of that size: `explain` then tells which smaller $P$ explains it
# best.

# %% tags=["hide-input"]
risk = told.risk.set_index("sigma")["explained"]
above = {sigma: share for sigma, share in risk.items() if sigma >= claimed_from}
show_answer(f"""For the network that is told the noise level: {told.answer[0].lower()}{told.answer[1:]} For the blind
network: {blind.answer[0].lower()}{blind.answer[1:]} From $\\sigma = {claimed_from:g}$ on, the formula explains
{100 * min(above.values()):.0f} % or more of the squared error of the first network. This is about one photograph of
{height} x {width} pixels in color, {count} crops of {crop_size} x {crop_size} pixels, and networks with zero padding
and a receptive field of {measured.receptive_field} x {measured.receptive_field} pixels.""")

# %% tags=["hide-input"]
for name, found in probes.items():
    assert found.receptive_field == patch_size, f"probe must find the field of the network: {name}"
    assert found.border == "zeros", f"probe must find zero padding: {name}"
inside = [(height // 2, width // 2), (height // 3, width // 4)]
wrapped = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
assert formula_error(wrapped, y, shown, inside) < 1e-5, "the engine must agree with the formula written out"
statements = {
    f"At sigma = {row.sigma:g}, the network '{row.network}' is nearer to the formula than to every control by more "
    "than two standard errors, on the whole photograph.": bool(row.margin > 2 * row.error)
    for row in both.itertuples()
    if row.sigma >= claimed_from
}
statements[
    "The formula that guesses the noise level is nearer to the one that is told it than the blind network is."
] = price > near["blind"][FORMULA]
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(least_margin=min(row.margin for row in both.itertuples() if row.sigma >= claimed_from), price=price)
record(blind_margin=float(blind.margins["margin"].iloc[0]), explained=min(above.values()))

# %% [markdown]
# ## Try it
#
# - `lemmse run 11 -p picture coffee -p sigmas "[0.4]"`: another photograph of the test set. The others are `flower` and
#   `rocket`.
# - `lemmse run 11 -p shown 0.1`: with little noise an affine filter explains these networks better.
# - `lemmse explain my_package.my_module:network photograph.png --images crops --sigma 0.2`: your own network, with the
#   folder of the images that it was trained on.
