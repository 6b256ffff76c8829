"""Serves all metrics of this machine to Prometheus: of the gateway, every served version, the models, the machine and Airflow.

Gateway and versions listen on sockets that only this user opens; what can be read of them without harm is read here. Run as
`python -m perennial.local.metrics_server`: GET /metrics is all there is.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from perennial import log_lines
from perennial.errors import PerennialError
from perennial.local import airflow_programs, callers, machine_gauges, refusals
from perennial.local.airflow_api import AirflowApi
from perennial.local.supervisor import Supervisor
from perennial.serving import envoy
from perennial.serving.backends.local import FALLBACK_NUMBER, read_state, server_socket
from perennial.settings import Settings
from perennial.sockets import get
from perennial.store import open_store
from perennial.views import gauges
from perennial.views.gauges import Gauge

log = logging.getLogger(__name__)
ADDRESS = "127.0.0.1"  # whatever the settings say
TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_WAIT_SECONDS = 5  # below the 10 that Prometheus waits
MAKE_SECONDS = 3.0  # that a scrape waits for each of them
REMEMBERED_SECONDS = 15.0  # for which gauges of store and Airflow are shown again, however often they are asked for


class Remembered:
    """Gauges that are made anew now and then, in a thread of their own: a store that hangs keeps no other figure back.

    Args:
        make: makes them.
    """

    def __init__(self, make: Callable[[], list[Gauge]]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._maker: threading.Thread | None = None
        self._made: list[Gauge] | None = None
        self._until = 0.0

    def get(self) -> list[Gauge] | None:
        """The gauges; None while what they are read from does not answer, or not in time."""
        with self._lock:
            if self._maker is None and time.monotonic() >= self._until:
                self._maker = threading.Thread(target=self._run, daemon=True)
                self._maker.start()
            maker = self._maker
        if maker is not None:
            maker.join(MAKE_SECONDS)
        return None if maker is not None and maker.is_alive() else self._made

    def _run(self) -> None:
        made = None
        try:
            made = self._make()
        except PerennialError as error:
            log.warning("%s", error)
        except Exception:  # a defect of this part: the others are told all the same, and that this one is not
            log.exception("Figures could not be made.")
        with self._lock:
            self._made, self._maker, self._until = made, None, time.monotonic() + REMEMBERED_SECONDS


class FiguresServer(ThreadingHTTPServer):
    """A server of the figures of models, which a watch on a cluster is.

    Args:
        address: where it listens.
        settings: where the store is.
    """

    daemon_threads = True
    checks_callers = False  # a Prometheus of the cluster asks for it by the pod's address

    def __init__(self, address: tuple[str, int], settings: Settings) -> None:
        super().__init__(address, _Handler)
        self.settings = settings
        self.models = Remembered(lambda: gauges.of_models(open_store(settings.store)))

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body of the answer to one path."""
        if path == "/metrics":
            return HTTPStatus.OK, _METRICS, self.metrics()
        return HTTPStatus.NOT_FOUND, TEXT, "There is /metrics."

    def metrics(self) -> str:
        """The figures; a store that does not answer has none, which a gauge of its own shows."""
        made = self.models.get()
        return gauges.text([_answers({"store": made is not None}), *(made or ())])


class MetricsServer(FiguresServer):
    """The server of all figures of one home."""

    checks_callers = True

    def __init__(self, address: tuple[str, int], settings: Settings) -> None:
        super().__init__(address, settings)
        self.supervisor = Supervisor(settings)
        self._api: AirflowApi | None = None
        self._gauges = {"store": self.models, "airflow": Remembered(self._of_airflow)}

    def _of_airflow(self) -> list[Gauge]:
        if self._api is None and airflow_programs.passwords_file(self.settings).exists():
            self._api = AirflowApi(self.settings.airflow_url, *airflow_programs.login(self.settings))
        return machine_gauges.of_airflow(self.settings, self._api)

    def metrics(self) -> str:
        """All metrics. A part that does not answer has none, which a gauge of its own shows."""
        running = self.supervisor.programs()
        parts = {"gateway": (envoy.admin_socket(self.settings), "/stats/prometheus")}
        for model, known in sorted(read_state(self.settings).items()):
            for version in filter(None, known["versions"]):  # the champion's new process has the figures of its version: once is enough
                parts[envoy.cluster_name(model, version)] = (server_socket(self.settings, model, version), "/metrics")
            if known.get("fallback"):
                parts[envoy.fallback_name(model)] = (server_socket(self.settings, model, FALLBACK_NUMBER), "/metrics")
        with ThreadPoolExecutor(max_workers=8) as pool:
            texts = dict(zip(parts, pool.map(lambda part: _text(*part), parts.values()), strict=True))
        for name in [name for name, (_, path) in parts.items() if path == "/metrics" and name.endswith("-fallback")]:
            texts[name] = of_fallback(texts[name])
        has_airflow = airflow_programs.API_SERVER in running  # in a container of the platform it runs elsewhere
        known_gauges = {name: remembered.get() for name, remembered in self._gauges.items() if name != "airflow" or has_airflow}
        answers = {name: told is not None for name, told in {**texts, **known_gauges}.items()}
        programs = {name: program.state == "RUNNING" for name, program in sorted(running.items())}
        own = [
            _flags("perennial_program_running", "Whether a program of this machine runs.", "program", programs),
            _answers(answers),
            _refused(self.settings),
            *machine_gauges.of_machine(self.settings, running),
            *(gauge for made in known_gauges.values() for gauge in made or ()),
        ]
        return merged([gauges.text(own), *(text for text in texts.values() if text is not None)])


def of_fallback(text: str | None) -> str | None:
    """Of the figures of a fallback those that are its own: the others have the labels of the version that it stands in for."""
    return None if text is None else "".join(f"{line}\n" for line in text.splitlines() if "perennial_fallback_answers_total" in line)


class _Handler(BaseHTTPRequestHandler):
    server: FiguresServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            sentence = callers.refusal(self.server.settings, self.headers.get("Host", ""), self.headers.get("Origin"))
            if sentence and self.server.checks_callers:
                answer: tuple[int, str, str] = HTTPStatus.FORBIDDEN, TEXT, sentence
            else:
                answer = self.server.answer(self.path)
        except PerennialError as error:
            answer = HTTPStatus.SERVICE_UNAVAILABLE, TEXT, str(error)
        status, kind, text = answer
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Does nothing: logging every scrape would fill the log."""


def merged(texts: Iterable[str]) -> str:
    """Merge several answers in Prometheus' format into one that describes each metric once: versions share metrics, with other labels."""
    heads: dict[str, dict[str, None]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        name = ""
        for line in text.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                name = line.split(" ", 3)[2]
                heads.setdefault(name, {})[line] = None
                samples.setdefault(name, [])
            elif line and not line.startswith("#"):
                samples.setdefault(name, []).append(line)
    return "".join(f"{line}\n" for name, lines in samples.items() for line in (*heads.get(name, ()), *lines))


def _answers(parts: dict[str, bool]) -> Gauge:
    return _flags(
        "perennial_part_answers", "Whether the gateway, a version's server, the store or Airflow gave its figures.", "part", parts
    )


def _refused(settings: Settings) -> Gauge:
    samples = [({"what": what}, float(number)) for what, number in refusals.counts(settings).items()]
    return Gauge(
        "perennial_web_refused_total", "What Airflow's web server refused: failed logins, and callers who may not ask.", samples, "counter"
    )


def _flags(name: str, meaning: str, label: str, values: dict[str, bool]) -> Gauge:
    return Gauge(name, meaning, [({label: key}, float(value)) for key, value in values.items()])


def _text(socket: Path, path: str) -> str | None:
    try:
        status, text = get(socket, path, timeout=_WAIT_SECONDS)
    except (OSError, http.client.HTTPException):
        return None
    return text if status == HTTPStatus.OK else None


def main() -> None:
    """Serve until stopped."""
    log_lines.write_lines("metrics", text="%(asctime)s %(levelname)s %(message)s")
    settings = Settings.from_environment()
    with MetricsServer((ADDRESS, settings.metrics_port), settings) as server:
        log.info("Metrics on http://%s:%d/metrics", ADDRESS, settings.metrics_port)
        server.serve_forever()


if __name__ == "__main__":
    main()
