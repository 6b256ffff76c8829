"""`make test`: every test in the environment that it belongs to, one total at the end. Standard library only.

Arguments name a part: `unit`, `integration`, `e2e`; none runs all. The last line counts every test once:
`N passed, N failed, N skipped`. The exit code is 0 only if nothing failed and, where unit and integration tests both ran,
they cover enough of include/perennial.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
RESULTS = HOME / "test-results"
LEAST_COVERAGE = 90
# (name, part, environment, folders)
GROUPS = (
    ("airflow", "unit", "airflow", ("tests/architecture", "tests/unit/perennial_airflow", "tests/unit/dags")),
    ("workload", "unit", "workload", ("tests/unit/perennial", "tests/unit/perennial_models", "tests/unit/perennial_datasets")),
    ("servers", "integration", "workload", ("tests/integration",)),
    ("platform", "e2e", "workload", ("tests/e2e",)),
)
# Command of a server that tests start -> Debian packages that have it.
SERVERS = {"radosgw": ("radosgw", "ceph-mon", "ceph-osd")}


@dataclass
class Total:
    """What all groups counted together."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)  # skipped test -> why

    def add(self, report: Path, code: int) -> None:
        """Count one group's JUnit report; a group that ended badly without a failed test counts as one failure."""
        failed_before = self.failed
        cases = ET.parse(report).getroot().iter("testcase") if report.exists() else ()
        for case in cases:
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif skipped is not None:
                self.skipped += 1
                self.reasons[f"{case.get('classname')}.{case.get('name')}"] = skipped.get("message") or "no reason given"
            else:
                self.passed += 1
        if code and self.failed == failed_before:
            self.failed += 1


def main(parts: list[str]) -> int:
    """Run the parts; 0 if all is well."""
    unknown = [p for p in parts if p not in {part for _, part, _, _ in GROUPS}]
    if unknown:
        print(f"There is no part {unknown[0]!r}: name unit, integration or e2e.", file=sys.stderr)
        return 2
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    if not parts or "integration" in parts:
        install_servers()
    total, ran = Total(), set()
    for name, part, venv, folders in GROUPS:
        there = [f for f in folders if any((ROOT / f).rglob("test_*.py"))]
        if there and (not parts or part in parts):
            total.add(*run_group(name, venv, there, measured=part != "e2e"))
            ran.add(part)
    enough = coverage_is_enough() if {"unit", "integration"} <= ran else True
    for test, reason in sorted(total.reasons.items()):
        print(f"skipped {test}: {reason}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 0 if enough and not total.failed and total.passed else 1


def run_group(name: str, venv: str, folders: list[str], *, measured: bool) -> tuple[Path, int]:
    """Run one group's pytest; returns its JUnit report and exit code."""
    report, began = RESULTS / f"{name}.xml", time.monotonic()
    print(f"== {name}: {' '.join(folders)} ({venv})", flush=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AIRFLOW", "PYTHON", "MLFLOW_"))}
    environment |= {"COVERAGE_FILE": str(RESULTS / f"coverage-{name}"), "AIRFLOW_HOME": str(RESULTS / "airflow")}
    python = str(HOME / "venvs" / venv / "bin" / "python")
    runner = ["-m", "coverage", "run", "-m", "pytest"] if measured else ["-m", "pytest"]
    code = subprocess.run([python, *runner, f"--junitxml={report}", *folders], cwd=ROOT, env=environment, check=False).returncode
    print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    return report, code


def coverage_is_enough() -> bool:
    """Combine what the groups measured, print the report, compare with the least."""
    python = str(HOME / "venvs" / "workload" / "bin" / "python")
    environment = {**os.environ, "COVERAGE_FILE": str(RESULTS / "coverage")}
    measured = [str(f) for f in RESULTS.glob("coverage-*")]
    subprocess.run([python, "-m", "coverage", "combine", "--quiet", *measured], cwd=ROOT, env=environment, check=True)
    return not subprocess.run(
        [python, "-m", "coverage", "report", f"--fail-under={LEAST_COVERAGE}"], cwd=ROOT, env=environment, check=False
    ).returncode


def install_servers() -> None:
    """Servers that only Debian packages: installed where this is root's machine, named otherwise. Their tests are skipped without them."""
    for command, packages in SERVERS.items():
        if shutil.which(command):
            continue
        install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
        if os.geteuid() or not shutil.which("apt-get"):
            print(f"To run the tests against {command} too: sudo {' '.join(install)}")
            continue
        print(f"Installing {' '.join(packages)} ...", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["apt-get", "update"], install):
            done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{' '.join(install)} failed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
