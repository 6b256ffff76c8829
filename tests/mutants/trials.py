"""Runs a module's tests on its mutants, each in a fork of this process that imports the mutant in the module's place.

The files of the project are only read. A fork begins with the libraries imported, but with nothing of the project, and runs the tests
that reach the changed statement, quickest first, up to the first failure.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import coverage
import hypothesis
import pytest
from changes import Mutant
from modules import ROOT, Module

OWN = ("perennial", "tests", "conftest", "test_", "changes", "modules", "trials", "__main__")
PASSED = 0
EXAMPLES = 25  # of a hypothesis test that does not say how many it wants


class TrialError(Exception):
    """A sentence for a person."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killed: bool


@dataclass
class Coverage:
    """What the tests reach of the unchanged module."""

    seconds: dict[str, float]  # by test
    reached: dict[int, set[str]]  # tests by line
    shared: set[int]  # lines that run while modules are imported, or for several tests at once
    libraries: list[str]  # modules that are imported and not ours
    cpu_seconds: float = 0.0

    def tests_of(self, lines: range) -> list[str]:
        """The tests that reach one of the lines, quickest first."""
        tests = set(self.seconds) if self.shared & set(lines) else set().union(*(self.reached.get(line, set()) for line in lines))
        return sorted(tests, key=lambda test: (self.seconds[test], test))


class Trials:
    """The tests of one module, ready to be run on its mutants."""

    def __init__(self, module: Module, work: Path, text: str) -> None:
        """Runs the tests twice on the unchanged module. Raises TrialError where one fails: a mutant would tell nothing."""
        self.module, self.work = module, work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        measured, began = work / "measured.json", time.monotonic()
        measure = self._fork(lambda: _measure(module, measured, self._arguments("measure")), "measure")
        self._expect_pass(measure, "measure")
        read = json.loads(measured.read_text())
        self.coverage = Coverage(
            read["seconds"], {int(line): set(tests) for line, tests in read["reached"].items()}, set(read["shared"]), read["libraries"]
        )
        _import_libraries(self.coverage.libraries)
        control = self._fork(lambda: _run(module, text, list(self.coverage.seconds), self._arguments("control")), "control")
        self.coverage.cpu_seconds = self._expect_pass(control, "control")
        self.most_seconds = 300 + 20 * (time.monotonic() - began)  # a mutant may wait for ever, without any processor time

    def of(self, mutants: Sequence[Mutant], jobs: int, deadline: float = math.inf) -> Iterator[Verdict]:
        """Verdicts as they come; mutants whose turn has not come at the deadline (`time.monotonic`) are left out."""
        waiting, running = list(reversed(mutants)), {}
        try:
            while waiting or running:
                while waiting and len(running) < jobs and time.monotonic() < deadline:
                    mutant = waiting.pop()
                    tests = self.coverage.tests_of(mutant.lines)
                    if tests:
                        running[self._start(mutant, tests)] = mutant, time.monotonic()
                    else:
                        yield Verdict(mutant, killed=False)
                if not running:
                    return
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid:
                    mutant, _ = running.pop(pid)
                    self._clear(pid)
                    yield Verdict(mutant, killed=os.waitstatus_to_exitcode(status) != PASSED)
                else:
                    for late in [pid for pid, (_, since) in running.items() if time.monotonic() - since > self.most_seconds]:
                        os.kill(late, signal.SIGKILL)
                    time.sleep(0.01)
        finally:
            for pid in running:
                self._clear(pid)
                os.waitpid(pid, 0)

    def _start(self, mutant: Mutant, tests: list[str]) -> int:
        limit = math.ceil(10 + 5 * self.coverage.cpu_seconds)
        return self._fork(lambda: _run(self.module, mutant.text, tests, self._arguments(str(os.getpid()))), "mutant", limit)

    def _arguments(self, folder: str) -> list[str]:
        quiet = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        quiet += ["--timeout=0"]  # processor time ends a mutant that never would; a busy machine is no reason
        if self.module.slow_tests:
            quiet += ["-k", f"not ({' or '.join(self.module.slow_tests)})"]
        return [*quiet, "--hypothesis-profile=mutants", f"--basetemp={self.work / folder}", *map(str, self.module.tests)]

    def _fork(self, act: Callable[[], int], log: str, cpu_seconds: int = 0) -> int:
        """The process id of a child that ends with what `act` returns; its output is in `work/LOG.txt`."""
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            return pid
        code = 1
        try:
            os.setsid()
            if cpu_seconds:
                resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
            output = os.open(self.work / f"{log}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = act()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # nothing of the parent's may be tidied up here

    def _expect_pass(self, pid: int, log: str) -> float:
        _, status, usage = os.wait4(pid, 0)
        self._clear(pid)
        if os.waitstatus_to_exitcode(status) != PASSED:
            ending = "\n".join((self.work / f"{log}.txt").read_text(errors="replace").splitlines()[-30:])
            again = f"{sys.executable} -m pytest {' '.join(map(str, self.module.tests))}"
            raise TrialError(
                f"{ending}\nThe tests of {self.module.source} fail on the module as it stands, before any mutant is tried: "
                f"mend them first. To run them: {again}"
            )
        return usage.ru_utime + usage.ru_stime

    def _clear(self, pid: int) -> None:
        """End what a trial has left running, and remove its files."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(self.work / str(pid), ignore_errors=True)


class _InPlace(importlib.machinery.SourceFileLoader, importlib.abc.MetaPathFinder):
    """Imports a text in the place of a module's file."""

    def __init__(self, module: Module, text: str) -> None:
        super().__init__(module.name, str(ROOT / module.source))
        self.text = text

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Chosen:
    """Keeps pytest to some tests, in their order."""

    def __init__(self, tests: list[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.places), key=lambda item: self.places[item.nodeid])


class _Measuring:
    """Notes how long each test takes and which lines it reaches."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.measured.switch_context(item.nodeid)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - began
            self.measured.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        self.measured.switch_context("")  # several tests depend on it
        try:
            return (yield)
        finally:
            self.measured.switch_context(request._pyfuncitem.nodeid)


def _measure(module: Module, result: Path, arguments: list[str]) -> int:
    source = str(ROOT / module.source)
    measured = coverage.Coverage(data_file=None, config_file=False, include=[source])
    plugin = _Measuring(measured)
    _quiet_hypothesis()
    measured.start()
    try:
        code = int(pytest.main(arguments, plugins=[plugin]))
    finally:
        measured.stop()
    contexts = measured.get_data().contexts_by_lineno(source)
    libraries = [name for name, there in list(sys.modules.items()) if not name.startswith(OWN) and getattr(there, "__spec__", None)]
    result.write_text(
        json.dumps(
            {
                "seconds": plugin.seconds,
                "reached": {line: [test for test in tests if test] for line, tests in contexts.items()},
                "shared": [line for line, tests in contexts.items() if "" in tests],
                "libraries": libraries,
            }
        )
    )
    return code


def _run(module: Module, text: str, tests: list[str], arguments: list[str]) -> int:
    sys.meta_path.insert(0, _InPlace(module, text))
    _quiet_hypothesis()
    return int(pytest.main(arguments, plugins=[_Chosen(tests)]))


def _quiet_hypothesis() -> None:
    """The same few examples for every mutant: what is drawn anew might kill one today and another tomorrow."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", derandomize=True, max_examples=EXAMPLES, database=None, deadline=None, phases=phases)


def _import_libraries(names: list[str]) -> None:
    """Before the forks, so that each need not do it. Parts that only their own package can import are left to them."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # pytest collects garbage several times, which else goes through all that was imported here
