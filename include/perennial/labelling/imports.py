"""The store's record of imports: what each person said of each row, and which agreed labels were handed on.

`labelling/<target>/imports/<number>.json`, written once by put-if-absent: the answers that an export brought and the rows that were agreed
on with them. So an import is there whole or not at all, two at a time come one after the other, and whatever is killed after that is made
up for by the next. `labelling/<target>/landed/<number>.json` notes that the rows have been handed on.

    >>> from perennial.labelling.imports import Imports
    >>> from perennial.store import FolderStore
    >>> Imports(FolderStore("empty"), "verdicts").answers
    []
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from perennial.errors import StoredDataDamaged
from perennial.labelling.answers import Answer, Key
from perennial.labelling.consensus import Agreed
from perennial.store import Store

FORMAT = 1


@dataclass(frozen=True)
class Import:
    """One import."""

    number: int
    export: str  # SHA-256 of the export
    file: str  # its name
    at: str  # when it was imported
    rule: str  # by which labels counted as agreed, in words
    answers: tuple[Answer, ...]  # that were new
    rows: tuple[Agreed, ...]  # labels that were agreed on and not handed on before
    landed: str  # name of the file that they are handed on in; empty if there are none

    def encoded(self) -> bytes:
        """The import as it is stored."""
        return json.dumps(
            {
                "format": FORMAT,
                "export": self.export,
                "file": self.file,
                "at": self.at,
                "rule": self.rule,
                "answers": [answer.as_json() for answer in self.answers],
                "rows": [{"key": list(row.key), "label": dict(row.label), "known": row.known} for row in self.rows],
                "landed": self.landed,
            },
            ensure_ascii=False,
        ).encode()

    @classmethod
    def decoded(cls, content: bytes, key: str) -> Import:
        """An import as it was stored. Raises StoredDataDamaged if it is none that this version reads."""
        try:
            fields: dict[str, Any] = json.loads(content)
            if fields["format"] != FORMAT:
                raise StoredDataDamaged(
                    f"{key} has the format {fields['format']}, and this version of Perennial reads {FORMAT}: use a newer one."
                )
            return cls(
                number=int(key.rpartition("/")[2].removesuffix(".json")),
                answers=tuple(map(Answer.of_json, fields["answers"])),
                rows=tuple(Agreed(tuple(row["key"]), row["label"], row["known"]) for row in fields["rows"]),
                **{name: str(fields[name]) for name in ("export", "file", "at", "rule", "landed")},
            )
        except (ValueError, KeyError, TypeError):
            raise StoredDataDamaged(f"{key} is no record of an import of labels. Restore it from a copy of the store.") from None


class Imports:
    """All imports of one target, as they were when this was made."""

    def __init__(self, store: Store, target: str) -> None:
        self.store, self.target = store, target

    @cached_property
    def all(self) -> tuple[Import, ...]:
        """Every import, in order."""
        keys = [item.key for item in self.store.list(f"labelling/{self.target}/imports")]
        return tuple(Import.decoded(self.store.read(key), key) for key in keys)

    @property
    def answers(self) -> list[Answer]:
        """Every answer of every person, in the order in which they were imported."""
        return [answer for one in self.all for answer in one.answers]

    @property
    def handed_on(self) -> dict[Key, list[Agreed]]:
        """For each row the agreed labels that were handed on, in order."""
        rows: dict[Key, list[Agreed]] = {}
        for row in (row for one in self.all for row in one.rows):
            rows.setdefault(row.key, []).append(row)
        return rows

    def add(self, new: Import) -> bool:
        """Store an import as the next one; False if somebody else's took its place."""
        return self.store.put_if_absent(f"labelling/{self.target}/imports/{new.number:08d}.json", new.encoded())

    def to_hand_on(self) -> Sequence[Import]:
        """Imports whose rows are not noted as handed on."""
        done = {item.key for item in self.store.list(f"labelling/{self.target}/landed")}
        return [one for one in self.all if one.rows and self._mark(one) not in done]

    def note_handed_on(self, one: Import) -> None:
        """Note that the rows of an import have been handed on."""
        self.store.put_if_absent(self._mark(one), b"{}")

    def _mark(self, one: Import) -> str:
        return f"labelling/{self.target}/landed/{one.number:08d}.json"
