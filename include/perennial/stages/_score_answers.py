"""Has rows scored where versions are served: in the serving environment of this machine, or, where there is none, in this process."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from perennial.answer_names import answer_names
from perennial.errors import CandidateRefused, Fault
from perennial.serving.batch import Answers, answer
from perennial.serving.scorer import Scorer, ScoringFailed
from perennial.settings import Settings

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answering:
    """A version that answers rows."""

    answers: Callable[[Rows], Answers]
    names: tuple[str, ...]  # of its scores, in their order
    inputs: tuple[str, ...]
    tolerance: float  # of its export: by how much a score may differ with the rows beside it
    where: str  # it computes, for a sentence


@contextlib.contextmanager
def answering(settings: Settings, folder: Path) -> Iterator[Answering]:
    """Load a version and have its golden rows compared, as its server does.

    Raises:
        CandidateRefused: it does not give the scores that it gave in training, or cannot be loaded.
        Fault: the serving environment does not run.
    """
    signature = json.loads((folder / "signature.json").read_text())
    names = answer_names(str(signature.get("task", "")), tuple(signature.get("classes") or ()))
    inputs = tuple(given["name"] for given in signature["inputs"])
    tolerance = float(json.loads((folder / "golden.json").read_text())["tolerance"])
    python = settings.venv("serving") / "bin" / "python"
    if not (settings.runtime == "process" and python.exists()):
        try:
            scorer = Scorer(folder)
            refusal = scorer.replay()
        except ScoringFailed as error:
            refusal = str(error)
        _refuse(refusal)
        yield Answering(lambda rows: answer(scorer, rows), names, inputs, tolerance, "the workload environment")
        return
    with subprocess.Popen(
        [str(python), "-m", "perennial.serving.batch", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            _refuse(_said(process, python)["refusal"])

            def answers(rows: Rows) -> Answers:
                document = _asked(process, python, rows)
                scores = np.array(document["scores"], dtype=np.float64).reshape(-1, len(names))
                held_back = {int(place): str(why) for place, why in document["held_back"].items()}
                return Answers(scores, held_back, int(document["failed"]), float(document["difference"]))

            yield Answering(answers, names, inputs, tolerance, "the serving environment")
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate()  # it ends when there are no more rows


def _refuse(refusal: str | None) -> None:
    if refusal:
        raise CandidateRefused(f"The version must not score. {refusal}")


def _asked(process: subprocess.Popen[bytes], python: Path, rows: Rows) -> dict[str, Any]:
    assert process.stdin is not None, "it was opened"
    with contextlib.suppress(BrokenPipeError):  # told by what it answers: nothing
        process.stdin.write(orjson.dumps(rows, option=orjson.OPT_APPEND_NEWLINE))
        process.stdin.flush()
    return _said(process, python)


def _said(process: subprocess.Popen[bytes], python: Path) -> dict[str, Any]:
    assert process.stdout is not None, "it was opened"
    line = process.stdout.readline()
    try:
        document: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        code = process.wait()
        raise Fault(
            f"The serving environment {python} ended with code {code} while it scored: what it said stands above. "
            "If the environment is damaged, run `make setup` again."
        ) from None
    return document
