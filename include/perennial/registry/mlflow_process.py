"""Turns this process into MLflow's server: `python -m perennial.registry.mlflow_process ARGUMENTS`, with those of `mlflow server`.

The command `mlflow server` checks its arguments, prepares the database, and then stays for as long as the server that it starts, with all
that it has loaded: 200 MB that wait. Here the one becomes the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


def become(command: Sequence[str], *, extra_env: Mapping[str, str], **kept: Any) -> NoReturn:
    """Replace this process by a command, with more variables; takes the arguments of what MLflow starts processes with."""
    del kept
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), {**os.environ, **extra_env})  # noqa: S606


def main(arguments: Sequence[str]) -> None:
    """Run the command up to where it starts the server."""
    from mlflow import cli, server

    vars(server)["_exec_cmd"] = become  # what it starts the server with
    cli.cli(["server", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
