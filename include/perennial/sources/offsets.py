"""Where a look at Kafka's topics begins: after what was read, as far as the broker still has it.

>>> begins("orders", "earliest", "refuse", None, {"orders": Topic("", {0: Kept(5, 9)})}, [])
{'orders': {0: 5}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perennial.counted import counted
from perennial.errors import SourceRefused

Offsets = dict[str, dict[int, int]]  # topic -> partition -> next offset


@dataclass(frozen=True)
class Kept:
    """What the broker has of a partition."""

    low: int  # offset of the first record that was not deleted
    high: int  # offset that the next record gets


@dataclass(frozen=True)
class Topic:
    """A topic as the broker has it now."""

    id: str  # another one if it was deleted and made anew; empty if the broker does not tell
    partitions: Mapping[int, Kept]


def begins(
    dataset: str,
    start: Literal["earliest", "latest"],
    lost: Literal["refuse", "go_on"],
    watermark: Mapping[str, Any] | None,
    now: Mapping[str, Topic],
    notes: list[str],
) -> Offsets:
    """The offset from which each partition is read.

    Args:
        dataset: its name, for sentences.
        start: where the first look begins.
        lost: whether reading goes on where the broker has deleted records that were not read.
        watermark: of the last look; None at the first.
        now: the topics.
        notes: gets a sentence for what was lost.

    Raises:
        SourceRefused: a topic was made anew, or records were deleted before they were read and `lost` is `refuse`.
    """
    if watermark is None:
        return {
            name: {p: kept.low if start == "earliest" else kept.high for p, kept in topic.partitions.items()} for name, topic in now.items()
        }
    begin: Offsets = {}
    missing: list[str] = []
    offsets = 0
    for name, topic in now.items():
        known = watermark["topics"][name]
        read = {int(partition): offset for partition, offset in known["next"].items()}
        _refuse_new_topic(dataset, name, topic, known["id"], read)
        begin[name] = {}
        for partition, kept in topic.partitions.items():
            after = read.get(partition, 0)  # a partition that is new since the last look has been there from its first record on
            if kept.low > after:
                missing.append(f"{after:,} to {kept.low - 1:,} of partition {partition} of {name}")
                offsets += kept.low - after
            begin[name][partition] = max(after, kept.low)
    if missing:
        said = (
            f"the broker has deleted {counted(offsets, 'offset')} that {'was' if offsets == 1 else 'were'} not read: "
            + ", ".join(missing[:5])
            + (f" and of {counted(len(missing) - 5, 'more partition')}" if len(missing) > 5 else "")
        )
        if lost == "refuse":
            raise SourceRefused(
                f"{said[0].upper()}{said[1:]}. The records are lost for {dataset}, unless their producer can send them again: to go on "
                "with what is left, write lost='go_on' into its source. Look more often, or let the topic keep its records for longer."
            )
        notes.append(f"{said}; reading went on after them")
    return begin


def _refuse_new_topic(dataset: str, name: str, topic: Topic, known: str, read: Mapping[int, int]) -> None:
    """Raises SourceRefused where the offsets that were read are those of another topic of this name."""
    gone = sorted(set(read) - set(topic.partitions))
    behind = [p for p, kept in sorted(topic.partitions.items()) if kept.high < read.get(p, 0)]
    if known and topic.id and known != topic.id:
        why = "it has another id than the one that was read"
    elif gone:
        why = f"its partition {gone[0]} is gone"
    elif behind:
        why = f"partition {behind[0]} ends at offset {topic.partitions[behind[0]].high:,}, and was read up to {read[behind[0]]:,}"
    else:
        return
    raise SourceRefused(
        f"The topic {name} was made anew or has lost its end: {why}. Which of its records are in {dataset} is not known from their "
        f"offsets: read it from its beginning with perennial collect --dataset {dataset} --anew"
    )


def watermark_of(offsets: Offsets, now: Mapping[str, Topic]) -> dict[str, Any]:
    """The next offsets as they are kept."""
    return {
        "topics": {
            name: {"id": now[name].id, "next": {str(p): offset for p, offset in sorted(of.items())}} for name, of in sorted(offsets.items())
        }
    }
