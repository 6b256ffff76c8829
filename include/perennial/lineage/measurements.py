"""What versions were measured to take, before they were registered and before they got traffic: latency, memory, size, energy. Light.

`reports/<model>/<digest>/measured.json`, the newest of each place.

>>> import tempfile
>>> from datetime import datetime, timezone
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> when = datetime(2026, 1, 1, tzinfo=timezone.utc)
>>> seen = Measurement(time=when, where="at its server", words="memory 90 MB", figures={"memory_mb": 90})
>>> note_measurement(store, "churn", "a" * 64, seen)
>>> [one.words for one in measurements(store, "churn", "a" * 64)]
['memory 90 MB']
"""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from perennial.errors import StoredDataDamaged
from perennial.store import Store


class Measurement(BaseModel):
    """What one inspection measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: AwareDatetime = Field(description="When, UTC.")
    where: str = Field(description="Where, as it is said behind a figure: in an environment, or at its server.")
    words: str = Field(description="All figures in a clause, with how the energy is known.")
    figures: dict[str, float] = Field(description="By the names of the limits: ms, MB of 2^20 bytes, J for 1,000 requests; and CPU time.")


_LIST: TypeAdapter[tuple[Measurement, ...]] = TypeAdapter(tuple[Measurement, ...])


def measurements_key(model: str, digest: str) -> str:
    """Store key of what a version was measured to take."""
    return f"reports/{model}/{digest}/measured.json"


def note_measurement(store: Store, model: str, digest: str, measured: Measurement) -> None:
    """Keep what was measured in place of what was measured at the same place before."""
    try:
        before = measurements(store, model, digest)
    except StoredDataDamaged:
        before = ()  # figures can be measured again
    kept = (*(one for one in before if one.where != measured.where), measured)
    store.write(measurements_key(model, digest), _LIST.dump_json(kept, indent=1))


def measurements(store: Store, model: str, digest: str) -> tuple[Measurement, ...]:
    """What a version was measured to take, oldest first; empty for one from before it was measured.

    Raises:
        StoredDataDamaged: it cannot be read.
    """
    key = measurements_key(model, digest)
    try:
        return _LIST.validate_json(store.read(key))
    except KeyError:
        return ()
    except ValidationError:
        raise StoredDataDamaged(f"{key} cannot be read: restore it from a copy of the store, or delete it.") from None
