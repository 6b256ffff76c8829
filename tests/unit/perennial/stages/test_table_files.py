"""What is counted once for each file of a table gives what reading all of the table again would."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perennial.data import compaction
from perennial.data.tables import Table
from perennial.monitoring.outcomes import join, outcome_rows, outcomes_of
from perennial.monitoring.performance import rows_by_day
from perennial.stages._table_files import FileIds, count_waiting, days_and_newest, numbers_of, outcomes_with
from perennial.store import FolderStore

UTC = pa.timestamp("us", "UTC")
NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)
LATEST = NOW + timedelta(days=30, hours=12)
DAY = timedelta(days=1)


class Counting(FolderStore):
    """A store that counts what is read and written below `views/`."""

    def __init__(self, root):
        super().__init__(root)
        self.asked = Counter()

    def read(self, key):
        """Or count."""
        self.asked["read"] += key.startswith("views/")
        return super().read(key)

    def write(self, key, data):
        """Or count."""
        self.asked["write"] += key.startswith("views/")
        super().write(key, data)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return Counting(str(tmp_path))


def predictions(ids, times, shadow=False):
    """Rows of the table of predictions."""
    served = [NOW + timedelta(seconds=place) for place in range(len(ids))]
    return pa.table(
        {
            "prediction_id": pa.array(ids, pa.string()),
            "event_time": pa.array(times, UTC),
            "served_at": pa.array(served, UTC),
            "shadow": pa.array([shadow] * len(ids), pa.bool_()),
        }
    )


def outcomes(ids, chance):
    """Rows of the table of outcomes."""
    rows = [{"prediction_id": id, "outcome": float(chance.randrange(2)), "time": NOW + timedelta(hours=chance.randrange(99))} for id in ids]
    return outcome_rows(rows, "test")


def whole_days(table, latest):
    """What a scan of the whole table gives."""
    times = table.scan(["event_time"], ~pc.field("shadow") & (pc.field("event_time") <= pa.scalar(latest, UTC)))
    if not times.num_rows:
        return {}, None
    return rows_by_day(times["event_time"]), pc.max(times["event_time"].cast(pa.timestamp("us"))).as_py()


def whole_waiting(happened, predicted):
    """What both whole tables give."""
    known = set(predicted.scan(["prediction_id"])["prediction_id"].to_pylist()) if predicted.version() is not None else set()
    rows = happened.scan(["prediction_id"])
    return sum(id not in known for id in rows["prediction_id"].to_pylist()) if rows.num_columns else 0


def labels(rows):
    """What a join gives, in one order."""
    return sorted((row["prediction_id"], row["served_at"], row["outcome"]) for row in rows.to_pylist())


@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_and_goes_the_answers_are_those_of_a_full_reread(store, monkeypatch, seed):
    """MN-03, OP-10: Outcomes before their predictions, late, corrected and repeated ones, an id that is used again, shadows, times in the
    future, batches that are removed, compactions, kept counts that are lost or cut off: days, waiting outcomes and labels stay the same."""
    monkeypatch.setattr(compaction, "MANY", 4)
    chance = random.Random(seed)
    predicted, happened = Table(store, "m_predictions"), Table(store, "m_outcomes")
    batches = {predicted.name: [], happened.name: []}

    def append(table, rows):
        digest = f"{len(batches[table.name]):064x}"
        table.append(rows, digest)
        batches[table.name].append(digest)

    for turn in range(10):
        if chance.random() < 0.7:
            ids = [f"p{chance.randrange(120)}" for _ in range(chance.randrange(1, 12))]
            times = [NOW + timedelta(hours=chance.randrange(24 * 34)) for _ in ids]
            append(predicted, predictions(ids, times, shadow=chance.random() < 0.2))
        if chance.random() < 0.7:
            append(happened, outcomes([f"p{chance.randrange(150)}" for _ in range(chance.randrange(1, 15))], chance))
        table = chance.choice((predicted, happened))
        if chance.random() < 0.2 and batches[table.name]:
            table.remove(chance.choice(batches[table.name]), {"by": "tests", "reason": "wrong"})
        if chance.random() < 0.15:
            kept = list(store.list("views"))
            for stored in chance.sample(kept, min(2, len(kept))):
                store.write(stored.key, store.read(stored.key)[:-3]) if chance.random() < 0.5 else store.delete(stored.key)
        latest = LATEST + timedelta(hours=turn)
        assert days_and_newest(predicted, latest) == whole_days(predicted, latest)
        if happened.version() is None:
            continue
        assert count_waiting(happened, predicted) == whole_waiting(happened, predicted)
        if predicted.version() is not None:
            window = predicted.scan(["prediction_id", "served_at", "event_time"], pc.field("event_time") < pa.scalar(NOW + 9 * DAY, UTC))
            files = outcomes_with(happened, [window, window.slice(0, 0)])
            some, whole = (join(window, outcomes_of([window], rows)) for rows in (files, happened.dataset()))
            assert (labels(some[0]), some[1]) == (labels(whole[0]), whole[1])


def test_files_without_an_outcome_of_the_window_are_not_read(store):
    """OP-10, MN-03: Of ten files of outcomes the one with the window's is read."""
    happened, chance = Table(store, "m_outcomes"), random.Random(1)
    for number in range(10):
        happened.append(outcomes([f"{number}-{place}" for place in range(3)], chance), f"{number:064x}")
    window = predictions(["7-1", "unknown"], [NOW, NOW])
    (fragment,) = outcomes_with(happened, [window]).get_fragments()
    assert outcomes_of([window], outcomes_with(happened, [window]))["prediction_id"].to_pylist() == ["7-1"]
    assert fragment.count_rows() == 3
    assert list(outcomes_with(happened, [window.slice(0, 0)]).get_fragments()) == []


@pytest.mark.parametrize("commits", [2, 6])
def test_a_look_counts_what_is_new_alone(store, monkeypatch, commits):
    """OP-10: After 2 commits as after 6 a look at one more reads the rows of one file of each table, and a look at none reads no row."""
    predicted, happened, chance, read = Table(store, "m_predictions"), Table(store, "m_outcomes"), random.Random(2), list[str]()
    whole = Table.rows_of_files
    monkeypatch.setattr(Table, "rows_of_files", lambda table, paths, *more: read.extend(paths) or whole(table, paths, *more))

    def look():
        read.clear()
        store.asked.clear()
        found = days_and_newest(predicted, LATEST), count_waiting(happened, predicted)
        return found, len(read), store.asked["write"]

    for number in range(commits + 1):
        if number == commits:
            look()
        predicted.append(predictions([f"{number}"], [NOW]), f"{number:064x}")
        happened.append(outcomes([f"{number}", f"x{number}"], chance), f"{number:064x}")
    assert look() == ((({date(2026, 11, 1): commits + 1}, NOW.replace(tzinfo=None)), commits + 1), 3, 4)
    assert look() == ((({date(2026, 11, 1): commits + 1}, NOW.replace(tzinfo=None)), commits + 1), 0, 0)
    assert store.asked["read"] == 2


def test_what_is_kept_of_files_that_are_gone_is_removed(store, monkeypatch):
    """OP-10: A compaction leaves one file of ids for the one file that it made."""
    monkeypatch.setattr(compaction, "MANY", 3)
    happened, predicted, chance = Table(store, "m_outcomes"), Table(store, "m_predictions"), random.Random(3)
    for number in range(6):
        happened.append(outcomes([f"{number}"], chance), f"{number:064x}")
        assert count_waiting(happened, predicted) == number + 1
        assert {stored.key for stored in store.list("views/m_outcomes/ids")} == {
            f"views/m_outcomes/ids/{path}" for path in FileIds(happened).rows
        }


def test_ids_are_told_apart_by_their_numbers():
    """MN-03: Sorted, each as often as it is there, the same for ever."""
    numbers = numbers_of(pa.chunked_array([["b", "a"], ["a"]]))
    assert numbers.tolist() == sorted([7000413967451013937, 7000413967451013937, numbers_of(pa.chunked_array([["b"]])).tolist()[0]])
    assert numbers.dtype == np.uint64
