"""The monitor stage end to end: real flights in a real table, a real small version's scores, the servers' own log."""

from __future__ import annotations

import json
import shutil
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from perennial import discovery, encoding
from perennial.commands import outcomes as outcomes_command
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import publish, read_manifest
from perennial.monitoring.drift import find_drift
from perennial.monitoring.report.timeline import noted_timeline, window_names
from perennial.monitoring.windows import Window
from perennial.profiles.profile import profile
from perennial.serving.prediction_log import OutcomeLog, PredictionLog
from perennial.serving.request import read_request, read_signature
from perennial.serving.route import Arm
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.specs import AnswerRule, MonitoringSpec, RetrainSpec, SplitSpec
from perennial.stages import _window, _window_profiles, monitor, validate
from perennial.stages._references import References
from perennial.stages._traffic import Traffic
from perennial.stages._window import Judge
from perennial.store import FolderStore
from perennial.testing import INPUTS as INPUT_FIELDS
from perennial.testing import small_manifest, small_model, small_version
from perennial.training.scoring import score

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:great_expectations.*"),
]

INPUTS = ("carrier", "origin", "scheduled_departure", "distance", "temp")
MODEL = small_model().model_copy(
    update={
        "monitoring": MonitoringSpec(window_days=2, reference_days=28, min_shift=0.15),
        "retrain": RetrainSpec(drift_windows=2, cooldown_days=3, max_age_days=60),
        "split": SplitSpec(train_days=10, validation_days=3, test_days=3),
    }
)
JANUARY, FEBRUARY = date(2013, 1, 1), date(2013, 2, 1)


@pytest.fixture(scope="module")
def flights():
    """Rows of January and February 2013, by day."""
    source = discovery.dataset_module("flights")
    return {date.fromisoformat(name[8:18]): microseconds(rows) for name, rows in source.land(JANUARY, date(2013, 2, 28))}


def microseconds(rows):
    """The rows with times as tables have them."""
    return rows.cast(pa.schema([pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]))


class House:
    """A store with January, a released version trained on it, and servers that log."""

    def __init__(self, root: Path, flights):
        self.store, self.flights, self.folder = FolderStore(str(root / "store")), flights, root / "version"
        self.settings = Settings(
            home=root / "home", store=str(root / "store"), mlflow_url="http://127.0.0.1:1", airflow_url="http://airflow"
        )
        self.dataset = discovery.dataset("flights")
        self.inbox = Inbox(self.store, MODEL.name)
        self.incidents = Incidents(self.store, MODEL.name)
        self.asked: list[str] = []  # models of which it was asked whether they answer
        self.ingest(JANUARY, 28)
        small_version(self.folder)
        unseen = {"bounds": {"validation": ["2013-01-09", "2013-01-15"], "test": ["2013-01-15", "2013-01-29"]}}
        (self.folder / "training.json").write_text(json.dumps(unseen))
        self.release(1)

    def ingest(self, first, days):
        """Append days of flights."""
        rows = pa.concat_tables([self.flights[first + timedelta(days=i)] for i in range(days)])
        Table(self.store, "flights").append(rows, f"{first}+{days}")

    def release(self, number, *, request="", like=None):
        """Seal a version trained on the newest snapshot, have the gate judge it, and give it all traffic; `like` has the same training."""
        snapshot = latest_snapshot(self.store, self.dataset)
        manifest = small_manifest(
            MODEL.name, snapshot=snapshot.version, snapshot_digest=snapshot.digest, run_key=f"{number:024d}", seed=number, request=request
        )
        if like is not None:
            trained = Ledger(self.store, MODEL.name).entries()[0].versions[like]
            (self.folder / "note.txt").write_text("other scale and shift")
            changes = {"files": {}, "cause": "recalibration", "parents": [trained]}
            manifest = read_manifest(self.store, MODEL.name, trained).model_copy(update=changes)
        digest = publish(self.store, MODEL.name, self.folder, manifest)
        self.store.write(f"reports/{MODEL.name}/{digest}/gate.json", b"{}")
        ledger = Ledger(self.store, MODEL.name)
        last = ledger.last()
        ledger.append(
            "released",
            version=number,
            champion=number,
            weights={number: 10000},
            versions={number: digest},
            reason="r",
            actor="a",
            after_seq=last.seq if last else None,
        )

    def serve(self, day, *, like=None, version=1, change=None, count=200, shadow=False, inputs=INPUTS):
        """Answer `count` flights of a day and log them; `like` takes another day's rows, `change` changes each; ids are `<day>-<n>-0`."""
        rows = self.flights[like or day].select(inputs).to_pylist()
        picked = [rows[i] for i in np.random.default_rng(day.toordinal()).choice(len(rows), count, replace=False)]
        picked = [change(r) for r in picked] if change else picked
        picked = [{**r, "scheduled_departure": r["scheduled_departure"].isoformat()} for r in picked]
        scores = score(self.folder, encoding.columns_from_rows(picked, list(inputs)))
        log, name = PredictionLog(self.store, MODEL.name, version), day if version == 1 else f"{day}-by-{version}"
        for i, row in enumerate(picked):
            when = datetime.combine(day, datetime.min.time()) + timedelta(minutes=7 * i % 1440)
            log.record(f"{name}-{i}", [row], scores[i : i + 1], 1.0 + i % 5, body_bytes=100, event_time=when.isoformat(), shadow=shadow)
        log.segments.close()
        return {f"{name}-{i}-0": scores[i] for i in range(count)}

    def happen(self, scores, seed=0, *, upside_down=False):
        """Log outcomes that follow the scores, or their opposite."""
        rng = np.random.default_rng(seed)
        log = OutcomeLog(self.store, MODEL.name, 1)
        lines = [(i, int((rng.random() < s[1]) != upside_down)) for i, s in scores.items()]
        written = "".join(json.dumps({"id": i, "outcome": o, "time": "2026-11-01T00:00:00+00:00"}) + "\n" for i, o in lines[1:])
        log.record(*lines[0])
        log.segments.close()
        self.store.write(f"outcomes/{MODEL.name}/seed-{seed}.jsonl", written.encode())

    def look(self, *window):
        """Run the stage."""
        return monitor.run(self.settings, self.store, MODEL.name, *[datetime.combine(d, datetime.min.time()) for d in window])

    def kept(self):
        """All files of the store but reports of windows and the notes of what they say and of the last look, with their content."""
        of_windows = {"windows", "drift", "looks"}
        files = (file for file in Path(self.settings.store).rglob("*") if file.is_file() and not of_windows & {*file.parts})
        return {file: file.read_bytes() for file in files}

    def report(self, result):
        """The report that a result names."""
        return json.loads(self.store.read(result.report))


@pytest.fixture
def house(tmp_path, flights, monkeypatch):
    """January is in, version 1 serves."""
    features = discovery.model_part("flight_delays", "features")
    monkeypatch.setattr(discovery, "model", lambda name: MODEL)
    monkeypatch.setattr(discovery, "model_part", lambda name, part: features)  # small_delays has no folder; it learns from the same flights
    found = House(tmp_path, flights)
    monkeypatch.setattr(validate._agreement, "require", lambda store, registry, model: None)  # no registry is up either
    monkeypatch.setattr(monitor, "note_service", lambda settings, store, model: found.asked.append(model))  # nothing is up here to answer
    return found


def celsius(row):
    """A thermometer in another unit."""
    return {**row, "temp": None if row["temp"] is None else (row["temp"] - 32) / 1.8}


def colder(row):
    """A cold spell: every temperature is lower by as much."""
    return {**row, "temp": None if row["temp"] is None else row["temp"] - 30}


def traffic_of(house):
    """What the stage takes in before it looks at a window."""
    traffic = Traffic(house.store, MODEL, house.dataset)
    traffic.collect()
    return traffic


def judge_of(house, spec=MODEL, dataset=None):
    """Who judges windows, after what was logged was taken in."""
    return Judge(References(house.store, spec, dataset or house.dataset, traffic_of(house).digests))


def february(day):
    """A day of February 2013."""
    return date(2013, 2, day)


def quiet(house, first, last, **more):
    """Days whose rows are January's own."""
    served = {}
    for n in range(first, last + 1):
        served |= house.serve(february(n), like=date(2013, 1, 1 + (n * 5) % 28), **more)
    return served


def test_without_predictions_there_is_nothing_to_look_at(house):
    """MN-01: Skipped, with the reason; so are a window that is not over and a window without predictions."""
    assert house.look().outcome == "skipped"
    house.serve(february(1))
    waiting = house.look()
    assert (waiting.outcome, "is over once a later prediction comes" in waiting.sentence) == ("skipped", True)
    empty = house.look(february(10), february(12))
    assert (empty.outcome, "choose a window with predictions" in empty.sentence) == ("skipped", True)
    assert house.asked == [MODEL.name] * 2, "the looks of now ask whether the version answers; a look at the past does not"


def test_a_quiet_window_asks_for_nothing(house):
    """MN-01, MN-04: Counts, service figures, skipped columns and the page; shadows do not count."""
    served = quiet(house, 3, 6)
    house.serve(february(4), count=50, version=2, shadow=True)
    house.happen(served)
    result = house.look()
    report = house.report(result)
    assert (report["name"], result.requests, result.labelled, result.drifted, result.retraining) == (
        "2013-02-04_2013-02-06",
        400,
        400,
        (),
        None,
    )
    result = house.look(february(3), february(6))
    report = house.report(result)
    assert (result.requests, result.labelled, report["by_version"]) == (600, 600, {"1": 600})
    assert report["drift"]["skipped"]["scheduled_departure"] == "is the event time"
    assert {"carrier", "origin", "distance", "temp", "score of late"} <= {c["column"] for c in report["drift"]["columns"]}
    assert (report["incidents"]["open"], result.incidents, report["breaks"]) == ([], (), [])
    assert report["anomalies"]["scored"] == 600
    assert report["estimate"]["loss"] == pytest.approx(report["performance"]["expected"])
    assert 1.0 <= report["service"]["p50_ms"] <= 5.0
    assert abs(report["performance"]["excess"]) < 0.1
    assert report["performance"]["low"] < report["performance"]["realised"] < report["performance"]["high"]
    page = house.store.read(result.report.replace("report.json", "index.html")).decode()
    assert "http" not in page
    assert "<svg" in page
    assert "Nothing asks for retraining" in page
    assert result.links == {"Report": "http://airflow/perennial/report/small_delays/windows/2013-02-03_2013-02-06/index.html"}


def test_lasting_drift_is_confirmed_and_asks_for_retraining_once(house):
    """MN-01, MN-10: A cold spell: one window alerts, the second asks; looking again, at any window, asks for nothing more, and there is one
    incident."""
    quiet(house, 2, 5)
    for n in range(6, 11):
        house.serve(february(n), like=date(2013, 1, n), change=colder)
    house.ingest(FEBRUARY, 9)
    first = house.look(february(6), february(8))
    inputs = [name for name in first.drifted if name != "score of late"]  # the scores may follow
    assert (inputs, first.retraining) == (["temp"], None)
    assert "once it lasts through 2 windows" in first.sentence
    assert first.incidents == (), "a look back tells nobody: the newest window decides"
    result = house.look()
    report = house.report(result)
    assert (report["name"], result.cause) == ("2013-02-08_2013-02-10", "drift")
    assert "temp" in report["drift"]["confirmed"]
    assert set(report["drift"]["confirmed"]) == set(result.drifted) & set(first.drifted)
    assert result.retraining == "00000002-drift"
    assert "Drift (confirmed): `" in result.sentence
    assert report["breaks"] == []
    request = house.inbox.get(result.retraining)
    assert (request.state, request.evidence["columns"], request.evidence["window"]) == (
        "open",
        report["drift"]["confirmed"],
        "2013-02-08_2013-02-10",
    )
    drift = [i for i in house.incidents.all() if i.key == "inputs"]
    assert [(i.id in result.incidents, i.kind, i.severity, i.is_open, i.blocks_training) for i in drift] == [
        (True, "drift", "warning", True, False)
    ]
    assert drift[0].links == result.links
    again = house.look()
    assert (again.retraining, again.cause, again.incidents) == (result.retraining, "drift", ())
    past = house.look(february(6), february(8))
    assert past.drifted == first.drifted
    assert past.retraining == result.retraining  # whoever looks is told what waits, so that a look that died loses nothing
    assert house.look().retraining == result.retraining
    assert len(house.inbox.all()) == 1


def test_a_unit_change_is_diagnosed_and_blocks_training(house):
    """DM-11, MN-11: Fahrenheit becomes Celsius: the report names the unit, an incident opens, and no training starts on it until a person
    says that it is known."""
    quiet(house, 2, 3)
    for n in range(4, 9):
        house.serve(february(n), like=date(2013, 1, 1 + (n * 5) % 28), change=celsius, count=400)
    house.ingest(FEBRUARY, 8)
    result = house.look()
    report = house.report(result)
    assert report["name"] == "2013-02-06_2013-02-08"
    assert [b["key"] for b in report["breaks"]] == ["unit of temp"]
    assert "`temp`: the values look like °C instead of °F (x * 0.5556 - 17.78)." in result.sentence
    assert ("temp" in report["drift"]["confirmed"], result.retraining) == (True, None)
    assert "are not trained on: `temp`: the values look like" in report["decision"]["why"]
    (incident,) = house.incidents.open_ones()
    assert (incident.kind, incident.severity, incident.blocks_training, (incident.id,)) == (
        "data quality",
        "critical",
        True,
        result.incidents,
    )
    since, until = (incident.evidence[name] for name in ("first", "last"))
    assert (since, until) == ("2013-02-06T00:00:00+00:00", "2013-02-08T00:00:00+00:00")
    house.incidents.verdict(incident.id, "known", "tests", "the new stations")
    assert house.look().cause == "drift"


def test_a_few_rows_in_another_unit_are_a_break(house, monkeypatch):
    """DM-11: One of two feeds gives kilometres: too few rows for an alarm, but the unit is named and no training starts on them."""
    strict = MODEL.model_copy(update={"monitoring": MODEL.monitoring.model_copy(update={"min_shift": 0.005, "alarm_shift": 0.5})})
    monkeypatch.setattr(discovery, "model", lambda name: strict)
    quiet(house, 2, 3)
    feeds = iter(range(10**6))
    for n in range(4, 7):
        house.serve(
            february(n),
            like=date(2013, 1, 1 + (n * 5) % 28),
            change=lambda row: row if next(feeds) % 5 else {**row, "distance": round(row["distance"] * 1.609344)},
            count=600,
        )
    result = house.look()
    report = house.report(result)
    assert [b["key"] for b in report["breaks"]] == ["unit of distance"]
    assert "% of the values look like km instead of miles" in report["breaks"][0]["sentence"]
    assert [(i.key, i.blocks_training) for i in house.incidents.open_ones() if i.kind == "data quality"] == [("unit of distance", True)]
    assert "distance" not in result.drifted


def test_an_incident_is_resolved_once_its_reason_is_gone(house):
    """MN-09: Two quiet windows after the cold spell end the incident; one does not, for drift counts by as many windows as it takes to be
    confirmed."""
    quiet(house, 2, 3)
    for n in (4, 5):
        house.serve(february(n), like=date(2013, 1, n), change=colder)
    house.serve(february(6), like=date(2013, 1, 5))
    opened = house.look().incidents
    assert {house.incidents.get(i).kind for i in opened} == {"drift"}
    house.serve(february(7), like=date(2013, 1, 20))
    house.serve(february(8), like=date(2013, 1, 12))
    assert house.look().incidents == ()
    house.serve(february(9), like=date(2013, 1, 2))
    house.serve(february(10), like=date(2013, 1, 9))
    assert set(house.look().incidents) == set(opened)
    assert house.incidents.open_ones() == []
    over = house.incidents.get(opened[0])
    assert "No longer seen from 2013-02-08 to 2013-02-10" in over.resolution
    assert (over.evidence["first"], over.evidence["over_since"]) == ("2013-02-04T00:00:00+00:00", "2013-02-08T00:00:00+00:00")


def test_a_recalibrated_version_goes_on_where_the_trained_one_was(house):
    """MN-01, MN-03: Its windows, its loss and its drift are those of one training, whatever the number: the reference is the same."""
    served = quiet(house, 2, 3)
    house.release(2, like=1)
    served |= quiet(house, 4, 7, version=2)
    house.happen(served)
    report = house.report(house.look(february(2), february(6)))
    assert (report["by_version"], report["performance"]["labelled"]) == ({"1": 400, "2": 400}, 800)
    newest = house.report(house.look())
    assert (newest["name"], newest["version"], len(newest["days"])) == ("2013-02-04_2013-02-06", 2, 4)


def edited(monkeypatch, **changes):
    """The spec is edited while versions serve."""
    spec = MODEL.model_copy(update=changes)
    monkeypatch.setattr(discovery, "model", lambda name: spec)
    return spec


def test_a_version_is_judged_by_its_own_inputs(house, monkeypatch):
    """DM-11: An input that the spec gained is missing in no request of a version without it, and one that it lost is still watched: nothing
    holds the next training back."""
    edited(monkeypatch, inputs=(*(name for name in INPUTS if name != "distance"), "dewp"))
    quiet(house, 2, 3)
    for n in (4, 5):
        house.serve(february(n), like=date(2013, 1, n), change=lambda row: {**row, "distance": row["distance"] + 700})
    house.serve(february(6))
    report = house.report(house.look())
    assert report["drift"]["skipped"]["dewp"] == "is not in this version"
    assert (report["breaks"], house.incidents.find("data quality", "missing values of dewp")) == ([], None)
    assert "distance" in report["drift"]["alarming"]
    page = house.store.read("reports/small_delays/windows/2013-02-04_2013-02-06/index.html").decode()
    assert "<td>dewp</td><td>is not in this version</td>" in page


def test_of_two_versions_each_column_is_judged_on_the_rows_of_those_that_have_it(house, monkeypatch):
    """DM-11: While a release gives callers two signatures, the older one's requests lack nothing."""
    more = edited(monkeypatch, inputs=(*INPUTS, "dewp"))
    likes = {february(n): date(2013, 1, 1 + (n * 5) % 28) for n in range(4, 7)}
    for day, like in likes.items():
        house.serve(day, like=like, count=120)
    signature = json.loads((house.folder / "signature.json").read_text())
    signature["inputs"].append({"name": "dewp", "type": "float", "nullable": True})
    (house.folder / "signature.json").write_text(json.dumps(signature))
    house.release(2)
    for day, like in likes.items():
        house.serve(day, like=like, version=2, inputs=more.inputs)
    report = house.report(house.look())
    assert (report["version"], report["by_version"], report["breaks"]) == (2, {"1": 240, "2": 400}, [])
    assert "dewp" in {c["column"] for c in report["drift"]["columns"]}
    assert not [c for c in report["drift"]["columns"] if c["kind"] == "nulls" and c["alarms"]]
    kept = pa.parquet.read_table(pa.BufferReader(house.store.read("reports/small_delays/windows/2013-02-04_2013-02-06/inputs.parquet")))
    nulls = {
        (line["column"], line["part"]): line["count"]
        for line in kept.group_by(["column", "part"]).aggregate([("count", "sum")]).rename_columns(["column", "part", "count"]).to_pylist()
    }
    assert nulls.get(("dewp", "nulls"), 0) < 20
    assert report["anomalies"]["scored"] == 400


def test_an_older_window_changes_nothing_but_its_report(house):
    """MN-09, MN-11: What a look at newer traffic opened stays open when the schedule looks at the window before it, and what a person
    judged is not opened again."""
    quiet(house, 2, 5)
    for n in (6, 7):
        house.serve(february(n), like=date(2013, 1, n), change=colder)
    newer = house.look(february(6), february(8))
    opened = house.incidents.all()
    assert {(i.kind, i.is_open) for i in opened} == {("drift", True)}
    before = house.kept()
    older = house.look()
    assert (older.incidents, newer.incidents) == ((), tuple(i.id for i in opened))
    assert "This look wrote its report and changed nothing else: the newest whole window that was judged decides." in older.sentence
    assert house.report(older)["name"] == "2013-02-04_2013-02-06"
    assert house.kept() == before
    assert house.look(february(6), february(8)).incidents == ()
    assert house.incidents.all() == opened


def test_too_few_requests_tell_nothing(house):
    """MN-01: One prediction is too few to open a drift or to end it; the look is done and says how many there are, and how many are
    needed."""
    house.serve(february(1), count=1, change=colder)
    alone = house.look()
    assert (alone.outcome, alone.requests) == ("done", 1)
    assert alone.sentence == "Too few to tell: small_delays has 1 prediction, and a window is judged from 30 on."
    asked = house.look(february(1), february(3))
    assert (asked.outcome, asked.drifted, asked.incidents) == ("done", (), ())
    assert "Too few to tell: the window has 1 prediction, and 30 are needed." in asked.sentence
    quiet(house, 2, 5)
    for n in (6, 7):
        house.serve(february(n), like=date(2013, 1, n), change=colder)
    house.serve(february(8), count=1)
    assert house.look().incidents != ()
    opened = house.incidents.all()
    house.serve(february(10), count=1)
    few = house.look()
    assert (house.report(few)["name"], few.requests, few.incidents) == ("2013-02-08_2013-02-10", 1, ())
    assert house.incidents.all() == opened
    assert {i.is_open for i in opened} == {True}


def test_profiles_of_a_window_are_kept_and_taken_again(house, monkeypatch):
    """DM-14: A second look counts nothing anew; more predictions do."""
    quiet(house, 2, 4)
    first = house.report(house.look())
    assert house.store.exists("reports/small_delays/windows/2013-02-02_2013-02-04/inputs.parquet")
    counted = []
    monkeypatch.setattr(_window_profiles, "profile", lambda *given, **more: counted.append(given) or profile(*given, **more))
    assert house.report(house.look())["drift"] == first["drift"]
    assert counted == []
    house.serve(february(3), like=date(2013, 1, 1), count=300)
    assert house.report(house.look())["requests"] == 700
    assert len(counted) == 2


def test_missing_values_that_rise_are_a_broken_feed(house):
    """DM-11: Every third temperature is gone."""
    quiet(house, 2, 3)
    for n in range(4, 7):
        house.serve(
            february(n), like=date(2013, 1, n), change=lambda row: {**row, "temp": None if row["distance"] % 3 == 0 else row["temp"]}
        )
    result = house.look()
    assert [b["key"] for b in house.report(result)["breaks"]] == ["missing values of temp"]
    assert [i.key for i in house.incidents.open_ones() if i.kind == "data quality"] == ["missing values of temp"]


def test_strange_requests_are_listed(house):
    """MN-06: Requests that no flight of January looks like come up by id, with the column; a handful is no incident."""
    quiet(house, 2, 4)
    strange = iter(range(1000))
    house.serve(february(3), like=date(2013, 1, 8), count=20, change=lambda row: {**row, "distance": 90000} if next(strange) < 2 else row)
    found = house.report(house.look())["anomalies"]
    assert (found["detector"], found["alarms_per_day"]) == ("multivariate", 3)
    assert {a["columns"][0] for a in found["shown"] if "90000" in a["sentence"]} == {"distance"}
    assert sum("90000" in a["sentence"] for a in found["shown"]) == 2


def test_slices_have_their_own_loss(house, monkeypatch):
    """MN-03, MO-21: By an input and by a derived column, with intervals; a column of the dataset that no request carries is left out."""
    monkeypatch.setattr(discovery, "model", lambda name: MODEL.model_copy(update={"slices": ("origin", "month", "dest")}))
    house.happen(quiet(house, 2, 6))
    found = house.report(house.look())["slices"]
    assert {s["column"] for s in found} == {"origin", "month"}
    assert {s["name"] for s in found if s["column"] == "origin"} <= {"EWR", "JFK", "LGA"}
    (month,) = (s for s in found if s["column"] == "month")
    assert (month["name"], month["labelled"]) == ("2013-02", 400)
    assert month["low"] < month["realised"] < month["high"]


def test_the_new_champion_is_measured_against_its_own_snapshot(house):
    """MN-01, MN-10: After the training that the request asked for, the same values are no drift; the old windows keep their verdicts."""
    quiet(house, 2, 5)
    for n in range(6, 10):
        house.serve(february(n), like=date(2013, 1, n), change=colder)
    house.serve(february(10), like=february(10), version=2)
    house.ingest(FEBRUARY, 9)
    key = house.look(february(8), february(10)).retraining
    started = validate.run(house.settings, house.store, MODEL.name, cause="drift", run_url="run-1")
    assert (started.outcome, started.request, started.cause) == ("done", key, "drift")
    house.release(2, request=key)
    for n in (11, 12):
        house.serve(february(n), version=2)
    result = house.look()
    assert (house.report(result)["version"], result.drifted, result.retraining) == (2, (), None)
    assert house.inbox.get(key).outcome == "trained"
    past = house.look(february(8), february(10))
    assert ("temp" in past.drifted, past.retraining, len(house.inbox.all())) == (True, None, 1), (
        "a request that has ended wakes nobody again"
    )
    assert house.report(past)["decision"]["request"] == key


def test_late_outcomes_change_only_their_own_window(house, tmp_path):
    """MN-03: Outcomes by log and by file; the windows before and after stay byte for byte, and drift is untouched."""
    served = quiet(house, 2, 7)
    windows = [(february(n), february(n + 2)) for n in (2, 4, 6)]
    before = [house.report(house.look(*w)) for w in windows]
    assert [r["performance"]["labelled"] for r in before] == [0, 0, 0]
    middle = {i: s for i, s in served.items() if i.startswith(("2013-02-04", "2013-02-05"))}
    file = tmp_path / "outcomes.csv"
    file.write_text("prediction_id,outcome\n" + "".join(f"{i},{int(s[1] > 0.5)}\n" for i, s in middle.items()) + "nobody-0,late\n")
    assert outcomes_command.run(house.settings, house.store, MODEL.name, file) == 0
    after = [house.report(house.look(*w)) for w in windows]
    assert [r["performance"]["labelled"] for r in after] == [0, 400, 0]
    assert [r["drift"] for r in after] == [r["drift"] for r in before]
    assert after[0] == before[0] | {"outcomes": after[0]["outcomes"]}
    assert after[2]["performance"] == before[2]["performance"]
    assert after[1]["outcomes"]["unknown"] == 1


def test_late_outcomes_change_the_metrics_of_the_right_window(house):
    """MN-03: Outcomes that come after their window was judged give it accuracy, precision, recall, F1 and a confusion matrix at the next
    look by schedule, in its report, its page and the timeline; what was decided stays, and so does each other window."""
    served = quiet(house, 2, 7)
    windows = [(february(n), february(n + 2)) for n in (2, 4)]
    before = [house.report(house.look(*w)) for w in windows]
    middle = {i: s for i, s in served.items() if i.startswith(("2013-02-04", "2013-02-05"))}
    house.happen(middle, seed=3)
    house.serve(february(8))
    house.look()
    after = [json.loads(house.store.read(f"reports/{MODEL.name}/windows/{r['name']}/report.json")) for r in before]
    assert after[0] == before[0]
    assert {name for name in before[1] if after[1][name] != before[1][name]} == {
        "sentence",
        "performance",
        "outcomes",
        "days",
        "metrics",
        "jump",
    }
    found = after[1]["metrics"]
    assert (found["labelled"], found["units"], sorted(found["metrics"])) == (400, "rows", ["accuracy", "f1", "precision", "recall"])
    assert sum(map(sum, found["confusion"])) == 400
    assert found["metrics"]["accuracy"]["value"] == sum(found["confusion"][i][i] for i in (0, 1)) / 400
    assert [day["day"] for day in found["days"]] == ["2013-02-04", "2013-02-05"]
    noted = {point.name: point for point in noted_timeline(house.store, MODEL.name)}
    assert {name: sorted(point.metrics) for name, point in noted.items()} == {
        before[0]["name"]: [], before[1]["name"]: ["accuracy", "f1", "precision", "recall"], "2013-02-06_2013-02-08": [],
    }  # fmt: skip
    page = house.store.read(f"reports/{MODEL.name}/windows/{before[1]['name']}/index.html").decode()
    assert "<h2>Metrics</h2>" in page
    assert f"{found['metrics']['f1']['value']:.4g}" in page
    again = house.kept()
    house.look()
    assert house.kept() == again


def test_a_rule_on_the_answers_tells_the_owner(house, monkeypatch):
    """MN-02, MN-17: More answers of a class than the owner allows are an incident of the whole window, in its report; a window by hand that
    is older changes nothing, and one within the limit ends it."""
    served = quiet(house, 2, 7)
    rule = AnswerRule(name="many late", measure="mean", of="late", above=float(np.mean([s[1] for s in served.values()])) - 0.1)
    narrow = MODEL.model_copy(update={"monitoring": MODEL.monitoring.model_copy(update={"rules": (rule,)})})
    monkeypatch.setattr(discovery, "model", lambda name: narrow)
    result = house.look()
    (opened,) = house.incidents.open_ones()
    assert (opened.kind, opened.key, opened.severity) == ("answers", "many late", "warning")
    assert opened.id in result.incidents
    assert opened.sentence.startswith("The mean of the scores of `late` is 0.")
    assert "rows); the rule `many late` is about above" in opened.sentence
    (told,) = house.report(result)["rules"]
    assert (told["state"], told["rows"]) == ("broken", 400)
    assert "<h2>Rules on the answers</h2>" in house.store.read(result.report.replace("report.json", "index.html")).decode()
    wide = rule.model_copy(update={"above": min(rule.above + 0.3, 0.99)})
    within = narrow.model_copy(update={"monitoring": narrow.monitoring.model_copy(update={"rules": (wide,)})})
    monkeypatch.setattr(discovery, "model", lambda name: within)
    house.look(february(2), february(4))
    assert len(house.incidents.open_ones()) == 1
    house.look()
    assert house.incidents.open_ones() == []


def test_a_jump_of_the_loss_asks_for_retraining(house):
    """MN-03, MN-10: Outcomes turn against the scores for three days, while inputs stay as they were."""
    house.ingest(FEBRUARY, 9)
    house.happen(quiet(house, 1, 7), seed=1)
    house.happen(quiet(house, 8, 11), seed=2, upside_down=True)
    house.serve(february(12))
    result = house.look()
    assert (result.cause, result.drifted) == ("performance", ())
    assert "is a jump" in result.sentence


def test_an_hour_looked_at_by_hand_opens_no_incident(house):
    """MN-09: An hour after the newest window is no newer window: what is strange in it is told to whoever asked, and to nobody else."""
    quiet(house, 2, 5)
    house.serve(february(6), like=date(2013, 1, 8), count=800, change=lambda row: {**row, "distance": 90000})
    begin = datetime(2013, 2, 6, 10)
    hour = monitor.run(house.settings, house.store, MODEL.name, begin, begin + timedelta(hours=1))
    assert (house.report(hour)["anomalies"]["unusual"], hour.incidents, house.incidents.all()) == (True, (), [])
    assert house.look(february(6), february(8)).incidents != (), "the same rows as a whole window count"


def test_inputs_have_the_whole_false_alarm_rate_where_predictions_are_not_tested(house, monkeypatch):
    """MN-01, MN-02: One day against fourteen that the training did not see can never be rare enough: the inputs need not share alpha with
    it."""
    quiet(house, 2, 5)
    tested = []
    monkeypatch.setattr(_window, "find_drift", lambda *given, **more: tested.append(given[2].alpha) or find_drift(*given, **more))
    judge, alpha = judge_of(house), MODEL.monitoring.alpha
    for days, expected in ((1, [alpha]), (2, [alpha / 2, alpha / 2])):
        window = Window(datetime(2013, 2, 3, tzinfo=timezone.utc), datetime(2013, 2, 3 + days, tzinfo=timezone.utc))
        judged = judge.judge(window, Traffic(house.store, MODEL, house.dataset).predictions(window))
        assert (tested, "predictions" in judged.verdict.skipped) == (expected, days == 1)
        tested.clear()


def test_predictions_of_a_version_whose_inputs_are_gone_are_not_tested(house):
    """MN-02: The dataset lost a column that an old version reads: the inputs are tested all the same, and the reason is given."""
    quiet(house, 2, 4)
    spec = MODEL.model_copy(update={"inputs": tuple(name for name in INPUTS if name != "temp")})
    dataset = house.dataset.model_copy(update={"columns": tuple(c for c in house.dataset.columns if c.name != "temp")})
    window = Window(datetime(2013, 2, 2, tzinfo=timezone.utc), datetime(2013, 2, 4, tzinfo=timezone.utc))
    rows = Traffic(house.store, MODEL, house.dataset)
    rows.collect()
    judged = judge_of(house, spec, dataset).judge(window, rows.predictions(window))
    assert judged.verdict.skipped["predictions"] == "the version reads temp, which the dataset no longer has"
    assert {"carrier", "origin", "distance"} <= {c.column for c in judged.verdict.columns}


def test_the_sample_of_the_reference_is_drawn_once(house, monkeypatch):
    """MN-01: A second look reads no row of the snapshot; other columns are another sample."""
    read = []
    newest_rows = References._newest_rows
    monkeypatch.setattr(
        References, "_newest_rows", lambda self, source, columns: read.append(columns) or newest_rows(self, source, columns)
    )
    references = judge_of(house).references
    first = references.sampled(1, ["scheduled_departure", "temp"])
    assert references.sampled(1, ["scheduled_departure", "temp"]).equals(first)
    assert judge_of(house).references.sampled(1, ["scheduled_departure", "distance"]).column_names == ["scheduled_departure", "distance"]
    assert read == [["scheduled_departure", "temp"], ["scheduled_departure", "distance"]]


def test_the_gateways_counts_are_shown(house, monkeypatch):
    """MN-04: What the gateway counted beside the log; if it does not answer, the report says so and is made all the same."""
    quiet(house, 2, 4)

    class Gateway:
        def observe(self, model):
            return {1: Arm(requests=1000, errors=3, latency_ms=((1.0, 400), (5.0, 990), (float("inf"), 1000)))}

    class Silence:
        def observe(self, model):
            raise ServiceUnreachable("Envoy does not answer.")

    monkeypatch.setattr(monitor, "open_backend", lambda settings: Gateway())
    assert house.report(house.look())["gateway"]["versions"]["1"] == {"requests": 1000, "errors": 3, "p50_ms": 5.0, "p99_ms": 5.0}
    monkeypatch.setattr(monitor, "open_backend", lambda settings: Silence())
    report = house.report(house.look())
    assert report["gateway"] == {"sentence": "The gateway's own counts are missing: Envoy does not answer.", "versions": {}}


def test_predictions_of_a_version_that_the_ledger_lacks_are_a_fault(house):
    """DE-22: The release's entry may come a moment later: the stage is to be tried again."""
    house.serve(february(2), version=9)
    house.serve(february(5), version=9)
    with pytest.raises(ServiceUnreachable, match="the ledger does not know it yet"):
        house.look()


def test_a_prediction_from_the_future_moves_no_window(house):
    """MN-01: One caller's wrong event time must not end every window or make the champion look decades old."""
    quiet(house, 2, 5)
    house.serve(date(2099, 1, 1), like=date(2013, 1, 1), count=1)
    result = house.look()
    assert (house.report(result)["name"], result.retraining) == ("2013-02-02_2013-02-04", None)


ODD = {
    "distance": [2**53 + 1, 2**63 - 1, -(2**63), 0, 500.0],
    "temp": [1e308, -1e308, 5e-324, 2**64, None],
    "carrier": ["", "\x00", "x" * 5000, "<img src=x onerror=alert(1)>", "💥"],
    "scheduled_departure": ["0001-01-01", "9999-12-31T23:59:59.999999", "2013-02-01T06:00:00-05:00", "1500-01-01T00:00:00Z"],
}
UNREADABLE = [
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"5",
    b'{"id": "x", "version": 1}',
    b'{"id": "y", "version": 1, "time": "infinity", "scores": [1, 2]}',
]


def answer_odd_requests(house, day):
    """What a server does: read the request, score it, log it. Returns how many it accepted."""
    scorer, log = Scorer(house.folder), PredictionLog(house.store, MODEL.name, 1)
    signature = read_signature({"inputs": [{**field, "min": None, "max": None} for field in INPUT_FIELDS]})
    usual = {"carrier": "UA", "origin": "EWR", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": 30.5}
    rows = [{**usual, name: value} for name, values in ODD.items() for value in values]
    moments = [f"{day}T12:00:00"] * len(rows) + ["0001-01-02T00:00:00Z", "9999-12-30T00:00:00Z"]
    for number, (row, moment) in enumerate(zip([*rows, usual, usual], moments, strict=True)):
        request = read_request(json.dumps({"data": {"rows": [row]}, "meta": {"tags": {"event_time": moment}}}), signature)
        scores = scorer.score(request.columns)
        log.record(f"odd-{number}", request.rows, scores, 1.0, body_bytes=100, event_time=request.event_time)
    log.segments.close()
    return len(moments)


def test_every_look_reads_what_servers_accepted_and_passes_by_what_nobody_can_read(house):
    """SE-13, MN-18: One accepted request, or one bad segment, never stops monitoring: the numbers at the edge count, the rest is set aside
    and told."""
    scores = quiet(house, 1, 4)
    answer_odd_requests(house, february(3))
    house.store.write(f"predictions/{MODEL.name}/00.jsonl", b"\n".join(UNREADABLE))
    house.store.write(f"outcomes/{MODEL.name}/00.jsonl", b'{"id": "x", "outcome": 1e400, "time": "2026-01-01"}\n\xff\n')
    house.happen(scores)
    result = house.look(february(3), february(5))
    assert (result.requests, result.damaged) == (400 + sum(map(len, ODD.values())), len(UNREADABLE) + 2)
    assert f"{len(UNREADABLE)} logged lines could not be read and count nowhere: predictions/{MODEL.name}/damaged/" in result.sentence
    assert "could not be read" in house.store.read(result.report.replace("report.json", "index.html")).decode()
    assert house.report(result)["outcomes"]["repeated"] == 0
    house.serve(february(5))
    house.serve(february(7))
    again = house.look()
    assert (again.outcome, again.requests, again.damaged) == ("done", 400, len(UNREADABLE) + 2)


def told(store):
    """What others read of a model after a look, without the moments at which it was written."""
    reports = {}
    for name in window_names(store, MODEL.name):
        try:
            report = json.loads(store.read(f"reports/{MODEL.name}/windows/{name}/report.json"))
        except KeyError:  # one of the windows before
            continue
        report["incidents"]["open"] = [{**one, "opened": None} for one in report["incidents"]["open"]]
        reports[name] = report, store.exists(f"reports/{MODEL.name}/windows/{name}/index.html")
    incidents = [(i.id, i.kind, i.key, i.severity, i.sentence, i.resolution, i.verdict) for i in Incidents(store, MODEL.name).all()]
    requests = [(r.key, r.cause, r.state, r.outcome, r.sentence) for r in Inbox(store, MODEL.name).all()]
    return reports, incidents, requests, noted_timeline(store, MODEL.name), store.read(f"reports/{MODEL.name}/newest_window.json")


def looked_anew(house, folder):
    """What a look finds in a copy of the store that remembers no look and no verdict, and what others read there then."""
    shutil.copytree(house.settings.store, folder)
    shutil.rmtree(folder / "views/looks", ignore_errors=True)
    for kept in ("judged.json", "anomalies.json"):
        for file in folder.glob(f"reports/*/windows/*/{kept}"):
            file.unlink()
    store = FolderStore(str(folder))
    result = monitor.run(house.settings.model_copy(update={"store": str(folder)}), store, MODEL.name)
    return result, told(store)


def test_a_look_that_is_spared_would_have_found_the_same(house, monkeypatch, tmp_path):
    """MN-01, MN-03, MN-09, MN-10: Whatever happens, the next look says and leaves what one says and leaves that knows of none before it;
    and once nothing happens any more, none is made."""
    looks, happened, specs = [], {}, [MODEL]
    look_at = monitor._look_at
    monkeypatch.setattr(monitor, "_look_at", lambda *given: looks.append(1) or look_at(*given))
    monkeypatch.setattr(discovery, "model", lambda name: specs[-1])
    store, arms = house.store, {1: Arm(requests=5)}
    monkeypatch.setattr(monitor, "open_backend", lambda settings: SimpleNamespace(observe=lambda spec: arms))

    def serve(first, last, change=None):
        for n in range(first, last + 1):
            like = date(2013, 1, 1 + (n * 5) % 28)
            happened.update(house.serve(february(n), like=like, count=60, change=change))

    def judge():
        house.incidents.verdict(house.incidents.open_ones()[0].id, "false alarm", "tests", "a cold spell")

    def train():
        request = house.inbox.open()[0].key
        house.inbox.claim(request, "run")
        house.release(2, request=request)

    def late():
        when = datetime.combine(february(8), datetime.min.time())
        log = PredictionLog(store, MODEL.name, 1)
        row = {"carrier": "UA", "origin": "EWR", "distance": 500, "temp": 30.5, "scheduled_departure": when.isoformat()}
        log.record("late", [row] * 3, np.full((3, 2), 0.5), 1.0, body_bytes=9, event_time=when.isoformat())
        log.segments.close()

    def watch_otherwise():
        monitoring = MODEL.monitoring.model_copy(update={"alpha": 0.2, "anomaly_detector": "univariate_max"})
        specs.append(MODEL.model_copy(update={"monitoring": monitoring}))

    def lose_a_report():
        store.delete(f"reports/{MODEL.name}/windows/2013-02-08_2013-02-10/report.json")

    steps = {
        "the first window": [lambda: serve(2, 4)],
        "outcomes, and requests of the day that is not over": [
            lambda: house.happen(happened, seed=1),
            lambda: house.serve(february(5), count=9),
        ],
        "a cold spell": [lambda: serve(6, 10, colder)],
        "days land": [lambda: house.ingest(FEBRUARY, 9)],
        "a verdict, and rows of the window": [judge, late],
        "another version, and a line that nobody can read": [train, lambda: store.write(f"predictions/{MODEL.name}/0.jsonl", b"{")],
        "outcomes of a window before": [lambda: house.happen({"2013-02-06-1-0": np.array([0.4, 0.6])}, seed=3)],
        "another spec, and a look back": [watch_otherwise, lambda: house.look(february(6), february(8))],
        "the gateway's counts": [lambda: arms.update({1: Arm(requests=9, errors=1)})],
        "a lost report, and a request from far ahead": [lose_a_report, lambda: house.serve(date(2099, 1, 1), like=JANUARY, count=1)],
    }
    for place, (what, happen) in enumerate(steps.items()):
        for one in happen:
            one()
        anew = looked_anew(house, tmp_path / f"anew-{place}")
        looks.clear()
        assert (house.look(), told(store)) == anew, what
        assert looks == [1], what
        answers = [house.look(), house.look()]  # what the first one changed, the second one sees
        looks.clear()
        left = house.kept() | {what: told(store)}
        assert house.look() == answers[-1], what
        assert (looks, house.kept() | {what: told(store)}) == ([], left), what
    assert len(house.inbox.all()) == 1
    assert {incident.kind for incident in house.incidents.all()} == {"drift"}
