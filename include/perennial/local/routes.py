"""Restores what should serve according to the ledger: routes after the platform was down, and servers that hang."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone

from perennial import discovery
from perennial.errors import PerennialError, StoredDataDamaged
from perennial.lineage.ledger import Ledger
from perennial.lineage.unowned import unowned
from perennial.local.supervisor import Program, Supervisor
from perennial.serving import caller
from perennial.serving.backends import open_backend
from perennial.serving.backends.local import program
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial.specs import ModelSpec, stand_in
from perennial.stages._routes import route_of
from perennial.stages._service import note_service
from perennial.store import Store

PATIENCE_SECONDS = 5.0


def released(store: Store) -> Iterator[tuple[ModelSpec, Route]]:
    """The models that should serve, each with the route of its last ledger entry; also models whose files are broken or gone.

    Callers are not to suffer from an edit: such a model is served with the settings of serving that it had.
    """
    sound, damaged = discovery.models(), unreadable(store)
    for name in sorted({*sound, *_left_out(store)} - set(damaged)):
        entry = Ledger(store, name).last()
        route = route_of(entry) if entry else None
        if route is not None:
            yield sound.get(name) or stand_in(name), route


def unreadable(store: Store) -> dict[str, str]:
    """A sentence for each model whose last ledger entry is damaged, so that its route is unknown."""
    sentences = {}
    for name in {*discovery.models(), *_left_out(store)}:
        try:
            Ledger(store, name).last()
        except StoredDataDamaged as damage:
            sentences[name] = str(damage)
    return sentences


def resume(settings: Settings, store: Store) -> Iterator[str]:
    """Start the servers of each model's route and route to them, note what does not answer; yields a sentence
    for each model that has one, or is left out."""
    backend, why = open_backend(settings, renew=True), _left_out(store)
    for model, route in released(store):
        said = f", with the settings of serving that it had. {why.pop(model.name)}" if model.name in why else ""
        try:
            backend.apply(model, route)
            for version in route.versions:
                backend.wait_ready(model, version, model.serving.start_seconds)
        except PerennialError as error:  # one model that cannot serve must not keep the others, or the platform, down
            yield f"  {model.name} does not serve: {error}"
        else:
            yield f"  {model.name} serves version {', '.join(map(str, route.versions))}{said}"
        note_service(settings, store, model.name)
    damaged = unreadable(store)
    yield from (f"  {name} does not serve: {damaged[name]}" for name in sorted(damaged.keys() - why.keys()))
    for said in (*why.values(), *(broken_spec.sentence for broken_spec in discovery.broken() if broken_spec.kind == "dataset")):
        yield f"  {said}"


def _left_out(store: Store) -> dict[str, str]:
    """A sentence for each model whose files are broken, or gone while it serves."""
    broken = {broken_spec.name: broken_spec.sentence for broken_spec in discovery.broken() if broken_spec.kind == "model"}
    return broken | unowned(store)


def mend(settings: Settings, store: Store) -> Iterator[str]:
    """Restart servers that have run long enough to be ready but do not answer through the gateway; yields a sentence for each."""
    supervisor = Supervisor(settings)
    now, programs = datetime.now(timezone.utc), supervisor.programs()
    for model, route in released(store):
        slow = now - timedelta(seconds=model.serving.start_seconds)
        grown_up = {version for version in route.versions if _since(programs, model.name, version, now) < slow}
        answers = caller.ask(caller.here(settings), model.name, route, PATIENCE_SECONDS) if grown_up else []
        for answer in answers:
            if answer.trouble and answer.version in grown_up:
                supervisor.replace(program(model.name, answer.version))
                yield f"  version {answer.version} of {model.name} runs and does not answer: it is started anew"


def _since(programs: Mapping[str, Program], model: str, version: int, now: datetime) -> datetime:
    """Since when the server runs; now if it does not."""
    server = programs.get(program(model, version))
    return server.since if server and server.since and server.state == "RUNNING" else now
