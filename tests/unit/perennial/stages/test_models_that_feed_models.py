"""A model that learns from the scores of another one, through the real stages: trained, traced, and asked before its source changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import show
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, publish, read_manifest
from perennial.settings import Settings
from perennial.stages import evaluate, ingest, register, score, train, validate
from perennial.stages._release_readers import readers_of, readings_of, shift_of
from perennial.stages._release_steps import AskReaders
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, crown
from perennial.training.recalibration import Recalibration, recalibrate
from perennial.views.lineage import lineage_view
from perennial.views.release import release_view

RIDES = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="fed_rides", title="Rides", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="size", type="float"),
    Column(name="age", type="float"), Column(name="late", type="int")))
"""
SCORES = """
from perennial.specs import DatasetSpec
DATASET = DatasetSpec(name="fed_scores", title="Scores of lateness", owner="tests", scores_of="fed_lateness")
"""
VERDICTS = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="fed_verdicts", title="Verdicts", owner="tests", key=("id", "known"), event_time="known", columns=(
    Column(name="id", type="int"), Column(name="known", type="timestamp"), Column(name="refunded", type="int")))
"""
LATENESS = """
from perennial.specs import GateSpec, ModelSpec, ScoringSpec, SplitSpec
MODEL = ModelSpec(name="fed_lateness", title="T", owner="tests", dataset="fed_rides", task="binary", classes=("on_time", "late"),
    label="late", inputs=("size", "age"), learner="sklearn", split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100),
    scoring=ScoringSpec(days=8), gate=GateSpec(floors={"log_loss": 0.69}))
"""
REFUNDS = """
from perennial.specs import GateSpec, LabelSpec, ModelSpec, SplitSpec
MODEL = ModelSpec(name="fed_refunds", title="T", owner="tests", dataset="fed_scores", task="binary", classes=("no", "yes"),
    label="refunded", labels=LabelSpec(dataset="fed_verdicts", key=("id",), columns=("refunded",), known_at="known"),
    inputs=("score_late",), learner="sklearn", split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100),
    gate=GateSpec(floors={"log_loss": 0.69}))
"""
FEATURES = """
from perennial.encoding import Encoder, Number, numbers
def label(columns):
    return numbers(columns["{label}"])
def fit(columns):
    return Encoder({{"numbers": [Number.fit(columns, name) for name in {inputs}]}})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
CALLS = """
from datetime import datetime
from perennial.specs import GateSpec, JoinSpec, ModelSpec, SplitSpec
MODEL = ModelSpec(name="fed_calls", title="T", owner="tests", dataset="fed_rides", task="binary", classes=("on_time", "late"), label="late",
    inputs=("age", "before_score_late"), learner="sklearn", split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100),
    joins=(JoinSpec(dataset="fed_scores", key=("id",), columns=("score_late",), prefix="before_", horizon_days=1,
                    history_until=datetime(2100, 1, 1)),),
    gate=GateSpec(floors={"log_loss": 0.69}))
"""
ESTIMATOR = """
from sklearn.linear_model import LogisticRegression
def estimator(spec):
    return LogisticRegression()
"""
FIRST, OF_A_DAY = np.datetime64("2024-01-01T08:00:00", "us"), 40
Platform = tuple[Settings, FolderStore, RegistryInMemory]


def rides(first: int, days: int) -> pa.Table:
    """Rides that are late where they are large."""
    rng, count = np.random.default_rng(first), days * OF_A_DAY
    size = rng.normal(10, 3, count)
    at = FIRST + (first + np.arange(count) // OF_A_DAY).astype("timedelta64[D]")
    late = (size + rng.normal(0, 1, count) > 11).astype(np.int64)
    return pa.table({"id": first * OF_A_DAY + np.arange(count), "at": at, "size": size, "age": rng.normal(40, 9, count), "late": late})


def verdicts(of: pa.Table) -> pa.Table:
    """Who got a refund: mostly who was late; known three hours later."""
    rng = np.random.default_rng(1)
    flipped = rng.random(of.num_rows) < 0.1
    known = of["at"].to_numpy() + np.timedelta64(3, "h")
    return pa.table({"id": of["id"], "known": known, "refunded": np.where(flipped, 1 - of["late"].to_numpy(), of["late"].to_numpy())})


def write_model(project: Path, name: str, spec: str, label: str, inputs: tuple[str, ...]) -> None:
    folder = project / f"include/perennial_models/{name}"
    folder.mkdir(parents=True)
    parts = {"__init__.py": "", "spec.py": spec, "features.py": FEATURES.format(label=label, inputs=inputs), "model.py": ESTIMATOR}
    for file, text in parts.items():
        (folder / file).write_text(text)


@pytest.fixture(scope="module")
def project(project_of: Callable[..., Path]) -> Path:
    """Twenty days of rides; the datasets and models that are made of them."""
    root = project_of("fed_rides", RIDES, rides(0, 20))
    for name, text in (("fed_scores", SCORES), ("fed_verdicts", VERDICTS)):
        (root / f"include/perennial_datasets/{name}.py").write_text(text)
    write_model(root, "fed_lateness", LATENESS, "late", ("size", "age"))
    write_model(root, "fed_refunds", REFUNDS, "refunded", ("score_late",))
    for name in [name for name in sys.modules if name.startswith(("perennial_models.fed_", "perennial_datasets.fed_"))]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return root


def trained(platform: Platform, model: str, **asked: Any) -> tuple[int, str]:
    """Number and digest of a version that the stages made."""
    settings, store, _ = platform
    made = train.run(settings, store, model=model, **asked)
    measured = evaluate.run(settings, store, model, made.digest, made.run_id)
    passed = register.run(settings, store, model=model, digest=made.digest, run_id=made.run_id, evaluation=measured.evaluation)
    assert passed.version, passed.sentence
    return passed.version, made.digest


@pytest.fixture
def fed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Both models serve: the second learned from what the first one said of the days that came after its own."""
    settings, store, registry = platform
    monkeypatch.setattr(validate, "ModelRegistry", lambda _: registry)
    if Ledger(store, "fed_refunds").last() is not None:
        return platform
    number, _ = trained(platform, "fed_lateness", snapshot=1)
    crown(store, "fed_lateness", registry.version("fed_lateness", number))
    more = rides(20, 28)
    Table(store, "fed_rides").append(more, "more")
    Table(store, "fed_verdicts").append(verdicts(pa.concat_tables([rides(0, 20), more])), "verdicts")
    score.run(settings, store, "fed_lateness", first=np.datetime64("2024-01-01").item(), last=np.datetime64("2024-02-17").item())
    taken = ingest.run(settings, store, "fed_scores")
    assert (sum(taken.appended.values()), "640 scores are of days whose labels version 1 learned" in taken.sentence) == (
        32 * OF_A_DAY,
        True,
    )
    decided = validate.run(settings, store, "fed_refunds")
    assert decided.snapshot == taken.snapshot, decided.sentence
    number, _ = trained(platform, "fed_refunds", snapshot=decided.snapshot, labels=decided.labels)
    crown(store, "fed_refunds", registry.version("fed_refunds", number))
    return platform


def test_the_way_from_one_model_to_the_other_is_known(fed: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-16, DM-13, SC-03: The manifest names the version whose scores were learned from; lineage leads from each version to the other."""
    settings, store, _ = fed
    digests = {model: Ledger(store, model).last().versions[1] for model in ("fed_lateness", "fed_refunds")}
    assert read_manifest(store, "fed_refunds", digests["fed_refunds"]).scores == {"fed_lateness": {1: digests["fed_lateness"]}}
    assert read_manifest(store, "fed_lateness", digests["fed_lateness"]).scores == {}
    down, up = lineage_view(store, "fed_refunds"), lineage_view(store, "fed_lateness")
    assert (down.reads, down.read_by, up.reads) == ({"fed_lateness": (1,)}, (), {})
    assert [one.words for one in up.read_by] == ["fed_refunds/1"]
    assert up.sentence.endswith(" From its own scores fed_refunds/1 learned.")
    assert down.sentence.endswith(" It learned from the scores of version 1 of fed_lateness.")
    assert "fed_lateness version 1, 2024-02-17" in [file.name for file in down.files]
    show.run(settings, store, what="lineage", name="fed_refunds")
    assert "Scores of fed_lateness, version 1" in capsys.readouterr().out
    show.run(settings, store, what="lineage", name="fed_lateness")
    assert "Read by fed_refunds/1" in capsys.readouterr().out
    hidden = lineage_view(store, "fed_lateness", visible=lambda models: set())
    assert (hidden.read_by, "refunds" in hidden.sentence) == ((), False)


def release(platform: Platform) -> Release:
    settings, store, registry = platform
    return Release(discovery.model("fed_lateness"), settings, store, RehearsedBackend(), registry)


def candidate(platform: Platform, folder: Path, change: Recalibration) -> int:
    """A candidate whose scores are those of the champion, changed."""
    _, store, registry = platform
    if registry.version("fed_lateness", "champion") is None:  # of a test before this one
        for number, known in Ledger(store, "fed_lateness").last().versions.items():
            registry.add("fed_lateness", known, "champion" if number == 1 else "other", number=number)
    digest = Ledger(store, "fed_lateness").last().versions[1]
    made = fetch(store, "fed_lateness", digest, folder)
    recalibrate(made, change, {"fitted_days": ["2024-01-13", "2024-01-16"]})
    manifest = read_manifest(store, "fed_lateness", digest)
    other = manifest.model_copy(update={"run_key": f"{abs(hash(change)):024d}"[:24], "files": {}})
    return registry.add("fed_lateness", publish(store, "fed_lateness", made, other)).number


def test_a_candidate_is_held_whose_scores_make_another_model_worse(
    fed: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-11, DM-13: Before it gets traffic the champion of the model that reads them answers with its scores, in the scorer of batches;
    a person may let it begin all the same. The evidence is kept with the release and shown."""
    settings, store, _ = fed
    number = candidate(fed, tmp_path / "bad", Recalibration("binary", -1.0, (0.0, 0.0)))  # what was late is on time
    entries = len(Ledger(store, "fed_lateness").entries())
    preview = release(fed).preview().sentence
    assert f"Have the models that read the scores answer with those of version {number}, before it gets traffic." in preview
    held = release(fed).look()
    assert (held.action, held.before_start, held.version) == ("ask", True, number)
    assert (
        f"Version {number} of fed_lateness waits for a person, since other models read its scores: fed_refunds (version 1) gets worse"
        in held.sentence
    )
    (check,) = held.evidence["readers"]["checks"]
    assert (check["name"], check["passed"], check["labelled"], check["unread"]) == ("fed_refunds", False, 8 * OF_A_DAY, 0)
    assert check["loss"] > 1.5 * check["loss_before"]
    assert len(Ledger(store, "fed_lateness").entries()) == entries
    begun = release(fed).look(actor="ada")
    assert begun.action == "started"
    started = next(entry for entry in Ledger(store, "fed_lateness").newest_first() if entry.kind == "started")
    assert started.evidence["readers"]["passed"] is False
    assert "Of the models that read its scores: fed_refunds (version 1) gets worse" in started.reason
    assert release_view(store, "fed_lateness").readers.startswith("Models that read its scores: fed_refunds (version 1) gets worse")
    show.run(settings, store, what="release", name="fed_lateness")
    assert "Models that read its scores: fed_refunds (version 1) gets worse" in capsys.readouterr().out
    assert release(fed).look(decision="roll_back", actor="ada").action == "rolled_back"


def test_a_candidate_begins_with_whose_scores_all_go_on(fed: Platform, tmp_path: Path) -> None:
    """DE-11: By itself; what was found is in the entry with which the release began."""
    _, store, _ = fed
    candidate(fed, tmp_path / "good", Recalibration("binary", 0.95, (0.0, 0.02)))
    begun = release(fed).look()
    assert begun.action == "started", begun.sentence
    started = next(entry for entry in Ledger(store, "fed_lateness").newest_first() if entry.kind == "started")
    assert started.evidence["readers"]["passed"] is True
    assert release_view(store, "fed_lateness").readers.startswith(
        "Models that read its scores: fed_refunds (version 1) goes on: its loss is "
    )
    release(fed).look(decision="roll_back", actor="ada")


def test_readers_are_those_of_a_dataset_of_the_scores(fed: Platform) -> None:
    """DM-13: Whoever learns from something else is asked nothing."""
    assert [spec.name for spec in readers_of("fed_lateness")] == ["fed_refunds"]
    assert readers_of("fed_refunds") == []


def test_how_far_answers_moved() -> None:
    """DE-11: The share that went to other classes; of a value standard deviations, and of one that never changed its own unit."""
    before, now = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.4, 0.6], [0.6, 0.4]])
    assert shift_of(before, now, of_classes=True) == pytest.approx(0.2)
    assert shift_of(np.array([[0.0], [4.0]]), np.array([[1.0], [4.0]]), of_classes=False) == pytest.approx(0.25)
    assert shift_of(np.array([[3.0], [3.0]]), np.array([[4.0], [3.0]]), of_classes=False) == pytest.approx(0.5)


def test_a_model_that_joins_the_scores_is_asked_too(fed: Platform, project: Path, tmp_path: Path) -> None:
    """DE-11, DM-13: By the rows that its join finds; the scores that they bring are exchanged, and its label is that of its own rows."""
    settings, store, _ = fed
    write_model(project, "fed_calls", CALLS, "late", ("age", "before_score_late"))
    importlib.invalidate_caches()
    assert [spec.name for spec in readers_of("fed_lateness")] == ["fed_calls", "fed_refunds"]
    digest = train.run(settings, store, model="fed_calls", snapshot=2).digest
    assert read_manifest(store, "fed_calls", digest).scores == {"fed_lateness": {1: Ledger(store, "fed_lateness").last().versions[1]}}
    Ledger(store, "fed_calls").append(
        "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
    )
    number = candidate(fed, tmp_path / "other", Recalibration("binary", -0.9, (0.0, 0.1)))
    digests = {version.number: version.digest for version in fed[2].versions("fed_lateness")}
    asked = AskReaders(number, digests[number], 1, digests[1])
    calls, refunds = readings_of(settings, store, discovery.model("fed_lateness"), asked)
    assert (calls.model, calls.rows, calls.unread, calls.why_none) == ("fed_calls", 8 * OF_A_DAY, 0, "")
    assert calls.losses.candidate.mean() > 1.5 * calls.losses.champion.mean()
    assert (refunds.model, refunds.rows) == ("fed_refunds", 8 * OF_A_DAY)
    same = readings_of(settings, store, discovery.model("fed_lateness"), AskReaders(1, digests[1], 1, digests[1]))
    assert [(one.model, one.shift) for one in same] == [("fed_calls", 0.0), ("fed_refunds", 0.0)]
