"""Every version that was registered or judged, in a line: its number, why it was trained, what the gate said, its figures. Light.

A model with hundreds of versions is listed from one note (`store/summaries.py`) and not from three documents of each.

>>> import tempfile
>>> from perennial.lineage.registrations import note_registration
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> note_registration(store, "churn", 1, "a" * 64, {"gate": "There is no champion yet."})
>>> [(note.number, note.passed, note.sentence) for note in versions_newest_first(store, "churn")]
[(1, True, 'There is no champion yet.')]
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.making import seconds_of, usage_of
from perennial.lineage.manifest import Manifest
from perennial.lineage.registrations import Registration
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import DIGEST, read_manifest
from perennial.store import Store
from perennial.store.summaries import Summaries

_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Figure(BaseModel):
    """One metric of a version on the rows of its test split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float
    low: float | None = Field(default=None, description="Lower end of its 95 % interval; none if that was not worked out.")
    high: float | None = Field(default=None, description="Upper end.")


class VersionNote(BaseModel):
    """One version in a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="Content address of its folder.")
    number: int | None = Field(default=None, description="Its number in the registry; none if it is not registered.")
    registered: datetime | None = Field(default=None, description="When it was registered or judged last, UTC.")
    trained: datetime | None = Field(default=None, description="When its folder was sealed, UTC; none if the folder is gone.")
    began: datetime | None = Field(default=None, description="When its training began, UTC; none where that was not noted.")
    cause: str = Field(default="", description="Why it was trained.")
    reason: str = Field(default="", description="A person's words for that.")
    passed: bool | None = Field(default=None, description="Whether the gate let it in; none if what it said cannot be read.")
    sentence: str = Field(default="", description="What the gate said of it.")
    figures: tuple[Figure, ...] = Field(default=(), description="Empty if its evaluation is not there.")
    learner: str = Field(default="", description="What made it, as the spec had it; empty if its folder is gone.")
    used: str = Field(default="", description="What its training used, as a sentence; empty where nobody noted it.")
    damage: str = Field(default="", description="What of it could not be read; empty if all could.")

    @property
    def when(self) -> datetime:
        """Its place in time: when it was trained, else when it was registered."""
        return self.trained or self.registered or _LONG_AGO


def versions_newest_first(store: Store, model: str) -> list[VersionNote]:
    """Every version that has a number or that the gate judged, also those that it refused. What is damaged is said in its line."""
    by_digest: dict[str, VersionNote] = {}
    numbered: list[VersionNote] = []
    for note in _summaries(store, model).of(_keys(store, model)).values():
        if note.number is not None or not note.digest:
            numbered.append(note)
        else:
            by_digest[note.digest] = note
    for note in numbered:
        judged = by_digest.get(note.digest)
        by_digest[note.digest or str(note.number)] = note if judged is None else _both(note, judged)
    return sorted(by_digest.values(), key=lambda note: (note.when, note.number or 0), reverse=True)


def note_versions(store: Store, model: str) -> None:
    """Note every version, so that the list is read from one object. Whoever registers or judges one does this."""
    _summaries(store, model).keep(_keys(store, model))


def version_note(store: Store, model: str, note: VersionNote) -> VersionNote:
    """The same line made again from the documents: what was damaged when it was noted may have been restored."""
    made = _of_verdict(store, model, note.digest)
    return _both(note.model_copy(update={"damage": ""}), made) if note.number is not None and made else made or note


def evaluation_of(store: Store, model: str, digest: str) -> dict[str, Any]:
    """The evaluation of a version as it is stored; empty if it has none, or one that cannot be read."""
    try:
        document = json.loads(store.read(evaluation_key(model, digest)))
    except (KeyError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def evaluated_metrics(store: Store, model: str, digest: str) -> dict[str, float]:
    """The metrics of a version on the rows of its test split; empty where its evaluation is gone, or from before it had them."""
    measured = part_of(evaluation_of(store, model, digest), "parts", "test", "candidate")
    return {figure.name: float(figure.value) for figure in figures_of(measured.get("metrics"), {})}


def evaluation_key(model: str, digest: str) -> str:
    """Store key of the evaluation of a version."""
    return f"reports/{model}/{digest}/evaluation.json"


def card_key(model: str, digest: str) -> str:
    """Store key of the model card of a version, in Markdown."""
    return f"reports/{model}/{digest}/card.md"


def figures_of(metrics: Any, intervals: Any) -> tuple[Figure, ...]:
    """Metrics with their intervals, as an evaluation has them; what is no number is left out."""
    if not isinstance(metrics, dict):
        return ()
    ends = intervals if isinstance(intervals, dict) else {}
    return tuple(
        Figure(name=str(name), value=value, low=low, high=high)
        for name, value in metrics.items()
        if is_number(value)
        for low, high in [_ends(ends.get(name))]
    )


def part_of(document: Any, *names: str) -> dict[str, Any]:
    """A part of a document of which nobody knows whether it is whole; empty where it has none."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value from a document is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _ends(interval: Any) -> tuple[float | None, float | None]:
    if isinstance(interval, (list, tuple)) and len(interval) == 2 and all(map(is_number, interval)):
        return float(interval[0]), float(interval[1])
    return None, None


def _both(numbered: VersionNote, judged: VersionNote) -> VersionNote:
    """A registered version with what the gate said of it last."""
    told: dict[str, Any] = {"number": numbered.number, "registered": numbered.registered}
    if judged.passed is None:
        told |= {"passed": numbered.passed, "sentence": numbered.sentence or judged.sentence}
    return judged.model_copy(update=told | {"damage": numbered.damage or judged.damage})


def _summaries(store: Store, model: str) -> Summaries[VersionNote]:
    return Summaries(store, f"views/versions/{model}.json", VersionNote, lambda key, data: _sum_up(store, model, key, data), form=3)


def _keys(store: Store, model: str) -> list[str]:
    judged = (name for name in store.folders(f"reports/{model}") if DIGEST.fullmatch(name))
    return [*(item.key for item in store.list(f"models/{model}/numbers")), *(verdict_key(model, digest) for digest in judged)]


def _sum_up(store: Store, model: str, key: str, data: bytes) -> VersionNote:
    if not key.endswith("/gate.json"):
        return _of_receipt(store, model, key, data)
    return _of_verdict(store, model, key.split("/")[-2], data) or VersionNote(digest=key.split("/")[-2])


def _of_receipt(store: Store, model: str, key: str, data: bytes) -> VersionNote:
    try:
        receipt = Registration.model_validate_json(data)
    except ValidationError:
        said = f"The receipt {key} cannot be read: restore it from a copy of the store, or delete it."
        return VersionNote(digest="", number=_number(key), damage=said)
    return VersionNote(
        digest=receipt.digest,
        number=receipt.number,
        registered=receipt.time,
        passed=True,
        sentence=receipt.tags.get("gate", ""),
        **_facts(store, model, receipt.digest, receipt.tags),
    )


def _of_verdict(store: Store, model: str, digest: str, data: bytes | None = None) -> VersionNote | None:
    key = verdict_key(model, digest)
    try:
        data = store.read(key) if data is None else data
    except KeyError:
        return None
    facts = _facts(store, model, digest, {})
    try:
        verdict = json.loads(data)
        return VersionNote(digest=digest, passed=bool(verdict["passed"]), sentence=str(verdict["sentence"]), **facts)
    except (KeyError, TypeError, ValueError):
        damage = f"What the gate said of {digest[:12]} cannot be read: restore {key}, or run its training again."
        return VersionNote(digest=digest, **{**facts, "damage": damage})


def _facts(store: Store, model: str, digest: str, tags: dict[str, str]) -> dict[str, Any]:
    """What manifest and evaluation say of a version; without its folder, what the registry noted."""
    measured = part_of(evaluation_of(store, model, digest), "parts", "test", "candidate")
    figures = figures_of(measured.get("metrics"), measured.get("intervals"))
    manifest: Manifest | None = None
    damage = ""
    try:
        manifest = read_manifest(store, model, digest)
    except UnknownName:
        pass  # its folder is gone: what remains is shown
    except StoredDataDamaged as error:
        damage = str(error)
    if manifest is None:
        return {"figures": figures, "damage": damage, "cause": tags.get("cause", ""), "reason": tags.get("reason", "")}
    used, seconds = usage_of(store, model, digest), seconds_of(store, model, digest)
    return {
        "figures": figures,
        "trained": manifest.created,
        "began": None if seconds is None else manifest.created - timedelta(seconds=seconds),
        "cause": manifest.cause,
        "reason": manifest.reason,
        "learner": manifest.learner,
        "used": used.sentence if used else "",
    }


def _number(key: str) -> int | None:
    name = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(name) if name.isdigit() else None
