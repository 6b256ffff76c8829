"""Lists and texts: what a request, a file and the table hold of a value is the same, and what does not fit is told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.column_types import KINDS, cells, kind_of
from perennial.data.readers import read_batch, schema
from perennial.errors import BatchRefused
from perennial.serving.request import BadRequest, read_request, read_signature
from perennial.specs import NO_SCALARS, Column, DatasetSpec

COLUMNS = (
    Column(name="review", type="text", nullable=True),
    Column(name="history", type="list", of="float", nullable=True),
    Column(name="items", type="list", of="int", longest=4, nullable=True),
    Column(name="tags", type="list", of="string", nullable=True),
)
SHOP = DatasetSpec(name="shop", title="Shop", owner="shop", row_id="position", event_time="", columns=COLUMNS)
SIGNATURE = read_signature(
    {"inputs": [{"name": c.name, "type": c.type, "of": c.of, "longest": c.longest, "nullable": True} for c in COLUMNS]}
)
plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ROW = {
    "review": st.none() | plain_text.filter(bool),
    "history": st.none() | st.lists(st.floats(-1e9, 1e9) | st.integers(-5, 5), max_size=5),
    "items": st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    "tags": st.none() | st.lists(plain_text, max_size=3),
}


def of_request(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows as a version's features would get them from a request, as plain values."""
    columns = read_request(json.dumps({"data": {"rows": rows}}), SIGNATURE).columns
    lists = {name: [v.tolist() if hasattr(v, "tolist") else v for v in values] for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def test_the_types_that_specs_know_are_those_that_have_a_kind() -> None:
    """DM-10: A spec may declare a type that is no scalar exactly if there is an object that says how to read and count it."""
    assert set(NO_SCALARS) == set(KINDS)
    assert kind_of("float") is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(ROW), min_size=1, max_size=4))
def test_a_value_is_the_same_from_a_request_and_from_each_form_of_file(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """DM-18: Whatever fits is read as the same value from a request, JSON lines, a JSON array and Parquet."""
    folder: Path = tmp_path_factory.mktemp("rows")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rows.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows, schema(SHOP)), folder / "rows.parquet")
    wanted = of_request(rows)
    for name in ("rows.jsonl", "rows.json", "rows.parquet"):
        assert read_batch(folder / name, SHOP).to_pylist() == wanted


def test_a_list_in_csv_is_a_json_array(tmp_path: Path) -> None:
    """DM-18: A field of a CSV file holds a list as JSON writes it; an empty field is no list, `[]` is a list without elements."""
    file = tmp_path / "rows.csv"
    file.write_text('review,history,items,tags\n"Good, 2013-01-01",[],"[1, 2.0]","[""a""]"\n,"[1e3, 2]",,\n')
    assert read_batch(file, SHOP).to_pylist() == [
        {"review": "Good, 2013-01-01", "history": [], "items": [1, 2], "tags": ["a"]},
        {"review": None, "history": [1000.0, 2.0], "items": None, "tags": None},
    ]


REFUSED = [
    ("review", 5, "must be a text of at most 100,000 characters, not 5"),
    ("review", "x" * 1_000_000, "has 1,000,000 characters, and it must be a text of at most 100,000 characters"),
    ("history", 5, "must be a list of at most 10,000 numbers, not 5"),
    ("history", [1, None], "has null as element 1, which must be a number"),
    ("history", [1, True], "has true as element 1, which must be a number"),
    ("history", ["1"], "has '1' as element 0, which must be a number"),
    ("history", [0.0] * 10_001, "has 10,001 elements, and it must be a list of at most 10,000 numbers"),
    ("items", [1.5], "has 1.5 as element 0, which must be a whole number"),
    ("items", [2**53 + 0.0], "has 9007199254740992.0 as element 0, which must be a whole number"),
    ("items", [1, 2, 3, 4, 5], "has 5 elements, and it must be a list of at most 4 whole numbers"),
    ("tags", "a", "must be a list of at most 10,000 words, not 'a'"),
    ("tags", ["x" * 1001], "has a word of 1,001 characters as element 0: 1,000 are the most"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_alike_by_requests_and_files(name: str, value: object, sentence: str, tmp_path: Path) -> None:
    """DM-10: A wrong element, a missing one and a list or text that is too long are named with their place, in requests and files."""
    with pytest.raises(BadRequest) as told:
        read_request(json.dumps({"data": {"rows": [{}, {name: value}]}}), SIGNATURE)
    assert str(told.value) == f"Row 1: {name} {sentence}."
    if name == "review" and value == 5:
        return  # a file of JSON lines in which the declared text is a number is refused by Arrow, in its own words
    file = tmp_path / "rows.csv"
    field = value if isinstance(value, str) else json.dumps(value)
    file.write_text(
        f"{','.join(c.name for c in COLUMNS)},n\n,,,,0\n"
        + ",".join(f'"{field.replace(chr(34), chr(34) * 2)}"' if c.name == name else "" for c in COLUMNS)
        + ",1\n"
    )
    spec = SHOP.model_copy(update={"columns": (*COLUMNS, Column(name="n", type="int"))})
    with pytest.raises(BatchRefused) as refusal:
        read_batch(file, spec)
    expected = sentence if name != "tags" or value != "a" else "must be a list of at most 10,000 words, as JSON writes it"
    assert f"rows.csv: {name} {expected}" in str(refusal.value)
    assert "(row 2)" in str(refusal.value)


@pytest.mark.parametrize("values", [[[1.0, float("nan")]], [[float("inf")]], [[1.0, None]]])
def test_a_typed_list_with_a_number_that_is_none_is_refused(values: list, tmp_path: Path) -> None:
    """DM-10: NaN, infinity and null inside a list of a Parquet file are refused with their row, as a request could not send them either."""
    pq.write_table(pa.table({"history": pa.array([[0.5], *values], pa.list_(pa.float64()))}), tmp_path / "rows.parquet")
    spec = SHOP.model_copy(update={"columns": (COLUMNS[1],)})
    with pytest.raises(BatchRefused, match=r"history has .* as element \d, which must be .* \(row 2\)"):
        read_batch(tmp_path / "rows.parquet", spec)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "list"}, "write of='float', of='int' or of='string'"),
        ({"type": "text", "of": "string"}, "only list or array columns have"),
        ({"type": "int", "longest": 3}, "only list or text or image columns have"),
    ],
)
def test_a_column_says_what_it_holds(fields: dict[str, object], said: str) -> None:
    """DM-10: A list says of what, and nothing else has elements or a length."""
    with pytest.raises(ValidationError, match=said):
        Column(name="x", **fields)


def test_what_is_no_scalar_names_no_row_and_no_measure_of_another() -> None:
    """DM-10: A text is no key, and no column is called as the measure of another one is."""
    text = {"name": "review", "type": "text"}
    with pytest.raises(ValidationError, match="key names review, which is a text"):
        DatasetSpec(name="shop", title="Shop", owner="shop", key=["review"], event_time="", columns=[text])
    with pytest.raises(ValidationError, match=r"review\[words\] is called as a measure of review"):
        DatasetSpec(
            name="shop",
            title="Shop",
            owner="shop",
            row_id="content",
            event_time="",
            columns=[text, {"name": "review[words]", "type": "int"}],
        )


def test_lists_of_equal_length_stay_cells() -> None:
    """DM-18: A column of lists has one cell a row, also where NumPy would make a matrix of them."""
    assert cells([[1, 2], [3, 4]]).shape == (2,)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("tags", ['["\\ud800"]'], "has a text with half of a sign"),
        ("tags", pa.array([[2**62]], pa.list_(pa.timestamp("us"))), r"has values of the type timestamp\[us\], and it must be a list"),
        ("tags", pa.array([{"a": 2**62}], pa.struct([("a", pa.timestamp("us"))])), "has values of the type timestamp"),
        ("items", pa.array([[2.0**53]], pa.list_(pa.float64())), "as element 0, which must be a whole number"),
        ("map", pa.array([[2**64 - 1, 1]], pa.list_(pa.uint64())), "map has an element of more digits than 64 bits hold"),
        (
            "map",
            pa.array([[2**62, 1]], pa.list_(pa.timestamp("us"))),
            r"has values of the type timestamp\[us\], and it must be 2 whole numbers",
        ),
    ],
    ids=["half a sign", "times", "times in objects", "whole numbers that are not exact", "more than 64 bits", "times for numbers"],
)
def test_elements_of_another_kind_are_told_with_their_column(tmp_path: Path, column: str, values: object, said: str) -> None:
    """DM-10: Also those that Python or Arrow would give up on."""
    spec = SHOP.model_copy(update={"columns": (*COLUMNS[2:], Column(name="map", type="array", of="int", shape=(2,), nullable=True))})
    missing = {c.name: pa.nulls(1) for c in spec.columns}
    pq.write_table(pa.table({**missing, column: values}), tmp_path / "a.parquet")
    with pytest.raises(BatchRefused, match=said):
        read_batch(tmp_path / "a.parquet", spec)


ELEMENTS = [
    "[1, 2]", "[1.5, 2]", "[2.0, 1]", '["x", "1"]', '["1", 2]', "[true, 1]", "[null, 1]", "[]", "[1]", "[1, 2, 3]",
    "[9223372036854775808, 1]", "[-9223372036854775808, 1]", "[9007199254740992.0, 1]", "[1e400, 1]", '[{"a": 1}, 2]', '["a]b", "\\u00e9"]',
]  # fmt: skip


@pytest.mark.parametrize(
    "column",
    [
        Column(name="x", type="list", of="float"),
        Column(name="x", type="list", of="int"),
        Column(name="x", type="list", of="string"),
        Column(name="x", type="array", of="float", shape=(2,)),
        Column(name="x", type="array", of="int", shape=(1, 2)),
    ],
    ids=lambda column: f"{column.type} of {column.of}",
)
def test_what_a_server_logged_is_what_a_request_may_have(column: Column) -> None:
    """MN-01: Whoever wrote the line: no element is rounded, counted as missing or taken for a number, and no array has another length."""
    kind = kind_of(column.type)
    assert kind is not None
    _, sql, _ = kind.logged
    signature = read_signature({"inputs": [{"name": "x", "type": column.type, "of": column.of, "shape": column.shape}]})
    for text in ELEMENTS:
        try:
            meant = read_request(f'{{"data": {{"rows": [{{"x": {text}}}]}}}}', signature).columns["x"][0].tolist()
        except BadRequest:
            meant = None
        logged = duckdb.execute(f"select {sql(column)('line', 'kind')} from (select ? as line, 'ARRAY' as kind)", [text]).fetchone()[0]
        as_number = [float("nan") if x is None else x for x in logged] if logged is not None else None
        assert repr(as_number) == repr(meant), text
