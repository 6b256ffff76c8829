"""A real server behind a real gateway finds by key what a request leaves to it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perennial import testing
from perennial.lineage import version_folder
from perennial.online_values import Note, key_text, note_key, write_values
from perennial.serving.backends.local import server_socket
from perennial.sockets import get as get_from
from perennial.testing.versions import small_manifest, small_version

PLACE = note_key("weather", ["airport"])
ROW = {"carrier": "UA", "origin": "EWR", "scheduled_departure": "2013-02-01T06:30:00", "distance": 500}
JOIN = {
    "name": "weather", "values": PLACE, "key": [{"name": "origin", "type": "string"}], "columns": {"temp": "temperature"},
    "horizon_days": 0.25,
}  # fmt: skip


def joined_version(platform: Any) -> str:
    """Publish a small version whose temperature is found by the airport; its digest."""
    folder = small_version(platform.scratch / "joined", seed=3)
    signature = json.loads((folder / "signature.json").read_text())
    (folder / "signature.json").write_text(json.dumps({**signature, "joins": [JOIN], "moment": "scheduled_departure"}))
    return version_folder.publish(platform.store, platform.model.name, folder, small_manifest(platform.model.name, run_key="3" * 24))


def export(platform: Any, folder: Path, version: int, temperature: float) -> None:
    """Put the temperature of an hour at one airport into the store, as an ingestion does."""
    path = folder / f"{version}.sqlite"
    write_values(path, [(key_text(["EWR"]), datetime(2013, 2, 1, 6), {"temperature": temperature})])
    file = f"online/weather/{version}.sqlite"
    platform.store.upload(path, file)
    note = Note(
        file=file, sha256=platform.store.sha256(file), version=version, columns=("temperature",), keys=1, made=datetime.now(timezone.utc)
    )
    platform.store.write(PLACE, note.model_dump_json().encode())


def test_a_request_with_a_key_is_answered_as_one_with_the_column(new_platform: Any, tmp_path: Path) -> None:
    """SY-03, SE-01, SE-08: Before anything was exported the column is null; then it is what the key finds, to the last bit of the score,
    and newer values are taken while the server runs. Too old and unknown keys are null. Metrics and the log say what was found, how old."""
    platform = new_platform()
    platform.serve({1: 100}, {1: joined_version(platform)})

    def scores(**row: Any) -> list[float]:
        return list(platform.answers([{**ROW, **row}])[0])

    nothing, cold, warm = scores(temp=None), scores(temp=11.3), scores(temp=35.7)
    assert len({tuple(answer) for answer in (nothing, cold, warm)}) == 3
    assert scores() == nothing
    export(platform, tmp_path, 1, 11.3)
    testing.wait_until(lambda: scores() == cold, 60, "the first values")
    export(platform, tmp_path, 2, 35.7)
    testing.wait_until(lambda: scores() == warm, 60, "newer values")
    assert scores(temp=11.3) == cold  # at its word
    assert scores(origin="JFK") == scores(origin="JFK", temp=None)
    assert scores(scheduled_departure="2013-02-01T12:01:00") == scores(scheduled_departure="2013-02-01T12:01:00", temp=None)

    status, text = get_from(server_socket(platform.settings, platform.model.name, 1), "/metrics")
    assert status == 200
    counted = {line.split('state="')[1].split('"')[0] for line in text.splitlines() if line.startswith("perennial_joined_values_total{")}
    assert counted == {"unavailable", "found", "unknown_key", "too_old"}

    def joined() -> list[Any]:
        lines = [
            json.loads(line)
            for stored in platform.store.list(f"predictions/{platform.model.name}")
            for line in platform.store.read(stored.key).splitlines()
        ]
        return [line["joined"]["weather"] for line in lines if "joined" in line]

    wanted = ({"state": "found", "age_seconds": 1800.0}, {"state": "too_old", "age_seconds": 21660.0}, {"state": "unknown_key"})
    testing.wait_until(lambda: all(one in joined() for one in wanted), 60, "the log")
