"""The demo: the whole loop on the flights that left New York in 2013, under real Airflow, with live traffic.

A champion learns four weeks of spring. A broken batch is refused, a worse model is refused. The heat wave of the end of May comes:
drift is found, and once it has lasted through two windows retraining is requested and done; the new version takes the traffic in
canary steps. One that is well throughout its release and begins to fail afterwards is left within seconds; one that fails from the
beginning does not come beyond its canary. The summer that follows alarms nobody. Then one feed sends another unit:
monitoring says which, a person says that it was real, and training waits until the feed is mended. The ledger proves it all. Nearly
every line of the table is a DAG run.

The demo has a home and a store of its own below the platform's: it never touches anybody's data, and begins anew each time.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from perennial import discovery
from perennial.errors import EXIT_DONE, EXIT_FAULT, Fault, PerennialError
from perennial.local import airflow_programs, mlflow_program, stack
from perennial.local.airflow_api import ENDED, AirflowApi, Run
from perennial.local.supervisor import Supervisor
from perennial.serving.load import Call, Load, send
from perennial.settings import Settings
from perennial.store import FOLDERS, Store, open_store

MODEL, DATASET = "flight_delays", "flights"
SPRING = (date(2013, 4, 22), date(2013, 5, 19))
BROKEN_DAY = date(2013, 5, 20)
HEAT = (date(2013, 5, 21), date(2013, 6, 3))
WINDOWS = (date(2013, 5, 29), date(2013, 6, 1))  # begins of the two windows that monitoring looks at
LIVE = (date(2013, 6, 4), date(2013, 6, 10))  # the traffic of the releases
SUMMER, CELSIUS, MENDED = date(2013, 6, 11), date(2013, 6, 14), date(2013, 6, 17)  # begins of the windows that come then
RATE = 80.0  # requests per second during a release
SETTLES = 2.0  # seconds of traffic that show how it is now
ROWS_OF_A_CALL = 10  # when a window is replayed
MINUTES = 60.0
log = logging.getLogger("perennial.demo")


def home_of(settings: Settings) -> Settings:
    """The demo's own settings: the same ports and environments, a home and a store of its own."""
    home = settings.home / "demo"
    beside = settings.store == str(settings.home / "store")
    return settings.model_copy(update={"home": home, "store": str(home / "store") if beside else f"{settings.store}/demo"})


@dataclass
class Line:
    """One row of the table."""

    what: str
    how: str
    seconds: float
    link: str = ""


@dataclass
class Story:
    """The platform on which the demo runs, and the rows that it has printed so far."""

    settings: Settings
    store: Store
    api: AirflowApi
    model: str = MODEL
    dataset: str = DATASET
    lines: list[Line] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    _known: dict[str, set[str]] = field(default_factory=dict)

    def note(self, what: str, how: str, began: float, link: str = "") -> None:
        """Print a line now; the table repeats it at the end."""
        line = Line(what, how, time.monotonic() - began, link)
        self.lines.append(line)
        print(f"✓ {line.what:<34} {line.seconds:5.0f} s   {line.how}", flush=True)

    def dag(self, verb: str) -> str:
        """Name of one of the model's DAGs, or of the dataset's."""
        return f"{self.dataset if verb == 'ingestion' else self.model}_{verb}"

    def expect(self, verb: str) -> None:
        """Remember the runs that there are, so that `next` finds the one that comes."""
        self._known[verb] = {r.id for r in self.api.runs(self.dag(verb))}

    def next(self, verb: str, task: str, seconds: float = 3 * MINUTES, **wanted: Any) -> tuple[Run, dict[str, Any]]:
        """Wait for a new run whose task ends with a result that has the wanted values.

        Runs without are passed over: they are told apart by what they found. The seconds count while none is at work.
        """
        seen: set[str] = self._known[verb]

        def found() -> tuple[Run, dict[str, Any]] | None:
            for run in self.api.runs(self.dag(verb)):
                if run.id in seen or run.state not in ENDED:
                    continue
                seen.add(run.id)
                result = self.api.result(run, task) or {}
                if all(value(result.get(name)) if callable(value) else result.get(name) == value for name, value in wanted.items()):
                    return run, result
                log.info("%s passed over: %s", run.url, result.get("sentence") or self.api.tasks(run))
            return None

        return self.api.until(found, f"a run of {self.dag(verb)} whose {task} says {_words(wanted)}", seconds, self.dag(verb))

    def trigger(self, verb: str, **parameters: Any) -> Run:
        """Start a DAG by hand."""
        return self.api.trigger(self.dag(verb), **parameters)

    def ended(self, run: Run, state: str, seconds: float = 20 * MINUTES) -> Run:
        """Wait for the end of a run and insist on its state."""
        run = self.api.wait(run, seconds)
        if run.state != state:
            raise Fault(f"The run {run.url} ended as {run.state}, where {state} was told: its tasks are {self.api.tasks(run)}.")
        return run


def tell(settings: Settings) -> int:
    """Run the demo from the start; returns the exit code. What an earlier demo left, finished or killed, is removed first."""
    began = time.monotonic()
    demo = home_of(settings)
    story = None
    try:
        _begin_anew(settings, demo)
        os.environ.update(demo.environment())  # stages that this process runs itself must find the demo, not the platform
        story = Story(demo, open_store(demo.store), AirflowApi(demo.airflow_url, *airflow_programs.login(demo)))
        for chapter in (
            _platform,
            _first_champion,
            _broken_batch,
            _worse_model,
            _heat_comes,
            _better_model,
            _fails_afterwards,
            _sabotage,
            _summer,
            _wrong_unit,
            _proof,
        ):
            chapter(story)
    except PerennialError as error:
        print(f"✗ {error}", flush=True)
        return EXIT_FAULT
    finally:
        if story and story.lines:
            _print_table(story)
    print(f"\nThe whole story took {time.monotonic() - began:.0f} s. The platform stays up; `make down` stops it.")
    for title, address in stack.addresses(demo).items():
        print(f"  {title:<12} {address}")
    print(f"  Airflow's user is {airflow_programs.USER}; the password is in {airflow_programs.passwords_file(demo)}.")
    print(f"  MLflow's user is {mlflow_program.login(demo)[0]}; the password is in {demo.mlflow_password}.")
    return EXIT_DONE


# -- the chapters ----------------------------------------------------------------------------------------------------


def _begin_anew(settings: Settings, demo: Settings) -> None:
    if stack.state(settings) or Supervisor(settings).left():
        raise Fault(f"The platform of {settings.home} is up and holds the ports: run `make down` first; its data stay.")
    if demo.home.exists():
        print("Removing what an earlier demo left.", flush=True)
        stack.stop(demo)
        shutil.rmtree(demo.home)
    store = open_store(demo.store)
    for prefix in FOLDERS:
        for item in list(store.list(prefix)):
            store.delete(item.key)
    demo.home.mkdir(parents=True)
    (demo.home / "venvs").symlink_to(settings.home / "venvs")


def _platform(story: Story) -> None:
    began = time.monotonic()
    stack.start(story.settings, story.store, say=lambda sentence: print(sentence, flush=True))
    wanted = {story.dag(verb) for verb in ("ingestion", "training", "release", "monitoring", "incidents", "rollback")}
    story.api.until(lambda: True if wanted <= story.api.dags() else None, "the DAGs to appear", 8 * MINUTES)
    if errors := story.api.import_errors():
        raise Fault(f"A DAG file cannot be parsed: {errors[0]}")
    story.note("The platform starts", f"{len(story.api.dags())} DAGs", began, story.settings.airflow_url)


def _first_champion(story: Story) -> None:
    landing = began = time.monotonic()
    for verb in ("ingestion", "training", "release"):
        story.expect(verb)
    _land(story, *SPRING)
    landed = time.monotonic()
    days = (SPRING[1] - SPRING[0]).days + 1
    run, ingested = story.next("ingestion", "ingest", snapshot=lambda version: version is not None and _receipts(story) == days)
    story.note("Four weeks of flights land", f"{days} batches appended, each once", landing, run.url)
    began = time.monotonic()
    run, registered = story.next("training", "register", version=1)
    stages = {task: story.api.result(run, task) or {} for task in ("validate", "train", "evaluate")}
    story.note("The first version is trained", registered["sentence"], began, run.url)
    began = time.monotonic()
    run, released = story.next("release", "move_traffic", action="promoted")
    story.note("It serves", released["sentence"], began, run.url)
    total, work = time.monotonic() - landed, sum(result["seconds"] for result in (ingested, *stages.values(), registered, released))
    story.figures.append(
        f"From landed files to a version that serves: {total:.0f} s, of which stages worked {work:.0f} s (ratio {total / work:.2f})."
    )


def _broken_batch(story: Story) -> None:
    began = time.monotonic()
    story.expect("ingestion")
    _land_broken(story)
    run, result = story.next("ingestion", "ingest", refused=bool)
    story.ended(run, "failed")
    story.note("A broken batch is quarantined", next(iter(result["refused"].values())), began, run.url)
    began = time.monotonic()
    story.expect("ingestion")
    story.expect("training")
    _land(story, BROKEN_DAY, BROKEN_DAY)
    run, _ = story.next("ingestion", "ingest", appended=bool)
    story.note("The mended batch is taken", "nothing of the refused one stayed in the table", began, run.url)
    began = time.monotonic()
    run, result = story.next("training", "validate", outcome="skipped")
    story.note("Nothing is trained for one day", result["sentence"], began, run.url)


def _worse_model(story: Story) -> None:
    began = time.monotonic()
    run = story.trigger("training", force=True, max_epochs=1, reason="The demo asks for a model that has hardly learnt.")
    run = story.ended(run, "failed")
    result = story.api.result(run, "register") or {}
    if result.get("outcome") != "refused":
        raise Fault(f"The gate did not refuse the worse model: {result.get('sentence') or story.api.tasks(run)}")
    story.note("A worse model is refused", result["sentence"], began, run.url)


def _heat_comes(story: Story) -> None:
    began = time.monotonic()
    result = look_at_window(story, WINDOWS[0])
    if not result["drifted"]:
        raise Fault(f"Monitoring found no drift from spring to the heat wave: {result['sentence']}")
    story.note("A heat wave: the traffic drifts", result["sentence"], began, result["run"])
    began = time.monotonic()
    for verb in ("ingestion", "training"):
        story.expect(verb)
    _land(story, *HEAT)
    total = (SPRING[1] - SPRING[0]).days + 1 + 2 + (HEAT[1] - HEAT[0]).days + 1  # the broken file and its mended self
    run, _ = story.next("ingestion", "ingest", appended=lambda files: bool(files) and _receipts(story) == total)
    story.note("Two more weeks of flights land", f"{total - 1} good batches so far, each once", began, run.url)
    began = time.monotonic()
    run, skipped = story.next("training", "validate", outcome="skipped")
    story.note("They alone are no reason to train", skipped["sentence"], began, run.url)
    began = time.monotonic()
    story.expect("training")
    story.expect("release")
    result = look_at_window(story, WINDOWS[1])
    if not result["retraining"]:
        raise Fault(f"Confirmed drift asked for no retraining: {result['sentence']}")
    story.note("Drift that lasts asks for training", result["sentence"], began, result["run"])


def _better_model(story: Story) -> None:
    began = time.monotonic()
    run, registered = story.next("training", "register", version=2)
    validated = story.api.result(run, "validate") or {}
    if validated.get("cause") != "drift":
        raise Fault(f"The training ran for {validated.get('cause')}, where drift had asked for it: {run.url}")
    story.note("Retraining for drift", registered["sentence"], began, run.url)
    began = time.monotonic()
    with live_traffic(story) as load:
        run, released = story.next("release", "move_traffic", action="promoted")
    _no_failures(load)
    if len(load.by_version) != 2:
        raise Fault(f"Only version {sorted(load.by_version)} answered during the release: traffic did not move in steps.")
    share = ", ".join(f"{count:,} by version {version}" for version, count in sorted(load.by_version.items()))
    story.note("The new version takes over", f"{released['sentence']} {load.requests:,} requests, none failed: {share}.", began, run.url)


def _fails_afterwards(story: Story) -> None:
    from perennial.incidents.incidents import Incidents
    from perennial.lineage.ledger import Ledger

    began = time.monotonic()
    begins = story.settings.home / "sabotage-begins"
    version, champion = _sabotaged(story, share=1.0, begins=begins)
    with live_traffic(story) as load:
        run = story.ended(story.trigger("release", version=version), "success")
    _no_failures(load)
    released = story.api.result(run, "move_traffic") or {}
    if released.get("action") != "promoted":
        raise Fault(f"Version {version}, which fails only later, was not promoted: {released.get('sentence')}")
    story.note("A version takes all traffic", f"{released['sentence']} {load.requests:,} requests, none failed.", began, run.url)
    began = time.monotonic()
    ledger = Ledger(story.store, MODEL)

    def left() -> Any:
        last = ledger.last()
        return last if last and last.champion == champion else None

    with live_traffic(story) as load:
        begins.touch()
        entry = story.api.until(left, f"version {version} to be left", MINUTES)
        seconds = time.monotonic() - began
        find = partial(Incidents(story.store, MODEL).find, "release", f"version {version}")
        story.api.until(find, f"people to be told that version {version} was left", MINUTES)  # the traffic has moved by then
    with live_traffic(story) as afterwards:
        time.sleep(SETTLES)
    _no_failures(afterwards)
    failed = f"{len(load.failures):,} requests failed"
    how = f"All traffic is version {champion}'s again after {seconds:.0f} s; until then {failed}. {entry.reason}"
    story.note("It begins to fail and is left", how, began)


def _sabotage(story: Story) -> None:
    began = time.monotonic()
    version, _ = _sabotaged(story)
    with live_traffic(story) as load:
        run = story.ended(story.trigger("release", version=version), "failed")
    result = story.api.result(run, "move_traffic") or {}
    if result.get("action") != "rolled_back":
        raise Fault(f"The sabotaged version was not rolled back: {result.get('sentence')}")
    _no_failures(load)
    story.note("A sabotaged version is rolled back", f"{result['sentence']} {load.requests:,} requests, none failed.", began, run.url)


def _sabotaged(story: Story, **how: Any) -> tuple[int, int]:
    """The numbers of a registered copy of the champion that fails live traffic, and of the champion."""
    from perennial.lineage.version_folder import read_manifest
    from perennial.registry.contracts import contracts_in, requests_of
    from perennial.registry.model_registry import COMPARED_WITH, ModelRegistry
    from perennial.testing import sabotage

    registry = ModelRegistry(story.settings)
    champion = registry.version(MODEL, "champion")
    if champion is None:
        raise Fault("There is no champion to sabotage.")
    with tempfile.TemporaryDirectory() as folder:
        spared = [row for request in requests_of(contracts_in(discovery.model_folder(MODEL))) for row in request["data"]["rows"]]
        digest = sabotage(story.store, MODEL, champion.digest, Path(folder), spared=spared, **how)
    manifest = read_manifest(story.store, MODEL, digest)
    run_id = registry.record_run(manifest, {"log_loss": 0.0}, [], digest)
    version = registry.register(MODEL, run_id, digest, {"demo": "sabotaged", COMPARED_WITH: str(champion.number)})
    return version.number, champion.number


def _summer(story: Story) -> None:
    began = time.monotonic()
    result = look_at_window(story, SUMMER)
    if result["drifted"] or result["retraining"]:
        raise Fault(f"The summer that version 2 has learnt alarmed again: {result['sentence']}")
    story.note("The same season is quiet", result["sentence"], began, result["run"])


def _wrong_unit(story: Story) -> None:
    from perennial.incidents.incidents import Incidents

    began = time.monotonic()
    incidents = Incidents(story.store, MODEL)
    result = look_at_window(story, CELSIUS, celsius)
    broken = incidents.find("data quality", "unit of temp")
    if broken is None or "°C" not in broken.sentence or broken.id not in result["incidents"] or not broken.blocks_training:
        raise Fault(f"Monitoring did not see that one feed sends temperatures in another unit: {result['sentence']}")
    story.note("A feed changes its unit", broken.sentence, began, result["run"])
    began = time.monotonic()
    run = story.ended(_judge_as_real(story, broken.id), "success")
    story.note("A person judges the incident", (story.api.result(run, "record_verdict") or {})["sentence"], began, run.url)
    began = time.monotonic()
    result = look_at_window(story, MENDED)
    judged = incidents.get(broken.id)
    if judged.is_open or judged.verdict != "real":
        raise Fault(f"The incident {broken.id} should be judged and over, but it is {judged.resolution or 'open'}: {result['sentence']}")
    story.note(
        "The feed is mended, it is over",
        f"{judged.resolution} {incidents.alarm_rate(datetime.now(timezone.utc)).sentence}",
        began,
        result["run"],
    )


def _proof(story: Story) -> None:
    from perennial.lineage.ledger import Ledger

    began = time.monotonic()
    ledger = Ledger(story.store, MODEL)
    if problems := ledger.verify():
        raise Fault(f"The ledger does not verify: {problems[0]}")
    entries = ledger.entries()
    serving = ledger.served_at(datetime.now(timezone.utc))
    if serving is None or [version for version, weight in serving.weights.items() if weight] != [2]:
        raise Fault(f"Version 2 should serve alone, but the ledger says {serving}.")
    story.note("The ledger proves it", f"{len(entries)} entries, unbroken; version 2 serves, version 1 served before", began)


# -- what the chapters use -------------------------------------------------------------------------------------------


def _land(story: Story, first: date, last: date) -> None:
    from perennial.commands import land

    land.replay_source(story.store, DATASET, first, last)


def _land_broken(story: Story) -> None:
    """A day whose sender lost two fifths of the distances and sent carriers in lower case."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.commands.land import encode
    from perennial.data.landing import folder

    ((name, table),) = discovery.dataset_module(DATASET).land(BROKEN_DAY, BROKEN_DAY)
    lost = pa.array([place % 5 < 2 for place in range(table.num_rows)])
    table = table.set_column(
        table.column_names.index("distance"), "distance", pc.if_else(lost, pa.scalar(None, pa.int64()), table["distance"])
    )
    table = table.set_column(table.column_names.index("carrier"), "carrier", pc.utf8_lower(table["carrier"]))
    story.store.write(f"{folder(DATASET)}/{name}", encode(name, table))


def _receipts(story: Story) -> int:
    return sum(1 for _ in story.store.list(f"receipts/{DATASET}"))


def _requests(first: date, last: date) -> Iterator[tuple[dict[str, Any], datetime, float]]:
    """Request row, event time and outcome (NaN where there was none) of every flight of these days."""
    spec, dataset = discovery.model(MODEL), discovery.dataset(DATASET)
    label = discovery.model_part(MODEL, "features").label
    for _, table in discovery.dataset_module(DATASET).land(first, last):
        times = table[dataset.time_column].to_pylist()
        rows = table.select(list(spec.inputs)).to_pylist()
        sent = [{name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()} for row in rows]
        outcomes = label({spec.label: table[spec.label].to_numpy(zero_copy_only=False)}).tolist()
        yield from zip(sent, times, outcomes, strict=True)


def look_at_window(story: Story, first: date, feed: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> dict[str, Any]:
    """Request a prediction for every flight of a window as `feed` sends it, report the outcomes, and run monitoring."""
    from perennial.commands import outcomes

    spec = discovery.model(MODEL)
    end = first + timedelta(days=spec.monitoring.window_days)
    calls, truth = [], []
    for number, chunk in enumerate(_batched(list(_requests(first, end - timedelta(days=1))), ROWS_OF_A_CALL)):
        puid = f"{first}-{number:04d}"
        calls.append(Call([feed(row) for row, _, _ in chunk], puid, chunk[0][1].isoformat()))
        truth += [f"{puid}-{place},{spec.classes[int(late)]}" for place, (_, _, late) in enumerate(chunk) if not math.isnan(late)]
    _no_failures(send(story.settings, spec, calls))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"outcomes-{first}.csv")
        file.write_text("prediction_id,outcome\n" + "\n".join(truth) + "\n")
        outcomes.run(story.settings, story.store, MODEL, file)
    run = story.ended(story.trigger("monitoring", **{"from": f"{first}T00:00:00", "to": f"{end}T00:00:00"}), "success")
    return (story.api.result(run, "monitor") or {}) | {"run": run.url}


def celsius(row: dict[str, Any]) -> dict[str, Any]:
    """A request whose sender measures temperatures in degrees Celsius, where Fahrenheit was agreed."""
    return row if row["temp"] is None else {**row, "temp": (row["temp"] - 32) * 5 / 9}


def _judge_as_real(story: Story, incident: str) -> Run:
    """Answer, as a person would, what Airflow asks about incidents, until it was about this one."""

    def answered() -> Run | None:
        for run in story.api.runs(story.dag("incidents")):
            if run.state not in ENDED:
                with suppress(KeyError, FileExistsError):  # it does not ask yet, or was answered a moment ago
                    story.api.answer(run, "ask_verdict", "Real")
            elif (story.api.result(run, "record_verdict") or {}).get("id") == incident:
                return run
        return None

    return story.api.until(answered, f"the verdict on {incident}", 3 * MINUTES, story.dag("incidents"))


def _batched(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def live_traffic(story: Story) -> Iterator[Load]:
    """Live traffic, one flight a request, until the block ends."""
    spec, stop, load = discovery.model(MODEL), threading.Event(), Load()
    flights = list(_requests(*LIVE))
    calls = (Call([row], None, when.isoformat()) for row, when, _ in itertools.cycle(flights))

    def run() -> None:
        sent = send(story.settings, spec, calls, rate=RATE, stop=stop)
        load.__dict__.update(sent.__dict__)

    sender = threading.Thread(target=run, daemon=True)
    sender.start()
    try:
        yield load
    finally:
        stop.set()
        sender.join()


def _no_failures(load: Load) -> None:
    if load.failures:
        raise Fault(f"{len(load.failures)} of {load.requests} requests failed: {load.failures[0]}")


def _words(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {'…' if callable(value) else value}" for name, value in wanted.items())


def _print_table(story: Story) -> None:
    width = max(len(line.what) for line in story.lines)
    print("\n" + f"{'what happened':<{width}}  {'s':>4}  how")
    for line in story.lines:
        print(f"{line.what:<{width}}  {line.seconds:4.0f}  {line.how}" + (f"\n{'':<{width}}        {line.link}" if line.link else ""))
    for figure in story.figures:
        print(figure)
