"""CPU, latency and memory of prediction requests by server and protocol, by turns.

    python benchmarks/serving_overhead.py [--requests 1600] [--rounds 5] [--rows 1 100 1000] [--version FOLDER] [--mlserver]

The project's own server (`open`) and seldon-core's wrapper (`seldon`) serve the same version with four threads each; eight connections ask.
Each round asks every one of them in turn, and ratios are those of a round: a machine that is slower in one round is so for all. CPU is
that of the serving process and its children, from /proc. All check their input and log every answer. Needs the serving environment;
`--mlserver` measures MLServer with our runtime beside them, and makes its environment if it is not there.
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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import perennial
from perennial import testing
from perennial.lineage import version_folder
from perennial.local import environments
from perennial.serving import open_inference_pb2 as messages
from perennial.serving import processes
from perennial.serving.mlserver_folder import Told
from perennial.store import open_store

VENV = Path(os.environ.get("PERENNIAL_VENVS", Path(perennial.__file__).parents[2] / ".perennial" / "venvs")) / "serving" / "bin"
CONNECTIONS = 8
V1 = "/api/v1.0/predictions"
CALL = "/inference.GRPCInferenceService/ModelInfer"
DATATYPES = {"int": "INT64", "float": "FP64", "bool": "BOOL"}


@dataclass(frozen=True)
class Way:
    """One way to ask a version."""

    name: str
    server: str
    protocol: str


WAYS = (
    Way("seldon, v1", "seldon", "v1"),
    Way("open, v1", "open", "v1"),
    Way("open, V2 REST", "open", "v2"),
    Way("open, V2 gRPC message", "open", "grpc"),
)
MLSERVER = Way("MLServer, V2 REST", "mlserver", "v2")


def bodies(model: str, rows: list[Mapping[str, Any]], inputs: list[dict[str, Any]]) -> dict[str, tuple[str, str, bytes]]:
    """Path, kind and body of the same request in each protocol; the call of gRPC as the gateway hands it on."""
    tensors = []
    message = messages.ModelInferRequest(model_name=model)
    for field in inputs:
        kind = DATATYPES.get(field["type"], "BYTES")
        values = [row[field["name"]] for row in rows]
        tensors.append({"name": field["name"], "datatype": kind, "shape": [len(rows)], "data": values})
        given = message.inputs.add(name=field["name"], datatype=kind, shape=[len(rows)])
        missing = [place for place, value in enumerate(values) if value is None]
        if missing:
            given.parameters["nulls"].string_param = ",".join(map(str, missing))
        blank = {"INT64": 0, "FP64": 0.0, "BOOL": False, "BYTES": ""}[kind]
        filled = [blank if value is None else value for value in values]
        contents = {"INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}[kind]
        getattr(given.contents, contents).extend([value.encode() for value in filled] if kind == "BYTES" else filled)
    return {
        "v1": (V1, "application/json", json.dumps({"data": {"rows": rows}}).encode()),
        "v2": (f"/v2/models/{model}/infer", "application/json", json.dumps({"inputs": tensors}).encode()),
        "grpc": (CALL, "application/x-protobuf", message.SerializeToString()),
    }


def ask(port: int, asked: tuple[str, str, bytes], count: int) -> list[float]:
    """Send `count` requests over all connections; milliseconds of each."""
    path, kind, body = asked
    taken: list[float] = []

    def one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(max(1, count // CONNECTIONS)):
            begun = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise SystemExit(f"{path} answered {answer.status}: {text[:300]!r}")
            taken.append((time.perf_counter() - begun) * 1e3)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def start_mlserver(folder: Path, store: str, told: Told, environment: Mapping[str, str], port: int, log: Any) -> subprocess.Popen[bytes]:
    """MLServer with a version, one process."""
    home = VENV.parents[2]
    environments.make_on_demand(home, "mlserver")
    models = folder / "models" / told.model
    models.mkdir(parents=True)
    for name, content in told.files().items():
        (models / name).write_bytes(content)
    further = zip(("MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT"), map(str, testing.free_ports(2)), strict=True)
    own = {**environment, "PERENNIAL_STORE": store, "MLSERVER_HTTP_PORT": str(port), **dict(further)}
    command = [str(home / "venvs/mlserver/bin/python"), "-m", "perennial.serving.mlserver_runtime", "--models", str(folder / "models")]
    return subprocess.Popen(command, env=own, cwd=folder, stdout=log, stderr=log)


def wait_for(port: int, path: str) -> None:
    """Until the version is ready."""

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    testing.wait_until(answers, 60, "a ready server")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU per prediction request.")
    parser.add_argument("--requests", type=int, default=1600, help="of one row each; fewer of larger ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 100, 1000], help="rows of a request")
    parser.add_argument("--version", type=Path, help="a version folder; a small one if absent")
    parser.add_argument("--mlserver", action="store_true", help="MLServer with our runtime too")
    given = parser.parse_args()
    ways = (*WAYS, MLSERVER) if given.mlserver else WAYS
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), open_store(f"{name}/store")
        copy = folder / "version"
        if given.version:
            manifest = version_folder.Manifest.model_validate_json((given.version / "manifest.json").read_text())
            subprocess.run(["cp", "-r", given.version, copy], check=True)
            model, digest = manifest.model, version_folder.publish(store, manifest.model, copy, manifest)
        else:
            model = "small_delays"
            digest = testing.publish_small_version(store, copy)
        golden = json.loads((copy / "golden.json").read_text())["rows"]
        inputs = json.loads((copy / "signature.json").read_text())["inputs"]
        servers = ("open", "seldon")
        ports = dict(zip(servers, testing.free_ports(len(servers)), strict=True))
        others = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
        environment = {**others, "PERENNIAL_HOME": f"{folder}/home", "PERENNIAL_STORE": store.root}
        command = [str(VENV / "python"), "-m", "perennial.serving.server", "--model", model, "--version", "1", "--digest", digest]
        with (folder / "log").open("w") as log:
            running = {
                server: subprocess.Popen(
                    [*command, "--port", str(port), "--server", server], env=environment, cwd=folder, stdout=log, stderr=log
                )
                for server, port in ports.items()
            }
            if given.mlserver:
                (ports["mlserver"],) = testing.free_ports(1)
                told = Told(model, 1, digest)
                running["mlserver"] = start_mlserver(folder, store.root, told, environment, ports["mlserver"], log)
        try:
            for server, port in ports.items():
                wait_for(port, f"/v2/models/{model}/ready" if server == "mlserver" else "/ready")
            print(f"{model}, {CONNECTIONS} connections, {given.rounds} rounds by turns: medians; ratios are medians of the rounds' ratios")
            print(f"{'':24} {'rows':>6} {'CPU µs/request':>15} {'of seldon':>10} {'p50 ms':>8} {'p99 ms':>8}")
            for size in given.rows:
                asked = bodies(model, [golden[place % len(golden)] for place in range(size)], inputs)
                count = max(10 * CONNECTIONS, given.requests // max(1, size // 10))
                figures: dict[str, list[tuple[float, float, float]]] = {way.name: [] for way in ways}
                for _ in range(given.rounds):
                    for way in ways:
                        pids = processes.family(running[way.server].pid)
                        ask(ports[way.server], asked[way.protocol], count // 10)
                        before = processes.cpu_seconds(pids)
                        taken = ask(ports[way.server], asked[way.protocol], count)
                        cpu = (processes.cpu_seconds(pids) - before) / len(taken) * 1e6
                        figures[way.name].append((cpu, statistics.median(taken), statistics.quantiles(taken, n=100)[98]))
                first = figures[WAYS[0].name]
                for way in ways:
                    cpu, middle, high = (statistics.median(values) for values in zip(*figures[way.name], strict=True))
                    ratio = statistics.median(one[0] / other[0] for one, other in zip(figures[way.name], first, strict=True))
                    print(f"{way.name:24} {size:6} {cpu:15.0f} {ratio:10.2f} {middle:8.2f} {high:8.2f}")
            for server, process in running.items():
                print(f"{server}: {len(processes.family(process.pid))} processes, {rss(processes.family(process.pid)):.0f} MB resident")
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait(30)


def rss(pids: list[int]) -> float:
    """Resident memory of processes in all, MB; what two of them share counts twice."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
