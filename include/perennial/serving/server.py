"""Serves one version: `python -m perennial.serving.server --model flight_delays --version 7 --digest ... --port 9000`.

Two servers answer alike. `open` is this project's own, on uvicorn, and speaks Seldon's v1 form and the Open Inference Protocol.
`seldon` is seldon-core's wrapper under its gunicorn, as Seldon Core 1 expects it of a container; its own command binds 0.0.0.0 and starts
a second process and a manager for metrics that are empty here. In a pod either listens at a port of the settings' address, on one machine
at a socket that only this user's gateway opens. Runs in the serving environment.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import log_lines

if TYPE_CHECKING:
    import flask

    from perennial.serving.seldon_model import SeldonModel
    from perennial.serving.served_version import ServedVersion
    from perennial.settings import Settings


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM, which lets running requests end and the logs be written."""
    parser = argparse.ArgumentParser(prog="python -m perennial.serving.server", description="Serves one version.")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--version", type=int, required=True, help="number of the version")
    parser.add_argument("--digest", required=True, help="content address of its folder")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--port", type=int, help="port of predictions, /live, /ready and /metrics")
    place.add_argument("--socket", help="path of a unix socket instead")
    parser.add_argument("--grpc-port", type=int, help="port of the Open Inference Protocol over gRPC (none: it comes by the gateway)")
    parser.add_argument("--threads", type=int, default=4, help="requests answered at the same time")
    parser.add_argument(
        "--server", choices=["open", "seldon"], help="this project's server, or seldon-core's wrapper; PERENNIAL_SERVER says if absent"
    )
    parser.add_argument(
        "--fallback", default="", choices=["", "constant", "rule", "last_good"], help="answer in the stead of one that fails"
    )
    parser.add_argument("--fallback-scores", default="", help="of a constant, JSON by name")
    parser.add_argument("--fallback-rule", default="", help="of a rule, the file with its function scores")
    given = parser.parse_args(arguments)
    from perennial.settings import Settings

    settings = Settings.from_environment()
    given.server = given.server or settings.server
    if given.grpc_port is not None and given.server == "seldon":
        parser.error("--grpc-port is for --server open: the wrapper hangs at its end when it serves gRPC")
    log_lines.write_lines("server", text="%(asctime)s %(levelname)s %(message)s", ids={"model": given.model, "version": given.version})
    from perennial.serving.served_version import ServedVersion

    served: ServedVersion
    if given.fallback in ("constant", "rule"):
        from perennial.serving.fallback_version import FallbackVersion

        served = FallbackVersion(given.model, given.version, given.digest, settings, given.fallback_scores, given.fallback_rule)
    else:
        served = ServedVersion(given.model, given.version, given.digest, settings)
    served.fallback = given.fallback
    (_serve_with_wrapper if given.server == "seldon" else _serve)(given, served, settings)


def _serve(given: argparse.Namespace, served: ServedVersion, settings: Settings) -> None:
    from perennial.serving.http_server import VersionServer, listen

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops at either, then sends it to the process again
        signal.signal(number, lambda *_: None)
    socket = Path(given.socket) if given.socket else None
    listener = listen(socket or (settings.host, given.port))
    server = VersionServer(served, given.threads)
    calls = None
    if given.grpc_port is not None:
        from perennial.serving.open_inference_grpc import GrpcServer

        calls = GrpcServer(served, f"{settings.host}:{given.grpc_port}", given.threads)
        calls.start()
    server.run(sockets=[listener])
    if calls:
        calls.stop()
    served.close()
    if socket:
        socket.unlink(missing_ok=True)
    if server.failed:
        sys.exit(str(server.failed))


def _serve_with_wrapper(given: argparse.Namespace, served: ServedVersion, settings: Settings) -> None:
    logging.getLogger("seldon_core").setLevel(logging.CRITICAL)  # it logs every refused request as an error; this project logs what matters
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    from perennial.serving.limits import KEEP_ALIVE_SECONDS

    app, model = application(served)
    options = {
        "bind": f"unix:{given.socket}" if given.socket else f"{settings.host}:{given.port}",
        "umask": 0o077,  # the socket is this user's
        "workers": 1,
        "worker_class": "perennial.serving.worker.PatientWorker",
        "threads": given.threads,
        "keepalive": KEEP_ALIVE_SECONDS,
        "timeout": 120,
        "graceful_timeout": 20,
        "loglevel": "warning",
        **({"logconfig_dict": _gunicorn_form()} if log_lines.wants_json() else {}),
        "proc_name": f"{given.model} v{given.version}",
    }
    from seldon_core.gunicorn_utils import UserModelApplication

    UserModelApplication(app, model, False, None, given.model, options=options).run()


def application(served: ServedVersion) -> tuple[flask.Flask, SeldonModel]:
    """The wrapper's application around a version, and the version in its terms."""
    os.environ["PAYLOAD_PASSTHROUGH"] = "true"  # read once, when the wrapper is imported
    # The wrapper's messages were generated in a form that protobuf's fast implementation reads no more. None is made here.
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    from seldon_core import wrapper

    from perennial.serving.seldon_model import SeldonModel

    wrapper.CORS = lambda app: None  # it would allow the pages of every origin to read the answers
    model = SeldonModel(served)
    return wrapper.get_rest_microservice(model, _NoMetrics()), model


def _gunicorn_form() -> dict[str, object]:
    """Gunicorn's logging in the form of all other lines."""
    quiet = {"level": "WARNING", "handlers": [], "propagate": True}
    return {**log_lines.logging_form(), "loggers": {"gunicorn.error": quiet, "gunicorn.access": quiet}}


class _NoMetrics:
    """Replaces the wrapper's metrics, which cost a process and a message to it per request. `/metrics` has our own."""

    def update(self, custom_metrics: list[dict[str, object]], method: str) -> None:
        """Does nothing: no custom metrics go through the wrapper."""

    def update_reward(self, reward: float) -> None:
        """Does nothing: outcomes are counted by the model."""


if __name__ == "__main__":
    main()
