"""Replays the golden rows of a version folder in the environment that runs this: `python -m perennial.serving.replay FOLDER`.

Prints one JSON document: {"matches": true or false, "sentence": why not, "environment": what it ran with}.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from perennial.serving.scorer import Scorer, ScoringFailed


def replay(folder: Path) -> dict[str, object]:
    """The result of replaying the golden rows in this environment."""
    try:
        mismatch = Scorer(folder).replay()
    except ScoringFailed as error:
        mismatch = str(error)
    environment = f"Python {sys.version.partition(' ')[0]}, onnxruntime {version('onnxruntime')}, numpy {version('numpy')}"
    return {"matches": mismatch is None, "sentence": mismatch or "", "environment": environment}


if __name__ == "__main__":
    print(json.dumps(replay(Path(sys.argv[1]))))
