"""Numbers in sentences: with their noun, such as one file, two files; and shares.

>>> from perennial.counted import counted, percent
>>> counted(1, "file"), counted(1200, "row"), counted(2, "entry", "entries")
('1 file', '1,200 rows', '2 entries')
>>> percent(0.25), percent(0.0012)
('25.0 %', '0.12 %')
"""

from __future__ import annotations


def counted(number: int, noun: str, several: str = "") -> str:
    """The number and its noun, in the singular for one; `several` is the plural where an s does not make it."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def percent(share: float) -> str:
    """A share in words; a small one keeps two digits."""
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.1f} %"
