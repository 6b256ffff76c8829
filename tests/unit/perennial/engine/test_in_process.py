"""Passes over many rows, run in this process."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.engine.in_process import fold, run
from perennial.engine.rows import BATCH_ROWS


class Carriers:
    """Rows of each carrier, and the columns that were seen."""

    columns = ("carrier", "origin")

    def empty(self):
        return Counter(), set()

    def add(self, state, batch):
        counts, seen = state
        counts.update(batch["carrier"].to_pylist())
        seen.update(batch.schema.names)
        return state

    def merge(self, state, other):
        state[0].update(other[0])
        state[1].update(other[1])
        return state

    def finish(self, state):
        return dict(state[0]), sorted(state[1])


def flights(carriers):
    """A table with a column that no pass asks for, and without one that `Carriers` asks for."""
    return pa.table({"carrier": pa.array(carriers, pa.string()), "distance": [1.0] * len(carriers)})


@given(
    carriers=st.lists(st.sampled_from(["UA", "AA", None]), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_however_rows_are_divided_the_result_is_that_of_all(carriers, cuts, order):
    """DM-14, DE-22: Parts cut anywhere and given in any order, folded elsewhere and sent here, or given as one table."""
    expected = dict(Counter(carriers))
    borders = sorted({0, len(carriers), *(min(cut, len(carriers)) for cut in cuts)})
    parts = [flights(carriers[first:end]) for first, end in pairwise(borders)]
    order.shuffle(parts)
    assert run(Carriers(), *parts)[0] == run(Carriers(), flights(carriers))[0] == expected
    states = [pickle.loads(pickle.dumps(fold(Carriers(), part))) for part in parts]
    state = Carriers().empty()
    for other in states:
        state = Carriers().merge(state, other)
    assert Carriers().finish(state)[0] == expected


def test_no_rows_have_a_result():
    """DM-14: Neither a table without rows nor no table at all is an error."""
    assert run(Carriers()) == run(Carriers(), flights([]))
    assert run(Carriers(), flights([]))[0] == {}


def test_a_table_a_file_and_a_dataset_are_read_alike(tmp_path):
    """DM-14: Those of the wanted columns that are there are read, and no others."""
    table = flights(["UA", "AA", None] * 100)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70)
    for rows in (table, tmp_path / "a.parquet", pyarrow.dataset.dataset(tmp_path / "a.parquet")):
        assert run(Carriers(), rows) == ({"UA": 100, "AA": 100, None: 100}, ["carrier"])


class Sizes:
    """Rows of each batch."""

    columns = ("carrier",)

    def empty(self):
        return []

    def add(self, state, batch):
        return [*state, batch.num_rows]

    def merge(self, state, other):
        return state + other

    def finish(self, state):
        return state


def test_small_batches_are_put_together_and_large_ones_cut():
    """DM-14: A thousand small pieces cost no more than a few batches, and a huge table is never in memory twice."""
    pieces = pa.concat_tables([flights(["UA"] * 100) for _ in range(1000)])
    few = run(Sizes(), pieces)
    assert sum(few) == 100_000
    assert len(few) <= 2 * 100_000 / BATCH_ROWS + 1
    assert max(few) <= BATCH_ROWS
    assert run(Sizes(), flights(["UA"] * (BATCH_ROWS + 1)).combine_chunks()) == [BATCH_ROWS, 1]
