"""One model: what serves and why, the last decisions, its versions, its windows, its incidents.

>>> import tempfile
>>> from perennial.store import open_store
>>> model_view(open_store(tempfile.mkdtemp()), "digits").decisions
()
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice

from pydantic import Field

from perennial import discovery
from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import Severity
from perennial.learner_words import counts
from perennial.lineage.delivery import Delivery
from perennial.lineage.ledger import Entry, Kind, Ledger, known_models
from perennial.lineage.progress import progress
from perennial.lineage.registrations import Registration, registration
from perennial.lineage.version_notes import evaluated_metrics
from perennial.monitoring.report.timeline import WindowPoint, timeline
from perennial.store import Store
from perennial.views.delivery import delivery_of
from perennial.views.models import ModelRow, Role, model_row, refused, served_share
from perennial.views.view import View

DECISIONS, VERSIONS, WINDOWS = 12, 12, 90  # shown at most, the newest

# What an entry of the ledger decided, as a sentence.
SENTENCES: dict[Kind, str] = {
    "started": "The release of version {version} began.",
    "weights": "Version {version} got {share} of the traffic.",
    "paused": "The release of version {version} waits for a person, at {share} of the traffic.",
    "released": "Version {version} was released and has {share} of the traffic.",
    "promoted": "Version {version} became the champion, with {share} of the traffic.",
    "rolled_back": "Traffic was taken back from version {version}.",
    "rejected": "Version {version} was turned down.",
    "experiment": "The experiment of version {version} with the champion began.",
    "experiment_weights": "Version {version} got {share} of the units of the experiment.",
    "experiment_ended": "The experiment of version {version} with the champion ended.",
    "retired": "The model was taken down; version {version} served last.",
}


class Decision(View):
    """One entry of the ledger."""

    seq: int = Field(description="Its place in the ledger.")
    time: datetime
    kind: Kind
    version: int = Field(description="The version that it happened to.")
    share: float = Field(description="The version's share of the traffic from then on.")
    reason: str
    actor: str

    @property
    def sentence(self) -> str:
        """What was decided."""
        return SENTENCES[self.kind].format(version=self.version, share=f"{100 * self.share:g}\u00a0%")


class VersionRow(View):
    """A registered version."""

    number: int
    digest: str = Field(description="Content address of its folder.")
    registered: datetime = Field(description="When it was registered or judged last, UTC.")
    role: Role | None = Field(description="Its part in the route now; none if it does not run.")
    cause: str = Field(description="Why it was trained; empty if that is not recorded.")
    gate: str = Field(description="What the gate said of it.")
    metrics: dict[str, float] = Field(description="On the rows of its test split; empty if its evaluation is not there.")
    evaluation: str = Field(description="Path of the page of its evaluation below the reports; empty if there is none.")


class OpenIncident(View):
    """An incident that is open."""

    id: str
    kind: str
    severity: Severity
    opened: datetime
    sentence: str


class Training(View):
    """A training that runs now, or was ended without saying so."""

    sentence: str = Field(description="How far it is.")
    epoch: int = Field(description="Epochs that are done.")
    limit: int = Field(description="Epochs at most; 0 while its rows are read.")
    heard: datetime = Field(description="When it was heard of last, UTC.")
    silent: bool = Field(description="Whether that is too long ago: it was ended, or hangs.")


class ModelView(View):
    """All that the page of a model shows."""

    row: ModelRow
    decisions: tuple[Decision, ...] = Field(description="Newest first.")
    versions: tuple[VersionRow, ...] = Field(description="Newest first.")
    windows: tuple[WindowPoint, ...] = Field(description="Of live traffic, oldest first.")
    incidents: tuple[OpenIncident, ...] = Field(description="Those that are open, newest first.")
    training: Training | None = Field(description="The training that runs; none if none does.")
    refused: str = Field(description="Why the gate refused the newest candidate; empty if it was not refused.")
    delivery: Delivery = Field(description="How well new versions get into traffic, over the last 90 days.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def model_view(store: Store, name: str) -> ModelView:
    """All about one model.

    Raises:
        UnknownName: neither a folder nor the ledger has that name.
    """
    row = row_of(store, name)
    damage: list[str] = []
    decisions: tuple[Decision, ...] = ()
    try:
        decisions = tuple(map(decision_of, Ledger(store, name).newest(DECISIONS)))
    except StoredDataDamaged as error:
        damage.append(str(error))
    windows = tuple(timeline(store, name, WINDOWS, damage))
    try:
        incidents = Incidents(store, name).summary().open
    except StoredDataDamaged as error:
        damage.append(str(error))
        incidents = ()
    roles: dict[int, Role] = {part.version: part.role for part in row.serving}
    return ModelView(
        row=row,
        decisions=decisions,
        versions=tuple(_version(store, name, known, roles) for known in islice(_registered(store, name, row.newest, damage), VERSIONS)),
        windows=windows,
        training=_training(store, name),
        refused=refused(store, name),
        incidents=tuple(
            OpenIncident(id=one.id, kind=one.kind, severity=one.severity, opened=one.opened, sentence=one.sentence)
            for one in reversed(incidents)
        ),
        delivery=delivery_of(store, name, damage=damage),
        damage=tuple(dict.fromkeys(damage)),
    )


def is_known(store: Store, name: str) -> bool:
    """Whether a folder or the ledger has that name; it may be anything that somebody typed."""
    return name in discovery.models() or name in discovery.models_asked_about(None, known_models(store))


def row_of(store: Store, name: str) -> ModelRow:
    """What the list of models says of one of them. Raises UnknownName if neither a folder nor the ledger has that name."""
    discovery.models_asked_about(name, known_models(store))
    broken = next((b for b in discovery.broken() if b.kind == "model" and b.name == name), None)
    return model_row(store, name, discovery.models().get(name), broken)


def _training(store: Store, name: str) -> Training | None:
    known = progress(store, name)
    if known is None:
        return None
    spec = discovery.models().get(name)
    counted = (counts(spec.learner) if spec else "") or "epoch"
    far = f"{counted} {known.epoch} of at most {known.limit} is done" if known.limit else "its rows are read"
    loss = "" if known.loss is None else f", its loss on validation rows is {known.loss:.4g}"
    if silent := known.is_silent(datetime.now(timezone.utc)):
        sentence = f"A training said last that {far}, and nothing since: it was ended, or hangs. Its run of `{name}_training` says which."
    else:
        left = known.seconds * (known.limit - known.epoch)
        sentence = f"A training runs: {far}{loss}{f', at most {left:.0f} s to go' if known.limit else ''}."
    return Training(sentence=sentence, epoch=known.epoch, limit=known.limit, heard=known.heard, silent=silent)


def decision_of(entry: Entry) -> Decision:
    """An entry of the ledger as pages show it."""
    return Decision(
        seq=entry.seq,
        time=entry.time,
        kind=entry.kind,
        version=entry.version,
        share=served_share(entry),
        reason=entry.reason,
        actor=entry.actor,
    )


def _registered(store: Store, name: str, newest: int | None, damage: list[str]) -> Iterator[Registration]:
    """The registrations, newest first; numbers that the registry gave to nothing are passed over."""
    for number in range(newest or 0, 0, -1):
        try:
            known = registration(store, name, number)
        except StoredDataDamaged as error:
            damage.append(str(error))
            continue
        if known:
            yield known


def _version(store: Store, name: str, known: Registration, roles: dict[int, Role]) -> VersionRow:
    folder = f"{name}/{known.digest}"
    return VersionRow(
        number=known.number,
        digest=known.digest,
        registered=known.time,
        role=roles.get(known.number),
        cause=known.tags.get("cause", ""),
        gate=known.tags.get("gate", ""),
        metrics=evaluated_metrics(store, name, known.digest),
        evaluation=f"{folder}/evaluation.html" if store.exists(f"reports/{folder}/evaluation.html") else "",
    )
