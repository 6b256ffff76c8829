"""Receipts of registrations: which number the registry gave to which version, kept in the store so that a registry
can be made again. Light.

models/<model>/numbers/<8-digit number>.json

    >>> from perennial.store import open_store
    >>> store = open_store("store")
    >>> note_registration(store, "churn", 1, "a" * 64, {"cause": "data"})
    >>> registrations(store, "churn")[1].tags
    {'cause': 'data'}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import RegistryDiffers, StoredDataDamaged
from perennial.store import Store
from perennial.store.summaries import Summaries


class Registration(BaseModel):
    """One version number that the registry gave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(description="Number of the version in the registry.")
    digest: str = Field(description="Content address of its folder.")
    tags: dict[str, str] = Field(description="What the registry said of it when it was registered or judged last.")
    time: AwareDatetime = Field(description="When that was, UTC.")


def note_registration(store: Store, model: str, number: int, digest: str, tags: Mapping[str, str]) -> None:
    """Record the number of a version. Repeating it changes nothing; new tags replace the old ones.

    Raises:
        RegistryDiffers: another version has had the number before: the registry counts anew.
    """
    made = Registration(number=number, digest=digest, tags=dict(tags), time=datetime.now(timezone.utc))
    if store.put_if_absent(_key(model, number), made.model_dump_json().encode()):
        store.write(_note(model), str(number).encode())
        _numbers(store, model).keep(_key(model, one) for one in range(1, number + 1))
        return
    before = _read(store, _key(model, number))
    if before.digest != digest:
        raise RegistryDiffers(
            f"The registry gave version {digest[:12]} of {model} the number {number}, which {before.digest[:12]} has had since "
            f"{before.time:%Y-%m-%d %H:%M} UTC: its numbers begin anew. "
            f"Make it again from the store: `perennial registry rebuild --model {model} --replace`. "
            "If it belongs to another platform, correct PERENNIAL_MLFLOW_URL or PERENNIAL_STORE."
        )
    if before.tags != made.tags:
        store.write(_key(model, number), made.model_dump_json().encode())


def registrations(store: Store, model: str) -> dict[int, Registration]:
    """Every registration, by version number. Raises StoredDataDamaged if a receipt cannot be read."""
    receipts = (_read(store, item.key) for item in store.list(f"models/{model}/numbers"))
    return {registration.number: registration for registration in receipts}


class Number(BaseModel):
    """Which version a number was given to: it never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str


def numbered(store: Store, model: str, damage: list[str]) -> dict[int, str]:
    """The content address of each registered version, by number, from one note; of damaged receipts a sentence goes to `damage`."""
    try:
        newest = newest_registration(store, model)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return {}
    summaries, digests = _numbers(store, model), dict[int, str]()
    for number in range(1, newest.number + 1 if newest else 1):
        try:
            for one in summaries.of([_key(model, number)]).values():
                digests[number] = one.digest
        except StoredDataDamaged as error:
            damage.append(str(error))
    return digests


def registration(store: Store, model: str, number: int) -> Registration | None:
    """The registration of one number; None if the registry gave it to no version. Raises StoredDataDamaged if it cannot be read."""
    try:
        return _read(store, _key(model, number))
    except KeyError:
        return None


def newest_registration(store: Store, model: str) -> Registration | None:
    """The registration that was noted last, found without listing them; None if there is none.

    Raises:
        StoredDataDamaged: its receipt cannot be read.
    """
    try:
        return _read(store, _key(model, int(store.read(_note(model)))))
    except (KeyError, ValueError):  # from before it was noted
        known = registrations(store, model)
        return known[max(known)] if known else None


def _read(store: Store, key: str) -> Registration:
    try:
        return Registration.model_validate_json(store.read(key))
    except ValidationError:
        raise StoredDataDamaged(f"The receipt {key} cannot be read: restore it from a copy of the store, or delete it.") from None


def _key(model: str, number: int) -> str:
    return f"models/{model}/numbers/{number:08d}.json"


def _numbers(store: Store, model: str) -> Summaries[Number]:
    place = f"views/registered/{model}.json"
    return Summaries(store, place, Number, lambda key, _: Number(digest=_read(store, key).digest), fixed=True)


def _note(model: str) -> str:
    """Where the number of the newest registration is noted; it may be deleted."""
    return f"views/numbers/{model}"
