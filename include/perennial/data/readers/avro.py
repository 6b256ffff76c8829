"""Avro: records block by block, in the types of the file's schema, nested ones as they are."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import fastavro
import pyarrow as pa

from perennial.data.readers.limits import refuse_too_large
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "header",
        "fields": [
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
        ],
    }
)  # after its first four bytes
_MAGIC = b"Obj\x01"
_PLAIN: dict[str, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: dict[str, pa.DataType] = {
    "uuid": pa.string(),
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "timestamp-nanos": pa.timestamp("ns", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "local-timestamp-nanos": pa.timestamp("ns"),
}  # that Arrow takes as they are stored
_DIGITS = 38  # of a decimal that has 128 bits
_LARGEST = (1 << 31) - 1  # bytes of a block, as the format's own library has it
_MOST_FIELDS = 10_000  # of all records together
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)  # from bytes that mean nothing


def read_avro(file: IO[bytes], spec: DatasetSpec, name: str) -> pa.Table:
    """The rows of an Avro file that unpacks to no more than the dataset's limit.

    Raises:
        BatchRefused: it is too large, or a field of it may have several types.
        EOFError: it is cut.
        pyarrow.ArrowInvalid: it is no Avro file, is packed in a way that is not known, or is damaged.
    """
    stream = _Bytes(file)
    header, schema = _header(stream)
    fields = _Fields(schema, name).arrow()
    codec = header["meta"].get("avro.codec", b"null").decode("ascii", "replace")
    if codec not in _UNPACKED:
        raise pa.ArrowInvalid(f"its blocks are packed with {codec!r}, and known are {', '.join(_UNPACKED)}")
    stored, size, rows = _as_stored(schema), 0, 0
    batches = []
    for count, packed in _blocks(stream, header["sync"]):
        block = _UNPACKED[codec](packed, min(spec.max_batch_bytes + 1 - size, _LARGEST))
        size, rows = size + len(block), rows + count
        refuse_too_large(max(size, rows * max(1, len(fields))), spec, f"{name}, unpacked,")  # a record may have no bytes
        records = _records(block, count, stored)
        try:
            batches.append(pa.RecordBatch.from_pylist(records, schema=fields))
        except (pa.ArrowException, OverflowError) as error:  # a number that no clock has, or a default of another type
            raise pa.ArrowInvalid(f"a record cannot be read ({error})") from None
    return pa.Table.from_batches(batches, fields)


def _header(file: _Bytes) -> tuple[dict[str, Any], Any]:
    """What stands before the blocks, and the schema in it."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise pa.ArrowInvalid("it is no Avro file")
    try:
        header: Any = fastavro.schemaless_reader(file, _HEADER, None)  # type: ignore[arg-type]  # it reads and no more
        schema = fastavro.parse_schema(json.loads(header["meta"]["avro.schema"]))
    except EOFError:
        raise
    except (*_UNREADABLE, fastavro.schema.SchemaParseException) as error:
        raise pa.ArrowInvalid(f"its schema cannot be read ({error or type(error).__name__})") from None
    return header, schema


class _Bytes:
    """A file that is never asked for more than it has: Python would make room for whatever length its bytes claim."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left = file, file.seek(0, 2)
        file.seek(0)

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        piece = self.file.read(max(0, min(size, self.left)))
        self.left -= len(piece)
        return piece


class _Fields:
    """The fields of an Avro schema as Arrow types."""

    def __init__(self, schema: Any, name: str) -> None:
        self.schema, self.name = schema, name
        self.named: dict[str, Any] = {}
        self.count = 0

    def arrow(self) -> pa.Schema:
        """One field for each column.

        Raises:
            BatchRefused: a field may have several types, or holds itself.
            pyarrow.ArrowInvalid: its records are no rows.
        """
        try:
            rows = self._type(self.schema, "", ())
        except _UNREADABLE as error:
            if isinstance(error, pa.ArrowInvalid):
                raise
            raise pa.ArrowInvalid(f"its schema cannot be read ({error or type(error).__name__})") from None
        if not pa.types.is_struct(rows) or not rows.num_fields:
            raise pa.ArrowInvalid("its schema is that of no record with fields")
        return pa.schema(list(rows))

    def _type(self, node: Any, path: str, above: tuple[str, ...]) -> pa.DataType:
        if isinstance(node, list):
            return self._one_of(node, path, above)
        if isinstance(node, str):
            return _PLAIN[node] if node in _PLAIN else self._type(self.named[node], path, above)
        kind = node["type"]
        if "name" in node:
            if node["name"] in above:
                raise BatchRefused(f"{self.name}: {path} holds records like the one that it lies in: a row of a table has so many columns.")
            self.named[node["name"]] = node
        if kind in ("record", "error"):
            return self._record(node, path, above)
        if kind == "map":
            return pa.map_(pa.string(), self._type(node["values"], path, above))
        if kind != "array":
            return _leaf(node) or self._type(kind, path, above)
        items = self._type(node["items"], path, above)
        if _takes_no_bytes(items):  # a few bytes could then stand for any number of them
            raise pa.ArrowInvalid(f"{path} has items without a value")
        return pa.list_(items)

    def _record(self, node: Any, path: str, above: tuple[str, ...]) -> pa.DataType:
        self.count += len(node["fields"])
        if self.count > _MOST_FIELDS:
            raise pa.ArrowInvalid(f"it has more than {_MOST_FIELDS:,} fields")
        inner = (*above, node["name"])
        return pa.struct([pa.field(f["name"], self._type(f["type"], f"{path}.{f['name']}".strip("."), inner)) for f in node["fields"]])

    def _one_of(self, kinds: list[Any], path: str, above: tuple[str, ...]) -> pa.DataType:
        types = {self._type(kind, path, above) for kind in kinds} - {pa.null()}
        if len(types) > 1 and types <= {pa.float32(), pa.float64()}:
            return pa.float64()
        if len(types) > 1:
            raise BatchRefused(
                f"{self.name}: {path} may have several types ({', '.join(sorted(map(str, types)))}): write it with one, besides null."
            )
        return types.pop() if types else pa.null()


def _leaf(node: Any) -> pa.DataType | None:
    """The type of a value of its own that is more than its name says."""
    kind, logical = node["type"], node.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return (pa.decimal128 if node["precision"] <= _DIGITS else pa.decimal256)(node["precision"], node.get("scale", 0))
    if kind == "fixed":
        return pa.binary(node["size"])
    if kind == "enum":
        return pa.string()
    return _LOGICAL.get(logical) if kind in ("int", "long", "string") else None


def _takes_no_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width == 0)
    return bool(pa.types.is_null(kind) or (pa.types.is_struct(kind) and all(_takes_no_bytes(field.type) for field in kind)))


def _as_stored(node: Any) -> Any:
    """The schema without what Arrow knows better, so that values come as they are stored."""
    if isinstance(node, list):
        return [_as_stored(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {key: _as_stored(value) for key, value in node.items() if not (key == "logicalType" and value != "decimal")}


def _blocks(file: _Bytes, sync: bytes) -> Iterator[tuple[int, bytes]]:
    """Each block: how many records it has, and its packed bytes."""
    while file.left:
        count, size = _whole_number(file), _whole_number(file)
        if count < 0 or size < 0:
            raise pa.ArrowInvalid("a block has fewer than no bytes")
        packed, mark = file.read(size), file.read(len(sync))
        if len(packed) < size or len(mark) < len(sync):
            raise EOFError("a block ends too early")
        if mark != sync:
            raise pa.ArrowInvalid("a block does not end where it says")
        yield count, packed


def _whole_number(file: _Bytes) -> int:
    """A number of as many bytes as it needs, of which the lowest bit is its sign."""
    number = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("a block ends too early")
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return (number >> 1) ^ -(number & 1)
    raise pa.ArrowInvalid("a number has too many bytes")


def _records(block: bytes, count: int, stored: Any) -> list[Any]:
    stream = io.BytesIO(block)
    schema = fastavro.parse_schema(stored)
    try:
        records = [fastavro.schemaless_reader(stream, schema, None) for _ in range(count)]
    except _UNREADABLE as error:
        raise pa.ArrowInvalid(f"a record cannot be read ({error or type(error).__name__})") from None
    if stream.tell() != len(block):
        raise pa.ArrowInvalid("a block has more bytes than records")
    return records


def _deflate(packed: bytes, most: int) -> bytes:
    return _whole(zlib.decompressobj(-zlib.MAX_WBITS), packed, most)


def _bzip2(packed: bytes, most: int) -> bytes:
    return _whole(bz2.BZ2Decompressor(), packed, most)


def _xz(packed: bytes, most: int) -> bytes:
    try:
        return _whole(lzma.LZMADecompressor(memlimit=1 << 27), packed, most)
    except lzma.LZMAError as error:
        raise pa.ArrowInvalid(f"a block is no xz ({error})") from None


def _whole(unpacking: Any, packed: bytes, most: int) -> bytes:
    """All that was packed, or more than `most` bytes of it."""
    unpacked: bytes = unpacking.decompress(packed, most)
    if not unpacking.eof and len(unpacked) < most:
        raise EOFError("a block ends too early")
    return unpacked


def _snappy(packed: bytes, most: int) -> bytes:
    size = shift = 0
    for byte in packed[:5]:
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    if size >= most:
        return b"\0" * most  # too large in any case
    unpacked: bytes = pa.Codec("snappy").decompress(packed[:-4], decompressed_size=size, asbytes=True)
    if packed[-4:] != zlib.crc32(unpacked).to_bytes(4, "big"):
        raise pa.ArrowInvalid("a block's checksum is another one")
    return unpacked


def _zstandard(packed: bytes, most: int) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        return bytes(stream.read(most))


_UNPACKED: dict[str, Callable[[bytes, int], bytes]] = {
    "null": lambda packed, most: packed,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "snappy": _snappy,
    "zstandard": _zstandard,
}
