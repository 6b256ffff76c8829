"""CPU, latency and memory of prediction requests, beside the least that a prediction can cost, by turns.

    python benchmarks/serving_overhead.py [--requests 1600] [--rounds 5] [--rows 1 100 1000 10000] [--against TREE] [--wrapper] [--mlserver]

The project's own server serves a version of the model flight_delays (untrained: its graph and encoder are as large as a trained one's) and
is asked by Seldon's v1 form and by the Open Inference Protocol, with the rows of real flights. Beside it stand two servers without anything
that makes a server safe (`bare_server.py`): FastAPI with the same encoder and graph, to which all ratios are, and a bare function on
uvicorn. Eight connections ask; each round asks every one of them in turn, and ratios are those of a round: a machine that is slower in one
round is so for all. CPU is that of the serving process and its children, from /proc. Ours checks its input and logs every answer.

Needs the environments workload (which runs it) and serving. FastAPI is installed below PERENNIAL_HOME/benchmarks. `--against` measures the
server of another checkout too, `--wrapper` seldon-core's, `--mlserver` MLServer with our runtime, whose environment it makes if need be.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from perennial import discovery, testing
from perennial.encoding import rows_from_columns, without_points
from perennial.lineage import version_folder
from perennial.local import environments
from perennial.serving import open_inference_pb2 as messages
from perennial.serving import processes
from perennial.serving.mlserver_folder import Told
from perennial.store import open_store

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("PERENNIAL_HOME", ROOT / ".perennial"))
PYTHON = "venvs/serving/bin/python"
MODEL = "flight_delays"
DAYS = date(2013, 1, 1), date(2013, 1, 14)
MOST_ROWS = 10_000
SETTLE_SECONDS = 1.2  # in which the log of what was answered is written: it counts
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


FLOORS = (Way("bare FastAPI", "fastapi", "v1"), Way("bare ASGI, orjson", "asgi", "v1"))
OURS = (Way("ours, v1", "open", "v1"), Way("ours, V2 REST", "open", "v2"), Way("ours, V2 gRPC message", "open", "grpc"))
BEFORE = tuple(Way(way.name.replace("ours", "before"), "before", way.protocol) for way in OURS)
WRAPPER = Way("seldon-core, v1", "seldon", "v1")
MLSERVER = Way("MLServer, V2 REST", "mlserver", "v2")
FASTAPI = ("fastapi", "starlette", "anyio", "annotated-doc")  # what the serving environment lacks of it


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


def untrained(folder: Path) -> list[dict[str, Any]]:
    """Write a version folder of MODEL with the weights that a training begins with; rows to ask it about."""
    from perennial.training import export
    from perennial.training.learners import lightning

    spec, features = discovery.model(MODEL), discovery.model_part(MODEL, "features")
    source = discovery.dataset_module(spec.dataset)
    frame = pa.concat_tables([table for _, table in source.land(*DAYS)]).to_pandas()
    columns = {name: frame[name].to_numpy() for name in spec.inputs}
    encoder = features.fit(columns)
    encoded = features.encode(encoder, columns)
    export.export(
        folder, spec=spec, dataset=source.DATASET, features=features, encoder=encoder, inputs=encoded, columns=columns,
        learned=lightning.sketch(spec, encoder, encoded), calibration=export.Calibration(1.0, (0.0, 0.0)),
    )  # fmt: skip
    rows = rows_from_columns({name: values[:MOST_ROWS] for name, values in columns.items()}, spec.inputs)
    whole = [column.name for column in source.DATASET.columns if column.type == "int" and column.name in spec.inputs]
    return [{**row, **dict(zip(whole, without_points([row[name] for name in whole]), strict=True))} for row in rows]  # pandas has 2.0


def fastapi_packages() -> Path:
    """A folder with FastAPI, in the versions of the workload environment, for the serving one."""
    folder = HOME / "benchmarks" / "fastapi"
    lock = (ROOT / "include/images/workload/requirements.txt").read_text().split()
    wanted = [next(line for line in lock if line.startswith(f"{name}==")) for name in FASTAPI]
    done = folder / "installed"
    if not done.exists() or done.read_text() != " ".join(wanted):
        command = [
            HOME / "venvs/tools/bin/uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            HOME / PYTHON,
            "--target",
            folder,
            "--no-deps",
            *wanted,
        ]
        subprocess.run(command, check=True)
        done.write_text(" ".join(wanted))
    return folder


def command_of(server: str, port: int, version: Path, served: Sequence[str], against: Path | None) -> Sequence[str]:
    """The command of a server."""
    if server in ("fastapi", "asgi"):
        return [str(HOME / PYTHON), str(ROOT / "benchmarks" / "bare_server.py"), server, str(version), str(port)]
    python = against / ".perennial" / PYTHON if server == "before" and against else HOME / PYTHON
    kind = "seldon" if server == "seldon" else "open"
    return [str(python), "-m", "perennial.serving.server", *served, "--port", str(port), "--server", kind]


def start_mlserver(folder: Path, store: str, told: Told, environment: Mapping[str, str], port: int, log: Any) -> subprocess.Popen[bytes]:
    """MLServer with a version, one process."""
    environments.make_on_demand(HOME, "mlserver")
    models = folder / "models" / told.model
    models.mkdir(parents=True)
    for name, content in told.files().items():
        (models / name).write_bytes(content)
    further = zip(("MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT"), map(str, testing.free_ports(2)), strict=True)
    own = {**environment, "PERENNIAL_STORE": store, "MLSERVER_HTTP_PORT": str(port), **dict(further)}
    command = [str(HOME / "venvs/mlserver/bin/python"), "-m", "perennial.serving.mlserver_runtime", "--models", str(folder / "models")]
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
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 100, 1000, 10_000], help="rows of a request")
    parser.add_argument("--version", type=Path, help="another version folder, asked about its golden rows")
    parser.add_argument("--against", type=Path, metavar="TREE", help="the server of another checkout beside it")
    parser.add_argument("--wrapper", action="store_true", help="seldon-core's wrapper too")
    parser.add_argument("--mlserver", action="store_true", help="MLServer with our runtime too")
    given = parser.parse_args()
    ways = [
        *FLOORS,
        *OURS,
        *(BEFORE if given.against else ()),
        *([WRAPPER] if given.wrapper else []),
        *([MLSERVER] if given.mlserver else []),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name), open_store(f"{name}/store")
        version = folder / "version"
        if given.version:
            manifest = version_folder.Manifest.model_validate_json((given.version / "manifest.json").read_text())
            subprocess.run(["cp", "-r", given.version, version], check=True)
            known = json.loads((version / "golden.json").read_text())["rows"]
        else:
            known, manifest = untrained(version), testing.small_manifest(MODEL)
        model, digest = manifest.model, version_folder.publish(store, manifest.model, version, manifest)
        inputs = json.loads((version / "signature.json").read_text())["inputs"]
        servers = list(dict.fromkeys(way.server for way in ways))
        ports = dict(zip(servers, testing.free_ports(len(servers)), strict=True))
        others = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
        environment = {**others, "PERENNIAL_HOME": f"{folder}/home", "PERENNIAL_STORE": store.root, "PYTHONPATH": str(fastapi_packages())}
        served = ["--model", model, "--version", "1", "--digest", digest]
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            with (folder / "log").open("w") as log:
                for server, port in ports.items():
                    if server == "mlserver":
                        running[server] = start_mlserver(folder, store.root, Told(model, 1, digest), environment, port, log)
                    else:
                        command = command_of(server, port, version, served, given.against)
                        own = {name: value for name, value in environment.items() if name != "PYTHONPATH" or server == "fastapi"}
                        running[server] = subprocess.Popen(command, env=own, cwd=folder, stdout=log, stderr=log)
            for server, port in ports.items():
                wait_for(port, f"/v2/models/{model}/ready" if server == "mlserver" else "/ready")
            print(f"{model}, {CONNECTIONS} connections, {given.rounds} rounds by turns: medians; ratios are medians of the rounds' ratios")
            print(f"{'':24} {'rows':>6} {'CPU µs/request':>15} {'of FastAPI':>10} {'p50 ms':>8} {'p99 ms':>8}")
            for size in given.rows:
                asked = bodies(model, [known[place % len(known)] for place in range(size)], inputs)
                count = max(3 * CONNECTIONS, given.requests // max(1, size // 10))
                figures: dict[str, list[tuple[float, float, float]]] = {way.name: [] for way in ways}
                for _ in range(given.rounds):
                    for way in ways:
                        pids = processes.family(running[way.server].pid)
                        ask(ports[way.server], asked[way.protocol], count // 10)
                        time.sleep(SETTLE_SECONDS)
                        before = processes.cpu_seconds(pids)
                        taken = ask(ports[way.server], asked[way.protocol], count)
                        time.sleep(SETTLE_SECONDS)
                        cpu = (processes.cpu_seconds(pids) - before) / len(taken) * 1e6
                        figures[way.name].append((cpu, statistics.median(taken), statistics.quantiles(taken, n=100)[98]))
                first = figures[ways[0].name]
                for way in ways:
                    cpu, middle, high = (statistics.median(values) for values in zip(*figures[way.name], strict=True))
                    ratio = statistics.median(one[0] / other[0] for one, other in zip(figures[way.name], first, strict=True))
                    print(f"{way.name:24} {size:6} {cpu:15.0f} {ratio:10.2f} {middle:8.2f} {high:8.2f}", flush=True)
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
