"""`make test`: every test in the environment that it belongs to, one total at the end. Standard library only.

Arguments name a part: `unit`, `integration`, `e2e`, `kubernetes`, or `project`, the tests in the projects of PERENNIAL_PROJECT. None
runs all but `kubernetes`, which needs a cluster: one line says how to run it, and its tests count neither as passed nor as skipped.
Groups of tests run beside each other, because most of them wait for servers much of their time: each in processes, folders and ports of
its own, its lines marked by its name. The last line counts every test once: `N passed, N failed, N skipped`. The exit code is 0 only if
nothing failed and, where unit tests ran, they cover enough of include/perennial: they alone are measured, which costs a third of their
time. `--missing-packages` only names the Debian packages that tests could use and this machine has not; nothing is installed here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from perennial import projects  # noqa: E402

HOME = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
RESULTS = HOME / "test-results"
LEAST_COVERAGE = 90


def in_integration(*names: str) -> tuple[str, ...]:
    """Folders and files of tests/integration."""
    return tuple(f"tests/integration/{name}" for name in names)


def in_e2e(*names: str) -> tuple[str, ...]:
    """Files of tests/e2e, in the order in which they run."""
    return tuple(f"tests/e2e/test_{name}.py" for name in names)


def in_unit(*names: str) -> tuple[str, ...]:
    """Folders of tests/unit/perennial."""
    return tuple(f"tests/unit/perennial/{name}" for name in names)


def in_stages(letters: str) -> tuple[str, ...]:
    """Files of tests/unit/perennial/stages whose names begin so: those of ingestion take as long as all others together."""
    return tuple(str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests/unit/perennial/stages").glob(f"test_[{letters}]*.py")))


# (name, part, environment, folders and files), those that take longest first: a short one at the end leaves no core idle for long.
GROUPS = (
    ("platform", "e2e", "workload", in_e2e("loop", "console", "readme")),
    ("servers", "integration", "workload", in_integration("local", "serving")),
    (
        "stages",
        "integration",
        "workload",
        in_integration("training", "store", "sources", "monitoring", "registry", "test_ingestion.py", "test_dvc.py"),
    ),
    ("bucket", "e2e", "workload", in_e2e("kills", "traces", "loop_s3", "scoring", "people", "your_own_data")),
    ("rest", "integration", "workload", in_integration("chart", "console", "test_stored_before.py", "test_mutants.py", "test_notebook.py")),
    # Units are in several groups, so that who has a seat left takes some of them over.
    ("batches", "unit", "workload", in_stages("i")),
    ("steps", "unit", "workload", (*in_stages("a-hj-z"), *in_unit("testing"))),
    ("watching", "unit", "workload", in_unit("monitoring", "profiles", "incidents", "reports")),
    ("commands", "unit", "workload", in_unit("client", "commands", "local", "views")),
    ("tables", "unit", "workload", in_unit("data", "sources", "quality", "store", "labelling", "column_types", "engine")),
    ("versions", "unit", "workload", in_unit("training", "lineage", "registry", "serving")),
    (
        "words",
        "unit",
        "workload",
        (
            *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tests/unit/perennial").glob("test_*.py")),
            "tests/unit/perennial_models",
            "tests/unit/perennial_datasets",
        ),
    ),
    ("airflow", "unit", "airflow", ("tests/architecture", "tests/unit/perennial_airflow", "tests/unit/dags")),
    ("pods", "kubernetes", "airflow", ("tests/kubernetes/airflow",)),
    ("cluster", "kubernetes", "workload", ("tests/kubernetes/workload",)),
)
PROJECT = "project"  # the part of tests that lie in projects
NEEDS_AIRFLOW = ("tests/unit/dags", "tests/unit/airflow")  # folders of a project
SEATS = os.cpu_count() or 1  # groups at the same time; with one more the servers of all of them starve each other
# Parts whose tests wait for no server: they run beside the seats, some groups at a time, in what those leave of the processors.
IN_THE_GAPS = ("unit",)
GAPS = 2  # groups in the gaps at the same time: with one, two cores were idle a fifth of the time
NICE = "10"
GAP_TIMEOUT = 1800  # seconds for one test in the gaps: it may have to wait for a processor
# Group -> variables of ours that are no settings and are handed on to it; all others stay out.
HANDED_ON = {
    "versions": ("PERENNIAL_SELDON_CRDS", "PERENNIAL_KSERVE_CRDS", "PERENNIAL_GATEWAY_CRDS"),
    "pods": ("PERENNIAL_SELDON_CRDS", "PERENNIAL_TEST_"),
    "cluster": ("PERENNIAL_SELDON_CRDS", "PERENNIAL_TEST_"),
    PROJECT: (projects.VARIABLE,),
}
MEASURED = ("unit",)
# Parts that run only where they are named -> what a run without them says.
ONLY_IF_NAMED = {"kubernetes": "tests/kubernetes was not run: to run it, set KUBECONFIG to a cluster's file, then run `make kubernetes`"}
# Commands that tests start, any of which will do -> Debian packages that have them, and the parts that need them.
DEBIAN = {
    ("radosgw",): (("radosgw", "ceph-mon", "ceph-osd"), ("integration", "e2e", "kubernetes")),
    ("chromium-headless-shell", "chromium", "google-chrome"): (("chromium-headless-shell",), ("integration", "e2e")),
    ("mosquitto", "/usr/sbin/mosquitto"): (("mosquitto",), ("integration",)),
    ("syslog-ng", "/usr/sbin/syslog-ng"): (("syslog-ng-core", "syslog-ng-mod-http"), ("integration",)),
    ("prometheus",): (("prometheus",), ("integration", "e2e", "kubernetes")),
    ("prometheus-alertmanager", "alertmanager"): (("prometheus-alertmanager",), ("e2e",)),
}
ONLY_NAME = "--missing-packages"
APT_GET = "apt-get install -y --no-install-recommends"


@dataclass
class Total:
    """What all groups counted together."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)  # skipped test -> why
    failures: list[str] = field(default_factory=list)  # tests, in the order of their reports

    def add(self, report: Path, code: int) -> None:
        """Count one group's JUnit report; a group that ended badly without a failed test counts as one failure."""
        failed_before = self.failed
        cases = ET.parse(report).getroot().iter("testcase") if report.exists() else ()
        for case in cases:
            test, skipped = f"{case.get('classname')}.{case.get('name')}", case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
                self.failures.append(test)
            elif skipped is not None:
                self.skipped += 1
                self.reasons[test] = skipped.get("message") or "no reason given"
            else:
                self.passed += 1
        if code and self.failed == failed_before:
            self.failed += 1
            self.failures.append(f"{report.stem}: it ended with {code} and names no test")


def main(parts: list[str]) -> int:
    """Run the parts; 0 if all is well."""
    known = [*dict.fromkeys(part for _, part, _, _ in GROUPS), PROJECT]
    every = (*GROUPS, *groups_of_projects())
    if parts[:1] == [ONLY_NAME]:
        print(*missing_packages(parts[1:] or [part for part in known if part not in ONLY_IF_NAMED]))
        return 0
    unknown = [p for p in parts if p not in known]
    if unknown:
        print(f"There is no part {unknown[0]!r}: name {', '.join(known[:-1])} or {known[-1]}.", file=sys.stderr)
        return 2
    named = projects.folders(os.environ.get(projects.VARIABLE, ""))
    wrong = [why for project in named if (why := projects.trouble(project))]
    if PROJECT in parts and not named:
        wrong = [f"{projects.VARIABLE} names no project, so there is nothing to test"]
    if wrong:
        print(*(f"{why[0].upper()}{why[1:]}." for why in wrong), sep="\n", file=sys.stderr)
        return 2
    wanted = parts or [part for part in known if part not in ONLY_IF_NAMED]
    if "kubernetes" in wanted and not cluster_answers():
        return 1
    if wanted == [PROJECT]:
        global RESULTS  # noqa: PLW0603 - those of the platform's own tests stay
        RESULTS = named[0] / ".perennial" / "test-results"
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    if missing := missing_packages(wanted):
        print(f"Tests that need {', '.join(missing)} are skipped. To run them too: sudo {APT_GET} {' '.join(missing)}", flush=True)
    total, groups = Total(), [(name, part, venv, list(paths)) for name, part, venv, paths in every if part in wanted and hold_tests(paths)]
    alone = "kubernetes" in wanted  # a cluster is shared: nothing runs beside its tests
    seated = deque(group for group in groups if alone or group[1] not in IN_THE_GAPS)
    filling = deque(group for group in groups if group not in seated)
    workers = [(False, seated, filling)] * (1 if alone else SEATS) + [(True, filling)] * (GAPS * bool(seated))
    taking = threading.Lock()

    def work_off(in_the_gaps: bool, *queues: deque[tuple[str, str, str, list[str]]]) -> None:
        """Run groups until none is left, those of the first queue first: who has a seat takes over what the gaps had no time for."""
        while True:
            with taking:
                group = next((queue.popleft() for queue in queues if queue), None)
            if group is None:
                return
            ended = run_group(*group, in_the_gaps)
            with taking:
                total.add(*ended)

    with ThreadPoolExecutor(len(workers)) as pool:
        for worker in [pool.submit(work_off, *worker) for worker in workers]:
            worker.result()
    enough = coverage_is_enough() if set(MEASURED) <= set(wanted) else True
    for test, reason in sorted(total.reasons.items()):
        print(f"skipped {test}: {reason}")
    for test in total.failures:
        print(f"failed {test}")
    if not parts:
        print(*ONLY_IF_NAMED.values(), sep="\n")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 0 if enough and not total.failed and total.passed else 1


def groups_of_projects() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """The tests of projects: those that need Airflow, and all others, each in the project's folder."""
    for project in projects.folders(os.environ.get(projects.VARIABLE, "")):
        within = [folder for name in NEEDS_AIRFLOW if (folder := project / name).is_dir()]
        yield f"{project.name}/dags", PROJECT, "airflow", tuple(map(str, within))
        yield project.name, PROJECT, "workload", (str(project / "tests"), *(f"--ignore={folder}" for folder in within))


def cluster_answers() -> bool:
    """Whether there is a cluster to test on; says why not. Whoever names the part is not served by tests that are all skipped."""
    python = str(HOME / "venvs" / "airflow" / "bin" / "python")
    found = subprocess.run([python, "-P", "tests/kubernetes/cluster.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        print((found.stdout.strip() or found.stderr.strip() or "the cluster cannot be asked").splitlines()[-1], file=sys.stderr)
    return not found.returncode


def hold_tests(paths: Collection[str]) -> bool:
    """Whether there is a test file at one of these paths."""
    return any((ROOT / path).is_file() or any((ROOT / path).rglob("test_*.py")) for path in paths)


def run_group(name: str, part: str, venv: str, paths: list[str], in_the_gaps: bool = False) -> tuple[Path, int]:
    """Run one group's pytest and show what it writes; returns its JUnit report and exit code."""
    report, began = RESULTS / f"{name.replace('/', '-')}.xml", time.monotonic()
    show(name, f"{' '.join(paths)} ({venv})")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AIRFLOW", "PYTHON", "MLFLOW_"))}
    environment |= {k: v for k, v in os.environ.items() if k.startswith(HANDED_ON.get(PROJECT if part == PROJECT else name, ()))}
    environment |= {"COVERAGE_FILE": str(RESULTS / f"coverage-{report.stem}"), "AIRFLOW_HOME": str(RESULTS / f"airflow-{report.stem}")}
    python = str(HOME / "venvs" / venv / "bin" / "python")
    runner = ["-m", "coverage", "run", "-m", "pytest"] if part in MEASURED else ["-m", "pytest"]
    gentle, patient = (["nice", "-n", NICE], ["-o", f"timeout={GAP_TIMEOUT}"]) if in_the_gaps else ([], [])
    command = [*gentle, python, *runner, *patient, f"--junitxml={report}", "-o", f"cache_dir={RESULTS / f'cache-{report.stem}'}", *paths]
    tests = Path(paths[0])
    cwd = next(folder for folder in (tests, *tests.parents) if folder.name == "tests").parent if part == PROJECT else ROOT
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as group:
        assert group.stdout
        for line in group.stdout:
            show(name, line.rstrip())
        _, status, used = os.wait4(group.pid, 0)
        group.returncode = os.waitstatus_to_exitcode(status)
    code = group.returncode
    how = "all is well" if not code else f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
    show(
        name,
        f"{how} after {time.monotonic() - began:.0f} s, with {used.ru_utime + used.ru_stime:.0f} s of CPU in processes that have ended",
    )
    return report, group.returncode


def show(name: str, line: str) -> None:
    """Write a line of a group, whole, whatever other groups write."""
    sys.stdout.write(f"{name:9} | {line}\n")
    sys.stdout.flush()


def coverage_is_enough() -> bool:
    """Combine what the groups measured, print the report, compare with the least."""
    python = str(HOME / "venvs" / "workload" / "bin" / "python")
    environment = {**os.environ, "COVERAGE_FILE": str(RESULTS / "coverage")}
    measured = [str(f) for f in RESULTS.glob("coverage-*")]
    subprocess.run([python, "-m", "coverage", "combine", "--quiet", *measured], cwd=ROOT, env=environment, check=True)
    return not subprocess.run(
        [python, "-m", "coverage", "report", f"--fail-under={LEAST_COVERAGE}"], cwd=ROOT, env=environment, check=False
    ).returncode


def missing_packages(parts: Collection[str]) -> list[str]:
    """Debian packages that tests of some parts can use and this machine has not; without them those tests are skipped."""
    wanted = [
        packages
        for commands, (packages, needed_by) in DEBIAN.items()
        if set(parts) & set(needed_by) and not any(map(shutil.which, commands))
    ]
    return [package for packages in wanted for package in packages]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
