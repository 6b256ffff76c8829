"""Topics of Kafka, read by librdkafka up to where they ended when the look began: each record that is a JSON object becomes a row, once.

The offset that comes next of each partition stands in the store with what landed, and it alone says where reading goes on. The consumer
group is told afterwards, for displays of its lag. Partitions are assigned and not subscribed to, so that no other member of the group takes
one away in the middle.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from perennial.counted import counted
from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources.connections import Connection
from perennial.sources.interface import Look, Piece, Tally, said
from perennial.sources.offsets import Kept, Offsets, Topic, begins, watermark_of
from perennial.sources.records import Records
from perennial.specs import Column, KafkaSource

SECONDS_TO_ANSWER = 10.0  # for a broker that is asked for what it has
SILENCE = 30.0  # seconds without a record, before the end of what is there, after which a look gives up
_AT_ONCE = 500  # messages that are asked for at a time
_DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
_LATER = (KafkaError._WAIT_COORD, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
_CALLED = ("error_cb", "throttle_cb", "stats_cb", "log_cb", "oauth_cb", "on_commit", "logger")  # are code, which no connection holds
# What no connection may change: who reads, how far, and that nothing is told before it is safe.
_OURS: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
}
log = logging.getLogger(__name__)


def pieces(look: Look) -> Iterator[Piece]:
    """The records that are new, in files named by topic, partition and offsets.

    Raises:
        SettingMissing: the connection names no broker, or has a setting that librdkafka does not know.
        SourceRefused: a topic is not there, may not be read, was made anew, or records were deleted before they were read.
        SourceUnreachable: no broker answers.
    """
    source = cast(KafkaSource, look.dataset.source)
    assert look.connection is not None
    client = _Client(look, source, look.connection)
    try:
        yield from _Reading(look, source, client).pieces()
    finally:
        client.close()


class _Reading:
    """The reading of the topics of one source during one look."""

    def __init__(self, look: Look, source: KafkaSource, client: _Client) -> None:
        self.look, self.source, self.client = look, source, client
        self.beside = _columns(look, source)
        self.now: dict[str, Topic] = {}
        self.next: Offsets = {}
        self.files: dict[tuple[str, int], _File] = {}
        self.written = self.deleted = 0  # files, and records without a value that were left out

    def pieces(self) -> Iterator[Piece]:
        """One for each `file_rows` records."""
        self.now = {name: self.client.topic(name) for name in self.source.topics}
        self.next = begins(self.look.dataset.name, self.source.start, self.source.lost, self.look.watermark, self.now, self.look.notes)
        if self.look.watermark is not None:
            self.client.tell_if_behind(self.next)
        kept = self.look.watermark
        for message in self._messages():
            if self._is_full(message):
                kept = self._watermark()
                yield self._piece()
            self._take(message)
        if self._watermark() != kept:
            yield self._piece()
        self._tell()

    def _watermark(self) -> dict[str, Any]:
        return watermark_of(self.next, self.now)

    def _messages(self) -> Iterator[Message]:
        """The messages up to the ends of now; afterwards `next` stands behind each that was used."""
        ends = {(name, p): kept.high for name, topic in self.now.items() for p, kept in topic.partitions.items()}
        behind = {at for at, end in ends.items() if self.next[at[0]][at[1]] < end}
        if not behind:
            return
        self.client.read({at: self.next[at[0]][at[1]] for at in behind})
        left, began = self.source.most_records, time.monotonic()
        while behind and left > 0 and time.monotonic() - began < self.source.seconds:
            for message in self.client.messages(min(left, _AT_ONCE)):
                at = (str(message.topic()), cast(int, message.partition()))
                offset = cast(int, message.offset())
                if at not in behind:
                    continue
                if message.error() is None:
                    if offset < ends[at]:
                        yield message
                        left -= 1
                        self.next[at[0]][at[1]] = offset + 1
                else:  # its end: behind the last record may be marks of transactions, which take offsets too
                    self.next[at[0]][at[1]] = max(self.next[at[0]][at[1]], offset)
                if message.error() is not None or offset + 1 >= ends[at]:
                    behind.discard(at)
                    self.client.leave(at)
        if behind:
            offsets = sum(ends[at] - self.next[at[0]][at[1]] for at in behind)
            self.look.notes.append(f"the next look goes on with {counted(offsets, 'offset')} that {'is' if offsets == 1 else 'are'} left")

    def _is_full(self, message: Message) -> bool:
        """Whether what was read has to land before that message is added."""
        rows = sum(len(file.records) for file in self.files.values())
        if rows >= self.source.file_rows:
            return True
        file = self.files.get((str(message.topic()), cast(int, message.partition())))
        size = len(message.value() or b"") + 1000 * len(self.beside)
        return file is not None and file.records.rows > 0 and file.records.size + size > self.look.dataset.max_batch_bytes

    def _take(self, message: Message) -> None:
        at = (str(message.topic()), cast(int, message.partition()))
        offset = cast(int, message.offset())
        value, deletes = message.value(), self.look.dataset.deleted
        if value is None and not deletes:
            self.deleted += 1
            return
        file = self.files.get(at)
        if file is None:
            self.written += 1
            file = self.files[at] = _File(Records(self.look, self.written), offset)
        file.last = offset
        place = f"{at[0]}, partition {at[1]}, offset {offset}"
        columns, why = {}, ""
        for name, read in self.beside.items():
            try:
                columns[name] = read(message)
            except ValueError as error:
                why = f"its {error}"
        if value is None:
            columns = {**dict.fromkeys(self.look.field(column.name) for column in self.look.dataset.columns), **columns}
            columns[self.look.field(deletes)] = True
            keys = [self.look.field(key) for key in self.look.dataset.key]
            if lacking := [key for key in keys if columns.get(key) is None]:
                why = why or f"it has no value, which deletes a row, and its key does not say the {', '.join(lacking)} of which"
        if why:
            file.records.add_unreadable(place, why, value or b"")
        else:
            file.records.add(place, b"{}" if value is None else value, columns)

    def _piece(self) -> Piece:
        """What was read so far."""
        files, tally = [], Tally()
        for (topic, number), file in sorted(self.files.items()):
            name = f"{topic.replace('.', '_')}-{number}-{file.first:020d}-{file.last:020d}"
            written, counts = file.records.files(name)
            files += written
            tally = tally.plus(counts)
            if counts.unreadable:
                self.look.notes.append(f"{counted(counts.unreadable, 'record')} of {topic}, first {file.records.first.rstrip('.')}")
        self.files = {}
        offsets = {topic: dict(of) for topic, of in self.next.items()}
        return Piece(self._watermark(), tuple(files), tally, accepted=partial(self.client.tell, offsets))

    def _tell(self) -> None:
        if self.deleted:
            said = f"{counted(self.deleted, 'record')} without a value {'was' if self.deleted == 1 else 'were'} left out"
            self.look.notes.append(
                f"{said}: they delete what has their key, and no column of {self.look.dataset.name} says so (deleted=...)"
            )


class _File:
    """The records of one partition since the last piece."""

    def __init__(self, records: Records, first: int) -> None:
        self.records, self.first, self.last = records, first, first


def _columns(look: Look, source: KafkaSource) -> dict[str, Callable[[Message], Any]]:
    """How the columns that stand beside a record are read, by their names in the file."""
    columns = {column.name: column for column in look.dataset.columns}
    if unknown := sorted(source.columns.keys() - columns.keys()):
        raise SourceRefused(
            f"The source of {look.dataset.name} fills {', '.join(unknown)}, and the dataset has no such column: "
            "add it to the columns of the spec, or take it out of the source."
        )
    return {look.field(name): partial(_beside, place, columns[name]) for name, place in source.columns.items()}


def _beside(place: str, column: Column, message: Message) -> Any:
    """What stands beside a record. Raises ValueError where it is not as the spec says."""
    what, _, name = place.partition(".")
    if what == "headers":
        headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
        values = [value for key, value in headers if key == name]
        return _text(values[-1], f"header {name}") if values else None
    if what == "key":
        key = _text(message.key(), "key")
        return _field(key, name) if name and key is not None else key
    if what == "timestamp":
        kind, milliseconds = message.timestamp()
        if not kind:
            return None
        at = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
        return milliseconds if column.type in ("int", "float") else at.isoformat(timespec="milliseconds")
    return {"topic": message.topic, "partition": message.partition, "offset": message.offset}[what]()


def _text(value: str | bytes | None, what: str) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise ValueError(f"{what} is no text") from None


def _field(key: str, name: str) -> Any:
    try:
        value = json.loads(key)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("key is no JSON object")
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


class _Client:
    """librdkafka's consumer, whose errors are sentences here."""

    def __init__(self, look: Look, source: KafkaSource, connection: Connection) -> None:
        self.look, self.source = look, source
        self.settings = _settings(look, source, connection)
        self.group = str(self.settings["group.id"])
        self.said: KafkaError | None = None  # what librdkafka told last, beside answers to questions
        self.untold = False
        try:
            self.consumer = Consumer({**self.settings, "error_cb": self._hear}, logger=log)
        except (KafkaException, TypeError, ValueError) as error:
            raise SettingMissing(
                f"The connection {source.connection} has a setting that librdkafka does not take: {self._hidden(_words(error))}. "
                "Its extra holds librdkafka's configuration, by its names."
            ) from None

    def close(self) -> None:
        """Leave the brokers."""
        self.consumer.close()

    def topic(self, name: str) -> Topic:
        """What the brokers have of a topic."""
        with self._sentences():
            found = self.consumer.list_topics(name, timeout=SECONDS_TO_ANSWER).topics[name]
        if found.error is not None and found.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID):
            raise SourceRefused(
                f"The broker of {self.source.connection} has no topic {name}, or does not show it to this user: correct the source of "
                f"{self.look.dataset.name}, make the topic, or give the user the right to describe it."
            )
        if found.error is not None:
            self._refuse(found.error, f"The topic {name}")
        kept = {}
        with self._sentences():
            for number in found.partitions:
                low, high = self.consumer.get_watermark_offsets(TopicPartition(name, number), timeout=SECONDS_TO_ANSWER, cached=False)
                kept[number] = Kept(low, high)
        return Topic(self._id(name), kept)

    def _id(self, name: str) -> str:
        """The id of a topic; empty where the broker has none, which those before Kafka 2.8 have not."""
        admin = AdminClient({key: value for key, value in self.settings.items() if key not in ("group.id", *_OURS)}, logger=log)
        try:
            return str(admin.describe_topics(TopicCollection([name]), request_timeout=SECONDS_TO_ANSWER / 2)[name].result().topic_id)
        except KafkaException as error:
            log.info("The broker does not tell the id of the topic %s: %s.", name, _words(error))
            return ""

    def read(self, offsets: dict[tuple[str, int], int]) -> None:
        """Begin to read from these offsets."""
        self.consumer.assign([TopicPartition(name, number, offset) for (name, number), offset in offsets.items()])
        self.heard = time.monotonic()

    def leave(self, at: tuple[str, int]) -> None:
        """Read no more of a partition."""
        self.consumer.pause([TopicPartition(*at)])

    def messages(self, most: int) -> Iterator[Message]:
        """The next messages, and ends of partitions; none if there is none for a moment.

        Raises:
            SourceUnreachable: none has come for too long.
        """
        found = self.consumer.consume(most, timeout=1)
        if found:
            self.heard = time.monotonic()
        elif time.monotonic() - self.heard > SILENCE or self._is_denied():
            self._refuse(self.said, "The topics")
        for message in found:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._refuse(error, f"Partition {message.partition()} of {message.topic()}")
            yield message

    def tell(self, offsets: Offsets) -> None:
        """Commit what is safe for the group. What cannot be told costs nothing but the display of a lag."""
        positions = [TopicPartition(name, p, offset) for name, of in offsets.items() for p, offset in of.items()]
        until = time.monotonic() + SECONDS_TO_ANSWER
        while True:
            try:
                told = self.consumer.commit(offsets=positions, asynchronous=False)
                error = next((position.error for position in told or () if position.error), None)
            except KafkaException as raised:
                error = raised.args[0]
            if error is None or error.code() not in _LATER or time.monotonic() > until:
                break
            time.sleep(0.2)
        if error is not None and not self.untold:
            self.untold = True
            self.look.notes.append(f"the group {self.group} could not be told what was read ({error.str()}), so its lag is shown wrong")

    def tell_if_behind(self, offsets: Offsets) -> None:
        """Commit what an earlier look made safe and could not tell, as one that was killed."""
        positions = [TopicPartition(name, p) for name, of in offsets.items() for p in of]
        try:
            known = self.consumer.committed(positions, timeout=SECONDS_TO_ANSWER)
        except KafkaException as error:
            log.info("The group %s cannot be asked: %s.", self.group, _words(error))
            return
        if any(position.offset != offsets[position.topic][position.partition] for position in known):
            self.tell(offsets)

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.said is None:  # why is told before
            self.said = error

    def _is_denied(self) -> bool:
        return self.said is not None and self.said.code() in (KafkaError._AUTHENTICATION, *_DENIED)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self.consumer.poll(0)  # what librdkafka has to say beside
            self._refuse(self.said or error.args[0], "The topics")

    def _refuse(self, error: KafkaError | None, what: str) -> None:
        """Raises the error that fits what librdkafka says."""
        said = self._hidden(error.str()) if error else f"nothing came for {SILENCE:.0f} seconds"
        of = f"of {self.look.dataset.name} by the connection {self.source.connection}"
        if error is not None and error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, *_DENIED):
            raise SourceRefused(f"{what} {of} may not be read: {said}. Correct the user of the connection, or give it the right.")
        if error is not None and error.code() in _GONE:
            raise SourceUnreachable(
                f"{what} {of} has lost the records that came next while it was read: {said}. What was read before is safe; run it "
                "again, and it is told how much is missing."
            )
        raise SourceUnreachable(
            f"{what} {of} cannot be read: {said}. What was read before is safe; check the brokers and the connection, and run it again."
        )

    def _hidden(self, text: str) -> str:
        """A text of librdkafka without passwords, which it may quote."""
        for name, value in self.settings.items():
            if any(word in name for word in ("password", "secret", "pem", "jaas", "oauthbearer")) and len(str(value)) > 2:
                text = text.replace(str(value), "…")
        return said(text)


def _settings(look: Look, source: KafkaSource, connection: Connection) -> dict[str, Any]:
    """librdkafka's configuration of a connection: the extra of Airflow's connections to Kafka."""
    extra = connection.extra
    if wrong := sorted(name for name, value in extra.items() if name in _CALLED or not isinstance(value, (str, int, float))):
        raise SettingMissing(
            f"The connection {source.connection} has {', '.join(wrong)} in its extra, which is no text, number or truth value that a stage "
            "can hand to librdkafka: leave it out."
        )
    settings = {name: str(value).lower() if isinstance(value, bool) else value for name, value in extra.items()}
    if not settings.get("bootstrap.servers"):
        host = connection.url.get_secret_value() or (f"{connection.host}:{connection.port or 9092}" if connection.host else "")
        if not host:
            raise SettingMissing(
                f"The connection {source.connection} names no broker: write "
                '{"bootstrap.servers": "host:9092"} into its extra, as for Airflow\'s own operators of Kafka.'
            )
        settings["bootstrap.servers"] = host
    if connection.login:
        settings.setdefault("sasl.username", connection.login)
        settings.setdefault("sasl.password", connection.password.get_secret_value())
    group = source.group or settings.get("group.id") or f"perennial-{look.dataset.name}"
    return {**settings, **_OURS, "group.id": group}


def _words(error: BaseException) -> str:
    """What an error of librdkafka says."""
    first = error.args[0] if error.args else error
    return str(first.str()) if isinstance(first, KafkaError) else str(first)
