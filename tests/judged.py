"""Versions as training, gate and registry leave them in the store, without weights: enough for whoever lists or compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from perennial.lineage.manifest import Manifest
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import key
from perennial.lineage.version_notes import evaluation_key
from perennial.store import Store

BEGIN = datetime(2026, 3, 1, tzinfo=timezone.utc)


def store_judged(
    store: Store,
    model: str,
    *,
    number: int | None = None,
    passed: bool = True,
    sentence: str = "It is good enough.",
    loss: float = 0.5,
    champion: tuple[int, str] | None = None,
    champion_loss: float = 0.6,
    at: int = 0,
    seed: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> str:
    """Store a version's manifest, training record, evaluation, verdict and, with a number, its receipt; returns its digest.

    Args:
        store: to write into.
        model: name of the model.
        number: what the registry gave it; none for a refused candidate.
        passed: what the gate said.
        sentence: why.
        loss: its log loss; the interval is 0.1 wide.
        champion: number and digest of the version it was measured beside.
        champion_loss: log loss of that version on the same rows.
        at: days after the first of March 2026 at which it was trained; it is its snapshot, too.
        seed: of its training, to tell versions of one snapshot apart.
        parameters: what the training was asked for.
        record: more of what the training measured.
    """
    manifest = Manifest(
        model=model,
        run_key=f"{at:024d}",
        dataset="flights",
        snapshot=at + 1,
        snapshot_digest=f"s{at}",
        code_digest="c",
        lock_digest="l",
        parameters=dict(parameters or {}),
        seed=at if seed is None else seed,
        cause="manual",
        created=BEGIN + timedelta(days=at),
        event_time_end="2026-01-31T23:00:00",
    )
    digest, folder = manifest.digest, key(model, manifest.digest)
    store.write(f"{folder}/manifest.json", manifest.model_dump_json().encode())
    measured = {
        "epochs": 2,
        "history": [{"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1.5 / epoch} for epoch in (1, 2)],
        "rows": {"train": 1000 + at, "validation": 100, "test": 200},
        "bounds": {"train": ["2026-01-01", "2026-02-01"], "validation": ["2026-02-01", "2026-02-08"], "test": ["2026-02-08", "2026-02-15"]},
    }
    store.write(f"{folder}/training.json", json.dumps({**measured, **(record or {})}).encode())
    test: dict[str, Any] = {"rows": 200, "days": ["2026-02-08", "2026-02-14"], "candidate": _measured(loss)}
    if champion:
        span = [loss - champion_loss - 0.02, loss - champion_loss + 0.02]
        test |= {"champion": _measured(champion_loss)}
        test["difference"] = {"metrics": {"log_loss": span}, "slices": {"carrier": {"AA": {"log_loss": span}}}}
    document = {
        "digest": digest,
        "bounds": measured["bounds"],
        "champion": {"version": champion[0], "digest": champion[1]} if champion else None,
        "parts": {"test": test},
    }
    store.write(evaluation_key(model, digest), json.dumps(document).encode())
    checks = [{"name": "champion", "passed": passed, "sentence": sentence}]
    store.write(verdict_key(model, digest), json.dumps({"passed": passed, "sentence": sentence, "checks": checks}).encode())
    if number is not None:
        note_registration(store, model, number, digest, {"gate": sentence, "cause": manifest.cause})
    return digest


def _measured(loss: float) -> dict[str, Any]:
    return {
        "metrics": {"accuracy": 1 - loss, "log_loss": loss},
        "intervals": {"accuracy": [0.95 - loss, 1.05 - loss], "log_loss": [loss - 0.05, loss + 0.05]},
        "slices": {"carrier": {"AA": {"rows": 120, "log_loss": loss + 0.1}, "UA": {"rows": 80, "log_loss": loss}}},
        "slice_intervals": {"carrier": {"AA": {"log_loss": [loss, loss + 0.2]}}},
        "curve": [[0.2, 0.25, 0.5], [0.8, 0.7, 0.5]],
    }
