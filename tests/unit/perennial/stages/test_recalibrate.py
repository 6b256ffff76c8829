"""The stage recalibrate: fitted to labelled days, judged on days held out, a version like any other and no training."""

from __future__ import annotations

import json
import shutil
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery, encoding
from perennial.data.tables import Table
from perennial.errors import CandidateRefused, ServiceUnreachable
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.trainings import kin, last_training
from perennial.lineage.version_folder import fetch, publish, published, read_manifest
from perennial.monitoring.answers import answers_since
from perennial.monitoring.outcomes import collect_outcomes
from perennial.monitoring.prediction_table import collect_predictions, set_aside
from perennial.registry.model_registry import Version
from perennial.registry.promotion import Check
from perennial.served_tables import outcomes_name, predictions_name
from perennial.serving.prediction_log import PredictionLog
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.specs import ReleaseSpec, RetrainSpec
from perennial.stages import recalibrate as stage
from perennial.stages._versions import as_logged
from perennial.stages.recalibrate import labelled_days, untrained_from
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, small_manifest, small_model, small_rows, small_version
from perennial.training.recalibration import read_recalibration
from perennial.training.scoring import score

RETRAIN = RetrainSpec(
    recalibrate_days=6, recalibrate_judged_days=5, recalibrate_min_labels=200, recalibrate_alpha=0.05, recalibrate_weight=0.01
)
MODEL = small_model().model_copy(update={"retrain": RETRAIN})
INPUTS = list(MODEL.inputs)
FIRST = date(2013, 2, 1)
OFF = {"scale": 0.5, "shift": 1.2}  # how far the world is from the scores: log-odds of what happens = scale * log-odds + shift


class Registry(RegistryInMemory):
    """Also takes runs and registrations."""

    def __init__(self):
        super().__init__()
        self.runs, self.notes, self.cards = {}, {}, []

    def record_run(self, manifest, metrics, history, digest, *, key="", facts=None):
        self._answer()
        self.runs[key] = {"manifest": manifest, "metrics": dict(metrics), "digest": digest}
        return f"run-{key}"

    def annotate(self, run_id, tags=None, metrics=None, files=None):
        self.notes[run_id] = {"tags": dict(tags or {}), "files": dict(files or {})}

    def register(self, model, run_id, digest, tags=None, description=""):
        known = next((v for v in self.versions(model) if v.digest == digest), None)
        if known is None:
            self.cards.append(description)
            known = self.add(model, digest, "new", tags or {})
            self.delete_alias(model, "new")
        return Version(model, known.number, digest, run_id, 1, {**known.tags, **dict(tags or {})})

    def run_url(self, run_id):
        return f"http://registry/runs/{run_id}"


class House:
    """A store where version 1 serves, and servers that log."""

    def __init__(self, root, monkeypatch, model=MODEL):
        self.model, self.root = model, root
        self.store, self.registry = FolderStore(str(root / "store")), Registry()
        self.settings = Settings.from_environment({"PERENNIAL_HOME": str(root / "home")})
        self.ledger = Ledger(self.store, model.name)
        monkeypatch.setattr(discovery, "model", lambda name: self.model)
        monkeypatch.setattr(stage, "ModelRegistry", lambda settings: self.registry)
        self.folder = small_version(root / "version")
        self.digest = publish(self.store, model.name, self.folder, small_manifest(parameters={"validation_days": 0}))
        self.store.write(f"reports/{model.name}/{self.digest}/gate.json", b"{}")
        self.registry.add(model.name, self.digest, "champion")
        self.write("released", 1, 1, {1: self.digest})

    def write(self, kind, version, champion, versions):
        last = self.ledger.last()
        self.ledger.append(
            kind, version=version, champion=champion, weights={champion: 10000}, versions={**(last.versions if last else {}), **versions},
            reason="r", actor="a", after_seq=last.seq if last else None,
        )  # fmt: skip

    def serve(self, day, count=200, *, version=1, folder=None, label=True, off=OFF, shadow=False, seed=0):
        """Answer flights of a day and log them; log what happened, which the scores get wrong in a known way."""
        rng = np.random.default_rng([day.toordinal(), seed])
        rows = small_rows(count, seed=int(rng.integers(1 << 30)))
        trained = score(self.folder, encoding.columns_from_rows(rows, INPUTS))
        scores = trained if folder is None else score(folder, encoding.columns_from_rows(rows, INPUTS))
        log = PredictionLog(self.store, self.model.name, version)
        log.record(f"{day}-{seed}", rows, scores, 1.0, body_bytes=100, event_time=f"{day}T12:00:00", shadow=shadow)
        log.segments.close()
        if label:
            odds = off["scale"] * np.log(trained[:, 1] / trained[:, 0]) + off["shift"]
            happened = rng.random(count) < 1 / (1 + np.exp(-odds))
            self.label(f"{day}-{seed}", {f"{day}-{seed}-{i}": int(happened[i]) for i in range(count)})

    def label(self, name, outcomes):
        lines = [json.dumps({"id": id, "outcome": outcome, "time": "2013-03-01T00:00:00+00:00"}) for id, outcome in outcomes.items()]
        self.store.write(f"outcomes/{self.model.name}/{name}.jsonl", "\n".join(lines).encode())

    def days(self, days, first=FIRST, **served):
        for n in range(days):
            self.serve(first + timedelta(days=n), **served)

    def run(self):
        return stage.run(self.settings, self.store, self.model.name, run_url="http://airflow/run")

    def records(self):
        return [json.loads(self.store.read(item.key)) for item in self.store.list(f"reports/{self.model.name}/recalibrations")]

    def promote(self, number):
        """The release of a version ends well."""
        version = self.registry.version(self.model.name, number)
        self.write("promoted", number, number, {number: version.digest})
        self.registry.set_alias(self.model.name, "champion", number)
        self.registry.delete_alias(self.model.name, "candidate")
        self.registry.tag_version(self.model.name, number, {"promoted": "then"})


@pytest.fixture
def house(tmp_path, monkeypatch):
    return House(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Twelve labelled days, and one more that says that they are over, collected into tables."""
    with pytest.MonkeyPatch.context() as patch:
        house = House(tmp_path_factory.mktemp("logged"), patch)
        house.days(12)
        house.serve(FIRST + timedelta(days=12), 5, label=False)
        collect_predictions(house.store, MODEL, discovery.dataset("flights"), Table(house.store, predictions_name(MODEL.name)))
        collect_outcomes(house.store, MODEL, Table(house.store, outcomes_name(MODEL.name)))
    return house.root / "store"


@pytest.fixture
def served(logged, house):
    """A house of one's own with these days."""
    shutil.copytree(logged, house.root / "store", dirs_exist_ok=True)
    return house


def test_lines_that_nobody_can_read_hold_up_no_recalibration_and_no_release(served):
    """SE-13: What is garbled, or was accepted by an older release and fits no column, is set aside; recalibration and release count the
    rest."""
    line = {"id": "x", "version": 1, "time": "2026-01-01T00:00:00Z", "event_time": "2013-02-05T00:00:00Z", "scores": [0.5, 0.5], "ms": 1}
    huge = json.dumps({**line, "row": {**small_rows(1)[0], "distance": 1e19}})
    served.store.write(f"predictions/{MODEL.name}/00.jsonl", f"{huge}\n{{\n".encode() + b"\xff\x00\n")
    served.store.write(f"outcomes/{MODEL.name}/00.jsonl", b'{"id": true}\n' + b"[" * 9000)
    dataset = discovery.dataset("flights")
    logged = as_logged(served.store, MODEL, dataset, Ledger(served.store, MODEL.name).entries())
    joined = answers_since(served.store, logged, dataset, Table, datetime(2013, 1, 1, tzinfo=timezone.utc))
    assert joined.num_rows == 12 * 200 + 5
    assert set_aside(served.store, f"predictions/{MODEL.name}").lines == 3
    assert set_aside(served.store, f"outcomes/{MODEL.name}").lines == 2
    assert served.run().version == 2


def test_a_recalibrated_version_is_registered_as_candidate(served):
    """MN-10, MO-13: Fitted to six days, judged on the five after them; it undoes what the world does to the scores."""
    result = served.run()
    assert (result.outcome, result.version, result.champion) == ("done", 2, 1)
    assert "6 days (2013-02-02 to 2013-02-07)" in result.sentence
    assert "it is better than the champion" in result.sentence
    assert (result.evidence["fitted_rows"], result.evidence["judged_days"]) == (1200, ["2013-02-08", "2013-02-12"])
    assert served.registry.version(MODEL.name, "candidate").number == 2
    folder = fetch(served.store, MODEL.name, result.digest, served.root / "made")
    made, record = read_recalibration(folder)
    assert made.scale == pytest.approx(OFF["scale"], abs=0.12)
    assert made.shift[1] - made.shift[0] == pytest.approx(OFF["shift"], abs=0.25)
    assert record["champion"] == served.digest
    assert Scorer(folder).replay() is None
    assert json.loads((folder / "golden.json").read_text())["rows"] == json.loads((served.folder / "golden.json").read_text())["rows"]


def test_it_is_in_the_registry_with_all_that_a_version_has(served):
    """MO-12: Run with figures and gate, tags, model card, evidence in the store."""
    result = served.run()
    run = served.registry.runs[f"{'0' * 24}-{result.digest[:12]}"]
    assert (run["digest"], run["manifest"].cause, run["manifest"].parents) == (result.digest, "recalibration", [served.digest])
    assert run["metrics"]["candidate_loss"] < run["metrics"]["champion_loss"]
    assert {"scale", "shift_0", "shift_1"} < set(run["metrics"])
    notes = served.registry.notes[result.run_id]
    assert notes["tags"] == {"gate": "passed", "orchestrator": "http://airflow/run"}
    assert json.loads(notes["files"]["gate.json"])["passed"]
    tags = served.registry.version(MODEL.name, 2).tags
    assert (tags["compared_with"], tags["recalibrates"]) == ("1", "1")
    assert "The weights of version 1, recalibrated: scale 0." in served.registry.cards[0]
    gate = json.loads(served.store.read(f"reports/{MODEL.name}/{result.digest}/gate.json"))
    assert [check["name"] for check in gate["checks"]] == ["champion", "golden", "generated inputs", "limits"]
    assert served.records()[0]["version"] == 2
    assert result.links["MLflow run"].endswith(result.run_id)


def test_it_is_no_training(served):
    """MO-19: Snapshot, run key and reference stay those of its training; the last training is still the one before."""
    before = last_training(served.store, MODEL.name)
    result = served.run()
    manifest, trained = (read_manifest(served.store, MODEL.name, digest) for digest in (result.digest, served.digest))
    same = ("run_key", "snapshot", "snapshot_digest", "code_digest", "lock_digest", "parameters", "seed", "event_time_end")
    assert [getattr(manifest, name) for name in same] == [getattr(trained, name) for name in same]
    assert last_training(served.store, MODEL.name) == before
    assert published(served.store, MODEL.name, manifest.run_key) == served.digest
    assert kin(served.store, MODEL.name, {1: served.digest, 2: result.digest}, 2) == {1, 2}


def test_the_same_labels_are_looked_at_once(served, monkeypatch):
    """MN-10: Released or not: another look says what the first one said, until labels come in."""
    served.run()
    served.registry.delete_alias(MODEL.name, "candidate")
    served.registry.tag_version(MODEL.name, 2, {"rolled_back": "it was slow"})
    again = served.run()
    assert (again.outcome, again.version) == ("skipped", None)
    assert again.sentence.startswith("No label of small_delays came in since the last look. It said: Version 1")
    served.serve(FIRST + timedelta(days=11), 40, seed=1)
    assert served.run().version == 3


def test_scores_that_fit_are_left_as_they_are(tmp_path, monkeypatch):
    """MN-10, MO-13: Nothing is made, registered or released; the evidence is kept and the sentence says by how much it is not better."""
    house = House(tmp_path, monkeypatch)
    house.days(12, off={"scale": 1.0, "shift": 0.0})
    house.serve(FIRST + timedelta(days=12), 5, label=False)
    result = house.run()
    assert (result.outcome, result.version) == ("skipped", None)
    assert "is left as it is: it is not shown to be better than the champion" in result.sentence
    assert len(house.registry.versions(MODEL.name)) == 1
    assert (
        len(list(house.store.list(f"models/{MODEL.name}/versions"))) == len(read_manifest(house.store, MODEL.name, house.digest).files) + 1
    )
    assert [(r["passed"], r["fitted_days"]) for r in house.records()] == [(False, ["2013-02-02", "2013-02-07"])]
    assert house.run().sentence.startswith("No label of small_delays came in")


def test_a_day_that_turns_back_is_no_reason(tmp_path, monkeypatch):
    """MN-10, MO-13: The fitted days were off and the held-out days are not: what was fitted is worse on them, and is not registered."""
    house = House(tmp_path, monkeypatch)
    house.days(7)
    house.days(5, first=FIRST + timedelta(days=7), off={"scale": 1.0, "shift": 0.0})
    house.serve(FIRST + timedelta(days=12), 5, label=False)
    result = house.run()
    assert result.outcome == "skipped"
    assert result.evidence["checks"][0]["difference"] > 0


def test_too_few_labels_are_said(house):
    """MN-10: No predictions, no outcomes, too few days, too few rows: each with what is there and what is needed."""
    assert "has no predictions yet" in house.run().sentence
    house.days(3, label=False)
    assert "has no outcomes yet" in house.run().sentence
    house.days(3, first=FIRST + timedelta(days=3))
    few = house.run()
    assert (few.outcome, "has 2 labelled days since 2013-02-01" in few.sentence) == ("skipped", True)
    assert "6 are needed to fit and to judge" in few.sentence
    house.days(5, first=FIRST + timedelta(days=6), count=40)
    house.model = MODEL.model_copy(update={"retrain": MODEL.retrain.model_copy(update={"recalibrate_min_labels": 5000})})
    assert "has 400 labelled predictions from 2013-02-04 to 2013-02-05: 5000 are needed" in house.run().sentence


def test_the_days_of_the_training_do_not_count(tmp_path, monkeypatch):
    """MN-10: Training and validation days shaped the scores: they would look better than they are."""
    assert untrained_from(small_manifest(event_time_end="2013-01-31T23:00:00")) == datetime(2013, 2, 1, tzinfo=timezone.utc)
    manifest = small_manifest(event_time_end="2013-01-24T05:00:00", parameters={"validation_days": 7})
    assert untrained_from(manifest) == datetime(2013, 2, 1, tzinfo=timezone.utc)
    house = House(tmp_path, monkeypatch)
    house.days(11, first=FIRST - timedelta(days=11))
    house.serve(FIRST, 40)
    house.serve(FIRST + timedelta(days=1), 5, label=False)
    assert "has 1 labelled days since 2013-02-01" in house.run().sentence


def test_a_version_that_does_not_score_alike_where_it_is_served_is_refused(served, monkeypatch):
    """MO-14: As at every registration; and the same labels do not try again."""
    said = Check("golden", False, "its golden rows do not match in the serving environment", {})
    monkeypatch.setattr(stage, "inspected", lambda *given: (said, []))
    with pytest.raises(CandidateRefused, match="is refused: its golden rows do not match"):
        served.run()
    assert len(served.registry.versions(MODEL.name)) == 1
    assert served.run().outcome == "skipped"


def test_nothing_is_recalibrated_where_the_spec_says_no_or_nothing_serves(house):
    """MN-10: Each says why."""
    house.model = MODEL.model_copy(update={"retrain": RetrainSpec(recalibrate=False)})
    assert "its spec says so" in house.run().sentence
    house.model = MODEL
    house.store.delete(f"ledger/{MODEL.name}/00000000.json")
    assert "has no champion yet" in house.run().sentence


def test_never_while_another_candidate_waits(served):
    """MN-10: A trained version that waits, a release under way, a training that has claimed its request."""
    served.registry.add(MODEL.name, "b" * 64)
    assert served.run().sentence.startswith("Version 2 of small_delays waits for its release")
    served.write("started", 2, 1, {2: "b" * 64})
    assert "release of version 2" in served.run().sentence
    served.write("rolled_back", 2, 1, {2: "b" * 64})
    served.registry.delete_alias(MODEL.name, "candidate")
    inbox = Inbox(served.store, MODEL.name)
    key = inbox.ask("drift", 4, {})
    inbox.claim(key, "run-1")
    assert f"under way for the request {key}" in served.run().sentence
    inbox.end(key, "refused", "The data are bad.")
    assert served.run().version == 3


def test_a_candidate_that_was_compared_with_another_champion_holds_nobody_up(served):
    """MN-10: It is not released by itself any more."""
    served.registry.add(MODEL.name, "b" * 64, tags={"compared_with": "7"})
    assert served.run().version == 3
    assert served.registry.version(MODEL.name, "candidate").number == 3


@pytest.mark.parametrize("late", ["record_run", "register", "set_alias"])
def test_a_look_that_died_is_finished_by_the_next(served, monkeypatch, late):
    """DE-22: Wherever it died, one version comes of it."""
    with monkeypatch.context() as patch:
        patch.setattr(served.registry, late, lambda *given, **named: (_ for _ in ()).throw(ServiceUnreachable("MLflow is away.")))
        with pytest.raises(ServiceUnreachable):
            served.run()
    assert served.records() == []
    result = served.run()
    assert (result.outcome, result.version) == ("done", 2)
    assert len(served.registry.versions(MODEL.name)) == 2
    assert len(served.records()) == 1


def test_a_candidate_that_was_not_announced_is_announced_again(served, monkeypatch):
    """DE-22: The stage died after the registry had it: the next look tells of it; by itself again only where nobody need be asked."""
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_keep", lambda *given: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            served.run()
    served.model = MODEL.model_copy(update={"release": ReleaseSpec(mode="approval")})
    told = served.run()
    assert (told.outcome, told.version, told.champion) == ("done", 2, 1)
    assert served.records()[0]["version"] == 2
    assert served.run().outcome == "skipped"
    served.model = MODEL
    assert served.run().version == 2


def test_a_version_on_which_a_release_decided_does_not_come_back(served, monkeypatch):
    """MN-10: The stage died before it noted the labels, and the version was rolled back meanwhile."""
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_keep", lambda *given: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            served.run()
    served.registry.tag_version(MODEL.name, 2, {"rolled_back": "it was slow"})
    served.registry.delete_alias(MODEL.name, "candidate")
    result = served.run()
    assert (result.outcome, "on which a release has decided" in result.sentence) == ("skipped", True)
    assert served.registry.version(MODEL.name, "candidate") is None


def test_a_recalibrated_champion_is_recalibrated_from_its_training(served):
    """MN-10, MO-16: Days answered by whichever version count; the new scale and shift replace the old ones, and the parent is the
    champion."""
    first = served.run()
    served.promote(2)
    folder = fetch(served.store, MODEL.name, first.digest, served.root / "second")
    for n in range(12, 24):
        served.serve(FIRST + timedelta(days=n), version=2, folder=folder, off={"scale": 1.0, "shift": -1.5}, seed=2)
    served.serve(FIRST + timedelta(days=24), 5, label=False)
    result = served.run()
    assert (result.version, result.champion) == (3, 2)
    assert read_manifest(served.store, MODEL.name, result.digest).parents == [first.digest]
    made, record = read_recalibration(fetch(served.store, MODEL.name, result.digest, served.root / "third"))
    assert record["champion"] == first.digest
    assert (made.scale, made.shift[1] - made.shift[0]) == (pytest.approx(1.0, abs=0.25), pytest.approx(-1.5, abs=0.35))
    assert kin(served.store, MODEL.name, {1: served.digest, 2: first.digest, 3: result.digest}, 1) == {1, 2, 3}


def test_what_a_shadow_answered_does_not_count(served):
    """SE-14: Nobody acted on it: it is no new label, and no row of the fit."""
    served.run()
    served.registry.delete_alias(MODEL.name, "candidate")
    served.registry.tag_version(MODEL.name, 2, {"rolled_back": "it was slow"})
    served.serve(FIRST + timedelta(days=3), 150, shadow=True, seed=5)
    assert served.run().sentence.startswith("No label of small_delays came in")


def test_of_very_many_rows_some_count(served, monkeypatch):
    """MN-10: They tell as much, in a time that does not grow."""
    monkeypatch.setattr(stage, "MOST_ROWS", 900)
    result = served.run()
    assert result.evidence["fitted_rows"] + result.evidence["checks"][0]["rows"] == 734  # every third of 2,200
    assert result.version == 2


@pytest.mark.parametrize("inputs", [(*MODEL.inputs, "visib"), MODEL.inputs[1:]])
def test_the_champion_is_scored_with_its_own_inputs(served, inputs):
    """DM-18: An input that the spec gained since was never logged, and one that it lost is still read: neither stops the recalibration."""
    served.model = MODEL.model_copy(update={"inputs": inputs})
    assert served.run().version == 2


def rows(*days, labelled=None):
    """Predictions at noon of days of February, all labelled unless said."""
    times = [datetime(2013, 2, day, 12) for day in days]
    outcomes = [1.0] * len(days) if labelled is None else labelled
    return pa.table({"event_time": pa.array(times, pa.timestamp("us", "UTC")), "outcome": pa.array(outcomes, pa.float64())})


def test_which_days_are_labelled():
    """MN-10: Half of the outcomes and thirty of them."""

    def full(*days):
        return rows(*(day for day in days for _ in range(30)))

    feb = {n: date(2013, 2, n) for n in range(1, 29)}
    assert labelled_days(full(3, 1, 2)) == [feb[1], feb[2], feb[3]]
    assert labelled_days(pa.concat_tables([full(1, 3), rows(*[2] * 29)])) == [feb[1], feb[3]]
    assert labelled_days(pa.concat_tables([full(1, 2, 3), rows(*[2] * 31, labelled=[None] * 31)])) == [feb[1], feb[3]]
    assert labelled_days(rows()) == []


@pytest.mark.parametrize("at_once", [1, 500, 10**6])
def test_however_many_days_are_read_at_a_time_the_answer_is_the_same(served, monkeypatch, at_once):
    """MN-10: Day by day from the newest on, until there are enough, over days that have no labels; none but their own outcomes are read."""
    for n in (3, 9):
        served.label(f"late-{n}", {f"none-{n}-{i}": 1 for i in range(50)})  # of predictions that never came
    read = []
    outcomes_of = stage.outcomes_of
    monkeypatch.setattr(stage, "outcomes_of", lambda *given: read.append(found := outcomes_of(*given)) or found)
    monkeypatch.setattr(stage, "ROWS_AT_ONCE", at_once)
    result = served.run()
    assert (result.evidence["fitted_days"], result.evidence["judged_days"]) == (["2013-02-02", "2013-02-07"], ["2013-02-08", "2013-02-12"])
    assert result.evidence["fitted_rows"] == 1200
    assert all(not id.startswith("none-") for rows in read for id in rows["prediction_id"].to_pylist())
    assert sum(rows.num_rows for rows in read) == {1: 2200, 500: 2400, 10**6: 2200}[at_once]


def test_outcomes_that_come_late_count(tmp_path, monkeypatch):
    """MN-10: Of days that lie behind one which was labelled at once."""
    house = House(tmp_path, monkeypatch)
    house.days(11, label=False)
    house.serve(FIRST + timedelta(days=11))
    house.serve(FIRST + timedelta(days=12), 5, label=False)
    assert "has 1 labelled days" in house.run().sentence
    for n in range(11):
        day = FIRST + timedelta(days=n)
        house.label(f"{day}-late", {f"{day}-0-{i}": i % 2 for i in range(200)})
    result = house.run()
    assert (result.evidence["fitted_days"], result.evidence["judged_days"]) == (["2013-02-02", "2013-02-07"], ["2013-02-08", "2013-02-12"])


def test_broken_data_are_not_fitted_to(served):
    """MN-10, DM-11: As nothing is trained on them; once a person knows of the change, or the feed is mended, labels count again."""
    incidents = Incidents(served.store, MODEL.name)
    broken = incidents.open("data quality", "unit of temp", "critical", "`temp`: the values look like °C instead of °F.")
    result = served.run()
    assert (result.outcome, "are not fitted to: `temp`" in result.sentence) == ("skipped", True)
    incidents.verdict(broken, "known", "ada")
    assert served.run().version == 2


def _break(house, first, last, over_since=None, key="unit of temp"):
    """An incident as monitoring notes it, by days of February; its id."""
    times = {name: f"2013-02-{day:02d}T00:00:00+00:00" for name, day in (("first", first), ("last", last))}
    incidents = Incidents(house.store, MODEL.name)
    id = incidents.open("data quality", key, "critical", "`temp`: the values look like °C instead of °F.", times)
    if over_since:
        incidents.resolve(id, "No longer seen.", {"over_since": f"2013-02-{over_since:02d}T00:00:00+00:00"})
    return id


@pytest.mark.parametrize("verdict", [None, "real"])
def test_days_of_a_broken_feed_are_not_fitted_to_later_either(served, verdict):
    """MN-10, DM-11: From where it was first seen to where it no longer was; the sentence says so, and older days take their place."""
    broken = _break(served, 4, 5, 7)
    if verdict:
        Incidents(served.store, MODEL.name).verdict(broken, verdict, "ada")
    result = served.run()
    assert result.evidence["left_out_days"] == ["2013-02-04", "2013-02-05", "2013-02-06"]
    assert (result.evidence["fitted_days"], result.evidence["judged_days"]) == (["2013-02-01", "2013-02-07"], ["2013-02-08", "2013-02-12"])
    assert result.evidence["fitted_rows"] == 800
    assert "4 days (2013-02-01 to 2013-02-07; 3 of a broken feed until 2013-02-12 are left out)" in result.sentence


@pytest.mark.parametrize("verdict", ["known", "false alarm"])
def test_days_that_a_person_calls_right_are_fitted_to(served, verdict):
    """MN-10, MN-11: Nothing was broken."""
    Incidents(served.store, MODEL.name).verdict(_break(served, 4, 5, 7), verdict, "ada")
    result = served.run()
    assert (result.evidence["fitted_rows"], result.evidence["left_out_days"]) == (1200, [])


def test_too_few_sound_days_are_said(served):
    """MN-10: With how many of a broken feed were left out."""
    _break(served, 1, 2, 9)
    assert (
        "has 4 labelled days since 2013-02-01, where the training of version 1 ended (8 days of a broken feed are left out): 6 are needed"
        in served.run().sentence
    )


@pytest.mark.parametrize(("kind", "sentence"), [("rolled_back", "rolled back"), ("rejected", "rejected")])
def test_a_recalibration_that_nobody_wanted_does_not_come_back_with_other_numbers(served, kind, sentence):
    """MN-10, DE-02: A person or the canary said no: the next day's labels must not bring back nearly the same."""
    made = served.run()
    if kind == "rolled_back":
        served.promote(2)
        served.registry.set_alias(MODEL.name, "champion", 1)
    served.registry.delete_alias(MODEL.name, "candidate")
    served.write(kind, 2, 1, {1: served.digest, 2: made.digest})
    for n in range(12, 18):
        served.serve(FIRST + timedelta(days=n), seed=3)
    result = served.run()
    assert (result.outcome, f"a recalibration, was {sentence}" in result.sentence) == ("skipped", True)


def test_a_training_that_a_person_rejected_holds_nothing_back(served):
    """DE-02: It waits no more, and says nothing of the champion's scores."""
    other = small_version(served.root / "other", seed=5)
    digest = publish(served.store, MODEL.name, other, small_manifest(parameters={"validation_days": 0}, seed=5))
    served.registry.add(MODEL.name, digest, "candidate", {"compared_with": "1"})
    assert "Version 2 of small_delays waits for its release" in served.run().sentence
    backend = RehearsedBackend()
    Release(MODEL, served.settings, served.store, backend, served.registry).look(2, "roll_back", "ada")
    assert served.run().version == 3


def test_a_candidate_that_was_compared_with_the_same_weights_keeps_its_place(served):
    """MN-10: A training that waits for a person is not pushed aside by a recalibration of what it was compared with."""
    served.run()
    served.promote(2)
    served.registry.add(MODEL.name, "f" * 64, "candidate", {"compared_with": "1"})
    result = served.run()
    assert (result.outcome, "waits for its release" in result.sentence) == ("skipped", True)
