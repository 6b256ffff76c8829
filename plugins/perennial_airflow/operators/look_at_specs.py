"""Checks the files of every dataset and model, opens incidents for broken ones, and sends alerts about them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial import discovery
from perennial.errors import PerennialError
from perennial.incidents.incidents import Incidents, known_names
from perennial.lineage.unowned import unowned
from perennial.settings import Settings
from perennial.specs import Named
from perennial.store import open_store
from perennial_airflow.notifiers.telling import channels, tell
from perennial_airflow.sightings import in_specs
from perennial_airflow.stage_end import RefusalsAreFinal, give_up, refuse

if TYPE_CHECKING:
    from airflow.sdk import Context


class LookAtSpecs(BaseOperator):
    """Opens an incident for each broken dataset or model and for each model that serves without its folder; ends those that are over.

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
        for said in wrong or ["Every spec is sound, and every model that serves has its folder."]:
            self.log.info("%s", said)
        return {"wrong": wrong, "failures": failures}


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
