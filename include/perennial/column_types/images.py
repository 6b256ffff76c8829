"""Pictures: the bytes of a PNG or JPEG file, in a request and in JSON as base64. A cell is the bytes; `pictures` makes numbers of them.

>>> import numpy as np
>>> from perennial.pictures import as_png
>>> from perennial.specs import Column
>>> digit = Column(name="digit", type="image", shape=(8, 8), mode="L")
>>> given = base64.b64encode(as_png(np.zeros((8, 8), dtype=np.uint8))).decode()
>>> Images().value(given, digit)[:4]
b'\\x89PNG'
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from perennial.column_types.kind import ColumnKind, Declared, Sql, Unfit, UnfitRow, shown
from perennial.pictures import looked_at, pixels

if TYPE_CHECKING:
    import pyarrow as pa

_Read = TypeVar("_Read")
_SMALL = (64, 64)  # brightness and contrast are those of a picture of that size


class Images(ColumnKind):
    """A picture of any size that can be brought to the one that the column declares."""

    name: ClassVar[str] = "image"
    most: ClassVar[int] = 10 << 20

    def meant(self, column: Declared) -> str:
        """What a value is, for sentences."""
        return f"a PNG or JPEG picture of at most {self.limit(column):,} bytes"

    def value(self, given: object, column: Declared) -> Any:
        """The bytes of a picture that is given as base64. Raises Unfit."""
        if type(given) is not str:
            raise Unfit(f"must be {self.meant(column)} as base64, not {shown(given)}")
        if len(given) > 4 * (self.limit(column) // 3 + 1):
            raise Unfit(f"has {3 * len(given) // 4:,} bytes, and it must be {self.meant(column)}")
        try:
            content = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            prefix = ": send it without what stands before the comma" if given.startswith("data:") else ""
            raise Unfit(f"is {shown(given)}, which is no base64{prefix}") from None
        self._check(content, column)
        return content

    def arrow(self, column: Declared) -> pa.DataType:
        """Bytes."""
        import pyarrow as pa

        return pa.binary()

    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """Bytes as they are, or texts of base64; each is decoded once, so that no picture is in a table that cannot be."""
        import pyarrow as pa

        given = values.type
        is_bytes = pa.types.is_binary(given) or pa.types.is_large_binary(given) or pa.types.is_binary_view(given)
        if not (is_bytes or pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_null(given)):
            inside = pa.types.is_struct(given) and given.get_field_index("bytes") >= 0
            declared = f'files=FileForm(fields={{"{column.name}": "NAME.bytes"}})'
            advice = f". Say where it lies, as {declared} in the spec, NAME being what the file calls it" if inside else ""
            raise UnfitRow(0, f"has the type {given}, and it must be {self.meant(column)}{advice}")
        row, parts = 0, []
        for chunk in values.chunks:
            made: list[bytes | None] = []
            for content in chunk.to_pylist():
                try:
                    made.append(None if not content and not is_bytes else self._read(content, column))
                except Unfit as unfit:
                    raise UnfitRow(row, str(unfit)) from None
                row += 1
            parts.append(pa.array(made, pa.binary()))
        return pa.chunked_array(parts, pa.binary())

    def _read(self, content: bytes | str | None, column: Declared) -> bytes | None:
        if isinstance(content, str):
            return bytes(self.value(content, column))
        if content is not None:
            self._check(content, column)
        return content

    def _check(self, content: bytes, column: Declared) -> None:
        """Raises Unfit if the bytes are no picture that can be decoded."""
        if len(content) > self.limit(column):
            raise Unfit(f"has {len(content):,} bytes, and it must be {self.meant(column)}")
        try:
            pixels(content, (column.shape[0], column.shape[1]), column.mode)
        except ValueError as error:
            raise Unfit(str(error)) from None

    def measured(self, values: pa.Array, known: frozenset[str]) -> Mapping[str, pa.Array]:
        """Bytes, width and height; brightness and contrast: mean and standard deviation of the numbers of a small grey one, 0 to 255.

        No table has bytes that are no picture. A line of a log may, whoever wrote it: of those the size is all that is counted.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        content = values.to_pylist()
        looks = [_of_picture(one, looked_at) for one in content]
        grey = [_of_picture(one, lambda picture: pixels(picture, _SMALL, "L").astype(np.float64)) for one in content]
        return {
            "bytes": pc.binary_length(values).cast(pa.int64()),
            "width": pa.array([look and look.width for look in looks], pa.int64()),
            "height": pa.array([look and look.height for look in looks], pa.int64()),
            "brightness": pa.array([None if one is None else float(one.mean()) for one in grey], pa.float64()),
            "contrast": pa.array([None if one is None else float(one.std()) for one in grey], pa.float64()),
        }

    @property
    def logged(self) -> tuple[tuple[str, ...], Callable[[Declared], Sql], str]:
        """Base64."""
        return ("VARCHAR",), lambda column: lambda text, kind: f"try(from_base64({text}))", "no base64"


def _of_picture(content: bytes | None, read: Callable[[bytes], _Read]) -> _Read | None:
    """What is read of a picture; nothing of bytes that are none."""
    try:
        return None if content is None else read(content)
    except ValueError:
        return None
