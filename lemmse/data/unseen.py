"""Images from outside the training set's world, to see where networks and formula go when they are led astray.

Real ones come from files in the scikit-image wheel, so nothing is downloaded; the rest are made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from lemmse.checks import check_choice, check_count
from lemmse.data.photographs import path_in_wheel

_TEXTURES = ("brick.png", "grass.png", "gravel.png")
_FACES = 100  # the first of the faces and non-faces of lfw_subset.npy


def world_images(name: str, count: int, size: int, channels: int, generator: torch.Generator) -> Tensor:
    """`count` images (count, channels, size, size) in [0, 1] of a world of `WORLDS`, gray ones repeated over channels.

    "textures": crops of brick, grass and gravel; "text": of a printed page; "faces": of Labeled Faces in the Wild,
    resized; "uniform noise": independent pixels; "constant": one gray an image; "one pixel": one bright pixel on black.
    Places and values are drawn by the generator. Raises ValueError for another name.
    """
    check_choice(name, WORLDS, "world")
    for value, what in ((count, "count"), (size, "size"), (channels, "channels")):
        check_count(value, what)
    return WORLDS[name](count, size, generator).clamp(0, 1).expand(-1, channels, -1, -1).contiguous()


def _crops(names: tuple[str, ...], block: int) -> Callable[[int, int, torch.Generator], Tensor]:
    """Random crops of gray pictures that are averaged over blocks first, the pictures taking turns."""

    def crops(count: int, size: int, generator: torch.Generator) -> Tensor:
        from PIL import Image

        pictures = [
            torch.from_numpy(np.array(Image.open(path_in_wheel("scikit-image", name)).convert("L"))) for name in names
        ]
        pictures = [avg_pool2d(p[None].float() / 255, block) for p in pictures]
        found = []
        for i in range(count):
            picture = pictures[i % len(pictures)]
            row, col = (int(_integers(max(1, n - size), (), generator)) for n in picture.shape[1:])
            found.append(picture[:, row : row + size, col : col + size])
        return torch.stack(found)

    return crops


def _faces(count: int, size: int, generator: torch.Generator) -> Tensor:
    faces = torch.from_numpy(np.load(path_in_wheel("scikit-image", "lfw_subset.npy"))[:_FACES]).float()
    chosen = torch.randperm(_FACES, generator=generator, dtype=torch.int64, device=generator.device).repeat(
        -(-count // _FACES)
    )[:count]
    return interpolate(faces[chosen, None], (size, size), mode="bicubic", antialias=True)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float32, device=generator.device)


def _integers(below: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(below, shape, generator=generator, dtype=torch.int64, device=generator.device)


def _noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    return _uniform((count, 1, size, size), generator)


def _constant(count: int, size: int, generator: torch.Generator) -> Tensor:
    return _uniform((count, 1, 1, 1), generator).expand(-1, -1, size, size)


def _one_pixel(count: int, size: int, generator: torch.Generator) -> Tensor:
    images = torch.zeros(count, size * size, dtype=torch.float32, device=generator.device)
    images.scatter_(1, _integers(size * size, (count, 1), generator), 1.0)
    return images.reshape(count, 1, size, size)


WORLDS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "textures": _crops(_TEXTURES, 4),
    "text": _crops(("page.png",), 2),
    "faces": _faces,
    "uniform noise": _noise,
    "constant": _constant,
    "one pixel": _one_pixel,
}
