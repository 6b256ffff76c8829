"""Somebody with a file of rows, who does what the README and the commands say and knows nothing else; and three such files.

Shared by a test and a benchmark. What a newcomer has made lies in a project, which the commands that are printed make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from perennial.local.project import ROOT
from perennial.settings import Settings

README = (ROOT / "README.md").read_text()
EXPORT = "export PERENNIAL_PROJECT="


@dataclass(frozen=True)
class Table:
    """A public table as a file, as people have it."""

    file: Path
    label: str
    task: str
    metric: str  # by which the gate measures it


def tables(folder: Path) -> dict[str, Table]:
    """Two classes, a number, and three classes with a column that names the rows, in German dialect; none has a time."""
    tumours, sugar, wine = (load(as_frame=True) for load in (load_breast_cancer, load_diabetes, load_wine))
    tumours.frame["target"] = np.array(["malignant", "benign"])[tumours.frame["target"]]
    tumours.frame.rename(columns={"target": "diagnosis"}).to_csv(folder / "tumours.csv", index=False)
    sugar.frame.rename(columns={"target": "progression"}).to_parquet(folder / "sugar.parquet", index=False)
    bottles = wine.frame.sample(frac=1, random_state=7).rename(columns={"target": "cultivar"})
    bottles["cultivar"] = np.array(["Barolo", "Grignolino", "Barbera"])[bottles["cultivar"]]
    bottles.insert(0, "bottle", [f"B{number:04d}" for number in range(len(bottles))])
    bottles.to_csv(folder / "wine.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")
    return {
        "tumours": Table(folder / "tumours.csv", "diagnosis", "binary", "log_loss"),
        "sugar": Table(folder / "sugar.parquet", "progression", "regression", "rmse"),
        "wine": Table(folder / "wine.csv", "cultivar", "multiclass", "log_loss"),
    }


class Newcomer:
    """Somebody at a shell, in a project of their own."""

    def __init__(self, settings: Settings, project: Path) -> None:
        self.project = project
        self.environment = settings.environment()

    def tries(self, table: Table) -> tuple[str, list[str]]:
        """Run the first command that the README has for one's own data; what it says, and the commands that it says come next."""
        shown = re.search(r"^\$ (perennial try [^#\n]*)", README, re.MULTILINE)
        assert shown
        said = self.does(shown[1].replace("FILE", str(table.file)).replace("COLUMN", table.label))
        commands = [line.strip() for line in said.splitlines() if _is_command(line)]
        return said, [command.replace(str(ROOT.parent / "my-models"), str(self.project)) for command in commands]

    def does(self, command: str) -> str:
        """Run a command; returns what it prints. It must succeed."""
        if command.startswith(EXPORT):  # in this shell, for all that follows
            self.environment["PERENNIAL_PROJECT"] = command.removeprefix(EXPORT)
            return ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **self.environment, "PATH": path}
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def asks_until_answered(self, curl: str, seconds: float) -> dict[str, Any]:
        """Ask by the command that was printed until the version that is being made answers."""
        until = time.monotonic() + seconds
        while True:
            said = self.does(f"{curl} || true")
            try:
                answer: dict[str, Any] = json.loads(said)
                if "data" in answer:
                    return answer
            except ValueError:  # the gateway knows no such model yet
                pass
            assert time.monotonic() < until, f"No version answered within {seconds:.0f} s: {said}"
            time.sleep(1)


def _is_command(line: str) -> bool:
    return re.match(r"  (cp|curl|export|\S*perennial) ", line) is not None
