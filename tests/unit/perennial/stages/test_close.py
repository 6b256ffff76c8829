"""The end of trainings that were killed outright."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.settings import Settings
from perennial.stages import close
from perennial.store import FolderStore

PAGE = "http://airflow.test/dags/delays_training/runs/manual__1"


class Registry:
    """Two runs of one orchestrator's run, of which one is shown as running."""

    ended: dict[str, tuple[str, str]] = {}  # noqa: RUF012  shared on purpose: the stage makes its own instance

    def __init__(self, settings: Settings) -> None:
        """Nothing to connect to."""

    def running(self, model: str, orchestrator: str) -> list[str]:
        """The run that was killed, until it is recorded so."""
        return ["r1"] if (model, orchestrator) == ("delays", PAGE) and "r1" not in self.ended else []

    def end_run(self, run_id: str, status: str, sentence: str) -> None:
        """Keep how it ended."""
        self.ended[run_id] = (status, sentence)

    def run_url(self, run_id: str) -> str:
        """Address of a run."""
        return f"http://mlflow/{run_id}"


def test_what_was_killed_outright_is_recorded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """DE-15: With the way to go on; a second call finds nothing more, nor does one of another run."""
    monkeypatch.setattr(close, "ModelRegistry", Registry)
    monkeypatch.setattr(Registry, "ended", {})
    settings, store = Settings(), FolderStore(str(tmp_path))
    other = close.run(settings, store, model="delays", run_url=f"{PAGE}2")
    assert (other.outcome, Registry.ended) == ("skipped", {})
    store.write("views/training/delays.json", b"{}")
    found = close.run(settings, store, model="delays", run_url=PAGE)
    assert not store.exists("views/training/delays.json"), "its page says no more that it trains"
    assert (found.outcome, found.sentence) == ("done", "delays: 1 training that was killed is recorded as such.")
    assert found.runs == ("r1",)
    assert found.links == {"MLflow run": "http://mlflow/r1"}
    assert Registry.ended == {"r1": ("KILLED", close.KILLED)}
    assert close.run(settings, store, model="delays", run_url=PAGE).outcome == "skipped"
