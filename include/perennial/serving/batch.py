"""Answers many rows as the server of a version answers requests: by the same checks and the same scorer. A row that a request would refuse
is held back with its sentence, and the others are scored.

Run as a program, `python -m perennial.serving.batch FOLDER`, it does so in the environment that runs it, where versions are served: it
reads one JSON list of rows a line and writes one JSON answer a line.

>>> import tempfile
>>> from perennial.testing import small_rows, small_version
>>> scorer = Scorer(small_version(Path(tempfile.mkdtemp()) / "version"))
>>> answers = answer(scorer, [*small_rows(2), {"carrier": "AA"}])
>>> answers.scores.shape, answers.difference < 1e-6
((2, 2), True)
>>> answers.held_back[2].partition(".")[0]
'It lacks the field origin'
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson

from perennial.serving.request import BadRequest, read_request
from perennial.serving.scorer import Scorer, ScoringFailed

ALONE = 4  # rows of those scored together that are scored alone, too, to see how far the two differ


Done = TypeVar("Done")


@dataclass(frozen=True)
class Answers:
    """The scores of some rows."""

    scores: np.ndarray  # [rows that were not held back, classes], float64, in the order of the rows
    held_back: Mapping[int, str] = field(default_factory=dict)  # why a request would refuse a row, by its place
    failed: int = 0  # of those held back, rows that fit but at which the version itself failed
    difference: float = 0.0  # the largest of a score from that of the same row alone


def answer(scorer: Scorer, rows: Sequence[Mapping[str, Any]], alone: int = ALONE) -> Answers:
    """Score rows together, as one request of those that a request may have.

    Args:
        scorer: of the version.
        rows: by the names of the inputs, as JSON can carry them.
        alone: how many of them are scored alone as well.
    """
    refused: dict[int, str] = {}
    failed: dict[int, str] = {}

    def read(places: Sequence[int]) -> Mapping[str, np.ndarray]:
        body = orjson.dumps({"data": {"rows": [dict(rows[place]) for place in places]}})
        return read_request(body, scorer.signature, len(places)).columns

    fitting, columns = _together(list(range(len(rows))), read, refused)

    def score(places: Sequence[int]) -> np.ndarray:
        return scorer.score({name: values[list(places)] for name, values in (columns or {}).items()})

    good, scores = _together(list(range(len(fitting))), score, failed)
    held_back = {**refused, **{fitting[place]: why for place, why in failed.items()}}
    if scores is None:
        return Answers(np.empty((0, len(scorer.names))), held_back, len(failed))

    def apart(place: int, together: np.ndarray) -> float:
        single = scorer.computed({name: values[[place]] for name, values in (columns or {}).items()})[0]
        return float(np.abs(single - together[: len(single)]).max())  # an alarm follows from its score

    singles = (apart(place, together) for place, together in zip(good[:alone], scores, strict=False))
    return Answers(scores, held_back, len(failed), max(singles, default=0.0))


def _together(places: list[int], act: Callable[[Sequence[int]], Done], held_back: dict[int, str]) -> tuple[list[int], Done | None]:
    """Do something with rows together, without those with which it cannot be done: these are found by halves, and told in `held_back`."""
    if not places:
        return [], None
    try:
        return places, act(places)
    except (BadRequest, ScoringFailed) as fault:
        if len(places) == 1:
            held_back[places[0]] = _of_the_row(str(fault))
            return [], None
        half = len(places) // 2
        good = [*_together(places[:half], act, held_back)[0], *_together(places[half:], act, held_back)[0]]
        return good, act(good) if good else None


def _of_the_row(sentence: str) -> str:
    """What a request of one row was told, as a sentence of that row."""
    return sentence.replace("Row 0: ", "").replace("Row 0 ", "It ")


def main(folder: Path) -> int:
    """Say whether the version may serve, then answer line by line until there are no more. What features.py prints goes to stderr."""
    out = sys.stdout.buffer
    with contextlib.redirect_stdout(sys.stderr):
        return _main(folder, out)


def _main(folder: Path, out: BinaryIO) -> int:
    try:
        scorer = Scorer(folder)
        refusal = scorer.replay()
    except ScoringFailed as error:
        refusal = str(error)
    environment = f"Python {sys.version.partition(' ')[0]}, onnxruntime {version('onnxruntime')}, numpy {version('numpy')}"
    out.write(orjson.dumps({"refusal": refusal or "", "environment": environment}, option=orjson.OPT_APPEND_NEWLINE))
    out.flush()
    if refusal:
        return 0
    for line in sys.stdin.buffer:
        answers = answer(scorer, orjson.loads(line))
        document = {
            "scores": np.ascontiguousarray(answers.scores),
            "held_back": {str(place): why for place, why in answers.held_back.items()},
            "failed": answers.failed,
            "difference": answers.difference,
        }
        out.write(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
