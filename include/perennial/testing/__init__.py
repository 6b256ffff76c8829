"""Doubles and builders for tests, the project's and yours, and the promises that every model keeps.

    >>> from perennial.testing import check_model
    >>> check_model("digits")

| file | holds |
| --- | --- |
| `promises` | `check_model`: what every model keeps, tried without a training |
| `world` | `World`: a store, a ledger, a registry and a serving backend that belong together |
| `versions` | small version folders that serve, and a saboteur of one |
| `registry` | a registry in memory, and MLflow itself on a free port |
| `backend` | a serving backend without servers |
| `programs` | free ports, processes without a supervisor, waiting |
| `workbooks` | Excel and OpenDocument files |
| `forks`, `heavy` | processes that need not import the heavy libraries each |
"""

from perennial.testing.backend import RehearsedBackend
from perennial.testing.programs import Programs, RunningProgram, free_ports, started, wait_until
from perennial.testing.promises import PROMISES, Trial, broken_promises, check_model, rows_like
from perennial.testing.registry import RegistryInMemory, mlflow_server
from perennial.testing.versions import (
    CARRIERS,
    FEATURES,
    INPUTS,
    TIME_ZONE,
    publish_small_version,
    sabotage,
    small_dataset,
    small_manifest,
    small_model,
    small_rows,
    small_version,
)
from perennial.testing.world import World, crown

__all__ = [
    "CARRIERS",
    "FEATURES",
    "INPUTS",
    "PROMISES",
    "TIME_ZONE",
    "Programs",
    "RegistryInMemory",
    "RehearsedBackend",
    "RunningProgram",
    "Trial",
    "World",
    "broken_promises",
    "check_model",
    "crown",
    "free_ports",
    "mlflow_server",
    "publish_small_version",
    "rows_like",
    "sabotage",
    "small_dataset",
    "small_manifest",
    "small_model",
    "small_rows",
    "small_version",
    "started",
    "wait_until",
]
