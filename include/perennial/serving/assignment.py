"""Which version a unit of an experiment gets: a pure function of its key, equal to what the gateway does. Light to import.

Envoy hashes the request header `x-perennial-unit` with xxHash64 (seed 0), after it has put the experiment's salt before the key, and takes
the remainder by 10,000. The versions' shares stand side by side on that line, the champion's first, and the unit gets the version on whose
share it falls. So a unit keeps its version over restarts of gateway and servers, and while shares move one way it changes at most once:
when the border between the two passes it. The salt is the experiment's own: who was together in one is spread anew in the next.

(xxHash64: Collet, "xxHash fast digest algorithm", doc/xxhash_spec.md.)

    >>> arm_of("anna", "churn-12", {7: 5_000, 8: 5_000}, champion=7)
    8
    >>> is_unit("anna"), is_unit(""), is_unit("anna, ben")
    (True, False, False)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from perennial.serving.route import WHOLE

UNIT = "x-perennial-unit"  # request header with the key of the unit that is randomised, such as a user's id
# As the gateway matches it, too, whose patterns must be small. A comma would join two headers, which Envoy hashes one by one.
UNIT_PATTERN = "[!-+.-~-]+"
LONGEST = 200  # characters of a key that is logged
_IS_UNIT = re.compile(UNIT_PATTERN)
_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def is_unit(text: str) -> bool:
    """Whether a header's value is a key: visible ASCII characters without a comma. A request with another value is in no experiment."""
    return _IS_UNIT.fullmatch(text) is not None


def unit_of(text: str | None) -> str | None:
    """The key that a request names, as it is logged; None if it names none, or what is no key, or one that is too long to be kept."""
    return text if text is not None and len(text) <= LONGEST and is_unit(text) else None


def salted(salt: str) -> str:
    """What the gateway puts before the key."""
    return f"{salt}/"


def bucket(unit: str, salt: str) -> int:
    """Where a unit stands on the line from 0 to 9,999."""
    return xxhash64((salted(salt) + unit).encode("ascii")) % WHOLE


def in_order(weights: Mapping[int, int], champion: int) -> list[int]:
    """The versions in the order in which their shares stand on the line."""
    return sorted(weights, key=lambda version: (version != champion, version))


def arm_of(unit: str, salt: str, weights: Mapping[int, int], *, champion: int) -> int:
    """The version that a unit gets.

    Args:
        unit: its key.
        salt: of the experiment.
        weights: version -> basis points of 10,000.
        champion: the version whose share stands first.
    """
    place = bucket(unit, salt)
    for version in in_order(weights, champion):
        place -= weights[version]
        if place < 0:
            return version
    raise ValueError(f"weights are {dict(weights)}: they must add up to {WHOLE}")


def xxhash64(data: bytes) -> int:
    """xxHash64 of bytes, with seed 0."""
    at, length = 0, len(data)
    found = _P5
    if length >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while at + 32 <= length:
            lanes = [_round(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at), strict=True)]
            at += 32
        found = sum(_turned(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            found = ((found ^ _round(0, lane)) * _P1 + _P4) & _MASK
    found = (found + length) & _MASK
    while at + 8 <= length:
        (word,) = struct.unpack_from("<Q", data, at)
        found = (_turned(found ^ _round(0, word), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= length:
        (word,) = struct.unpack_from("<I", data, at)
        found = (_turned(found ^ (word * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        found = _turned(found ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    found = (found ^ found >> 33) * _P2 & _MASK
    found = (found ^ found >> 29) * _P3 & _MASK
    return found ^ found >> 32


def _turned(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK


def _round(lane: int, word: int) -> int:
    return _turned((lane + word * _P2) & _MASK, 31) * _P1 & _MASK
