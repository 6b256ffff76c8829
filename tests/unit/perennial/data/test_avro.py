"""Avro: every type and codec, and files that are cut, damaged or made to harm."""

from __future__ import annotations

import io
import json
import zlib
from datetime import date, datetime, time, timezone
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.data.readers import read_batch
from perennial.data.readers.avro import read_avro
from perennial.errors import BatchRefused
from perennial.specs import Column, DatasetSpec, FileForm

SPEC = DatasetSpec(
    name="trips", title="Trips", owner="tests", key=("id",), event_time="at", max_batch_bytes=1 << 20,
    columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="km", type="float", nullable=True)),
)  # fmt: skip
FIELDS = [
    {"name": "id", "type": "long"}, {"name": "at", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
    {"name": "km", "type": ["null", "double"]},
]  # fmt: skip
ROWS = [{"id": number, "at": datetime(2026, 5, 4, number % 24), "km": number / 4 if number % 3 else None} for number in range(40)]
SYNC = b"0123456789abcdef"


def number(value):
    """A whole number as Avro has it."""
    value, out = (value << 1) ^ (value >> 63), b""
    while value > 127:
        value, out = value >> 7, out + bytes([value & 127 | 128])
    return out + bytes([value])


def container(blocks, fields=FIELDS, codec="null"):
    """A file of blocks as they are given: how many rows each says to have, and its packed bytes."""
    schema = fields if isinstance(fields, (str, dict)) else {"type": "record", "name": "row", "fields": fields}
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    head = b"Obj\x01" + number(len(meta))
    for key, value in meta.items():
        head += number(len(key)) + key.encode() + number(len(value)) + value
    return head + b"\0" + SYNC + b"".join(number(count) + number(len(data)) + data + SYNC for count, data in blocks)


def stored(rows, fields=FIELDS):
    """Rows as the bytes of a block."""
    schema, out = fastavro.parse_schema({"type": "record", "name": "row", "fields": fields}), io.BytesIO()
    for row in rows:
        fastavro.schemaless_writer(out, schema, row)
    return out.getvalue()


PACK = {
    "null": bytes,
    "deflate": lambda data: zlib.compress(data, wbits=-15),
    "snappy": lambda data: pa.Codec("snappy").compress(data, asbytes=True) + zlib.crc32(data).to_bytes(4, "big"),
    "zstandard": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
    "bzip2": __import__("bz2").compress,
    "xz": __import__("lzma").compress,
}


def read(content):
    return read_avro(io.BytesIO(content), SPEC, "a.avro")


@pytest.mark.parametrize("codec", PACK)
def test_every_codec_gives_the_same_rows(tmp_path, codec):
    """DM-01: Whatever packs the blocks, of which a file may have many."""
    file = tmp_path / "a.avro"
    file.write_bytes(container([(30, PACK[codec](stored(ROWS[:30]))), (10, PACK[codec](stored(ROWS[30:])))], codec=codec))
    assert read_batch(file, SPEC).to_pylist() == ROWS
    file.write_bytes(container([(30, PACK[codec](stored(ROWS[:30])[:-3] if codec == "null" else stored(ROWS[:30]))[:-3])], codec=codec))
    with pytest.raises(BatchRefused, match=r"^a.avro (is cut short or damaged|cannot be read)"):
        read_batch(file, SPEC)


def test_types_are_those_of_the_schema():
    """DM-01: Moments keep that they are of UTC, decimals their digits; enums and ids are texts, nested records stay nested."""
    moment, local = datetime(2026, 5, 4, 6, tzinfo=timezone.utc), datetime(2026, 5, 4, 6)
    place = {"type": "record", "name": "place", "fields": [{"name": "town", "type": ["string", "null"]}, {"name": "kind", "type": "kind"}]}
    cases = [  # type, value, as it is read
        ({"type": "long", "logicalType": "timestamp-millis"}, moment, moment),
        ({"type": "long", "logicalType": "timestamp-micros"}, moment, moment),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, local, local),
        (["null", {"type": "int", "logicalType": "date"}], date(2026, 5, 4), date(2026, 5, 4)),
        ({"type": "int", "logicalType": "time-millis"}, time(6, 30), time(6, 30)),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, Decimal("2.50"), Decimal("2.50")),
        ({"type": "string", "logicalType": "uuid"}, "0a" * 16, "0a" * 16),
        ({"type": "enum", "name": "kind", "symbols": ["a", "b"]}, "b", "b"),
        (place, {"town": None, "kind": "a"}, {"town": None, "kind": "a"}),
        (["null", "int", "long"], 2**40, 2**40),
        (["float", "double"], 2.5, 2.5),
        ({"type": "array", "items": "string"}, ["x", "y"], ["x", "y"]),
        ({"type": "map", "values": "int"}, {"x": 1}, [("x", 1)]),
        ({"type": "fixed", "name": "two", "size": 2}, b"ab", b"ab"),
        (["null"], None, None),
    ]
    fields = [{"name": f"f{place}", "type": kind} for place, (kind, _, _) in enumerate(cases)]
    row = {f"f{place}": value for place, (_, value, _) in enumerate(cases)}
    (back,) = read(container([(1, stored([row], fields))], fields)).to_pylist()
    assert back == {f"f{place}": value for place, (_, _, value) in enumerate(cases)}


def test_a_nested_field_is_a_column_by_its_path(tmp_path):
    """DM-01: As in JSON, with the moment in the dataset's zone."""
    where = {"type": "record", "name": "when", "fields": [{"name": "begin", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
    fields = [FIELDS[0], {"name": "when", "type": where}, FIELDS[2]]
    file = tmp_path / "a.avro"
    begin = datetime(2026, 5, 4, 6, tzinfo=timezone.utc)
    file.write_bytes(container([(1, stored([{"id": 1, "when": {"begin": begin}, "km": 2.5}], fields))], fields))
    spec = SPEC.model_copy(update={"files": FileForm(fields={"at": "when.begin"}), "time_zone": "Europe/Berlin"})
    assert read_batch(file, spec).to_pylist() == [{"id": 1, "at": datetime(2026, 5, 4, 8), "km": 2.5}]


SELF = [{"name": "id", "type": "long"}, {"name": "next", "type": ["null", "row"]}]
EMPTY = {"type": "record", "name": "empty", "fields": []}
HOSTILE = {  # content, and the sentence
    "no Avro": (b"id,at\n1,2\n", "it is no Avro file"),
    "a header that is cut": (container([])[:30], "ends too early|cut short|Expected"),
    "a schema that is none": (container([], fields="rows"), "its schema cannot be read"),
    "a schema of one number": (container([], fields="long"), "its schema is that of no record"),
    "a codec that is unknown": (container([(1, b"x")], codec="lz4"), "its blocks are packed with 'lz4', and known are null, deflate"),
    "a block that says it is larger": (container([])[:] + number(1) + number(1 << 50) + b"x", "cut short or damaged"),
    "a block of less than nothing": (container([]) + number(-1) + number(5) + b"x", "a block has fewer than no bytes"),
    "a block that is said to be longer": (container([(1, stored(ROWS[:1]))])[:-8], "cut short or damaged"),
    "a mark of another file": (container([(1, stored(ROWS[:1]))])[:-8] + b"x" * 8, "a block does not end where it says"),
    "more rows than bytes": (container([(2, stored(ROWS[:1]))]), "cut short or damaged"),
    "more bytes than rows": (container([(1, stored(ROWS[:2]))]), "a block has more bytes than records"),
    "rows without bytes": (
        container([(1 << 40, b"")], fields=[{"name": "id", "type": "null"}]), "a.avro, unpacked, is larger than 1 MB",
    ),
    "items without bytes": (
        container([(1, number(1 << 40) + b"\0")], fields=[{"name": "id", "type": {"type": "array", "items": "null"}}]),
        "id has items without a value",
    ),
    "items that are empty records": (
        container([], fields=[{"name": "id", "type": {"type": "array", "items": EMPTY}}]), "id has items without",
    ),
    "a text that is longer than all": (container([(1, number(1 << 40) + b"x")], fields=[{"name": "id", "type": "string"}]), "cut short"),
    "a bomb": (container([(1, PACK["deflate"](bytes(1 << 22)))], codec="deflate"), "a.avro, unpacked, is larger than 1 MB"),
    "a snappy bomb": (container([(1, PACK["snappy"](bytes(1 << 22)))], codec="snappy"), "a.avro, unpacked, is larger than 1 MB"),
    "a zstandard bomb": (container([(1, PACK["zstandard"](bytes(1 << 22)))], codec="zstandard"), "a.avro, unpacked, is larger than 1 MB"),
    "records in themselves": (container([(1, b"\0\0")], fields=SELF), "next holds records like the one that it lies in"),
    "several types": (
        container([], fields=[{"name": "id", "type": ["long", "string", "null"]}]), r"id may have several types \(int64, string\)",
    ),
    "a checksum": (container([(1, PACK["snappy"](stored(ROWS[:1]))[:-1] + b"x")], codec="snappy"), "checksum is another one"),
    "no rows": (container([]), "has a header but no rows"),
    "a time that no calendar has": (container([(1, number(1) + number(1 << 62) + b"\0")]), "at is .* which is not a time"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_is_broken_or_hostile_is_refused(tmp_path, what):
    """DM-10: In one sentence and at once, whatever lengths its bytes claim."""
    content, said = HOSTILE[what]
    file = tmp_path / "a.avro"
    file.write_bytes(content)
    with pytest.raises(BatchRefused, match=said):
        read_batch(file, SPEC)


WHOLE = container([(20, PACK["deflate"](stored(ROWS[:20]))), (20, PACK["deflate"](stored(ROWS[20:])))], codec="deflate")
OPEN = container([(40, stored(ROWS))])


@settings(max_examples=150)
@given(
    content=st.sampled_from([WHOLE, OPEN]), end=st.integers(0, len(OPEN)), place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255)
)
def test_other_bytes_give_rows_or_a_sentence(tmp_path_factory, content, end, place, byte):
    """DM-10: Never another error, and of a file that is cut never some of a block's rows."""
    file = tmp_path_factory.getbasetemp() / "a.avro"
    file.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    for written in (content[:place] + bytes([byte]) + content[place + 1 :], content[:end]):
        file.write_bytes(written)
        try:
            rows = read_batch(file, SPEC).num_rows
        except BatchRefused:
            continue
        assert rows in (20, 40)
