"""What each version of a model learned from: which snapshots, which days. Read from one note for all versions of a model. Light.

Whoever seals a version notes it. A sealed version never changes, so its note is right for good; it may be deleted at any time.

>>> import tempfile
>>> from pathlib import Path
>>> from perennial.store import open_store
>>> from perennial.testing import publish_small_version
>>> store = open_store(tempfile.mkdtemp())
>>> digest = publish_small_version(store, Path(tempfile.mkdtemp()) / "version")
>>> [(one.dataset, one.snapshot) for one in learned(store, "small_delays", {})]
[('flights', 1)]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from perennial.counted import counted
from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import Ledger
from perennial.lineage.manifest import LabelsUsed, Manifest, OutcomesUsed
from perennial.lineage.registrations import numbered
from perennial.lineage.version_folder import MANIFEST, key, read_manifest
from perennial.store import Store
from perennial.store.summaries import Summaries

RECORD = "training.json"
PARTS = ("train", "validation", "test")
How = Literal["learned", "measured"]
Visible = Callable[[set[str]], set[str]]  # of some models, those that whoever asks may see


def all_of(models: set[str]) -> set[str]:
    """What somebody may see who may see everything."""
    return models


class Learned(BaseModel):
    """What one version learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="Content address of the version's folder.")
    dataset: str
    snapshot: int = Field(description="Version of the dataset's table.")
    snapshot_digest: str
    feed: str = Field(description="Dataset from which its labels came; empty if they are in its rows, or are outcomes.")
    feed_snapshot: int | None = Field(description="Version of that dataset's table.")
    predictions: int | None = Field(description="Version of the table of its own predictions that it learned from; none if from none.")
    joined: dict[str, int] = Field(default_factory=dict, description="Version of the table of each dataset that it joins.")
    scores: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="Versions of other models whose scores were among its rows, by model."
    )
    run_key: str = Field(description="Identity of the training.")
    cause: str
    created: datetime = Field(description="When it was sealed.")
    days: dict[str, tuple[date, date]] = Field(
        description="First and last day of each part of its split: train, validation, test; empty if not recorded."
    )
    rows: dict[str, int] = Field(description="Rows of each part; empty if not recorded.")

    def read_of(self, dataset: str) -> int | None:
        """Version of a dataset's table that it read; None if it read none."""
        return {**self.joined, self.feed: self.feed_snapshot, self.dataset: self.snapshot}.get(dataset)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it read: its own, its label feed, those that it joins."""
        return tuple(dict.fromkeys(name for name in (self.dataset, self.feed, *self.joined) if name))

    def how(self, dataset: str, days: tuple[date, date] | None) -> How | None:
        """Whether it learned from rows of some days of a snapshot that it read, or was only measured on them.

        It is taken to have learned where the days of the rows or of its parts are not known, and from labels of any days.
        """
        if dataset != self.dataset or days is None or not self.days:
            return "learned"
        met = {part for part, (first, last) in self.days.items() if days[0] <= last and days[1] >= first}
        return "learned" if met - {"test"} else "measured" if met else None


class Reached(BaseModel):
    """A version that had rows of a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    number: int | None = Field(description="Its number in the registry; none for a candidate that was never registered.")
    digest: str
    snapshot: int = Field(description="The snapshot that it read.")
    how: How = Field(description="Whether it learned from the rows, or was only measured on them.")

    @property
    def words(self) -> str:
        """What it is called."""
        return f"{self.model}/{self.number}" if self.number else f"candidate {self.digest[:12]} of {self.model}"


def learned(store: Store, model: str, damage: dict[str, str]) -> list[Learned]:
    """What each sealed version of a model learned from, in the order of their digests; `damage` takes a sentence by the digest of each
    that cannot be read."""
    summaries, every = _summaries(store, model), list[Learned]()
    for digest in store.folders(f"models/{model}/versions"):
        try:
            every += summaries.of([f"{key(model, digest)}/{MANIFEST}"]).values()
        except StoredDataDamaged as error:
            damage[digest] = str(error)
    return every


def note_learned(store: Store, model: str) -> None:
    """Note what the versions of a model learned from."""
    every = learned(store, model, {})  # of a damaged one there is nothing to note: whoever asks is told
    _summaries(store, model).keep(f"{key(model, one.digest)}/{MANIFEST}" for one in every)


class Readers:
    """The versions of all models that read the table of a dataset.

    Args:
        store: has the versions.
        dataset: name of the dataset.
        damage: takes a sentence for each version of which nothing can be told.
        visible: of some models, those that may be named, in these sentences too.
    """

    def __init__(self, store: Store, dataset: str, damage: list[str], visible: Visible = all_of) -> None:
        self._dataset, self._versions = dataset, list[tuple[Reached, Learned]]()
        told: dict[str, list[str]] = {}
        for model in store.folders("models"):
            damaged: dict[str, str] = {}
            every = [(one, read) for one in learned(store, model, damaged) if (read := one.read_of(dataset)) is not None]
            if not (every or damaged):
                continue
            said = told[model] = []
            numbers = numbers_of(store, model, said)
            for one, read in every:
                version = Reached(model=model, number=numbers.get(one.digest), digest=one.digest, snapshot=read, how="learned")
                self._versions.append((version, one))
            for digest, sentence in damaged.items():
                name = Reached(model=model, number=numbers.get(digest), digest=digest, snapshot=0, how="learned").words
                said.append(f"Whether {name} learned from it is not known. {sentence}")
        self.models = visible(set(told))
        damage += [sentence for model, said in told.items() if model in self.models for sentence in said]
        if hidden := sum(1 for model, said in told.items() if said and model not in self.models):
            damage.append(f"What versions of {counted(hidden, 'model')} that you may not see learned from is not known in full.")
        self._versions.sort(key=lambda pair: (pair[0].model, pair[0].number is None, pair[0].number or 0, pair[0].digest))

    def of(self, since: int, until: int | None, days: tuple[date, date] | None) -> list[Reached]:
        """Those that had rows of a batch, by model and number.

        Args:
            since: first version of the table with its rows.
            until: first version without them again; None if they are in it.
            days: first and last day of its rows; None if not known.
        """
        had = (
            (version, one) for version, one in self._versions if since <= version.snapshot and (until is None or version.snapshot < until)
        )
        return [version.model_copy(update={"how": how}) for version, one in had if (how := one.how(self._dataset, days))]


def readers_of_scores(store: Store, model: str, number: int, damage: list[str], visible: Visible = all_of) -> list[Reached]:
    """The versions of other models that learned from scores that a version gave, by model and number.

    Args:
        store: has the versions.
        model: name of the one that gave scores.
        number: of its version.
        damage: takes a sentence for each version of which nothing can be told.
        visible: of some models, those that may be named, in these sentences too.
    """
    readers: list[Reached] = []
    for other in sorted(visible(set(store.folders("models")) - {model})):
        damaged: dict[str, str] = {}
        reading = [one for one in learned(store, other, damaged) if number in one.scores.get(model, ())]
        damage += damaged.values()
        numbers = numbers_of(store, other, damage) if reading else {}
        found = [Reached(model=other, number=numbers.get(o.digest), digest=o.digest, snapshot=o.snapshot, how="learned") for o in reading]
        readers += sorted(found, key=lambda one: (one.number is None, one.number or 0, one.digest))
    return readers


def numbers_of(store: Store, model: str, damage: list[str]) -> dict[str, int]:
    """The number of each version that was registered or released, by the digest of its folder."""
    numbers: dict[str, int] = {}
    try:
        numbers |= {line.digest: line.version for line in Ledger(store, model).lines()}
    except StoredDataDamaged as error:
        damage.append(f"Versions of {model} have no numbers here. {error}")
    return numbers | {digest: number for number, digest in numbered(store, model, damage).items()}


def _summaries(store: Store, model: str) -> Summaries[Learned]:
    return Summaries(store, f"views/learned/{model}.json", Learned, lambda place, _: _learned(store, model, place), fixed=True)


def _learned(store: Store, model: str, place: str) -> Learned:
    manifest = read_manifest(store, model, place.split("/")[-2])
    try:
        record = json.loads(store.read(f"{key(model, manifest.digest)}/{RECORD}")) if RECORD in manifest.files else {}
        return _of_record(manifest, record)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoredDataDamaged(
            f"{RECORD} of {model} {manifest.digest[:12]} is missing or damaged: restore {key(model, manifest.digest)}/ from a backup."
        ) from None


def _of_record(manifest: Manifest, record: dict[str, Any]) -> Learned:
    labels, bounds = manifest.labels, record.get("bounds", {})
    feed = labels if isinstance(labels, LabelsUsed) else None
    return Learned(
        digest=manifest.digest,
        dataset=manifest.dataset,
        snapshot=manifest.snapshot,
        snapshot_digest=manifest.snapshot_digest,
        feed=feed.feed.dataset if feed else "",
        feed_snapshot=feed.snapshot if feed else None,
        predictions=labels.predictions if isinstance(labels, OutcomesUsed) else None,
        joined={used.join.dataset: used.snapshot for used in manifest.joined},
        scores={model: tuple(sorted(versions)) for model, versions in manifest.scores.items()},
        run_key=manifest.run_key,
        cause=manifest.cause,
        created=manifest.created,
        days={
            part: (date.fromisoformat(bounds[part][0][:10]), date.fromisoformat(bounds[part][1][:10]) - timedelta(days=1))
            for part in PARTS
            if part in bounds
        },
        rows=record.get("rows", {}),
    )
