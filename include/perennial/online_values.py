"""The newest values of a joined dataset by key, as servers find them: an SQLite file in the store, and a note that names the newest one.

    online/<dataset>/<key>.json                    which file, of which version of the table, with its SHA-256
    online/<dataset>/<key>/<version>-<hash>.sqlite the values: of each key the newest that has happened, and what is yet to happen

Light: the serving environment reads it with the standard library.

>>> from pathlib import Path
>>> noon = datetime(2024, 1, 1, 12)
>>> write_values(Path("values.sqlite"), [(key_text(["north"]), noon, {"waiting": 7})])
1
>>> values = Values(Path("values.sqlite"))
>>> values.find(key_text(["north"]), noon + timedelta(hours=1), timedelta(hours=2))
Found(state='found', age=datetime.timedelta(seconds=3600), values={'waiting': 7})
>>> values.find(key_text(["north"]), noon + timedelta(hours=3), timedelta(hours=2)).state
'too_old'
>>> values.find(key_text(["south"]), noon, timedelta(hours=2)).state
'unknown_key'
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["found", "too_old", "not_yet", "unknown_key", "no_key", "unavailable"]
STATES: tuple[State, ...] = ("found", "too_old", "not_yet", "unknown_key", "no_key", "unavailable")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)


@dataclass(frozen=True)
class Found:
    """What a key finds."""

    state: State  # `not_yet`: all values are of later than the row's moment; `unavailable`: there is no file
    age: timedelta | None = None  # of the newest value at the row's moment, where there is one
    values: Mapping[str, Any] = field(default_factory=dict)  # by column; none unless it is found


class Note(BaseModel):
    """Which file has the values now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="Store key of the SQLite file.")
    sha256: str
    version: int = Field(description="Version of the dataset's table.")
    columns: tuple[str, ...] = Field(description="Columns that each value has.")
    keys: int = Field(description="Rows of the file.")
    made: datetime = Field(description="When it was made, UTC.")


def note_key(dataset: str, key: Sequence[str], known_at: str = "") -> str:
    """Store key of the note on the values of a dataset by a key.

    Args:
        dataset: name of the joined dataset.
        key: its columns, as it calls them.
        known_at: its column that says when a row became known, if there is one.
    """
    named = hashlib.sha256(json.dumps([list(key), known_at]).encode()).hexdigest()[:12]
    return f"online/{dataset}/{named}.json"


def key_text(values: Iterable[object]) -> str:
    """A key as the file has it: a time by its wall time, other values as JSON has them."""
    plain = [value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value for value in values]
    return json.dumps(plain, ensure_ascii=False)


def write_values(path: Path, rows: Iterable[tuple[str, datetime, Mapping[str, Any]]]) -> int:
    """Write values by key and event time into a new file; how many there are."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("create table value (key text, time integer, columns text, primary key (key, time)) without rowid")
            lines = (
                (key, _microseconds(when), json.dumps(dict(columns), ensure_ascii=False, allow_nan=False)) for key, when, columns in rows
            )
            return connection.executemany("insert into value values (?, ?, ?)", lines).rowcount
    finally:
        connection.close()


class Values:
    """The values in a file. Several threads may ask."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._lock = threading.Lock()

    def find(self, key: str, moment: datetime, horizon: timedelta) -> Found:
        """The newest value of a key that had happened by a moment and is not older than the horizon."""
        question = "select time, columns from value where key = ? and time <= ? order by time desc limit 1"
        with self._lock:
            newest = self._connection.execute(question, (key, _microseconds(moment))).fetchone()
            if newest is None:
                later = self._connection.execute("select 1 from value where key = ? limit 1", (key,)).fetchone()
                return Found("not_yet" if later else "unknown_key")
        age = (_microseconds(moment) - newest[0]) * _MICROSECOND
        return Found("too_old", age) if age > horizon else Found("found", age, json.loads(newest[1]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _microseconds(when: datetime) -> int:
    return (when - _EPOCH) // _MICROSECOND
