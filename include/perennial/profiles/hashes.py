"""Hashes of names and numbers that are the same on every machine and change with no library.

>>> name_hashes(["UA", "AA", "UA"]).tolist()
[11622072107719049310, 1739596063349772704, 11622072107719049310]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BASE = np.uint64(0x100000001B3)  # of names' hashes
INVERSE = np.uint64(pow(0x100000001B3, -1, 1 << 64))


def name_hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each name, shape [n]: its bytes as the digits of a number to an odd base, modulo 2⁶⁴, stirred. It changes with no library.

    The digits of all names stand in one row; what lies between two borders is a difference of two sums.
    """
    texts = [name.encode() for name in names]
    digits = np.frombuffer(b"".join(texts), np.uint8).astype(np.uint64) + np.uint64(1)
    borders = np.cumsum([0, *map(len, texts)])
    powers = np.cumprod(np.full(len(digits), BASE))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(digits * powers)])
    back = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(digits), INVERSE)]))
    return stirred((sums[borders[1:]] - sums[borders[:-1]]) * back[borders[:-1]])


def stirred(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers whose highest bits depend on all of theirs, in place (the finaliser of MurmurHash3, public domain)."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        numbers ^= numbers >> np.uint64(33)
        numbers *= factor
    numbers ^= numbers >> np.uint64(33)
    return numbers
