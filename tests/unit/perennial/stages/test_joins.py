"""Several tables in one model, through the real stages: landed, taken in, decided, trained, measured, made again and scored."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from perennial import cli, discovery
from perennial.commands import reproduce
from perennial.commands.traffic import rows_as_calls
from perennial.data import tables
from perennial.data.snapshots import model_snapshot
from perennial.data.tables import Table
from perennial.errors import TrainingRefused
from perennial.lineage.learned import learned
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.online_values import STATES, Note
from perennial.options import versions
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.results import TrainResult, ValidateResult
from perennial.serving.joined_values import JoinedValues
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import evaluate, ingest, register, score, train, validate
from perennial.stages import profile as profiling
from perennial.stages._online import export_values
from perennial.store import FolderStore, Store
from perennial.testing import RegistryInMemory, check_model, crown
from perennial.training.scoring import score as score_rows

DELIVERIES = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="deliveries", title="Deliveries", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="depot", type="string"),
    Column(name="weight", type="float"), Column(name="late", type="int")))
"""
DEPOTS = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="depots", title="Depots", owner="tests", key=("name", "hour"), event_time="hour", rows="corrected",
    on_known_key="replace", columns=(
    Column(name="name", type="string"), Column(name="hour", type="timestamp"), Column(name="waiting", type="int"),
    Column(name="belts", type="float", nullable=True)))
"""
SPEC = """
from perennial.specs import GateSpec, JoinSpec, ModelSpec, SplitSpec
MODEL = ModelSpec(name="punctual", title="T", owner="tests", dataset="deliveries", task="binary", classes=("in_time", "late"), label="late",
    inputs=("weight", "waiting", "belts"), learner="sklearn", slices=("depot", "belts"),
    joins=(JoinSpec(dataset="depots", key=("depot",), key_there=("name",), columns=("waiting", "belts"), horizon_days={horizon}{more}),),
    split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100), gate=GateSpec(floors={{"log_loss": {floor}}}))
"""
FEATURES = """
from perennial.encoding import Encoder, Raw, numbers
def label(columns):
    return numbers(columns["late"])
def fit(columns):
    return Encoder({name: [Raw(name)] for name in ("weight", "waiting", "belts")})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
def estimator(spec):
    columns = ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), ["weight", "waiting", "belts"])])
    return Pipeline([("columns", columns), ("model", LogisticRegression())])
"""
FIRST = datetime(2024, 1, 1)
DAYS, OF_A_DAY, PLACES = 20, 40, ("north", "south")
HISTORY = ', history_until="2024-02-01T12:00", history_delay_hours=1'
SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, datetime]:
    """When the next batch is taken in, UTC, under "now". Suites take everything."""
    clock, put = {"now": datetime(2024, 2, 1)}, tables.put_commit

    def put_then(store: Store, name: str, version: int, info: Mapping[str, Any], actions: Any) -> bool:
        when = clock["now"].replace(tzinfo=timezone.utc)
        return put(store, name, version, {**info, "timestamp": int(when.timestamp() * 1000)}, actions)

    monkeypatch.setattr(tables, "put_commit", put_then)
    monkeypatch.setattr(
        validation, "validate",
        lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, (), "reports/x/docs/x.html"),
    )  # fmt: skip
    monkeypatch.setattr(
        validation, "validate_snapshot", lambda *_, **__: SimpleNamespace(passed=True, report_key="", sentence=lambda link="": "")
    )
    monkeypatch.setattr(data_docs, "write_index", lambda *_: None)
    monkeypatch.setattr(profiling, "FIT_ROWS", 1)
    return clock


def waiting(place: int, hour: int) -> int:
    """How many wait at a depot in an hour after the first."""
    return int(50 + 40 * np.sin(hour / 7 + place))


def deliveries(first: int = 0, days: int = DAYS) -> pa.Table:
    """Deliveries that are late where many waited in the hour before."""
    rng = np.random.default_rng(first)
    hours = first * 24 + np.repeat(np.arange(days) * 24, OF_A_DAY) + rng.integers(1, 23, days * OF_A_DAY)
    place = rng.integers(0, 2, len(hours))
    late = [int(waiting(p, h - 1) + rng.normal(0, 5) > 50) for p, h in zip(place, hours, strict=True)]
    at = np.datetime64(FIRST, "us") + hours.astype("timedelta64[h]") + np.timedelta64(1, "m")
    ids = np.arange(len(hours)) + first * OF_A_DAY
    return pa.table({"id": ids, "at": at, "depot": [PLACES[p] for p in place], "weight": rng.normal(3, 1, len(hours)), "late": late})


def depots(hours: range, wrong: int = 0) -> pa.Table:
    """What waits at both depots in each of these hours, too many by `wrong`."""
    pairs = list(itertools.product(range(2), hours))
    at = pa.array([FIRST + timedelta(hours=hour) for _, hour in pairs], pa.timestamp("us"))
    return pa.table({
        "name": [PLACES[place] for place, _ in pairs], "hour": at, "waiting": [waiting(*pair) + wrong for pair in pairs],
        "belts": pa.array([None if hour % 5 == 0 else float(hour % 3) for _, hour in pairs]),
    })  # fmt: skip


def land(store: Store, dataset: str, name: str, rows: pa.Table) -> None:
    """Land a file and take it in."""
    buffer = pa.BufferOutputStream()
    pa.csv.write_csv(rows, buffer)
    store.write(f"landing/{dataset}/{name}.csv", buffer.getvalue().to_pybytes())
    result = ingest.run(SETTINGS, store, dataset)
    assert result.appended == {f"{name}.csv": rows.num_rows}, result.sentence


def write_model(project: Path, *, horizon: float = 0.5, more: str = HISTORY, floor: float = 0.6) -> None:
    """Write the folder of the model."""
    folder = project / "include/perennial_models/punctual"
    folder.mkdir(parents=True, exist_ok=True)
    spec = SPEC.format(horizon=horizon, more=more, floor=floor)
    for name, text in {"__init__.py": "", "spec.py": spec, "features.py": FEATURES, "model.py": PIPELINE}.items():
        (folder / name).write_text(text)
    for name in [name for name in sys.modules if name.startswith("perennial_models.punctual")]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def project(project_of: Callable[..., Path], tmp_path: Path) -> Path:
    """A project with two datasets and a model that joins them, and a history that was taken in at once, on 1 February."""
    root = project_of("deliveries", DELIVERIES)
    (root / "include/perennial_datasets/depots.py").write_text(DEPOTS)
    write_model(root)
    store = FolderStore(str(root / "store"))
    land(store, "deliveries", "january", deliveries())
    land(store, "depots", "january", depots(range(DAYS * 24)))
    return root


Platform = tuple[Settings, FolderStore, RegistryInMemory]


@pytest.fixture
def decide(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ValidateResult]:
    """`decide(cause)`: what `validate` comes to."""
    settings, store, registry = platform
    monkeypatch.setattr(validate, "ModelRegistry", lambda _: registry)

    def decide(cause: Any = "data", **given: Any) -> ValidateResult:
        return validate.run(settings, store, "punctual", cause=cause, run_url="http://airflow/run", **given)

    return decide


def trained(platform: Platform, decided: ValidateResult) -> TrainResult:
    """What training makes of a decision, judged by the gate."""
    settings, store, _ = platform
    assert decided.snapshot is not None
    assert decided.joined is not None
    result = train.run(settings, store, model="punctual", snapshot=decided.snapshot, joined=versions(decided.joined))
    measured = evaluate.run(settings, store, "punctual", result.digest, result.run_id)
    register.run(settings, store, model="punctual", digest=result.digest, run_id=result.run_id, evaluation=measured.evaluation)
    return result


def test_a_model_of_two_tables_from_landing_to_proof(
    platform: Platform,
    decide: Callable[..., ValidateResult],
    capsys: pytest.CaptureFixture[str],
    clock: dict[str, datetime],
    tmp_path: Path,
) -> None:
    """DM-13, MO-01, MO-13, MO-15: Decided on, trained on what its rows knew, measured by slices that a join brings, passed by the gate, and
    made again to the last bit after the joined table was corrected. Later joined rows alone start nothing, new rows of its own do."""
    settings, store, _ = platform
    check_model("punctual")
    decided = decide()
    assert (decided.outcome, decided.snapshot, decided.joined) == ("done", 1, "depots=1")
    assert "100.0% of the rows find a row of depots." in decided.sentence
    result = trained(platform, decided)
    manifest = read_manifest(store, "punctual", result.digest)
    assert [(used.join.dataset, used.snapshot) for used in manifest.joined] == [("depots", 1)]
    assert result.metrics["log_loss"] < 0.45  # a coin has 0.69, and weight tells nothing
    signature = discovery.dataset_of(discovery.model("punctual"))
    assert [column.name for column in signature.columns][-2:] == ["waiting", "belts"]
    known = learned(store, "punctual", {})[0]
    assert (known.read_of("depots"), known.read_of("deliveries"), known.datasets) == (1, 1, ("deliveries", "depots"))

    clock["now"] = datetime(2024, 2, 3)
    land(store, "depots", "corrected", depots(range(DAYS * 24), wrong=30))
    assert reproduce.run(settings, store, "punctual/1") == 0
    assert "bit-equal" in capsys.readouterr().out
    assert "Nothing new since" in decide("schedule").sentence
    clock["now"] = datetime(2024, 2, 4)
    land(store, "deliveries", "february", deliveries(DAYS, 9))
    again = decide("manual")
    assert (again.outcome, again.snapshot, again.joined) == ("done", 2, "depots=2")
    source = model_snapshot(store, discovery.model("punctual"))
    before = model_snapshot(store, discovery.model("punctual"), 2, joined={"depots": 1})
    assert source is not None
    assert before is not None
    assert source.rows(["waiting"]).equals(before.rows(["waiting"]))  # no row of January knew of the correction


def test_a_history_that_nobody_declared_trains_nothing(platform: Platform, project: Path, decide: Callable[..., ValidateResult]) -> None:
    """DM-13: All joined rows landed after the rows: the refusal says so, and what to declare."""
    write_model(project, more="")
    with pytest.raises(
        TrainingRefused, match=r"0\.0% of the rows find a row of depots \(8.. known too late.*history_until, and history_delay"
    ):
        decide()


def test_a_champion_with_another_join_is_measured_by_its_own(
    platform: Platform, project: Path, decide: Callable[..., ValidateResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-13, MO-05: The candidate's join reads what the champion's does not; each is measured on what its own join finds."""
    settings, store, registry = platform
    first = trained(platform, decide())
    registry.set_alias("punctual", "champion", 1)
    crown(store, "punctual", registry.version("punctual", 1))
    write_model(project, more=HISTORY.replace("hours=1", "hours=3"))
    decided = decide("manual", force=True)
    second = train.run(settings, store, model="punctual", snapshot=1)
    evaluate.run(settings, store, "punctual", second.digest, second.run_id)
    document = json.loads(store.read(f"reports/punctual/{second.digest}/evaluation.json"))
    alone = json.loads(store.read(f"reports/punctual/{first.digest}/evaluation.json"))
    assert decided.outcome == "done"
    assert document["parts"]["test"]["champion"]["metrics"] == alone["parts"]["test"]["candidate"]["metrics"]
    assert document["parts"]["test"]["candidate"]["metrics"] != alone["parts"]["test"]["candidate"]["metrics"]


def served(store: Store, digest: str) -> None:
    """Let the ledger say that a version serves as version 1."""
    Ledger(store, "punctual").append(
        "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
    )


def test_scores_in_batches_read_what_a_training_reads(
    platform: Platform, decide: Callable[..., ValidateResult], tmp_path: Path, clock: dict[str, datetime]
) -> None:
    """DM-13, SE-04: The rows of a snapshot, of a file and of a query are joined by the definition of the version and have, bit for bit, the
    scores of the same values in training. The plan pins the joined table; a correction that comes later changes no score."""
    settings, store, _ = platform
    digest = trained(platform, decide()).digest
    served(store, digest)
    source = model_snapshot(store, discovery.model("punctual"))
    assert source is not None
    days = date(2024, 1, 18), date(2024, 1, 20)
    rows = source.rows(since=datetime(2024, 1, 18)).sort_values("id")
    folder = fetch(store, "punctual", digest, tmp_path / "version")
    expected = score_rows(folder, {name: rows[name].to_numpy() for name in ("weight", "waiting", "belts")})

    def scores(**given: Any) -> list[list[float]]:
        result = score.run(settings, store, "punctual", **given)
        assert (result.rows, result.held_back) == (len(rows), 0), result.sentence
        assert "joined with depots" in result.sentence
        stored = Table(store, result.table).scan(where=pc.field("source") == result.source).sort_by("key_id").to_pylist()
        return [[row["score_in_time"], row["score_late"]] for row in stored]

    assert scores(first=days[0], last=days[1]) == expected.tolist()
    file = tmp_path / "rows.csv"
    rows[["id", "at", "depot", "weight"]].to_csv(file, index=False)
    assert scores(file=str(file)) == expected.tolist()
    query = 'select id, "at", depot, weight from deliveries where "at" >= \'2024-01-18\''
    assert scores(query=query) == expected.tolist()
    clock["now"] = datetime(2024, 2, 3)
    land(store, "depots", "corrected", depots(range(DAYS * 24), wrong=30))
    assert scores(first=days[0], last=days[1]) == expected.tolist()


def test_a_scoring_without_a_joined_table_is_no_scoring(platform: Platform, decide: Callable[..., ValidateResult]) -> None:
    """SE-04: It says which is missing."""
    settings, store, _ = platform
    served(store, trained(platform, decide()).digest)
    for stored in list(store.list("tables/depots")):
        store.delete(stored.key)
    result = score.run(settings, store, "punctual")
    assert result.sentence == ("depots, which version 1 of punctual joins, has no snapshot yet: nothing to score. Ingest a batch first.")


def test_a_request_with_a_key_has_the_score_of_training(
    platform: Platform, decide: Callable[..., ValidateResult], tmp_path: Path, clock: dict[str, datetime]
) -> None:
    """SY-03, DM-13: The ingestion of the joined dataset exports its newest values; the version's scorer gives a row that carries the key,
    bit for bit, the score that training gives to what the join finds. A later batch, a correction too, is exported as it is taken in."""
    _, store, _ = platform
    digest = trained(platform, decide()).digest
    scorer = Scorer(fetch(store, "punctual", digest, tmp_path / "version"))
    values = JoinedValues(store, scorer.signature.joins, tmp_path / "online", refresh_seconds=3600)
    source = model_snapshot(store, discovery.model("punctual"))
    assert source is not None
    newest = FIRST + timedelta(hours=DAYS * 24 - 1)
    asked = pa.table({"depot": ["north", "south", "east"], "at": pa.array([newest + timedelta(hours=1)] * 3, pa.timestamp("us"))})
    assert source.joins is not None

    def by_key() -> tuple[np.ndarray, Any]:
        rows = [{"weight": 2.5, "depot": depot, "at": (newest + timedelta(hours=1)).isoformat()} for depot in asked["depot"].to_pylist()]
        request = read_request(json.dumps({"data": {"rows": rows}}), scorer.signature, finder=values.find)
        return scorer.score(request.columns), [one["depots"].state for one in request.found.values()]

    def by_join(joins: Any) -> np.ndarray:
        found = joins.join(asked, "at", ["waiting", "belts"]).to_pandas()
        frame = {"weight": np.full(3, 2.5), "waiting": found["waiting"].to_numpy(), "belts": found["belts"].to_numpy()}
        return np.asarray(score_rows(scorer.folder, frame))

    scores, states = by_key()
    assert states == ["found", "found", "unknown_key"]
    assert scores.tolist() == by_join(source.joins).tolist()

    clock["now"] = datetime(2024, 2, 1, 6)  # part of the declared history
    land(store, "depots", "corrected", depots(range(DAYS * 24 - 30, DAYS * 24), wrong=-20))
    values.refresh()
    again = model_snapshot(store, discovery.model("punctual"))
    assert again is not None
    corrected, _ = by_key()
    assert corrected.tolist() == by_join(again.joins).tolist() != scores.tolist()
    values.close()
    notes = [stored.key for stored in store.list("online/depots") if stored.key.endswith(".json")]
    assert len(notes) == 1
    assert Note.model_validate_json(store.read(notes[0])).version == 2
    assert export_values(store, "depots") == []  # as it is already
    assert export_values(store, "deliveries") == []  # no model joins it
    files = [stored.key for stored in store.list("online/depots") if stored.key.endswith(".sqlite")]
    assert len(files) == 2  # the one before may be on its way to a server


def test_traffic_sends_keys(project: Path) -> None:
    """SY-03: Rows that are replayed carry the key and their event time, by which the server finds what the join brings."""
    store = FolderStore(str(project / "store"))
    spec, dataset = discovery.model("punctual"), discovery.dataset("deliveries")
    calls = list(rows_as_calls(store, spec, dataset, FIRST, FIRST + timedelta(days=1), limit=2))
    assert [[*call.rows[0]] for call in calls] == [["weight", "depot", "at"]] * 2


def test_values_that_cannot_be_exported_keep_no_batch_out(
    platform: Platform, decide: Callable[..., ValidateResult], monkeypatch: pytest.MonkeyPatch, clock: dict[str, datetime]
) -> None:
    """SY-03, DM-01: The batch is in, the result says what is missing, and the next run makes up for it."""
    _, store, _ = platform
    clock["now"] = datetime(2024, 2, 2)
    store.write("landing/depots/more.csv", b"name,hour,waiting,belts\nnorth,2024-02-01T00:00:00,5,1\n")
    with monkeypatch.context() as broken:
        broken.setattr(ingest, "export_values", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        result = ingest.run(SETTINGS, store, "depots")
    assert result.appended == {"more.csv": 1}
    assert "could not be exported (OSError: disk full): the next run tries again." in result.sentence
    ingest.run(SETTINGS, store, "depots")
    note = next(stored.key for stored in store.list("online/depots") if stored.key.endswith(".json"))
    assert Note.model_validate_json(store.read(note)).version == 2


PAGE = Path(__file__).parents[4] / "docs/joins.md"


def test_the_page_says_what_works(project: Path) -> None:
    """SY-03, DM-13: The spec on the page fits the datasets that it names; its commands are commands; it lists every state, and says that
    DynamoDB is out of scope."""
    text = PAGE.read_text()
    shown: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], shown)
    depots = discovery.dataset("depots")
    assert shown["MODEL"].misfit(discovery.dataset("deliveries"), None, {"depots": depots}) is None
    commands = re.findall(r"^\$ perennial (.*)$", text, re.MULTILINE)
    assert len(commands) == 6
    for line in commands:
        assert cli._parser().parse_args(shlex.split(line)).module == line.split()[0]
    assert all(f"`{state}`" in text for state in STATES)
    assert "**Out of scope.** DynamoDB" in text
