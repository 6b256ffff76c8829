"""`perennial watch`: look at the versions that serve, every few seconds, until it is stopped; the platform runs it by itself.

$ perennial watch --once
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import perennial_models
from perennial.errors import EXIT_DONE, EXIT_FAULT, PerennialError, SettingMissing
from perennial.incidents import news
from perennial.lineage.ledger import known_models
from perennial.local.heartbeat import beat
from perennial.local.metrics_server import FiguresServer
from perennial.registry.model_registry import ModelRegistry
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.stages._steady_watch import SteadyWatch
from perennial.store import Store

AT_A_TIME = 8  # models: one whose servers hang keeps the others waiting for nothing
log = logging.getLogger("perennial.watch")


def run(settings: Settings, store: Store, *, once: bool = False, figures: int | None = None) -> int:
    """Look at every model that serves, again and again; with `once` a single time, and the exit code is 1 if one could not be looked at.

    What keeps it from looking is said once, until it is over. It ends when a spec was changed: whoever keeps it running starts it with the
    new one, and it goes on with the evidence that it had. With `figures`, a port, it also serves the figures of models to a Prometheus.
    """
    if figures is not None:
        threading.Thread(target=_figures(settings, figures).serve_forever, daemon=True).start()
    backend, registry = open_backend(settings), ModelRegistry(settings)
    watches, troubles, specs = dict[str, SteadyWatch](), dict[str, str](), _specs()

    def look(name: str) -> str:
        """Look at one model; what kept it from that."""
        now = datetime.now(timezone.utc)
        try:
            if watches[name].look(now):
                news.announce(store, now)
        except PerennialError as error:
            return str(error)
        except Exception as error:
            log.exception("Looking at %s broke.", name)  # the others are looked at all the same
            return f"{name} cannot be looked at: {type(error).__name__}: {error}"
        finally:
            if settings.serving == "local":
                beat(settings)
        return ""

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        while once or _specs() == specs:
            began = time.monotonic()
            try:
                names = known_models(store)
            except PerennialError as error:
                names = []
                _tell(troubles, "", str(error))
            else:
                _tell(troubles, "", "")
            for name in names:
                watches.setdefault(name, SteadyWatch(settings, store, name, backend, registry))
            for name, trouble in zip(names, pool.map(look, names), strict=True):
                _tell(troubles, name, trouble)
            if settings.serving == "local":
                beat(settings)
            if once:
                return EXIT_FAULT if any(troubles.values()) else EXIT_DONE
            time.sleep(max(0.0, settings.watch_seconds - (time.monotonic() - began)))
    for watch in watches.values():
        watch.keep()
    log.warning("A spec was changed: the watch ends, and whoever keeps it running starts it with the new one.")
    return EXIT_DONE


def _figures(settings: Settings, port: int) -> FiguresServer:
    """The server of the figures of models. Raises SettingMissing: there is none at that port."""
    try:
        return FiguresServer((settings.host, port), settings)
    except (OSError, OverflowError) as error:  # it is taken, or is none
        raise SettingMissing(f"Figures cannot be served at {settings.host}:{port} ({error}): give another port to --figures.") from error


def _specs() -> dict[str, int]:
    """When each file of a spec was changed last, by its path."""
    files = [file for top in perennial_models.__path__ for file in Path(top).glob("*/spec.py")]
    times = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # replaced by an editor a moment ago
            times[str(file)] = file.stat().st_mtime_ns
    return times


def _tell(troubles: dict[str, str], name: str, trouble: str) -> None:
    """Say what is wrong, and when it is over, once each."""
    if trouble and not troubles.get(name):
        log.warning("%s", trouble)
    elif troubles.get(name) and not trouble:
        log.warning("%s is looked at again.", name or "The store")
    troubles[name] = trouble
