"""Monitor a window of live traffic: inputs, performance, service; request retraining if the policy calls for it.

    $ perennial monitor --model flight_delays --from 2013-05-29 --to 2013-06-01

A window is judged by its own evidence alone: the version that answered most of it, that version's snapshot, and the windows
before it. So looking at it again, however late, gives the same answer, but for outcomes that have come since.

A look at the newest window also measures earlier ones anew whose outcomes came since (`_late_outcomes.py`).

The stage asks what only asking tells (`_service.py`, `_deadlines.py`, `_agreement.py`, `_contracts.py`). If nothing has changed since the
last look (`_last_look.py`), it gives that one's answer again; only else it looks (`_look.py`), for which heavy libraries are loaded.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.counted import latency_quantile
from perennial.errors import ServiceUnreachable, UnknownName
from perennial.monitoring.report.numbers import ArmCounts, Gateway
from perennial.monitoring.windows import Window
from perennial.results import MonitorResult
from perennial.serving.backends import open_backend
from perennial.serving.route import FRESH
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import _agreement
from perennial.stages._contracts import note_contracts
from perennial.stages._deadlines import note_deadlines
from perennial.stages._last_look import LastLook, last_look, note_look, world_of
from perennial.stages._service import note_service
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.serving.route import Arm
    from perennial.stages._look import Looked

log = logging.getLogger("perennial.monitor")


def run(settings: Settings, store: Store, model: str, first: datetime | None = None, last: datetime | None = None) -> MonitorResult:
    """Take in what was logged, report on a window of event time and decide whether it asks for retraining.

    Args:
        settings: where the gateway and the reports are.
        store: where everything durable is.
        model: name of the model.
        first: begin of the window; the newest complete window if absent.
        last: its end; one window's length after `first` if absent.

    Raises:
        UnknownName: there is no such model, or the window ends before it begins.
    """
    spec = discovery.model(model)
    if first is not None or last is not None:
        window = _window(first, last, spec.monitoring.window_days)
        return _look_at(settings, store, spec, gateway_counts(settings, spec), window).result
    if settings.serving == "local":
        note_service(settings, store, model)  # before anything can end this look: what does not answer logs nothing either
    note_deadlines(store, spec, datetime.now(timezone.utc))
    _agreement.watch(settings, store, model)
    note_contracts(settings, store, spec)
    return _newest(settings, store, spec)


def _newest(settings: Settings, store: Store, spec: ModelSpec) -> MonitorResult:
    """The answer on the newest window: the last one, where nothing has changed since."""
    now, gateway, known = datetime.now(timezone.utc), gateway_counts(settings, spec), last_look(store, spec.name)
    windows, counts = (known.windows, known.world.counts) if known else ((), {})
    before = world_of(settings, store, spec, gateway, windows, counts)
    if known and known.holds(before, now):
        log.info("Nothing has changed since the look at %s, whose answer holds.", f"{known.time:%Y-%m-%d %H:%M} UTC")
        return known.result
    looked = _look_at(settings, store, spec, gateway, None, now)
    after = world_of(settings, store, spec, gateway, looked.windows, before.counts)
    note_look(
        store,
        spec.name,
        LastLook(time=now, until=looked.until, settled=before == after, windows=looked.windows, world=after, result=looked.result),
    )
    return looked.result


def _look_at(
    settings: Settings, store: Store, spec: ModelSpec, gateway: Gateway, given: Window | None, now: datetime | None = None
) -> Looked:
    """Look, for which everything heavy is loaded."""
    from perennial.stages._look import look_at

    return look_at(settings, store, spec, gateway, given, now or datetime.now(timezone.utc))


def _window(first: datetime | None, last: datetime | None, days: int) -> Window:
    length = timedelta(days=days)
    if first is None:
        assert last is not None
        first = last - length
    first, last = _utc(first), _utc(last or first + length)
    if first >= last:
        raise UnknownName(
            f"The window from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} does not run forward: give the earlier time to --from."
        )
    return Window(first, last)


def gateway_counts(settings: Settings, spec: ModelSpec) -> Gateway:
    """Counts of the gateway at the time of the look: they know what never reached a version's log."""
    try:
        arms = open_backend(settings).observe(spec)
    except ServiceUnreachable as error:
        return Gateway(sentence=f"The gateway's own counts are missing: {error}", versions={})
    if not arms:
        return Gateway(sentence="The gateway serves no version of this model now.", versions={})
    return Gateway(
        sentence="The gateway's own counts, since each version began to serve until this look:",
        versions={str(v): _arm(arm) for v, arm in sorted(arms.items()) if v > FRESH},
    )


def _arm(arm: Arm) -> ArmCounts:
    p50, p99 = (latency_quantile(arm.latency_ms, share) for share in (0.5, 0.99))
    return ArmCounts(requests=arm.requests, errors=arm.errors, p50_ms=p50, p99_ms=p99)


def _utc(when: datetime) -> datetime:
    return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
