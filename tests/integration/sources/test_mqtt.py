"""Messages of devices, kept by a real broker (Debian's mosquitto) and read into a table of ours: each once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources import mqtt
from perennial.sources.collected import CollectedLog
from perennial.specs import Column, DatasetSpec, MqttSource
from perennial.store import FolderStore
from perennial.testing.collecting import Collecting
from perennial.testing.programs import free_ports

COLUMNS = (
    Column(name="id", type="int"), Column(name="line", type="string"), Column(name="machine", type="int"),
    Column(name="at", type="timestamp"), Column(name="heat", type="float", nullable=True),
)  # fmt: skip


@dataclass
class Mosquitto:
    """A broker that keeps what it has on its disk, and can be ended and started."""

    program: str
    folder: Path
    port: int
    settings: tuple[str, ...] = ("allow_anonymous true",)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        lines = (
            f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {self.folder}/", "max_queued_messages 0",
            "autosave_interval 1", "autosave_on_changes true", *self.settings,
        )  # fmt: skip
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        with (self.folder / "mosquitto.log").open("ab") as said:
            self.process = subprocess.Popen([self.program, "-c", str(self.folder / "mosquitto.conf")], stdout=said, stderr=said)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "mosquitto.log").read_text())

    def stop(self) -> None:
        """End it as a machine is ended: it writes down what it has."""
        if self.process:
            self.process.terminate()
            self.process.wait()

    def send(self, topic: str, *payloads: object, qos: int = 1) -> None:
        """Send messages as devices do."""
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        for payload in payloads:
            client.publish(topic, payload if isinstance(payload, bytes) else json.dumps(payload), qos).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    def heat(self, *numbers: int, topic: str = "plant/north/7/state") -> None:
        """Send readings of these numbers."""
        self.send(topic, *({"id": number, "at": "2026-03-01T08:00:00Z", "heat": number / 4} for number in numbers))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets anybody in."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not here: apt-get install mosquitto")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    if os.getuid() == 0:  # it gives up the rights of root for those of nobody
        folder.chmod(0o777)
        for above in folder.parents[:3]:
            above.chmod(above.stat().st_mode | 0o055)
    broker = Mosquitto(program, folder, free_ports(1)[0], ("allow_anonymous true", *(["user root"] if os.getuid() == 0 else [])))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def collecting(folder: Path, broker: Mosquitto, *, login: str = "", dataset: dict[str, Any] | None = None, **source: Any) -> Collecting:
    """The dataset `plant` with its source."""
    source = {"connection": "devices", "topic": "plant/{line}/{machine}/state", "quiet": 0.4, **source}
    spec = DatasetSpec(
        name="plant", title="Plant", owner="works",
        **{"columns": COLUMNS, "key": ("id",), "event_time": "at", "source": MqttSource(**source), **(dataset or {})},
    )  # fmt: skip
    connection = {"host": "127.0.0.1", "port": broker.port, "login": login, "password": "geheim" if login else ""}
    return Collecting(spec, folder, {"devices": connection})


def test_what_the_broker_kept_comes_once(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01: The first look asks the broker to keep; later ones take what was sent meanwhile, with the parts of the topic as columns."""
    plant = collecting(tmp_path / "store", broker)
    broker.heat(0)
    first = plant.collect()
    assert (first.outcome, "keeps messages from now on" in first.sentence) == ("skipped", True)
    broker.heat(1, 2, 3)
    broker.heat(4, topic="plant/south/8/state")
    broker.heat(5, topic="plant/south/state")
    assert plant.collect().rows == 4
    assert plant.collect().outcome == "skipped"
    plant.take_in()
    assert plant.keys() == dict.fromkeys((1, 2, 3, 4), 1)
    assert [(row["line"], row["machine"], row["heat"]) for row in plant.rows()][2:] == [("north", 7, 0.75), ("south", 8, 1.0)]
    newest = CollectedLog(plant.store, "plant", "landing/plant").newest()
    assert newest
    assert (newest.memory, newest.watermark) == ("", {"messages": 4})


def test_many_messages_in_several_pieces(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01: More than a broker sends unacknowledged by itself (20), and more than one file takes."""
    plant = collecting(tmp_path / "store", broker, file_rows=70)
    plant.collect()
    broker.heat(*range(300))
    assert len(plant.collect().files) == 5
    plant.take_in()
    assert plant.keys() == dict.fromkeys(range(300), 1)


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01, DE-22: Killed before each of its writes in turn, then run again: each message is in once, for the broker sends what was not
    acknowledged again and the store knows what was safe. Messages that are alike are told apart."""
    before, kills = 1, 0
    same = {"id": 7, "at": "2026-03-01", "heat": 1}
    dataset = {"columns": COLUMNS[1:], "key": (), "row_id": "position", "files": {"extra": "drop"}}
    while True:
        plant = collecting(tmp_path / f"store-{before}", broker, file_rows=2, client=f"c{before}", quiet=0.2, dataset=dataset)
        plant.collect()
        broker.send("plant/north/7/state", same, same, {**same, "heat": 2}, {**same, "heat": 3}, same)
        killed = plant.collect_killed(before)
        plant.take_in()
        plant.collect()
        taken = plant.take_in()
        assert plant.collect().outcome == "skipped"
        assert not taken.refused
        assert sorted(row["heat"] for row in plant.rows()) == [1, 1, 1, 2, 3]
        kills += killed
        if not killed:
            break
        before += 5
    assert kills > 2


def test_safe_and_not_acknowledged(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01: The entry was written and no acknowledgement sent: the broker sends all again, and all are known."""
    plant = collecting(tmp_path / "store", broker)
    plant.collect()
    broker.heat(1, 2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqtt._Client, "settle", lambda *_, **__: False)
        assert plant.collect().rows == 3
    assert len(list(plant.store.list("collected/plant/memory"))) == 1
    broker.heat(4)
    again = plant.collect()
    assert (again.rows, again.repeated) == (1, 3)
    plant.take_in()
    assert plant.keys() == dict.fromkeys((1, 2, 3, 4), 1)


def test_a_broker_gone_and_back(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01: A sentence while it is gone; what it had kept comes when it is back. One that has forgotten the client is told."""
    plant = collecting(tmp_path / "store", broker)
    plant.collect()
    broker.heat(1, 2)
    broker.stop()
    with pytest.raises(
        SourceUnreachable, match=r"broker of plant by the connection devices cannot be read.*Connection refused.*run it again"
    ):
        plant.collect()
    broker.start()
    assert plant.collect().rows == 2
    broker.stop()
    for file in broker.folder.glob("*.db"):
        file.unlink()
    broker.start()
    assert "had forgotten the client perennial-plant, so that what devices sent since the last look is lost" in plant.collect().sentence
    broker.heat(3)
    assert plant.collect().rows == 1


def test_two_looks_at_the_same_time(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01, DE-22: The second takes the broker's session over, the first says so; each message is in once."""
    plant = collecting(tmp_path / "store", broker)
    plant.collect()
    broker.heat(1, 2)
    once: list[int] = []

    class Meanwhile(FolderStore):
        def upload(self, path: Path, key: str) -> None:
            if not once:
                once.append(1)
                plant.collect()
            super().upload(path, key)

    with pytest.raises(Exception, match="at the same time"):
        plant.collect(Meanwhile(plant.store.root))
    plant.collect()
    plant.take_in()
    assert plant.keys() == {1: 1, 2: 1}


def test_what_is_no_row_costs_itself_alone(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-02: A message that is no JSON, one that does not fit, and one of a topic that was asked for earlier."""
    collecting(tmp_path / "old", broker, topic="other/#", dataset={"columns": (COLUMNS[0], *COLUMNS[3:])}).collect()
    plant = collecting(tmp_path / "store", broker, columns={"heat": "topic"})
    plant.collect()
    plant = collecting(tmp_path / "store", broker)
    broker.heat(1)
    broker.send("plant/north/7/state", b"\xff", b"", {"id": "x", "at": "2026-03-01"})
    broker.send("plant/north/seven/state", {"id": 2, "at": "2026-03-01"})
    broker.send("other/a", {"id": 3})
    result = plant.collect()
    assert (result.rows, result.unreadable) == (5, 4)
    assert "1 message of other topics was left out" in result.sentence
    assert len(plant.take_in().refused) == 2
    assert plant.keys() == {1: 1}
    assert plant.collect().outcome == "skipped"


def test_what_is_not_there_is_a_sentence(tmp_path: Path, broker: Mosquitto) -> None:
    """DM-01, DE-15: No host, a user that is not let in, a topic that may not be read, a column that the dataset has not."""
    plant = collecting(tmp_path / "store", broker)
    with pytest.raises(SettingMissing, match="names no broker"):
        Collecting(plant.spec, tmp_path / "a", {"devices": {"port": 1}}).collect()
    with pytest.raises(SourceRefused, match="fills colour, and the dataset has no such column"):
        collecting(tmp_path / "b", broker, topic="a/{colour}").collect()
    broker.stop()
    broker.settings = tuple("allow_anonymous false" if "anonymous" in line else line for line in broker.settings)
    broker.start()
    with pytest.raises(SourceRefused, match=r"does not let the user in \(Not authorized\)") as told:
        collecting(tmp_path / "c", broker, login="me").collect()
    assert "geheim" not in str(told.value)
    assert broker.process
    broker.process.send_signal(signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqtt, "SECONDS_TO_ANSWER", 1.0)
        with pytest.raises(SourceUnreachable, match="has not answered for 1 seconds"):
            plant.collect()
    broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"topic": "a"}, "say where the broker is"),
        ({"connection": "c", "topic": ""}, "the part ''"),
        ({"connection": "c", "topic": "a/#/b"}, "the part '#'"),
        ({"connection": "c", "topic": "a/x{b}"}, r"the part 'x\{b\}'"),
        ({"connection": "c", "topic": "a/{b}/{b}"}, "a column twice"),
        ({"connection": "c", "topic": "$share/g/a"}, "without .share"),
        ({"connection": "c", "topic": "{b}", "columns": {"b": "topic"}}, "b is a part of the topic and stands in columns"),
    ],
)
def test_specs_that_do_not_fit(given: dict[str, Any], why: str) -> None:
    """DM-01, SC-05: Each fault of a source of MQTT is a clause."""
    with pytest.raises(ValidationError, match=why):
        MqttSource(**given)
