"""The photographs in the wheels of scikit-image, scikit-learn, matplotlib and PyWavelets: real images, no download.

`PHOTOGRAPHS` lists them with their source, license and split. Whole photographs are held out: each belongs to the
training set or to the test set, and gives crops (see `lemmse.data.crops`) to that one alone. The only cat is a training
photograph, and the flower is the living thing of the test set; both splits hold people, rooms and outdoor scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lemmse.checks import check_choice, check_count
from lemmse.data.arguments import check_arguments
from lemmse.data.pixels import in_channels

_DATA_FOLDERS = {  # wheel: (its package, the folder of its data)
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
    "PyWavelets": ("pywt", "data"),
}


@dataclass(frozen=True)
class Photograph:
    """One photograph of a wheel, and what the wheel says about it.

    Attributes:
        name: what `photograph` calls it.
        shows: what one sees on it.
        split: "train" or "test".
        color: whether it has colors; the others are gray.
        height: pixels.
        width: pixels.
        wheel: name of the package on PyPI that carries it.
        file: name of the file in the wheel.
        source: where the wheel says that it has it from.
        license: the terms as the wheel states them for this file, "not stated" where it states none.
    """

    name: str
    shows: str
    split: str
    color: bool
    height: int
    width: int
    wheel: str
    file: str
    source: str
    license: str

    @property
    def path(self) -> Path:
        """The file in the installed wheel."""
        return path_in_wheel(self.wheel, self.file)


def path_in_wheel(wheel: str, file: str) -> Path:
    """Where an installed wheel keeps one of its sample images.

    Args:
        wheel: "scikit-image", "scikit-learn", "matplotlib" or "PyWavelets".
        file: name of the file.

    Raises:
        ValueError: if the wheel is not installed.

    Example:
        >>> path_in_wheel("scikit-image", "brick.png").is_file()
        True
    """
    package, folder = _DATA_FOLDERS[wheel]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"the image {file!r} needs the package {wheel}: pip install {wheel}")
    return Path(spec.submodule_search_locations[0], folder, file)


# Left out on purpose: motorcycle_right.png and the camera of PyWavelets (other copies of scenes that are here),
# clock_motion.png (blurred by motion), ihc.png and cell.png (seen through a microscope), horse.png, logos and charts
# (drawings), text.png and page.png (print), brick.png, grass.png and gravel.png (textures, for `lemmse.data.unseen`).
PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph(
        "astronaut", "a woman in a space suit, indoors", "train", True, 512, 512, "scikit-image", "astronaut.png",
        "NASA Great Images database", "no known copyright restrictions, released into the public domain",
    ),
    Photograph(
        "china", "a pagoda among trees, outdoors", "train", True, 427, 640, "scikit-learn", "china.jpg",
        "danielbuechele on Flickr, photograph 6061409035", "CC BY 2.0",
    ),
    Photograph(
        "chelsea", "the face of a cat, indoors", "train", True, 300, 451, "scikit-image", "chelsea.png",
        "Stefan van der Walt", "CC0",
    ),
    Photograph(
        "motorcycle", "a motorcycle in a garage", "train", True, 500, 741, "scikit-image", "motorcycle_left.png",
        "Middlebury 2014 stereo benchmark (Scharstein and others), left view", "not stated",
    ),
    Photograph(
        "camera", "a man with a camera on a lawn", "train", False, 512, 512, "scikit-image", "camera.png",
        "Lav Varshney", "CC0",
    ),
    Photograph(
        "aero", "fields and trees from the air", "train", False, 512, 512, "PyWavelets", "aero.npz",
        "not stated", "not stated (the wheel is under the MIT license)",
    ),
    Photograph(
        "hubble", "galaxies, from orbit", "train", True, 872, 1000, "scikit-image", "hubble_deep_field.jpg",
        "NASA, HubbleSite", "may be freely used in the public domain",
    ),
    Photograph(
        "retina", "the back of a human eye", "train", True, 1411, 1411, "scikit-image", "retina.jpg",
        "Mikael Häggström, Wikimedia Commons", "CC0 1.0",
    ),
    Photograph(
        "moon", "craters of the Moon", "train", False, 512, 512, "scikit-image", "moon.png",
        "not stated", "not stated (the wheel is under the BSD 3-Clause license)",
    ),
    Photograph(
        "coffee", "a cup of coffee on a table", "test", True, 400, 600, "scikit-image", "coffee.png",
        "Rachel Michetti, by courtesy of Pikolo Espresso Bar", "CC0",
    ),
    Photograph(
        "grace_hopper", "a woman in uniform, indoors", "test", True, 600, 512, "matplotlib", "grace_hopper.jpg",
        "not stated", "not stated (the wheel is under the matplotlib license)",
    ),
    Photograph(
        "flower", "a dahlia in a garden", "test", True, 427, 640, "scikit-learn", "flower.jpg",
        "vultilion on Flickr, photograph 6056698931", "CC BY 2.0",
    ),
    Photograph(
        "rocket", "a rocket on its launch pad at dusk", "test", True, 427, 640, "scikit-image", "rocket.jpg",
        "SpaceX on Flickr, photograph 16511594820", "released in the public domain",
    ),
    Photograph(
        "ascent", "people on an outdoor staircase", "test", False, 512, 512, "PyWavelets", "ascent.npz",
        "public-domain-image.com, accent-to-the-top.jpg", "not stated (the wheel is under the MIT license)",
    ),
    Photograph(
        "coins", "ancient coins in a museum", "test", False, 303, 384, "scikit-image", "coins.png",
        "Brooklyn Museum Collection", "no known copyright restrictions",
    ),
)  # fmt: skip
_BY_NAME = {entry.name: entry for entry in PHOTOGRAPHS}


def photograph(name: str, *, short_side: int | None = None, channels: int | None = None) -> Tensor:
    """One whole photograph, averaged over the largest square blocks that leave its short side at `short_side` or more.

    Args:
        name: of an entry of `PHOTOGRAPHS`.
        short_side: pixels, at least 1; None keeps every pixel. A photograph that is smaller keeps its own size.
        channels: 1 (Rec. 601 gray) or 3 (gray repeated); None keeps the photograph's own.

    Returns:
        (1, channels, H, W) float32 in [0, 1], on the CPU, ready to be measured and restored.

    Raises:
        ValueError: for an unknown name, a bad number, or a wheel that is not installed or lacks the file.

    Example:
        >>> photograph("coffee", short_side=128).shape
        torch.Size([1, 3, 133, 200])
    """
    check_choice(name, _BY_NAME, "photograph")
    check_arguments("train", None, None, channels)
    pixels = in_channels(_pixels(name), channels)
    if short_side is None:
        return pixels.clone()
    block = max(1, min(pixels.shape[2:]) // check_count(short_side, "short_side"))
    return avg_pool2d(pixels, block)


@cache
def _pixels(name: str) -> Tensor:
    """All pixels (1, C, H, W) of a photograph; decoded once a process."""
    from PIL import Image

    path = _BY_NAME[name].path
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                pixels = arrays["data"].astype(np.uint8)
        else:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB" if _BY_NAME[name].color else "L"))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"cannot read the photograph {name!r} at {str(path)!r}: {error}") from None
    batch = torch.from_numpy(pixels).reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2)
    return batch.contiguous().to(torch.float32) / 255
