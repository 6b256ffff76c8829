"""Pictures: one rule makes numbers of them, and what is none is told without being unpacked."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from perennial.encoding import Encoder, Pixels, Tensor, rows_from_columns
from perennial.pictures import MOST_PIXELS, Look, as_png, looked_at, pixels

RNG = np.random.default_rng(5)
GREY, COLORS = RNG.integers(256, size=(6, 4)).astype(np.uint8), RNG.integers(256, size=(6, 4, 3)).astype(np.uint8)


def saved(picture, form="PNG", **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def png_that_says(width, height):
    """The head of a PNG of any size, and nothing of it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_a_picture_of_the_wanted_size_and_mode_is_its_own_numbers():
    """DM-18: PNG loses nothing."""
    assert np.array_equal(pixels(as_png(GREY), (6, 4), "L"), GREY)
    assert np.array_equal(pixels(as_png(COLORS), (6, 4), "RGB"), COLORS)
    assert looked_at(as_png(COLORS)) == Look(4, 6, "RGB", "PNG")


def test_every_kind_of_picture_is_brought_to_the_wanted_one():
    """DM-18: Palettes, one bit, color print, transparency, which shows white, and pictures that a camera held upright."""
    black = Image.new("RGBA", (4, 6), (0, 0, 0, 0))
    assert pixels(saved(black), (6, 4), "L").tolist() == [[255] * 4] * 6
    assert pixels(saved(Image.fromarray(GREY).convert("P")), (6, 4), "L").tolist() == GREY.tolist()
    assert pixels(saved(Image.fromarray(GREY).convert("1")), (6, 4), "RGB").shape == (6, 4, 3)
    assert pixels(saved(Image.fromarray(COLORS).convert("CMYK"), "JPEG"), (3, 2), "L").shape == (3, 2)
    half = np.zeros((6, 4), np.uint8)
    half[:3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned = pixels(saved(Image.fromarray(half), "JPEG", exif=exif, quality=95), (4, 6), "L")
    assert turned[:, 5].mean() > 200
    assert turned[:, 0].mean() < 50


@pytest.mark.parametrize(
    ("tag", "kind"), [(0x0100, 2), (0x010E, 5), (0x8769, 7)], ids=["a text for a width", "a ratio for a text", "no table"]
)
def test_what_else_a_camera_noted_does_not_matter(tag, kind):
    """DM-18: Of its notes, which many cameras write in ways of their own, the turn alone counts."""
    notes = [struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHII", tag, kind, 1, 1)]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(notes)) + b"".join(notes) + bytes(4)
    assert pixels(saved(Image.fromarray(COLORS), "JPEG", exif=exif), (4, 6), "L").shape == (4, 6)
    assert np.array_equal(
        pixels(saved(Image.fromarray(COLORS), "JPEG", exif=exif), (4, 6), "RGB"),
        np.rot90(pixels(saved(Image.fromarray(COLORS), "JPEG"), (6, 4), "RGB"), -1),
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no PNG or JPEG picture"),
        (b"hello", "is no PNG or JPEG picture"),
        (saved(Image.fromarray(GREY), "GIF"), "is no PNG or JPEG picture"),
        (as_png(COLORS)[:60], "is cut or damaged"),
        (saved(Image.fromarray(COLORS), "JPEG")[:300], "is cut or damaged"),
        (png_that_says(10_000, 10_000), f"has 10,000 x 10,000 pixels, and {MOST_PIXELS:,} are the most"),
        (png_that_says(100_000, 100_000), f"has far more than {MOST_PIXELS:,} pixels"),
        (saved(Image.fromarray(np.arange(24, dtype=np.uint16).reshape(6, 4) * 2000)), "has more than 8 bits for a number"),
    ],
    ids=["nothing", "text", "GIF", "cut PNG", "cut JPEG", "many pixels", "a bomb", "16 bits"],
)
def test_what_is_no_picture_is_told(content, said):
    """DM-10: In words, and before a bomb is unpacked."""
    with pytest.raises(ValueError, match=f"^{said}"):
        pixels(content, (6, 4), "L")


def test_pictures_and_arrays_are_tensors():
    """DM-18: The encoder is the same from a table (bytes, arrays) and from a request (base64, lists), and after a trip through JSON."""
    columns = {
        "picture": np.array([as_png(COLORS), None, as_png(GREY)], dtype=object),
        "map": np.fromiter([np.arange(6.0), None, np.array([np.nan] * 5 + [4.0])], dtype=object, count=3),
    }
    encoder = Encoder({"pixels": [Pixels("picture", (6, 4), "RGB")], "maps": [Tensor.fit(columns, "map", (2, 3))]})
    encoded = encoder.encode(columns)
    assert np.allclose(encoded["pixels"][0], COLORS.transpose(2, 0, 1) / 255)
    assert not encoded["pixels"][1].any()
    assert np.allclose(encoded["pixels"][2], np.stack([GREY / 255] * 3))
    known = np.array([*range(6), 4.0])
    assert np.allclose(encoded["maps"][0], ((np.arange(6) - known.mean()) / known.std()).reshape(2, 3), atol=1e-6)
    assert not encoded["maps"][1].any()
    assert encoded["maps"][2][0].tolist() == [0, 0, 0]
    rows = rows_from_columns(columns, ["picture", "map"])
    as_requested = {name: np.fromiter((row[name] for row in rows), dtype=object, count=3) for name in columns}
    again = Encoder.from_json(encoder.to_json())
    assert again == encoder
    for name, tensor in again.encode(as_requested).items():
        assert np.array_equal(tensor, encoded[name])
    with pytest.raises(ValueError, match="reshape"):
        encoder.encode({**columns, "map": np.array([[1.0], None, None], dtype=object)})
