"""Arrays and pictures: the same value from a request and from each form of file, and a sentence for what is none."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from perennial.column_types import KINDS
from perennial.data.added_columns import row_hashes
from perennial.data.readers import read_batch, schema
from perennial.errors import BatchRefused
from perennial.pictures import as_png
from perennial.serving.request import BadRequest, read_request, read_signature
from perennial.specs import Column, DatasetSpec, FileForm

COLUMNS = (
    Column(name="map", type="array", of="float", shape=(2, 3), nullable=True),
    Column(name="counts", type="array", of="int", shape=(2,), nullable=True),
    Column(name="photo", type="image", shape=(4, 4), mode="RGB", longest=2000, nullable=True),
)
LAB = DatasetSpec(name="lab", title="Lab", owner="lab", row_id="content", event_time="", columns=COLUMNS)
SIGNATURE = read_signature({"inputs": [column.model_dump(exclude={"meaning"}) for column in COLUMNS]})
PHOTO = as_png(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
TEXT = base64.b64encode(PHOTO).decode()
ROWS = [
    {"map": [[1, 2.5, None], [0, -1, 3]], "counts": [2**60, 2], "photo": TEXT},
    {"map": None, "counts": None, "photo": None},
]
READ = [
    {"map": [1, 2.5, None, 0, -1, 3], "counts": [2**60, 2], "photo": PHOTO},
    {"map": None, "counts": None, "photo": None},
]


def plain(value):
    """A cell of a request as a table has it: NaN is a missing number there."""
    return [None if math.isnan(x) else x for x in value.tolist()] if hasattr(value, "tolist") else value


def same(rows, wanted):
    return json.dumps(rows, default=bytes.hex) == json.dumps(pa.Table.from_pylist(wanted, schema(LAB)).to_pylist(), default=bytes.hex)


def test_a_value_is_the_same_from_a_request_and_from_each_form_of_file(tmp_path):
    """DM-18: Nested lists or flat ones, in JSON, CSV, Parquet and NPZ; pictures as base64 or bytes."""
    columns = read_request(json.dumps({"data": {"rows": ROWS}}), SIGNATURE).columns
    asked = [dict(zip(columns, row, strict=True)) for row in zip(*(map(plain, values) for values in columns.values()), strict=True)]
    assert same(asked, READ)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "a.csv").write_text(f'map,counts,photo\n"[[1, 2.5, null], [0, -1, 3]]","[{2**60}, 2.0]",{TEXT}\n,,\n')
    pq.write_table(pa.Table.from_pylist(READ, schema(LAB)), tmp_path / "a.parquet")
    nested = pa.array([ROWS[0]["map"], None], pa.list_(pa.list_(pa.float32(), 3)))
    others = {"counts": pa.array([[2**60, 2], None]), "photo": pa.array([PHOTO, None], pa.large_binary())}
    pq.write_table(pa.table({"map": nested, **others}), tmp_path / "b.parquet")
    for file in ("a.jsonl", "a.csv", "a.parquet", "b.parquet"):
        assert same(read_batch(tmp_path / file, LAB).to_pylist(), READ), file
    spec = LAB.model_copy(update={"columns": COLUMNS[:2]})
    maps = np.array([*range(5), np.nan, *range(6, 12)], dtype="f4")
    np.savez(tmp_path / "a.npz", map=maps.reshape(2, 2, 3), counts=np.array([[1, 2], [3, 4]], "u1"))
    assert read_batch(tmp_path / "a.npz", spec).to_pylist() == [
        {"map": [0, 1, 2, 3, 4, None], "counts": [1, 2]}, {"map": [6, 7, 8, 9, 10, 11], "counts": [3, 4]},
    ]  # fmt: skip


BOMB = base64.b64encode(as_png(np.zeros((9000, 9000), np.uint8))).decode()
REFUSED = [
    ("map", 5, "must be 2 x 3 numbers, not 5"),
    ("map", [[1, 2, 3]], "has 1 elements where axis 0 has 2: it must be 2 x 3 numbers"),
    ("map", [[1, 2, 3], [4, 5]], "has 2 elements where axis 1 has 3"),
    ("map", [[1, 2, 3], 4], "has no list where axis 1 has 3"),
    ("map", [[1, 2, 3], [4, "5", 6]], r"has '5' at \[1, 1\], which must be a number or null"),
    ("map", [1, 2, 3, 4, 5], "has 5 elements where axis 0 has 2"),
    ("map", [[1, 2, 3], [4, True, 6]], r"has true at \[1, 1\], which must be a number or null"),
    ("counts", [1, None], r"has null at \[1\], which must be a whole number"),
    ("counts", [1, 2.5], r"has 2.5 at \[1\], which must be a whole number"),
    ("counts", [1, 2**63], "has an element of more digits than 64 bits hold|has 9.22.*, which must be a whole number"),
    ("photo", 5, "must be a PNG or JPEG picture of at most 2,000 bytes as base64, not 5"),
    ("photo", "no picture!", "is 'no picture!', which is no base64"),
    ("photo", f"data:image/png;base64,{TEXT}", "is .*, which is no base64: send it without what stands before the comma"),
    ("photo", base64.b64encode(b"hello").decode(), "is no PNG or JPEG picture"),
    ("photo", TEXT[:60], "is cut or damaged"),
    ("photo", "A" * 4000, "has 3,000 bytes, and it must be a PNG or JPEG picture of at most 2,000 bytes"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, name, value, said):
    """DM-10: In a request and in a file, in the same words."""
    row = {**ROWS[1], name: value}
    with pytest.raises(BadRequest, match=f"^Row 0: {name} (?:{said})"):
        read_request(json.dumps({"data": {"rows": [row]}}), SIGNATURE)
    (tmp_path / "a.jsonl").write_text(
        json.dumps({**ROWS[1], name: [1, 2] if name == "counts" else ROWS[0][name]}) + "\n" + json.dumps(row) + "\n"
    )
    with pytest.raises(BatchRefused, match=rf"{name} (?:{said}).*\(row 2\)|cannot be read"):
        read_batch(tmp_path / "a.jsonl", LAB)


def test_a_bomb_is_refused_before_it_is_unpacked():
    """DM-10: Few bytes may be many pixels."""
    column = Column(name="photo", type="image", shape=(4, 4), mode="L")
    with pytest.raises(ValueError, match="has 9,000 x 9,000 pixels, and 33,554,432 are the most"):
        KINDS["image"].value(BOMB, column)


def test_infinite_numbers_are_refused_in_files(tmp_path):
    """DM-10: With the place; JSON cannot have them."""
    np.savez(tmp_path / "a.npz", map=np.array([[[1, 2, 3], [4, np.inf, 6]]]), counts=np.ones((1, 2), int))
    with pytest.raises(BatchRefused, match=r"map has inf at \[1, 1\], which must be finite \(row 1\)"):
        read_batch(tmp_path / "a.npz", LAB.model_copy(update={"columns": COLUMNS[:2]}))


def test_what_a_profile_counts():
    """MN-11: Of an array what is missing, mean and deviation; of a picture bytes, size, brightness and contrast."""
    rows = pa.Table.from_pylist([READ[0], READ[1], {"map": [None] * 6, "counts": [0, 2], "photo": PHOTO}], schema(LAB))
    maps = {name: values.to_pylist() for name, values in KINDS["array"].measured(rows["map"].combine_chunks(), frozenset()).items()}
    assert maps["missing"] == [pytest.approx(1 / 6), None, 1.0]
    assert maps["mean"] == [pytest.approx(np.mean([1, 2.5, 0, -1, 3])), None, None]
    assert maps["deviation"] == [pytest.approx(np.std([1, 2.5, 0, -1, 3])), None, None]
    photos = {name: values.to_pylist() for name, values in KINDS["image"].measured(rows["photo"].combine_chunks(), frozenset()).items()}
    assert photos["bytes"] == [len(PHOTO), None, len(PHOTO)]
    assert (photos["width"], photos["height"]) == ([4, None, 4], [4, None, 4])
    black = KINDS["image"].measured(pa.array([as_png(np.zeros((9, 9), np.uint8))], pa.binary()), frozenset())
    assert (black["brightness"].to_pylist(), black["contrast"].to_pylist()) == ([0.0], [0.0])
    assert photos["contrast"][0] > 0


def test_of_bytes_that_are_no_picture_the_size_is_counted():
    """MN-01: A log may have them, whoever wrote it, and the day's other rows are counted all the same."""
    counts = KINDS["image"].measured(pa.array([PHOTO, PHOTO[:40], b"no", None], pa.binary()), frozenset())
    assert {name: values.to_pylist()[1:] for name, values in counts.items() if name != "bytes"} == {
        "width": [None] * 3, "height": [None] * 3, "brightness": [None] * 3, "contrast": [None] * 3,
    }  # fmt: skip
    assert counts["bytes"].to_pylist() == [len(PHOTO), 40, 2, None]


def test_pictures_in_objects_are_read_as_the_refusal_says(tmp_path):
    """DM-01, DM-10: As Hugging Face's libraries write them: an object of the bytes and the file's name."""
    pq.write_table(pa.table({"photo": [{"bytes": PHOTO, "path": "a.png"}]}), tmp_path / "a.parquet")
    spec = LAB.model_copy(update={"columns": COLUMNS[2:]})
    with pytest.raises(BatchRefused, match=r'Say where it lies, as files=FileForm\(fields=\{"photo": "NAME.bytes"\}\) in the spec'):
        read_batch(tmp_path / "a.parquet", spec)
    declared = spec.model_copy(update={"files": FileForm(fields={"photo": "photo.bytes"})})
    assert read_batch(tmp_path / "a.parquet", declared).to_pylist() == [{"photo": PHOTO}]


def test_rows_are_told_apart_by_their_pictures_and_arrays():
    """DM-02: The hash that names a row is of the content."""
    rows = pa.Table.from_pylist([READ[0], READ[0], {**READ[0], "photo": PHOTO + b"x"}, {**READ[0], "map": [0] * 6}], schema(LAB))
    hashes = row_hashes(rows)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "array", "of": "float"}, "is an array: write of='float' or of='int', and the lengths of its axes"),
        ({"type": "array", "of": "string", "shape": (2,)}, "is an array: write of='float' or of='int'"),
        ({"type": "array", "of": "int", "shape": (2,), "longest": 5}, "has longest, which only list or text or image columns have"),
        ({"type": "array", "of": "int", "shape": (2000, 2000)}, "has 4,000,000 places, and 1,000,000 are the most"),
        ({"type": "image", "shape": (4, 4)}, "is an image: write its height and width"),
        ({"type": "image", "shape": (4,), "mode": "L"}, "is an image: write its height and width"),
        ({"type": "float", "shape": (4,)}, "has shape, which only array or image columns have: its type is float"),
        ({"type": "list", "of": "float", "mode": "L"}, "has mode, which only image columns have"),
        ({"type": "array", "of": "int", "shape": (0,)}, "greater than or equal to 1"),
    ],
)
def test_what_a_column_must_say(fields, said):
    """DM-10: At once, with what to write."""
    with pytest.raises(ValidationError, match=said):
        Column(name="a", **fields)
