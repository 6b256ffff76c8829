"""The monitor stage end to end: real flights in a real table, a real small version's scores, the servers' own log."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery, encoding
from perennial.commands import outcomes as outcomes_command
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import publish
from perennial.monitoring.requests import Inbox
from perennial.serving.prediction_log import OutcomeLog, PredictionLog
from perennial.serving.route import Arm
from perennial.settings import Settings
from perennial.specs import MonitoringSpec, RetrainSpec, SplitSpec
from perennial.stages import monitor, validate
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_model, small_version
from perennial.training.scoring import score

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:great_expectations.*"),
]

INPUTS = ("carrier", "origin", "scheduled_departure", "distance", "temp")
MODEL = small_model().model_copy(
    update={
        "monitoring": MonitoringSpec(window_days=2, reference_days=28, min_effect=0.15),
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
        self.settings = Settings(home=root / "home", store=str(root / "store"), reports_url="http://reports")
        self.dataset = discovery.dataset("flights")
        self.inbox = Inbox(self.store, MODEL.name)
        self.ingest(JANUARY, 28)
        small_version(self.folder)
        self.release(1)

    def ingest(self, first, days):
        """Append days of flights."""
        rows = pa.concat_tables([self.flights[first + timedelta(days=i)] for i in range(days)])
        Table(self.store, "flights").append(rows, f"{first}+{days}")

    def release(self, number, *, request=""):
        """Seal a version trained on the newest snapshot, have the gate judge it, and give it all traffic."""
        snapshot = latest_snapshot(self.store, self.dataset)
        manifest = small_manifest(
            MODEL.name, snapshot=snapshot.version, snapshot_digest=snapshot.digest, run_key=f"{number:024d}", seed=number, request=request
        )
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

    def serve(self, day, *, like=None, version=1, celsius=False, count=200, shadow=False):
        """Answer `count` flights of a day and log them; `like` takes another day's rows; ids are `<day>-<n>-0`."""
        rows = self.flights[like or day].select(INPUTS).to_pylist()
        picked = [rows[i] for i in np.random.default_rng(day.toordinal()).choice(len(rows), count, replace=False)]
        if celsius:
            picked = [{**r, "temp": None if r["temp"] is None else (r["temp"] - 32) / 1.8} for r in picked]
        picked = [{**r, "scheduled_departure": r["scheduled_departure"].isoformat()} for r in picked]
        scores = score(self.folder, encoding.columns_from_rows(picked, list(INPUTS)))
        log = PredictionLog(self.store, MODEL.name, version)
        for i, row in enumerate(picked):
            when = datetime.combine(day, datetime.min.time()) + timedelta(minutes=7 * i % 1440)
            log.record(f"{day}-{i}", [row], scores[i : i + 1], 1.0 + i % 5, body_bytes=100, event_time=when.isoformat(), shadow=shadow)
        log.segments.close()
        return {f"{day}-{i}-0": scores[i] for i in range(count)}

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

    def report(self, result):
        """The report that a result names."""
        return json.loads(self.store.read(result.report))


@pytest.fixture
def house(tmp_path, flights, monkeypatch):
    """January is in, version 1 serves."""
    monkeypatch.setattr(discovery, "model", lambda name: MODEL)
    return House(tmp_path, flights)


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
    """Skipped, with the reason; so are a window that is not over and a window without predictions."""
    assert house.look().outcome == "skipped"
    house.serve(february(1))
    waiting = house.look()
    assert (waiting.outcome, "is over once a later prediction comes" in waiting.sentence) == ("skipped", True)
    empty = house.look(february(10), february(12))
    assert (empty.outcome, "choose a window with predictions" in empty.sentence) == ("skipped", True)


def test_a_quiet_window_asks_for_nothing(house):
    """Counts, service figures, skipped columns and the page; shadows do not count."""
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
    assert report["drift"]["skipped"] == {"scheduled_departure": "is the event time"}
    assert {c["column"] for c in report["drift"]["columns"]} == {"carrier", "origin", "distance", "temp"}
    assert 1.0 <= report["service"]["p50_ms"] <= 5.0
    assert abs(report["performance"]["excess"]) < 0.1
    assert report["performance"]["low"] < report["performance"]["realised"] < report["performance"]["high"]
    page = house.store.read(result.report.replace("report.json", "index.html")).decode()
    assert "http" not in page
    assert "<svg" in page
    assert "Nothing asks for retraining" in page
    assert result.links == {"Report": "http://reports/small_delays/windows/2013-02-03_2013-02-06/index.html"}


def test_a_unit_change_is_confirmed_and_asks_for_retraining_once(house):
    """Fahrenheit becomes Celsius: one window alerts, the second asks; looking again, at any window, asks for nothing more."""
    quiet(house, 2, 5)
    for n in range(6, 11):
        house.serve(february(n), like=date(2013, 1, n), celsius=True)
    house.ingest(FEBRUARY, 9)
    first = house.look(february(6), february(8))
    assert (first.drifted, first.retraining) == (("temp",), None)
    assert "once it lasts through 2 windows" in first.sentence
    result = house.look()
    report = house.report(result)
    assert (report["name"], result.drifted, result.cause, report["drift"]["confirmed"]) == (
        "2013-02-08_2013-02-10",
        ("temp",),
        "drift",
        ["temp"],
    )
    assert result.retraining == "00000002-drift"
    assert "`temp`: below" in result.sentence
    request = house.inbox.get(result.retraining)
    assert (request.state, request.evidence["columns"], request.evidence["window"]) == ("open", ["temp"], "2013-02-08_2013-02-10")
    again = house.look()
    assert (again.retraining, again.cause) == (result.retraining, "drift")
    past = house.look(february(6), february(8))
    assert past.drifted == ("temp",)
    assert past.retraining == result.retraining  # whoever looks is told what waits, so that a look that died loses nothing
    assert house.look().retraining == result.retraining
    assert len(house.inbox.all()) == 1


def test_the_new_champion_is_measured_against_its_own_snapshot(house):
    """After the training that the request asked for, the same values are no drift; the old windows keep their verdicts."""
    quiet(house, 2, 5)
    for n in range(6, 10):
        house.serve(february(n), like=date(2013, 1, n), celsius=True)
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
    assert (past.drifted, past.retraining, len(house.inbox.all())) == (("temp",), None, 1), "a request that has ended wakes nobody again"
    assert house.report(past)["decision"]["request"] == key


def test_late_outcomes_change_only_their_own_window(house, tmp_path):
    """Outcomes by log and by file; the windows before and after stay byte for byte, and drift is untouched."""
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


def test_a_jump_of_the_loss_asks_for_retraining(house):
    """Outcomes turn against the scores for three days, while inputs stay as they were."""
    house.ingest(FEBRUARY, 9)
    house.happen(quiet(house, 1, 7), seed=1)
    house.happen(quiet(house, 8, 11), seed=2, upside_down=True)
    house.serve(february(12))
    result = house.look()
    assert (result.cause, result.drifted) == ("performance", ())
    assert "three standard errors" in result.sentence


def test_the_gateways_counts_are_shown(house, monkeypatch):
    """What the gateway counted beside the log; if it does not answer, the report says so and is made all the same."""
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
    """The release's entry may come a moment later: the stage is to be tried again."""
    house.serve(february(2), version=9)
    house.serve(february(5), version=9)
    with pytest.raises(ServiceUnreachable, match="the ledger does not know it yet"):
        house.look()


def test_a_prediction_from_the_future_moves_no_window(house):
    """One caller's wrong event time must not end every window or make the champion look decades old."""
    quiet(house, 2, 5)
    house.serve(date(2099, 1, 1), like=date(2013, 1, 1), count=1)
    result = house.look()
    assert (house.report(result)["name"], result.retraining) == ("2013-02-02_2013-02-04", None)
