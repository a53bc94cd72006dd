"""One picture in a file: read it as a batch of one, write one."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from lemmse.checks import check_batch, check_choice, shown
from lemmse.data.decoding import decode
from lemmse.data.pixels import in_channels
from lemmse.files import write_atomically

ENDINGS = (".png", ".tif", ".tiff")  # of pictures that are written: these formats lose nothing


def read_picture(path: str | os.PathLike[str], channels: int | None = None) -> Tensor:
    """A picture at its own size.

    Args:
        path: of an image file.
        channels: 1 (Rec. 601 gray), 3 (gray repeated), or None for its own.

    Returns:
        (1, C, H, W) float32 in [0, 1], on the CPU.

    Raises:
        ValueError: for a file that is missing or no image.

    Example:
        >>> from lemmse.data.photographs import path_in_wheel
        >>> read_picture(path_in_wheel("scikit-image", "coffee.png")).shape
        torch.Size([1, 3, 400, 600])
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"a picture is the path of an image file, got {shown(path)}")
    file = Path(os.fsdecode(path)).expanduser()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the picture {str(file)!r}: {error.strerror}") from None
    return in_channels(decode(data, str(file))[None], channels)


def write_picture(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write a picture with 8 bits a channel; values outside [0, 1] are clipped.

    Args:
        image: (1, C, H, W), C = 1 or 3.
        path: of the file, with one of the `ENDINGS`.

    Raises:
        ValueError: for other shapes and endings, and a folder that cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_picture(torch.full((1, 1, 2, 2), 0.2), Path(folder, "gray.png"))
        ...     read_picture(Path(folder, "gray.png")).max().item()
        0.20000000298023224
    """
    from PIL import Image

    check_batch(image, "a picture")
    if len(image) != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"a picture must be (1, C, H, W) with 1 or 3 channels, got shape {tuple(image.shape)}")
    file = Path(os.fsdecode(path))
    check_choice(file.suffix.lower(), ENDINGS, "ending of a picture")
    pixels = (255 * image[0].detach().cpu().clamp(0, 1)).round().to(torch.uint8).movedim(0, -1).numpy()
    drawn = BytesIO()
    picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    picture.save(drawn, format="PNG" if file.suffix.lower() == ".png" else "TIFF")
    write_atomically(file, lambda to: to.write_bytes(drawn.getvalue()))
