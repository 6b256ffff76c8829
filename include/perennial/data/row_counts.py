"""Counts of what became of a file's rows; they always add up to the rows of the file.

>>> counts = RowCounts(added=3, repeated=1).plus(replaced=2)
>>> counts.total, counts.sentence()
(6, '3 added, 2 replaced, 1 repeated')
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RowCounts(BaseModel):
    """What became of the rows of one file."""

    model_config = ConfigDict(frozen=True)

    added: int = Field(default=0, ge=0, description="Rows with a key that was not in the table: they are in now.")
    replaced: int = Field(default=0, ge=0, description="Rows that took the place of the row with their key.")
    unchanged: int = Field(
        default=0, ge=0, description="Rows that are in the table with the same values; deletions of rows that are not in the table."
    )
    kept: int = Field(default=0, ge=0, description="Rows with other values than the row with their key, which was first and is kept.")
    older: int = Field(
        default=0, ge=0, description="Rows that are older, by `newest_by`, than another row with their key in the file or in the table."
    )
    repeated: int = Field(default=0, ge=0, description="Rows that are identical to another row of the file.")
    deleted: int = Field(default=0, ge=0, description="Tombstones that removed the row with their key.")
    cleaned: int = Field(default=0, ge=0, description="Rows that the dataset's `clean` left out, each by a rule with a name.")
    refused: int = Field(default=0, ge=0, description="Rows that were refused and lie in quarantine.")

    @property
    def total(self) -> int:
        """All rows of the file."""
        return sum(self.model_dump().values())

    @property
    def stored(self) -> int:
        """Rows that went into the table."""
        return self.added + self.replaced

    def plus(self, **more: int) -> RowCounts:
        """With further rows counted."""
        values = self.model_dump()
        for name, count in more.items():
            values[name] += count
        return RowCounts(**values)

    def sentence(self) -> str:
        """What became of how many rows, as part of a sentence."""
        return ", ".join(f"{count:,} {name}" for name, count in self.model_dump().items() if count) or "no rows"
