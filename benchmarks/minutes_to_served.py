"""How long it takes from somebody's table to a served version, by the commands that the documents and `perennial try` show.

    python benchmarks/minutes_to_served.py

Three public tables, one after the other, on a platform of their own that starts empty: two classes, a number, and three classes with a
column that names rows. `try` is `perennial try` from its start to its end; `served` is from `perennial land` until the version answers the
printed curl. The start of the platform is told by itself: it is needed once. Needs the environments of `make setup`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.conftest import settings_of  # noqa: E402
from tests.newcomer import Newcomer, tables  # noqa: E402

from perennial.local import stack  # noqa: E402

PATIENCE = 900


def main() -> int:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory(prefix="perennial-minutes-") as scratch:
        home, project, files = (Path(scratch, name) for name in ("home", "my-models", "files"))
        for folder in (home, files):
            folder.mkdir()
        settings = settings_of(home)
        newcomer = Newcomer(settings, project)
        try:
            began = time.monotonic()
            newcomer.does(f"perennial new {project}")
            newcomer.does(f"export PERENNIAL_PROJECT={project}")
            newcomer.does("perennial up")
            start = time.monotonic() - began
            print(f"The platform started in {start:.0f} s, once for all.\n")
            print(f"{'table':<10}{'task':<12}{'rows':>6}{'try, s':>10}{'served, s':>12}{'minutes in all':>16}{'with the start':>16}")
            for name, table in tables(files).items():
                began = time.monotonic()
                said, commands = newcomer.tries(table)
                tried = time.monotonic() - began
                take_in, _, land, curl = commands
                newcomer.does(take_in)
                landed = time.monotonic()
                newcomer.does(land)
                newcomer.asks_until_answered(curl, PATIENCE)
                served, whole = time.monotonic() - landed, time.monotonic() - began
                rows = said.split(" rows,")[0].split()[-1]
                print(
                    f"{name:<10}{table.task:<12}{rows:>6}{tried:>10.0f}{served:>12.0f}{whole / 60:>16.1f}{(whole + start) / 60:>16.1f}",
                    flush=True,
                )
        finally:
            stack.stop(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
