"""A platform of its own, from this checkout or another one, for benchmarks that measure one that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import processes

from perennial.settings import Settings

PORT_BASE = 23_000


@contextmanager
def scratch(project: Path | None = None, examples: str = "") -> Iterator[Settings]:
    """The settings of a platform in a folder that is removed afterwards, with the environments in which this runs."""
    with tempfile.TemporaryDirectory(prefix="perennial-benchmark-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user where this is root
        home = Path(folder, "home")
        home.mkdir()
        (home / "venvs").symlink_to(Path(sys.prefix).parent)
        given = {"PERENNIAL_HOME": str(home), "PERENNIAL_PORT_BASE": str(PORT_BASE), "PERENNIAL_EXAMPLES": examples}
        yield Settings.from_environment({**given, **({"PERENNIAL_PROJECT": str(project)} if project else {})})


@contextmanager
def running(settings: Settings) -> Iterator[int]:
    """The process id of the supervisor of a platform that is started, and stopped afterwards."""
    command = [str(Path(sys.executable).with_name("perennial"))]
    environment = settings.environment()
    try:
        subprocess.run([*command, "up"], env={**_here(), **environment}, stdout=sys.stderr, check=True)
        yield int((settings.home / "supervisor" / "supervisord.pid").read_text())
    finally:
        subprocess.run([*command, "down"], env={**_here(), **environment}, stdout=sys.stderr, check=True)


def settled(supervisor: int, below: float, patience: float = 900.0) -> None:
    """Wait until a platform takes less than so many CPU seconds a minute: what a start brings with it has ended."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = processes.cpu_seconds(supervisor)
        time.sleep(20)
        if (processes.cpu_seconds(supervisor) - before) * 3 < below:
            return
    raise SystemExit(f"The platform was not quiet within {patience:.0f} s.")


def _here() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PERENNIAL_", "AIRFLOW", "PYTHON"))}
