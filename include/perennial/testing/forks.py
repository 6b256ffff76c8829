"""Python programs of a test in processes of their own, each forked from one process that has imported the heavy libraries once.

A program that trains or validates imports torch or Great Expectations for four CPU seconds; a test of what happens when processes are
killed or meet starts many.

    program = Forked(["-m", "perennial.cli", "--help"], dict(os.environ), tmp_path / "said")
    assert program.wait(60) == 0
    assert "usage: perennial" in program.said()
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["perennial.testing.heavy"])


class Forked:
    """What `python ARGUMENTS` would be, with the interface of `subprocess.Popen` as far as tests need it.

    Args:
        arguments: `-m` and a module, or a file; then its own arguments.
        environment: all variables that it has.
        output: file for what it writes to stdout and stderr, line by line.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        self.output = output
        self.output.touch()
        self._process = _CONTEXT.Process(target=_become, args=(list(arguments), dict(environment), str(output)))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """As `subprocess` has it: negative where a signal ended it; none while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Whether it has ended, and how."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end; how it ended.

        Raises:
            TimeoutError: it runs on.
        """
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"The process runs on after {seconds} s. It said: {self.said()}")
        return self._process.exitcode

    def said(self) -> str:
        """What it has written so far."""
        return self.output.read_text()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process.exitcode is None and self._process.pid:
            os.kill(self._process.pid, number)


def _become(arguments: list[str], environment: dict[str, str], output: str) -> None:
    """Run in the forked process: what the interpreter does with its arguments."""
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream, python_stream in ((1, sys.stdout), (2, sys.stderr)):
        os.dup2(file, stream)
        python_stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
