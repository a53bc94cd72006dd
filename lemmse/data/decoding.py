"""One image file as numbers: gray or color, any depth of bits with a known range, transparency on white, upright."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lemmse.checks import warn_once

if TYPE_CHECKING:
    from PIL import Image

_GRAY_MODES = ("1", "L", "LA", "La")  # of Pillow, with 8 bits or fewer
_PNG_DEPTH, _PNG_KIND = 24, 25  # where the header has the bits a sample, and 0 or 4 for gray
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION = 258, 262, 284  # tags of TIFF
_NO_RANGE = "have no range of their own: convert the image to 8 or 16 bits"


def decode(data: bytes, name: str, size: int | None = None) -> Tensor:
    """An image file as numbers in [0, 1].

    Gray files of up to 16 bits keep their precision; of color files with 16 bits the upper 8 are read. Transparent
    pixels show white: `alpha x + 1 - alpha`. The orientation of EXIF is applied; EXIF that cannot be read is ignored,
    with a warning. Of files with several pages or frames the first is taken.

    Args:
        data: the content of the file.
        name: of the file, for messages.
        size: None keeps the size; else the image is cropped to a square about its center and averaged to `size` pixels.

    Returns:
        (1, H, W) for gray files, (3, H, W) for the others, float32.

    Raises:
        ValueError: if the file is broken, or of a kind that cannot be read; the message says why.

    Example:
        >>> decode(b"P5 2 1 1023 " + bytes([0, 0, 3, 255]), "two pixels.pgm")
        tensor([[[0., 1.]]])
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = _on_white(_opened(data), name, data)
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BOX)
    except Exception as error:  # Pillow raises what it likes on broken files
        reason = "it is no image" if isinstance(error, UnidentifiedImageError) else str(error).split("\n")[0][:200]
        raise ValueError(f"cannot read the image {name!r}: {reason}") from None
    pixels = torch.from_numpy(np.array(image)).to(torch.float32) / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def is_color(data: bytes) -> bool:
    """Whether a file holds a color image, from its header; False if the header cannot be read.

    Args:
        data: the content of the file.

    Example:
        >>> is_color(b"P6 1 1 255 abc"), is_color(b"P5 1 1 255 a")
        (True, False)
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return not (image.mode in (*_GRAY_MODES, "F") or image.mode.startswith("I") or _is_gray_png(data))
    except Exception:  # Pillow raises what it likes on broken files, and TIFF has kinds that it does not know
        try:
            return data.startswith(_TIFF_MAGIC) and decode(data, "").shape[0] == 3
        except ValueError:
            return False


def _opened(data: bytes) -> Image.Image:
    """The decoded image, by Pillow, or by tifffile where it is a kind of TIFF that Pillow does not read."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        tags = getattr(image, "tag_v2", {})  # of TIFF alone
        if tags.get(_PLANAR_CONFIGURATION) == 2 and max(tags.get(_BITS_PER_SAMPLE, (1,))) > 8:
            return _opened_by_tifffile(data)  # Pillow mixes up the colors of these
        image.load()
    except (UnidentifiedImageError, OSError):
        if not data.startswith(_TIFF_MAGIC):
            raise
        return _opened_by_tifffile(data)
    return image


def _opened_by_tifffile(data: bytes) -> Image.Image:
    """The first page of a TIFF in mode F with values in [0, 255], or RGB, LA or RGBA."""
    import tifffile
    from PIL import Image

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages.first  # a page, whose tags are attributes
        pixels = page.asarray()
        photometric = tifffile.PHOTOMETRIC(page.photometric).name
        kind = f"{page.bitspersample} bits a sample, {photometric}, {tifffile.COMPRESSION(page.compression).name}"
    if pixels.dtype.kind != "u" or page.bitspersample > 16:
        raise ValueError(f"pixels of {pixels.dtype} {_NO_RANGE}")
    if photometric not in ("MINISWHITE", "MINISBLACK", "RGB"):
        raise ValueError(f"this kind of TIFF is not supported ({kind}): save it as PNG")
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    scaled = pixels * (255 / (2**page.bitspersample - 1))
    if photometric == "MINISWHITE":
        scaled = 255 - scaled
    if scaled.ndim == 2:
        return Image.fromarray(scaled.astype(np.float32))
    if scaled.ndim != 3 or scaled.shape[2] not in (2, 3, 4):
        raise ValueError(f"an array of shape {pixels.shape} is no gray or color image")
    return Image.fromarray(np.rint(scaled).astype(np.uint8), {2: "LA", 3: "RGB", 4: "RGBA"}[scaled.shape[2]])


def _on_white(image: Image.Image, name: str, data: bytes) -> Image.Image:
    """The upright image in mode L or RGB, or F with values in [0, 255], its transparent parts white."""
    from PIL import Image

    black_and_white = _range_of_deep_gray(image)
    transparent = image.info.get("transparency")
    if image.format == "PNG":
        transparent = _transparent_value(transparent, depth=data[_PNG_DEPTH])
    image = _upright(image, name)
    if black_and_white is not None:
        black, white = black_and_white
        raw = np.asarray(image, np.float64)
        values = (raw - black) * (255 / (white - black))
        if transparent is not None:
            values[raw == transparent] = 255
        return Image.fromarray(values.clip(0, 255).astype(np.float32))
    if image.mode == "F":
        return image
    gray = image.mode in _GRAY_MODES or _is_gray_png(data)
    if image.mode == "1":
        image = image.convert("L")
    if transparent is not None:
        image.info["transparency"] = transparent
    if transparent is not None or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if gray else "RGB")


def _range_of_deep_gray(image: Image.Image) -> tuple[float, float] | None:
    """What is black and what is white in gray images of 9 to 16 bits; None for images of 8 bits a sample."""
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})  # of TIFF alone
        white = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1
        return (white, 0) if tags.get(_PHOTOMETRIC) == 0 else (0, white)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 0, 65535
    if image.mode == "I" or (image.mode == "F" and image.format is not None):
        raise ValueError(f"pixels of 32 bits or with a sign (mode {image.mode}) {_NO_RANGE}")
    return None


def _is_gray_png(data: bytes) -> bool:
    """Whether the header is that of a PNG without colors: Pillow opens gray of 16 bits with alpha as RGBA."""
    return data.startswith(b"\x89PNG") and data[12:16] == b"IHDR" and data[_PNG_KIND : _PNG_KIND + 1] in (b"\0", b"\4")


def _transparent_value(value: object, depth: int) -> object:
    """The transparent gray or color of a PNG on the scale of the pixels that Pillow gives, which has 8 bits mostly."""
    if isinstance(value, int) and depth in (2, 4):
        return value * 255 // (2**depth - 1)
    if isinstance(value, tuple) and depth == 16:
        return tuple(part >> 8 for part in value)
    return value


def _upright(image: Image.Image, name: str) -> Image.Image:
    """The image turned as its EXIF says."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # broken EXIF says nothing about the pixels, which have been read
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        warn_once(f"EXIF {name}", f"the EXIF data of {name!r} cannot be read ({reason}): the image is taken as upright")
        return image
