"""The validate stage: whether a training starts, on what and why."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.data.snapshots import Snapshot, model_snapshot
from perennial.data.tables import Table
from perennial.errors import RegistryDiffers, TrainingRefused, UnknownName
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import REFUSED_FILES, Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.manifest import Manifest, lock_digest, run_code, run_key, training_parameters
from perennial.lineage.version_folder import publish, read_manifest
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, GateSpec, GroupSpec, LabelSpec, ModelSpec, RetrainSpec, SplitSpec
from perennial.stages import train, validate
from perennial.stages.recalibrate import recalibrated
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory

DATASET = DatasetSpec(
    name="flights",
    title="Flights",
    owner="tests",
    key=("id",),
    event_time="when",
    columns=(Column(name="id", type="int"), Column(name="when", type="timestamp"), Column(name="late", type="int")),
)
MODEL = ModelSpec(
    name="delays", title="Delays", owner="tests", dataset="flights", task="binary", classes=("on_time", "late"), label="late",
    inputs=("id",), gate=GateSpec(floors={}),
    split=SplitSpec(test_days=2, validation_days=2, min_train_rows=10), retrain=RetrainSpec(max_age_days=10, cooldown_days=3),
)  # fmt: skip

FEED = DatasetSpec(
    name="arrivals", title="Arrivals", owner="tests", key=("id", "known"), event_time="known",
    columns=(Column(name="id", type="int"), Column(name="known", type="timestamp"), Column(name="late", type="int")),
)  # fmt: skip
LATER = MODEL.model_copy(update={"labels": LabelSpec(dataset="arrivals", key=("id",), columns=("late",), known_at="known")})


class House:
    """A store with a table, and what has been trained from it."""

    def __init__(self, root, monkeypatch):
        self.store = FolderStore(str(root))
        self.code = "code-1"
        self.passes = True
        self.checked = []
        self.model = MODEL
        monkeypatch.setattr(discovery, "model", lambda name: self.model)
        monkeypatch.setattr(discovery, "dataset", lambda name: FEED if name == "arrivals" else DATASET)
        monkeypatch.setattr(validate, "code_digest", lambda name: self.code)
        monkeypatch.setitem(sys.modules, "perennial.quality.validation", SimpleNamespace(validate_snapshot=self._validate))
        self.label = lambda columns: columns["late"].astype(float)
        monkeypatch.setattr(discovery, "model_part", lambda name, part: SimpleNamespace(__file__="features.py", label=self.label))
        self.inbox, self.registry = Inbox(self.store, "delays"), RegistryInMemory()
        monkeypatch.setattr(validate, "ModelRegistry", lambda settings: self.registry)

    def _validate(self, rows, dataset, label, *, store=None, usual=None):
        self.usual = usual
        self.checked.append((label, len(rows)))
        return SimpleNamespace(
            passed=self.passes,
            report_key=f"reports/flights/{label}.html",
            sentence=lambda link="": f"Suite flights {'passed' if self.passes else 'refused'} {label}: distance is null.",
        )

    def ingest(self, first, count, per_day=10):
        """Append days of January 2013."""
        when = [datetime(2013, 1, 1) + timedelta(days=d, hours=h) for d in range(first, first + count) for h in range(per_day)]
        rows = pa.table(
            {
                "id": list(range(first * per_day, (first + count) * per_day)),
                "when": pa.array(when, pa.timestamp("us")),
                "late": [i % 2 for i in range(len(when))],
            }
        )
        return Table(self.store, "flights").append(rows, f"days-{first}-{count}")

    def tell(self, first, count, known, per_day=10):
        """Append the labels of these days of January 2013, known on a day of February."""
        ids = list(range(first * per_day, (first + count) * per_day))
        when = pa.array([datetime(2013, 2, known)] * len(ids), pa.timestamp("us"))
        Table(self.store, "arrivals").append(pa.table({"id": ids, "known": when, "late": [i % 2 for i in ids]}), f"known-{known}")

    def train_with_labels(self, tmp_path, number):
        """Seal and release a version of the newest rows and labels."""
        source = model_snapshot(self.store, self.model)
        manifest = train.begin_manifest(self.model, source, None, cause="data")
        key = run_key("delays", source.digest, self.code, lock_digest(), training_parameters(self.model), self.model.training.seed)
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        (folder / "model.onnx").write_text(key)
        digest = publish(self.store, "delays", folder, manifest.model_copy(update={"run_key": key, "code_digest": self.code}))
        self.store.write(f"reports/delays/{digest}/gate.json", b"{}")

    def train(self, tmp_path, snapshot, request="", number=None, judged=True, content=None):
        """Seal a version folder of a training on a snapshot, have the gate judge it; release it under a number."""
        content = content or Snapshot(DATASET, snapshot, self.store).digest
        key = run_key("delays", content, self.code, lock_digest(), training_parameters(MODEL), MODEL.training.seed)
        folder = tmp_path / f"folder-{snapshot}-{self.code}"
        folder.mkdir()
        (folder / "model.onnx").write_text(key)
        manifest = Manifest(
            model="delays", run_key=key, dataset="flights", snapshot=snapshot, snapshot_digest=content, code_digest=self.code,
            lock_digest=lock_digest(),
            parameters=training_parameters(MODEL), seed=1, cause="data", request=request, event_time_end="2013-01-01T00:00:00",
        )  # fmt: skip
        digest = publish(self.store, "delays", folder, manifest)
        if judged:
            self.store.write(f"reports/delays/{digest}/gate.json", b"{}")
        if number:
            self.registry.add("delays", digest, "champion", number=number)
            ledger = Ledger(self.store, "delays")
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
        return digest

    def run(self, **arguments):
        """Run the stage."""
        return validate.run(Settings(airflow_url="http://airflow"), self.store, "delays", **arguments)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty store."""
    return House(tmp_path / "store", monkeypatch)


def test_the_first_training_starts_once_there_are_enough_days(house):
    """DM-12: Too few days are skipped with what is missing, and refused where a person asks; then training starts."""
    assert house.run(cause="data").sentence.startswith("flights has no snapshot yet")
    house.ingest(0, 3)
    early = house.run(cause="data")
    assert (early.outcome, early.sentence) == (
        "skipped",
        "Snapshot 1 of flights spans 3 days; delays needs 5 at least (2 for test, 2 for validation): ingest 2 more.",
    )
    with pytest.raises(TrainingRefused, match="ingest 2 more"):
        house.run(cause="manual")
    house.ingest(3, 2)
    result = house.run(cause="data", reason="first days")
    assert (result.outcome, result.snapshot, result.cause, result.rows, result.request) == ("done", 2, "data", 50, None)
    assert "First training, on snapshot 2. (first days)" in result.sentence
    assert result.links == {"Data Docs": "http://airflow/perennial/report/flights/snapshot%202.html"}
    assert result.code == run_code(MODEL)


def test_the_groups_of_the_table_are_what_a_snapshot_is_compared_with(house, monkeypatch):
    """DM-10: Rows by group of all batches, of the columns that the dataset names."""
    grouped = DATASET.model_copy(update={"groups": (GroupSpec(column="late"),)})
    monkeypatch.setattr(discovery, "dataset", lambda name: grouped)
    house.ingest(0, 5)
    assert house.run(cause="data").outcome == "done"
    assert house.usual["late"].rows == {"0": 25, "1": 25}


def test_too_few_rows_are_said(house):
    """DM-12: Enough days, but hardly a row."""
    house.ingest(0, 6, per_day=1)
    assert "has 6 rows; delays needs 10 to train on" in house.run().sentence


def test_an_unknown_snapshot_is_refused(house):
    """DM-06: The sentence names those that exist."""
    house.ingest(0, 6)
    with pytest.raises(UnknownName, match="no snapshot 7 of flights"):
        house.run(snapshot=7)


def test_nothing_new_trains_nothing(house, tmp_path):
    """DE-03: The same inputs are never trained twice, not even on request; only a person's force does it. Nothing is checked for the
    skip."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=12)
    result = house.run()
    assert (result.outcome, result.sentence) == ("skipped", "Nothing new since version 12 (snapshot 1, data up to 2013-01-06).")
    assert house.checked == []
    assert house.run(cause="manual").outcome == "skipped"
    forced = house.run(force=True)
    assert (forced.outcome, forced.cause) == ("done", "manual")


def test_a_version_from_before_digests_over_bytes_is_not_trained_again(house, tmp_path):
    """DE-03, DM-06: The digest of the snapshot in its manifest is by names and sizes; the snapshot is known to be the same one."""
    house.ingest(0, 6)
    old = Snapshot(DATASET, 1, house.store).digests[1]
    assert len(old) == 64
    house.train(tmp_path, 1, number=3, content=old)
    assert house.run().sentence == "Nothing new since version 3 (snapshot 1, data up to 2013-01-06)."
    assert house.run(cause="manual").outcome == "skipped"


@pytest.mark.parametrize(
    ("edit", "words"),
    [({"inputs": ("id", "late")}, "inputs"), ({"label": "id"}, "label"), ({"classes": ("late", "on_time")}, "classes")],
)
def test_what_the_model_reads_or_says_changed_in_the_spec(house, tmp_path, edit, words):
    """DE-03, DM-03: It asks for a training as new code does, on the old snapshot too; other parameters do not."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=12)
    house.model = MODEL.model_copy(update={"training": MODEL.training.model_copy(update={"max_epochs": 77})})
    assert "only the environment or the parameters changed" in house.run().sentence
    house.model = MODEL.model_copy(update=edit)
    result = house.run()
    assert (result.outcome, result.cause) == ("done", "code")
    assert f"The spec has changed since version 12: {words}." in result.sentence


def test_a_new_snapshot_waits_until_it_is_due(house, tmp_path):
    """MN-10, DM-16: By age of the champion's data, in event time."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.ingest(6, 9)
    waiting = house.run(cause="data")
    assert waiting.outcome == "skipped"
    assert "due only with data of 2013-01-16" in waiting.sentence
    house.ingest(15, 1)
    due = house.run(cause="data")
    assert (due.outcome, due.cause, due.snapshot) == ("done", "data", 3)


def test_every_new_snapshot_trains_where_the_spec_says_so(house, tmp_path):
    """DM-16: `on_new_snapshot="always"`."""
    house.model = MODEL.model_copy(update={"retrain": MODEL.retrain.model_copy(update={"on_new_snapshot": "always"})})
    house.ingest(0, 6)
    house.train(tmp_path, 1)
    house.ingest(6, 1)
    assert house.run(cause="data").cause == "data"


def test_new_code_trains(house, tmp_path):
    """DE-03, MO-19: With cause `code`, on the same snapshot."""
    house.ingest(0, 6)
    house.train(tmp_path, 1)
    house.code = "code-2"
    assert house.run().cause == "code"


def test_a_request_is_claimed_and_ends_with_its_training(house, tmp_path):
    """MN-10, MO-19: The training takes the request's cause and key; once a version was sealed for it, the next look ends it."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.ingest(6, 1)
    key = house.inbox.ask("drift", 2, {})
    result = house.run(run_url="http://airflow/run-1")
    assert (result.cause, result.request) == ("drift", key)
    assert house.inbox.get(key).runs == ("http://airflow/run-1",)
    again = house.run(run_url="http://airflow/run-2")
    assert (again.request, house.inbox.get(key).runs) == (key, ("http://airflow/run-1", "http://airflow/run-2"))
    digest = house.train(tmp_path, 2, request=key)
    assert house.run().outcome == "skipped"
    ended = house.inbox.get(key)
    assert (ended.state, ended.outcome, ended.sentence) == ("ended", "trained", f"Candidate {digest[:12]} was trained on snapshot 2.")


def test_a_request_without_new_inputs_is_refused(house, tmp_path):
    """MN-10: It ends with the sentence of the skip, and does not stay open for ever."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=12)
    key = house.inbox.ask("drift", 1, {})
    assert house.run().outcome == "skipped"
    assert "Nothing new since version 12" in house.inbox.get(key).sentence


def test_a_training_that_died_before_the_gate_is_taken_up_again(house, tmp_path):
    """DE-22: A sealed version that nobody judged neither counts as trained nor ends its request."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, judged=False)
    assert "First training" in house.run().sentence
    key = house.inbox.ask("drift", 1, {})
    house.code = "code-2"
    house.train(tmp_path, 1, request=key, judged=False)
    assert house.run().request == key
    assert house.inbox.get(key).state == "claimed"


def test_bad_data_refuse_the_training_and_the_request(house, tmp_path):
    """DM-10: The stage is refused with the suite's sentence; the request ends with it."""
    house.ingest(0, 6)
    house.train(tmp_path, 1)
    house.ingest(6, 1)
    key = house.inbox.ask("performance", 2, {})
    house.passes = False
    with pytest.raises(TrainingRefused, match=r"delays must not be trained on snapshot 2\. Suite flights refused") as refusal:
        house.run()
    assert refusal.value.links == {"Data Docs": "http://airflow/perennial/report/flights/snapshot%202.html"}
    assert (house.inbox.get(key).outcome, house.inbox.active()) == ("refused", None)


def test_labels_that_are_no_class_are_said_and_too_many_are_refused(house, tmp_path):
    """DM-10: A class that the spec does not name would be left out without a word: a few are counted, more refuse the training and its
    request, by value and count."""
    house.ingest(0, 20)
    house.label = lambda columns: [float("nan") if place < 2 else float(value) for place, value in enumerate(columns["late"])]
    assert "2 of 200 labels (1.0%) are no class and left out: `0` (1), `1` (1)." in house.run().sentence
    key = house.inbox.ask("drift", 1, {})
    house.label = lambda columns: [float("nan") if value else 0.0 for value in columns["late"]]
    with pytest.raises(
        TrainingRefused,
        match=r"100 of 200 labels \(50.0%\) are no class and left out: `1` \(100\), and 1.0% may be. The classes are on_time, late",
    ):
        house.run()
    assert house.inbox.get(key).outcome == "refused"


@pytest.mark.parametrize(("model", "reads"), [(MODEL, 1), (LATER, 2)])
def test_rows_are_read_once(house, monkeypatch, model, reads):
    """DM-12: The labels of a feed are joined to the rows that were checked; what is read besides is which of them are known."""
    house.model = model
    house.ingest(0, 9)
    house.tell(0, 9, 1)
    tables, scan = [], Table.scan
    monkeypatch.setattr(Table, "scan", lambda self, *given, **named: tables.append(self.name) or scan(self, *given, **named))
    assert "Training starts on snapshot 1 of flights" in house.run(cause="data", run_url="http://airflow/run").sentence
    assert tables.count("flights") == reads


def test_rows_without_a_time_train_nothing(house):
    """DM-12: In a sentence, whoever asks."""
    rows = pa.table({"id": [1, 2], "when": pa.array([None, None], pa.timestamp("us")), "late": [0, 1]})
    Table(house.store, "flights").append(rows, "timeless")
    assert house.run(cause="data").sentence.startswith("when is null in every row of snapshot 1 of flights")
    with pytest.raises(TrainingRefused, match="when is null in every row"):
        house.run(cause="manual")


def test_only_the_days_that_training_uses_are_checked(house):
    """DM-10: Train, validation and test days; older rows do not count."""
    house.model = MODEL.model_copy(update={"split": MODEL.split.model_copy(update={"train_days": 4})})
    house.ingest(0, 12)
    house.run(cause="data")
    assert house.checked == [("snapshot 1", 80)]


def test_a_request_that_killed_its_runs_is_refused(house, tmp_path):
    """DE-22: After three dead runs the stage says so instead of training a fourth time."""
    house.ingest(0, 6)
    house.train(tmp_path, 1)
    house.ingest(6, 1)
    house.inbox.ask("drift", 2, {})
    for _ in range(3):
        assert house.run().outcome == "done"
    with pytest.raises(TrainingRefused, match="has ended: 3 runs took the request"):
        house.run()


def test_the_decision_needs_no_heavy_library():
    """OP-10: Loading the stage loads neither Great Expectations nor MLflow, torch or pandas."""
    heavy = ("great_expectations", "mlflow", "torch", "pandas", "duckdb")
    code = f"import sys, perennial.stages.validate; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_days_without_labels_yet_push_the_checked_days_back(house, monkeypatch):
    """DM-10: The split ends with the newest labelled day, so as many older days are used, and checked."""
    house.model = MODEL.model_copy(update={"split": MODEL.split.model_copy(update={"train_days": 4})})
    delayed = DATASET.model_copy(update={"label_delay_days": 2.5})
    monkeypatch.setattr(discovery, "dataset", lambda name: delayed)
    house.ingest(0, 20)
    assert house.run(cause="data").outcome == "done"
    assert house.checked == [("snapshot 1", (4 + 2 + 2 + 3) * 10)]


def test_a_quality_break_that_monitoring_found_blocks_training(house, tmp_path):
    """MN-10, DM-11: A new snapshot that is due does not train while the break is open; the request that waits is refused with the
    reason."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.ingest(6, 12)
    key = house.inbox.ask("drift", 2, {})
    incidents = Incidents(house.store, "delays")
    found = incidents.open("data quality", "temp", "critical", "`temp` is in Celsius since 1 March.")
    blocked = house.run(cause="data")
    assert (blocked.outcome, blocked.fault, house.checked) == ("skipped", "HeldBack", [])
    assert "The newest data are not trained on: `temp` is in Celsius since 1 March" in blocked.sentence
    ended = house.inbox.get(key)
    assert (ended.state, ended.outcome, ended.sentence) == ("ended", "refused", blocked.sentence)
    assert house.run(cause="manual").outcome == "skipped"
    assert house.run(cause="manual", force=True).outcome == "done"
    incidents.verdict(found, "known", "ada", "Celsius from now on.")
    assert house.run().outcome == "done"


@pytest.mark.parametrize(("kind", "key"), [("drift", "temp"), ("anomaly", "rows"), ("data quality", REFUSED_FILES)])
def test_other_incidents_block_nothing(house, tmp_path, kind, key):
    """MN-10: Drift is what training answers; refused files are in no snapshot."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.ingest(6, 12)
    Incidents(house.store, "delays").open(kind, key, "critical", "Something was seen.")
    assert house.run().outcome == "done"


def test_a_break_that_is_over_blocks_nothing(house, tmp_path):
    """MN-10, DM-11: The feed was mended."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.ingest(6, 12)
    incidents = Incidents(house.store, "delays")
    incidents.resolve(incidents.open("data quality", "temp", "critical", "Nulls rose."), "They fell.")
    assert house.run().outcome == "done"


def test_a_recalibration_neither_counts_as_a_training_nor_makes_the_champion_younger(house, tmp_path):
    """MO-19: What is due by age stays due: the weights are as old as before."""
    house.ingest(0, 6)
    digest = house.train(tmp_path, 1, number=1)
    manifest = read_manifest(house.store, "delays", digest)
    folder = tmp_path / "recalibrated"
    folder.mkdir()
    (folder / "model.onnx").write_text("scaled")
    made = publish(house.store, "delays", folder, recalibrated(manifest, digest))
    house.store.write(f"reports/delays/{made}/gate.json", b"{}")
    ledger = Ledger(house.store, "delays")
    last = ledger.last()
    house.registry.add("delays", made, "champion")
    ledger.append(
        "promoted",
        version=2,
        champion=2,
        weights={2: 10000},
        versions={**last.versions, 2: made},
        reason="r",
        actor="a",
        after_seq=last.seq,
    )
    again = house.run()
    assert (again.outcome, again.sentence.startswith("Nothing new since version 1")) == ("skipped", True)
    house.ingest(6, 9)
    assert "training is due only with data of 2013-01-16" in house.run().sentence
    house.ingest(15, 1)
    due = house.run()
    assert (due.outcome, due.cause) == ("done", "schedule")
    assert "The data of version 2 ends 10 days before" in due.sentence


def test_no_training_starts_on_a_registry_that_is_another(house, tmp_path):
    """SC-03: A champion that the registry has lost: said before anything is trained, and not where nothing is to be trained."""
    house.ingest(0, 6)
    house.train(tmp_path, 1, number=1)
    house.registry = RegistryInMemory()
    assert house.run().outcome == "skipped"
    with pytest.raises(RegistryDiffers, match="lacks version 1 of delays"):
        house.run(force=True)


def test_labels_that_come_later_are_waited_for(house):
    """DM-03, DM-12: No label, or too few: skipped with what is missing and how many rows have one; a person who asks is refused with the
    same words. Then training starts, on both tables, and the suite sees the rows alone."""
    house.model = LATER
    house.ingest(0, 10)
    assert house.run(cause="data").sentence == "arrivals has no snapshot yet: ingest a batch first."
    house.tell(0, 3, known=1)
    early = house.run(cause="data")
    assert (early.outcome, early.sentence) == (
        "skipped",
        "Snapshot 1 of flights with labels 1 of arrivals, known by 2013-02-01 00:00 has a late for rows of 3 days; delays needs 5 at least "
        "(2 for test, 2 for validation): ingest more labels. 0% of the rows of the last 7 days (to 2013-01-10) have a label yet.",
    )
    with pytest.raises(TrainingRefused, match="ingest more labels"):
        house.run(cause="manual")
    house.tell(3, 4, known=2)
    by_hand = house.run(cause="manual", force=True).sentence
    assert by_hand.startswith("A training on snapshot 1 of flights with labels 2 of arrivals, known by 2013-02-02 00:00 may start, cause")
    assert "Training starts" not in by_hand
    assert by_hand.endswith(
        "perennial train --model delays --snapshot 1 --labels 2 --cause manual, or trigger the DAG delays_training with force."
    )
    house.checked.clear()
    result = house.run(cause="data", run_url="http://airflow/run")
    assert (result.outcome, result.snapshot, result.labels) == ("done", 1, 2)
    assert result.sentence.startswith(
        "Training starts on snapshot 1 of flights with labels 2 of arrivals, known by 2013-02-02 00:00, cause data"
    )
    assert result.sentence.endswith("57% of the rows of the last 7 days (to 2013-01-10) have a label yet.")
    assert house.checked == [("snapshot 1", 100)]
    assert house.run(cause="data", labels=1).outcome == "skipped"


def test_new_labels_are_new_data(house, tmp_path, monkeypatch):
    """DE-03, DM-03: The same rows and labels train once. Other labels of the same rows are something new: at once where every snapshot
    trains, else when the newest labelled day is far enough from the champion's."""
    monkeypatch.setattr(train, "code_digest", lambda name: house.code)
    house.model = LATER
    house.ingest(0, 20)
    house.tell(0, 7, known=1)
    house.train_with_labels(tmp_path, 1)
    assert house.run().sentence.startswith("Nothing new since candidate ")
    assert house.run().sentence.endswith("(snapshot 1, data up to 2013-01-07).")
    house.tell(7, 5, known=2)
    waits = house.run()
    assert (waits.outcome, waits.labels) == ("skipped", 2)
    assert waits.sentence.startswith("Snapshot 1 has other labels (2) than candidate ")
    assert waits.sentence.endswith("was trained on (1), but training is due only with data of 2013-01-17, or when drift or a jump of the "
                                   "loss asks for it.")  # fmt: skip
    house.model = LATER.model_copy(update={"retrain": LATER.retrain.model_copy(update={"on_new_snapshot": "always"})})
    assert house.run(cause="data").cause == "data"
    house.model = LATER
    house.tell(12, 8, known=3)
    due = house.run()
    assert (due.outcome, due.cause) == ("done", "schedule")
    assert "ends 13 days before the newest, and 10 are allowed" in due.sentence


def test_new_outcomes_are_new_data(house, tmp_path, monkeypatch):
    """DE-03, MN-03: The dataset's rows are the beginning. What servers logged is taken in; predictions alone are nothing new, outcomes of
    them are, with the versions that train is told. Of a change of the spec the sentence names it."""
    monkeypatch.setattr(train, "code_digest", lambda name: house.code)
    served = MODEL.model_copy(update={"labels": "outcomes", "retrain": MODEL.retrain.model_copy(update={"on_new_snapshot": "always"})})
    house.ingest(0, 3)
    house.model = served
    early = house.run(cause="data")
    assert early.outcome == "skipped"
    assert "known by " in early.sentence
    assert "has a late for rows of 3 days; delays needs 5 at least (2 for test, 2 for validation): report more outcomes" in early.sentence
    house.ingest(3, 9)
    first = house.run(cause="data")
    assert (first.outcome, first.snapshot, first.labels, first.predictions, first.rows) == ("done", 2, 0, 0, 120)
    house.train_with_labels(tmp_path, 1)
    assert house.run(cause="data").sentence.startswith("Nothing new since candidate ")
    line = {"model": "delays", "version": 1, "time": "2026-01-01T00:00:00+00:00", "scores": [0.5, 0.5], "ms": 1.0}
    lines = [{**line, "id": f"p-{n}", "row": {"id": 1000 + n}, "event_time": f"2013-01-{13 + n % 2}T00:00:00"} for n in range(20)]
    house.store.write("predictions/delays/1.jsonl", "".join(f"{json.dumps(one)}\n" for one in lines).encode())
    for cause in ("data", "manual"):
        assert house.run(cause=cause).sentence.startswith("Nothing new since candidate ")
    told = [{"id": f"p-{n}", "outcome": float(n % 2), "time": "2026-01-02T00:00:00+00:00"} for n in range(20)]
    house.store.write("outcomes/delays/1.jsonl", "".join(f"{json.dumps(one)}\n" for one in told).encode())
    result = house.run(cause="data")
    assert (result.outcome, result.cause, result.snapshot, result.labels, result.predictions) == ("done", "data", 2, 1, 1)
    assert result.rows == 140
    assert "Snapshot 2 has other labels (1) than candidate " in result.sentence
    assert house.checked[-1] == ("snapshot 2", 120)
    assert house.run(cause="data", labels=0, predictions=0).outcome == "skipped"
    house.model = served.model_copy(update={"served_since": date(2013, 1, 1)})
    alone = house.run(cause="data")
    assert alone.outcome == "skipped"
    assert "rows of 2 days" in alone.sentence
    house.model = served.model_copy(update={"served_since": date(2013, 1, 6)})
    changed = house.run(cause="data")
    assert (changed.cause, house.checked[-1]) == ("code", ("snapshot 2", 50))
    assert "The spec has changed since candidate " in changed.sentence
    assert changed.sentence.count("served_since") == 1


def test_a_label_feed_that_is_new_is_a_change_of_the_spec(house, tmp_path):
    """MO-19: A version that was trained on labels of the rows themselves, and a spec that now has a feed."""
    house.ingest(0, 20)
    house.train(tmp_path, 1, number=1)
    house.tell(0, 9, known=1)
    house.model = LATER
    result = house.run()
    assert (result.outcome, result.cause) == ("done", "code")
    assert "The spec has changed since version 1: labels." in result.sentence
