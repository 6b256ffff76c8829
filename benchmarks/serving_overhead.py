"""CPU and latency of one prediction request: the fast path (bytes in, bytes out) beside the wrapper's plain `predict`.

    python benchmarks/serving_overhead.py [--requests 3000] [--rounds 3] [--version FOLDER]

Both run under the wrapper's gunicorn with four threads, one after the other in alternating rounds; eight connections ask for one row at a
time. CPU is that of the serving process and its children, from /proc. The fast path also checks its input and logs every answer; the plain
one does neither. Needs the serving environment.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import perennial
from perennial import testing
from perennial.lineage import version_folder
from perennial.store import open_store

VENV = Path(os.environ.get("PERENNIAL_VENVS", Path(perennial.__file__).parents[2] / ".perennial" / "venvs")) / "serving" / "bin"
CONNECTIONS = 8

PLAIN = '''
import json, pathlib
import numpy as np
from perennial import encoding
from perennial.serving.scorer import Scorer
from seldon_core.flask_utils import SeldonMicroserviceException

class Plain:
    """What the wrapper's documentation shows: an array in, an array out."""

    def __init__(self, folder):
        self.folder = folder

    def load(self):
        self.scorer = Scorer(pathlib.Path(self.folder))

    def predict(self, X, names, meta=None):
        rows = [dict(zip(names, row)) for row in X.tolist()] if hasattr(X, "tolist") else [dict(zip(names, row)) for row in X]
        return self.scorer.score(encoding.columns_from_rows(rows, names))

    def class_names(self):
        return self.scorer.names
'''


def cpu_seconds(pid: int) -> float:
    """CPU of a process and all below it."""
    below = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(
        cpu_seconds(int(child)) for child in below if Path(f"/proc/{child}").exists()
    )


def ask(port: int, body: bytes, path: str, count: int) -> list[float]:
    """Send `count` requests over all connections; milliseconds of each."""
    taken: list[float] = []

    def one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(count // CONNECTIONS):
            begun = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise SystemExit(f"{path} answered {answer.status}")
            taken.append((time.perf_counter() - begun) * 1e3)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def wait_for(port: int) -> None:
    """Until the server answers."""

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health/ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    testing.wait_until(answers, 60, "the server's answer")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU per prediction request.")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--version", type=Path, help="a version folder; a small one if absent")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), open_store(f"{name}/store")
        if given.version:
            manifest = version_folder.Manifest.model_validate_json((given.version / "manifest.json").read_text())
            copy = folder / "version"
            subprocess.run(["cp", "-r", given.version, copy], check=True)
            model, digest = manifest.model, version_folder.publish(store, manifest.model, copy, manifest)
        else:
            copy, model = folder / "version", "small_delays"
            digest = testing.publish_small_version(store, copy)
        row = json.loads((copy / "golden.json").read_text())["rows"][0]
        (folder / "Plain.py").write_text(PLAIN)
        fast, plain, metrics = testing.free_ports(3)
        environment = {**os.environ, "PERENNIAL_HOME": f"{folder}/home", "PERENNIAL_STORE": store.root, "PYTHONPATH": str(folder)}
        parameters = json.dumps([{"name": "folder", "value": str(copy), "type": "STRING"}])
        commands = {
            "fast path": [
                VENV / "python",
                "-m",
                "perennial.serving.server",
                "--model",
                model,
                "--version",
                "1",
                "--digest",
                digest,
                "--port",
                str(fast),
            ],
            "plain predict": [
                *(VENV / "seldon-core-microservice", "Plain", "--threads", "4", "--grpc-workers", "0", "--log-level", "ERROR"),
                *("--http-port", str(plain), "--metrics-port", str(metrics), "--parameters", parameters),
            ],
        }
        bodies = {
            "fast path": (fast, json.dumps({"data": {"rows": [row]}}).encode()),
            "plain predict": (plain, json.dumps({"data": {"names": list(row), "ndarray": [list(row.values())]}}).encode()),
        }
        with (folder / "log").open("w") as log:
            running = {
                what: subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log) for what, command in commands.items()
            }
        try:
            figures: dict[str, list[tuple[float, float, float]]] = {what: [] for what in running}
            for port, _ in bodies.values():
                wait_for(port)
            for _ in range(given.rounds):
                for what, process in running.items():
                    port, body = bodies[what]
                    ask(port, body, "/api/v1.0/predictions", 200)
                    before = cpu_seconds(process.pid)
                    taken = ask(port, body, "/api/v1.0/predictions", given.requests)
                    figures[what].append(
                        (
                            (cpu_seconds(process.pid) - before) / len(taken) * 1e6,
                            statistics.median(taken),
                            statistics.quantiles(taken, n=100)[98],
                        )
                    )
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait(30)
        print(f"{model}, one row a request, {CONNECTIONS} connections, {given.rounds} rounds of {given.requests}: medians of the rounds")
        print(f"{'':15} {'CPU µs/request':>15} {'p50 ms':>8} {'p99 ms':>8}")
        for what, rounds in figures.items():
            cpu, middle, high = (statistics.median(values) for values in zip(*rounds, strict=True))
            print(f"{what:15} {cpu:15.0f} {middle:8.2f} {high:8.2f}")


if __name__ == "__main__":
    main()
