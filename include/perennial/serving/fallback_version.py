"""The server's view of a fallback: a version that answers by a constant or a rule. Runs in the serving environment."""

from __future__ import annotations

import json
from pathlib import Path

from perennial.serving.fallback import FallbackScorer, rule_of
from perennial.serving.scorer import Scorer
from perennial.serving.served_version import ServedVersion
from perennial.settings import Settings


class FallbackVersion(ServedVersion):
    """Serves what stands in for a version, under its number.

    Args:
        model: name of the model.
        version: number of the version that it stands in for.
        digest: content address of its folder.
        settings: where things are.
        scores: of a constant, JSON by name; empty where a rule answers.
        rule: path of `fallback.py`; empty where a constant answers.
    """

    def __init__(self, model: str, version: int, digest: str, settings: Settings, scores: str, rule: str) -> None:
        super().__init__(model, version, digest, settings)
        self._given = json.loads(scores) if scores else rule_of(Path(rule))

    def loaded(self, folder: Path) -> Scorer:
        """The fallback of the version's folder."""
        return FallbackScorer(folder, self._given)
