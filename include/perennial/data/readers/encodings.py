"""Text files as UTF-8, whatever encoding is declared; another one is refused with its line and byte."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.packing import IN_MEMORY, chunks
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec


@contextmanager
def as_utf8(stream: IO[bytes], spec: DatasetSpec, name: str) -> Iterator[IO[bytes]]:
    """The text of a file as UTF-8, up to the dataset's size limit, in a temporary file.

    Raises:
        BatchRefused: it is empty, too large, or not of the declared encoding; with the line and the first wrong byte.
    """
    decoding, size = _Decoding(spec.files.encoding, name), 0
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as text:
        for chunk in chunks(stream):
            size += len(chunk)
            refuse_too_large(size, spec, f"{name}, unpacked,")
            text.write(decoding.utf8(chunk))
        text.write(decoding.utf8(b""))
        if not size:
            raise BatchRefused(f"{name} is empty: land it again with its rows.")
        text.seek(0)
        yield text


class _Decoding:
    """Decodes a file chunk by chunk and counts its lines."""

    def __init__(self, encoding: str, name: str) -> None:
        self.encoding, self.name, self.line = codecs.lookup(encoding).name, name, 1
        self.decoder = codecs.getincrementaldecoder(encoding)()

    def utf8(self, chunk: bytes) -> bytes:
        """The next chunk as UTF-8. An empty one is the end."""
        order_of_bytes = self.decoder.getstate()[1]
        try:
            text = self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = codecs.getincrementaldecoder(self.encoding)()
            before.setstate((b"", order_of_bytes))  # as the mark at the file's beginning says: this may be a later chunk
            self._refuse(before.decode(error.object[: error.start]).count("\n"), error.object[error.start])
        except UnicodeError as error:  # a mark of the order of bytes is missing
            raise BatchRefused(f"{self.name} is not {self.encoding}: {error}. Write it as {self.encoding} and land it again.") from None
        if (zero := text.find("\0")) >= 0:  # UTF-16 without a mark decodes as UTF-8, full of zeros
            self._refuse(text.count("\n", 0, zero), 0)
        self.line += text.count("\n")
        return chunk if self.encoding == "utf-8" else text.encode()

    def _refuse(self, lines: int, byte: int) -> None:
        called = "UTF-8" if self.encoding == "utf-8" else self.encoding
        raise BatchRefused(
            f"{self.name} is not {called}: line {self.line + lines} has the byte 0x{byte:02X}. Write it as {called} and land it again."
        )
