"""What a reader of a kind of source gets and gives: a look, and the pieces that it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from perennial.errors import Fault
from perennial.sources.connections import Connection
from perennial.specs import DatasetSpec

Watermark = Mapping[str, Any]  # JSON; its form is the reader's own


class Tally(BaseModel):
    """What became of the rows of a piece, or of all pieces of a look."""

    model_config = ConfigDict(frozen=True)

    landed: int = Field(default=0, description="Rows in the files that landed.")
    repeated: int = Field(default=0, description="Rows that were read again by the overlap and have not changed.")
    changed: int = Field(default=0, description="Rows of those that landed which were read before, and have changed since.")
    unreadable: int = Field(default=0, description="Records of those that landed which cannot be read as rows; their file is refused.")

    def plus(self, other: Tally) -> Tally:
        """The sum of two."""
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in Tally.model_fields})


@dataclass(frozen=True)
class Piece:
    """What was read between two watermarks: files that are to land, and where reading goes on."""

    watermark: Watermark  # after this piece
    files: tuple[tuple[str, Path], ...] = ()  # name below landing/<dataset>/ without its number, such as orders.parquet, and the file
    tally: Tally = field(default_factory=Tally)
    raw: tuple[tuple[str, Path], ...] = ()  # answers as they came, which are kept: name and file
    memory: Path | None = None  # rows of the overlap, for the next look
    accepted: Callable[[], None] = field(default=lambda: None)  # called once the piece is safe: tells the server, where it asks to be told


@dataclass(frozen=True)
class Look:
    """One look at a source: what to read, from where on, and how to get in."""

    dataset: DatasetSpec
    connection: Connection | None
    watermark: Watermark | None  # of the last piece; None at the first look
    memory: Path | None  # of the last piece
    scratch: Path  # folder for files; the stage removes it
    notes: list[str]  # gets a sentence, without a full stop, for each thing that a person should know
    unfit: Callable[[Path], str] = field(default=lambda _: "")  # why a file will not be taken in; empty if it will, as far as is known

    def field(self, column: str) -> str:
        """What the source calls a column of the dataset."""
        return self.dataset.files.fields.get(column, column)


class Reader(Protocol):
    """What each file of a kind has: a function `pieces`."""

    def pieces(self, look: Look) -> Any:
        """The pieces that are new, in order; an iterator, so that the first may be safe before the last is read."""


class ComeLater(Fault):
    """The server asks to be left alone until a moment: not before then is it looked at again."""

    def __init__(self, sentence: str, at: datetime) -> None:
        super().__init__(sentence)
        self.at = at


def said(words: Exception | str) -> str:
    """What an error says, as the part of a sentence."""
    return " ".join(str(words).split())[:300].rstrip(" .?!")
