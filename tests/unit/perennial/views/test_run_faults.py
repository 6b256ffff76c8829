"""What ended a run is named: for each fault that tests put into a stage, by what the real stage leaves of it."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from perennial import cli, errors
from perennial.errors import (
    BatchRefused,
    DataRefused,
    LedgerConflict,
    RegistryDiffers,
    ReleaseRefused,
    ServiceUnreachable,
    SettingMissing,
    SourceRefused,
    SourceUnreachable,
    SpecBroken,
    StoredDataDamaged,
    StoreUnreachable,
    TrainingRefused,
    UnknownName,
)
from perennial.registry.promotion import Check
from perennial.results import Result
from perennial.settings import Settings
from perennial.specs import GateSpec
from perennial.stages import close
from perennial.stages.train import mistakes_of
from perennial.store import FolderStore
from perennial.testing import World, small_model
from perennial.views import run_faults
from perennial.views.run_faults import OF_CHECK, OF_CLASS, OF_TASK, Fault, GateCheck, fault_of
from perennial.views.run_story import TaskEnd

Left = dict[str, Any]


@pytest.fixture
def leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[], Result]], Left]:
    """What the real command line leaves of a stage that does this."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))

    def leave(does: Callable[[], Result]) -> Left:
        module: Any = ModuleType("perennial.stages.rollback")
        module.run = lambda settings, store, **arguments: does()
        monkeypatch.setitem(sys.modules, "perennial.stages.rollback", module)
        file = tmp_path / "result.json"
        cli.main(["rollback", "--model", "any", "--result", str(file)])
        read: Left = json.loads(file.read_text())
        return read

    return leave


def named(task: str, left: Left | None, *checks: GateCheck, state: str = "failed") -> str:
    """The name of what ended a task."""
    fault = fault_of(TaskEnd(task, state, left), checks)
    assert fault
    assert fault.do
    assert fault.runbook.startswith("docs/runbook.md, ")
    return fault.name


def raises(error: BaseException) -> Callable[[], Result]:
    """A stage that ends so."""

    def stage() -> Result:
        raise error

    return stage


def of_a_model(folder: Path, text: str, name: str = "model") -> ModuleType:
    """A file of a model, imported."""
    file = folder / "perennial_models" / "churn" / f"{name}.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    found = importlib.util.spec_from_file_location(f"churn_{name}", file)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def no_mlflow() -> Result:
    """The real stage that closes runs, without an MLflow."""
    settings = Settings.from_environment({"PERENNIAL_MLFLOW_URL": "http://127.0.0.1:9"})
    return close.run(settings, FolderStore(tempfile.mkdtemp()), model="any", run_url="http://run")


@pytest.mark.parametrize(
    ("does", "task", "name"),
    [
        (raises(BatchRefused("Bad.")), "ingest", "Broken batch"),
        (raises(DataRefused("Bad rows.")), "validate", "Rows to train on were refused"),
        (raises(TrainingRefused("Too few rows.")), "validate", "Training may not start"),
        (raises(ReleaseRefused("It waits.")), "move_traffic", "Traffic may not move"),
        (raises(SourceRefused("No column.")), "collect", "A source is not as its spec says"),
        (raises(SourceUnreachable("Away.")), "collect", "A source does not answer"),
        (raises(RegistryDiffers("Other versions.")), "register", "The registry is not the one of the ledger"),
        (raises(UnknownName("No model.")), "train", "No such name"),
        (raises(SpecBroken("No syntax.")), "train", "A broken spec"),
        (raises(SettingMissing("No URL.")), "train", "A setting is wrong"),
        (raises(StoreUnreachable("Away.")), "train", "The store does not answer"),
        (raises(ServiceUnreachable("The gateway does not answer.")), "move_traffic", "A server does not answer"),
        (no_mlflow, "close_run", "A server does not answer"),
        (raises(StoredDataDamaged("Other bytes.")), "score", "Stored bytes are damaged"),
        (raises(LedgerConflict("Two at once.")), "move_traffic", "Another writer was quicker"),
        (raises(MemoryError()), "train", "Out of memory"),
        (raises(OSError(28, "No space left on device", "/data")), "train", "The disk is full"),
        (raises(KeyError("x")), "train", "It broke"),
    ],
)
def test_what_ended_a_stage_is_named(leaves: Any, does: Any, task: str, name: str) -> None:
    """MN-18: By the class of the error that the real command line writes into the stage's result, whatever the sentence says."""
    assert named(task, leaves(does)) == name


def test_a_fault_in_the_code_of_a_model_is_named(leaves: Any, tmp_path: Path) -> None:
    """MN-18: In model.py, where it is a fault, and in features.py, where the stage refuses; the sentence has file and line."""
    broken = of_a_model(tmp_path, "def fit():\n    return 1 / 0\n")
    left = leaves(broken.fit)
    assert (left["outcome"], named("train", left)) == ("fault", "A fault in the model's code")
    assert "perennial_models/churn/model.py, line 2" in left["sentence"]
    features = of_a_model(tmp_path / "b", "def encode():\n    return {}['distance']\n", "features")

    def encode() -> Result:
        with mistakes_of(features, small_model()):
            features.encode()
        raise AssertionError("it does not break")

    left = leaves(encode)
    assert (left["outcome"], named("train", left)) == ("refused", "A fault in the model's code")


OTHERS = (
    "signature", "alarms", "anomalies", "stability", "generated inputs", "limit p95_ms", "limit memory_mb", "contract board",
    "contract hall",
)  # fmt: skip


class Gate:
    """The real gate's decision on made-up figures."""

    @staticmethod
    def checks(**wrong: Any) -> list[GateCheck]:
        """Its checks, one or more of which fail."""
        import numpy as np

        from perennial.registry.promotion import Losses, judge

        days = np.repeat(np.arange(20), 50)
        base = np.random.default_rng(3).gamma(2, size=1000)
        worse, older = wrong.get("champion", 0.0), wrong.get("old_context", 0.0)
        verdict = judge(
            GateSpec(metric="log_loss", floors={"log_loss": 0.9}),
            {"log_loss": wrong.get("floors", 0.5)},
            Check("golden", "golden" not in wrong, "its golden rows"),
            losses=Losses(base * (1 + worse), base, days),
            older={"all older rows": Losses(base * (1 + older), base, days)},
            besides=[Check(name, name not in wrong, name) for name in OTHERS],
        )
        assert verdict.passed is not bool(wrong)
        return [GateCheck(check["name"], check["passed"], check["sentence"]) for check in verdict.as_json()["checks"]]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"golden": True}, "Golden rows score otherwise where it would serve"),
        ({"floors": 2.0}, "Below a floor"),
        ({"signature": True}, "It breaks what callers rely on"),
        ({"champion": 0.5}, "Worse than the champion"),
        ({"old_context": 0.5}, "Worse on older data"),
        ({"alarms": True}, "Its alarms are over their budget"),
        ({"anomalies": True}, "It finds fewer anomalies than the champion"),
        ({"stability": True}, "Refits of it do not agree"),
        ({"generated inputs": True}, "It fails on an input that its signature allows"),
        ({"limit p95_ms": True}, "Beyond an absolute limit"),
        ({"contract board": True}, "It breaks the contract of a consumer"),
        (
            {"champion": 0.5, "floors": 2.0, "limit memory_mb": True, "contract board": True, "contract hall": True},
            "It breaks the contract of a consumer; beyond an absolute limit; below a floor; worse than the champion",
        ),
    ],
)
def test_a_refusal_of_the_gate_is_named_by_the_check_that_failed(leaves: Any, wrong: Any, name: str) -> None:
    """MN-18, MO-13: As the real gate decides; of several all, in the order in which to mend them. Without its
    checks it is a refusal of the gate."""
    left = leaves(raises(errors.CandidateRefused("Refused.")))
    assert named("register", left, *Gate.checks(**wrong)) == name
    assert named("register", left) == "The gate refused the candidate"
    assert named("validate", {**left, "fault": "TrainingRefused"}, *Gate.checks(**wrong)) == "Training may not start"


def test_a_candidate_that_fails_under_traffic_is_named(tmp_path: Path) -> None:
    """MN-18, SE-10: A real release of a candidate that errs ends in a rollback, which is told apart from a person's."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    result = world.until_end(errors={1: 0.002, 2: 0.3})
    assert result.action == "rolled_back"
    left = result.model_dump(mode="json")
    assert named("move_traffic", {**left, "outcome": "refused"}) == "The candidate failed under traffic"
    assert named("rollback", left, state="success") == "A person took traffic back"
    assert named("settle", {**left, "action": "rejected"}, state="success") == "A person turned the version down"


def test_what_was_recorded_before_is_named_by_its_task() -> None:
    """MN-18, DM-11: A result without a class, as earlier releases left it, or of a task without a stage; one of an unknown class."""
    for task, name in {
        "tell_refused": "Broken batch",
        "ingest": "Broken batch",
        "validate": "Training may not start",
        "register": "The gate refused the candidate",
        "move_traffic": "Traffic may not move",
        "settle": "Traffic may not move",
        "rollback": "Traffic may not move",
        "say_broken": "A broken spec",
    }.items():
        assert named(task, {"outcome": "refused", "sentence": "No."}) == name
        assert named(task, {"outcome": "refused", "fault": "OfLater", "sentence": "No."}) == name
    assert named("evaluate", {"outcome": "refused", "sentence": "No."}) == "It was refused"
    assert named("train", {"outcome": "fault", "sentence": "No."}) == "It broke"
    assert named("train", {"outcome": "fault", "sentence": "No.", "over_time": True}) == "It took too long"
    assert named("train", None) == named("train", {"sentence": "No."}) == "Killed before it had a result"


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("OutOfMemory", "Out of memory"),
        ("Killed", "Killed from outside"),
        ("Ended", "Ended from outside"),
        ("OverTime", "It took too long"),
        ("NotStarted", "Its pod could not start"),
    ],
)
def test_what_airflow_makes_up_for_a_stage_is_named(fault: str, name: str) -> None:
    """MN-18: A stage that could not say itself what ended it: by the word that its task gave it."""
    assert named("train", {"outcome": "fault", "sentence": "No.", "fault": fault}) == name


def test_a_fault_has_a_name_an_advice_and_a_section() -> None:
    """MN-18: None of them may be left out."""
    whole = {"name": "Broken batch", "do": "Land it again.", "runbook": "docs/runbook.md, Data quality"}
    assert Fault(**whole).model_dump() == whole
    for left_out in whole:
        with pytest.raises(ValidationError):
            Fault(**{name: value for name, value in whole.items() if name != left_out})


def test_a_training_that_is_held_back_is_named() -> None:
    """MN-18: It failed nowhere, and did not do what was asked; one that had nothing new to do is no fault."""
    held = {"outcome": "skipped", "sentence": "Celsius.", "fault": "HeldBack"}
    assert named("validate", held, state="skipped") == "Training is held back"
    assert fault_of(TaskEnd("validate", "skipped", {"outcome": "skipped", "sentence": "Nothing new."})) is None
    assert fault_of(TaskEnd("validate", "success", held)) is None


@pytest.mark.parametrize("state", ["success", "skipped", "running", "queued", "upstream_failed", None])
def test_what_did_not_fail_has_no_fault(state: str | None) -> None:
    """MN-18: A task that went well, runs, waits or was not reached; whatever an earlier try of it left."""
    assert fault_of(TaskEnd("train", state, {"outcome": "fault", "sentence": "Before.", "fault": "MemoryError"})) is None


def test_every_error_on_purpose_has_a_name_and_each_name_a_section_of_the_runbook() -> None:
    """MN-18: A new class of error cannot be forgotten here, and no advice leads nowhere."""
    tree = [errors.PerennialError]
    for known in tree:
        tree += known.__subclasses__()
    ours = {known.__name__ for known in tree if known.__module__ == errors.__name__} - {"PerennialError"}
    assert ours <= OF_CLASS.keys()
    assert set(OF_TASK.values()) <= OF_CLASS.keys()
    runbook = (Path(__file__).parents[4] / run_faults.RUNBOOK).read_text()
    others = (run_faults.UNDER_TRAFFIC, run_faults.BY_A_PERSON, run_faults.TURNED_DOWN, run_faults.HELD_BACK, run_faults.UNSEEN)
    for name, do, section in (*OF_CLASS.values(), *OF_CHECK.values(), *others):
        assert f"\n## {section}\n" in runbook, section
        assert name[0].isupper()
        assert do.endswith((".", ")"))
