"""Perennial keeps ML models fresh: the library behind the stages. It does not depend on Airflow.

From a notebook, `import perennial` is all it takes: the functions below are looked up when they are asked for, so that whoever imports
the package for something else, such as a DAG file at each parse, loads nothing of them.

>>> import perennial
>>> view = perennial.models()
>>> "digits" in view.frame["name"].tolist()
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

MYPY = False  # mypy takes it for true: Airflow's environment, where it checks the plugin, lacks what the functions are made of
if TYPE_CHECKING and not MYPY:  # for editors
    from perennial.client import (
        Candidate,
        Connection,
        Evaluation,
        Judged,
        Shown,
        TableProfile,
        connect,
        models,
        outcomes,
        profile,
        release,
        rows,
        score,
        show,
        snapshot,
        train,
    )

__all__ = [
    "Candidate",
    "Connection",
    "Evaluation",
    "Judged",
    "Shown",
    "TableProfile",
    "connect",
    "models",
    "outcomes",
    "profile",
    "release",
    "rows",
    "score",
    "show",
    "snapshot",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("perennial.client"), name)
    raise AttributeError(f"module 'perennial' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
