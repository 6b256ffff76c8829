"""What serves is watched after its release: it is told what is wrong, goes back where it must, and is left alone where nothing is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import ServiceUnreachable
from perennial.incidents.incidents import Incidents
from perennial.lineage.experiments import Plan
from perennial.serving.route import WHOLE, WITHOUT_UNIT, Arm
from perennial.settings import Settings
from perennial.specs import ReleaseSpec, ServingSpec, SignalSpec
from perennial.stages import _steady_watch, experiment, rollback
from perennial.stages._experiment_plan import Wish
from perennial.stages._steady_watch import SteadyWatch
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, small_dataset, small_model

SETTINGS = Settings.from_environment({})
RELEASE = ReleaseSpec(steps=(100,), bake_seconds=0)
SERVING = ServingSpec(slow_ms=20)  # the backend of the tests has 5 % of the requests above 25 ms, unless it is told otherwise


class World:
    """A model whose versions 1 and 2 were released, and its watch."""

    def __init__(self, folder: Path, release: ReleaseSpec = RELEASE, digests: str = "ab") -> None:
        self.store, self.backend, self.registry = FolderStore(str(folder)), RehearsedBackend(seed=3), RegistryInMemory()
        self.spec = small_model().model_copy(update={"release": release, "serving": SERVING})
        self.release = Release(self.spec, SETTINGS, self.store, self.backend, self.registry)
        for digest in digests:
            self.registry.add(self.spec.name, digest * 64)
            assert self.release.look().action == "promoted"
            self.backend.serve(2000)
        self.now = datetime.now(timezone.utc)
        self.watch = self.new_watch()

    def new_watch(self) -> SteadyWatch:
        """A watch of a process that begins."""
        return SteadyWatch(SETTINGS, self.store, self.spec.name, self.backend, self.registry)

    def look(self, looks: int = 1, requests: int = 40, **served: dict[int, float]) -> bool:
        """Serve, and look; so many times. Whether there was news."""
        news = False
        for _ in range(looks):
            if requests:
                self.backend.serve(requests, **{"slow": {1: 0.02, 2: 0.02}, **served})
            self.now += timedelta(seconds=2)
            news |= self.watch.look(self.now)
        return news

    @property
    def open(self) -> dict[tuple[str, str], str]:
        """Severities of the open incidents."""
        return {(one.kind, one.key): one.severity for one in Incidents(self.store, self.spec.name).open_ones()}

    @property
    def champion(self) -> int | None:
        """Who has all the traffic."""
        route = self.backend.route(self.spec)
        return next((version for version, weight in route.weights.items() if weight == WHOLE), None) if route else None


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody is asked through a gateway: there is none."""
    asked: list[str] = []
    monkeypatch.setattr(_steady_watch, "note_service", lambda settings, store, name: asked.append(name) or ())
    return asked


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: {world.spec.name: world.spec})
    return world


def test_a_version_that_is_well_is_left_alone(world: World, asked: list[str]) -> None:
    """MN-04: Traffic within the limits opens nothing, and what answers its callers is asked once, at the beginning."""
    assert not world.look(looks=500, errors={2: 0.005}, slow={2: 0.03})
    assert world.open == {}
    assert world.champion == 2
    assert len(asked) == 1


def test_a_version_that_fails_at_full_traffic_goes_back_in_some_looks(world: World) -> None:
    """SE-10: Half of its answers fail: four looks later the last good version serves, the ledger says why, and people have an incident."""
    world.look(looks=3)
    assert world.look(looks=8, errors={2: 0.5})
    assert world.champion == 1
    last = world.release.ledger.last()
    assert last is not None
    assert (last.kind, last.version, last.champion, last.actor) == ("rolled_back", 2, 1, "perennial")
    assert "requests failed" in last.reason
    assert world.open[("release", "version 2")] == "critical"
    assert world.registry.version(world.spec.name, "champion").number == 1
    assert not world.look(looks=100) or world.open == {("release", "version 2"): "critical"}


def test_a_version_that_was_gone_back_to_is_not_left_by_itself(world: World) -> None:
    """SE-10: Where both fail the cause is elsewhere: it goes back once, and a person is told of the other one, too."""
    world.look(looks=20, errors={1: 0.9, 2: 0.9})
    assert world.champion == 1
    world.look(looks=20, errors={1: 0.9})
    assert world.champion == 1
    assert world.open[("service", "errors of version 1")] == "critical"


@pytest.mark.parametrize(("signal", "served"), [("errors", {"errors": {2: 0.05}}), ("latency", {"slow": {2: 0.25}})])
def test_what_is_wrong_and_not_severe_is_told_until_it_is_over(world: World, signal: str, served: dict[str, dict[int, float]]) -> None:
    """MN-04, MN-09: Five percent errors, or a quarter of the requests slow: an incident and no rollback, until it is within its limits."""
    world.look(looks=3)
    assert world.look(looks=120, **served)
    assert world.open == {("service", f"{signal} of version 2"): "warning"}
    assert world.champion == 2
    assert world.look(looks=200)
    assert world.open == {}


def test_without_requests_nothing_is_said(world: World, asked: list[str]) -> None:
    """MN-04: No traffic is no evidence: an alarm stays, none opens; versions are asked whether they answer, every ten seconds."""
    world.look(looks=120, errors={2: 0.05})
    before, asked_before = world.open, len(asked)
    assert before
    world.look(looks=100, requests=0)
    assert world.open == before
    assert 15 <= len(asked) - asked_before <= 21


def test_a_version_worse_than_the_last_good_one_goes_back_within_its_bake_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-10: An error rate that is no alarm later is one shortly after the promotion, beside the record of the version before."""
    for seconds, champion in ((600.0, 1), (0.0, 2)):
        world = World(tmp_path / str(seconds), RELEASE.model_copy(update={"bake_seconds": seconds}))
        monkeypatch.setattr(_steady_watch.discovery, "models", lambda spec=world.spec: {spec.name: spec})
        world.look(looks=250, errors={2: 0.009})
        assert world.champion == champion
    assert world.open == {}


def test_evidence_survives_a_restart(world: World) -> None:
    """DE-22: A watch that is killed and started again knows what was open, ends it, and begins with the counts of now."""
    world.look(looks=120, errors={2: 0.05})
    world.watch = world.new_watch()
    world.look(looks=200)
    assert world.open == {}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What does not answer callers, `gateway` or `version N`: each has an incident, as the question through a real gateway opens it."""
    silent: set[str] = set()

    def note(settings: Settings, store: FolderStore, name: str) -> tuple[str, ...]:
        incidents = Incidents(store, name)
        over = [one.id for one in incidents.open_ones() if one.kind == "service" and one.key not in silent]
        news = [incidents.open("service", key, "critical", f"{key} does not answer.") for key in sorted(silent)]
        news += [one for one in over if incidents.resolve(one, "It answers again.")]
        return tuple(one for one in news if one)

    monkeypatch.setattr(_steady_watch, "note_service", note)
    return silent


def test_a_version_that_does_not_answer_goes_back_only_if_the_gateway_does(
    world: World, silent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SE-10: A hanging server is left; where the gateway itself is silent nobody knows what answers behind it, and nothing moves."""
    world.look(looks=3)
    observe = world.backend.observe

    def unreachable(spec: object) -> None:
        raise ServiceUnreachable("The gateway does not answer.")

    silent |= {"gateway"}
    monkeypatch.setattr(world.backend, "observe", unreachable)
    assert world.look(looks=20)
    assert world.champion == 2
    assert world.open == {("service", "gateway"): "critical"}
    monkeypatch.setattr(world.backend, "observe", observe)
    silent ^= {"gateway", "version 2"}
    world.look(looks=12, requests=0)
    assert world.champion == 1
    assert "does not answer" in world.release.ledger.last().reason


def test_a_server_that_is_started_anew_is_no_outage(world: World, silent: set[str]) -> None:
    """SE-10: One question without an answer opens an incident; the version is left at the second in a row, and by none that is single."""
    world.look()
    for requests in (0, 40, 0):  # it is told that it answers again whether or not there is traffic
        silent |= {"version 2"}
        assert world.look(looks=5, requests=0)
        assert world.open == {("service", "version 2"): "critical"}
        silent.clear()
        assert world.look(looks=5, requests=requests)
        assert (world.champion, world.open) == (2, {})
    silent |= {"version 2"}
    world.look(looks=10, requests=0)
    assert world.champion == 1


def test_a_version_that_is_being_started_has_its_time_for_it(world: World, silent: set[str]) -> None:
    """SE-10, OP-02: After an outage of the machine servers come up one by one: who has not answered yet is left after `start_seconds`."""
    silent |= {"version 2"}
    looks = int(world.spec.serving.start_seconds / 2)
    world.look(looks=looks, requests=0)
    assert (world.champion, world.open) == (2, {("service", "version 2"): "critical"})
    world.look(looks=6, requests=0)
    assert world.champion == 1


def test_it_cannot_go_back_to_what_is_broken(world: World) -> None:
    """SE-10: The last good version does not start: the champion keeps its traffic, and the incident says so."""
    world.backend.refusals[1] = ServiceUnreachable("Not ready after 60 s.")
    world.look(looks=10, errors={2: 0.9})
    assert world.champion == 2
    assert world.open[("release", "version 2")] == "critical"
    (told,) = [one.sentence for one in Incidents(world.store, world.spec.name).open_ones() if one.kind == "release"]
    assert "cannot: " in told


def test_what_a_killed_watch_left_is_completed_and_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22, SE-10: Killed between the ledger's entry and the traffic: the next one moves it, and people hear of it, once."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("perennial.stages._release_evaluator.Evaluator._move", killed)
        with pytest.raises(KeyboardInterrupt):
            world.look(looks=20, errors={2: 0.9})
    assert (world.release.ledger.last().champion, world.champion, world.open) == (1, 2, {("service", "errors of version 2"): "critical"})
    world.watch = world.new_watch()
    assert world.look()
    assert world.champion == 1
    assert world.registry.version(world.spec.name, "champion").number == 1
    assert world.open[("release", "version 2")] == "critical"
    world.watch = world.new_watch()
    assert not world.look(looks=3)


def test_a_last_good_version_that_takes_no_traffic_is_tried_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-10: It comes up and cannot take the traffic: one incident and a pause, not a ledger that grows at each look."""

    def refuses(*_: object) -> None:
        raise ServiceUnreachable("Not ready after 60 s.")

    monkeypatch.setattr("perennial.stages._release_evaluator.traffic.move", refuses)
    world.look(looks=20, errors={2: 0.9})
    entries = world.release.ledger.last().seq
    assert world.open[("release", "version 2")] == "critical"
    world.look(looks=40, errors={2: 0.9})
    assert world.release.ledger.last().seq == entries


def test_evidence_of_another_release_is_not_gone_on_with(world: World) -> None:
    """DE-22: An earlier or later program suspected other rates: the evidence begins anew."""
    world.look(looks=3)
    kept = world.watch.kept
    assert kept is not None
    short = kept.always.model_copy(update={"logs": {signal: logs[:2] for signal, logs in kept.always.logs.items()}})
    world.watch.kept = kept.model_copy(update={"always": short})
    world.watch.keep()
    world.watch = world.new_watch()
    assert not world.look(looks=3)
    assert {len(logs) for logs in world.watch.kept.always.logs.values()} == {4}


def test_it_is_tried_again_after_a_while(world: World) -> None:
    """SE-10: A last good version that came up meanwhile is gone back to."""
    world.backend.refusals[1] = ServiceUnreachable("Not ready after 60 s.")
    world.look(looks=10, errors={2: 0.9})
    assert world.champion == 2
    world.backend.refusals.clear()
    world.look(looks=20, errors={2: 0.9})
    assert world.champion == 2
    world.look(looks=140, requests=5, errors={2: 0.9})
    assert world.champion == 1


def test_a_person_who_was_faster_is_respected(world: World) -> None:
    """SE-11: Somebody rolled back already: the watch does not go further back."""
    world.look(looks=3)
    rollback.go_back(world.release, "wrong scores", "jo")
    world.look(looks=30, errors={1: 0.9})
    assert world.champion == 1


def test_a_paused_release_goes_on_being_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-10: While a person is asked, evidence against the candidate ends its release."""
    spec = ReleaseSpec(steps=(50, 100), min_requests=5000, min_seconds=0, max_seconds=0.001, bake_seconds=0, observe_seconds=0.001)
    world = World(tmp_path, spec, digests="a")
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: {world.spec.name: world.spec})
    world.registry.add(world.spec.name, "b" * 64)
    assert world.release.look().action == "started"
    world.backend.serve(50)
    assert world.release.look().action == "ask"
    assert world.look(looks=10, requests=200, errors={2: 0.5})
    assert world.champion == 1
    assert world.open == {("release", "version 2"): "warning"}


def test_an_experiment_that_nobody_looks_at_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09, SE-10: as one that a command began: harm ends it, and people are told. One that a DAG looks at is left to it."""
    world = World(tmp_path, RELEASE.model_copy(update={"min_requests": 100}), digests="a")
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: {world.spec.name: world.spec})
    monkeypatch.setattr(experiment.discovery, "dataset", lambda name: small_dataset())
    monkeypatch.setattr(_steady_watch, "EXPERIMENT_SECONDS", 0.0)
    world.registry.add(world.spec.name, "b" * 64)
    metric = SignalSpec(name="metric", source="outcomes", column="error", low=0, high=1)
    begin = experiment.Experiment(world.spec, SETTINGS, world.store, world.backend, world.registry)
    plan = Plan(champion=1, tried=2, metric=metric, unit="user_id", least=0.1, look_seconds=60)
    assert begin.look_at(Wish("start", plan)).action == "started"
    assert not world.look(looks=20, requests=200, errors={2: 0.5}), "the newest look is not old"
    assert world.store.read(f"experiments/{world.spec.name}/00000002.json").count(b"sentence") == 1
    world.now += timedelta(seconds=120)
    assert world.look(requests=0)
    assert world.champion == 1
    assert world.open == {("release", "version 2"): "warning"}
    assert (world.release.ledger.last().kind, world.release.ledger.last().version) == ("rolled_back", 2)


def test_requests_in_no_experiment_tell_of_the_champion_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04, SE-09: A champion that fails those without a unit alone goes back while an experiment is under way. What their counts had
    reached is no evidence once they are gone."""
    observe, more = world.backend.observe, [Arm(1_000_000, 1_000_000)]
    monkeypatch.setattr(world.backend, "observe", lambda spec: {**observe(spec), **({WITHOUT_UNIT: more[-1]} if more else {})})
    world.look()
    for _ in range(3):
        more.append(Arm(more[-1].requests + 40, more[-1].errors))
        world.look(requests=0)
    more.clear()
    world.look(3)
    assert (world.champion, world.open) == (2, {})
    more.append(Arm())
    for _ in range(8):
        more.append(Arm(more[-1].requests + 40, more[-1].errors + 40))
        world.look(requests=0)
    assert world.champion == 1


def test_a_signal_with_a_limit_is_watched_of_what_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04: a Prometheus is asked for it as often as its spec says; it has an incident while its mean is beyond the limit, and one while
    it has had no value for long.
    """
    orders = SignalSpec(
        name="orders", source="prometheus", query="o{version}", low=0, high=10, limit=5, direction="higher", every_seconds=4
    )
    world = World(tmp_path, RELEASE.model_copy(update={"signals": (orders,)}))
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: {world.spec.name: world.spec})
    queries, answers = [], [7.0]

    def ask(url: str, query: str, seconds: float) -> list[tuple[dict[str, str], float]]:
        queries.append((url, query))
        if not answers:
            raise ServiceUnreachable("It does not answer.")
        return [({}, answers[0])]

    monkeypatch.setattr(_steady_watch, "ask", ask)
    settings = Settings.from_environment({"PERENNIAL_PROMETHEUS_URL": "http://127.0.0.1:1"})
    world.watch = SteadyWatch(settings, world.store, world.spec.name, world.backend, world.registry)
    assert not world.look(8)
    assert queries == [("http://127.0.0.1:1", "o2")] * 4
    answers[0] = 1.0
    assert world.look(80)
    assert world.open == {("service", "orders of version 2"): "warning"}
    (incident,) = Incidents(world.store, world.spec.name).open_ones()
    assert "values of orders (mean of o{version}) are beyond its limit." in incident.sentence
    assert world.champion == 2
    answers[0] = 9.0
    assert world.look(60)
    assert world.open == {}
    answers.clear()
    assert world.look(330)
    assert world.open == {("service", "no value of orders of version 2"): "warning"}
    (incident,) = Incidents(world.store, world.spec.name).open_ones()
    assert incident.sentence.startswith("The signal orders of small_delays has had no value for 10 minutes: It does not answer.")
    answers.append(9.0)
    assert world.look(4)
    assert world.open == {}


def test_a_signal_that_left_the_spec_leaves_no_incident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04: nor does one of a version that serves no more; without an address it is blind."""
    orders = SignalSpec(name="orders", source="prometheus", query="o{version}", low=0, high=10, limit=5, every_seconds=1)
    world = World(tmp_path, RELEASE.model_copy(update={"signals": (orders,)}))
    specs = {world.spec.name: world.spec}
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: specs)
    monkeypatch.setattr(_steady_watch, "ask", lambda url, query, seconds: [({}, 10.0)])
    settings = Settings.from_environment({"PERENNIAL_PROMETHEUS_URL": "http://127.0.0.1:1"})
    world.watch = SteadyWatch(settings, world.store, world.spec.name, world.backend, world.registry)
    world.look(60)
    assert world.open == {("service", "orders of version 2"): "warning"}
    specs[world.spec.name] = world.spec.model_copy(update={"release": RELEASE})
    assert world.look(2)
    assert world.open == {}
    specs[world.spec.name] = world.spec
    world.watch = world.new_watch()  # its settings have no address
    world.look(310)
    assert {key for _, key in world.open} == {"orders of version 2", "no value of orders of version 2"}
    rollback.go_back(world.release, "So.", "jo", 1)
    world.look(2)
    assert world.open == {}
