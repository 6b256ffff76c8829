"""Ends a training that hangs: one that makes no step for too long.

>>> with Watchdog(minutes=30, sentence="churn made no step for 30 minutes.") as watchdog:
...     for _ in range(3):
...         watchdog.beat()
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from perennial.errors import EXIT_FAULT, Fault

GRACE = 60.0  # s that a training which hangs in the depth of a library has to end by itself
log = logging.getLogger("perennial.training")


class Watchdog:
    """While the block runs, `beat` must be called at least every so many minutes, else the block ends with a Fault.

    A block that does not end within GRACE after that, such as one that waits inside of a driver, ends with its whole process.
    """

    def __init__(self, *, minutes: float | None, sentence: str) -> None:
        self.limit, self.sentence = None if minutes is None else minutes * 60, sentence
        self._heard, self._over = time.monotonic(), threading.Event()
        self._watched = threading.current_thread()
        self._handler: Any = None

    def beat(self) -> None:
        """Say that a step was made."""
        self._heard = time.monotonic()

    def __enter__(self) -> Watchdog:
        self.beat()
        if self.limit is not None:
            if self._watched is threading.main_thread():
                self._handler = signal.signal(signal.SIGUSR2, self._end)
            threading.Thread(target=self._watch, args=(self.limit,), name="watchdog", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        if self._handler is not None:
            signal.signal(signal.SIGUSR2, self._handler)

    def _watch(self, limit: float) -> None:
        while not self._over.wait(min(limit / 4, 5.0)):
            if time.monotonic() - self._heard > limit:
                break
        if self._over.is_set():
            return
        log.error("%s", self.sentence)
        if self._handler is not None:
            signal.pthread_kill(self._watched.ident or 0, signal.SIGUSR2)
        else:  # not the main thread, which alone hears signals
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched.ident or 0), ctypes.py_object(self._stalled()))
        if not self._over.wait(GRACE):
            os._exit(EXIT_FAULT)

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise Fault(self.sentence)

    def _stalled(self) -> type[Fault]:
        """An error class of its own: a thread can be sent a class alone."""
        sentence = self.sentence

        def say(self: Fault) -> None:
            Fault.__init__(self, sentence)

        return type("Stalled", (Fault,), {"__init__": say})
