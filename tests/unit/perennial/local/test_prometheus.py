"""What Prometheus and Alertmanager of one machine are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from perennial.errors import SettingMissing
from perennial.local import prometheus
from perennial.settings import Settings

ADDRESS = "https://hooks.example.com/services/T0/B0/secret"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a home in which both are wanted."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_METRICS": "1", "PERENNIAL_PORT_BASE": "18000"})


def told(settings: Settings, name: str) -> dict[str, object]:
    """One of the files that were written."""
    found: dict[str, object] = json.loads((prometheus.folder(settings) / f"{name}.yaml").read_text())
    return found


def test_alerts_go_where_incidents_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04, MN-09: The webhook of Airflow's connection gets them; its address lies in one file that only this user reads."""
    monkeypatch.setenv(prometheus.WEBHOOK, ADDRESS)
    prometheus.prepare(settings)
    (people,) = told(settings, "alertmanager")["receivers"]
    (slack,) = people["slack_configs"]
    assert (Path(slack["api_url_file"]).read_text(), slack["send_resolved"]) == (ADDRESS, True)
    for file in prometheus.folder(settings).iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert ("secret" in file.read_text()) is (file.name == "webhook")


@pytest.mark.parametrize("given", ["", "slack://hooks.example.com/x"])
def test_without_a_webhook_they_are_shown_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """MN-09: No webhook, or a connection of another form: Alertmanager shows what it has, and starts."""
    monkeypatch.setenv(prometheus.WEBHOOK, given)
    prometheus.prepare(settings)
    assert told(settings, "alertmanager")["receivers"] == [{"name": "people"}]


def test_what_is_asked_stands_in_the_settings(settings: Settings) -> None:
    """MN-04, OP-04: Ports follow from one base, everything listens on loopback, and releases read this Prometheus."""
    prometheus.prepare(settings)
    config = told(settings, "prometheus")
    assert "127.0.0.1:18004" in json.dumps(config["scrape_configs"])
    assert "127.0.0.1:18005" in json.dumps(config["alerting"])
    assert all(Path(file).is_file() for file in config["rule_files"])
    assert settings.prometheus_url == "http://127.0.0.1:18003"
    assert Settings.from_environment({}).prometheus_url == ""


def test_what_is_not_installed_is_named_with_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-01: One sentence before anything is started."""
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/prometheus" if name == "prometheus" else None)
    with pytest.raises(SettingMissing, match=r"and alertmanager cannot be found: `sudo apt-get install .* prometheus-alertmanager`"):
        prometheus.commands(settings)


def test_a_configuration_that_is_not_there_is_said(settings: Settings) -> None:
    """OP-01: Before anything is started with it."""
    with pytest.raises(SettingMissing, match="which is no file"):
        prometheus.prepare(settings.model_copy(update={"alertmanager_config": "/nowhere/alertmanager.yaml"}))


def test_an_own_configuration_is_taken(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-09: A team with receivers of its own keeps them."""
    own = tmp_path / "own.yaml"
    own.write_text("route: {receiver: x}\nreceivers: [{name: x}]\n")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    commands = prometheus.commands(settings.model_copy(update={"alertmanager_config": str(own)}))
    assert f"--config.file={own}" in commands[prometheus.ALERTMANAGER]
