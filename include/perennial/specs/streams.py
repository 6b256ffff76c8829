"""Streams as a dataset's source: topics whose records come one by one, each a JSON object that becomes a row."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from perennial.specs.sources import SourceSpec


class StreamSource(SourceSpec):
    """What sources have whose records come one by one, each a JSON object that becomes a row."""

    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Columns of the dataset whose values stand beside a record and not in it, by what they are.",
    )
    most_records: int = Field(default=1_000_000, ge=1, description="Most records of one look; the next one goes on after them.")
    seconds: float = Field(default=300, gt=0, description="For how long one look reads at most; the next one goes on after it.")


_KAFKA_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_KAFKA_PLACE = re.compile(r"topic|partition|offset|timestamp|key(\..+)?|headers\..+")


class KafkaSource(StreamSource):
    """Topics of Kafka whose records are JSON objects: each becomes a row, once."""

    topics: tuple[str, ...] = Field(min_length=1, description="Topics that are read, all partitions of each.")
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where the first look begins: at the first record that the broker has, or after the last one."
    )
    lost: Literal["refuse", "go_on"] = Field(
        default="refuse",
        description="What happens if the broker has deleted records that were not read, since its retention is shorter than the pause "
        "between two looks: the look is refused until a person has seen it, or goes on with what is left and tells how much is missing.",
    )
    group: str = Field(
        default="",
        description="Consumer group that is told what was read, for displays of its lag; `perennial-<dataset>` if empty. "
        "Where reading goes on is known from the store alone.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Columns of the dataset whose values stand beside a record and not in it: `topic`, `partition`, `offset`, `timestamp`, "
        "`key`, a field of a key that is a JSON object such as `key.id`, or a header such as `headers.trace`.",
    )

    @field_validator("topics")
    @classmethod
    def _are_topics(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        for topic in topics:
            if not _KAFKA_TOPIC.fullmatch(topic):
                raise ValueError(f"{topic!r} is no topic: its name has letters, digits, dots, underscores and hyphens alone, 249 at most")
        if len({topic.replace(".", "_") for topic in topics}) < len(topics):
            raise ValueError("two topics have the same name, where a dot counts as an underscore: name each once")
        return topics

    @field_validator("columns")
    @classmethod
    def _are_places(cls, columns: dict[str, str]) -> dict[str, str]:
        for column, place in columns.items():
            if not _KAFKA_PLACE.fullmatch(place):
                raise ValueError(
                    f"the column {column} is taken from {place!r}, which stands beside no record: write topic, partition, offset, "
                    "timestamp, key, key.<field> or headers.<name>"
                )
        return columns

    @model_validator(mode="after")
    def _has_connection(self) -> KafkaSource:
        if not self.connection:
            raise ValueError("say where the broker is: connection=..., whose extra has bootstrap.servers")
        return self

    @property
    def place(self) -> str:
        """Connection and topics."""
        return f"{self.connection}: {', '.join(self.topics)}"
