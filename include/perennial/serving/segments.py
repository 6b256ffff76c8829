"""Writes lines to the store as segments: objects named uniquely and in order, each begun about once a minute.

A segment grows: the object is written again, whole, with each second's lines behind those that it has, until a minute is over, it is full
or writing it again has cost enough. So what a kill can take, and what a reader does not see yet, is less than a second, and a day has
about 1,440 objects. A reader may take the bytes that it finds, whole lines always, and come back for what is behind them; once the same
writer has a segment of a higher number, the one before is never written again (`served_log.py`).
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone

from perennial.errors import PerennialError
from perennial.served_log import growing_name
from perennial.store import Store

log = logging.getLogger(__name__)

LINGER_SECONDS = 0.5  # with the time of one write this keeps what a kill can take below a second
MAX_SEGMENT_BYTES = 8 << 20
MAX_WAITING_BYTES = 64 << 20
SEGMENT_SECONDS = 60.0  # after which the next lines begin another one
REWRITTEN_BYTES = 16 << 20  # that a segment costs in all, written again and again, before the next lines begin another one
_SAY_EVERY_SECONDS = 60.0
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

Lines = Callable[[], bytes]  # makes the lines late, on the writer's thread


class SegmentWriter:
    """A bounded queue and one thread that empties it into segments below `prefix`.

    What does not fit is dropped and counted; what the store refuses is tried again until it takes it.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        writer: str,
        *,
        linger_seconds: float = LINGER_SECONDS,
        max_segment_bytes: int = MAX_SEGMENT_BYTES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.prefix = store, prefix.rstrip("/")
        begun = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
        self.name = f"{begun}-{writer}-{os.getpid()}-{secrets.token_hex(3)}"  # no other process start has this name
        self.linger_seconds, self.max_segment_bytes, self.max_waiting_bytes = linger_seconds, max_segment_bytes, max_waiting_bytes
        self.segment_seconds = segment_seconds
        self.dropped = 0
        self.written = 0
        self._clock, self._wall = clock, wall  # a machine that slept is late by the second alone
        self._number = 0  # of the segment that grows
        self._grown = b""  # what it has
        self._begun = self._cost = 0.0  # when its first lines were written, and how many bytes were for it in all
        self._waiting: deque[tuple[int, Lines, threading.Event | None]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._said = -_SAY_EVERY_SECONDS
        self._said_dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"segments {self.prefix}", daemon=True)
        self._thread.start()

    def put(self, size: int, lines: Lines) -> bool:
        """Hand over lines that will take about `size` bytes of memory while they wait; never waits. False if they were dropped."""
        return self._add(size, lines, None)

    def put_and_wait(self, size: int, lines: Lines, seconds: float) -> bool:
        """Hand over lines and wait until the store has them.

        False if they were dropped or it took longer; then they may still be written.
        """
        done = threading.Event()
        return self._add(size, lines, done) and done.wait(seconds)

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits, for `seconds` at most. Later lines are dropped."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(seconds)
        if self._waiting:
            log.error(
                "%d entries of %s were lost at the end: the store did not take them in %g s.", len(self._waiting), self.prefix, seconds
            )

    def _add(self, size: int, lines: Lines, done: threading.Event | None) -> bool:
        with self._changed:
            if self._closing.is_set() or self._bytes + size > self.max_waiting_bytes:
                self.dropped += 1
                return False
            self._waiting.append((size, lines, done))
            self._bytes += size
            if done is not None or len(self._waiting) == 1 or self._bytes >= self.max_segment_bytes:
                self._changed.notify()
        return True

    def _run(self) -> None:
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """Wait for lines and write them; False if no more will come. What it had in hand is let go of at its end."""
        with self._changed:
            while not self._waiting and not self._closing.is_set():
                self._changed.wait(_SAY_EVERY_SECONDS)
                self._say_drops()
            if not self._waiting:
                return False
            end = self._clock() + self.linger_seconds
            while not self._urgent() and (left := end - self._clock()) > 0:
                self._changed.wait(left)
            taken: list[tuple[int, Lines, threading.Event | None]] = []
            size = 0
            while self._waiting and (not taken or size + self._waiting[0][0] <= self.max_segment_bytes):
                entry = self._waiting.popleft()
                taken.append(entry)
                size += entry[0]
        self._write(b"".join(self._made(lines) for _, lines, _ in taken))
        with self._changed:
            self._bytes -= size  # only now: what is being written is memory too
        self.written += len(taken)
        for _, _, done in taken:
            if done is not None:
                done.set()
        self._say_drops()
        return True

    def _urgent(self) -> bool:
        return self._closing.is_set() or self._bytes >= self.max_segment_bytes or any(done is not None for _, _, done in self._waiting)

    def _made(self, lines: Lines) -> bytes:
        try:
            return lines()
        except Exception:
            log.exception("An entry of %s could not be written as JSON and is dropped.", self.prefix)
            self.dropped += 1
            return b""

    def _write(self, data: bytes) -> None:
        if not data:
            return
        now = self._wall()
        is_old = abs(now - self._begun) >= self.segment_seconds or self._cost >= REWRITTEN_BYTES
        if self._grown and (is_old or len(self._grown) + len(data) > self.max_segment_bytes):
            self._begin_next()
        self._begun = self._begun if self._grown else now
        self._grown += data
        self._cost += len(self._grown)
        key = f"{self.prefix}/{growing_name(self.name, self._number)}"
        for attempt in itertools.count():
            try:
                self.store.write(key, self._grown)
                break
            except PerennialError as error:
                if attempt == 0:
                    log.error("A segment waits in memory: %s", error)
                time.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        if attempt:  # an attempt that was given up may reach the store later: it must not find more there than it brings
            self._begin_next()

    def _begin_next(self) -> None:
        self._number, self._grown, self._cost = self._number + 1, b"", 0.0

    def _say_drops(self) -> None:
        if self.dropped > self._said_dropped and self._clock() - self._said >= _SAY_EVERY_SECONDS:
            log.error(
                "%d entries of %s were dropped: the store is slower than the traffic. %d in all since the start.",
                self.dropped - self._said_dropped,
                self.prefix,
                self.dropped,
            )
            self._said, self._said_dropped = self._clock(), self.dropped
