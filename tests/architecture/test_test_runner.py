"""The total that `make test` prints."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

import pytest

RUNNER = Path(__file__).parents[1] / "run.py"
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure message="no"/></testcase>
<testcase classname="a" name="broken"><error message="no fixture"/></testcase>
<testcase classname="a" name="left_out"><skipped message="no radosgw here"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def runner() -> ModuleType:
    """tests/run.py as a module."""
    spec = importlib.util.spec_from_file_location("perennial_test_runner", RUNNER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_case_is_counted_once(runner: ModuleType, tmp_path: Path) -> None:
    """DE-01, SY-28: A broken fixture is a failure; a skip keeps its reason."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    total = runner.Total()
    total.add(report, 1)
    assert (total.passed, total.failed, total.skipped) == (1, 2, 1)
    assert total.failures == ["a.bad", "a.broken"]
    assert total.reasons == {"a.left_out": "no radosgw here"}


def test_a_run_that_dies_counts_as_a_failure(runner: ModuleType, tmp_path: Path) -> None:
    """DE-01: No report, or a bad exit code without a failed case, must not look like success."""
    total = runner.Total()
    total.add(tmp_path / "absent.xml", 139)
    assert total.failed == 1


def test_an_unknown_part_is_refused(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """DE-01: A typo must not pass as an empty run."""
    assert runner.main(["untit"]) == 2
    assert "untit" in capsys.readouterr().err


def test_the_cluster_is_left_out_unless_it_is_named(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-01: A plain run says in one line how the tests on a cluster are run, and counts none of them."""
    ran = _rehearse(runner, tmp_path, monkeypatch)
    assert runner.main([]) == 0
    assert {part for _, part in ran} == {"unit", "integration", "e2e"}
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if "make kubernetes" in line] == [runner.ONLY_IF_NAMED["kubernetes"]]
    assert told[-1] == f"{len(ran)} passed, 0 failed, 0 skipped"


def test_a_named_cluster_must_answer(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-01: Whoever asks for the tests on a cluster without one is told why they did not run; it does not end well."""
    ran = _rehearse(runner, tmp_path, monkeypatch)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert runner.main(["kubernetes"]) == 1
    assert not ran
    assert "set KUBECONFIG" in capsys.readouterr().err


def test_the_cluster_tests_run_in_both_environments(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-01: Stages as pods are Airflow's, served versions are the workload's."""
    ran = _rehearse(runner, tmp_path, monkeypatch)
    monkeypatch.setattr(runner, "cluster_answers", lambda: True)
    assert runner.main(["kubernetes"]) == 0
    assert ran == [("airflow", "kubernetes"), ("workload", "kubernetes")]


def test_nothing_is_installed_unasked(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-09: What tests could use and the machine has not is named in one line with the command, root or not; no program runs for it."""
    monkeypatch.setattr(runner.subprocess, "run", lambda *_, **__: pytest.fail("a program was run"))
    monkeypatch.setattr(runner.os, "geteuid", lambda: 0)
    _rehearse(runner, tmp_path, monkeypatch, absent=("radosgw", "chromium", "prometheus", "google-chrome"))
    assert runner.main([]) == 0
    packages = "radosgw ceph-mon ceph-osd prometheus"
    told = [line for line in capsys.readouterr().out.splitlines() if "apt-get" in line]
    assert told == [
        f"Tests that need {packages.replace(' ', ', ')} are skipped. To run them too: sudo apt-get install -y --no-install-recommends "
        f"{packages}"
    ]
    assert runner.main(["unit"]) == 0
    assert "apt-get" not in capsys.readouterr().out


def test_missing_packages_are_named_for_whoever_installs_them(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-09: .ci/run installs what this prints, and nothing else is done."""
    browsers = next(commands for commands in runner.DEBIAN if "chromium" in commands)
    ran = _rehearse(runner, tmp_path, monkeypatch, absent=(*browsers, "prometheus"))
    assert runner.main(["--missing-packages"]) == 0
    assert capsys.readouterr().out == "chromium-headless-shell prometheus\n"
    assert runner.main(["--missing-packages", "kubernetes"]) == 0
    assert capsys.readouterr().out == "prometheus\n"
    assert not ran


def test_the_readme_names_every_package(runner: ModuleType) -> None:
    """DE-09: One line says what the tests can use besides; kubernetes has its own page."""
    packages = " ".join(p for names, needed_by in runner.DEBIAN.values() if set(needed_by) != {"kubernetes"} for p in names)
    assert f"{runner.APT_GET} {packages}" in (RUNNER.parents[1] / "README.md").read_text()


def test_every_test_belongs_to_one_group(runner: ModuleType) -> None:
    """DE-01: A file in no group would never run, and one in two would run twice."""
    root = RUNNER.parents[1]
    for file in (root / "tests").rglob("test_*.py"):
        own = [name for name, _, _, paths in runner.GROUPS if any(file.is_relative_to(root / path) for path in paths)]
        assert len(own) == 1, f"{file} belongs to the groups {own}: put it into one of GROUPS in tests/run.py"


def test_projects_bring_tests_of_their_own(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-01: Of each project that is named, those of DAG files with Airflow and the others without; a plain run has them too. One that
    is not there, or none at all where its tests are asked for, is no success."""
    monkeypatch.delenv("PERENNIAL_PROJECT", raising=False)
    assert runner.main(["project"]) == 2
    assert capsys.readouterr().err == "PERENNIAL_PROJECT names no project, so there is nothing to test.\n"
    monkeypatch.setenv("PERENNIAL_PROJECT", f"{tmp_path}/ours,{tmp_path}/plain")
    assert runner.main([]) == 2
    assert f"There is no folder {tmp_path}/ours: correct PERENNIAL_PROJECT" in capsys.readouterr().err
    for folder in ("ours/include", "ours/tests/unit/dags", "plain/dags", "plain/tests"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("ours/tests", "ours/tests/unit/dags"):
        (tmp_path / folder / "test_it.py").touch()
    groups = {name: (part, venv, paths) for name, part, venv, paths in runner.groups_of_projects()}
    assert groups["ours/dags"] == ("project", "airflow", (f"{tmp_path}/ours/tests/unit/dags",))
    assert groups["ours"] == ("project", "workload", (f"{tmp_path}/ours/tests", f"--ignore={tmp_path}/ours/tests/unit/dags"))
    assert groups["plain"] == ("project", "workload", (f"{tmp_path}/plain/tests",))
    ran = _rehearse(runner, tmp_path, monkeypatch)
    assert runner.main([]) == 0
    assert ran.count(("workload", "project")) == ran.count(("airflow", "project")) == 1


def test_groups_run_beside_each_other(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-01: The suite takes as long as its longest group and not as all together, and each of them counts."""
    _rehearse(runner, tmp_path, monkeypatch)
    monkeypatch.setattr(runner, "SEATS", 2)
    both, passes, first = threading.Barrier(2), runner.run_group, threading.Semaphore(2)

    def waits_for_the_other(*group: object) -> tuple[Path, int]:
        if first.acquire(blocking=False):
            both.wait(60)
        return passes(*group)

    monkeypatch.setattr(runner, "run_group", waits_for_the_other)
    assert runner.main(["unit"]) == 0


def test_unit_tests_take_no_seat_from_tests_that_wait_for_servers(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DE-01: With one seat there is still a group of unit tests beside it, and it is the one that gives way."""
    _rehearse(runner, tmp_path, monkeypatch)
    monkeypatch.setattr(runner, "SEATS", 1)
    both, passes, gave_way, first = threading.Barrier(2), runner.run_group, {}, threading.Lock()

    def waits_for_the_other(name: str, part: str, venv: str, paths: list[str], in_the_gaps: bool = False) -> tuple[Path, int]:
        with first:
            gave_way.setdefault(part, []).append(in_the_gaps)
            is_first = len(gave_way[part]) == 1
        if is_first:
            both.wait(60)
        return passes(name, part, venv, paths)

    monkeypatch.setattr(runner, "run_group", waits_for_the_other)
    assert runner.main(["unit", "integration"]) == 0
    assert gave_way["unit"][0]
    assert not any(gave_way["integration"])


def test_a_free_seat_takes_over_unit_tests(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-01: While the first group of unit tests gives way to the others, the next one gets the seat of those that have ended."""
    _rehearse(runner, tmp_path, monkeypatch)
    monkeypatch.setattr(runner, "SEATS", 1)
    monkeypatch.setattr(runner, "GAPS", 1)
    passes, gave_way, begun, taken_over = runner.run_group, [], threading.Event(), threading.Event()

    def outlasts_the_others(name: str, part: str, venv: str, paths: list[str], in_the_gaps: bool = False) -> tuple[Path, int]:
        if part != "unit":
            begun.wait(60)
            return passes(name, part, venv, paths)
        gave_way.append(in_the_gaps)
        if in_the_gaps:
            begun.set()
            taken_over.wait(60)
        else:
            taken_over.set()
        return passes(name, part, venv, paths)

    monkeypatch.setattr(runner, "run_group", outlasts_the_others)
    assert runner.main(["unit", "integration"]) == 0
    assert gave_way[:2] == [True, False]


def test_groups_share_no_folder_and_no_line(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DE-01: Each has an Airflow, a measurement and a report of its own; what it says is marked by its name; how it ended is handed on."""
    python = tmp_path / "venvs" / "workload" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$AIRFLOW_HOME"; echo "$COVERAGE_FILE"; printf "%s\n" "$@" >&2; exit 3\n')
    python.chmod(0o755)
    monkeypatch.setattr(runner, "HOME", tmp_path)
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    said = {}
    for name in ("one", "two"):
        report, code = runner.run_group(name, "unit", "workload", ["tests/unit"])
        assert (report.name, code) == (f"{name}.xml", 3)
        mark, lines = f"{name:9} | ", capsys.readouterr().out.splitlines()
        assert all(line.startswith(mark) for line in lines)
        said[name] = {line.removeprefix(mark) for line in lines}
    shared = said["one"] & said["two"]
    assert "tests/unit" in shared
    assert not [line for line in shared if str(tmp_path) in line]


def _rehearse(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: Collection[str] = ()) -> list[tuple[str, str]]:
    """Let groups pass without running them; returns the environments and parts that are asked for."""
    ran: list[tuple[str, str]] = []

    def run_group(name: str, part: str, venv: str, paths: list[str], in_the_gaps: bool = False) -> tuple[Path, int]:
        ran.append((venv, part))
        report = tmp_path / f"{name}.xml"
        report.write_text('<testsuites><testsuite><testcase classname="a" name="good"/></testsuite></testsuites>')
        return report, 0

    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(runner, "run_group", run_group)
    monkeypatch.setattr(runner.shutil, "which", lambda command: None if command in absent else command)
    monkeypatch.setattr(runner, "coverage_is_enough", lambda: True)
    return ran
