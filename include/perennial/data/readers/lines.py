"""Log files: each line matches the pattern that the spec declares, and its named groups are the columns."""

from __future__ import annotations

import re
from typing import IO

import pyarrow as pa

from perennial.counted import counted
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

_TOLD = 3  # lines that do not match


def read_lines(file: IO[bytes], spec: DatasetSpec, name: str, remarks: list[str]) -> pa.Table:
    """The rows of a UTF-8 file, all columns as texts. A group that is empty or a word for null is null; empty lines are none.

    A last line without a line break may be half of one, since logs grow: it is left out with a remark, and comes with the rest of it.

    Raises:
        BatchRefused: the spec has no pattern, or lines do not match it.
    """
    if not spec.files.lines:
        raise BatchRefused(
            f"{name} has lines of a log, and the spec of {spec.name} does not say how they are written: write a regular expression with a "
            'named group for each column, such as files=FileForm(lines=r"(?P<at>\\S+) (?P<level>\\w+) (?P<message>.*)").'
        )
    pattern = re.compile(spec.files.lines)
    columns: dict[str, list[str | None]] = {group: [] for group in pattern.groupindex}
    wrong: list[tuple[int, str]] = []
    many = 0
    for number, raw in enumerate(file, start=1):
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        if not line.endswith("\n"):
            remarks.append(f"{name}: the last line has no line break at its end and was left out until it has one")
            break
        if not (line := line.rstrip("\r\n")).strip():
            continue
        match = pattern.fullmatch(line)
        if match is None:
            many += 1
            if many <= _TOLD:
                wrong.append((number, line))
            continue
        for group, value in match.groupdict().items():
            columns[group].append(value if value and value not in spec.files.nulls else None)
    if wrong:
        told = "; ".join(f"line {number:,} ({line[:80]!r})" for number, line in wrong)
        more = f"; and {counted(many - len(wrong), 'more line')}" if many > len(wrong) else ""
        raise BatchRefused(
            f"{name} has lines that do not match the pattern of {spec.name}: {told}{more}. Correct files.lines in the spec if logs are "
            "written so, or leave such lines out."
        )
    return pa.table({group: pa.array(values, pa.string()) for group, values in columns.items()})
