"""The ledger of a model page by page, what served at a moment, and which version answered a prediction.

>>> import tempfile
>>> from perennial.store import open_store
>>> ledger_view(open_store(tempfile.mkdtemp()), "digits").entries
()
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from itertools import islice
from typing import get_args

from pydantic import Field, JsonValue

from perennial import discovery
from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import WHOLE, Entry, Kind, Ledger, Line, known_models
from perennial.served_ids import find_ids
from perennial.served_log import Part, read_part, segments
from perennial.store import Store
from perennial.views.view import View

ROWS = 50  # entries of a page
SEGMENTS, BYTES = 400, 32 << 20  # of the servers' log that are looked through, the newest
KINDS: tuple[Kind, ...] = get_args(Kind)
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,160}")


class LedgerEntry(View):
    """One entry."""

    seq: int = Field(description="Its place in the ledger.")
    time: datetime
    kind: Kind
    version: int = Field(description="The version that it happened to.")
    champion: int | None
    shares: dict[int, float] = Field(description="Share of the traffic of each version that has some from then on.")
    shadow: int | None
    reason: str
    actor: str
    evidence: dict[str, JsonValue] = Field(description="Figures behind the decision.")
    hash: str


class LedgerView(View):
    """A page of a model's ledger."""

    model: str
    kind: Kind | None = Field(description="Which kind is shown; all if none.")
    total: int = Field(description="Entries of the ledger.")
    counts: dict[str, int] = Field(description="Entries of each kind.")
    entries: tuple[LedgerEntry, ...] = Field(description="Newest first.")
    older: int | None = Field(description="Entries before this place are older than those that are shown; none if there are none.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


class MomentView(View):
    """What served at a moment."""

    model: str
    time: datetime
    entry: LedgerEntry | None = Field(description="The entry that held then; none before the first.")
    sentence: str = Field(description="Which versions served at which weight, and why.")


class Answer(View):
    """One row that a version answered."""

    id: str
    version: int
    time: datetime
    shadow: bool = Field(description="Whether nobody saw the answer.")
    batch: str = Field(default="", description="What was scored in a batch, as source, version and day; empty if a caller asked.")


class AnswerView(View):
    """Which version answered a prediction."""

    model: str
    id: str
    answers: tuple[Answer, ...] = Field(
        description="One for each row of the request, and for each version that answered it; once it was collected, one for all rows."
    )
    sentence: str
    command: str = Field(description="What looks through all that was ever answered; empty if the answer is here.")


def ledger_view(store: Store, name: str, kind: Kind | None = None, before: int | None = None) -> LedgerView:
    """A page of the ledger.

    Args:
        store: has it.
        name: of the model.
        kind: show entries of this kind alone.
        before: show those that come before this place.

    Raises:
        UnknownName: there is no such model.
    """
    discovery.models_asked_about(name, known_models(store))
    ledger, damage = Ledger(store, name), list[str]()
    lines: list[Line] = []
    try:
        lines = ledger.lines()
    except StoredDataDamaged as error:
        damage.append(str(error))
    fitting = (line.seq for line in lines if kind in (None, line.kind) and (before is None or line.seq < before))
    places = list(islice(fitting, ROWS + 1))
    entries = []
    for seq in places[:ROWS]:
        try:
            entries.append(entry_of(ledger.entry(seq)))
        except StoredDataDamaged as error:
            damage.append(str(error))
    return LedgerView(
        model=name,
        kind=kind,
        total=len(lines),
        counts=dict(Counter(line.kind for line in lines)),
        entries=tuple(entries),
        older=places[ROWS - 1] if len(places) > ROWS else None,
        damage=tuple(damage),
    )


def moment_view(store: Store, name: str, time: datetime) -> MomentView:
    """What served at a moment.

    Raises:
        UnknownName: there is no such model.
        StoredDataDamaged: an entry that tells it cannot be read.
    """
    discovery.models_asked_about(name, known_models(store))
    entry = Ledger(store, name).served_at(time)
    return MomentView(model=name, time=time, entry=entry_of(entry) if entry else None, sentence=describe(name, time, entry))


def answer_view(store: Store, name: str, id: str) -> AnswerView:
    """Which version answered a prediction, as far as the servers' log and the index of those that were collected tell.

    The newest megabytes of both are looked through. The table of all that was ever answered is read by the command of the answer.

    Args:
        store: has the log.
        name: of the model.
        id: of a prediction, `meta.puid` of its answer, or of one row of it: with `-` and the place of the row.

    Raises:
        UnknownName: there is no such model.
    """
    discovery.models_asked_about(name, known_models(store))
    if not ID.fullmatch(id):
        said = "No prediction has such an id: it has letters, digits and the signs . _ : - and begins with a letter or a digit."
        return AnswerView(model=name, id=id, answers=(), sentence=said, command="")
    answers = recent_answers(store, name, id)
    if answers:
        return AnswerView(model=name, id=id, answers=answers, sentence=answer_words(name, id, answers), command="")
    return AnswerView(
        model=name,
        id=id,
        answers=(),
        sentence=f"None of the newest predictions that callers asked for has the id {id}. All that there ever were are in a table: "
        "the command looks it through.",
        command=f"perennial served-at --model {name} --prediction {id}",
    )


def recent_answers(store: Store, model: str, id: str) -> tuple[Answer, ...]:
    """The answers to a prediction that the servers' log or its index has: each row in the log, and the request for any other version.

    The newest 32 MB of each are looked through.
    """
    logged = _logged_answers(store, model, id)
    seen = {(answer.version, answer.shadow) for answer in logged}
    found = (Answer(id=id, version=one.version, time=one.time, shadow=one.shadow) for one in find_ids(store, model, id))
    both = [*logged, *(answer for answer in found if (answer.version, answer.shadow) not in seen)]
    return tuple(sorted(both, key=lambda answer: (answer.time, answer.id)))


def _logged_answers(store: Store, model: str, id: str) -> list[Answer]:
    """The answers to a prediction in the segments of the log, of which some may be in the table, too."""
    prefix, wanted = f"predictions/{model}", id.encode()
    answers, size = [], 0
    for one in sorted(segments(store, prefix), key=lambda one: one.modified, reverse=True)[:SEGMENTS]:
        size += one.size
        if size > BYTES:
            break
        lines = (read_part(store, prefix, Part(one.name)) or b"").split(b"\n")
        answers += [answer for line in lines if wanted in line and (answer := _answer(line, id))]
    return answers


def is_row_of(row: str, id: str) -> bool:
    """Whether the id of a row is an id, or of a row of the prediction of that id."""
    return row == id or (row.startswith(f"{id}-") and row.removeprefix(f"{id}-").isdecimal())


def answer_words(model: str, id: str, answers: tuple[Answer, ...]) -> str:
    """Which versions answered a prediction, as a sentence."""
    seen = sorted({answer.version for answer in answers if not answer.shadow and not answer.batch})
    scored = sorted({(answer.version, answer.batch) for answer in answers if answer.batch})
    shadows = sorted({answer.version for answer in answers if answer.shadow})
    parts = [f"version {' and version '.join(map(str, seen))} answered it"] if seen else []
    parts += [f"version {' and version '.join(map(str, shadows))} answered it in the shadow, which nobody saw"] if shadows else []
    parts += [f"version {version} scored it in a batch ({batch})" for version, batch in scored]
    return f"Prediction {id} of {model}: {'; '.join(parts)}, on {answers[0].time:%Y-%m-%d %H:%M:%S} UTC."


def describe(model: str, time: datetime, entry: Entry | None) -> str:
    """A paragraph on what served at `time`, given the entry that held then."""
    when = f"{time:%Y-%m-%d %H:%M:%S %Z}".strip()
    serving = {} if entry is None else {number: weight for number, weight in entry.weights.items() if weight}
    if entry is None or not serving:
        because = f": {entry.reason}" if entry else ""
        return f"{model}: nothing served at {when}{because}"
    shares = [
        f"version {number} ({entry.versions[number][:12]}) {100 * weight / WHOLE:g} %"
        for number, weight in sorted(serving.items(), key=lambda pair: -pair[1])
    ]
    shadow = "" if entry.tried is None else " of the units of an experiment, all else the champion"
    shadow += "" if entry.shadow is None else f", version {entry.shadow} in the shadow"
    return (
        f"{model} at {when}: {', '.join(shares)}{shadow}.\n  Since {entry.time:%Y-%m-%d %H:%M:%S} UTC ({entry.kind}, "
        f"entry {entry.seq}, by {entry.actor}): {entry.reason}"
    )


def entry_of(entry: Entry) -> LedgerEntry:
    """An entry as pages show it."""
    return LedgerEntry(
        seq=entry.seq,
        time=entry.time,
        kind=entry.kind,
        version=entry.version,
        champion=entry.champion,
        shares={number: weight / WHOLE for number, weight in sorted(entry.weights.items()) if weight},
        shadow=entry.shadow,
        reason=entry.reason,
        actor=entry.actor,
        evidence=entry.evidence,
        hash=entry.hash,
    )


def _answer(line: bytes, id: str) -> Answer | None:
    try:
        said = json.loads(line)
        row = str(said["id"])
        answer = Answer(id=row, version=said["version"], time=said["time"], shadow=said.get("shadow") is True)
    except (KeyError, TypeError, ValueError, AttributeError):  # monitoring sets it aside, and says so
        return None
    return answer if is_row_of(row, id) else None
