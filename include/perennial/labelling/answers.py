"""What is asked of a person and what he answered, in one form whatever tool the answers come from.

>>> from perennial import discovery
>>> from perennial.labelling.answers import Target
>>> target = Target.of_outcomes(discovery.model("flight_delays"))
>>> [column.name for column in (*target.key, *target.labels)]
['prediction_id', 'outcome']
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from perennial.clock import UTC, WITH_OFFSET, moment, wall_time
from perennial.encoding import FALSE, TRUE, text
from perennial.specs import Column, DatasetSpec, ModelSpec

Key = tuple[str, ...]
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(\.0)?")
PREDICTION_ID, OUTCOME, TIME = "prediction_id", "outcome", "time"


@dataclass(frozen=True)
class Target:
    """What labels are of: the columns that name a row, and those that a person fills in.

    Attributes:
        name: of the label feed, or of the model's outcomes.
        key: columns that name a row.
        labels: columns that a person fills in.
        known: column of the time at which a label became known.
        time_zone: of times without an offset.
    """

    name: str
    key: tuple[Column, ...]
    labels: tuple[Column, ...]
    known: str
    time_zone: str = UTC

    @classmethod
    def of_feed(cls, feed: DatasetSpec) -> Target:
        """Labels that land in a label feed: its key without the time is a row's, all other columns are labels."""
        key = tuple(column for column in feed.columns if column.name in feed.key and column.name != feed.event_time)
        taken = (*(column.name for column in key), feed.event_time)
        return cls(feed.name, key, tuple(c for c in feed.columns if c.name not in taken), feed.event_time, feed.time_zone)

    @classmethod
    def of_outcomes(cls, model: ModelSpec) -> Target:
        """Labels of served predictions: they become outcomes of the model."""
        outcome = Column(name=OUTCOME, type="string" if model.classes else "float")
        return cls(f"{model.name}_outcomes", (Column(name=PREDICTION_ID, type="string"),), (outcome,), TIME)

    @classmethod
    def of_rows(cls, dataset: DatasetSpec) -> Target:
        """Rows of a dataset that nobody can label, for want of a label feed."""
        return cls(dataset.name, tuple(dataset.column(name) for name in dataset.key_columns), (), "", dataset.time_zone)

    @property
    def deciding(self) -> tuple[str, ...]:
        """Label columns on which people must agree: those that are never missing; all if each may be."""
        return tuple(c.name for c in self.labels if not c.nullable) or tuple(c.name for c in self.labels)

    def label(self, name: str) -> Column:
        """The label column of that name; the first where there is none."""
        return next((column for column in self.labels if column.name == name), self.labels[0])

    def key_of(self, row: Mapping[str, Any]) -> Key:
        """The key of a row as texts; a key that is written in another way is the same one."""
        return tuple(plain(row.get(column.name), column, self.time_zone) for column in self.key)

    def words_of(self, key: Key) -> str:
        """A row for a person: its key columns with their values."""
        return ", ".join(f"{column.name} {value}" for column, value in zip(self.key, key, strict=True))

    def moment(self, known: str) -> datetime:
        """The moment of a time as it is written. Raises ValueError if it is none."""
        return moment(wall_time(known, UTC)) if has_offset(known) else moment(wall_time(known), self.time_zone)


@dataclass(frozen=True)
class Answer:
    """What one person said of one row.

    Attributes:
        key: of the row, as texts.
        person: who said it; empty where the tool does not tell.
        label: value of each label column as text; empty where the person gave none.
        known: when, as it was written: ISO 8601; empty where the tool does not tell.
    """

    key: Key
    person: str
    label: Mapping[str, str]
    known: str = ""

    def as_json(self) -> dict[str, Any]:
        """The answer as it is stored."""
        return {"key": list(self.key), "person": self.person, "label": dict(self.label), "known": self.known}

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> Answer:
        """An answer as it was stored."""
        return cls(tuple(fields["key"]), fields["person"], fields["label"], fields["known"])


def plain(value: Any, column: Column, time_zone: str = UTC) -> str:
    """A value as text, in the one way in which values that mean the same are written alike; empty if there is none.

    What is not of the column's type stays as it is: ingestion refuses it with its own sentence.
    """
    written = (text(value) or "").strip()
    if not fits(written, column, time_zone):
        return written
    if column.type == "bool":
        return next((words[0] for words in (TRUE, FALSE) if written.casefold() in words), written)
    if column.type in ("int", "float"):
        return _number(written, whole=column.type == "int")
    if column.type == "timestamp" and written:
        return wall_time(written, time_zone).isoformat()
    return written


def fits(written: str, column: Column, time_zone: str = UTC) -> bool:
    """Whether ingestion would read this text as a value of the column; what is empty is no value, and fits."""
    if column.type == "bool":
        return written.casefold() in ("", *TRUE, *FALSE)
    if column.type == "int" and written:
        return bool(_WHOLE.fullmatch(written)) and -(2**63) <= int(written.removesuffix(".0")) < 2**63
    if column.type == "float" and written:
        return bool(_NUMBER.fullmatch(written)) and math.isfinite(float(written))
    if column.type == "timestamp" and written:
        try:
            return bool(moment(wall_time(written, time_zone), time_zone))
        except ValueError:
            return False
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in written)  # neither is text in a file


def _number(written: str, *, whole: bool) -> str:
    return "" if not written else str(int(written.removesuffix(".0"))) if whole else text(float(written)) or written


def has_offset(known: str) -> bool:
    """Whether a time is written with its offset from UTC."""
    return re.fullmatch(WITH_OFFSET, known) is not None


def people_of(answers: Sequence[Answer]) -> list[str]:
    """The people who answered, in order of their names."""
    return sorted({answer.person for answer in answers})


def now_text() -> str:
    """This moment, as a time is written."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
