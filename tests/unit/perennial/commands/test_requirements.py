"""Which requirement each floor and limit serves, and that one without fails CI."""

from __future__ import annotations

import pytest

from perennial import discovery
from perennial.commands import requirements
from perennial.settings import Settings
from perennial.specs import GateSpec, LimitSpec, ModelSpec, RequirementSpec, ServingSpec
from perennial.store import FolderStore
from perennial.testing import small_model

SERVED = RequirementSpec(requirement="R-2: no guesses", owner="desk")


def model(**requirements_of: RequirementSpec) -> ModelSpec:
    """A model with two floors and a limit, of which some floors serve a requirement."""
    limits = {"p95_ms": LimitSpec(at_most=50, requirement="R-12", owner="edge")}
    gate = GateSpec(floors={"log_loss": 0.9, "accuracy": 0.6}, requirements=requirements_of)
    return small_model().model_copy(update={"gate": gate, "serving": ServingSpec(limits=limits)})


def listed(monkeypatch: pytest.MonkeyPatch, tmp_path, spec: ModelSpec, **asked: str) -> int:  # type: ignore[no-untyped-def]
    """The exit code of the command where this is the only model."""
    monkeypatch.setattr(discovery, "models", lambda: {spec.name: spec})
    return requirements.run(Settings.from_environment({}), FolderStore(str(tmp_path)), **asked)


def test_every_floor_and_limit_is_listed_with_its_requirement(monkeypatch, tmp_path, capsys):  # type: ignore[no-untyped-def]
    """MO-24: All have one: done."""
    assert listed(monkeypatch, tmp_path, model(log_loss=SERVED, accuracy=SERVED)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "small_delays: log_loss at most 0.9: requirement R-2: no guesses; owner desk",
        "small_delays: accuracy at least 0.6: requirement R-2: no guesses; owner desk",
        "small_delays: p95_ms at most 50: requirement R-12; owner edge",
    ]


def test_a_floor_that_serves_no_requirement_fails_ci(monkeypatch, tmp_path, capsys):  # type: ignore[no-untyped-def]
    """MO-24: The exit code is 1, and the sentence says which and what to do."""
    assert listed(monkeypatch, tmp_path, model(log_loss=SERVED), model="small_delays") == 1
    said = capsys.readouterr().out
    assert "accuracy at least 0.6: serves no requirement" in said
    assert said.endswith("Give each a requirement and an owner in gate.requirements of its spec: small_delays accuracy.\n")


def test_without_models_nothing_lacks(monkeypatch, tmp_path, capsys):  # type: ignore[no-untyped-def]
    """MO-24: A platform without models is in order."""
    monkeypatch.setattr(discovery, "models", dict)
    assert requirements.run(Settings.from_environment({}), FolderStore(str(tmp_path))) == 0
    assert capsys.readouterr().out == "No model has a floor or a limit.\n"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: LimitSpec(at_most=5, requirement="R-1"), "owner"),
        (lambda: LimitSpec(at_most=5, owner="desk"), "requirement"),
        (lambda: LimitSpec(at_most=5, requirement="", owner="desk"), "requirement"),
        (lambda: LimitSpec(at_most=0, requirement="R-1", owner="desk"), "greater than 0"),
        (lambda: GateSpec(floors={"log_loss": 1}, requirements={"rmse": SERVED}), "rmse, which is no floor"),
    ],
)
def test_a_limit_needs_both_and_a_requirement_a_floor(made, words):  # type: ignore[no-untyped-def]
    """MO-24: A spec without them is refused when it is read, so CI fails."""
    with pytest.raises(ValueError, match=words):
        made()


def test_the_models_of_this_repository_all_serve_requirements() -> None:
    """MO-24: What users copy from is whole."""
    for spec in discovery.models().values():
        assert [name for name, _, words in requirements.kept_by(spec) if not words] == []
