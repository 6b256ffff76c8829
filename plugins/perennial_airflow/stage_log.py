"""The lines that a stage prints, on their way into a task's log."""

from __future__ import annotations

import logging
import re
from typing import Any

from perennial.log_lines import read_line

LOG_LINE = r"(?s)\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)"


class StageLog:
    """Passes lines on as they come, log lines at their own level.

    The stage's sentence is the last thing it prints, and the task tells it again in its own way: a line that is no log line waits here
    until another one follows. Lines may be of text or of JSON (PERENNIAL_LOG_FORMAT).
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._level = logging.INFO
        self.last = ""  # the last line, if it is no log line

    def take(self, line: str) -> None:
        """Pass on a line."""
        if self.last:
            self._log.log(self._level, "%s", self.last)
            self.last = ""
        if read := read_line(line):
            self._take_object(read)
        elif parts := re.fullmatch(LOG_LINE, line):
            self._level = logging.getLevelNamesMapping()[parts[1]]
            self._log.log(self._level, "%s", parts[2])
        else:
            self.last = line

    def _take_object(self, read: dict[str, Any]) -> None:
        """Pass on a line of JSON; the stage's sentence, which says how it ended, waits as one of text would."""
        self._level = logging.getLevelNamesMapping().get(str(read["level"]), logging.INFO)
        said = "\n".join(str(read[part]) for part in ("message", "exception") if part in read)
        if "outcome" in read:
            self.last = said
        else:
            self._log.log(self._level, "%s", said)
