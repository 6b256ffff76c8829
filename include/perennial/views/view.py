"""The base of all views."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """An immutable object that a page or a command shows, and that `--json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")
