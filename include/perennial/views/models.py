"""The list of models: who serves each of them, at what weight, since when and why, and what is wrong.

>>> import tempfile
>>> from perennial.store import open_store
>>> [row.sentence for row in models(open_store(tempfile.mkdtemp())).rows if row.name == "digits"]
['No version of it is trained yet. Its first training begins once its dataset digits has rows.']
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from pydantic import Field

from perennial import discovery
from perennial.counted import counted
from perennial.errors import PerennialError, StoredDataDamaged
from perennial.incidents.incidents import Incident, Incidents
from perennial.incidents.kinds import SEVERITIES, Severity
from perennial.lineage.ledger import RETIRED, WHOLE, Entry, Ledger, known_models, retired_words
from perennial.lineage.registrations import Registration, newest_registration
from perennial.lineage.trainings import last_training, verdict_key
from perennial.specs import ModelSpec
from perennial.store import Store
from perennial.views.view import View

State = Literal["serving", "releasing", "experimenting", "paused", "waiting", "nothing trained", "retired", "broken", "unknown"]
Role = Literal["champion", "candidate", "shadow", "last good", "idle"]
URGENCY: tuple[State, ...] = (
    "broken",
    "unknown",
    "paused",
    "releasing",
    "experimenting",
    "waiting",
    "serving",
    "nothing trained",
    "retired",
)

# What is said of so many models in a state.
DOING: dict[State, str] = {
    "broken": "broken", "unknown": "of unknown state", "paused": "waiting for a person's word in a release",
    "releasing": "releasing a version", "experimenting": "with an experiment between two versions",
    "waiting": "with a version that waits for its release", "serving": "serving", "nothing trained": "without a version yet",
    "retired": "retired",
}  # fmt: skip


class Served(View):
    """A version that runs."""

    version: int = Field(description="Its number in the registry.")
    share: float = Field(ge=0, le=1, description="Its share of the traffic.")
    role: Role = Field(description="Its part in the route.")
    digest: str = Field(description="Content address of its folder.")


class IncidentCount(View):
    """The open incidents of a model."""

    open: int = Field(ge=0, description="How many.")
    severity: Severity | None = Field(description="The highest severity among them; none if there are none.")
    sentence: str = Field(description="What the worst of them is, the newest of equals; empty if there are none.")


class ModelRow(View):
    """One model of the list."""

    name: str
    title: str = Field(description="Name for people; the name itself where the spec cannot be read.")
    owner: str = Field(description="Who answers for it; empty where the spec cannot be read.")
    state: State = Field(description="In a word: what is going on with it.")
    sentence: str = Field(description="The same as a sentence, with what to do if somebody has to do something.")
    serving: tuple[Served, ...] = Field(description="Versions that run, the greatest share first.")
    since: datetime | None = Field(description="When the route was changed last, UTC; none if nothing was ever released.")
    reason: str = Field(description="Why it was changed, as the ledger says.")
    actor: str = Field(description="Who changed it.")
    back_to: int | None = Field(description="The version that a rollback would go back to; none if there is none.")
    newest: int | None = Field(description="Number of the newest registered version.")
    incidents: IncidentCount


class ModelsView(View):
    """All models, those first about which somebody may have to do something."""

    rows: tuple[ModelRow, ...]

    @property
    def sentence(self) -> str:
        """What is going on with all of them."""
        counts = {state: sum(row.state == state for row in self.rows) for state in URGENCY}
        parts = [f"{count} {DOING[state]}" for state, count in counts.items() if count]
        incidents = sum(row.incidents.open for row in self.rows)
        news = f"{counted(incidents, 'incident is', 'incidents are')} open" if incidents else "no incident is open"
        return f"{counted(len(self.rows), 'model')}: {', '.join(parts)}; {news}."


def models(store: Store) -> ModelsView:
    """The list of models: those with a folder, sound or broken, and those that only the ledger knows."""
    left_out = {broken.name: broken for broken in discovery.broken() if broken.kind == "model"}
    specs = discovery.models()
    rows = [model_row(store, name, specs.get(name), left_out.get(name)) for name in sorted({*specs, *left_out, *known_models(store)})]
    return ModelsView(rows=tuple(sorted(rows, key=_urgency)))


def model_row(store: Store, name: str, spec: ModelSpec | None, broken: discovery.Broken | None = None) -> ModelRow:
    """What the list says of one model.

    Args:
        store: has its ledger, registrations and incidents. What is damaged there is said in the row and stops no other one.
        name: of the model.
        spec: its spec; None if it is broken or gone.
        broken: what is wrong with the spec.
    """
    damage: list[str] = []
    moved, last = None, None
    try:
        ledger = Ledger(store, name)
        last, moved = ledger.last(), ledger.last_move()
    except StoredDataDamaged as error:
        damage.append(str(error))
    newest = _newest(store, name, damage)
    state, sentence = _state(store, name, spec, broken, moved, newest, damage)
    return ModelRow(
        name=name,
        title=spec.title if spec else name,
        owner=spec.owner if spec else "",
        state=state,
        sentence=sentence,
        serving=served(moved),
        since=moved.time if moved else None,
        reason=moved.reason if moved else "",
        actor=moved.actor if moved else "",
        back_to=_back_to(last) if last else None,
        newest=newest.number if newest else None,
        incidents=_incidents(store, name, damage),
    )


def served(entry: Entry | None) -> tuple[Served, ...]:
    """The versions that run after an entry of the ledger, the greatest share first; none if nothing runs."""
    if entry is None or not entry.serves:
        return ()
    weights = entry.weights or {entry.version: WHOLE}
    running = {*weights, *(() if entry.shadow is None else (entry.shadow,))}
    parts = [
        Served(version=number, share=weights.get(number, 0) / WHOLE, role=_role(entry, number), digest=entry.versions[number])
        for number in running
    ]
    return tuple(sorted(parts, key=lambda part: (-part.share, part.version)))


def served_share(entry: Entry) -> float:
    """The share of the traffic that the version of an entry has from then on; a first version has all of it."""
    return next((part.share for part in served(entry) if part.version == entry.version), 0.0)


def _back_to(last: Entry) -> int | None:
    """The version that gets all traffic if somebody rolls back now: while a release or an experiment is under way the champion, else the
    last good one.
    """
    return last.champion if last.candidate is not None or last.tried is not None else last.last_good


def _role(entry: Entry, number: int) -> Role:
    roles: dict[int | None, Role] = {entry.last_good: "last good", entry.shadow: "shadow"}
    roles |= {entry.candidate: "candidate", entry.champion: "champion"}
    return roles.get(number, "idle")


def _newest(store: Store, name: str, damage: list[str]) -> Registration | None:
    try:
        return newest_registration(store, name)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return None


def _incidents(store: Store, name: str, damage: list[str]) -> IncidentCount:
    try:
        open_ones = Incidents(store, name).summary().open
    except StoredDataDamaged as error:
        damage.append(str(error))
        open_ones = ()
    worst: Incident | None = max(open_ones, key=lambda incident: (SEVERITIES.index(incident.severity), incident.opened), default=None)
    return IncidentCount(open=len(open_ones), severity=worst.severity if worst else None, sentence=worst.sentence if worst else "")


def _state(
    store: Store,
    name: str,
    spec: ModelSpec | None,
    broken: discovery.Broken | None,
    moved: Entry | None,
    newest: Registration | None,
    damage: list[str],
) -> tuple[State, str]:
    """What is going on with a model, in a word and as a sentence."""
    if damage or broken or spec is None:
        gone = f"perennial_models/{name} is gone. Put the folder back, or take the model down with `perennial retire {name}`."
        return ("broken", broken.sentence) if broken and not damage else ("unknown", damage[0] if damage else gone)
    if moved and moved.kind == RETIRED:
        return "retired", retired_words(moved)
    if moved and (moved.candidate is not None or moved.tried is not None):
        return _releasing(moved)
    versions = {} if moved is None else moved.versions
    tried = moved.version if moved and moved.kind == "experiment_ended" else None  # it was tried, not released
    if newest and newest.number > max((number for number in versions if number != tried), default=0):
        begin = f"`perennial release --model {name} --actor YOU` begins that"
        return "waiting", f"Version {newest.number} has passed the gate and waits for its release: {begin}."
    if moved is None:
        return "nothing trained", _nothing_yet(store, spec)
    return "serving", f"Version {moved.champion} serves all traffic."


def _nothing_yet(store: Store, spec: ModelSpec) -> str:
    """What a model waits for that has no version: rows, the end of its training, or a better candidate."""
    if why := refused(store, spec.name):
        return f"Its newest candidate was refused: {why}"
    if next(iter(store.list(f"tables/{spec.dataset}/_delta_log")), None) is None:
        return f"No version of it is trained yet. Its first training begins once its dataset {spec.dataset} has rows."
    dag = f"{spec.name}_training"
    return f"No version of it is trained yet. Its dataset {spec.dataset} has rows; how far the first training is, the DAG {dag} shows."


def refused(store: Store, name: str) -> str:
    """Why the gate refused the candidate that was trained last; empty if it passed, or if nothing was judged yet."""
    try:
        newest = last_training(store, name)
    except PerennialError as error:
        return str(error)
    if newest is None:
        return ""
    key = verdict_key(name, newest[0])
    try:
        verdict = json.loads(store.read(key))
        return "" if verdict["passed"] else str(verdict["sentence"])
    except (KeyError, TypeError, ValueError):
        return f"What the gate said of it cannot be read: restore {key}, or run its training again."


def _releasing(entry: Entry) -> tuple[State, str]:
    if entry.tried is not None:
        share = f"{100 * served_share(entry):g} % of the units"
        return "experimenting", f"Version {entry.tried} is tried beside version {entry.champion}, with {share}: {entry.reason}"
    share = f"at {100 * served_share(entry):g} % of the traffic" if entry.champion else "the first one, which is being started"
    if entry.kind == "paused":
        return "paused", f"The release of version {entry.version} waits for a person, {share}: {entry.reason}"
    return "releasing", f"Version {entry.version} is being released, {share}: {entry.reason}"


def _urgency(row: ModelRow) -> tuple[int, int, str]:
    """Critical incidents first, then what waits for somebody, then by name."""
    rank = SEVERITIES.index(row.incidents.severity) if row.incidents.severity else -1
    return -max(rank, 0), URGENCY.index(row.state), row.name
