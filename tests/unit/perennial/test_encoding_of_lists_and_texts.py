"""Encoders of lists and texts: learnt of the training rows alone, the same online and offline, broken by no value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.column_types import cells
from perennial.data.readers import read_batch, schema
from perennial.data.snapshots import _frame
from perennial.encoding import Encoder, Grams, Series, Words, columns_from_rows, rows_from_columns
from perennial.serving.request import read_request, read_signature
from perennial.specs import Column, DatasetSpec

COLUMNS = (
    Column(name="review", type="text", nullable=True),
    Column(name="history", type="list", of="float", nullable=True),
    Column(name="items", type="list", of="int", nullable=True),
    Column(name="tags", type="list", of="string", nullable=True),
)
SHOP = DatasetSpec(name="shop", title="Shop", owner="shop", row_id="position", event_time="", columns=COLUMNS)
SIGNATURE = read_signature({"inputs": [{"name": c.name, "type": c.type, "of": c.of, "nullable": True} for c in COLUMNS]})
TRAINED = columns_from_rows(
    [
        {"review": "Very good, very cheap", "history": [1.0, 3.0], "items": [7, 2**60], "tags": ["new", "red hat"]},
        {"review": "Not good 🎉", "history": [5.0], "items": [7], "tags": ["red hat"]},
        {"review": None, "history": None, "items": None, "tags": None},
    ],
    [c.name for c in COLUMNS],
)
ENCODER = Encoder(
    {
        "review": [Words.fit(TRAINED, "review", 4, min_rows=1)],
        "grams": [Grams("review", 8)],
        "history": [Series.fit(TRAINED, "history", 3, last=True)],
        "items": [Words.fit(TRAINED, "items", 2, min_rows=1)],
        "tags": [Words.fit(TRAINED, "tags", 2)],
    }
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["good", "Very GOOD", "NOT go\u006fd\u0301", "🎉🎉", "עולם שלום", "\u202enot", " "]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "review": st.none() | TEXT.filter(bool),
            "history": st.none() | st.lists(st.floats(-1e300, 1e300) | st.integers(-5, 5), max_size=5),
            "items": st.none() | st.lists(st.sampled_from([7, 2**60, 2**60 + 1, -1]), max_size=4),
            "tags": st.none() | st.lists(TEXT | st.just("red hat"), max_size=3),
        }
    ),
    min_size=1,
    max_size=4,
)


def encoded(column: str, *values: object) -> list:
    """What a tensor becomes of values of its column."""
    part = next(parts[0] for parts in ENCODER.tensors.values() if parts[0].column == column)
    return part.encode({column: cells(values)}).tolist()


def test_words_are_counted_from_two_by_how_many_rows_have_them() -> None:
    """DM-04: Padding is 0, an unknown word 1; the most frequent word is 2, and of equally frequent ones the first by its letters."""
    words = ENCODER.tensors["review"][0]
    assert words == Words("review", ("good", "cheap", "not", "very", "🎉"), 4)
    assert ENCODER.sizes("review") == [7]
    assert encoded("review", "GOOD… or bad!", None, "", float("nan"), "not very not very not") == [
        [2, 1, 1, 0],
        [0] * 4,
        [0] * 4,
        [0] * 4,
        [4, 5, 4, 5],
    ]
    assert Words.fit(TRAINED, "review", most=1).words == ("good",)
    assert Words.fit(TRAINED, "review").words == ("good",)  # two rows have it


def test_elements_of_a_list_are_words_as_they_are() -> None:
    """DM-04: A blank parts no element, whole numbers are told apart beyond 2^53."""
    assert ENCODER.tensors["tags"][0] == Words("tags", ("red hat",), 2)
    assert encoded("tags", ["red hat", "red"], [], None) == [[2, 1], [0, 0], [0, 0]]
    assert encoded("items", [2**60, 2**60 + 1]) == [[3, 1]]


def test_a_list_of_numbers_is_scaled_padded_and_says_which_numbers_there_are() -> None:
    """DM-04: Mean 3 and deviation of the training rows' elements; the last three of a longer list count here; null has no elements."""
    deviation = float(np.std([1.0, 3.0, 5.0]))
    rows = encoded("history", [9.0, 3.0, 3.0 + deviation, 1e300], [5.0], [], None)
    assert np.round(rows[0], 5).tolist() == [[0, 1, 8], [1, 1, 1]]
    assert rows[1][1] == [1, 0, 0]
    assert rows[2] == rows[3] == [[0] * 3, [0] * 3]


def test_pieces_of_words_are_hashed_alike_on_every_machine() -> None:
    """DM-18: The codes of pieces are fixed numbers; words that are written alike have pieces in common."""
    codes = Grams("review", 6, buckets=1000, least=3, most=3).encode({"review": cells(["good", "goods", "a", None])})
    assert codes.tolist() == GRAMS
    assert set(codes[0, :3]) <= set(codes[1])


GRAMS = [[624, 191, 951, 760, 0, 0], [624, 191, 951, 795, 977, 0], [516, 0, 0, 0, 0, 0], [0] * 6]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_row_is_encoded_alike_from_a_request_a_file_a_table_and_the_log(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """DM-18: Whatever a value is, its codes are the same online and offline, and after the encoder was written and read."""
    folder: Path = tmp_path_factory.mktemp("rows")
    request = read_request(json.dumps({"data": {"rows": rows}}), SIGNATURE)
    expected = ENCODER.encode(request.columns)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frame = _frame(read_batch(folder / "rows.jsonl", SHOP))
    table = pa.Table.from_pylist(rows, schema(SHOP))
    golden = rows_from_columns(request.columns, [c.name for c in COLUMNS])
    again = Encoder.from_json(json.loads(json.dumps(ENCODER.to_json(), allow_nan=False)))
    assert again == ENCODER
    for columns in (
        {name: frame[name].to_numpy() for name in frame.columns},
        {name: cells(table[name].to_pylist()) for name in table.column_names},
        read_request(json.dumps({"data": {"rows": golden}}, allow_nan=False), SIGNATURE).columns,
    ):
        for name, tensor in again.encode(columns).items():
            assert np.array_equal(tensor, expected[name]), name


@given(st.text(st.characters(), max_size=60))
def test_no_text_breaks_an_encoder(text: str) -> None:
    """DM-04: Halves of surrogate pairs, emoji, joiners and marks of direction are encoded as words or left out."""
    for tensor in ("review", "grams"):
        assert (ENCODER.tensors[tensor][0].encode({"review": cells([text])}) >= 0).all()


@pytest.mark.parametrize("others", [("review", "tags"), ("history", "items")])
def test_such_a_part_is_alone_in_its_tensor(others: tuple[str, str]) -> None:
    """MO-01: Words of two columns, or numbers and words, make no one tensor."""
    with pytest.raises(ValueError, match="one block, series, words, grams"):
        Encoder({"both": [ENCODER.tensors[name][0] for name in others]})
