"""Lists the incidents of a model, or of all, with the rate of alarms and false alarms: what `perennial show incidents` shows, narrowed.

$ perennial incidents --model flight_delays
$ perennial incidents --state open --kind drift
"""

from __future__ import annotations

from perennial.commands import _show_incidents
from perennial.errors import EXIT_DONE
from perennial.incidents.kinds import Kind
from perennial.incidents.listing import State, Wanted
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    *,
    model: str | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    unjudged: bool = False,
    page: int = 1,
) -> int:
    """Print a page of the incidents of one model or of all, the newest last, and the alarm rate; also of what is broken or gone.

    Raises:
        UnknownName: there is no such model.
    """
    del settings
    _, lines = _show_incidents.show(store, model, Wanted(state=state, kind=kind, unjudged=unjudged), page)
    print(on_terminal("\n".join(lines)))
    return EXIT_DONE
