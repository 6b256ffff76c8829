"""A version is inspected as a folder and at a server: golden rows, generated inputs, answers, measurements."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.serving import aside as aside_module
from perennial.serving import folder_inspection, processes
from perennial.serving.aside import AsideSocket
from perennial.serving.scorer import Scorer
from perennial.testing import small_rows, small_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small version."""
    return small_version(tmp_path / "version")


def test_a_sound_version_is_measured_and_answers(folder: Path) -> None:
    """SE-04, SE-15, DE-14, DE-11: Golden rows match, every generated input is answered, contracts' requests too, and figures are there."""
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    requests = [{"data": {"rows": small_rows(1)}}, {"data": {"rows": []}}, "{no JSON"]
    seen = folder_inspection.main(folder, {"requests": requests})
    assert (seen["golden"]["matches"], seen["inputs"]["failure"]) == (True, "")
    good, none, garbled = seen["answers"]
    assert (good[0], good[1]["data"]["names"], none[0], garbled[0]) == (200, ["on_time", "late"], 400, 400)
    assert garbled[1]["status"]["info"].startswith("The body is not JSON")
    measured = seen["measured"]
    assert 0 < measured["p95_ms"] <= measured["wall_p95_ms"]
    assert measured["cpu_ms"] > 0
    assert measured["memory_mb"] > 20
    assert measured["folder_mb"] == pytest.approx(size)  # without what Python compiled of it meanwhile


def test_golden_rows_that_differ_end_it(folder: Path) -> None:
    """MO-14: Nothing else of such a version is of interest."""
    golden = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps({**golden, "scores": [[0.5, 0.5]] * len(golden["rows"])}))
    assert list(folder_inspection.main(folder, {})) == ["golden"]


def test_a_version_that_fails_an_unseen_category_is_found(folder: Path) -> None:
    """DE-14: Its golden rows have none, so that they match."""
    (folder / "features.py").write_text(
        "def encode(encoder, columns):\n"
        "    assert set(columns['carrier']) <= {'AA', 'B6', 'DL', 'UA'}\n"
        "    return encoder.encode(columns)\n"
    )
    failure = folder_inspection.main(folder, {})["inputs"]["failure"]
    assert failure.startswith("it fails a generated input (carrier): to {")
    assert "AssertionError" in failure


def test_it_runs_as_a_program(folder: Path) -> None:
    """SE-04: As the stage starts it, in the serving environment or this one."""
    command = [sys.executable, "-m", "perennial.serving.folder_inspection", str(folder)]
    ran = subprocess.run(command, input='{"limit_ms": 1000}', capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["golden"]["matches"]


def test_the_processes_of_a_socket_are_found(tmp_path: Path) -> None:
    """SE-15: The one that listens and what it started; what they used is counted."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        child = subprocess.Popen(["sleep", "60"])
        try:
            assert {os.getpid(), child.pid} <= {*processes.listener(tmp_path / "s")}
        finally:
            child.kill()
            child.wait()
    assert processes.cpu_seconds([os.getpid()]) > 0
    assert processes.peak_memory_mb([os.getpid(), 2**22 + 1]) > 20
    assert processes.peak_memory_mb([]) == processes.waited_seconds([2**22 + 1]) == 0
    with pytest.raises(OSError, match=r".+"):
        processes.listener(tmp_path / "nobody")


def test_energy_is_read_where_the_machine_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-15: The packages' counters, microjoules; their parts are in them. None where there are none or they may not be read."""
    monkeypatch.setattr(processes, "POWER", tmp_path)
    assert processes.energy_counter() is None
    for zone, energy in (("intel-rapl:0", "1500000"), ("intel-rapl:1", "500000"), ("intel-rapl:0:0", "900000")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(energy)
    assert processes.energy_counter() == 2.0


def test_a_server_that_is_gone_gives_no_answer(tmp_path: Path) -> None:
    """DE-11: It is told as an answer without a status, which nothing takes for one."""
    way = AsideSocket(tmp_path / "nobody", "/predict", 1)
    status, said = way.ask(b"{}")
    assert (status, said.startswith(b"no answer (FileNotFoundError")) == (0, True)


def test_a_connection_that_a_server_closed_is_opened_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-11: Once; a server that closes each is down."""
    opened: list[object] = []

    class Closing(aside_module.UnixConnection):
        def __init__(self, *given: object) -> None:
            opened.append(self)
            self.asked = 0
            super().__init__(tmp_path / "s")

        def request(self, *given: object, **more: object) -> None:
            self.asked += 1
            if self.asked > 1 or len(opened) > 2:
                raise ConnectionResetError("closed")

        def getresponse(self, *given: object) -> object:  # type: ignore[override]
            class Answer:
                status = 200

                def read(self) -> bytes:
                    return b"{}"

            return Answer()

    monkeypatch.setattr(aside_module, "UnixConnection", Closing)
    way = AsideSocket(tmp_path / "s", "/predict", 1)
    assert [way.ask(b"") for _ in range(2)] == [(200, b"{}")] * 2
    assert len(opened) == 2
    assert way.ask(b"")[0] == 0
    assert folder_inspection.in_process(Scorer(folder)).pids == (os.getpid(),)
