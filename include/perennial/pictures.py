"""Pictures of PNG and JPEG files as numbers, by one rule in training, in serving and in profiles alike.

The rule: a picture is turned as its camera held it, what is transparent shows white, it is brought to the wanted mode (`L`, one number for
each pixel, or `RGB`, three) and then, if it is of another size, to the wanted one (bilinear). Pillow is loaded where a picture is read.

>>> content = as_png(np.array([[0, 255]], dtype=np.uint8))
>>> looked_at(content)
Look(width=2, height=1, mode='L', form='PNG')
>>> pixels(content, (1, 2), "L").tolist()
[[0, 255]]
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

FORMS = ("PNG", "JPEG")
MODES = {"L": 1, "RGB": 3}  # numbers for each pixel
MOST_PIXELS = 32 << 20  # of a picture, whatever few bytes unpack to it
_DEPTHS = ("I", "F")  # modes of more than 8 bits begin so: Pillow would cut their values at 255


class Look(NamedTuple):
    """What the head of a picture says."""

    width: int
    height: int
    mode: str  # as Pillow calls it, such as L, RGB, RGBA or P
    form: str  # PNG or JPEG


def looked_at(content: bytes) -> Look:
    """Size and mode of a picture, read from its first bytes.

    Raises ValueError, whose message is what follows a name in a sentence, such as `is no PNG or JPEG picture`.
    """
    with _opened(content) as picture:
        return Look(picture.width, picture.height, picture.mode, str(picture.format))


def pixels(content: bytes, size: tuple[int, int], mode: str) -> npt.NDArray[np.uint8]:
    """A picture as whole numbers from 0 to 255.

    Args:
        content: the bytes of a PNG or JPEG file.
        size: height and width.
        mode: `L` or `RGB`.

    Returns:
        [height, width], and of RGB [height, width, 3].

    Raises:
        ValueError: it is no such picture, is cut or damaged, has more than MOST_PIXELS, or more than 8 bits for a number.
    """
    from PIL import Image

    with _opened(content) as picture:
        whole = _as_held(picture)
        if whole.mode in ("RGBA", "LA", "PA") or "transparency" in whole.info:
            seen = whole.convert("RGBA")
            whole = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
        whole = whole.convert(mode)
        height, width = size
        return np.asarray(whole if whole.size == (width, height) else whole.resize((width, height), Image.Resampling.BILINEAR))


def as_png(values: npt.NDArray[np.uint8]) -> bytes:
    """Whole numbers from 0 to 255, [height, width] or [height, width, 3], as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(out, "PNG")
    return out.getvalue()


def _as_held(picture: Image) -> Image:
    """A picture turned as its camera held it. Pillow's own way also writes anew what else the camera noted, and breaks at much of it."""
    from PIL import ExifTags, Image

    picture.load()
    turns = Image.Transpose
    turned = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turned is None else picture.transpose(turned)


class _Unfit(ValueError):
    """What is said of a picture that is whole."""


@contextmanager
def _opened(content: bytes) -> Iterator[Image]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own limit is another one, and a hint on what is odd helps nobody here
            with Image.open(io.BytesIO(content), formats=FORMS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise _Unfit(f"has {picture.width:,} x {picture.height:,} pixels, and {MOST_PIXELS:,} are the most")
                if picture.mode.startswith(_DEPTHS):
                    raise _Unfit("has more than 8 bits for a number: write it with 8")
                yield picture
    except UnidentifiedImageError:
        raise ValueError("is no PNG or JPEG picture") from None
    except Image.DecompressionBombError:
        raise ValueError(f"has far more than {MOST_PIXELS:,} pixels, which are the most") from None
    except _Unfit:
        raise
    except Exception as error:  # noqa: BLE001  Pillow raises of every kind on bytes that mean nothing
        raise ValueError(f"is cut or damaged ({error})") from None
