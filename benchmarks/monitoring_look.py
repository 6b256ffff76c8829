"""How much a look of monitoring costs: when nothing is new, and when the rows of an hour have come.

    python benchmarks/monitoring_look.py [--days 30] [--rows 2000] [--rounds 3] [--against TREE]

Each line is a whole process, `perennial monitor --model flight_delays`, from start to end. A small version answers flights of 2013, so many
rows on each of the days, most of which have an outcome; what a gateway says of itself is answered here, and no registry is up. Before
anything is measured, the store is looked at until nothing changes any more. Then the newest window is looked at again as it is, or after
the hour's requests of the day that is not over yet; with `--against`, by the code of another checkout beside, by turns, each on a copy of
its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from costs import by_turns, interpreter, show

MODEL, DATASET = "flight_delays", "flights"
TRAINED = (date(2013, 1, 1), date(2013, 1, 31))
SERVED = date(2013, 2, 1)
REQUEST_ROWS = 50
NOTHING, HOUR = "nothing new", "an hour's rows"


class House:
    """A store with January, a version that was trained on it and serves, and the logs of its server."""

    def __init__(self, folder: Path) -> None:
        from perennial.store import FolderStore

        self.store, self.folder = FolderStore(str(folder / "store")), folder / "version"

    def build(self, days: int, rows: int) -> None:
        """Take January in, seal a version, give it all traffic, and let it answer."""
        from perennial import discovery
        from perennial.data.snapshots import latest_snapshot
        from perennial.data.tables import Table
        from perennial.lineage.ledger import Ledger
        from perennial.lineage.version_folder import publish
        from perennial.testing import small_manifest, small_version

        january = rows_of(*TRAINED)
        Table(self.store, DATASET).append(january, "january")
        small_version(self.folder)
        fields = {field.name: field for field in discovery.dataset(DATASET).columns}
        signature = json.loads((self.folder / "signature.json").read_text())
        known = {given["name"] for given in signature["inputs"]}
        signature["inputs"] += [
            {"name": name, "type": fields[name].type, "nullable": True} for name in discovery.model(MODEL).inputs if name not in known
        ]
        (self.folder / "signature.json").write_text(json.dumps(signature))
        unseen = {"bounds": {"validation": ["2013-01-09", "2013-01-15"], "test": ["2013-01-15", "2013-01-29"]}}
        (self.folder / "training.json").write_text(json.dumps(unseen))
        snapshot = latest_snapshot(self.store, discovery.dataset(DATASET))
        assert snapshot is not None
        manifest = small_manifest(MODEL, snapshot=snapshot.version, snapshot_digest=snapshot.digest, run_key=f"{1:024d}", seed=1)
        digest = publish(self.store, MODEL, self.folder, manifest)
        self.store.write(f"reports/{MODEL}/{digest}/gate.json", b"{}")
        Ledger(self.store, MODEL).append(
            "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
        )
        flights = rows_of(SERVED, SERVED + timedelta(days=days))
        for number in range(days):
            self.serve(flights, SERVED + timedelta(days=number), rows, "day")

    def serve(self, flights: Any, day: date, count: int, name: str, *, outcomes: bool = True) -> None:
        """Answer flights as if they were asked for on a day, and log their outcomes."""
        import numpy as np

        from perennial.encoding import columns_from_rows
        from perennial.serving.prediction_log import OutcomeLog, PredictionLog
        from perennial.training.scoring import score

        rng = np.random.default_rng(day.toordinal())
        inputs = [given["name"] for given in json.loads((self.folder / "signature.json").read_text())["inputs"]]
        picked = flights.take(np.sort(rng.choice(flights.num_rows, count, replace=count > flights.num_rows))).select(inputs).to_pylist()
        picked = [{**row, "scheduled_departure": row["scheduled_departure"].isoformat()} for row in picked]
        scores = score(self.folder, columns_from_rows(picked, inputs))
        log, happened = PredictionLog(self.store, MODEL, 1), OutcomeLog(self.store, MODEL, 1)
        for begin in range(0, count, REQUEST_ROWS):
            when = datetime.combine(day, datetime.min.time()) + timedelta(minutes=begin % 1440)
            id, rows = f"{name}-{day}-{begin}", picked[begin : begin + REQUEST_ROWS]
            log.record(id, rows, scores[begin : begin + REQUEST_ROWS], 2.0, body_bytes=100, event_time=when.isoformat())
        log.segments.close()
        if outcomes:
            lines = [
                {
                    "id": f"{name}-{day}-{place // REQUEST_ROWS * REQUEST_ROWS}-{place % REQUEST_ROWS}",
                    "outcome": int(rng.random() < scores[place][1]),
                    "time": "2026-11-01T00:00:00+00:00",
                }
                for place in range(0, count, 2)
            ]
            self.store.write(f"outcomes/{MODEL}/{name}-{day}.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
        happened.segments.close()


def rows_of(first: date, last: date) -> Any:
    """Flights of some days, with times as tables have them."""
    import pyarrow as pa

    from perennial import discovery

    rows = pa.concat_tables([rows for _, rows in discovery.dataset_module(DATASET).land(first, last)])
    fields = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    return rows.cast(pa.schema(fields))


@contextmanager
def gateway() -> Iterator[str]:
    """An address that answers as the gateway and version 1 do when they are well."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ready": True, "model": MODEL, "version": 1}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def command(python: str, folder: Path, url: str) -> list[str]:
    """The command of a look."""
    settings = {
        "HOME": folder / "home",
        "STORE": folder / "store",
        "GATEWAY_URL": url,
        "MLFLOW_URL": "http://127.0.0.1:1",
        "AIRFLOW_URL": "http://127.0.0.1:1",
    }
    given = [f"PERENNIAL_{name}={value}" for name, value in settings.items()]
    return ["env", *given, str(Path(python).with_name("perennial")), "monitor", "--model", MODEL]


def main() -> None:
    """Build, settle, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", default="", metavar="TREE")
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    codes = {**({"before": interpreter(given.against)} if given.against else {}), "now": interpreter()}
    with tempfile.TemporaryDirectory() as scratch, gateway() as url:
        folder = Path(scratch)
        built = folder / "built"
        House(built).build(given.days, given.rows)
        ways, houses = {}, {}
        flights = rows_of(SERVED, SERVED)
        for what in (NOTHING, HOUR):
            for name, python in codes.items():
                way = f"{name}, {what}"
                own = folder / way.replace(", ", "-").replace(" ", "-").replace("'", "")
                shutil.copytree(built, own)
                ways[way], houses[way] = command(python, own, url), House(own)
                for _ in range(3):
                    said = subprocess.run(ways[way], capture_output=True, text=True, check=True)
                print(f"{way}: {said.stdout.strip()}", flush=True)
        hours = iter(range(10**6))

        def hour(way: str) -> None:
            if way.endswith(HOUR):
                houses[way].serve(flights, SERVED + timedelta(days=given.days - 1), max(given.rows // 24, 1), f"hour-{next(hours)}")

        show(by_turns(ways, given.rounds, hour))
        if given.keep:
            shutil.copytree(folder, given.keep)


if __name__ == "__main__":
    os.environ.setdefault("PERENNIAL_LOG_LEVEL", "WARNING")
    main()
