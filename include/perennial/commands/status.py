"""`perennial status`: what runs on this machine."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from perennial.errors import EXIT_DONE, EXIT_FAULT
from perennial.local import demo, stack
from perennial.local.supervisor import Program, Supervisor
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Print one line for each program of the platform, or of the demo's; 0 if all run, 1 otherwise."""
    told = demo.home_of(settings)
    for found in (settings, told) if told.home.exists() else (settings,):
        programs = stack.state(found)
        if programs:
            _show(found, programs)
            return EXIT_DONE if all(p.state == "RUNNING" for p in programs.values()) else EXIT_FAULT
    print(f"The platform of {settings.home} is down: start it with `perennial up`.")
    return EXIT_FAULT


def _show(settings: Settings, programs: dict[str, Program]) -> None:
    supervisor, now = Supervisor(settings), datetime.now(timezone.utc)
    print(f"{'program':<28}{'state':<10}{'pid':>8}  {'running for':<16}log")
    for name, program in sorted(programs.items()):
        since = "" if program.since is None else str(timedelta(seconds=int((now - program.since).total_seconds())))
        print(f"{name:<28}{program.state.lower():<10}{program.pid or '':>8}  {since:<16}{supervisor.log(name)}")
    for title, address in stack.addresses(settings).items():
        print(f"{title:<28}{address}")
