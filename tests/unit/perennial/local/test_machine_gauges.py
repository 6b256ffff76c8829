"""Figures of a machine."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest

from perennial.errors import ServiceUnreachable
from perennial.local.machine_gauges import gpu_gauges, of_airflow, of_machine
from perennial.local.supervisor import Program
from perennial.settings import Settings
from perennial.testing import free_ports


def values(gauges: list) -> dict[tuple[str, str], float]:
    """Samples by metric and its only label."""
    return {(gauge.name, "".join(labels.values())): value for gauge in gauges for labels, value in gauge.samples}


def test_a_program_is_told_apart_from_the_machine(tmp_path: Path) -> None:
    """MN-04: Memory and processor time of each program that runs; one that has ended has none."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    now = datetime.now(timezone.utc)
    programs = {"this": Program("this", "RUNNING", os.getpid(), now), "gone": Program("gone", "EXITED", None, now)}
    found = values(of_machine(settings, programs))
    assert found["perennial_program_memory_bytes", "this"] > 1e6
    assert found["perennial_program_cpu_seconds_total", "this"] > 0
    assert ("perennial_program_memory_bytes", "gone") not in found
    assert 0 < found["perennial_machine_memory_available_bytes", ""] < found["perennial_machine_memory_bytes", ""]
    assert 0 < found["perennial_disk_free_bytes", ""] < found["perennial_disk_bytes", ""]
    assert found["perennial_machine_cpu_seconds_total", ""] > 0


def test_gpus_are_as_their_tool_tells() -> None:
    """MN-04, MN-14: Shares and bytes; what a GPU does not measure has no sample."""
    found = values(gpu_gauges("0, 37, 1024, 81559\n1, [N/A], 0, 40960\n\n"))
    assert found == {
        ("perennial_gpu_utilisation_ratio", "0"): pytest.approx(0.37),
        ("perennial_gpu_memory_used_bytes", "0"): 1024 * 2**20,
        ("perennial_gpu_memory_used_bytes", "1"): 0,
        ("perennial_gpu_memory_bytes", "0"): 81559 * 2**20,
        ("perennial_gpu_memory_bytes", "1"): 40960 * 2**20,
    }


@pytest.mark.parametrize("script", ["echo '0, 50, 1, 2'", "exit 9"])
def test_a_tool_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """MN-04: Where the driver's tool breaks, the other figures are there."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = values(of_machine(Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)}), {}))
    assert ("perennial_machine_cpus", "") in found
    assert (("perennial_gpu_utilisation_ratio", "0") in found) is script.startswith("echo")


def test_an_airflow_that_is_away_is_said(tmp_path: Path) -> None:
    """MN-04: One sentence, and no figures that look like health."""
    (port,) = free_ports(1)
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_AIRFLOW_PORT": str(port)})
    with pytest.raises(ServiceUnreachable, match="health check does not answer"):
        of_airflow(settings, None)
