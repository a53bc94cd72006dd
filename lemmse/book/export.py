"""What the page "Try it" computes with: images and trained networks, as small files beside its modules.

The page restores images in the browser by the formula, by the best affine filter, and by the networks exported here,
which were trained on the very images that the formula votes with. The Python that a reader copies from the page calls
the functions below, so that it repeats what the page shows.

    manifest.json       what lies where: {"arrays": {name: {"file", "offset", "shape"}}, ...}
    images.bin          training and test images, float32, little-endian
    network-NAME.bin    the tensors of one trained network
"""

from __future__ import annotations

import base64
import json
import math
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lemmse.checks import check_choice, check_count
from lemmse.data.sets import load_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.files import write_atomically
from lemmse.networks.architectures import Solver
from lemmse.networks.weights import trained
from lemmse.physics.base import Physics
from lemmse.physics.gallery import BLUR_STD, gaussian_kernel
from lemmse.physics.operators import Blur, Denoising, Inpainting

DATA = "photos"
SIDE = 28  # pixels
TRAINING = 100  # images that the formula votes with, and that the networks are trained on
TESTED = 12  # test images that a reader can choose
PATCH_SIZE = 5  # P of the networks
STEPS = {"smoke": 3, "quick": 1500, "paper": 6000}  # of training, each network
TRAINED_OPERATORS = ("noise", "blur")  # a painted hole is the reader's own: no network is trained on it
LARGEST_EXPORT = 1_900_000  # bytes, of all that is exported
_STILL_SIGMA = 0.2


def page_images(split: str = "train") -> Tensor:
    """The images of the page, (100, 1, 28, 28) for "train" and (12, 1, 28, 28) for "test", float32 in [0, 1].

    Raises:
        ValueError: for another split.

    Example:
        >>> page_images("test").shape
        torch.Size([12, 1, 28, 28])
    """
    check_choice(split, ("train", "test"), "split")
    return load_images(DATA, split=split, count=TRAINING if split == "train" else TESTED, size=SIDE, channels=1)


def page_physics(operator: str, hidden: str = "") -> Physics:
    """The operator of the page by its name there: "noise", "hole" or "blur".

    Args:
        operator: the name.
        hidden: of "hole", the hidden pixels as in the page's address: base64 of 784 bits, row by row, 1 = hidden.

    Returns:
        `Denoising`, `Inpainting` or `Blur` for images of 28 x 28 pixels.

    Raises:
        ValueError: for another name, or a text that does not hold 784 bits.
    """
    check_choice(operator, ("noise", "hole", "blur"), "operator")
    if operator == "noise":
        return Denoising()
    if operator == "blur":
        return Blur(gaussian_kernel(BLUR_STD, radius=3))
    bits = np.unpackbits(_decoded(hidden, SIDE * SIDE // 8, "hidden pixels"))
    return Inpainting(torch.from_numpy(1 - bits).reshape(SIDE, SIDE))


def page_drawing(pixels: str) -> Tensor:
    """An image (1, 1, 28, 28) that a reader drew or dropped, from the page's address: base64 of 784 gray values.

    Raises:
        ValueError: for a text that does not hold 784 bytes.
    """
    gray = torch.from_numpy(_decoded(pixels, SIDE * SIDE, "gray values").copy())
    return (gray.to(torch.float64) / 255).to(torch.float32).reshape(1, 1, SIDE, SIDE)


def page_noise(seed: int) -> Tensor:
    """Standard normal noise (1, 1, 28, 28) from a seed, the numbers that the page draws.

    Uniform numbers come from the generator mulberry32, normal ones from the transform of Box and Muller, so that
    JavaScript and Python agree.

    Raises:
        ValueError: if the seed is no integer from 0 on.

    Example:
        >>> round(float(page_noise(0)[0, 0, 0, 0]), 4)
        1.6264
    """
    state, word = check_count(seed, "seed", minimum=0), 0xFFFFFFFF

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & word
        mixed = ((state ^ (state >> 15)) * (state | 1)) & word
        mixed ^= (mixed + (((mixed ^ (mixed >> 7)) * (mixed | 61)) & word)) & word
        return ((mixed ^ (mixed >> 14)) + 0.5) / 2**32

    def normal() -> float:
        radius = math.sqrt(-2 * math.log(uniform()))
        return radius * math.cos(2 * math.pi * uniform())

    values = [normal() for _ in range(SIDE * SIDE)]
    return torch.tensor(values, dtype=torch.float64, device="cpu").to(torch.float32).reshape(1, 1, SIDE, SIDE)


def page_network(operator: str, preset: str = "quick", *, progress: bool = True) -> Solver:
    """The PatchMLP of receptive field 5 x 5 that the page runs, from the cache of weights or trained now.

    Args:
        operator: what it was trained to undo, "noise" or "blur".
        preset: of the book: "smoke", "quick" or "paper"; more steps of training each.
        progress: whether a bar shows the training.

    Raises:
        ValueError: for other names.
    """
    check_choice(operator, TRAINED_OPERATORS, "operator of a trained network")
    steps = STEPS[check_choice(preset, STEPS, "preset")]
    return trained(
        "PatchMLP",
        page_images(),
        page_physics(operator),
        patch_size=PATCH_SIZE,
        steps=steps,
        batch_size=8,
        lr=2e-3,
        sigma_min=0.01,
        weighting="inverse_error",
        seed=0,
        progress=progress,
    )


def export_page(book: Path, preset: str) -> None:
    """Write the files that the page loads into `_static/try/data`, and its still picture into `_generated`.

    Args:
        book: the folder of the book's sources.
        preset: of the book, which says how long the networks are trained.

    Raises:
        ValueError: for an unknown preset, or if the files would weigh more than 1.9 MB.
    """
    networks = {name: page_network(name, preset) for name in TRAINED_OPERATORS}
    files: dict[str, dict[str, Tensor]] = {"images.bin": {"training": page_images(), "test": page_images("test")}}
    for name, net in networks.items():
        files[f"network-{name}.bin"] = {f"{name}/{key}": value for key, value in net.state_dict().items()}
    arrays = {}
    for file, tensors in files.items():
        offset = 0
        for key, value in tensors.items():
            arrays[key] = {"file": file, "offset": offset, "shape": list(value.shape)}
            offset += 4 * value.numel()
    manifest = {
        "side": SIDE,
        "preset": preset,
        "steps": STEPS[preset],
        "patch_size": PATCH_SIZE,
        "trained": list(TRAINED_OPERATORS),
        "arrays": arrays,
    }
    contents = {file: b"".join(map(_float32_bytes, tensors.values())) for file, tensors in files.items()}
    contents["manifest.json"] = json.dumps(manifest).encode()
    weight = sum(map(len, contents.values()))
    if weight > LARGEST_EXPORT:
        raise ValueError(f"the data of the page must weigh at most {LARGEST_EXPORT} bytes, got {weight}")
    for file, content in contents.items():
        _write(book / "_static" / "try" / "data" / file, content)
    _draw_still(book / "_generated" / "try_it.png", networks["noise"])


def _float32_bytes(values: Tensor) -> bytes:
    """The values of a tensor, row by row, in little-endian float32."""
    content: bytes = values.detach().cpu().contiguous().numpy().astype("<f4").tobytes()
    return content


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step."""

    def write(to: Path) -> None:
        to.write_bytes(content)

    write_atomically(path, write)


@torch.no_grad()
def _draw_still(path: Path, net: Solver) -> None:
    """The picture that stands in the page where it cannot compute: one image, restored by network and formula."""
    from lemmse import figures

    truth = page_images("test")[:1]
    y = truth + _STILL_SIGMA * page_noise(0)
    formula = LocalEquivariantMMSE(page_images(), Denoising(), patch_size=PATCH_SIZE)
    row = {
        "measurement": y,
        "network": net(y, _STILL_SIGMA),
        "formula": formula(y, _STILL_SIGMA),
        "truth": truth,
    }
    rows = {f"sigma = {_STILL_SIGMA:g}": {name: image[0] for name, image in row.items()}}
    figure = figures.gallery(rows, list(row), figures.note_distance, cell=1.6)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=144)
    _write(path, content.getvalue())


def _decoded(text: str, length: int, what: str) -> np.ndarray:
    """The bytes of a URL-safe base64 text without padding; raises ValueError unless there are `length`."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        content = b""
    if len(content) != length:
        raise ValueError(f"the {what} must be base64 of {length} bytes, got {len(text)} characters")
    return np.frombuffer(content, dtype=np.uint8)
