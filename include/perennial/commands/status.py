"""`perennial status`: show what runs on this machine, and whether it answers.

$ perennial status
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from perennial import discovery
from perennial.errors import EXIT_DONE, EXIT_FAULT
from perennial.lineage.unowned import unowned
from perennial.local import airflow_programs, demo, routes, stack
from perennial.local.supervisor import Program, Supervisor
from perennial.serving import caller
from perennial.settings import Settings
from perennial.store import Store, open_store

PATIENCE_SECONDS = 6.0  # long enough to ask once more


def run(settings: Settings, store: Store) -> int:
    """Print one line for each program of the platform, or of the demo's, and one for each served version; 0 if all answer, 1 otherwise."""
    demo_settings = demo.home_of(settings)
    for platform in (settings, demo_settings) if demo_settings.home.exists() else (settings,):
        programs, left = stack.state(platform), Supervisor(platform).left()
        if programs or left:
            own = store if platform is settings else open_store(platform.store, writes=False)
            silent = stack.silent(platform, own, {*programs, *left})
            _show(platform, programs, left, silent)
            serves = _show_served(platform, own) if platform.serving == "local" else True
            _show_wrong(own)
            for title, address in stack.addresses(platform).items():
                print(f"{title:<28}{address}")
            print(f"{'passwords':<28}{airflow_programs.passwords_file(platform)} (Airflow), {platform.mlflow_password} (MLflow)")
            if left:
                print(f"{len(left)} programs run on whose supervisor has gone: `perennial up` replaces them, `perennial down` ends them.")
            well = serves and not left and not silent and all(p.state == "RUNNING" for p in programs.values())
            return EXIT_DONE if well else EXIT_FAULT
    print(f"The platform of {settings.home} is down: start it with `perennial up`.")
    return EXIT_FAULT


def _show_wrong(store: Store) -> None:
    """Sentences on models whose files or ledger are damaged, and on models that serve without a folder."""
    broken = [broken_spec.sentence for broken_spec in discovery.broken()]
    for said in (*broken, *(routes.unreadable(store) | unowned(store)).values()):
        print(said)


def _show(settings: Settings, programs: Mapping[str, Program], left: Mapping[str, int], silent: set[str]) -> None:
    supervisor, now = Supervisor(settings), datetime.now(timezone.utc)
    print(f"{'program':<28}{'state':<20}{'pid':>8}  {'running for':<16}log")
    for name in sorted({*programs, *left}):
        program = programs.get(name)
        state, pid, since = (program.state.lower(), program.pid, program.since) if program else ("no supervisor", left[name], None)
        state = "does not answer" if name in silent and state == "running" else state
        age = "" if since is None else str(timedelta(seconds=int((now - since).total_seconds())))
        print(f"{name:<28}{state:<20}{pid or '':>8}  {age:<16}{supervisor.log(name)}")


def _show_served(settings: Settings, store: Store) -> bool:
    """Ask each served version as a caller does; whether all answer."""
    answers = [answer for model, route in routes.released(store) for answer in caller.ask(settings, model.name, route, PATIENCE_SECONDS)]
    if answers:
        print(f"{'served version':<28}{'weight':<20}through the gateway")
    for answer in answers:
        said = f"does not answer: {answer.trouble}" if answer.trouble else "answers"
        print(f"{f'{answer.model} {answer.version}':<28}{f'{answer.weight / 100:g} %':<20}{said}")
    return not any(answer.trouble for answer in answers)
