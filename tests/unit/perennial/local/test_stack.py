"""What `perennial up` makes of programs that run and do not answer; the programs themselves are in tests/integration/local."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import Fault
from perennial.local import stack
from perennial.local.stack import Part
from perennial.local.supervisor import Program


class Programs:
    """Programs that run since the given seconds; one that is replaced answers after as many looks."""

    def __init__(self, folder: Path, **seconds: float) -> None:
        now = datetime.now(timezone.utc)
        self.since = {name: now - timedelta(seconds=ago) for name, ago in seconds.items()}
        self.folder = folder
        self.replaced: list[str] = []
        self.answers: set[str] = set()

    def programs(self) -> dict[str, Program]:
        return {name: Program(name, "RUNNING", 1, since) for name, since in self.since.items()}

    def replace(self, name: str) -> None:
        self.replaced.append(name)
        self.since[name] = datetime.now(timezone.utc)
        self.answers |= {name, *(["scheduler"] if name == "api" else [])}

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def part(self, name: str, **more: object) -> Part:
        return Part(name, [], {}, lambda: name in self.answers, **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(stack.time, "sleep", lambda seconds: None)


def test_what_ran_before_and_does_not_answer_is_started_anew_once(tmp_path):
    """OP-08: It has had the time that it may take to start."""
    programs, said = Programs(tmp_path, gateway=60), []
    stack._wait(programs, [programs.part("gateway", patience=10)], datetime.now(timezone.utc), said.append)
    assert programs.replaced == ["gateway"]
    assert ["started anew" in said[0], "ready" in said[1]] == [True, True]


def test_what_another_part_tells_of_is_judged_once_that_one_answers(tmp_path):
    """OP-08: Where the API server hangs nobody knows of the scheduler."""
    programs = Programs(tmp_path, scheduler=1000, api=1000)
    stack._wait(programs, [programs.part("scheduler", told_by="api"), programs.part("api")], datetime.now(timezone.utc), lambda _: None)
    assert programs.replaced == ["api"]


def test_one_that_may_still_be_starting_is_waited_for(tmp_path, monkeypatch):
    """OP-08: A killed `perennial up` has begun it a moment ago: replacing it would only make it later."""
    monkeypatch.setattr(stack, "START_SECONDS", 0.2)
    programs = Programs(tmp_path, slow=5)
    with pytest.raises(Fault, match="slow does not start"):
        stack._wait(programs, [programs.part("slow", patience=120)], datetime.now(timezone.utc), lambda _: None)
    assert programs.replaced == []


def test_what_this_start_began_is_never_said_to_hang(tmp_path, monkeypatch):
    """OP-08: However long a busy machine takes: a restart would throw away what it has loaded. Meanwhile it is said to be starting."""
    monkeypatch.setattr(stack, "START_SECONDS", 0.3)
    monkeypatch.setattr(stack, "SAY_SECONDS", 0.1)
    programs, said = Programs(tmp_path, slow=500), []
    with pytest.raises(Fault, match="slow does not start"):
        stack._wait(programs, [programs.part("slow")], datetime.now(timezone.utc) - timedelta(seconds=600), said.append)
    assert programs.replaced == []
    assert "slow: still starting" in said[0]
    assert str(tmp_path) in said[0]
