"""Messages of devices that a broker of MQTT 5 keeps between two looks, read by paho: each that is a JSON object becomes a row.

The broker keeps what it was asked for under the name of the client, and forgets a message when it is acknowledged: here after it is safe.
What was made safe and not acknowledged, since a look was killed, comes again, marked as such and with the number that it had. Number and
content of the last piece stand in the store until the broker has all acknowledgements, so that such a message lands once.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from perennial.counted import counted
from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources.connections import Connection
from perennial.sources.interface import Look, Piece, Tally
from perennial.sources.records import Records
from perennial.specs import MqttSource

SECONDS_TO_ANSWER = 10.0  # for the broker
_WINDOW = 65535  # messages that the broker may send before it has an acknowledgement: the most that MQTT has numbers for
_NOBODY = "perennial/nobody"  # a topic to which nobody subscribes: an answer about it comes after those to acknowledgements before it
_HASH = 16  # bytes
_DENIED = ("Bad user name or password", "Not authorized", "Banned")

Identity = tuple[int, bytes]  # number of a message and hash of its topic and content


def pieces(look: Look) -> Iterator[Piece]:
    """The messages that the broker kept, and those that come until it is quiet.

    Raises:
        SettingMissing: the connection names no broker, or its certificates cannot be read.
        SourceRefused: the broker does not let the user in or read the topic.
        SourceUnreachable: the broker does not answer, or another client uses the name.
    """
    source = cast(MqttSource, look.dataset.source)
    assert look.connection is not None
    client = _Client(look, source, look.connection)
    try:
        yield from _Reading(look, source, client).pieces()
    finally:
        client.close()


class _Reading:
    """The reading of one topic during one look."""

    def __init__(self, look: Look, source: MqttSource, client: _Client) -> None:
        self.look, self.source, self.client = look, source, client
        known = {column.name for column in look.dataset.columns}
        if unknown := sorted({*source.parts, *source.columns} - known):
            raise SourceRefused(
                f"The source of {look.dataset.name} fills {', '.join(unknown)}, and the dataset has no such column: "
                "add it to the columns of the spec, or take it out of the source."
            )
        self.before = _read(look.memory) if look.memory else set()
        self.count = int((look.watermark or {}).get("messages", 0))
        self.others = self.repeated = self.files = 0
        self.unsure = set(self.before)  # safe, and perhaps not acknowledged
        self.records: Records | None = None
        self.taken: list[paho.MQTTMessage] = []

    def pieces(self) -> Iterator[Piece]:
        """One for each `file_rows` messages, or what comes before the broker pauses."""
        self._begin()
        if self.look.watermark is None:
            yield Piece({"messages": self.count})
            self.look.notes.append("the broker keeps messages from now on")
        remembered, read, until = bool(self.look.memory), 0, time.monotonic() + self.source.seconds
        while read < self.source.most_records and time.monotonic() < until:
            message = self.client.next(self.source.quiet)
            if message is None and self.records is None:
                break
            if self.records is not None and (message is None or self._is_full(message)):
                yield self._piece()
                remembered = True
            if message is not None:
                read += self._take(message)
        if self.records is not None:
            yield self._piece()
            remembered = True
        if remembered and self.client.settle([]):  # the broker has every acknowledgement: nothing comes again
            self.unsure = set()
            repeated, self.repeated = self.repeated, 0
            yield Piece({"messages": self.count}, tally=Tally(repeated=repeated))
        if self.others:
            self.look.notes.append(
                f"{counted(self.others, 'message')} of other topics {'was' if self.others == 1 else 'were'} left out, which an earlier "
                f"subscription of the client {self.client.name} asks for"
            )

    def _begin(self) -> None:
        kept = self.client.open()
        if not kept and self.look.watermark is not None:
            self.look.notes.append(
                f"the broker had forgotten the client {self.client.name}, so that what devices sent since the last look is lost: look more "
                f"often than every {self.source.keep_days:g} days (keep_days), and let the broker keep sessions when it is started again"
            )

    def _is_full(self, message: paho.MQTTMessage) -> bool:
        assert self.records is not None
        if len(self.records) >= self.source.file_rows:
            return True
        size = self.records.size + len(message.payload) + 1000
        return self.records.rows > 0 and size > self.look.dataset.max_batch_bytes

    def _take(self, message: paho.MQTTMessage) -> int:
        """Add a message; 1 if it is new, 0 if it landed before or is none of the topic."""
        if not paho.topic_matches_sub(self.source.filter, message.topic):
            self.others += 1
            self.client.settle([message], wait=False)
            return 0
        if message.dup and _identity(message) in self.before:
            self.repeated += 1
            self.client.settle([message], wait=False)
            return 0
        if self.records is None:
            self.files += 1
            self.records = Records(self.look, self.files)
        parts = message.topic.split("/")
        columns: dict[str, Any] = {self.look.field(name): parts[place] for name, place in self.source.parts.items()}
        for name, what in self.source.columns.items():
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            columns[self.look.field(name)] = message.topic if what == "topic" else now
        self.records.add(f"a message of {message.topic}", bytes(message.payload), columns)
        self.taken.append(message)
        return 1

    def _piece(self) -> Piece:
        """What was read since the last one."""
        assert self.records is not None
        records, taken, self.records, self.taken = self.records, self.taken, None, []
        files, tally = records.files(f"{self.look.dataset.name}-{self.count:012d}")
        if tally.unreadable:
            self.look.notes.append(f"{counted(tally.unreadable, 'record')}, first {records.first.rstrip('.')}")
        self.count += len(taken)
        repeated, self.repeated = self.repeated, 0
        self.unsure |= {_identity(message) for message in taken if message.qos}
        memory = None
        if self.unsure:
            memory = self.look.scratch / "memory.parquet"
            _write(self.unsure, memory)

        def accepted() -> None:
            if self.client.settle(taken):
                self.unsure = set()

        return Piece({"messages": self.count}, tuple(files), tally.plus(Tally(repeated=repeated)), memory=memory, accepted=accepted)


def _identity(message: paho.MQTTMessage) -> Identity:
    """A message that comes again has the number that it had, which no other has meanwhile."""
    digest = hashlib.blake2b(digest_size=_HASH)
    digest.update(message.topic.encode() + b"\0" + message.payload)
    return message.mid, digest.digest()


def _write(identities: set[Identity], path: Path) -> None:
    ordered = sorted(identities)
    columns = {
        "number": pa.array([number for number, _ in ordered], pa.int32()),
        "content": pa.array([c for _, c in ordered], pa.binary(_HASH)),
    }
    pq.write_table(pa.table(columns), path)


def _read(path: Path) -> set[Identity]:
    return {(row["number"], row["content"]) for row in pq.read_table(path).to_pylist()}


class _Client:
    """paho's client, without a thread of its own, whose errors are sentences here."""

    def __init__(self, look: Look, source: MqttSource, connection: Connection) -> None:
        self.source, self.of = source, f"the broker of {look.dataset.name} by the connection {source.connection}"
        if not connection.host:
            raise SettingMissing(
                f"The connection {source.connection} names no broker: give it a host, and a port if it is not 1883 or 8883."
            )
        self.name = source.client or f"perennial-{look.dataset.name}"
        secure = bool(connection.extra.get("tls")) or connection.port == 8883
        self.address = (connection.host, connection.port or (8883 if secure else 1883))
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self.name, protocol=paho.MQTTv5, manual_ack=True, reconnect_on_failure=False
        )
        if connection.login:
            self.client.username_pw_set(connection.login, connection.password.get_secret_value() or None)
        if secure:
            self._secure(connection)
        self.waiting: deque[paho.MQTTMessage] = deque()
        self.present: bool | None = None  # whether the broker knew the client
        self.answers: dict[int, Sequence[Any]] = {}  # to subscriptions and their end
        self.gone = ""  # why the broker has left
        self.client.on_message = lambda _client, _data, message: self.waiting.append(message)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_subscribe = lambda _client, _data, number, codes, _properties: self.answers.update({number: codes})
        self.client.on_unsubscribe = lambda _client, _data, number, codes, _properties: self.answers.update({number: codes})

    def open(self) -> bool:
        """Connect and ask for the topic; whether the broker has kept messages since the last time.

        Raises:
            SourceRefused: it does not let the user in or read the topic.
            SourceUnreachable: it does not answer.
        """
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.SessionExpiryInterval = min(int(self.source.keep_days * 86400), 0xFFFFFFFF)
        wanted.ReceiveMaximum = _WINDOW
        try:
            self.client.connect(*self.address, keepalive=600, clean_start=False, properties=wanted)
        except (OSError, ValueError) as error:  # of the network, names and certificates
            self._unreachable(str(error) or type(error).__name__)
        self._until(lambda: self.present is not None)
        _, number = self.client.subscribe(
            self.source.filter, options=SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        )
        self._until(lambda: number in self.answers)
        if any(code.is_failure for code in self.answers[cast(int, number)]):
            raise SourceRefused(f"{self._of()} does not let the user read {self.source.filter}: give it the right, or correct the topic.")
        return bool(self.present)

    def next(self, seconds: float) -> paho.MQTTMessage | None:
        """The next message; None if none comes for so many seconds.

        Raises:
            SourceUnreachable: the broker has left.
        """
        until = time.monotonic() + seconds
        while not self.waiting and time.monotonic() < until:
            self._turn(min(0.1, seconds))
        return self.waiting.popleft() if self.waiting else None

    def settle(self, messages: Sequence[paho.MQTTMessage], *, wait: bool = True) -> bool:
        """Acknowledge messages that are safe; whether the broker has it. One that has left gets it by the next look."""
        for message in messages:
            if message.qos:
                self.client.ack(message.mid, message.qos)
        if not wait:
            return False
        try:
            _, number = self.client.unsubscribe(_NOBODY)
            self._until(lambda: number in self.answers)
        except SourceUnreachable:
            return False
        return True

    def close(self) -> None:
        """Leave the broker, which keeps messages from here on."""
        if not self.gone:
            self.client.disconnect()

    def _until(self, done: Any) -> None:
        until = time.monotonic() + SECONDS_TO_ANSWER
        while not done():
            if time.monotonic() > until:
                self._unreachable(f"it has not answered for {SECONDS_TO_ANSWER:g} seconds")
            self._turn(0.1)

    def _turn(self, seconds: float) -> None:
        """Send and receive for a moment."""
        code = self.client.loop(seconds)
        if self.gone:
            self._unreachable(self.gone)
        if code != paho.MQTT_ERR_SUCCESS:
            self._unreachable(paho.error_string(code).rstrip("."))

    def _connected(self, _client: paho.Client, _data: Any, flags: paho.ConnectFlags, code: Any, _properties: Any) -> None:
        if code.is_failure:
            if str(code) in _DENIED:
                raise SourceRefused(f"{self._of()} does not let the user in ({code}): correct the connection.")
            self._unreachable(str(code))
        self.present = flags.session_present

    def _disconnected(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self.gone = str(code)
        if self.gone == "Session taken over":
            self.gone = f"another client has come by the name {self.name}, as a second look at the same time does"

    def _unreachable(self, said: str) -> None:
        raise SourceUnreachable(
            f"{self._of()} cannot be read: {said}. What was read before is safe, and the broker keeps what comes meanwhile; check it and "
            "the connection, and run it again."
        )

    def _of(self) -> str:
        return self.of[0].upper() + self.of[1:]

    def _secure(self, connection: Connection) -> None:
        files = {name: connection.extra.get(name) for name in ("ca_file", "cert_file", "key_file")}
        try:
            self.client.tls_set(files["ca_file"], files["cert_file"], files["key_file"])
        except (OSError, ValueError, ssl.SSLError) as error:
            raise SettingMissing(
                f"The connection {self.source.connection} names certificates (ca_file, cert_file, key_file) that cannot be read: {error}."
            ) from None
