"""An experiment of a model, the one under way or a past one: what it is to show, what it has shown so far, and how it ended.

>>> import tempfile
>>> from perennial.store import open_store
>>> experiment_view(open_store(tempfile.mkdtemp()), "digits").sentence
'digits has had no experiment. `perennial experiment start --help` says how one begins.'
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from perennial import discovery
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.experiments import WORDS, Look, Plan, Record, experiment_record, experiments
from perennial.lineage.ledger import Entry, Ledger, known_models
from perennial.store import Store
from perennial.views.model import row_of
from perennial.views.models import ModelRow
from perennial.views.view import View

PAST = 20  # experiments that are listed, the newest


class PastExperiment(View):
    """One line of the list."""

    began: int = Field(description="Ledger entry with which it began.")
    began_at: datetime
    champion: int
    tried: int
    words: str = Field(description="What is compared.")
    end: str = Field(description="How it ended, or that it is under way.")


class Arm(View):
    """One of the two versions."""

    version: int
    role: str = Field(description="`champion`, or `tried`.")
    units: int = Field(description="Units with a value.")
    mean: float | None = Field(description="Mean of its units.")
    came: int = Field(description="Units that came and got it.")


class ExperimentView(View):
    """The page of an experiment."""

    row: ModelRow
    began: int | None = Field(description="Ledger entry with which it began; none if there was none.")
    live: bool = Field(description="Whether it is under way.")
    state: str = Field(description="How it ended, or that it is under way.")
    sentence: str = Field(description="What was seen last, or how it ended.")
    plan: Plan | None
    looks: tuple[Look, ...] = Field(description="Oldest first.")
    arms: tuple[Arm, ...] = Field(description="The champion, then the version that is tried.")
    split: str = Field(description="How units were shared out beside how they were to be; empty before the first.")
    left_out: tuple[str, ...] = Field(description="What counts for neither version, a sentence each.")
    past: tuple[PastExperiment, ...] = Field(description="All experiments, newest first.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def experiment_view(store: Store, name: str, *, began: int | None = None) -> ExperimentView:
    """The page of an experiment.

    Args:
        store: has its record and the ledger.
        name: of the model.
        began: number of the ledger entry with which it began; the newest experiment if absent.

    Raises:
        UnknownName: there is no such model, or no such experiment.
    """
    discovery.models_asked_about(name, known_models(store))
    damage: list[str] = []
    numbers = experiments(store, name)
    if began is not None and began not in numbers:
        raise UnknownName(f"No experiment of {name} began with entry {began} of its ledger: `perennial show experiment {name}` lists them.")
    records = {number: record for number in numbers[:PAST] if (record := _record(store, name, number, damage))}
    wanted = began if began is not None else next(iter(records), None)
    if wanted is not None and wanted not in records and (found := _record(store, name, wanted, damage)):
        records[wanted] = found
    record, ledger = records.get(wanted) if wanted is not None else None, Ledger(store, name)
    try:
        last = ledger.last()
    except StoredDataDamaged as error:
        last = None
        damage.append(str(error))
    newest = next(iter(numbers), None)
    live = record is not None and last is not None and last.tried is not None and wanted == newest
    end = None if live or wanted is None else _end(ledger, wanted, damage)
    return ExperimentView(
        row=row_of(store, name),
        began=wanted if record else None,
        live=live,
        state=_state(record, end, live=live),
        sentence=_sentence(name, record, end),
        plan=record.plan if record else None,
        looks=record.looks if record else (),
        arms=_arms(record) if record else (),
        split=_split(record.looks[-1]) if record else "",
        left_out=_left_out(record.looks[-1]) if record else (),
        past=tuple(_past(number, each, is_live=live and number == newest) for number, each in records.items()),
        damage=tuple(damage),
    )


def _record(store: Store, name: str, number: int, damage: list[str]) -> Record | None:
    try:
        return experiment_record(store, name, number)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return None


def _end(ledger: Ledger, began: int, damage: list[str]) -> Entry | None:
    """The first entry after an experiment that is none of it."""
    try:
        last = ledger.last()
        for seq in range(began + 1, last.seq + 1 if last else 0):
            if (entry := ledger.entry(seq)).tried is None:
                return entry
    except StoredDataDamaged as error:
        damage.append(str(error))
    return None


def _state(record: Record | None, end: Entry | None, *, live: bool) -> str:
    if record is None:
        return "none"
    if live:
        return WORDS[""]
    verdict: Any = (end.evidence.get("experiment") or {}).get("verdict") if end else ""
    return WORDS.get(verdict, "ended") if verdict else "ended by a rollback" if end and end.kind == "rolled_back" else "ended"


def _sentence(name: str, record: Record | None, end: Entry | None) -> str:
    if record is None:
        return f"{name} has had no experiment. `perennial experiment start --help` says how one begins."
    return f"{end.time:%Y-%m-%d %H:%M} UTC, by {end.actor}: {end.reason}" if end else record.looks[-1].sentence


def _arms(record: Record) -> tuple[Arm, ...]:
    plan, look = record.plan, record.looks[-1]
    tried, units = (sum(part[place] for part in look.arrived) for place in (1, 2))
    return (
        Arm(version=plan.champion, role="champion", units=look.champion_units, mean=look.champion_mean, came=units - tried),
        Arm(version=plan.tried, role="tried", units=look.tried_units, mean=look.tried_mean, came=tried),
    )


def _split(look: Look) -> str:
    parts = [
        f"{tried:,} of {units:,} units ({100 * tried / units:.3g} %; {100 * share:g} % were due)"
        for share, tried, units in look.arrived
        if units
    ]
    if not parts:
        return ""
    doubt = "That is not what was wanted." if look.verdict == "split" else "That is as wanted, within what chance does."
    return f"The version that is tried got {', then '.join(parts)}. {doubt}"


def _left_out(look: Look) -> tuple[str, ...]:
    sentences = (
        (look.without_unit, "{:,} requests had no unit: the champion answered them, and they are in no experiment."),
        (look.crossed, "{:,} requests were answered by another version than their unit's, which had failed: they count for neither."),
        (look.changed, "{:,} units changed their version with the shares: they count no more."),
    )
    return tuple(sentence.format(count) for count, sentence in sentences if count)


def _past(number: int, record: Record, *, is_live: bool) -> PastExperiment:
    plan, last = record.plan, record.looks[-1]
    end = WORDS[""] if is_live else WORDS[last.verdict] if last.verdict else "ended"
    return PastExperiment(began=number, began_at=record.looks[0].time, champion=plan.champion, tried=plan.tried, words=plan.words, end=end)
