"""Opens an incident for a batch, or a version that serves, which has not come by its deadline; ends it once it comes."""

from __future__ import annotations

from datetime import datetime

from perennial import discovery
from perennial.data.batches import Batches
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import read_manifest
from perennial.monitoring.deadlines import Missed, missed
from perennial.specs import DatasetSpec, ModelSpec
from perennial.specs.deadlines import DeadlineSpec
from perennial.store import Store

BATCH, VERSION = "batch of ", "version of today"  # keys of the incidents, the former before the name of a dataset


def note_deadlines(store: Store, spec: ModelSpec, now: datetime) -> tuple[str, ...]:
    """Open an incident for each deadline of a model that has passed in vain, and resolve those of what has come, or is asked for no more.

    Returns:
        The ids of the incidents that were opened and resolved.
    """
    wrong: dict[str, str] = {}
    came: dict[str, str] = {}
    for name in dict.fromkeys(spec.datasets):
        dataset = discovery.dataset(name)
        if dataset.expected is not None:
            last = _newest_batch(store, dataset)
            key = f"{BATCH}{name}"
            came[key] = f"A batch was taken in at {_moment(last)}."
            if late := missed(dataset.expected, dataset.time_zone, last, now):
                wrong[key] = (
                    f"No batch of {name} has come {_by(late, dataset.expected, dataset)}: the newest was taken in at {_moment(last)}. "
                    f"Look whether its source delivers, and whether files wait in landing/{name} or were refused."
                )
    if spec.budget.fresh_by is not None:
        dataset = discovery.dataset(spec.dataset)
        number, sealed = _champion(store, spec.name)
        came[VERSION] = f"Version {number} serves, which was trained at {_moment(sealed)}."
        if late := missed(spec.budget.fresh_by, dataset.time_zone, sealed, now):
            wrong[VERSION] = (
                f"No version of this day serves {spec.name} {_by(late, spec.budget.fresh_by, dataset)}: version {number}, "
                f"which was trained at {_moment(sealed)}, still does. Look at {spec.name}_training and {spec.name}_release."
            )
    incidents = Incidents(store, spec.name)
    changed = [incidents.open("deadline", key, "warning", sentence) for key, sentence in wrong.items()]
    for one in incidents.open_ones():
        if one.kind == "deadline" and one.key not in wrong and incidents.resolve(one.id, came.get(one.key, "It is asked for no more.")):
            changed.append(one.id)
    return tuple(id for id in changed if id is not None)


def _newest_batch(store: Store, dataset: DatasetSpec) -> datetime | None:
    """When rows were added to the table last."""
    appended = (receipt.time for receipt in Batches(store, dataset.name).newest_first() if receipt.outcome == "appended")
    return next(appended, None)


def _champion(store: Store, model: str) -> tuple[int | None, datetime | None]:
    """The version that serves for good, and when it was sealed; none before the first release, and of a retired model."""
    entry = Ledger(store, model).last_move()
    if entry is None or entry.champion is None or not entry.serves:
        return None, None
    return entry.champion, read_manifest(store, model, entry.versions[entry.champion]).created


def _by(late: Missed, deadline: DeadlineSpec, dataset: DatasetSpec) -> str:
    return f"by {deadline.by} ({dataset.time_zone}) on {late.day}"


def _moment(when: datetime | None) -> str:
    return "no time that is known" if when is None else f"{when:%Y-%m-%d %H:%M} UTC"
