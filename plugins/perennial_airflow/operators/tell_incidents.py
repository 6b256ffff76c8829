"""Opens and ends incidents by the results of tasks, sends alerts, and starts asking people for verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperator, TriggerRule
from pydantic import JsonValue

from perennial import discovery
from perennial.errors import PerennialError
from perennial.incidents.incidents import Incidents, awaits_verdict
from perennial.incidents.kinds import QUESTION
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store, open_store
from perennial_airflow import assets
from perennial_airflow.notifiers.telling import channels, tell
from perennial_airflow.sightings import Over, Sight, Sightings, in_refusals
from perennial_airflow.stage_end import give_up
from perennial_airflow.stage_pod import made_up

if TYPE_CHECKING:
    from airflow.sdk import Context


Look = Callable[[Store, ModelSpec], Sightings]
HOW_TO = "docs/runbook.md says how to set one up."


class TellIncidents(BaseOperator):
    """Tells people of incidents, from the log of incidents: what it does not say was told is told, so a task that was killed loses nothing.

    A channel that fails does not fail the task: its sentence is in the log, and it is tried again at the next look.

    Args:
        spec: the model whose incidents they are, or the dataset whose models they belong to; those of all models if absent. What opens for
            a dataset's models, a person is asked about after the model's own next look.
        found_by: tasks whose results are looked at in this order, however they ended; for each, what its result says beyond what the
            stage has noted itself. Of a task that ran in parts the first part that failed is looked at.
        looks: what is looked up in the store besides, for each model.
    """

    ui_color = "#fbe6e6"

    def __init__(
        self, *, spec: DatasetSpec | ModelSpec | None = None, found_by: Mapping[str, Sight], looks: Sequence[Look] = (), **kwargs: Any
    ) -> None:
        # A dataset's models are found when the task runs: a mistake in the spec of one must not keep data from coming in.
        asked_about = [spec] if isinstance(spec, ModelSpec) else [] if spec else [*discovery.models().values()]
        outlets = [assets.incident(model) for model in asked_about]
        super().__init__(**{"trigger_rule": TriggerRule.ALL_DONE, "outlets": outlets, **kwargs})
        self.dataset = spec.name if isinstance(spec, DatasetSpec) else ""
        self.model = spec.name if isinstance(spec, ModelSpec) else ""
        self.found_by = dict(found_by)
        self.looks = tuple(looks)

    def execute(self, context: Context) -> dict[str, Any]:
        """Note, tell, announce; the answer says which channels failed.

        Raises:
            StageFault: the store does not answer; retried.
        """
        # What a later task says of something replaces what an earlier one said:
        # noting both, then both again at a retry, would open it twice.
        said = {(s.kind, s.key): s for task_id, sight in self.found_by.items() for s in sight(self._result(context, task_id))}
        now = datetime.now(timezone.utc)
        failures: list[str] = []
        waiting: dict[str, list[str]] = {}
        try:
            settings = Settings.from_environment()
            store, datasets = open_store(settings.store), discovery.datasets()
            for model in self._models():
                incidents = Incidents(store, model.name)
                set_up = channels(settings, model, [datasets[name] for name in model.datasets if name in datasets])
                if not set_up:
                    self.log.info("%s has no channel: its incidents are kept, and nobody is told. %s", model.title, HOW_TO)
                for sighting in [*said.values(), *(sighting for look in self.looks for sighting in look(store, model))]:
                    sighting.note(incidents, _page(settings, context))
                failures += tell(incidents, model, settings, set_up, now, self.log)
                asked = [incident.id for incident in incidents.all() if awaits_verdict(incident, now)]
                waiting |= {assets.incident(model).name: asked} if asked else {}
        except PerennialError as error:
            give_up(self, str(error))
        # Airflow makes an event for each outlet that stands here once the task has succeeded: one without a partition wakes nobody.
        self.outlets = [outlet for outlet in self.outlets if outlet.name in waiting]
        for outlet in self.outlets:
            context["outlet_events"][outlet].add_partitions(waiting[outlet.name])
        return {"failures": failures}

    def _models(self) -> list[ModelSpec]:
        if self.model:
            return [discovery.model(self.model)]
        for left_out in discovery.broken():
            self.log.warning("Nobody is told for it: %s", left_out.sentence)
        return [model for model in discovery.models().values() if self.dataset in ("", model.dataset)]

    def _result(self, context: Context, task_id: str) -> dict[str, Any] | None:
        """The result of a task that is looked at; made up if it was killed before it had one, None if it did not run."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task_id], run_ids=[ti.run_id]).get(ti.run_id, {})
        parts = sorted(int(name.removeprefix(f"{task_id}_")) for name in states if name != task_id)
        if parts:
            part = next((part for part in parts if states[f"{task_id}_{part}"] == "failed"), parts[0])
            state = states[f"{task_id}_{part}"]
            result: dict[str, Any] | None = ti.xcom_pull(task_ids=task_id, map_indexes=part)
        else:
            state, result = states.get(task_id), ti.xcom_pull(task_ids=task_id)
        # A run that was cleared keeps the results of tasks that did not run again: a stage that was skipped says so itself.
        if state in ("upstream_failed", "removed") or (state == "skipped" and result and result.get("outcome") != "skipped"):
            return None
        if result is None and state == "failed":
            return made_up("fault", f"The task {task_id} of {ti.dag_id} was ended before it had a result; its log shows how far it came.")
        return result


def refusals(store: Store, spec: ModelSpec) -> Sightings:
    """Candidates of a model that the gate refuses one after the other."""
    from perennial.lineage import trainings  # imported late: no parse of a DAG file needs manifests

    refused, why = trainings.refused_in_a_row(store, spec.name, spec.gate.told_refusals)
    return in_refusals(refused, spec.gate.told_refusals, why)


def questions(store: Store, spec: ModelSpec) -> Sightings:
    """Questions about a release of which a run has ended, however that was: nobody is asked any more."""
    left = (one.key for one in Incidents(store, spec.name).open_ones() if one.kind == "release" and one.key.startswith(QUESTION))
    return [Over("release", key, "The run that asked has ended.") for key in left]


def _page(settings: Settings, context: Context) -> dict[str, JsonValue]:
    """Address of the run in the web UI, by title."""
    ti = context["ti"]
    return {"Airflow run": f"{settings.airflow_url}/dags/{ti.dag_id}/runs/{quote(ti.run_id, safe='')}"}
