"""Projects: folders of a team with datasets, models, suites, DAGs and tests of its own, beside the platform's. Standard library only.

A project is laid out like the platform: `include/perennial_datasets`, `include/perennial_models`, `great_expectations/expectations`,
`dags`, `plugins`, `tests`, `requirements`. The variable `PERENNIAL_PROJECT` names one or more; `perennial new` makes one.

>>> [folder.name for folder in folders("/work/churn, /work/prices")]
['churn', 'prices']
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BUNDLE = "perennial_airflow.dag_bundle.SpecBundle"
VARIABLE = "PERENNIAL_PROJECT"
BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"  # Airflow's variable for them
ENVIRONMENTS = ("workload", "airflow", "serving")  # to which a project may add packages
EXTRA = "perennial-extra-requirements.txt"  # in an environment's folder: what projects added to it, each with its version
IMPORTED = ("include", "plugins")  # folders of a project from which Python imports


def folders(given: str) -> list[Path]:
    """The folders that the setting names, in its order."""
    named = (Path(part.strip()).expanduser().absolute() for part in given.split(",") if part.strip())
    return list(dict.fromkeys(Path(os.path.normpath(folder)) for folder in named))


def trouble(folder: Path) -> str:
    """A clause that says what keeps a folder from being a project; empty if it is one."""
    if not folder.is_dir():
        return f"there is no folder {folder}: correct {VARIABLE}, or make it with `perennial new {folder}`"
    if not any((folder / part).is_dir() for part in ("include", "dags")):
        return (
            f"the folder {folder} has neither include/ nor dags/, so it is no project: correct {VARIABLE}, or make one with `perennial new`"
        )
    return ""


def joined(package: str, path: Iterable[str]) -> list[str]:
    """Where Python looks for the modules of `perennial_datasets` or `perennial_models`: in the projects first, so that no later release of
    the platform takes a name from them. What else lies in `include` and `plugins` of a project can be imported from then on."""
    projects = folders(os.environ.get(VARIABLE, ""))
    for project in projects:
        for part in IMPORTED:
            if (place := str(project / part)) not in sys.path:
                sys.path.append(place)
    return [*(str(project / "include" / package) for project in projects), *path]


def requirements(named: Iterable[Path], environment: str) -> list[Path]:
    """Files of projects that ask for packages in an environment; those that ask for none are left out."""
    files = [project / "requirements" / f"{environment}.txt" for project in named]
    return [file for file in files if environment in ENVIRONMENTS and file.is_file() and any(_asked(file))]


def refused_line(file: Path) -> str:
    """The first line of such a file that is no package, with its number; empty if there is none."""
    return next((f"line {number}, {line!r}" for number, line in _asked(file) if line.startswith(("-", ".", "/"))), "")


def _asked(file: Path) -> Iterator[tuple[int, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    yield from ((number, text) for number, line in enumerate(lines, 1) if (text := re.split(r"(?:^|\s)#", line)[0].strip()))


def bundles(named: Iterable[Path]) -> list[dict[str, Any]]:
    """Airflow's bundles of DAG files: the platform's own folder, and that of each project; each file can import what lies beside it."""
    own: list[tuple[str, dict[str, str]]] = [("dags-folder", {})]
    theirs = [(f"project-{project.name}", {"path": str(project / "dags")}) for project in named if (project / "dags").is_dir()]
    return [{"name": name, "classpath": BUNDLE, "kwargs": kwargs} for name, kwargs in own + theirs]


def of(file: Path, named: Iterable[Path]) -> Path | None:
    """The project that a file lies in; None if it is the platform's."""
    return next((project for project in named if file.is_relative_to(project)), None)


def modules(project: Path) -> list[Path]:
    """What can be imported from a project besides datasets and models: a file or folder for each name."""
    inside = [each for part in IMPORTED if (project / part).is_dir() for each in sorted((project / part).iterdir())]
    return [
        each
        for each in inside
        if each.stem.isidentifier() and not each.stem.startswith(("_", "perennial_")) and (each.suffix == ".py" or each.is_dir())
    ]


def hidden_by(module: Path) -> str:
    """The place that Python imports the name of a project's module from instead; empty if it is the module."""
    spec = importlib.util.find_spec(module.stem)
    if spec is None:
        return ""
    places = list(spec.submodule_search_locations or [str(spec.origin)])
    return "" if any(Path(place).is_relative_to(module) for place in places) else places[0]


if __name__ == "__main__":  # `python -m perennial.projects`: Airflow's own option, for containers
    print(json.dumps(bundles(folders(os.environ.get(VARIABLE, "")))))
