"""CPU time of the console's list of models, from the request to the last byte of the page.

    python benchmarks/console_list.py [--models 1 100] [--entries 1000] [--batches 10000] [--repeat 7] [--folder FOLDER]

Run with Airflow's Python (.perennial/venvs/airflow). Each model has a ledger of so many entries, a dataset of so many batches with a
receipt each, three registered versions and two open incidents. The app is asked in this process, as somebody who may do everything;
Airflow's own check of the login and the network are left out. The first answer includes loading the modules and templates; of the others
the median of the CPU seconds (user and system) is told, and the lowest and highest. Goal: under 0.3 s at 100 models.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "plugins"), str(ROOT / "include")]
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def fill(folder: Path, names: list[str], entries: int, batches: int) -> None:
    """A store with all of that."""
    from perennial.data.receipts import Receipt
    from perennial.incidents.incidents import Incidents
    from perennial.lineage import ledger
    from perennial.lineage.registrations import note_registration
    from perennial.store import FolderStore

    store = FolderStore(str(folder))
    shared = folder / "receipts" / names[0]
    shared.mkdir(parents=True)
    for number in range(batches):
        receipt = Receipt(
            id=f"{number:064x}", name=f"{number}.csv", size=1, outcome="appended", rows=1, version=number, sentence="One row."
        )
        (shared / f"{receipt.id}.json").write_text(receipt.model_dump_json())
    digests = {"1": "a" * 64, "2": "b" * 64}
    for name in names:
        if name != names[0]:
            (folder / "receipts" / name).symlink_to(shared)
        place, previous = folder / "ledger" / name, ledger.FIRST
        place.mkdir(parents=True)
        for seq in range(entries):
            version = 1 + seq % 2
            body = {
                "seq": seq, "time": (BEGIN + timedelta(hours=seq)).isoformat(), "model": name, "kind": "released", "version": version,
                "champion": version, "good": [3 - version], "weights": {str(version): 10_000}, "shadow": None, "versions": digests,
                "reason": "It is better on the test rows.", "evidence": {}, "actor": "perennial", "previous": previous,
            }  # fmt: skip
            previous = ledger._digest(body)
            (place / f"{seq:08d}.json").write_bytes(ledger._canonical({**body, "hash": previous}))
        store.write(f"views/ledger/{name}", str(entries - 1).encode())
        for number in (1, 2, 3):
            note_registration(store, name, number, f"{number:064d}", {"cause": "drift", "gate": "It is better."})
        incidents = Incidents(store, name)
        incidents.open("drift", "distance", "warning", "`distance` moved.")
        incidents.open("data quality", "unit of temp", "critical", "`temp` is in °C.")


def measure(folder: Path, names: list[str], repeat: int, like: Any) -> tuple[float, list[float], int]:
    """CPU seconds of the first answer, and of the others; bytes of the page."""
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
    import airflow.api_fastapi.app

    class Everybody:
        def filter_authorized_dag_ids(self, *, dag_ids: set[str], **_: Any) -> set[str]:
            return dag_ids

        def is_authorized_dag(self, **_: Any) -> bool:
            return True

    airflow.api_fastapi.app.get_auth_manager = Everybody
    import httpx
    from airflow.api_fastapi.core_api.security import get_user

    from perennial import discovery
    from perennial.settings import Settings
    from perennial_airflow.console.app import make_app

    specs = {name: like.model_copy(update={"name": name, "dataset": name}) for name in names}
    discovery._models = lambda: (specs, {})
    app = make_app(Settings.from_environment({"PERENNIAL_STORE": str(folder)}))
    app.dependency_overrides[get_user] = lambda: "somebody"

    async def ask() -> bytes:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080") as client:
            answer = await client.get("/models")
            answer.raise_for_status()
            return answer.content

    seconds, page = [], b""
    for _ in range(repeat + 1):
        began = time.process_time()
        page = asyncio.run(ask())
        seconds.append(time.process_time() - began)
    return seconds[0], seconds[1:], len(page)


def main() -> None:
    """Print a line for each number of models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 100])
    for name, default in (("entries", 1000), ("batches", 10_000), ("repeat", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="where the stores are kept; a temporary one unless given")
    given = parser.parse_args()
    from perennial import discovery

    flights = discovery.model("flight_delays")
    with tempfile.TemporaryDirectory() as temporary:
        for count in given.models:
            names, folder = [f"model_{number:03d}" for number in range(count)], (given.folder or Path(temporary)) / str(count)
            if not folder.exists():
                fill(folder, names, given.entries, given.batches)
            first, others, size = measure(folder, names, given.repeat, flights)
            print(
                f"{count} models, {given.entries:,} entries and {given.batches:,} batches each: "
                f"median {statistics.median(others):.3f} s of CPU "
                f"({min(others):.3f} to {max(others):.3f}; the first answer {first:.3f}), {size:,} bytes",
                flush=True,
            )


if __name__ == "__main__":
    main()
