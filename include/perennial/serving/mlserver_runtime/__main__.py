"""Serves what is in a folder of models, and what Seldon's agent adds to it, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os

import prometheus_client
from mlserver import MLServer
from mlserver import Settings as ServerSettings
from mlserver.repository.factory import ModelRepositoryFactory
from mlserver.utils import install_uvloop_event_loop

from perennial import log_lines
from perennial.serving.mlserver_runtime import doors
from perennial.serving.mlserver_runtime.totals import TOTALS
from perennial.settings import Settings

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Serve. Ports and host are MLServer's own variables (MLSERVER_HTTP_PORT, MLSERVER_GRPC_PORT, MLSERVER_METRICS_PORT, MLSERVER_HOST)."""
    parser = argparse.ArgumentParser(prog="python -m perennial.serving.mlserver_runtime", description=__doc__)
    parser.add_argument("--models", default=os.environ.get("MLSERVER_MODELS_DIR", "."), help="folder of models (MLSERVER_MODELS_DIR)")
    given = parser.parse_args(arguments)
    log_lines.write_lines("server", text="%(asctime)s %(levelname)s %(message)s")
    install_uvloop_event_loop()
    asyncio.run(serve(given.models))


async def serve(models: str) -> None:
    """Serve until a signal. A model that cannot be loaded is said in the log, and leaves the others alone."""
    settings = doors.safe(ServerSettings(model_repository_root=models), Settings.from_environment().host)
    server = MLServer(settings)
    doors.close(server)
    prometheus_client.REGISTRY.register(TOTALS)
    running = asyncio.ensure_future(server.start())
    for model in await ModelRepositoryFactory.resolve_model_repository(settings).list():
        if model.name:
            try:
                await server._model_registry.load(model)
            except Exception as error:  # noqa: BLE001 - whatever a model's own files bring about
                log.error("Model %s is not served. %s", model.name, error)
    await running


if __name__ == "__main__":
    main()
