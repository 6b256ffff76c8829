"""What servers have logged and no table has yet: segments, and how far each was taken in. Light.

Below `predictions/<model>/` and `outcomes/<model>/` lie segments of JSON lines. One whose name ends with `.growing.jsonl` is written again,
longer, for a minute; a part of it may be taken and the rest later. Every other `.jsonl` is whole: what an older release wrote, or a
person. What is taken is written down in batches, `batches/<number>.json`: the parts, and how far each growing segment was taken.

    >>> growing = [Segment("a-00000001.growing.jsonl", 50, 0, ""), Segment("a-00000002.growing.jsonl", 70, 0, "")]
    >>> waiting([*growing, Segment("b.jsonl", 9, 0, "7")], {"a-00000001.growing.jsonl": 20, "a-00000002.growing.jsonl": 70})
    [Part(name='a-00000001.growing.jsonl', begin=20, end=None, etag=''), Part(name='b.jsonl', begin=0, end=None, etag='7')]
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from perennial.errors import StoredDataDamaged
from perennial.store import Store

MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS = 256 << 20, 20_000
QUIET_SECONDS = 86_400.0  # after which a growing segment is over, also if its writer never began another: it died
REMEMBERED = 500  # growing segments that are gone, of which a batch still says how far they were taken: a writer that slept may come back
_SEGMENT = re.compile(r"[^/]+\.jsonl")
_GROWING = re.compile(r"(.+)-(\d+)\.growing\.jsonl")


@dataclass(frozen=True)
class Segment:
    """A segment in a listing."""

    name: str
    size: int  # bytes
    modified: float  # seconds since the epoch
    etag: str


@dataclass(frozen=True)
class Part:
    """Some bytes of a segment."""

    name: str
    begin: int = 0
    end: int | None = None  # up to there; if None, to the segment's end, and nothing will come behind it
    etag: str = ""  # of a whole segment: another of that name is another


@dataclass(frozen=True)
class Batch:
    """The parts that are taken in with one commit."""

    number: int = 0
    parts: tuple[Part, ...] = ()
    ends: Mapping[str, int] = field(default_factory=dict)  # how far growing segments are taken once this batch is

    def encoded(self) -> bytes:
        """As it is written down."""
        parts = [[part.name, part.begin, part.end, part.etag] for part in self.parts]
        return json.dumps({"version": 2, "parts": parts, "ends": self.ends}).encode()

    def after(self, parts: Sequence[Part], listed: Collection[str]) -> Batch:
        """The batch of these parts, written down after this one; `listed` are the segments that there are."""
        ends = {**self.ends, **{part.name: part.end for part in parts if part.end is not None}}
        over = {part.name for part in parts if part.end is None}
        gone = [name for name in ends if name not in listed]
        forgotten = {*over, *gone[: max(0, len(gone) - REMEMBERED)]}
        return Batch(self.number + 1, tuple(parts), {name: end for name, end in ends.items() if name not in forgotten})


def growing_name(writer: str, number: int) -> str:
    """Name of the segment of a number that a writer lets grow."""
    return f"{writer}-{number:08d}.growing.jsonl"


def segments(store: Store, prefix: str) -> list[Segment]:
    """The segments directly below a prefix, in the order of their names."""
    return [
        Segment(name, stored.size, stored.modified, stored.etag)
        for stored in store.list(prefix)
        if _SEGMENT.fullmatch(name := stored.key.removeprefix(f"{prefix}/"))
    ]


def waiting(listed: Sequence[Segment], ends: Mapping[str, int]) -> list[Part]:
    """The parts that no batch has taken."""
    parts, over = [], _over(listed)
    for one in listed:
        begin = ends.get(one.name, 0)
        if not _GROWING.fullmatch(one.name):
            parts.append(Part(one.name, etag=one.etag))
        elif one.size > begin:
            parts.append(Part(one.name, begin, None if one.name in over else one.size))
    return parts


def finished(listed: Sequence[Segment], ends: Mapping[str, int], now: float) -> list[Segment]:
    """The growing segments that are taken whole and will not grow again: a later one of their writer is there, or it is silent for long."""
    over = _over(listed)
    return [one for one in listed if ends.get(one.name) == one.size and (one.name in over or now - one.modified > QUIET_SECONDS)]


def first_of(parts: Sequence[Part], sizes: Mapping[str, int]) -> Sequence[Part]:
    """The first parts, as many as make a batch."""
    total = 0
    for place, part in enumerate(parts, start=1):
        total += (sizes[part.name] if part.end is None else part.end) - part.begin
        if total >= MAX_BATCH_BYTES or place >= MAX_BATCH_SEGMENTS:
            return parts[:place]
    return parts


def batch_key(prefix: str, number: int) -> str:
    """Store key of a batch."""
    return f"{prefix}/batches/{number:08d}.json"


def last_batch(store: Store, prefix: str) -> Batch:
    """The batch that was written down last, taken in or not; an empty one of number 0 if there is none. One of before has whole segments.

    Raises:
        StoredDataDamaged: it does not say what it is of.
    """
    keys = [stored.key for stored in store.list(f"{prefix}/batches")]
    if not keys:
        return Batch()
    number = int(PurePosixPath(keys[-1]).stem)
    try:
        said = json.loads(store.read(keys[-1]))
        if "segments" in said:
            return Batch(number, tuple(Part(name) for name in said["segments"]))
        return Batch(number, tuple(Part(*part) for part in said["parts"]), dict(said["ends"]))
    except (ValueError, KeyError, TypeError):
        raise StoredDataDamaged(f"{keys[-1]} does not say which logged files it is of. Restore it from a copy of the store.") from None


def waiting_lines(store: Store, prefix: str) -> Iterator[bytes]:
    """The lines that no batch has taken, those written last first."""
    ends, listed = last_batch(store, prefix).ends, segments(store, prefix)
    for one in sorted(listed, key=lambda one: (one.modified, one.name), reverse=True):
        begin = ends.get(one.name, 0)
        if one.size > begin and (data := read_part(store, prefix, Part(one.name, begin))) is not None:
            yield from reversed(data.splitlines())


def read_part(store: Store, prefix: str, part: Part) -> bytes | None:
    """The bytes of a part; None if its segment is gone."""
    try:
        return store.read(f"{prefix}/{part.name}")[part.begin : part.end]
    except KeyError:
        return None


def _over(listed: Iterable[Segment]) -> set[str]:
    """Names of the growing segments whose writer has begun a later one."""
    named = [(one.name, found[1], int(found[2])) for one in listed if (found := _GROWING.fullmatch(one.name))]
    newest = {writer: number for _, writer, number in named}  # a listing is in the order of names
    return {name for name, writer, number in named if number < newest[writer]}
