"""The outcomes whose prediction has not come, found again without a look at all predictions: what waits is searched in new files alone.

Ids are numbers of 64 bits, sorted: among ten million of them one is taken for another once in hundreds of thousands of tables.

    >>> among(np.array([1, 5, 9], np.uint64), np.array([3, 5, 8], np.uint64))
    array([False,  True, False])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]  # sorted, each as often as it is there
_FORM = 1  # of what is kept: another one is made again


@dataclass(frozen=True)
class Waiting:
    """The outcomes whose prediction has not come, by their file."""

    seen: Collection[str] = ()  # the files of predictions in which they are not
    ids: Mapping[str, Ids] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(len(ids) for ids in self.ids.values())

    def encoded(self) -> bytes:
        """As it is kept."""
        head = {"form": _FORM, "seen": sorted(self.seen), "rows": {path: len(ids) for path, ids in self.ids.items()}}
        return b"\n".join([json.dumps(head).encode(), b"".join(ids.astype("<u8").tobytes() for ids in self.ids.values())])

    @classmethod
    def decoded(cls, data: bytes) -> Waiting | None:
        """What was kept; None if it is of another form."""
        line, _, rest = data.partition(b"\n")
        try:
            head: dict[str, Any] = json.loads(line)
            if head["form"] != _FORM or sum(head["rows"].values()) * 8 != len(rest):
                return None
            numbers = np.frombuffer(rest, "<u8").astype(np.uint64)
            ends = np.cumsum(list(head["rows"].values()))[:-1]
            return cls(frozenset(head["seen"]), dict(zip(head["rows"], np.split(numbers, ends), strict=bool(head["rows"]))))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def among(some: Ids, known: Ids) -> npt.NDArray[np.bool_]:
    """Which of some ids are among known ones; both are sorted."""
    if not len(known):
        return np.zeros(len(some), bool)
    found: npt.NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, some), len(known) - 1)] == some
    return found


def still_waiting(
    before: Waiting,
    outcomes: Collection[str],
    ids_of_outcomes: Callable[[str], Ids],
    predictions: Collection[str],
    ids_of_predictions: Callable[[str], Ids],
) -> Waiting:
    """The outcomes that wait now, given those that waited; the same object if no file came or went."""
    seen = set(before.seen) if set(before.seen) <= set(predictions) else set[str]()  # rows may have gone with a file: begin anew
    known = before.ids if seen or not before.seen else {}
    if set(predictions) == set(before.seen) and set(outcomes) == set(known):
        return before
    left = {path: known[path] if path in known else ids_of_outcomes(path) for path in outcomes}
    for path in sorted(predictions):
        searched = [one for one in outcomes if path not in seen or one not in known]
        if any(len(left[one]) for one in searched):
            ids = ids_of_predictions(path)
            left.update({one: left[one][~among(left[one], ids)] for one in searched})
    return Waiting(frozenset(predictions), left)
