"""How long the steps of a release take at the traffic there is: said when it begins, since a step waits for its requests.

>>> from perennial.specs import ReleaseSpec
>>> from perennial.stages._release_times import waiting_words
>>> waiting_words(ReleaseSpec(steps=(50, 100), min_requests=100, max_seconds=86400), a_day=24)
"Each step wants 100 requests of the candidate, and promotion 314 in all, or more if some fail. At the last day's rate of 24 requests \
a day it takes 26 days at 50 %. That is more than release.max_seconds, 1 day, after which a person is asked: set release.max_seconds, or \
release.min_requests, release.steps and release.max_error_rate to fit (docs/how-to.md)."
"""

from __future__ import annotations

from datetime import datetime, timedelta

from perennial.counted import lasting
from perennial.serving.canary import requests_to_promote
from perennial.specs import ReleaseSpec
from perennial.store import Store

DAY = 86_400.0
LEAST_HOURS = 1.0  # over which a rate is taken, where the first requests came only just now


def requests_a_day(store: Store, model: str, now: datetime) -> float | None:
    """Rate of the requests that were answered in the last day, as far as monitoring has collected them; None if it never has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.data.tables import Table
    from perennial.served_tables import is_scored, predictions_name

    table = Table(store, predictions_name(model))
    if not table.version():
        return None
    since = pa.scalar(now - timedelta(days=1), pa.timestamp("us", "UTC"))
    rows = table.scan(["prediction_id", "served_at"], (pc.field("served_at") >= since) & ~pc.field("shadow") & ~is_scored())
    rows = rows.filter(pc.ends_with(rows["prediction_id"], "-0"))  # a request may have many rows
    if not rows.num_rows:
        return 0.0
    hours = (now - pc.min(rows["served_at"]).as_py()).total_seconds() / 3600
    return float(rows.num_rows * 24 / max(hours, LEAST_HOURS))


def waiting_words(release: ReleaseSpec, a_day: float | None) -> str:
    """What each step waits for and for how long, and what to set if a person would be asked before; without a rate nothing of time."""
    steps, in_all = _watched(release), requests_to_promote(release)
    wanted = f"Each step wants {release.min_requests:,} requests of the candidate, and promotion {in_all:,} in all, or more if some fail"
    if a_day is None:
        return f"{wanted}."
    too_long = (
        f"release.max_seconds, {lasting(release.max_seconds)}, after which a person is asked: set release.max_seconds, or "
        "release.min_requests, release.steps and release.max_error_rate to fit (docs/how-to.md)."
    )
    if not a_day:
        return f"{wanted}, and none came in the last day. Without requests it waits for {too_long}"
    requests = dict.fromkeys(steps, release.min_requests)
    # the last one waits for what promotion wants, of which the others have shown a part
    requests[steps[-1]] = max(release.min_requests, in_all - release.min_requests * (len(steps) - 1))
    seconds = {step: max(release.min_seconds, count * DAY * 100 / (a_day * (step or 100))) for step, count in requests.items()}
    times = ", ".join(f"{lasting(time)} {f'at {step} %' if step else 'in the shadow'}" for step, time in seconds.items())
    said = f"{wanted}. At the last day's rate of {a_day:,.0f} requests a day it takes {times}."
    return said if max(seconds.values()) <= release.max_seconds else f"{said} That is more than {too_long}"


def _watched(release: ReleaseSpec) -> list[int]:
    """Percent of each step on which evidence is waited for; 0 is the shadow. At 100 % the candidate is champion, unless it begins there."""
    return [*([0] if release.shadow else []), *(step for step in release.steps if step < 100)] or [100]
