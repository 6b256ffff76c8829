"""Record the end of trainings that were killed outright: nothing else tells the registry that they run no more.

$ perennial close --model flight_delays --run-url http://localhost:8080/dags/flight_delays_training/runs/manual__1
"""

from __future__ import annotations

from perennial.lineage.progress import forget
from perennial.registry.model_registry import ModelRegistry
from perennial.results import CloseResult
from perennial.settings import Settings
from perennial.store import Store

KILLED = "The training was ended from outside before it had a version; training again goes on from its checkpoint."


def run(settings: Settings, store: Store, *, model: str, run_url: str) -> CloseResult:
    """Give the status KILLED to what the registry shows as running though the orchestrator's run has ended. Repeating it changes nothing.

    Args:
        settings: where the registry is.
        store: has the note of how far it was, which is deleted.
        model: name of the model.
        run_url: page of the orchestrator's run that began the trainings; all of its tasks that train must have ended.

    Raises:
        ServiceUnreachable: MLflow does not answer.
    """
    forget(store, model)
    registry = ModelRegistry(settings)
    left = registry.running(model, run_url)
    for run_id in left:
        registry.end_run(run_id, "KILLED", KILLED)
    if not left:
        return CloseResult(outcome="skipped", sentence=f"No training of {model} is left that is shown as running.")
    links = {"MLflow run": registry.run_url(left[0])}
    return CloseResult(sentence=f"{model}: {len(left)} training that was killed is recorded as such.", links=links, runs=tuple(left))
