"""Inputs made from a version's signature: nulls, extremes, each type, what it never saw, one row and as many as a request may have.

Whatever fits the signature must get an answer: no error of the server, and scores that are finite, of classes between 0 and 1. A refusal
(4xx) is an answer too, but for the golden rows. The same signature and golden rows always give the same inputs.

>>> from perennial.testing import INPUTS, small_rows
>>> from perennial.serving.request import read_signature
>>> made = generated(read_signature({"inputs": INPUTS}), small_rows(2))
>>> [name for name, _ in made]
['golden rows', 'one row', 'carrier', 'origin', 'scheduled_departure', 'distance', 'temp', 'nulls', 'extremes', 'mixed', 'many rows']
>>> len(made[-1][1])
10000
"""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perennial import pictures
from perennial.column_types.lists import LONGEST_WORD
from perennial.encoding import EXACT
from perennial.serving.limits import MAX_BODY_BYTES
from perennial.serving.probe import Ask
from perennial.serving.request import MAX_ROWS, Input, Signature

Row = dict[str, Any]

SEED = 2013
MIXED = 200  # rows of which each value is drawn from all that its field was given
NEVER_SEEN = "a value never seen"
TEXTS = ("", " ", NEVER_SEEN, "\U0001f469\u200d\U0001f680", "\u202eright to left", "null", "-1", "x" * 10_000)
TIMES = ("1970-01-01T00:00:00", "2000-02-29T23:59:59", "1900-01-01T00:00:00", "2262-04-11T00:00:00")
WHOLE = (0, 1, -1, 2**31, -(2**31) - 1, EXACT, -EXACT - 1, 2**63 - 1, -(2**63))
REAL = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-9, 3.4e38, -3.4e38, 1e39, sys.float_info.max, -sys.float_info.max)
LETTERS = 200  # of a row that is shown


@dataclass(frozen=True)
class Found:
    """What a version made of generated inputs."""

    requests: int
    rows: int
    refused: int  # rows to which it answered that it cannot read them
    failure: str = ""  # a clause on the first input that it fails; empty if it fails none

    @property
    def sentence(self) -> str:
        """A clause for the gate."""
        if self.failure:
            return self.failure
        refused = f", of which it refused {self.refused:,} with a sentence" if self.refused else ""
        return f"it answers {self.rows:,} generated rows in {self.requests:,} requests{refused}"


def generated(signature: Signature, golden: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Row]]]:
    """Requests by name: the golden rows, each field's values in turn, all nulls, all extremes, mixed ones, and many rows."""
    drawn = random.Random(SEED)
    base = [{given.name: row.get(given.name) for given in signature.inputs} for row in golden]
    values = {given.name: _values(given, drawn) for given in signature.inputs}
    made: list[tuple[str, list[Row]]] = [("golden rows", base), ("one row", base[:1])]
    for given in signature.inputs:
        made.append((given.name, [{**base[place % len(base)], given.name: value} for place, value in enumerate(values[given.name])]))
    nullable = {given.name: None for given in signature.inputs if given.nullable}
    if nullable:
        made.append(("nulls", [{**row, **nullable} for row in base[:1]]))
    ends = [{name: [v for v in listed if v is not None][end] for name, listed in values.items()} for end in (0, -1)]
    made.append(("extremes", ends))
    mixed = [{name: drawn.choice([row[name], *values[name]]) for name in row} for row in _repeated(base, MIXED)]
    made.append(("mixed", _fitting(mixed)))
    made.append(("many rows", _fitting(_repeated(base, MAX_ROWS))))
    return made


def try_all(ask: Ask, requests: Sequence[tuple[str, list[Row]]], *, classes: bool) -> Found:
    """Send the requests, and look for the shortest input that fails.

    Args:
        ask: answers a request.
        requests: as `generated` makes them; the golden rows must be answered with scores.
        classes: whether scores are shares of classes, between 0 and 1.
    """
    asked = rows = refused = 0
    for name, listed in requests:
        waiting = [listed]
        while waiting:
            part = waiting.pop(0)
            asked += 1
            said = _wrong(*ask(json.dumps({"data": {"rows": part}}).encode()), len(part), classes=classes)
            if said is None:
                rows += len(part)
                continue
            failed = said if not said.startswith("4") or name == "golden rows" else ""
            if len(part) > 1 and (not failed or not _fails_only_together(ask, part, classes=classes)):
                waiting = [part[: len(part) // 2], part[len(part) // 2 :], *waiting]
            elif failed:
                shown = (
                    _shown(part[0]) if len(part) == 1 else f"{len(part):,} rows of which each half is answered, such as {_shown(part[0])}"
                )
                return Found(asked, rows, refused, f"it fails a generated input ({name}): to {shown} it answers {failed}")
            else:
                rows, refused = rows + 1, refused + 1
    return Found(asked, rows, refused)


def _fails_only_together(ask: Ask, part: Sequence[Row], *, classes: bool) -> bool:
    """Whether both halves of a request that fails are answered."""
    halves = part[: len(part) // 2], part[len(part) // 2 :]
    return all(_wrong(*ask(json.dumps({"data": {"rows": half}}).encode()), len(half), classes=classes) is None for half in halves)


def _wrong(status: int, body: bytes, rows: int, *, classes: bool) -> str | None:
    """What is wrong with an answer, its status first where that is it; None for scores as they must be."""
    if status != 200:
        return f"{status or 'nothing'}: {body[:300].decode(errors='replace')}"
    try:
        scores = json.loads(body)["data"]["ndarray"]
    except (ValueError, KeyError, TypeError):
        return f"200 without scores: {body[:100].decode(errors='replace')}"
    if not isinstance(scores, list) or len(scores) != rows:
        return f"scores of {len(scores) if isinstance(scores, list) else 'no'} rows for {rows:,}"
    for listed in scores:
        for score in listed if isinstance(listed, list) else [listed]:
            if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
                return f"the score {json.dumps(score)}, which is no finite number"
            if classes and not -1e-6 <= score <= 1 + 1e-6:
                return f"the score {score:g} of a class, which must be between 0 and 1"
    return None


def _repeated(rows: Sequence[Row], count: int) -> list[Row]:
    return list(itertools.islice(itertools.cycle(rows), count))


def _fitting(rows: list[Row]) -> list[Row]:
    """As many of the rows, from the first on, as a request has room for."""
    room = MAX_BODY_BYTES - 1000
    for place, row in enumerate(rows):
        room -= len(json.dumps(row)) + 2
        if room < 0:
            return rows[: max(1, place)]
    return rows


def _shown(row: Mapping[str, Any]) -> str:
    """A row, its long values cut."""
    short = {name: f"{value[:40]}…" if isinstance(value, str) and len(value) > 40 else value for name, value in row.items()}
    text = json.dumps(short, ensure_ascii=False)
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"


def _values(given: Input, drawn: random.Random) -> list[Any]:
    """Values of a field: the least first, the greatest last, and null where it may be."""
    made = sorted(given.values, key=str) if given.values is not None else _OF_TYPE[given.type](given, drawn)
    return [*made[:-1], *([None] if given.nullable else []), made[-1]]


def _whole(given: Input, drawn: random.Random) -> list[Any]:
    return _between([*WHOLE, drawn.randrange(-1000, 1000)], given)


def _real(given: Input, drawn: random.Random) -> list[Any]:
    return _between([*REAL, drawn.gauss(0, 1000)], given)


def _between(numbers: Sequence[float], given: Input) -> list[Any]:
    """The numbers that a field may have, with its own least and greatest, in order."""
    ends = [end for end in (given.min, given.max) if end is not None]
    if given.type == "int":
        ends = [int(end) for end in ends if float(end).is_integer()]
    least, most = (-math.inf if given.min is None else given.min), (math.inf if given.max is None else given.max)
    return sorted(number for number in [*numbers, *ends] if least <= number <= most) or [given.min]


def _texts(given: Input, drawn: random.Random) -> list[Any]:
    del drawn
    return [text[: given.longest] for text in TEXTS]


def _list(given: Input, drawn: random.Random) -> list[Any]:
    of = given.of or "float"
    elements = _OF_TYPE[of](Input("", of, longest=LONGEST_WORD), drawn)
    longest = min(given.longest or 1000, 1000)
    return [[], elements[:1], elements[:longest], [drawn.choice(elements) for _ in range(longest)]]


def _array(given: Input, drawn: random.Random) -> list[Any]:
    size = math.prod(given.shape)
    noise = [drawn.gauss(0, 1) for _ in range(size)]
    flat = [[0.0] * size, noise, [-1e30] * size, [1e30] * size]
    return [[int(max(-1e9, min(1e9, value))) for value in one] if given.of == "int" else one for one in flat]


def _image(given: Input, drawn: random.Random) -> list[Any]:
    import numpy as np

    height, width = given.shape or (8, 8)
    noise = np.random.default_rng(drawn.randrange(2**32)).integers(0, 256, (height, width), dtype=np.uint8)
    made = [np.zeros((1, 1), np.uint8), np.zeros((height, width), np.uint8), noise, np.full((height, width), 255, np.uint8)]
    return [b64encode(pictures.as_png(one)).decode() for one in made]


_OF_TYPE: dict[str, Callable[[Input, random.Random], list[Any]]] = {
    "int": _whole,
    "float": _real,
    "bool": lambda given, drawn: [False, True],
    "string": _texts,
    "text": _texts,
    "timestamp": lambda given, drawn: list(TIMES),
    "list": _list,
    "array": _array,
    "image": _image,
}
