"""Figures of this machine as gauges for Prometheus: processors, memory, disk and GPUs, as a whole and by program, and what Airflow does."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping

import psutil

from perennial.errors import ServiceUnreachable
from perennial.local.airflow_api import AirflowApi
from perennial.local.supervisor import Program
from perennial.settings import Settings
from perennial.views.gauges import Gauge, Sample

_GPU_FIELDS = ("index", "utilization.gpu", "memory.used", "memory.total")
_MIB = 1 << 20
_WAIT_SECONDS = 4


def of_machine(settings: Settings, programs: Mapping[str, Program]) -> list[Gauge]:
    """Gauges of the machine and of what runs under its supervisor; children of a program count as part of it."""
    memory, times, disk = psutil.virtual_memory(), psutil.cpu_times(), shutil.disk_usage(settings.home)
    idle = times.idle + getattr(times, "iowait", 0.0)
    cpu, resident = [], []
    for name, program in sorted(programs.items()):
        if program.pid is not None and (used := _used(program.pid)):
            cpu.append(({"program": name}, used[0]))
            resident.append(({"program": name}, used[1]))
    return [
        Gauge(
            "perennial_machine_cpu_seconds_total",
            "Processor time that was used, all processors together.",
            [({}, sum(times[:8]) - idle)],  # the fields after those are parts of them
            "counter",
        ),
        Gauge("perennial_machine_cpus", "Processors.", [({}, float(psutil.cpu_count() or 1))]),
        Gauge("perennial_machine_memory_bytes", "Memory.", [({}, float(memory.total))]),
        Gauge("perennial_machine_memory_available_bytes", "Memory that programs can have.", [({}, float(memory.available))]),
        Gauge("perennial_disk_bytes", "Size of the file system of PERENNIAL_HOME.", [({}, float(disk.total))]),
        Gauge("perennial_disk_free_bytes", "What is free on it.", [({}, float(disk.free))]),
        Gauge("perennial_program_cpu_seconds_total", "Processor time of a program and its children that run.", cpu, "counter"),
        Gauge("perennial_program_memory_bytes", "Resident memory of a program and its children.", resident),
        *_gpus(),
    ]


def _used(pid: int) -> tuple[float, float] | None:
    """Processor seconds and resident bytes of a process and its children; None if it has ended."""
    seconds = resident = 0.0
    try:
        main = psutil.Process(pid)
        family = [main, *main.children(recursive=True)]
    except psutil.Error:
        return None
    for process in family:
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:  # it ended meanwhile
            continue
        seconds += times.user + times.system
        resident += memory.rss
    return seconds, resident


def _gpus() -> list[Gauge]:
    """Gauges of NVIDIA's GPUs, as the tool of their driver tells; none where there is no such tool or it tells nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return gpu_gauges(told)


def gpu_gauges(told: str) -> list[Gauge]:
    """The gauges of what `nvidia-smi` tells: one line for each GPU; what a GPU does not measure, it tells as `[N/A]`."""
    samples: dict[str, list[Sample]] = {field: [] for field in _GPU_FIELDS[1:]}
    for line in told.splitlines():
        index, *values = (part.strip() for part in line.split(","))
        for field, value in zip(_GPU_FIELDS[1:], values, strict=False):
            if value.replace(".", "", 1).isdigit():
                samples[field].append(({"gpu": index}, float(value) * (0.01 if field.startswith("util") else _MIB)))
    return [
        Gauge("perennial_gpu_utilisation_ratio", "Share of the time in which the GPU computed.", samples["utilization.gpu"]),
        Gauge("perennial_gpu_memory_used_bytes", "Memory of the GPU that is used.", samples["memory.used"]),
        Gauge("perennial_gpu_memory_bytes", "Memory of the GPU.", samples["memory.total"]),
    ]


def of_airflow(settings: Settings, api: AirflowApi | None) -> list[Gauge]:
    """Which of Airflow's components beat, by its own health check, and what its DAGs do; the health alone without a login.

    Raises:
        PerennialError: Airflow does not answer, or refuses the login.
    """
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a server of this machine: never through a proxy
        with opener.open(f"http://{settings.host}:{settings.airflow_port}/api/v2/monitor/health", timeout=_WAIT_SECONDS) as answer:
            told = json.loads(answer.read())
        beats: list[Sample] = [
            ({"component": name}, float(part["status"] == "healthy")) for name, part in sorted(told.items()) if part and part["status"]
        ]
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceUnreachable(f"Airflow's health check does not answer ({type(error).__name__}): see `perennial status`.") from error
    gauges = [Gauge("perennial_airflow_healthy", "Whether a component of Airflow beats, by Airflow's own health check.", beats)]
    if api is None:
        return gauges
    runs: list[Sample] = [({"dag": dag, "state": state}, float(count)) for (dag, state), count in sorted(api.run_states().items()) if count]
    slots: list[Sample] = [
        ({"pool": name, "state": state}, float(count)) for name, pool in sorted(api.pools().items()) for state, count in pool.items()
    ]
    return [
        *gauges,
        Gauge("perennial_airflow_runs", "Runs of a DAG that Airflow remembers, by state.", runs),
        Gauge("perennial_airflow_pool_slots", "Slots of a pool, by what they do.", slots),
    ]
