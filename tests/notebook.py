"""`make notebook`: runs the notebook of the documentation and writes its outputs; tests run it too.

$ make notebook

Its cells run in one process, as in Jupyter, on a store, an MLflow server and a gateway of their own: no Airflow starts anything besides.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from perennial import testing
from perennial.commands import land
from perennial.errors import PerennialError
from perennial.local.supervisor import Supervisor
from perennial.serving import envoy
from perennial.serving.caller import gateway_trouble
from perennial.settings import Settings
from perennial.stages import ingest
from perennial.store import open_store

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs/notebook.ipynb"
VENVS = Path(os.environ.get("PERENNIAL_VENVS", ROOT / ".perennial" / "venvs"))
DATASET, FIRST, LAST = "digits", date(2024, 1, 1), date(2024, 1, 10)
# In place of the addresses that servers had here.
SHOWN_MLFLOW, SHOWN_AIRFLOW = "https://mlflow.example.com", "https://airflow.example.com"


@dataclass
class Ran:
    """What the cells did.

    Attributes:
        outputs: of each code cell, in the notebook's format.
        names: what they defined.
    """

    outputs: list[list[dict[str, Any]]] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def platform(folder: Path) -> Iterator[Settings]:
    """Ten days of the digits in a store, and the servers that a notebook asks, but no Airflow."""
    with contextlib.ExitStack() as stack:
        (folder / "mlflow").mkdir()
        mlflow = stack.enter_context(testing.mlflow_server(folder / "mlflow"))
        gateway, metrics = testing.free_ports(2)
        home = folder / "home"
        home.mkdir()
        (home / "venvs").symlink_to(VENVS)
        given = {
            "home": home,
            "store": folder / "store",
            "gateway_port": gateway,
            "metrics_port": metrics,
            "mlflow_url": mlflow.mlflow_url,
            "landing_settle_seconds": 0,
        }
        environment = {f"PERENNIAL_{name.upper()}": str(value) for name, value in given.items()}
        before = {name: value for name, value in os.environ.items() if name.startswith("PERENNIAL_")}
        stack.callback(os.environ.update, before)
        for name in {*before, *environment}:
            os.environ.pop(name, None)
            stack.callback(os.environ.pop, name, None)
        os.environ.update(environment)
        settings = Settings.from_environment()
        _take_in(settings)
        supervisor = Supervisor(settings)
        supervisor.start()
        stack.callback(supervisor.shutdown)
        envoy.prepare(settings)
        supervisor.add_program("envoy", envoy.command(settings), {})
        testing.wait_until(lambda: not gateway_trouble(settings), 60, "the gateway's answer")
        yield settings


def _take_in(settings: Settings) -> None:
    """Land some days, and ingest them."""
    store = open_store(settings.store)
    with contextlib.redirect_stdout(io.StringIO()):
        land.replay_source(store, DATASET, FIRST, LAST)
    taken = ingest.run(settings, store, DATASET)
    if taken.refused:
        raise AssertionError(taken.sentence)


def run(document: dict[str, Any]) -> Ran:
    """Run the code cells one after the other in one namespace. What a cell raises is raised; a refusal's sentence alone, as in Jupyter."""
    ran = Ran(names={"__name__": "__main__", "__builtins__": builtins})
    for number, cell in enumerate((cell for cell in document["cells"] if cell["cell_type"] == "code"), start=1):
        source = "".join(cell["source"])
        body = ast.parse(source)
        last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
        value, raised = None, None
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                exec(compile(body, f"cell {number}", "exec"), ran.names)
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), ran.names) if last else None
            except PerennialError as error:
                raised = error
        if (raised is not None) != ("raises-exception" in cell["metadata"].get("tags", [])):
            raise AssertionError(f"Cell {number} ended with {raised!r}:\n{source}\n{said.getvalue()}")
        ran.outputs.append(_outputs(number, said.getvalue(), value, raised))
    return ran


def _outputs(number: int, said: str, value: object, raised: PerennialError | None) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    if said:
        shown.append({"output_type": "stream", "name": "stdout", "text": _lines(said)})
    if raised is not None:
        sentence = raised._render_traceback_()
        shown.append({"output_type": "error", "ename": type(raised).__name__, "evalue": str(raised), "traceback": sentence})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        shown.append({"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}})
    return shown


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def written(document: dict[str, Any], ran: Ran, settings: Settings) -> str:
    """The notebook with these outputs, without addresses and folders of this machine."""
    outputs = iter(enumerate(ran.outputs, start=1))
    cells = [
        {**cell, **dict(zip(("execution_count", "outputs"), next(outputs), strict=True))} if cell["cell_type"] == "code" else cell
        for cell in document["cells"]
    ]
    text = json.dumps({**document, "cells": cells}, indent=1, ensure_ascii=False) + "\n"
    return text.replace(settings.mlflow_url, SHOWN_MLFLOW).replace(settings.airflow_url, SHOWN_AIRFLOW)


def main() -> int:
    """Run it and write it."""
    document = json.loads(NOTEBOOK.read_text())
    with tempfile.TemporaryDirectory(prefix="perennial-notebook-") as folder, platform(Path(folder)) as settings:
        text = written(document, run(document), settings)
    NOTEBOOK.write_text(text)
    print(f"Wrote {NOTEBOOK.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
