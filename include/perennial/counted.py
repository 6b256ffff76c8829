"""A number with its noun, in sentences: one file, two files.

>>> from perennial.counted import counted
>>> counted(1, "file"), counted(1200, "row"), counted(2, "entry", "entries")
('1 file', '1,200 rows', '2 entries')
"""

from __future__ import annotations


def counted(number: int, noun: str, several: str = "") -> str:
    """The number and its noun, in the singular for one; `several` is the plural where an s does not make it."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"
