"""The encoder: every row becomes numbers, whatever it holds, and JSON keeps all that was fitted."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.encoding import Block, Category, Cycle, Encoder, Number, Steps, columns_from_rows, numbers, rows_from_columns, text, times


def columns(**values: list[object]) -> dict[str, np.ndarray]:
    """Columns of Python objects, as a request gives them."""
    return columns_from_rows([dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)], list(values))


def test_categories_get_places_and_everything_else_the_unknown_one() -> None:
    """DM-04: Known categories are counted from 1 in alphabetical order; null, NaN and unseen ones are 0."""
    part = Category.fit(columns(c=["b", "a", "b", None]), "c")
    assert part.values == ("a", "b")
    assert part.size == 3
    assert part.encode(columns(c=["a", "b", "z", None, float("nan")])).tolist() == [[1], [2], [0], [0], [0]]


def test_rare_categories_are_unknown() -> None:
    """DM-04: A category with fewer rows than min_rows has no place of its own."""
    assert Category.fit(columns(c=["a", "a", "b"]), "c", min_rows=2).values == ("a",)


def test_a_category_has_one_name_whatever_type_carries_it() -> None:
    """DM-18: 2, 2.0, numpy's 2 and "2" are the same category: a table gives floats where a request gives integers."""
    part = Category.fit({"c": np.array([2.0, 4.0, np.nan])}, "c")
    assert part.values == ("2", "4")
    assert part.encode(columns(c=[2, 2.0, np.int64(2), "2", np.float32(4)]))[:, 0].tolist() == [1, 1, 1, 1, 2]


def test_numbers_are_standardised_on_what_was_fitted() -> None:
    """DM-04: Mean 0 and deviation 1 on the fitted rows; null is the mean, marked in the second value."""
    part = Number.fit({"n": np.array([1.0, 3.0, np.nan])}, "n", nulls=True)
    assert part.encode({"n": np.array([1.0, 3.0, np.nan])}).tolist() == [[-1, 0], [1, 0], [0, 1]]


def test_numbers_far_out_are_cut() -> None:
    """DM-04: No value reaches the model beyond the limit, infinity counts as null."""
    part = Number.fit({"n": np.arange(10.0)}, "n", limit=3)
    assert part.encode(columns(n=[1e300, -1e300, float("inf")]))[:, 0].tolist() == [3, -3, 0]


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0, 5.0], [np.nan, np.nan]])
@pytest.mark.parametrize("part", [Number, Steps])
def test_columns_without_spread_can_be_fitted(part: type, values: list[float]) -> None:
    """DM-04: An empty, constant or all-null column gives a part that encodes finite values."""
    fitted = part.fit({"n": np.array(values)}, "n")
    assert np.isfinite(fitted.encode({"n": np.array([5.0, 6.0, np.nan])})).all()


def test_steps_fill_one_interval_after_another() -> None:
    """DM-04: Each value passes the intervals below it wholly and its own in proportion; null passes none and is marked."""
    part = Steps("n", (0.0, 10.0, 20.0))
    assert part.encode({"n": np.array([-5.0, 5.0, 10.0, 15.0, 99.0, np.nan])}).tolist() == [
        [0, 0, 0],
        [0.5, 0, 0],
        [1, 0, 0],
        [1, 0.5, 0],
        [1, 1, 0],
        [0, 0, 1],
    ]


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=6, unique=True), min_size=1, max_size=4), st.data())
def test_steps_side_by_side_are_those_of_each(edges: list[list[float]], data: st.DataObject) -> None:
    """SE-04: What one pass makes of many columns is bit for bit what the formula makes of each, in requests of one row and of many."""
    parts = [Steps(f"n{place}", tuple(sorted(given))) for place, given in enumerate(edges)]
    rows = data.draw(st.sampled_from([1, 3, 255, 256, 257, 600]))
    pool = [float("nan"), float("inf"), 0.0, -0.0, *(edge for given in edges for edge in given)]
    some = data.draw(st.lists(st.sampled_from(pool) | st.floats(-2e3, 2e3), min_size=7, max_size=7))
    come = {part.column: np.resize(np.roll(some, place), rows) for place, part in enumerate(parts)}
    wanted = []
    for part in parts:
        values, borders = np.where(np.isinf(come[part.column]), np.nan, come[part.column]), np.array(part.edges)
        null = np.isnan(values)
        passed = np.clip((np.where(null, borders[0], values)[:, None] - borders[:-1]) / np.diff(borders), 0, 1)
        wanted.append(np.concatenate([passed, null[:, None]], axis=1).astype(np.float32))
        assert part.encode(come).tobytes() == wanted[-1].tobytes()
    after = Number("n0", 0.0, 1.0)
    found = Encoder({"numbers": [*parts, after]}).encode(come)["numbers"]
    assert found.tobytes() == np.concatenate([*wanted, after.encode(come)], axis=1).tobytes()


@given(st.lists(st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.text(max_size=2), min_size=1), st.booleans())
def test_a_category_is_known_by_its_name_in_any_company(values: list[object], is_typed: bool) -> None:
    """DM-18: Each value has the place of its own name, whatever other values and types are in its column."""
    part = Category("c", tuple(sorted({name for value in [*values[::2], True, 1, 0] if (name := text(value)) is not None})))
    column = np.array([value for value in values if type(value) is float] or [1.0]) if is_typed else columns(c=values)["c"]
    names = [text(value) for value in column.tolist()]
    assert part.encode({"c": column})[:, 0].tolist() == [part.values.index(name) + 1 if name in part.values else 0 for name in names]


def test_steps_have_equally_many_rows() -> None:
    """DM-04: Edges are quantiles; repeated ones fall together."""
    assert Steps.fit({"n": np.arange(101.0)}, "n", intervals=4).edges == (0, 25, 50, 75, 100)
    assert Steps.fit({"n": np.array([0.0] * 90 + [1.0] * 10)}, "n", intervals=4).edges == (0, 1)


def test_cycles_close() -> None:
    """DM-04: The end of a cycle is its beginning; null is in the middle."""
    part = Cycle("h", 24, harmonics=2)
    found = part.encode(columns(h=[0, 24, 6, None]))
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[2] == pytest.approx([1, 0, 0, -1], abs=1e-6)
    assert found[3].tolist() == [0, 0, 0, 0]


def test_a_block_is_an_array_of_many_columns() -> None:
    """DM-04: Columns fill the shape row by row, scaled; null is 0."""
    names = ("p0", "p1", "p2", "p3")
    found = Encoder({"image": [Block(names, (1, 2, 2), scale=16)]}).encode(columns(p0=[16], p1=[8], p2=[None], p3=[0]))["image"]
    assert found.tolist() == [[[[1.0, 0.5], [0.0, 0.0]]]]
    assert found.dtype == np.float32


def test_types_are_those_that_embeddings_and_layers_take() -> None:
    """DM-04: Categories are int64 [rows, parts], numbers float32 [rows, width]."""
    some = columns(c=["a", "b"], n=[1, 2])
    encoder = Encoder({"numbers": [Number.fit(some, "n", nulls=True), Cycle("n", 7)], "categories": [Category.fit(some, "c")]})
    found = encoder.encode(some)
    assert (found["numbers"].dtype, found["numbers"].shape) == (np.float32, (2, 4))
    assert (found["categories"].dtype, found["categories"].shape) == (np.int64, (2, 1))
    assert (encoder.width("numbers"), encoder.sizes("categories")) == (4, [3])


def test_a_tensor_has_one_type() -> None:
    """DM-04: Categories and numbers, or a block and anything else, cannot share a tensor."""
    with pytest.raises(ValueError, match="tensor mixed"):
        Encoder({"mixed": [Category("c", ("a",)), Number("n", 0, 1)]})
    with pytest.raises(ValueError, match="one block"):
        Encoder({"mixed": [Block(("p",), (1,)), Number("n", 0, 1)]})


def test_a_missing_column_is_named() -> None:
    """DM-04: Nothing is made up for a column that is not there."""
    with pytest.raises(KeyError, match="n"):
        Encoder({"numbers": [Number("n", 0, 1)]}).encode(columns(m=[1]))


def test_a_word_is_no_number() -> None:
    """SC-07: A value of another type is refused, not taken for null."""
    with pytest.raises(ValueError, match="could not convert"):
        Number("n", 0, 1).encode(columns(n=["many"]))
    with pytest.raises(ValueError, match="is no time"):
        times(columns(t=[5])["t"])


def test_unknown_kinds_of_part_are_refused() -> None:
    """DM-04: An encoder of a newer release is not half read."""
    with pytest.raises(ValueError, match="'spline' is no kind of part"):
        Encoder.from_json({"numbers": [{"kind": "spline", "column": "n"}]})


def test_times_are_read_from_text_and_from_tables() -> None:
    """DM-18: ISO text, datetimes and numpy's own times are the same moment; a zone is converted to UTC; null is NaT."""
    zone = timezone(timedelta(hours=-5))
    written = columns(
        t=[
            "2013-01-01T07:00",
            "2013-01-01T07:00:00Z",
            "2013-01-01T02:00:00-05:00",
            datetime(2013, 1, 1, 2, tzinfo=zone),
            datetime(2013, 1, 1, 7),
            np.datetime64("2013-01-01T07"),
        ]
    )["t"]
    assert set(times(written)) == {np.datetime64("2013-01-01T07:00:00")}
    assert times(columns(t=[date(2013, 1, 1)])["t"])[0] == np.datetime64("2013-01-01")
    assert np.isnat(times(columns(t=[None])["t"])).all()
    assert times(np.array(["2013-01-01T07"], dtype="datetime64[ns]")).dtype == np.dtype("datetime64[s]")


def test_rows_and_columns_are_two_views_of_the_same() -> None:
    """DM-18: Columns of a table become rows that strict JSON carries, and give the same tensors when they come back."""
    table = {
        "t": np.array(["2013-01-01T07:05", "NaT"], dtype="datetime64[us]"),
        "n": np.array([1.5, np.nan]),
        "c": np.array(["a", None], dtype=object),
        "i": np.array([1, 2]),
    }
    rows = rows_from_columns(table, ["t", "n", "c", "i"])
    assert rows == [{"t": "2013-01-01T07:05:00", "n": 1.5, "c": "a", "i": 1}, {"t": None, "n": None, "c": None, "i": 2}]
    back = columns_from_rows(json.loads(json.dumps(rows, allow_nan=False)), list(table))
    assert times(back["t"])[0] == times(table["t"])[0]
    assert numbers(back["n"])[0] == 1.5
    assert np.isnan(numbers(back["n"])[1])


def test_a_name_that_a_row_lacks_is_null() -> None:
    """DM-18: Optional fields may be left out of a request."""
    assert columns_from_rows([{"a": 1}, {}], ["a", "b"])["b"].tolist() == [None, None]


def test_names_of_categories() -> None:
    """DM-04: Whole floats are written as integers, other values as they are, null as None."""
    assert [text(value) for value in (1.0, 1.5, "x", None, float("nan"), np.datetime64("NaT"))] == ["1", "1.5", "x", None, None, None]


scalars = st.none() | st.floats() | st.integers(-(2**40), 2**40)
words = st.none() | st.text(max_size=5) | st.integers(0, 9) | st.floats(0, 9)


@settings(max_examples=60)
@given(st.lists(st.tuples(scalars, words), min_size=1, max_size=20), st.lists(st.tuples(scalars, words), min_size=1, max_size=20))
def test_any_rows_encode_to_finite_numbers_and_json_keeps_the_encoder(
    fitted: list[tuple[object, object]], given_rows: list[tuple[object, object]]
) -> None:
    """DM-04, DM-18: Whatever was fitted and whatever comes: finite tensors of one width, known codes, and the same from the encoder that
    JSON carried."""
    known = columns(n=[n for n, _ in fitted], c=[c for _, c in fitted])
    encoder = Encoder(
        {
            "numbers": [Number.fit(known, "n", nulls=True), Steps.fit(known, "n", 4), Cycle("n", 24)],
            "categories": [Category.fit(known, "c")],
        }
    )
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)))
    assert again == encoder
    assert hash(again) == hash(encoder)
    come = columns(n=[n for n, _ in given_rows], c=[c for _, c in given_rows])
    found, same = encoder.encode(come), again.encode(come)
    assert found["numbers"].shape == (len(given_rows), encoder.width("numbers"))
    assert np.isfinite(found["numbers"]).all()
    assert ((found["categories"] >= 0) & (found["categories"] < encoder.sizes("categories")[0])).all()
    assert all(np.array_equal(found[name], same[name]) for name in found)
