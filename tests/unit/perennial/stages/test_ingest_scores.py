"""Scores of a model as the rows of a dataset: each commit once, each row once, and what was there at its moment stays."""

from __future__ import annotations

import json
import shutil
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import remove_batch
from perennial.data.commits import log_key
from perennial.data.receipts import receipts
from perennial.data.snapshots import latest_snapshot, snapshot_at, table_of
from perennial.data.tables import Table
from perennial.errors import BatchRefused, StoredDataDamaged
from perennial.lineage import version_folder
from perennial.lineage.learned import Learned
from perennial.lineage.ledger import Ledger
from perennial.score_datasets import with_scores
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, ScoringSpec
from perennial.stages import _ingest_scores, ingest, score
from perennial.stages._ingest_scores import shaping_days
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_model, small_rows, small_version

FLIGHTS = DatasetSpec(
    name="flights", title="Flights", owner="tests", key=("flight",), event_time="scheduled_departure", time_zone="America/New_York",
    columns=(
        Column(name="flight", type="int"), Column(name="scheduled_departure", type="timestamp"),
        Column(name="carrier", type="string"), Column(name="origin", type="string"),
        Column(name="distance", type="int"), Column(name="temp", type="float", nullable=True),
        Column(name="late", type="bool", nullable=True),
    ),
)  # fmt: skip
MODEL = small_model().model_copy(update={"scoring": ScoringSpec(days=30)})
SCORES = with_scores(DatasetSpec(name="delay_scores", title="Scores", owner="tests", scores_of="small_delays"), MODEL, FLIGHTS)
FIRST = date(2013, 2, 1)


def flights(day: int, count: int = 5, first: int = 0) -> pa.Table:
    rows = small_rows(count, seed=day + first)
    for place, row in enumerate(rows, start=first):
        when = datetime.combine(FIRST + timedelta(days=day - 1), datetime.min.time()) + timedelta(hours=place % 24)
        row |= {"flight": 100 * day + place, "scheduled_departure": when, "late": None}
    types = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "bool": pa.bool_(), "timestamp": pa.timestamp("us")}
    return pa.Table.from_pylist(rows, pa.schema([(column.name, types[column.type]) for column in FLIGHTS.columns]))


class House:
    """A store with flights, versions of a model that are champion one after the other, and a dataset of its scores."""

    def __init__(self, root, monkeypatch):
        self.root, self.store = root, FolderStore(str(root / "store"))
        self.settings = Settings.from_environment({"PERENNIAL_HOME": str(root / "home")})
        datasets = {"flights": FLIGHTS, "delay_scores": SCORES}
        monkeypatch.setattr(discovery, "model", lambda name: MODEL)
        monkeypatch.setattr(discovery, "models", lambda: {MODEL.name: MODEL})
        monkeypatch.setattr(discovery, "dataset", datasets.__getitem__)
        monkeypatch.setattr(discovery, "datasets", lambda: datasets)
        monkeypatch.setattr(discovery, "clean_of", lambda name: None)
        monkeypatch.setattr(ingest, "dataset_spec", datasets.__getitem__)
        self.digests = {}

    def land(self, *tables):
        for table in tables:
            known = len(table_of(self.store, FLIGHTS).batches())
            table_of(self.store, FLIGHTS).append(table, f"{known:064d}")
        return self

    def sealed(self, number, bounds=("2013-01-01", "2013-01-20", "2013-01-25"), recalibrated=()):
        folder = small_version(self.root / f"version{number}", seed=number)
        if bounds:
            train, validation, end = bounds
            parts = {"train": [train, validation], "validation": [validation, end], "test": [end, "2013-02-01"]}
            (folder / "training.json").write_text(json.dumps({"bounds": parts, "rows": {}}))
        if recalibrated:
            (folder / "recalibration.json").write_text(json.dumps({"fitted_days": list(recalibrated)}))
        manifest = small_manifest(seed=number, run_key=f"{number:024d}")
        self.digests[number] = version_folder.publish(self.store, MODEL.name, folder, manifest)
        return self

    def released(self, number=1, **sealed):
        self.sealed(number, **sealed)
        ledger = Ledger(self.store, MODEL.name)
        last = ledger.last()
        ledger.append(
            "released", version=number, champion=number, weights={number: 10000}, versions=self.digests, reason="r", actor="a",
            after_seq=last.seq if last else None,
        )  # fmt: skip
        return self

    def score(self, **asked):
        score.run(self.settings, self.store, MODEL.name, **asked)
        return self

    def take(self, run="", **named):
        return ingest.run(self.settings, self.store, "delay_scores", run=run, **named)

    def rows(self, version=None):
        snapshot = latest_snapshot(self.store, SCORES) if version is None else snapshot_at(self.store, SCORES, version)
        return [] if snapshot is None else snapshot.rows().to_dict("records")

    def given(self):
        """Which version gave the score of which flight."""
        return {row["flight"]: row["version"] for row in self.rows()}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A house that is copied for each test."""
    with pytest.MonkeyPatch.context() as patch:
        yield House(tmp_path_factory.mktemp("house"), patch).land(flights(1), flights(2)).released().score()


@pytest.fixture
def house(furnished, tmp_path, monkeypatch):
    """See `House`: version 1 has scored two days."""
    shutil.copytree(furnished.root, tmp_path, dirs_exist_ok=True)
    house = House(tmp_path, monkeypatch)
    house.digests = dict(furnished.digests)
    return house


def test_scores_of_the_champion_are_rows(house):
    """DM-13: With the key and the time of the scored row, the version that gave them and when; a receipt for each day."""
    result = house.take("run 1")
    assert (result.outcome, result.snapshot, result.appended) == (
        "done", 2, {"small_delays version 1, 2013-02-01": 5, "small_delays version 1, 2013-02-02": 5},
    )  # fmt: skip
    assert result.sentence == "Took 10 scores of small_delays into delay_scores, now snapshot 2."
    given = {row["key_flight"]: row for row in Table(house.store, "small_delays_scores").scan().to_pylist()}
    row = house.rows()[6]
    assert (row["flight"], row["scheduled_departure"], row["version"]) == (201, datetime(2013, 2, 2, 1), 1)
    assert (row["score_on_time"], row["score_late"]) == (given[201]["score_on_time"], given[201]["score_late"])
    ago = datetime.now(timezone.utc).astimezone().replace(tzinfo=None)  # wall time of New York is hours behind
    assert timedelta() < abs(ago - row["scored_at"].to_pydatetime()) < timedelta(days=1)
    kept = receipts(house.store, "delay_scores")
    assert [(receipt.outcome, receipt.rows, receipt.since, receipt.run) for receipt in kept] == [
        ("appended", 5, 1, "run 1"), ("appended", 5, 2, "run 1"),
    ]  # fmt: skip
    assert kept[1].sentence == "small_delays version 1, 2013-02-02: 5 scores are in the table delay_scores since snapshot 2."
    assert (kept[0].oldest, kept[0].newest) == (datetime(2013, 2, 1), datetime(2013, 2, 1, 4))


def test_a_commit_is_taken_once(house):
    """DM-13: A second look takes nothing, also where the note of the first is gone; scoring again gives what is known."""
    house.take("run 1")
    again = house.take("run 2")
    assert (again.outcome, again.appended, again.snapshot) == ("skipped", {}, 2)
    assert again.sentence.startswith("small_delays has given no new scores since the last look: perennial score --model small_delays")
    house.store.delete("scores/delay_scores/looked")
    assert house.take("run 3").outcome == "skipped"
    house.store.write("scores/delay_scores/looked", b"{")
    assert house.take("run 4").outcome == "skipped"
    known = house.score().take("run 5")
    assert (known.outcome, known.snapshot, len(known.duplicates)) == ("done", 2, 2)
    assert known.sentence == "10 rows had a score already, which stays: what was there at its moment does not change."
    assert [receipt.outcome for receipt in receipts(house.store, "delay_scores")].count("duplicate") == 2


def test_a_newer_version_changes_no_row_that_is_in(house):
    """DM-13: What a past training saw stays, and that is said; rows that have no score yet get the newer version's."""
    house.take("run 1")
    before = house.rows()
    house.released(2).land(flights(2, 2, first=5), flights(3)).score()
    result = house.take("run 2")
    assert sum(result.appended.values()) == 7
    assert result.sentence == (
        "Took 7 scores of small_delays into delay_scores, now snapshot 5. "
        "10 rows had a score already, which stays: what was there at its moment does not change."
    )
    assert result.counts == {"added": 7, "kept": 10}
    assert house.rows(2) == before
    assert house.given() == {**dict.fromkeys([*range(100, 105), *range(200, 205)], 1), **dict.fromkeys([205, 206, *range(300, 305)], 2)}
    assert {row["flight"] for row in house.rows()} == set(house.given())


def test_what_does_not_count_is_left_out_and_told(house):
    """DM-13: Scores of another version than the champion, of files and queries, and of days whose labels the version learned."""
    house.take("run 1")
    house.sealed(2).land(flights(3, 3))
    Ledger(house.store, MODEL.name).append(
        "rejected", version=2, champion=1, weights={1: 10000}, versions=house.digests, reason="r", actor="a", after_seq=0
    )
    house.score(version=2, first=date(2013, 2, 3)).score(query="select * from flights where flight < 102")
    result = house.take("run 2")
    assert (result.outcome, result.appended) == ("skipped", {})
    assert result.sentence == (
        "3 scores are of version 2, which was not the champion when it gave them: left out. "
        "2 scores are of a file or a query, and no rows of the dataset: left out."
    )
    house.released(3, bounds=("2013-01-01", "2013-02-01", "2013-02-03")).score()
    result = house.take("run 3")
    assert house.given() == {**dict.fromkeys([*range(100, 105), *range(200, 205)], 1), **dict.fromkeys(range(300, 303), 3)}
    assert "10 scores are of days whose labels version 3 learned" in result.sentence
    house.land(flights(4, 2)).released(4, bounds=()).score()
    assert "15 scores are of version 4, and of what it learned is not known: left out." in house.take("run 4").sentence


def test_a_score_counts_if_its_version_was_the_champion_then(house):
    """DM-13: And not if it is now: a look that comes late decides as one that came at once."""
    house.released(2)
    assert set(house.take().appended) == {"small_delays version 1, 2013-02-01", "small_delays version 1, 2013-02-02"}


def test_a_try_that_was_killed_is_finished(house, monkeypatch):
    """DM-13: Between the rows and their receipt, or before it was told: the next try of the run tells of all, and no row comes twice."""
    write, calls = _ingest_scores.write_receipt, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(_ingest_scores, "write_receipt", killed)
    with pytest.raises(KeyboardInterrupt):
        house.take("run 1")
    monkeypatch.setattr(_ingest_scores, "write_receipt", write)
    assert len(house.rows()) == 10
    result = house.take("run 1", retry=True)
    assert sorted(result.appended.values()) == [5, 5]
    told_again = house.take("run 1", retry=True)
    assert told_again.appended == result.appended
    assert house.take("run 2").outcome == "skipped"
    assert len(house.rows()) == 10


def test_before_anything_is_scored_there_is_nothing(house):
    """DM-13: The sentence says what gives scores."""
    shutil.rmtree(house.root / "store/tables/small_delays_scores")
    assert house.take().sentence == "small_delays has no scores in batches yet: set scoring in its spec, or run perennial score by hand."


def test_a_day_whose_rows_are_gone_takes_none_away(house):
    """DM-13: Scores that were taken in stay, though the table of scores has them no more."""
    house.take()
    for number in range(2):
        table_of(house.store, FLIGHTS).remove(f"{number:064d}", {"by": "ada", "reason": "wrong"})
    house.land(flights(3)).score(first=FIRST)
    house.take()
    assert set(house.given()) == {*range(100, 105), *range(200, 205), *range(300, 305)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "Commit 2 of the table small_delays_scores is missing: restore"),
        (b"{}", "00002.json cannot be read"),
        (b"{", "00002.json cannot"),
    ],
)
def test_a_damaged_commit_is_told(house, content, sentence):
    """DM-13, OP-04: Rather than left out without a word."""
    key = log_key("small_delays_scores", 2)
    house.store.delete(key) if content is None else house.store.write(key, content)
    with pytest.raises(StoredDataDamaged, match=sentence):
        list(_ingest_scores.commits_since(house.store, "small_delays_scores", 1, 2))


def test_a_batch_of_scores_is_taken_out_and_comes_back(house, capsys):
    """DM-13: Rows that a newer version scored, too, become its own; once it may come back, the next look takes it."""
    house.take()
    house.released(2).score().take()
    remove_batch.run(house.settings, house.store, "delay_scores", "small_delays version 1, 2013-02-01", reason="a wrong feed", by="ada")
    assert house.given() == {**dict.fromkeys(range(100, 105), 2), **dict.fromkeys(range(200, 205), 1)}
    house.take("later")
    assert house.given()[100] == 2
    remove_batch.run(house.settings, house.store, "delay_scores", "small_delays version 2, 2013-02-01", reason="too", by="ada")
    assert set(house.given()) == set(range(200, 205))
    named = ("delay_scores", "small_delays version 1, 2013-02-01")
    remove_batch.run(house.settings, house.store, *named, reason="it was right", by="ada", again=True)
    assert "it is taken with the next ingestion of delay_scores" in capsys.readouterr().out
    house.take("again")
    assert house.given() == dict.fromkeys([*range(100, 105), *range(200, 205)], 1)


def test_the_days_that_shaped_a_version(house):
    """DM-13: Those of its training and validation, of its recalibration, and not those that it was only measured on."""
    house.sealed(5, recalibrated=("2013-02-02", "2013-02-03"))
    known = {one.digest: one for one in _ingest_scores.learned(house.store, MODEL.name, {})}
    assert shaping_days(house.store, MODEL.name, known[house.digests[1]]) == [(date(2013, 1, 1), date(2013, 1, 24))]
    assert shaping_days(house.store, MODEL.name, known[house.digests[5]]) == [
        (date(2013, 1, 1), date(2013, 1, 24)), (date(2013, 2, 2), date(2013, 2, 3)),
    ]  # fmt: skip
    assert shaping_days(house.store, MODEL.name, None) is None
    bare: Learned = known[house.digests[1]].model_copy(update={"days": {}})
    assert shaping_days(house.store, MODEL.name, bare) is None


def test_files_do_not_land_for_it(house, tmp_path):
    """DM-01, DM-13: The sentence says where its rows come from."""
    from perennial.commands import land

    (tmp_path / "own.csv").write_text("flight\n1\n")
    with pytest.raises(
        BatchRefused, match="delay_scores takes no files: its rows are the scores of small_delays, which come by themselves"
    ):
        land.run(house.settings, house.store, [str(tmp_path / "own.csv")], "delay_scores", None, None)
    with pytest.raises(BatchRefused, match="delay_scores takes no files"):
        land.run(house.settings, house.store, ["delay_scores"], None, None, None)
