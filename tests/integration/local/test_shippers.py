"""The samples in docs/shippers: what they send to Elasticsearch and Loki of real lines, and that they look where the lines are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from perennial.local import airflow_programs
from perennial.local.supervisor import Supervisor
from perennial.log_line import LogLine
from perennial.settings import Settings
from perennial.testing import wait_until

SAMPLES = Path(__file__).parents[3] / "docs" / "shippers"
SYSLOG_NG = shutil.which("syslog-ng") or shutil.which("/usr/sbin/syslog-ng")
RUN = "manual__2026-03-01T12:00:00+00:00"
# As Airflow 3.3 writes a line of a task, with the ids that the platform binds.
OF_AIRFLOW = {
    "timestamp": "2026-03-01T12:00:00.123456Z", "level": "info", "event": "Trained \"well\".\nIn 3 s.", "logger": "task",
    "dag": "churn_training", "run": RUN, "task": "train", "try": 2,
}  # fmt: skip


class Doubles(ThreadingHTTPServer):
    """Elasticsearch's `_bulk` and Loki's push, which refuse what the real ones would."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.documents: list[dict[str, Any]] = []  # of Elasticsearch
        self.streams: list[dict[str, Any]] = []  # of Loki
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, path: str, kind: str, body: str) -> int:
        """The status of the answer."""
        if path == "/_bulk" and kind == "application/x-ndjson" and body.endswith("\n"):
            lines = [json.loads(line) for line in body.splitlines() if line]
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                assert list(action) == ["create"]
                assert action["create"]["_index"].startswith("perennial-")
                self.documents.append(document)
            return 200
        if path == "/loki/api/v1/push" and kind == "application/json":
            for stream in json.loads(body)["streams"]:
                assert all(isinstance(value, str) for value in stream["stream"].values())
                assert all(len(pair) == 2 and pair[0].isdecimal() and len(pair[0]) == 19 for pair in stream["values"])
                self.streams.append(stream)
            return 204
        raise AssertionError(f"nobody takes {path} as {kind}")


class _Receiver(BaseHTTPRequestHandler):
    server: Doubles

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            status = self.server.take(self.path, self.headers["Content-Type"], body)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            self.server.refused.append(f"{type(error).__name__}: {error} of {body[:2000]}")
            status = 400
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b'{"errors": false}' if status == 200 else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    with Doubles() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with lines: of a real stage, of a task as Airflow writes it, and of text."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home"), "PERENNIAL_LOG_FORMAT": "json"})
    program, task = Supervisor(settings).log("watch"), task_log(settings)
    for file in (program, task):
        file.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "perennial.cli", "rollback", "--model", "digits"]
    with program.open("w") as output:
        environment = {**os.environ, **settings.environment(), "AIRFLOW_CTX_DAG_RUN_ID": RUN}
        assert subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode == 2
        print('Text of a library: "quoted"', file=output)
    task.write_text(json.dumps(OF_AIRFLOW) + "\n")
    return settings


def task_log(settings: Settings) -> Path:
    """Where Airflow writes a task's lines."""
    folder = Path(airflow_programs.environment(settings)["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])
    return folder / "dag_id=churn_training" / f"run_id={RUN}" / "task_id=train" / "attempt=2.log"


@pytest.mark.skipif(SYSLOG_NG is None, reason="syslog-ng is not installed: apt-get install syslog-ng-core syslog-ng-mod-http")
def test_syslog_ng_sends_every_line_to_both(settings: Settings, doubles: Doubles, tmp_path: Path) -> None:
    """SY-23, MN-12: A real syslog-ng with the sample: each line arrives once at Elasticsearch and at Loki, with its own time. One run id is
    in the line of the stage and in that of the task, whose names are ours there; text is a message."""
    variables = {"PERENNIAL_HOME": str(settings.home), "ELASTICSEARCH_URL": doubles.url, "LOKI_URL": doubles.url}
    assert SYSLOG_NG
    command = [
        SYSLOG_NG,
        "--foreground",
        "--no-caps",
        "--cfgfile",
        str(SAMPLES / "syslog-ng.conf"),
        "--persist-file",
        str(tmp_path / "p"),
    ]
    command += ["--control", str(tmp_path / "c"), "--pidfile", str(tmp_path / "pid")]
    with (tmp_path / "syslog-ng.log").open("w") as output:
        shipper = subprocess.Popen(command, env={**os.environ, **variables}, stdout=output, stderr=output)
    try:
        wait_until(lambda: doubles.refused or (len(doubles.documents) >= 3 and len(doubles.streams) >= 3), 60, "the lines")
    finally:
        shipper.terminate()
        shipper.wait(30)
    assert doubles.refused == []
    assert len(doubles.documents) == len(doubles.streams) == 3
    mapped = json.loads((SAMPLES / "elasticsearch-template.json").read_text())["template"]["mappings"]["properties"]
    by_message = {document["message"]: document for document in doubles.documents}
    assert all(document.keys() <= mapped.keys() for document in doubles.documents)
    stage = by_message["digits has never served: there is nothing to go back to."]
    assert (stage["run"], stage["stage"], stage["outcome"], stage["level"]) == (RUN, "rollback", "refused", "ERROR")
    task = by_message[OF_AIRFLOW["event"]]
    assert (task["run"], task["task"], task["try"], task["level"], task["time"]) == (RUN, "train", "2", "INFO", OF_AIRFLOW["timestamp"])
    assert task["@timestamp"] == "1772366400123"
    text = by_message['Text of a library: "quoted"']
    assert text.keys() == {"message", "level", "file", "@timestamp"}
    sent = [(stream["stream"], pair[0], json.loads(pair[1])) for stream in doubles.streams for pair in stream["values"]]
    assert {labels["job"] for labels, _, _ in sent} == {"perennial"}
    assert sorted(line["message"] for _, _, line in sent) == sorted(by_message)
    (when,) = [moment for _, moment, line in sent if line["message"] == OF_AIRFLOW["event"]]
    assert when == "1772366400123456000"


def test_the_template_of_elasticsearch_has_every_field_and_no_other() -> None:
    """SY-23: A field that is not mapped cannot be searched; none is mapped that no line has."""
    mapped = json.loads((SAMPLES / "elasticsearch-template.json").read_text())["template"]["mappings"]["properties"]
    assert set(mapped) - {"@timestamp", "file"} == {field.alias or name for name, field in LogLine.model_fields.items()}


def test_fluent_bit_and_vector_look_where_the_lines_are(settings: Settings) -> None:
    """SY-23: Their samples are of their form, each part leads on to the next, Airflow's names become ours, and the files that they follow
    are those in which programs and tasks write. (Neither program is in Debian or a package registry: they are not run here.)"""
    fluent = yaml.safe_load((SAMPLES / "fluent-bit.yaml").read_text())
    inputs, outputs = fluent["pipeline"]["inputs"], fluent["pipeline"]["outputs"]
    assert {one["parser"] for one in inputs} == {parser["name"] for parser in fluent["parsers"]}
    assert {one["name"] for one in outputs} == {"es", "loki"}
    assert all(fnmatch(one["tag"], out["match"]) for one in inputs for out in [*outputs, *fluent["pipeline"]["filters"]])
    (renamed,) = (one["rename"] for one in fluent["pipeline"]["filters"] if one["name"] == "modify")
    assert {"event message", "timestamp time"} <= set(renamed)
    written = datetime.strptime("2026-03-01T12:00:00.123456Z", fluent["parsers"][0]["time_format"].replace("%L", "%f"))
    assert written.replace(tzinfo=timezone.utc).timestamp() == 1772366400.123456

    vector = yaml.safe_load((SAMPLES / "vector.yaml").read_text())
    known = {*vector["sources"], *vector["transforms"]}
    assert all(set(one["inputs"]) <= known for one in (*vector["transforms"].values(), *vector["sinks"].values()))
    assert {one["type"] for one in vector["sinks"].values()} == {"elasticsearch", "loki"}
    remap = vector["transforms"]["lines"]["source"]
    assert ".message = del(.event)" in remap
    assert ".time = del(.timestamp)" in remap

    for paths in ([one["path"] for one in inputs], [one for source in vector["sources"].values() for one in source["include"]]):
        followed = [pattern.replace("${PERENNIAL_HOME}", str(settings.home)) for pattern in paths]
        for file in (Supervisor(settings).log("serving-churn-v7"), task_log(settings)):
            assert any(Path(file).match(pattern) for pattern in followed), file
