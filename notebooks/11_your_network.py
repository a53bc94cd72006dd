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
# formula and against the controls of [the main claim](01_theory_predicts_network.ipynb), and neither needs to know
# how it was built. The page [Run it yourself](../run.md) shows the same from the command line.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 200  # N, training crops
size: int = 24  # pixels a side of a crop
pictures: list[str] = ["grace_hopper", "coffee", "flower"]  # test photographs; the first is asked as a whole
short_side: int = 128  # pixels along the short side of the photographs, at least
piece_size: int = 48  # pixels a side of the pieces of all photographs that are asked at every noise level
patch_size: int = 5  # the receptive field that the networks are built for
network_size: str = "small"  # tiny, small, or paper (4 million weights)
steps: int = 1500  # of training
batch_size: int = 8  # crops a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
sigmas: list[float] = [0.2, 0.4, 0.8]  # noise levels of the evaluation
shown: float = 0.4  # noise level of the whole photograph
guessed: list[float] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]  # noise levels that the formula may guess
claimed_from: float = 0.4  # the least noise level at which the claim is made
seed: int = 0  # of weights, training and noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from IPython.display import Markdown

from lemmse import BlindMMSE, Denoising, LocalEquivariantMMSE, explain, figures, load_images, probe, psnr
from lemmse.analysis.controls import AFFINE
from lemmse.analysis.evaluate import FORMULA, formula_error
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.photographs import photograph
from lemmse.networks.weights import trained

logging.basicConfig(level=logging.INFO, format="%(message)s")

# %% [markdown]
# ## Crops to train on, and photographs to ask
#
# The crops come from photographs of the training set. The photographs that we ask are of the test set: one as a whole,
# and of all of them a piece in the middle.


# %%
def middle(picture):
    """The square of `piece_size` pixels in the middle of a photograph."""
    top, left = ((side - piece_size) // 2 for side in picture.shape[-2:])
    return picture[..., top : top + piece_size, left : left + piece_size]


images = load_images(data, count=count, size=size, channels=3)
whole = {}
for name in pictures:
    whole[name] = photograph(name, short_side=short_side, channels=3)
truth = whole[pictures[0]]
pieces = torch.cat([middle(picture) for picture in whole.values()])
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
            "receptive field": f"{seen.receptive_field} x {seen.receptive_field}",
            "border rule": seen.border,
            "shift inside": f"{seen.equivariance_inside:.1e}",
            "shift at the border": f"{seen.equivariance_border:.1e}",
            "uses sigma": "yes" if seen.depends_on_sigma else "no",
        }
        for name, seen in probes.items()
    ]
)
show_table(
    looks,
    name="tab-probe",
    caption="""What `probe` finds. The columns about shifts compare the output for a shifted input with the shifted
    output, relative to the standard deviation of the output. Inside, the networks commute with translations; at the
    border, zero padding shows.""",
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
of_whole = {}
for name, network in networks.items():
    generator = torch.Generator().manual_seed(seed)
    of_whole[name] = explain(
        network,
        formula,
        y,
        shown,
        truth,
        sigmas=sigmas,
        patch_sizes=[],
        generator=generator,
        progress=False,
    )
found = of_whole["told sigma"]

# %% tags=["hide-input"]
outputs = {name: network(y, shown) for name, network in networks.items()}
predicted, filtered = (found.images[name][None] for name in (FORMULA, AFFINE))


def distance(image, other=predicted, what="formula"):
    """The line under an image."""
    return f"{float(psnr(image, other)):.1f} dB to the {what}"


panels = {
    "measurement": (y, ""),
    "network, told sigma": (outputs["told sigma"], distance(outputs["told sigma"])),
    "network, blind": (outputs["blind"], distance(outputs["blind"])),
    "truth": (truth, ""),
    "formula": (predicted, distance(predicted, truth, "truth")),
    "best affine filter": (filtered, distance(filtered)),
}
figure, axes = figures.new_figure(2, 3, 6.3, 4.6 * height / width)
for axis, (title, (image, note)) in zip([*axes[0], *axes[1]], panels.items(), strict=True):
    figures.draw_image(axis, image[0], title, note)
to_affine = {name: float(psnr(output, filtered)) for name, output in outputs.items()}
numbers = " and ".join(f"{value:.1f} dB ({name})" for name, value in to_affine.items())
show_figure(
    figure,
    name="fig-your-photograph",
    caption=f"""A whole photograph of {height} x {width} pixels, with noise of $\\sigma = {shown:g}$. The networks and
    the formula know {count} crops of {size} x {size} pixels of other photographs, and the formula was not fitted to the
    networks. Under the networks and the filter is their PSNR to the formula. The PSNR of the networks to the affine
    filter is {numbers}.""",
    alt="Above: measurement, a network that is told sigma, a blind one. Below: truth, formula, best affine filter.",
)

# %% [markdown]
# ## Nearer to the formula than to simpler explanations?
#
# `explain` also asks the controls: the measurement itself, the best affine filter of the same patch, the formula of
# half and of twice the radius, the formula of a twentieth of the crops, and non-local means. Its standard errors come
# from resampling the squares of a grid on the pictures. One photograph is asked as a whole; of the others, and of this
# one once more, we ask a piece, which takes less time.

# %%
of_pieces = {}
for name, network in networks.items():
    generator = torch.Generator().manual_seed(seed + 1)
    y_pieces = physics.measure(pieces, shown, generator=generator)
    of_pieces[name] = explain(
        network,
        formula,
        y_pieces,
        shown,
        pieces,
        sigmas=sigmas,
        patch_sizes=[],
        generator=generator,
        progress=False,
    )
told, blind = of_pieces["told sigma"], of_pieces["blind"]

# %% tags=["hide-input"]
nearest = told.pictures()["nearest"]
show_figure(
    nearest.figure,
    name="fig-your-controls",
    caption=f"""The network that is told $\\sigma$, on the pieces of {len(pictures)} photographs. {nearest.caption}""",
    alt=nearest.alt,
)


# %% tags=["hide-input"]
def as_text(margins):
    """Margins for the reader."""
    margin = [figures.plus_minus(*pair) for pair in zip(margins["margin"], margins["error"], strict=True)]
    numbers = {
        "to the formula (dB)": margins["to_formula"].map("{:.1f}".format),
        "nearest control": margins["control"],
        "to it (dB)": margins["to_control"].map("{:.1f}".format),
        "margin (dB)": margin,
    }
    return margins[["network", "asked", "sigma"]].assign(**numbers)


asked = {f"{pictures[0]}, whole": of_whole, f"{len(pictures)} pieces": of_pieces}
margins = pd.concat(
    [
        one.margins.assign(network=name, asked=what)
        for what, explanations in asked.items()
        for name, one in explanations.items()
    ],
    ignore_index=True,
)
show_table(
    as_text(margins),
    name="tab-your-margins",
    caption=f"""How near the networks are to the formula and to the nearest control, and the margin ± its standard
    error: on the whole photograph of {height} x {width} pixels, and on pieces of {piece_size} x {piece_size} pixels of
    {len(pictures)} photographs.""",
)

# %% [markdown]
# ## Where they differ
#
# The log density of the training patches, which comes with the formula, tells where to expect a difference.

# %% tags=["hide-input"]
maps = found.pictures()["maps"]
show_figure(
    maps.figure,
    name="fig-your-maps",
    caption=f"""The network that is told $\\sigma$. {maps.caption} At the border the patches hold fewer pixels and their
    density does not compare.""",
    alt=maps.alt,
)

# %% tags=["remove-input"] jupyter={"source_hidden": true}
dense, rare = found.density["psnr"].iloc[0], found.density["psnr"].iloc[-1]
Markdown(f"""On the whole photograph, network and formula agree to {dense:.1f} dB in the tenth of the pixels whose
patches are most like the training patches, and to {rare:.1f} dB in the tenth whose patches are least like them.""")

# %% [markdown]
# ## Which training patches made a pixel
#
# For any pixel the formula names its sources, and so predicts where the network has it from.

# %% tags=["hide-input"]
sources = found.pictures()["sources"]
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
guessing = BlindMMSE(formula, guessed)(y_pieces[:1])
telling = formula(y_pieces[:1], shown)
price = float(psnr(guessing, telling))
restored = networks["blind"](y_pieces[:1], shown)
to_guessing = float(psnr(restored, guessing))
to_telling = float(psnr(restored, telling))

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"""On a piece of the photograph, the formula that has to guess $\\sigma$ among {len(guessed)} levels agrees to
{price:.1f} dB with the formula that is told it. The blind network agrees to {to_guessing:.1f} dB with the first and to
{to_telling:.1f} dB with the second. Guessing the noise level changes the formula
{"less" if price > to_telling else "more"} than the network differs from it.""")

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, in the range of noise levels that it names, a control were nearer to a network than the
# formula is. If the formula were nearer on the pieces but not on the whole photograph, then the border or the size
# would matter in a way that the formula does not know. The answer is about networks of a small receptive field. A deep
# denoiser sees tens of pixels, and no set of crops is dense among patches of that size: `explain` then tells which
# smaller $P$ explains it best.

# %% tags=["hide-input"]
risk = told.risk.set_index("sigma")["explained"]
judged = [sigma for sigma in sorted(sigmas) if sigma >= claimed_from] or [max(sigmas)]
least_explained = min(risk[sigma] for sigma in judged)
claimed = margins[margins["sigma"].isin(judged)]
on_whole = claimed[claimed["asked"] == f"{pictures[0]}, whole"]
row_of_whole = on_whole.loc[on_whole["margin"].idxmin()]
margin_of_whole = figures.plus_minus(row_of_whole.margin, row_of_whole.error)
show_answer(f"""For the network that is told the noise level: {told.answer[0].lower()}{told.answer[1:]} For the blind
network: {blind.answer[0].lower()}{blind.answer[1:]} These sentences are about the pieces. On the whole photograph,
from $\\sigma = {judged[0]:g}$ on, the least margin of the two networks is {margin_of_whole} dB, over the control
'{row_of_whole.control}'. From that noise level on, the formula explains {100 * least_explained:.0f} % or more of the
squared error of the first network on the pieces. All standard errors come from squares of the same pictures, so they
say nothing of other photographs. This is about {len(pictures)} photographs in color that were held out,
{count} crops of {size} x {size} pixels, and networks with zero padding and a receptive field of
{measured.receptive_field} x {measured.receptive_field} pixels.""")

# %% tags=["hide-input"]
for name, seen in probes.items():
    assert seen.receptive_field == patch_size, f"probe must find the field of the network: {name}"
    assert seen.border == "zeros", f"probe must find zero padding: {name}"
inside = [(height // 2, width // 2), (height // 3, width // 4)]
wrapped = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
assert formula_error(wrapped, y, shown, inside) < 1e-5, "the engine must agree with the formula written out"
statements = {
    f"At sigma = {row.sigma:g}, the network '{row.network}' is nearer to the formula than to every control by more "
    f"than two standard errors, on {row.asked}.": bool(row.margin > 2 * row.error)
    for row in margins.itertuples()
    if row.sigma >= claimed_from
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(least_margin=float(claimed["margin"].min()), price=price)
record(whole_margin=float(row_of_whole.margin), explained=least_explained)

# %% [markdown]
# ## Try it
#
# - `lemmse run 11 -p pictures "['rocket']" -p sigmas "[0.4]"`: another photograph of the test set.
# - `lemmse run 11 -p shown 0.1`: with little noise an affine filter explains these networks better.
# - `lemmse explain my_package.my_module:network photograph.png --images crops --sigma 0.2`: your own network, with the
#   folder of the images that it was trained on.
