"""`perennial explain-run`: why a run ran, on what, what ended it, what to do, and what came of it. Its page in the console says the same.

$ perennial explain-run flight_delays
$ perennial explain-run flight_delays/7
$ perennial explain-run flight_delays_training/manual__2026-03-01T12:00:00+00:00 --json
"""

from __future__ import annotations

from collections.abc import Mapping

import requests

from perennial import discovery
from perennial.counted import spent
from perennial.errors import EXIT_DONE, ServiceUnreachable, UnknownName
from perennial.lineage.ledger import known_models
from perennial.lineage.registrations import newest_registration
from perennial.local import airflow_programs
from perennial.local.airflow_api import AirflowApi
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.run import RunView, StageOfRun
from perennial.views.run_explained import CONSOLE, Explanation, digest_of, explained_version

SECONDS = 30
DIGITS = 9  # of the number of a version
NO_RUN = "No run in Airflow's records made it: it was made by hand, or its run was deleted."
RUNS_ARE_AIRFLOWS = "Runs are in Airflow alone; of a version the store knows something too: name it as model/7."


def run(settings: Settings, store: Store, *, name: str, json: bool = False) -> int:
    """Print the explanation.

    Raises:
        UnknownName: there is no such run; the sentence has the nearest ones.
        ServiceUnreachable: Airflow does not answer, and the store knows nothing of what is asked.
    """
    try:
        view = asked(settings, name)
    except (ServiceUnreachable, UnknownName) as trouble:
        version = _version(store, name, is_away=isinstance(trouble, ServiceUnreachable))
        if version is None:
            raise trouble if isinstance(trouble, UnknownName) else ServiceUnreachable(f"{trouble} {RUNS_ARE_AIRFLOWS}") from None
        model, number = version
        why = str(trouble) if isinstance(trouble, ServiceUnreachable) else NO_RUN
        explanation = explained_version(store, model, number, why)
        said = [f"{model}, version {number}, by the store alone", *lines_of(explanation, settings.airflow_url)]
        print(explanation.model_dump_json(indent=1) if json else on_terminal("\n".join(said)))
        return EXIT_DONE
    print(view.model_dump_json(indent=1) if json else on_terminal("\n".join(run_lines(view, settings.airflow_url))))
    return EXIT_DONE


def asked(settings: Settings, name: str) -> RunView:
    """The explanation as the console has it.

    Raises:
        UnknownName: there is no such run that this user may read.
        ServiceUnreachable: Airflow does not answer, or does not know this user.
    """
    address = f"{settings.airflow_url.rstrip('/')}{CONSOLE}/explain-run.json"
    if not airflow_programs.passwords_file(settings).exists():
        raise ServiceUnreachable(
            f"The login of Airflow at {settings.airflow_url} is not known here, so it was not asked: its tab What happened shows each run."
        )
    try:
        token = AirflowApi(settings.airflow_url, *airflow_programs.login(settings)).token()
        answer = requests.get(address, {"what": name}, cookies={"_token": token}, timeout=SECONDS)
    except requests.RequestException:
        raise ServiceUnreachable(f"Airflow at {settings.airflow_url} does not answer: see `perennial status`.") from None
    if answer.status_code == 404:
        raise UnknownName(_detail(answer))
    if not answer.ok:
        raise ServiceUnreachable(f"Airflow at {settings.airflow_url} does not answer with an explanation ({answer.status_code}).")
    return RunView.model_validate_json(answer.content)


def run_lines(view: RunView, airflow: str) -> list[str]:
    """A run and its explanation as text."""
    of = view.model or view.dataset
    head = f"{(view.what or view.dag).capitalize()}{f' of {of}' if of else ''}, {view.dag}/{view.run}: {view.word}"
    said = [f"{view.word}{f' at {view.task}' if view.task else ''}: {view.sentence}"] if view.sentence else []
    stages = [_stage(one) for one in view.stages]
    return [head, *(f"  {line}" for line in said), *lines_of(view.explanation, airflow, {"Stages": stages})]


def _stage(stage: StageOfRun) -> str:
    lasted = "" if stage.seconds is None else f", {spent(stage.seconds)}"
    return f"{stage.word}, {stage.task}{lasted}{f': {stage.sentence}' if stage.sentence else ''}"


def lines_of(explanation: Explanation, airflow: str, more: Mapping[str, list[str]] | None = None) -> list[str]:
    """An explanation as text; `more` has further parts, shown after what ended it."""
    fault = explanation.fault
    parts = {
        "What ended it": [f"{fault.name}, at {explanation.where}", f"What to do: {fault.do} ({fault.runbook})"] if fault else [],
        "Why it ran": list(explanation.why),
        **(more or {}),
        "What the gate said": list(explanation.checks),
        "On what it worked": [f"{title}: {value}" for title, value in explanation.inputs.items()],
        "What came of it": list(explanation.became),
        "Pages": [f"{title}: {airflow.rstrip('/') if page.startswith('/') else ''}{page}" for title, page in explanation.pages.items()],
        "What cannot be told": list(explanation.untold),
    }
    return [line for head, told in parts.items() if told for line in (f"{head}:", *(f"  {each}" for each in told))]


def _version(store: Store, name: str, *, is_away: bool) -> tuple[str, int] | None:
    """Model and version of what was named, where the store alone is asked; None if it is no version. The newest one of a model, if Airflow
    is away."""
    model, _, number = name.partition("/")
    if model not in {*discovery.models(), *known_models(store)}:
        return None
    if number.isdecimal() and len(number) <= DIGITS and digest_of(store, model, int(number)):
        return model, int(number)
    newest = newest_registration(store, model) if is_away and not number else None
    return (model, newest.number) if newest else None


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
