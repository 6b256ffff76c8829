"""Training over two nodes, each a process with a disk of its own, as two pods are: what they learn, and what if one goes."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perennial.testing import free_ports
from perennial.testing.forks import Forked

PROGRAM = Path(__file__).with_name("train_on_nodes.py")
EPOCHS = 6
BOUND_SECONDS = 90  # a busy machine takes its time to unwind a process


class Node:
    """A running node and what it has said."""

    def __init__(self, folder: Path, nodes: int, epochs: int, wait: float, environment: dict[str, str]) -> None:
        log = folder / f"log-{environment.get('NODE_RANK', 'alone')}-{time.monotonic_ns()}"
        command = [str(PROGRAM), str(folder), str(nodes), str(epochs), str(wait)]
        self.process = Forked(command, os.environ | environment, log)

    def said(self) -> list[str]:
        """Its lines so far."""
        return self.process.said().splitlines()

    def trained(self, seconds: float = 240) -> dict[str, Any]:
        """What it has at the end of a training that went well."""
        assert self.process.wait(seconds) == 0, self.said()
        found: dict[str, Any] = json.loads(self.said()[-1])
        return found

    def wait_for_epoch(self, epoch: int) -> None:
        """Return when it has finished an epoch."""
        deadline = time.monotonic() + 240
        while not any(re.match(rf"Epoch {epoch} of", line) for line in self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)


@contextmanager
def two_nodes(folder: Path, epochs: int = EPOCHS, wait: float = 300) -> Iterator[tuple[Node, Node]]:
    """Both nodes of a training, started; none is left afterwards."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    nodes = [Node(folder, 2, epochs, wait, where | {"NODE_RANK": str(rank)}) for rank in range(2)]
    try:
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.process.send_signal(signal.SIGKILL)
            node.process.wait()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one node learns from the same rows."""
    return Node(tmp_path_factory.mktemp("alone"), 1, EPOCHS, 300, {}).trained()


def assert_alike(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The same history and the same weights, but for the order in which floating-point numbers were added."""
    assert len(found["history"]) == len(wanted["history"]) == EPOCHS
    for one, other in zip(found["history"], wanted["history"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    for name, values in wanted["weights"].items():
        for row, other in zip(found["weights"][name], values, strict=True):
            assert row == pytest.approx(other, abs=1e-5), name


@pytest.mark.slow
def test_two_nodes_learn_what_one_learns(tmp_path: Path, alone: dict[str, Any]) -> None:
    """MO-05: Same spec, same rows: a gradient step has `batch_size` rows, however many processes share them."""
    with two_nodes(tmp_path) as (first, second):
        found, helper = first.trained(), second.trained()
    assert (found["main"], helper["main"]) == (True, False)
    assert_alike(found, alone)
    assert {file.name for file in (tmp_path / "node-0").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert not any(line.startswith("Epoch ") for line in second.said())


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_node_ends_the_other_and_the_next_try_goes_on(tmp_path: Path, alone: dict[str, Any], victim: int) -> None:
    """MO-05, MN-14: It says that it lost a node, and does not wait for it; both go on from the store, and give what one node gives without
    a break."""
    with two_nodes(tmp_path) as nodes:
        nodes[0].wait_for_epoch(2)
        nodes[victim].process.send_signal(signal.SIGKILL)
        survivor = nodes[1 - victim]
        assert survivor.process.wait(BOUND_SECONDS) == 1
        assert re.search(r"small's training lost another node, or waited .* Training again goes on", survivor.said()[-1])
    with two_nodes(tmp_path) as (first, second):
        found, _ = first.trained(), second.trained()
    assert 1 <= found["resumed_from"] < EPOCHS
    assert_alike(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_a_node_that_is_asked_to_end_ends_and_so_does_the_other(tmp_path: Path, asked: int) -> None:
    """MO-05: SIGTERM, as a cluster sends it: neither waits to be killed."""
    with two_nodes(tmp_path, epochs=500) as nodes:
        nodes[0].wait_for_epoch(2)
        nodes[asked].process.send_signal(signal.SIGTERM)
        assert nodes[asked].process.wait(BOUND_SECONDS) == -signal.SIGTERM
        assert nodes[1 - asked].process.wait(BOUND_SECONDS) == 1
        assert "lost another node" in nodes[1 - asked].said()[-1]


@pytest.mark.slow
def test_a_node_that_answers_no_more_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """MN-14: Its machine hangs, its connections stay: the other ends when its patience is over."""
    with two_nodes(tmp_path, epochs=500, wait=8) as (first, second):
        first.wait_for_epoch(2)
        second.process.send_signal(signal.SIGSTOP)
        assert first.process.wait(BOUND_SECONDS) == 1
        assert "lost another node" in first.said()[-1]


@pytest.mark.slow
def test_a_node_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """MN-14: The first node ends with a sentence."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "NODE_RANK": "0"}
    node = Node(tmp_path, 2, EPOCHS, 5, environment)
    assert node.process.wait(BOUND_SECONDS) == 1
    assert "waited 0.0833333 minutes for it in vain" in node.said()[-1]
