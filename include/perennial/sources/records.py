r"""Records that come one by one, each a JSON object, as lines of files that land.

What cannot be a row costs itself alone: a record that is no JSON object lands in a file of its own beside the others, and so does one whose
values do not fit the dataset's columns. Both are refused into quarantine with their reason.

    >>> as_line(b'{"id": 7,\n "km": 4.20}', {"line": "north"})
    b'{"line": "north", "id": 7,  "km": 4.20}'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from perennial.sources.interface import Look, Tally

MOST_UNFIT = 20  # records of a file that are looked for one by one; where more do not fit, its form has changed and it is refused whole
MOST_GROUPS = 400  # of lines that fit and do not fit together, before the file is refused whole


class Unreadable(ValueError):
    """A record is no JSON object; says why."""


def as_line(value: bytes, columns: Mapping[str, Any]) -> bytes:
    """A record as one line, its values as they are written, with the values of columns that stand beside it.

    Raises:
        Unreadable: it is no JSON object, or has one of these columns itself.
    """
    if value[:1] == b"\0":
        raise Unreadable("it begins with a byte 0, as records of a schema registry do (Avro, Protobuf), and is no JSON")
    try:
        text = value.decode()
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is no UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON ({error})") from None
    if not isinstance(document, dict):
        raise Unreadable("it is no JSON object")
    if twice := sorted(columns.keys() & document.keys()):
        raise Unreadable(f"it has {', '.join(twice)} itself, which the source takes from beside it")
    line = text.replace("\r", " ").replace("\n", " ").strip()  # in JSON a line break is a blank; in a text it is written \n
    if columns:
        beside, within = json.dumps(columns, ensure_ascii=False)[1:-1], line[1:-1].strip()
        line = f"{{{beside}{', ' if within else ''}{within}}}"
    try:
        return line.encode()
    except UnicodeEncodeError:
        raise Unreadable("what stands beside it is no text") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)} twice")
    return row


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


class Records:
    """The records of one file while it is written."""

    def __init__(self, look: Look, number: int) -> None:
        """An empty file of that number, which no other of the look has."""
        self._look, self._number = look, number
        self.path, self._beside = look.scratch / f"{number}.jsonl", look.scratch / f"{number}-unreadable.jsonl"
        self._file = self.path.open("wb")
        self.size = self.rows = self.unreadable = 0
        self.first = ""  # why the first of those that are no rows is none

    def add(self, place: str, value: bytes, columns: Mapping[str, Any]) -> None:
        """Add a record.

        Args:
            place: where it stood, for a person.
            value: as it came.
            columns: values of columns that stand beside it.
        """
        try:
            line = as_line(value, columns)
        except Unreadable as why:
            self.add_unreadable(place, str(why), value)
        else:
            self._file.write(line + b"\n")
            self.rows += 1
            self.size += len(line) + 1

    def add_unreadable(self, place: str, why: str, value: bytes) -> None:
        """Add one that is no row: a line that no reader takes for one, with its place and reason."""
        said = json.dumps([place, why, value.decode("utf-8", "backslashreplace")])
        with self._beside.open("ab") as file:
            file.write(said.encode() + b"\n")
        self.unreadable += 1
        self.first = self.first or f"{place}: {why}"

    def __len__(self) -> int:
        return self.rows + self.unreadable

    def files(self, name: str) -> tuple[list[tuple[str, Path]], Tally]:
        """End the file: what lands under names that begin so, and what became of the records."""
        self._name = name
        if self._look.dataset.row_id == "position":
            self._file.write(_mark(name))
        self._file.close()
        files, unfit = [], 0
        if self.rows:
            fit, unfit_lines = self._sifted()
            unfit = len(unfit_lines)
            for number, path in enumerate(fit):
                files.append((f"{name}{f'-{number + 1}' if len(fit) > 1 else ''}.jsonl", path))
            if unfit_lines:
                path = self._written(unfit_lines, "unfit")
                files.append((f"{name}-unfit.jsonl", path))
                self.first = self.first or self._look.unfit(path)
        if self.unreadable:
            files.append((f"{name}-unreadable.jsonl", self._beside))
        return files, Tally(landed=self.rows + self.unreadable, unreadable=self.unreadable + unfit)

    def _sifted(self) -> tuple[list[Path], list[bytes]]:
        """Files of the lines that fit, and those that do not."""
        if not self._look.unfit(self.path):
            return [self.path], []
        lines = [line for line in self.path.read_bytes().split(b"\n") if line.strip()]
        parts = sifted(lines, lambda part: not self._look.unfit(self._written(part, "part")))
        if parts is None:
            return [self.path], []
        fit, unfit = parts
        return [self._written(part, f"{number}") for number, part in enumerate(fit)], unfit

    def _written(self, lines: Sequence[bytes], suffix: str) -> Path:
        """A file of some of the lines."""
        path = self.path.with_name(f"{self._number}-{suffix}.jsonl")
        path.write_bytes(b"\n".join(lines) + b"\n" + (_mark(f"{self._name} {suffix}") if self._look.dataset.row_id == "position" else b""))
        return path


def _mark(name: str) -> bytes:
    """A line of blanks, another one for each name: records that are alike are two rows, and files that are alike would be one."""
    bits = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return f"{bits:064b}\n".replace("0", " ").replace("1", "\t").encode()


def sifted(lines: Sequence[bytes], fits: Callable[[Sequence[bytes]], bool]) -> tuple[list[list[bytes]], list[bytes]] | None:
    """Lines that do not fit together, apart: groups that fit, and lines that do not fit even alone. None where too many do not.

    Lines may fit alone and not together, as a number and a text under one name: then there are several groups.

    >>> sifted([b"1", b"x", b"2"], lambda part: b"x" not in part)
    ([[b'1', b'2']], [b'x'])
    """
    groups: list[list[bytes]] = []
    unfit: list[bytes] = []
    waiting = [list(lines)]
    while waiting:
        part = waiting.pop()
        if fits(part):
            groups.append(part)
        elif len(part) == 1:
            unfit += part
        else:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
        if len(unfit) > MOST_UNFIT or len(groups) > MOST_GROUPS:
            return None
    together = [line for group in groups for line in group]
    return ([together] if groups and fits(together) else groups), unfit
