"""Streams as a dataset's source: topics whose records come one by one, each a JSON object that becomes a row."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from perennial.specs.sources import SourceSpec


class StreamSource(SourceSpec):
    """What sources have whose records come one by one, each a JSON object that becomes a row."""

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


_MQTT_PART = re.compile(r"\{([A-Za-z_]\w*)\}")


class MqttSource(StreamSource):
    """Messages of devices, which a broker of MQTT keeps between two looks: each that is a JSON object becomes a row."""

    topic: str = Field(
        description="Topics that are read. A part in braces is a column of the dataset, `+` is any part, `#` at the end any number of "
        "them: `plant/{line}/{machine}/state`."
    )
    client: str = Field(
        default="",
        description="Name by which the broker keeps messages for this dataset; `perennial-<dataset>` if empty. Nobody else may use it.",
    )
    keep_days: float = Field(
        default=7, gt=0, description="For how long the broker is asked to keep messages while nobody looks; it may have limits of its own."
    )
    columns: dict[str, Literal["topic", "received"]] = Field(
        default_factory=dict,
        description="Columns of the dataset whose values stand beside a message and not in it: its `topic`, and when it was `received` "
        "here, since MQTT does not tell when it was sent.",
    )
    seconds: float = Field(default=60, gt=0, description="For how long one look reads at most; the next one goes on after it.")
    quiet: float = Field(default=1, gt=0, description="A look ends when no message has come for so many seconds.")

    @field_validator("topic")
    @classmethod
    def _is_a_filter(cls, topic: str) -> str:
        parts = topic.split("/")
        names = _MQTT_PART.findall(topic)
        for place, part in enumerate(parts):
            if _MQTT_PART.fullmatch(part) or part == "+" or (part == "#" and place == len(parts) - 1):
                continue
            if not topic or set(part) & set("{}+#\0"):
                raise ValueError(
                    f"the topic {topic!r} has the part {part!r}: a part is a name, a column in braces such as {{line}}, + for any, "
                    "or # at the end"
                )
        if parts[0] == "$share":
            raise ValueError("a shared subscription deals messages to several readers: name the topic without $share/<group>/")
        if len(set(names)) < len(names):
            raise ValueError(f"the topic {topic!r} has a column twice")
        return topic

    @model_validator(mode="after")
    def _has_connection(self) -> MqttSource:
        if not self.connection:
            raise ValueError("say where the broker is: connection=..., with its host and port")
        if twice := sorted(set(self.parts) & set(self.columns)):
            raise ValueError(f"{', '.join(twice)} is a part of the topic and stands in columns: leave one of them out")
        return self

    @property
    def filter(self) -> str:
        """The topic as brokers are asked for it."""
        return _MQTT_PART.sub("+", self.topic)

    @property
    def parts(self) -> dict[str, int]:
        """Columns that are parts of the topic, and which part each is, from 0 on."""
        return {part[1:-1]: place for place, part in enumerate(self.topic.split("/")) if _MQTT_PART.fullmatch(part)}

    @property
    def place(self) -> str:
        """Connection and topic."""
        return f"{self.connection}: {self.topic}"
