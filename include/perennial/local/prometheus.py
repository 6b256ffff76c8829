"""Prometheus and Alertmanager of this machine: where they are, what they are told, and their commands.

Both are Debian's, or any that are on the PATH. What they are told is written below `<home>/metrics` at each `perennial up`: one scrape of
all figures, the rules of the chart and those of one machine, and where alerts go. JSON, which is YAML too.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perennial.errors import SettingMissing
from perennial.local.metrics_server import ADDRESS
from perennial.local.project import ROOT
from perennial.settings import Settings
from perennial.store import private_folder

PROMETHEUS, ALERTMANAGER = "prometheus", "alertmanager"
PROGRAMS = {PROMETHEUS: ("prometheus",), ALERTMANAGER: ("prometheus-alertmanager", "alertmanager")}  # Debian's name, and the project's
PACKAGES = ("prometheus", "prometheus-alertmanager")
RULES = (ROOT / "helm/perennial/files/rules.yaml", ROOT / "include/compose/prometheus/machine_rules.yaml")
WEBHOOK = "AIRFLOW_CONN_PERENNIAL_WEBHOOK"
SCRAPE_SECONDS = 10
KEPT_DAYS = 30


def folder(settings: Settings) -> Path:
    """Where their files are."""
    return settings.home / "metrics"


def commands(settings: Settings) -> dict[str, list[str]]:
    """The command of each.

    Raises:
        SettingMissing: one of them is not installed.
    """
    found = {name: next(filter(None, map(shutil.which, programs)), None) for name, programs in PROGRAMS.items()}
    prometheus, alertmanager = found[PROMETHEUS], found[ALERTMANAGER]
    if prometheus is None or alertmanager is None:
        raise SettingMissing(
            f"PERENNIAL_METRICS is set, and {' and '.join(name for name, path in found.items() if path is None)} cannot be found: "
            f"`sudo apt-get install -y --no-install-recommends {' '.join(PACKAGES)}` installs both, or unset it."
        )
    place = folder(settings)
    return {
        ALERTMANAGER: [
            alertmanager,
            f"--config.file={settings.alertmanager_config or place / 'alertmanager.yaml'}",
            f"--storage.path={place / 'alertmanager'}",
            f"--web.listen-address={ADDRESS}:{settings.alertmanager_port}",
            "--cluster.listen-address=",  # one alone: no other is to be found
        ],
        PROMETHEUS: [
            prometheus,
            f"--config.file={place / 'prometheus.yaml'}",
            f"--storage.tsdb.path={place / 'prometheus'}",
            f"--storage.tsdb.retention.time={KEPT_DAYS}d",
            f"--web.listen-address={ADDRESS}:{settings.prometheus_port}",
        ],
    }


def prepare(settings: Settings) -> None:
    """Write what they are told.

    Raises:
        SettingMissing: the file of PERENNIAL_ALERTMANAGER_CONFIG is not there.
    """
    if settings.alertmanager_config and not Path(settings.alertmanager_config).is_file():
        raise SettingMissing(
            f"PERENNIAL_ALERTMANAGER_CONFIG is {settings.alertmanager_config}, which is no file: write it, or unset the variable."
        )
    place = folder(settings)
    private_folder(place)
    _write(place / "prometheus.yaml", json.dumps(prometheus_config(settings), indent=1))
    webhook = os.environ.get(WEBHOOK, "")
    # Whoever knows the address may write there: it lies in a file of its own that this user alone reads, and in no other.
    _write(place / "webhook", webhook)
    told = webhook if urlsplit(webhook).scheme in ("http", "https") else ""
    _write(place / "alertmanager.yaml", json.dumps(alertmanager_config(settings, place / "webhook" if told else None), indent=1))


def prometheus_config(settings: Settings) -> dict[str, Any]:
    """What Prometheus is told."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(file) for file in RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"{ADDRESS}:{settings.alertmanager_port}"]}]}]},
        "scrape_configs": [{"job_name": "machine", "static_configs": [{"targets": [f"{ADDRESS}:{settings.metrics_port}"]}]}],
    }


def alertmanager_config(settings: Settings, webhook: Path | None) -> dict[str, Any]:
    """What Alertmanager is told.

    Args:
        settings: has the address of the model's pages.
        webhook: file with the address of a webhook that takes Slack's messages; None if there is none.
    """
    told: dict[str, Any] = {"name": "people"}
    if webhook is not None:
        told["slack_configs"] = [
            {
                "api_url_file": str(webhook),
                "send_resolved": True,
                "title": "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}",
                "title_link": f"{settings.airflow_url}/plugin/models",
                "text": "{{ range .Alerts }}{{ .Annotations.summary }} {{ .Annotations.description }}\n{{ end }}",
            }
        ]
    return {
        "route": {"receiver": "people", "group_by": ["alertname", "model"], "group_wait": "10s", "repeat_interval": "12h"},
        "receivers": [told],
    }


def _write(file: Path, text: str) -> None:
    """Replace a file that only this user may read."""
    unfinished = file.with_suffix(".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    unfinished.replace(file)
