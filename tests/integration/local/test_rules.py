"""Prometheus' rules, tried by Prometheus' own tool; and the configurations, by theirs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from perennial.local import prometheus
from perennial.settings import Settings

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests/fixtures/prometheus/rules_test.yaml"

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of the tools."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_alert_fires_for_what_it_is_for(tmp_path: Path) -> None:
    """MN-04, MN-15, MN-16: With the series of `rules_test.yaml`: every alert fires after its time, and none for what is well."""
    for file in (*prometheus.RULES, CASES):
        shutil.copy(file, tmp_path)
    tried = run("promtool", "test", "rules", str(tmp_path / CASES.name))
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_every_alert_is_tried() -> None:
    """MN-04: A new alert needs a case."""
    rules = "".join(file.read_text() for file in prometheus.RULES)
    names = [line.split(":")[1].strip() for line in rules.splitlines() if line.strip().startswith("- alert:")]
    cases = CASES.read_text()
    assert len(names) == len(set(names)) == rules.count("alert:")
    for name in names:
        assert f"alertname: {name}\n        exp_alerts" in cases, name


def test_the_configurations_are_ones_that_the_tools_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04: Of Prometheus, and of Alertmanager with a webhook and without."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_METRICS": "1"})
    for webhook in ("", "https://hooks.example.com/services/T0/B0/x"):
        monkeypatch.setenv(prometheus.WEBHOOK, webhook)
        prometheus.prepare(settings)
        checked = run("promtool", "check", "config", str(prometheus.folder(settings) / "prometheus.yaml"))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        if tool := shutil.which("amtool"):
            checked = run(tool, "check-config", str(prometheus.folder(settings) / "alertmanager.yaml"))
            assert checked.returncode == 0, checked.stdout + checked.stderr
