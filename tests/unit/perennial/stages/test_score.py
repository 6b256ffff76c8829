"""The stage score: rows in batches, by the scorer that serves, each partition of the table written whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import numpy as np
import orjson
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import served_at
from perennial.data.snapshots import table_of
from perennial.data.tables import Table
from perennial.errors import BatchRefused, CandidateRefused, Fault, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import publish
from perennial.monitoring.answers import answers_since
from perennial.monitoring.outcomes import join, outcome_rows
from perennial.serving.batch import answer
from perennial.serving.prediction_log import PredictionLog
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, ScoringSpec
from perennial.stages import _score_answers, score
from perennial.stages._release_times import requests_a_day
from perennial.store import FolderStore
from perennial.testing import FEATURES, publish_small_version, small_manifest, small_model, small_rows, small_version

DATASET = DatasetSpec(
    name="flights", title="Flights", owner="tests", key=("flight",), event_time="scheduled_departure", time_zone="America/New_York",
    columns=(
        Column(name="flight", type="int"), Column(name="scheduled_departure", type="timestamp"),
        Column(name="carrier", type="string"), Column(name="origin", type="string"),
        Column(name="distance", type="int", nullable=True), Column(name="temp", type="float", nullable=True),
        Column(name="late", type="bool", nullable=True),
    ),
)  # fmt: skip
MODEL = small_model().model_copy(update={"scoring": ScoringSpec(rows_at_once=7)})
FIRST = date(2013, 2, 1)


def flights(day: int, count: int = 20, **changed) -> pa.Table:
    """Flights of a day, numbered 100 times the day and up; `changed` has values of columns by place."""
    rows = small_rows(count, seed=day)
    for place, row in enumerate(rows):
        row |= {
            "flight": 100 * day + place,
            "scheduled_departure": datetime.combine(FIRST + timedelta(days=day - 1), datetime.min.time()) + timedelta(hours=place % 24),
            "late": None,
        }
    for name, values in changed.items():
        for place, value in values.items():
            rows[place][name] = value
    types = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "bool": pa.bool_(), "timestamp": pa.timestamp("us")}
    return pa.Table.from_pylist(rows, pa.schema([(column.name, types[column.type]) for column in DATASET.columns]))


class House:
    """A store with three days of flights and a first version that has all traffic."""

    def __init__(self, root, monkeypatch):
        self.root, self.store = root, FolderStore(str(root / "store"))
        self.settings = Settings.from_environment({"PERENNIAL_HOME": str(root / "home")})
        self.model = MODEL
        monkeypatch.setattr(discovery, "model", lambda name: self.model)
        monkeypatch.setattr(discovery, "dataset", lambda name: DATASET)
        monkeypatch.setattr(discovery, "clean_of", lambda name: None)
        self.digests = {}

    def land(self, *tables):
        for table in tables:
            table_of(self.store, DATASET).append(table, f"{len(self.batches()):064d}")
        return self

    def batches(self):
        return table_of(self.store, DATASET).batches()

    def released(self, number=1):
        self.digests[number] = publish_small_version(self.store, self.root / f"version{number}", seed=number)
        ledger = Ledger(self.store, MODEL.name)
        last = ledger.last()
        ledger.append(
            "released", version=number, champion=number, weights={number: 10000}, versions=self.digests, reason="r", actor="a",
            after_seq=last.seq if last else None,
        )  # fmt: skip
        return self

    def score(self, **asked):
        return score.run(self.settings, self.store, MODEL.name, **asked)

    def scores(self, **where):
        table = Table(self.store, "small_delays_scores")
        rows = table.scan() if table.version() is not None else pa.table({})
        rows = rows.to_pylist()
        return sorted(
            (row for row in rows if all(row[name] == value for name, value in where.items())),
            key=lambda row: (row["key_flight"], row["version"]),
        )

    def predictions(self):
        table = Table(self.store, "small_delays_predictions")
        rows = table.scan() if table.version() is not None else pa.table({})
        return rows.drop_columns(["served_at"]).sort_by("prediction_id").to_pylist() if rows.num_rows else []

    def held_back(self):
        lists = sorted(item.key for item in self.store.list("scoring/small_delays/held_back"))
        return {
            key.rpartition("/")[2].removesuffix(".jsonl"): [json.loads(line) for line in self.store.read(key).splitlines()] for key in lists
        }


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A house that is copied for each test: making one takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        yield House(tmp_path_factory.mktemp("house"), patch).land(flights(1), flights(2), flights(3)).released()


@pytest.fixture
def house(furnished, tmp_path, monkeypatch):
    """See `House`."""
    shutil.copytree(furnished.root, tmp_path, dirs_exist_ok=True)
    house = House(tmp_path, monkeypatch)
    house.digests = dict(furnished.digests)
    return house


def test_scores_are_those_of_a_request(house):
    """SE-03: The scores of a block are those of a request with the same rows, bit for bit; the table says which version scored which row of
    which snapshot."""
    result = house.score()
    assert (result.rows, result.days, result.held_back, result.changed) == (60, 3, 0, 60)
    scorer = Scorer(house.root / "version1")
    rows = flights(2).to_pylist()
    for begin in range(0, 20, MODEL.scoring.rows_at_once):
        block = [{name: row[name] for name in MODEL.inputs} for row in rows[begin : begin + MODEL.scoring.rows_at_once]]
        for row in block:
            row["scheduled_departure"] = row["scheduled_departure"].isoformat()
        request = read_request(orjson.dumps({"data": {"rows": block}}), scorer.signature)
        stored = house.scores(day=FIRST + timedelta(days=1))[begin : begin + len(block)]
        assert [[row["score_on_time"], row["score_late"]] for row in stored] == scorer.score(request.columns).tolist()
    row = stored[-1]
    assert (row["key_flight"], row["event_time"]) == (219, datetime(2013, 2, 2, 19))
    assert (row["version"], row["digest"], row["snapshot"], row["source"], row["run"]) == (1, house.digests[1], 3, "flights", "by hand")
    assert result.difference < 1e-6


def test_what_a_request_would_refuse_is_held_back(house):
    """SE-03: Each row on its own: those around it are scored. The list says which and why."""
    house.land(flights(4, distance={3: None}, origin={5: "SFO"}, temp={8: float("inf"), 9: float("nan")}))
    result = house.score(first=date(2013, 2, 4), last=date(2013, 2, 4))
    assert (result.rows, result.held_back) == (17, 3)
    assert {row["key_flight"] for row in house.scores()} == {*range(400, 420)} - {403, 405, 408}
    (listed,) = house.held_back().values()
    assert [(row["key"]["flight"], row["why"]) for row in listed] == [
        (403, "distance must not be null."),
        (405, "origin is 'SFO': it must be one of EWR, JFK, LGA."),
        (408, "temp is infinite: it must be finite."),
    ]
    assert "3 rows were held back (the first: distance must not be null" in result.sentence


def test_doing_it_again_changes_nothing(house):
    """SE-03: The same ids and scores; no prediction a second time."""
    first = house.score()
    scores, predictions = house.scores(), house.predictions()
    again = house.score(run="later")
    assert (first.changed, again.changed) == (60, 0)
    assert [row | {"run": "by hand"} for row in house.scores()] == scores
    assert house.predictions() == predictions


def test_a_partition_is_a_day_of_a_source_scored_by_a_version(house):
    """SE-03: Scoring again writes over its own partition and over no other: not other days', not other versions', not other sources'."""
    house.score()
    house.score(query="select * from flights", first=date(2013, 2, 2), last=date(2013, 2, 2))
    house.released(2).score(first=date(2013, 2, 2), last=date(2013, 2, 3))
    before = house.scores()
    assert len(before) == 60 + 20 + 40
    table_of(house.store, DATASET).remove(f"{1:064d}", {"by": "ada", "reason": "wrong"})  # all of February 2
    house.land(flights(3, 21).slice(20))
    house.score(first=date(2013, 2, 2), last=date(2013, 2, 3), run="after")

    def untouched(row):
        return row["version"] == 1 or row["source"] != "flights"

    after = house.scores()
    assert [row for row in after if untouched(row)] == [row for row in before if untouched(row)]
    assert [row["key_flight"] for row in after if not untouched(row)] == list(range(300, 321))
    assert {row["run"] for row in after if not untouched(row)} == {"after"}


def test_parts_make_the_same_whole(house):
    """SE-03: Whatever the number of parts, in whatever order they are scored."""
    house.land(flights(4, distance={3: None}))
    once = house.score()
    whole, listed, logged = house.scores(), house.held_back(), house.predictions()
    for place in ("tables/small_delays_scores", "tables/small_delays_predictions", "scoring"):
        for stored in list(house.store.list(place)):
            house.store.delete(stored.key)
    plan = house.score(plan=True)
    assert "80 rows of snapshot 4 of flights (4 days, 2013-02-01 to 2013-02-04)" in plan.sentence
    for part in (3, 1):
        house.score(planned=plan.plan, partition=(part, 3))
    with pytest.raises(Fault, match=f"Part 2 of 3 of .* --planned {plan.plan} --partition 2/3`"):
        house.score(planned=plan.plan, merge=3)
    house.score(planned=plan.plan, partition=(2, 3))
    merged = house.score(planned=plan.plan, merge=3)
    assert (house.scores(), house.held_back(), house.predictions()) == (whole, listed, logged)
    assert (merged.rows, merged.changed, merged.held_back) == (once.rows, once.changed, once.held_back) == (79, 79, 1)
    assert house.score(planned=plan.plan, merge=3) == merged
    assert [item.key.rpartition("/")[2] for item in house.store.list(f"scoring/small_delays/plans/{plan.plan}")] == [
        "done.json",
        "plan.json",
    ]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_between_any_two_writes(house, monkeypatch):
    """SE-03, OP-08: Whichever write was the last one, doing it again gives the table, the list and the predictions that there would be."""
    house.land(flights(4, 8, distance={3: None}))
    day = {"first": date(2013, 2, 4), "last": date(2013, 2, 4)}
    root = house.store.root
    writes = 0

    def counts(name, at):
        act = getattr(FolderStore, name)

        def counted(self, *arguments):
            nonlocal writes
            if self.root != root:
                return act(self, *arguments)
            writes += 1
            if writes == at:
                raise Killed
            return act(self, *arguments)

        return counted

    def killed_at(at):
        nonlocal writes
        writes = 0
        with monkeypatch.context() as patch:
            for name in ("write", "put_if_absent", "upload", "delete"):
                patch.setattr(FolderStore, name, counts(name, at))
            try:
                house.score(**day)
            except Killed:
                return True
        return False

    def left():
        return house.scores(), house.held_back(), house.predictions()

    assert not killed_at(0)
    wanted, every = left(), writes
    assert every > 8
    for at in range(1, every + 1):
        for place in ("tables/small_delays_scores", "tables/small_delays_predictions", "scoring"):
            for stored in list(house.store.list(place)):
                house.store.delete(stored.key)
        assert killed_at(at)
        house.score(**day)
        assert left() == wanted, f"after {at} of {every} writes"


def test_scores_count_as_predictions_and_outcomes_find_them(house, capsys, monkeypatch):
    """SE-03, MN-02: In the table of predictions, with inputs and event time, as if a caller had asked; an outcome joins by the id."""
    monkeypatch.setattr(discovery, "models_asked_about", lambda name, known: [name])
    house.score(first=date(2013, 2, 1), last=date(2013, 2, 1))
    rows = Table(house.store, "small_delays_predictions").scan()
    by_id = {row["prediction_id"]: row for row in rows.to_pylist()}
    scored = house.scores()[3]
    logged = by_id[scored["prediction_id"]]
    flight = flights(1).to_pylist()[3]
    assert {name: logged[f"input_{name}"] for name in ("carrier", "origin", "distance", "temp")} == {
        name: flight[name] for name in ("carrier", "origin", "distance", "temp")
    }
    assert logged["event_time"].replace(tzinfo=None) == scored["event_time"]
    assert (logged["model_version"], logged["shadow"], logged["scores"]) == (1, False, [scored["score_on_time"], scored["score_late"]])
    served_at.run(house.settings, house.store, model=MODEL.name, prediction=scored["prediction_id"])
    said = f"Prediction {scored['prediction_id']} of small_delays: version 1 scored it in a batch (flights/version 1/2013-02-01), on"
    assert said in capsys.readouterr().out
    told = outcome_rows(
        [{"prediction_id": scored["prediction_id"], "outcome": 1.0, "time": datetime(2013, 2, 2, tzinfo=timezone.utc)}], "t"
    )
    counts = join(rows, told)[1]
    assert (counts.predictions, counts.labelled) == (20, 1)


def test_scores_are_no_evidence_of_a_release(house):
    """SE-03, SE-06: Whatever becomes of rows that were scored in a batch, a release does not count them."""
    since = datetime.now(timezone.utc) - timedelta(minutes=1)
    house.score()
    ids = [row["prediction_id"] for row in house.scores()]
    now = datetime.now(timezone.utc)
    Table(house.store, "small_delays_outcomes").append(
        outcome_rows([{"prediction_id": one, "outcome": 0.0, "time": now} for one in ids], "t"), "o"
    )
    assert answers_since(house.store, MODEL, DATASET, Table, since).num_rows == 0
    assert requests_a_day(house.store, MODEL.name, now) == 0
    log = PredictionLog(house.store, MODEL.name, 1)
    log.record("asked", small_rows(2), np.array([[0.5, 0.5]] * 2), 1.0, body_bytes=10)
    log.segments.close()
    assert sorted(answers_since(house.store, MODEL, DATASET, Table, since)["prediction_id"].to_pylist()) == ["asked-0", "asked-1"]


def test_without_days_the_newest_are_scored(house):
    """SE-03: As many days that have rows as the spec says; a day in between without rows does not count."""
    house.model = MODEL.model_copy(update={"scoring": ScoringSpec(days=2)})
    house.land(flights(9))
    house.score()
    assert {row["day"] for row in house.scores()} == {date(2013, 2, 3), date(2013, 2, 9)}


def test_a_file_is_scored(house, tmp_path):
    """SE-03: A file of the dataset's form, of which the label may be missing; the same content has the same ids, wherever it lies."""
    file = tmp_path / "june.csv"
    file.write_text(
        "flight,scheduled_departure,carrier,origin,distance,temp,gate\n"
        "7,2013-06-01 06:00,UA,JFK,1000,61.2,B4\n8,2013-06-02 07:00,AA,LGA,,,B5\n9,2013-06-02 08:00,AA,LGA,800,,B5\n10,,AA,LGA,800,,B5\n"
    )
    result = house.score(file=str(file))
    assert (result.rows, result.days, result.held_back, result.snapshot) == (2, 2, 2, None)
    assert [(row["key"], row["why"][:36]) for row in house.held_back()["undated"]] == [
        ({"flight": 10}, "scheduled_departure is missing, and ")
    ]
    ids = {row["key_flight"]: row["prediction_id"] for row in house.scores()}
    assert set(ids) == {7, 9}
    house.store.write("scoring/again.csv", file.read_bytes())
    assert house.score(file="scoring/again.csv").changed == 0
    assert {row["key_flight"]: row["prediction_id"] for row in house.scores()} == ids


def test_a_file_is_cleaned_as_it_would_be_when_it_landed(house, monkeypatch):
    """SE-03, DM-13: The dataset's `clean` sees the rows first; those that it leaves out are counted as held back, with its rule."""

    def clean(columns):
        columns["carrier"] = np.array([carrier.upper() for carrier in columns["carrier"]], dtype=object)
        return columns, {"ferry flight": columns["distance"] < 10}

    monkeypatch.setattr(discovery, "clean_of", lambda name: clean)
    header = "flight,scheduled_departure,carrier,origin,distance,temp\n"
    house.store.write("scoring/raw.csv", (header + "7,2013-06-01,ua,JFK,1000,61.2\n8,2013-06-01,ua,JFK,5,61.2\n").encode())
    result = house.score(file="scoring/raw.csv")
    assert (result.rows, result.held_back) == (1, 1)
    assert "left out 1 by `ferry flight`" in result.sentence
    assert Table(house.store, "small_delays_predictions").scan(["input_carrier"]).to_pylist() == [{"input_carrier": "UA"}]


def test_a_query_is_scored(house):
    """SE-03, DM-09: Rows of one SELECT over the tables of the store; days that it gives no rows any more are empty afterwards."""
    query = "select f.* replace (f.distance + 1 as distance), f.flight % 2 as odd from flights f where flight % 2 = 1"
    result = house.score(query=query)
    assert (result.rows, result.days, result.source[:6]) == (30, 3, "query-")
    table_of(house.store, DATASET).remove(f"{1:064d}", {"by": "ada", "reason": "wrong"})
    house.score(query=query)
    assert {row["day"] for row in house.scores()} == {date(2013, 2, 1), date(2013, 2, 3)}
    again = "select f.* from flights f join small_delays_scores s on f.flight = s.key_flight where s.day = '2013-02-03' and version = 1"
    assert house.score(query=again).rows == 10


QUERY = "select * from flights"


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        ({"version": 9}, UnknownName, "small_delays has no version 9"),
        ({"snapshot": 9}, UnknownName, "There is no snapshot 9 of flights"),
        ({"file": "june.csv"}, UnknownName, "There is no file june.csv"),
        ({"file": "scoring/bad.csv"}, BatchRefused, "bad.csv lacks the columns flight"),
        ({"file": "scoring/twice.csv"}, UnknownName, "twice.csv has 2 rows of the key flight 7: give each row once"),
        ({"query": "selec"}, UnknownName, "The query cannot be run: Parser Error"),
        ({"query": "select * from nowhere"}, UnknownName, "The query cannot be run: Catalog Error: Table with name nowhere"),
        ({"query": "select * from read_csv('/etc/passwd')"}, UnknownName, "The query cannot be run: Permission Error"),
        ({"query": f"copy ({QUERY}) to '/tmp/stolen.csv'"}, UnknownName, "The query must be one SELECT"),
        ({"query": f"{QUERY}; {QUERY}"}, UnknownName, "The query must be one SELECT"),
        ({"query": "select * exclude (flight) from flights"}, UnknownName, "gives no column flight, which is the key of flights"),
        ({"query": "select * exclude (scheduled_departure) from flights"}, UnknownName, "which is the event time of flights"),
        ({"query": "select * exclude (temp) from flights"}, UnknownName, "gives no column temp, which is read by the version"),
        ({"query": "select * replace ('far' as distance) from flights"}, UnknownName, "gives distance as string, which does not fit int64"),
        ({"query": f"{QUERY} union all {QUERY}"}, UnknownName, "The query has 2 rows of the key flight 100"),
        ({"query": QUERY, "snapshot": 1}, UnknownName, "give one of --snapshot, --file and --query"),
        ({"first": date(2013, 2, 3), "last": date(2013, 2, 1)}, UnknownName, "do not run forward"),
        ({"partition": (1, 2)}, UnknownName, "A part belongs to a plan"),
        ({"planned": "nothing"}, UnknownName, "No scoring of small_delays was planned as nothing"),
    ],
)
def test_what_cannot_be_scored_is_told(house, asked, error, sentence):
    """SE-03: One sentence each, and nothing is written."""
    header = "flight,scheduled_departure,carrier,origin,distance,temp\n"
    house.store.write("scoring/bad.csv", b"carrier,origin\nUA,JFK\n")
    house.store.write("scoring/twice.csv", (header + "7,2013-06-01,UA,JFK,1000,61.2\n" * 2).encode())
    with pytest.raises(error, match=sentence.replace("(", r"\(")):
        house.score(**asked)
    assert house.scores() == []


def test_nothing_to_score_is_no_fault(house, tmp_path, monkeypatch):
    """SE-03: No rows, no champion, a model that was retired: skipped, with the sentence that says so."""
    empty = house.score(first=date(2014, 1, 1), last=date(2014, 1, 2))
    assert (empty.outcome, empty.sentence) == (
        "skipped", "Snapshot 3 of flights has no rows from 2014-01-01 to 2014-01-02: nothing to score."
    )  # fmt: skip
    bare = House(tmp_path / "bare", monkeypatch)
    assert "has no champion yet" in bare.score().sentence
    bare.released()
    assert bare.score().sentence == "flights has no snapshot yet: nothing to score. Ingest a batch first."
    Ledger(house.store, MODEL.name).append(
        "retired", version=1, champion=None, weights={}, versions=house.digests, reason="sold", actor="ada", after_seq=0
    )
    assert "Nothing is scored: small_delays was retired" in house.score().sentence
    assert house.score(version=1, first=FIRST, last=FIRST).rows == 20


def test_a_version_whose_inputs_are_gone_is_told(house, monkeypatch):
    """SE-03: The table, or the dataset, has a column no more: the sentence names it and says what else to ask for."""
    columns = tuple(column for column in DATASET.columns if column.name != "temp")
    monkeypatch.setattr(discovery, "dataset", lambda name: DATASET.model_copy(update={"columns": columns}))
    with pytest.raises(UnknownName, match="Version 1 of small_delays reads temp, which the dataset flights has no more: name another"):
        house.score()


def crowned(house, **files):
    """The house, with a champion whose folder has these files, by their names without endings."""
    folder = small_version(house.root / "other", seed=5)
    for name, text in files.items():
        next(folder.glob(f"{name}.*")).write_text(text)
    house.digests[2] = publish(house.store, MODEL.name, folder, small_manifest(seed=5, run_key="5" * 24))
    Ledger(house.store, MODEL.name).append(
        "released", version=2, champion=2, weights={2: 10000}, versions=house.digests, reason="r", actor="a", after_seq=0
    )
    return house


def test_a_version_that_scores_otherwise_here_must_not(house):
    """SE-03: Its golden rows are compared as its server compares them."""
    golden = json.loads((house.root / "version1" / "golden.json").read_text())
    golden["scores"][0] = golden["scores"][0][::-1]
    with pytest.raises(CandidateRefused, match=r"The version must not score\. Golden row"):
        crowned(house, golden=json.dumps(golden)).score()
    assert house.scores() == []


def test_a_version_that_fails_everywhere_is_a_fault(house):
    """SE-03: Rows are held back for what they are, not because a version is broken."""
    breaks = FEATURES.replace("    return", '    if 666 in columns["distance"]:\n        raise ZeroDivisionError("a bad day")\n    return')
    crowned(house, features=breaks).land(flights(5, 3, distance=dict.fromkeys(range(3), 666)), flights(6, 3, distance={1: 666}))
    with pytest.raises(Fault, match=r"Version 2 of small_delays failed at every row; the first: The version failed on this request: Zero"):
        house.score(first=date(2013, 2, 5), last=date(2013, 2, 5))
    result = house.score(first=date(2013, 2, 6), last=date(2013, 2, 6))
    assert (result.rows, result.held_back) == (2, 1)


def test_scores_that_depend_on_the_rows_beside_them_are_refused(house, monkeypatch):
    """SE-03: Beyond the tolerance of the export nothing is written."""

    def otherwise(scorer, rows):
        return replace(answer(scorer, rows), difference=0.01)

    monkeypatch.setattr(_score_answers, "answer", otherwise)
    with pytest.raises(CandidateRefused, match=r"beside other rows than alone: by 0\.01, and 0\.0001 is the tolerance"):
        house.score()
    assert house.scores() == []


def test_a_serving_environment_that_ends_is_a_fault(house):
    """SE-03, OP-08: Whatever it died of, the scoring says so and can be repeated."""
    python = house.root / "home/venvs/serving/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho \'{"refusal": ""}\'\nread rows\nexit 3\n')
    python.chmod(0o700)
    with pytest.raises(Fault, match="ended with code 3 while it scored"):
        house.score()
    assert house.scores() == []
