"""Image files as numbers: depths of bits, transparency, orientation, kinds of TIFF, and what broken files say."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from lemmse import checks
from lemmse.data.decoding import decode, is_color


def png(depth: int, kind: int, rows: list[bytes], width: int, **chunks: bytes) -> bytes:
    """A PNG put together by hand: kind 0 gray, 2 color, 3 palette, 4 gray with alpha."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def check(data: bytes, expected: list, atol: float = 1e-6) -> None:
    """One row of gray values, or of colors (3, width)."""
    wanted = torch.tensor(expected, dtype=torch.float32)
    image = decode(data, "name")
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, wanted.reshape(-1, 1, wanted.shape[-1]), rtol=0, atol=atol)
    assert is_color(data) == (len(image) == 3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(1, 0, [b"\x40"], 2, tRNS=b"\0\0"), [1.0, 1.0]),
        (png(1, 0, [b"\x40"], 2, tRNS=b"\0\1"), [0.0, 1.0]),
        (png(2, 0, [b"\x60"], 2, tRNS=b"\0\1"), [1.0, 2 / 3]),
        (png(4, 0, [b"\x5a"], 2, tRNS=b"\0\5"), [1.0, 2 / 3]),
        (png(8, 0, [bytes([5, 51])], 2, tRNS=b"\0\5"), [1.0, 0.2]),
        (png(16, 0, [struct.pack(">3H", 7, 13107, 8)], 3, tRNS=b"\0\7"), [1.0, 0.2, 8 / 65535]),
        (png(8, 4, [bytes([0, 0, 51, 255, 0, 51])], 3), [1.0, 0.2, 0.8]),
        (png(16, 4, [struct.pack(">4H", 0, 0, 13107, 65535)], 2), [1.0, 0.2]),
    ],
)
def test_transparent_gray_lies_on_white_and_stays_gray(data, expected):
    check(data, expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(8, 2, [bytes([1, 2, 3, 51, 0, 255])], 2, tRNS=b"\0\1\0\2\0\3"), [[1, 0.2], [1, 0.0], [1, 1.0]]),
        (
            png(16, 2, [struct.pack(">6H", 300, 600, 900, 13107, 0, 65535)], 2, tRNS=struct.pack(">3H", 300, 600, 900)),
            [[1, 0.2], [1, 0.0], [1, 1.0]],
        ),
        (
            png(8, 3, [bytes([0, 1])], 2, PLTE=bytes([0, 0, 0, 51, 0, 255]), tRNS=b"\0"),
            [[1, 0.2], [1, 0.0], [1, 1.0]],
        ),
        (
            png(8, 3, [bytes([0, 1])], 2, PLTE=bytes([0, 0, 0, 51, 0, 255]), tRNS=b"\x33\xff"),
            [[0.8, 0.2], [0.8, 0.0], [0.8, 1.0]],
        ),
    ],
)
def test_transparent_color_lies_on_white(data, expected):
    check(data, expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_transparency_of_other_formats(kind):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (decode(saved(image, kind), "name") == 1).all()


@pytest.mark.parametrize("white", [255, 300, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("plain", [True, False])
def test_pgm_of_any_depth(white, plain):
    values = np.array([0, white // 3, white], ">u2" if white > 255 else "u1")
    if plain:
        data = f"P2 3 1 {white}\n{' '.join(map(str, values))}\n".encode()
    else:
        data = f"P5 3 1 {white}\n".encode() + values.tobytes()
    check(data, (values / white).tolist(), atol=1e-5)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_precision(kind):
    values = np.array([[0, 1, 40000, 65535]], np.uint16)
    check(saved(Image.fromarray(values), kind), (values[0] / 65535).tolist())


TIFF_VALUES = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2849


def tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_gray_tiff_of_16_bits(order, photometric):
    image = decode(tiff(TIFF_VALUES, byteorder=order, photometric=photometric), "name")
    expected = torch.from_numpy(TIFF_VALUES / 65535).float()[None]
    torch.testing.assert_close(image, 1 - expected if photometric == "miniswhite" else expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_color_tiff_of_16_bits(planar, compression):
    color = np.stack([TIFF_VALUES, TIFF_VALUES[::-1], TIFF_VALUES[:, ::-1]], -1)
    stored = np.moveaxis(color, -1, 0) if planar == "separate" else color
    data = tiff(stored, photometric="rgb", planarconfig=planar, compression=compression)
    torch.testing.assert_close(
        decode(data, "name"), torch.from_numpy(color / 65535).float().permute(2, 0, 1), rtol=0, atol=1 / 255
    )
    assert is_color(data)


def tiff_of_12_bits(compression: int) -> bytes:
    """Two pixels in three bytes, 0x800 and 0xFFF, of a file put together by hand; compression 1 is none."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, compression), (262, 3, 1), (273, 4, 8), (279, 4, 3)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 12) + b"\x80\x0f\xff\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_tiff_of_12_bits():
    check(tiff_of_12_bits(1), [0x800 / 4095, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint32, np.complex64])
def test_pixels_without_a_range_are_refused(dtype):
    with pytest.raises(ValueError, match=r"^cannot read the image 'a\.tif': .*convert the image to 8 or 16 bits$"):
        decode(tiff(np.ones((4, 4), dtype)), "a.tif")


@pytest.mark.parametrize("compression", [34712, 50002, 65000])  # JPEG 2000, JPEG XL, none that exists
def test_a_kind_of_tiff_that_no_one_reads_says_so(compression):
    with pytest.raises(ValueError, match=r"^cannot read the image 'a\.tif': .*(?i:compression|COMPRESSION|codec)") as e:
        decode(tiff_of_12_bits(compression), "a.tif")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "exif", [b"garbage!!", b"", b"MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03", b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30]
)
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_is_ignored(exif):
    check(png(8, 0, [bytes([0, 51])], 2, eXIf=exif), [0.0, 0.2])


def test_broken_exif_is_named_once(monkeypatch, recwarn):
    monkeypatch.setattr(checks, "_warned", set())
    for _ in range(2):
        decode(png(8, 0, [b"\0"], 1, eXIf=b"garbage!!"), "a.png")
    assert ["EXIF data of 'a.png'" in str(warning.message) for warning in recwarn] == [True]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_turns_the_image(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # the right-hand side of the stored image is the bottom
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 8:] = 255
    image = decode(saved(Image.fromarray(pixels), kind, exif=exif), "name")
    assert image.shape[1:] == (16, 8)
    assert image[:, :6].max() < 0.1
    assert image[:, 10:].min() > 0.9


def test_deep_gray_turns_too():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = saved(Image.fromarray(np.array([[0, 65535]], np.uint16)), "PNG", exif=exif)
    check(data, [1.0, 0.0])


@pytest.mark.parametrize("data", [b"", b"no image", png(8, 0, [bytes(100)] * 50, 100)[:60], b"II*\0broken"])
def test_broken_files(data):
    with pytest.raises(ValueError, match=r"^cannot read the image 'x\.png': .+$") as error:
        decode(data, "x.png", 4)
    assert "\n" not in str(error.value)
    assert not is_color(data)
