"""Checks the files of every dataset and model, opens incidents for broken ones, and sends alerts about them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial import discovery
from perennial.errors import PerennialError
from perennial.incidents.incidents import Incidents, known_names
from perennial.incidents.news import announce
from perennial.lineage.progress import progress
from perennial.lineage.unowned import unowned
from perennial.settings import Settings
from perennial.specs import ModelSpec, Named
from perennial.store import Store, open_store
from perennial_airflow.notifiers.telling import channels, tell
from perennial_airflow.sightings import Seen, in_progress, in_specs
from perennial_airflow.stage_end import RefusalsAreFinal, give_up, refuse

if TYPE_CHECKING:
    from airflow.sdk import Context


class LookAtSpecs(BaseOperator):
    """Opens an incident for each broken dataset or model, each model that serves without its folder and each training that makes no step;
    ends those that are over.

    What is broken or gone has no DAG that could tell people, so it is told here. Notes of incidents that are missing, such as those of a
    store from before they were kept, are made on the way.
    """

    ui_color = "#fbe6e6"

    def execute(self, context: Context) -> dict[str, Any]:
        """Look, note, tell; the answer says what is wrong, and which channels failed.

        Raises:
            StageFault: the store does not answer; retried.
        """
        del context
        failures: list[str] = []
        wrong: list[str] = []
        try:
            settings = Settings.from_environment()
            store, now = open_store(settings.store), datetime.now(timezone.utc)
            broken, gone = discovery.broken(), unowned(store)
            sound, datasets = discovery.models(), discovery.datasets()
            wrong = [*(one.sentence for one in broken), *gone.values()]
            stalled = self._look_at_trainings(store, sound.values(), now)
            for name, sightings in in_specs(broken, gone, known_names(store)).items():
                incidents = Incidents(store, name)
                for sighting in sightings:
                    sighting.note(incidents)
                incidents.note_anew()
                if name not in sound:  # those have a DAG that tells
                    spec: Named = datasets.get(name) or Named.model_construct(name=name, title=name, owner="perennial")
                    failures += tell(incidents, spec, settings, channels(settings, spec), now, self.log)
        except PerennialError as error:
            give_up(self, str(error))
        wrong += stalled
        for said in wrong or ["Every spec is sound, and every model that serves has its folder."]:
            self.log.info("%s", said)
        return {"wrong": wrong, "failures": failures}

    def _look_at_trainings(self, store: Store, models: Iterable[ModelSpec], now: datetime) -> list[str]:
        """Note trainings that make no step, and those that do again; the DAG that tells what the watch has found tells of them, at once."""
        stalled = []
        for spec in models:
            incidents = Incidents(store, spec.name)
            before = incidents.summary().events
            for sighting in in_progress(progress(store, spec.name), 60 * spec.training.told_stall_minutes, now):
                sighting.note(incidents)
                stalled += [f"{spec.title}: {sighting.sentence}"] if isinstance(sighting, Seen) else []
            if incidents.summary().events != before:
                announce(store, now)
        return stalled


class SayBroken(BaseOperator):
    """Fails with the sentence of what is broken.

    Args:
        sentence: what is wrong, where, and what to do.
    """

    def __init__(self, *, sentence: str, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs})
        self.sentence = sentence

    def execute(self, context: Context) -> None:
        """Say it."""
        del context
        refuse(self, self.sentence)
