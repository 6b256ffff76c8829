"""Datasets whose rows are the scores of a model: which columns they have, and which scores count. Pure.

>>> from perennial import discovery
>>> from perennial.specs import DatasetSpec
>>> declared = DatasetSpec(name="delay_scores", title="Scores", owner="ada", scores_of="flight_delays")
>>> made = with_scores(declared, discovery.model("flight_delays"), discovery.dataset("flights"))
>>> made.event_time, [column.name for column in made.columns][-4:]
('scheduled_departure', ['score_on_time', 'score_late', 'version', 'scored_at'])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from perennial.answer_names import answer_names
from perennial.specs import Column, DatasetSpec, ModelSpec

KEY = "key_"  # before the name of a key column of the scored rows, which may be any word; in the table of scores
SCORE = "score_"  # before the name of a class, there and here
VERSION, SCORED_AT = "version", "scored_at"


@dataclass(frozen=True)
class Written:
    """A commit of a table of scores: what one version gave to the rows of one day of a source."""

    commit: int
    day: date
    source: str
    version: int
    time: datetime  # UTC
    digest: str  # of its files and its place


def with_scores(declared: DatasetSpec, model: ModelSpec, rows: DatasetSpec) -> DatasetSpec:
    """A dataset with the columns that scores have: the key and the event time of the scored row, a score for each class, the version that
    gave them, and when it did.

    Args:
        declared: with `scores_of`, and no columns.
        model: whose scores they are.
        rows: the dataset of that model.

    Raises:
        ValidationError: a key of that dataset is called as one of the other columns is, or `groups` names no column.
    """
    key = tuple(plain(name) for name in rows.key_columns)
    time = plain(rows.time_column)
    named = {plain(column.name): column.model_copy(update={"name": plain(column.name)}) for column in rows.table_columns}
    answers = answer_names(model.task, model.classes)
    scored = [
        Column(name=name, type="float", meaning=f"Score of {answer} by {model.name}.")
        for name, answer in zip(score_columns(answers), answers, strict=True)
    ]
    own = {name: getattr(declared, name) for name in declared.model_fields_set - {"scores_of"}}
    made = DatasetSpec(
        **own,
        columns=(
            *(named[name] for name in dict.fromkeys((*key, time))),
            *scored,
            Column(name=VERSION, type="int", meaning=f"Version of {model.name} that gave the scores: the champion of that moment."),
            Column(name=SCORED_AT, type="timestamp", meaning="When it gave them, wall time of the dataset's zone."),
        ),
        key=key,
        event_time=time,
        time_zone=rows.time_zone,
        rows="corrected",
        on_known_key="keep_first",  # a score that was there stays: what a row saw at its moment does not change
    )
    return made.model_copy(update={"scores_of": declared.scores_of})


def score_columns(classes: Sequence[str]) -> list[str]:
    """The columns of the table of scores for the scores of each class, in their order.

    A sign that Delta Lake lets no column have is written as an underscore.

    >>> score_columns(["on time", "late", "on_time"])
    ['score_on_time', 'score_late', 'score_on_time_2']
    """
    names: list[str] = []
    for place, name in enumerate(classes):
        plain = "".join("_" if sign in " ,;{}()\n\t=" else sign for sign in name)
        taken = {one.casefold() for one in names}
        names.append(f"{SCORE}{plain}_{place}" if f"{SCORE}{plain}".casefold() in taken else f"{SCORE}{plain}")
    return names


def plain(name: str) -> str:
    """A column of the scored rows as the dataset of scores calls it: those that tables add lose their underscore."""
    return name.removeprefix("_")


def why_not(written: Written, source: str, champion: int | None, shaped: Sequence[tuple[date, date]] | None) -> str:
    """Why scores do not count, as a clause on them; empty if they do.

    Args:
        written: what was scored, when and by which version.
        source: the dataset that the model reads.
        champion: of the model at that time; None if there was none.
        shaped: first and last day of each span whose labels shaped the version; None if that is not known.
    """
    if written.source != source:
        return "are of a file or a query, and no rows of the dataset"
    if written.version != champion:
        return f"are of version {written.version}, which was not the champion when it gave them"
    if shaped is None:
        return f"are of version {written.version}, and of what it learned is not known"
    if any(first <= written.day <= last for first, last in shaped):
        return f"are of days whose labels version {written.version} learned: it knows them, and who reads it would learn from that"
    return ""
