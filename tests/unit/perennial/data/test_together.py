"""Batches that go into a table in one commit are each there, and each can be taken out alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.merging import BATCH, Rule
from perennial.data.tables import Table
from perennial.data.together import TOGETHER, Staged, facts_of, going, joined
from perennial.errors import BatchRefused
from perennial.store import FolderStore

KEY = ("ride",)
RULE = Rule(KEY)


def staged(name: str, *rides: int | None, **facts: str) -> Staged:
    rows = pa.table({"ride": pa.array(rides, pa.int64()), "km": pa.array([1.5] * len(rides), pa.float64())})
    return Staged(name * 64, f"{name}.csv", rows, {"name": f"{name}.csv", "zone": "UTC", **facts}, ("zone", "shape"))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(FolderStore(str(tmp_path)), "rides")


def known(*rides: int | None) -> pa.Table:
    return pa.table({"ride": pa.array(rides, pa.int64())})


@pytest.mark.parametrize(
    ("batches", "stored", "names"),
    [
        ([("a", 1, 2), ("b", 3)], (), "ab"),
        ([("a", 1, 2), ("b", 3)], (4, 5), "ab"),
        ([("a", 1, 2), ("b", 3)], (2,), "b"),
        ([("a", 1, 2), ("b", 3)], (3, 3), "a"),
        ([("a", 1, 2), ("b", 2, 3), ("c", 4)], (), "ac"),
        ([("a", 1), ("b", 1), ("c", 1)], (), "a"),
        ([("a", 1), ("b", 1, 2), ("c", 2)], (1,), ""),
        ([("a", 1), ("b", 2), ("c", 3)], (1, 2, 3), ""),
        ([("a", None), ("b", 1)], (None,), "b"),
        ([("a", None), ("b", None)], (), "a"),
        ([], (1,), ""),
    ],
)
def test_batches_go_together_that_share_no_key(batches: list[tuple[str, int]], stored: tuple[int, ...], names: str) -> None:
    """DM-10, DM-05: Neither with the table nor with one before them, be that one out itself: it may be refused, or taken."""
    assert [batch.label[0] for batch in going([staged(*batch) for batch in batches], known(*stored), KEY)] == list(names)


def test_rows_without_a_key_all_go() -> None:
    """DM-10: Nothing tells them apart."""
    batches = [staged("a", 1), staged("b", 1)]
    assert going(batches, known(1), ()) == batches


def test_rows_carry_the_label_of_their_batch() -> None:
    """DM-10: A column that one lacks is null in its rows."""
    more = Staged("m", "more.csv", pa.table({"ride": [3], "tip": [0.5]}), {})
    assert joined([staged("a", 1, 2), more]).to_pylist() == [
        {"ride": 1, "km": 1.5, BATCH: "a.csv", "tip": None},
        {"ride": 2, "km": 1.5, BATCH: "a.csv", "tip": None},
        {"ride": 3, "km": None, BATCH: "more.csv", "tip": 0.5},
    ]


def test_a_commit_tells_of_each_of_its_batches() -> None:
    """DM-10: As if it were the commit of each alone, newest first; what all have alike it tells of itself as well."""
    first = staged("a", 1, 2)
    assert first.said == {
        "perennial.batch": "a" * 64,
        "perennial.label": "a.csv",
        "perennial.rows": "2",
        "perennial.name": "a.csv",
        "perennial.zone": "UTC",
    }
    assert first.of_all == {"perennial.zone": "UTC"}
    assert facts_of({"perennial.batch": "x", "more": "y"}) == [{"perennial.batch": "x", "more": "y"}]
    assert facts_of({TOGETHER: '[{"perennial.batch": "a"}, {"perennial.batch": "b"}]'}) == [
        {"perennial.batch": "b"},
        {"perennial.batch": "a"},
    ]
    assert facts_of({"operation": "OPTIMIZE"}) == []


def test_batches_are_appended_in_one_commit(table: Table) -> None:
    """DM-10, DM-05: Each with its digest, label, rows and facts; again they are not appended."""
    batches = [staged("a", 1, 2), staged("b", 3), staged("c", 4, 5, 6)]
    assert table.append_together(batches, RULE) == (1, frozenset(batch.digest for batch in batches))
    assert (table.version(), table.count()) == (1, 6)
    assert [(b.digest, b.label, b.name, b.rows, b.added.version) for b in table.batches()] == [
        ("c" * 64, "c.csv", "c.csv", 3, 1),
        ("b" * 64, "b.csv", "b.csv", 1, 1),
        ("a" * 64, "a.csv", "a.csv", 2, 1),
    ]
    assert all(table.has_batch(batch.digest) for batch in batches)
    found = table.commit_of("b" * 64)
    assert found is not None
    assert found.time is not None
    assert found.metadata == staged("b", 3).said
    assert table.newest_fact("zone") == "UTC"
    assert table.newest_fact("name") == ""
    assert table.append_together(batches, RULE) == (0, frozenset())
    assert table.merge(batches[0].rows, batches[0].digest, RULE).counts is None
    assert table.count() == 6


def test_what_does_not_fit_is_left_to_a_commit_of_its_own(table: Table) -> None:
    """DM-10: Keys that are in, a column of another type or other columns than the first; and fewer than two are no group."""
    table.append(staged("a", 1).rows, "a" * 64, key=KEY)
    other = Staged("o" * 64, "o.csv", pa.table({"ride": [7], "km": ["far"]}), {})
    wider = Staged("w" * 64, "w.csv", pa.table({"ride": [8], "km": [1.0], "tip": [0.5]}), {})
    together = [staged("b", 2), staged("c", 1, 3), other, wider, staged("d", 4)]
    assert table.append_together(together, RULE) == (2, frozenset({"b" * 64, "d" * 64}))
    assert table.append_together([staged("e", 5), staged("f", 1)], RULE) == (0, frozenset())
    assert table.append_together([other], RULE) == (0, frozenset())
    assert table.count() == 3


def test_one_of_several_is_taken_out_alone(table: Table) -> None:
    """DM-11: Its rows leave the file that they share with those of others, which stay; it comes back only if somebody lets it."""
    batches = [staged("a", 1, 2), staged("b", 3), staged("c", 4, 5, 6)]
    table.append_together(batches, RULE)
    removed = table.remove("b" * 64, {"by": "ada", "reason": "wrong"})
    assert (removed.rows, removed.removed and removed.removed.version) == (1, 2)
    assert sorted(table.scan(["ride"])["ride"].to_pylist()) == [1, 2, 4, 5, 6]
    assert [(b.label, b.removed is None) for b in table.batches()] == [("c.csv", True), ("b.csv", False), ("a.csv", True)]
    assert table.append_together([batches[1], staged("d", 7), staged("e", 8)], RULE) == (3, frozenset({"d" * 64, "e" * 64}))
    with pytest.raises(BatchRefused, match=r"b.csv was taken out of the table rides .* by ada \(wrong\)"):
        table.merge(batches[1].rows, "b" * 64, RULE, label="b.csv")
    assert table.merge(batches[1].rows, "b" * 64, RULE, label="b.csv", again=True).version == 4
    assert sorted(table.scan(["ride"], version=1)["ride"].to_pylist()) == [1, 2, 3, 4, 5, 6]


def test_of_two_writers_one_commit_has_a_batch(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-05, DE-22: Another appends one of them in between: the group looks again, and leaves it."""
    batches = [staged("a", 1, 2), staged("b", 3), staged("c", 4)]
    table.append(staged("z", 9).rows, "z" * 64)
    really, others = table._commit, Table(table.store, "rides")

    def late(*args: object, **named: object) -> bool:
        monkeypatch.setattr(table, "_commit", really)
        others.append(batches[1].rows, batches[1].digest)
        return really(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(table, "_commit", late)
    assert table.append_together(batches, RULE) == (3, frozenset({"a" * 64, "c" * 64}))
    assert sorted(table.scan(["ride"])["ride"].to_pylist()) == [1, 2, 3, 4, 9]
