"""Tells what became of predictions, as `perennial outcomes` does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.client.connection import connection
from perennial.client.process import run_command
from perennial.errors import UnknownName

if TYPE_CHECKING:
    import pandas


class Sentence(str):
    """Text that a notebook shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def outcomes(model: str, frame: pandas.DataFrame) -> Sentence:
    """Append outcomes to the model's table: all of them or, where a row is wrong, none; the same frame once only.

    Args:
        model: its name.
        frame: columns `prediction_id` and `outcome` (a class, or the value of a regression) and, if known, `time` (UTC where no zone is
            given; now if absent). Others are left out.

    Returns:
        What came in, in words.

    Raises:
        UnknownName: there is no such model, or a column is missing.
        Refused: a row is wrong; nothing was taken in.
    """
    from perennial.commands.outcomes import ALLOWED, WANTED

    discovery.model(model)
    if missing := sorted(WANTED - set(frame.columns)):
        raise UnknownName(f"The frame has no column {' and '.join(missing)}: outcomes need prediction_id and outcome.")
    with tempfile.TemporaryDirectory(prefix="perennial-outcomes-") as folder:
        file = Path(folder, "outcomes.parquet")
        frame[[name for name in frame.columns if name in ALLOWED]].to_parquet(file, index=False)
        return Sentence(run_command(connection().settings, "outcomes", model, str(file)))
