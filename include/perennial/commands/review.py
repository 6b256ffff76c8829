"""Review a model: what was released, refused and wrong, how well it did, and what is open.

$ perennial review --model flight_delays
$ perennial review --model flight_delays --since 2026-10-01
"""

from __future__ import annotations

from datetime import date, datetime, time, timezone

from perennial.errors import EXIT_DONE, UnknownName
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.review import ReviewView, review_view, sections


def run(settings: Settings, store: Store, *, model: str, since: date | None = None, json: bool = False) -> int:
    """Print the review of a model since a day, UTC; of the last thirty days if none is given.

    Raises:
        UnknownName: there is no such model, or the day has not come yet.
    """
    del settings
    begin = None if since is None else datetime.combine(since, time(), timezone.utc)
    if begin is not None and begin > datetime.now(timezone.utc):
        raise UnknownName(f"{since} has not come yet: give a day in the past to --since.")
    view = review_view(store, model, begin)
    print(view.model_dump_json(indent=1) if json else on_terminal("\n".join(lines(view))))
    return EXIT_DONE


def lines(view: ReviewView) -> list[str]:
    """The review as text."""
    head = f"{view.row.title} ({view.row.name}), {view.since:%Y-%m-%d} to {view.until:%Y-%m-%d}: {view.sentence}"
    return [head, *(line for title, told in sections(view).items() for line in (f"{title}:", *(f"  {one}" for one in told)))]
