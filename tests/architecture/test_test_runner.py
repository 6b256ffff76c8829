"""The total that `make test` prints."""

from __future__ import annotations

import importlib.util
import sys
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
    """A broken fixture is a failure; a skip keeps its reason."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    total = runner.Total()
    total.add(report, 1)
    assert (total.passed, total.failed, total.skipped) == (1, 2, 1)
    assert total.reasons == {"a.left_out": "no radosgw here"}


def test_a_run_that_dies_counts_as_a_failure(runner: ModuleType, tmp_path: Path) -> None:
    """No report, or a bad exit code without a failed case, must not look like success."""
    total = runner.Total()
    total.add(tmp_path / "absent.xml", 139)
    assert total.failed == 1


def test_an_unknown_part_is_refused(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A typo must not pass as an empty run."""
    assert runner.main(["untit"]) == 2
    assert "untit" in capsys.readouterr().err
