"""Stage ingest where rows may be corrected: the table is what a plain dictionary would be, and everything that counts it agrees."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from perennial import discovery
from perennial.data import commits, tables
from perennial.data.receipts import Receipt, receipts
from perennial.data.snapshots import Snapshot, label_of, model_snapshot
from perennial.data.tables import Table
from perennial.errors import Fault
from perennial.profiles.store import ProfileStore
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, GateSpec, LabelSpec, ModelSpec
from perennial.stages import ingest
from perennial.stages import profile as profiling
from perennial.stages._logs import take_in
from perennial.store import FolderStore

FINAL = DatasetSpec(
    name="orders", title="Orders", owner="tests", key=("id",), event_time="ts",
    columns=(
        Column(name="id", type="int"), Column(name="ts", type="timestamp"), Column(name="amount", type="float"),
        Column(name="y", type="bool", nullable=True), Column(name="gone", type="bool", nullable=True),
    ),
)  # fmt: skip
NEWEST = FINAL.model_copy(update={"newest_by": "amount"})
SETTINGS = Settings(store="unused", landing_settle_seconds=0, airflow_url="http://airflow")


def spec(**fields: Any) -> DatasetSpec:
    return FINAL.model_copy(update={"rows": "corrected", "on_known_key": "replace"} | fields)


@pytest.fixture(autouse=True, scope="module")
def stand_ins() -> Iterator[None]:
    """A suite that takes everything, and profiles from the first row on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            validation, "validate",
            lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, (), "reports/orders/docs/x.html"),
        )  # fmt: skip
        patch.setattr(data_docs, "write_index", lambda *_: None)
        patch.setattr(discovery, "models", dict)
        patch.setattr(profiling, "FIT_ROWS", 1)
        yield


@pytest.fixture
def take(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Receipt]:
    """Lands a file for a dataset and takes it in; its receipt."""
    store = FolderStore(str(tmp_path / "store"))

    def take(dataset: DatasetSpec, name: str, content: str | bytes) -> Receipt:
        monkeypatch.setattr(ingest, "dataset_spec", lambda _: dataset)
        store.write(f"landing/orders/{name}", content if isinstance(content, bytes) else content.encode())
        ingest.run(SETTINGS, store, "orders")
        assert counted(store) == table_days(store)
        return next(receipt for receipt in receipts(store, "orders") if receipt.name == name)

    take.store = store  # type: ignore[attr-defined]
    return take


def csv(*lines: str) -> str:
    """Lines of id, day, amount, and whatever else: y, gone."""
    rows = [line.split() + [""] * (5 - len(line.split())) for line in lines]
    return "id,ts,amount,y,gone\n" + "".join(f"{n},2026-05-{int(day):02},{amount},{y},{gone}\n" for n, day, amount, y, gone in rows)


def amounts(store: FolderStore, version: int | None = None) -> dict[int, float]:
    found = Table(store, "orders").scan(["id", "amount"], version=version)
    assert len(set(found["id"].to_pylist())) == found.num_rows
    return dict(zip(found["id"].to_pylist(), found["amount"].to_pylist(), strict=True))


def counted(store: FolderStore) -> Counter[int]:
    """Rows by day, as the profiles have them."""
    found = ProfileStore(store, "orders").read()
    return Counter({day.day: int(n) for day, n in zip(found.blocks, found.rows(), strict=True) if n} if found else {})


def table_days(store: FolderStore) -> Counter[int]:
    table = Table(store, "orders")
    return Counter(time.day for time in table.scan(["ts"])["ts"].to_pylist()) if table.version() else Counter()


BOTH = {1: 10, 2: 20, 3: 30}
BASE = csv("1 4 10", "2 4 20", "3 5 30")


@pytest.mark.parametrize(
    ("dataset", "content", "outcome", "counts", "table"),
    [
        (spec(), csv("2 4 1", "4 6 40"), "appended", {"added": 1, "replaced": 1}, {1: 10, 2: 1, 3: 30, 4: 40}),
        (spec(on_known_key="keep_first"), csv("2 4 1", "4 6 40"), "appended", {"added": 1, "kept": 1}, {1: 10, 2: 20, 3: 30, 4: 40}),
        (spec(on_known_key="refuse"), csv("2 4 1", "4 6 40"), "appended", {"added": 1, "refused": 1}, {1: 10, 2: 20, 3: 30, 4: 40}),
        (FINAL, csv("2 4 1", "4 6 40"), "refused", {"refused": 2}, {1: 10, 2: 20, 3: 30}),
        (spec(on_known_key="refuse"), csv("2 4 20", "3 5 30", "4 6 9"), "appended", {"added": 1, "unchanged": 2}, BOTH | {4: 9}),
        (spec(), csv("3 5 30", "2 4 20"), "duplicate", {"unchanged": 2}, {1: 10, 2: 20, 3: 30}),
        (FINAL, csv("7 7 70", "8 7 80", "7 7 70"), "appended", {"added": 2, "repeated": 1}, {1: 10, 2: 20, 3: 30, 7: 70, 8: 80}),
        (spec(), csv("7 7 70", "8 7 80", "7 7 1"), "refused", {"refused": 3}, {1: 10, 2: 20, 3: 30}),
        (NEWEST, csv("7 7 1", "7 7 70"), "appended", {"added": 1, "older": 1}, {1: 10, 2: 20, 3: 30, 7: 70}),
        (spec(newest_by="amount"), csv("2 4 1", "3 5 31"), "appended", {"older": 1, "replaced": 1}, {1: 10, 2: 20, 3: 31}),
        (spec(deleted="gone"), "id,ts,amount,y,gone\n2,,,,true\n9,,,,true\n3,2026-05-05,31,,\n", "appended",
         {"deleted": 1, "unchanged": 1, "replaced": 1}, {1: 10, 3: 31}),
        (spec(deleted="gone"), "id,ts,amount,y,gone\n1,,,,true\n2,,,,true\n3,,,,true\n", "appended", {"deleted": 3}, {}),
        (spec(deleted="gone"), "id,ts,amount,y\n3,2026-05-05,31,\n", "appended", {"replaced": 1}, {1: 10, 2: 20, 3: 31}),
        (spec(deleted="gone", newest_by="amount"), "id,ts,amount,y,gone\n1,,,,true\n", "refused", {"refused": 1}, {1: 10, 2: 20, 3: 30}),
        (NEWEST, "id,ts,amount,y,gone\n7,2026-05-07,,,\n7,2026-05-07,70,,\n", "refused", {"refused": 2}, {1: 10, 2: 20, 3: 30}),
    ],
)  # fmt: skip
def test_each_row_comes_to_its_outcome(
    take: Any, dataset: DatasetSpec, content: str, outcome: str, counts: dict[str, int], table: dict[int, float]
) -> None:
    """DM-02, DM-10: Corrected later, unchanged overlap, one key twice, repeated and deleted rows, by what the dataset declares; the
    receipt counts them, the snapshot before has what it had, the profiles count what is in."""
    take(dataset, "base.csv", BASE)
    receipt = take(dataset, "next.csv", content)
    assert receipt.counts is not None
    assert (receipt.outcome, receipt.counts.model_dump(exclude_defaults=True), amounts(take.store)) == (outcome, counts, table)
    assert amounts(take.store, 1) == {1: 10, 2: 20, 3: 30}
    assert take(dataset, "copy.csv", content).outcome == ("refused" if outcome == "refused" else "duplicate")
    assert amounts(take.store) == table


def test_a_run_that_only_deletes_says_so(take: Any) -> None:
    """DM-02: And not that it appended no rows."""
    take(spec(deleted="gone"), "base.csv", BASE)
    take.store.write("landing/orders/gone.csv", b"id,ts,amount,y,gone\n2,,,,true\n3,,,,true\n")
    result = ingest.run(SETTINGS, take.store, "orders")
    assert result.sentence.startswith("Deleted 2 rows of orders by 1 file, now snapshot 2. Of the rows with known keys")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("7,2026-05-07,,,", "amount is null in 1 of 1 rows and the spec of orders does not allow that: fill it, since newest_by tells"),
        ("7,9999-12-31 08:00,1,,", "ts is on 9999-12-31, after which no day follows, in 1 row of 1, and it is the event time"),
    ],
)
def test_a_refusal_says_what_helps(take: Any, content: str, sentence: str) -> None:
    """DM-10: A column that tells the newest row cannot be made nullable; a day that no day follows cannot be split by days."""
    assert sentence in take(NEWEST, "a.csv", f"id,ts,amount,y,gone\n{content}\n").sentence


def test_refused_rows_lie_in_quarantine_and_can_be_taken_afterwards(take: Any) -> None:
    """DM-02, DM-10: A file of their own with the reasons; once the spec replaces, landing that file is all that is left to do."""
    take(spec(on_known_key="refuse"), "base.csv", BASE)
    receipt = take(spec(on_known_key="refuse"), "next.csv", csv("2 4 1", "4 6 40"))
    said = "2 rows came, 1 added, 1 refused; so the table orders is since snapshot 2. Refused rows and the reasons lie in "
    assert f"{said}{receipt.quarantine}" in receipt.sentence
    reasons = json.loads(take.store.read(f"{receipt.quarantine}/reasons.json"))
    assert "1 row of next.csv was refused: its key is in the table orders with other values, from batch base.csv (" in reasons["sentence"]
    assert reasons["sentence"].endswith('set on_known_key="replace" in the spec and land next.csv.refused.parquet.')
    assert (reasons["keys"], take.store.exists(reasons["report"])) == ([{"id": 2}], True)
    content = take.store.read(f"{receipt.quarantine}/next.csv.refused.parquet")
    assert pyarrow.parquet.read_table(pyarrow.BufferReader(content)).num_rows == 1
    assert take(spec(), "refused.parquet", content).counts.replaced == 1
    assert amounts(take.store) == {1: 10, 2: 1, 3: 30, 4: 40}


def test_a_table_keeps_its_time_zone(take: Any) -> None:
    """DM-10: Rows of two zones could not be told apart; what was refused is taken once the spec says again what the table has."""
    take(spec(time_zone="Asia/Tokyo"), "base.csv", BASE)
    take(spec(time_zone="Asia/Tokyo"), "more.csv", csv("7 7 70"))
    with pytest.raises(Fault, match=r'has wall times of Asia/Tokyo, and its spec says UTC now: .* time_zone="Asia/Tokyo" into the spec'):
        take(spec(), "next.csv", csv("8 7 80"))
    assert take(spec(time_zone="Asia/Tokyo"), "next.csv", csv("8 7 80")).outcome == "appended"


def test_a_table_keeps_the_shape_of_its_arrays(take: Any) -> None:
    """DM-10: It keeps their numbers in a row, by which 2 x 3 and 3 x 2 are the same; more rows of the shape that it has are taken."""

    def of_shape(*shape: int) -> DatasetSpec:
        return spec(columns=(*FINAL.columns, Column(name="map", type="array", of="float", shape=shape)))

    def row(number: int) -> str:
        return json.dumps({"id": number, "ts": f"2026-05-0{number}", "amount": 1.5, "y": None, "gone": None, "map": [1, 2, 3, 4, 5, 6]})

    take(of_shape(2, 3), "a.jsonl", row(1))
    with pytest.raises(Fault, match=r"has arrays of the shape \(2, 3\) in map, and its spec says \(3, 2\) now: .* Write shape=\(2, 3\)"):
        take(of_shape(3, 2), "b.jsonl", row(2))
    assert take(of_shape(2, 3), "b.jsonl", row(2)).outcome == "appended"


def test_a_run_says_what_became_of_the_rows(take: Any) -> None:
    """DM-02: The result counts what was not simply added, and names the files of which rows were refused."""
    dataset = spec(on_known_key="refuse")
    take(dataset, "base.csv", BASE)
    for name, content in (("a.csv", csv("2 4 1", "4 6 40")), ("b.csv", csv("5 6 50", "5 6 50", "1 4 10"))):
        take.store.write(f"landing/orders/{name}", content.encode())
    result = ingest.run(SETTINGS, take.store, "orders", run="monday")
    assert (result.appended, result.refused_rows) == ({"a.csv": 1, "b.csv": 1}, {"a.csv": 1})
    assert result.counts == {"added": 2, "unchanged": 1, "repeated": 1, "refused": 1}
    assert "Of the rows with known keys or copies in their files: 2 added, 1 unchanged, 1 repeated, 1 refused." in result.sentence
    assert ingest.run(SETTINGS, take.store, "orders", run="monday", retry=True) == result


class Killed(BaseException):
    """What kill -9 looks like from inside: nothing below may catch it."""


def dies(act: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def wrapped(*given: object, **named: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return act(*given, **named)

    return wrapped


VERDICTS = DatasetSpec(
    name="verdicts", title="Verdicts", owner="tests", key=("id", "known"), event_time="known",
    columns=(Column(name="id", type="int"), Column(name="known", type="timestamp"), Column(name="z", type="bool", nullable=True)),
)  # fmt: skip
LATER = ModelSpec(
    name="frauds", title="Frauds", owner="tests", dataset="orders", task="binary", classes=("no", "yes"), inputs=("amount",), label="z",
    labels=LabelSpec(dataset="verdicts", key=("id",), columns=("z",), known_at="known"), gate=GateSpec(floors={}),
)  # fmt: skip
SERVED = ModelSpec(
    name="returns", title="Returns", owner="tests", dataset="orders", task="binary", classes=("no", "yes"), inputs=("id", "amount"),
    label="y", labels="outcomes", gate=GateSpec(floors={}),
)  # fmt: skip
FEATURES = SimpleNamespace(label=lambda columns: [float("nan") if value is None else float(value) for value in columns["y"]])
MODELS = {"frauds": LATER, "returns": SERVED}

ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.booleans()), min_size=1, max_size=4, unique_by=lambda row: row[0]
)  # id, day, amount, gone


TOLD = st.lists(st.tuples(st.integers(1, 7), st.sampled_from([True, False, None])), min_size=1, max_size=3, unique_by=lambda row: row[0])
PREDICTED = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(6, 9), st.booleans()), max_size=3)
HAPPENED = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=3)
KILL = st.none() | st.integers(1, 16)


class Arrivals(RuleBasedStateMachine):
    """Files arrive, correct and delete; labels come late and are corrected; predictions are served and outcomes reported. Runs are killed
    between any two writes, and two meet in one table."""

    @initialize(how=st.sampled_from(["replace", "keep_first", "refuse"]), newest=st.booleans())
    def begin(self, how: str, newest: bool) -> None:
        self.folder = tempfile.mkdtemp()
        self.store = FolderStore(self.folder)
        self.spec = spec(on_known_key=how, newest_by="amount" if newest else "", deleted="gone")
        self.patch = pytest.MonkeyPatch()
        datasets = {"orders": self.spec, "verdicts": VERDICTS}
        self.patch.setattr(ingest, "dataset_spec", datasets.__getitem__)
        self.patch.setattr(discovery, "dataset", datasets.__getitem__)
        self.patch.setattr(discovery, "model", MODELS.__getitem__)
        self.rows: dict[int, tuple[int, int]] = {}
        self.verdicts: dict[int, bool | None] = {}  # by id, the latest
        self.lines: list[tuple[str, int, int, int]] = []  # of predictions that count: their id, id of the order, day, amount
        self.outcomes: dict[str, float] = {}
        self.learned: dict[tuple[object, ...], tuple[str, object]] = {}  # digest and rows of each snapshot of each model
        self.hours = self.segments = 0
        self.known: set[bytes] = set()
        self.snapshots: dict[int, dict[int, float]] = {}
        self.files = self.landed = 0

    def land(self, rows: list[tuple[int, int, int, bool]]) -> bytes:
        content = csv(*(f"{n} {day} {amount} true {str(gone).lower()}" for n, day, amount, gone in rows)).encode()
        self.files += 1
        self.store.write(f"landing/orders/{self.files:03}.csv", content)
        return content

    def expect(self, content: bytes, rows: list[tuple[int, int, int, bool]]) -> None:
        """What a dictionary makes of the file."""
        if content in self.known:
            return
        changed, refused = dict(self.rows), 0
        for n, day, amount, gone in rows:
            old = self.rows.get(n)
            older = bool(self.spec.newest_by and old and amount < old[1])
            if gone:
                if not older:
                    changed.pop(n, None)
            elif old is None or (old != (day, amount) and self.spec.on_known_key == "replace" and not older):
                changed[n] = (day, amount)
            elif old != (day, amount) and self.spec.on_known_key == "refuse":
                refused += 1
        if refused < len(rows):  # else the file is refused whole, and may come again
            self.known.add(content)
            self.rows = changed

    def run(self) -> None:
        ingest.run(SETTINGS, self.store, "orders")

    def killed_at(self, nth: int | None, act: Callable[[], object]) -> None:
        """Do it, killed at the nth write and begun again."""
        left = [nth or 0]
        with pytest.MonkeyPatch.context() as patch:
            for effect in ("write", "put_if_absent", "delete", "upload", "copy"):
                patch.setattr(FolderStore, effect, dies(getattr(FolderStore, effect), left))
            patch.setattr(commits, "write_deltalake", dies(commits.write_deltalake, left))
            with contextlib.suppress(Killed):
                act()
        if nth is not None:
            act()

    def take_in(self) -> None:
        take_in(self.store, SERVED, self.spec)

    @rule(rows=ROWS)
    def arrives(self, rows: list[tuple[int, int, int, bool]]) -> None:
        self.expect(self.land(rows), rows)
        self.run()

    @rule(rows=ROWS, nth=st.integers(1, 16))
    def killed(self, rows: list[tuple[int, int, int, bool]], nth: int) -> None:
        self.expect(self.land(rows), rows)
        self.killed_at(nth, self.run)

    @rule(first=ROWS, second=ROWS, both=st.booleans())
    def two_writers(self, first: list[tuple[int, int, int, bool]], second: list[tuple[int, int, int, bool]], both: bool) -> None:
        """Just before the commit of the first file another run takes in the second one, and maybe the first one too."""
        put, waiting, landed = tables.put_commit, ingest.waiting_files, list[bytes]()

        def put_late(*given: Any) -> bool:
            patch.undo()
            landed.append(self.land(second))
            name = f"{self.files:03}.csv"
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(
                    ingest, "waiting_files",
                    lambda *asked: ([file for file in waiting(*asked)[0] if both or file.name == name], []),
                )  # fmt: skip
                self.run()
            return put(*given)

        mine = self.land(first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "put_commit", put_late)
            self.run()
        order = [(content, second) for content in landed]
        order.insert(0 if both else len(order), (mine, first))
        for content, rows in order:
            self.expect(content, rows)

    @rule(told=TOLD, nth=KILL)
    def labels_come(self, told: list[tuple[int, bool | None]], nth: int | None) -> None:
        """First ones, corrections and ones taken back, each known an hour after those before."""
        self.hours += 1
        known = datetime(2026, 6, 1) + timedelta(hours=self.hours)
        lines = [f"{n},{known.isoformat()},{'' if z is None else str(z).lower()}\n" for n, z in told]
        self.store.write(f"landing/verdicts/{self.hours:03}.csv", ("id,known,z\n" + "".join(lines)).encode())
        self.killed_at(nth, lambda: ingest.run(SETTINGS, self.store, "verdicts"))
        self.verdicts |= dict(told)

    @rule(predictions=PREDICTED, happened=HAPPENED, nth=KILL, two=st.booleans())
    def is_served(
        self, predictions: list[tuple[int, int, int, bool]], happened: list[tuple[int, bool]], nth: int | None, two: bool
    ) -> None:
        """Predictions are logged, and outcomes of them and of earlier ones; two collectors take them in, or one that is killed."""
        self.segments += 1
        now = datetime(2026, 6, 1, tzinfo=timezone.utc) + timedelta(minutes=self.segments)
        logged = []
        for place, (n, day, amount, shadow) in enumerate(predictions):
            line = {
                "id": f"p{self.segments}-{place}", "model": "returns", "version": 1, "time": (now + timedelta(seconds=place)).isoformat(),
                "event_time": f"2026-05-{day:02}T00:00:00", "row": {"id": n, "amount": amount}, "scores": [0.5, 0.5], "ms": 1.0,
            }  # fmt: skip
            logged.append(line | ({"shadow": True} if shadow else {}))
            self.lines += [] if shadow else [(str(line["id"]), n, day, amount)]
        told = []
        for back, yes in happened:  # of the last predictions, the newest first; one that never was is nobody's
            identity = self.lines[-back][0] if back <= len(self.lines) else "unknown-0"
            told.append({"id": identity, "outcome": float(yes), "time": (now + timedelta(seconds=len(told))).isoformat()})
            self.outcomes[identity] = float(yes)
        for what, lines in (("predictions", logged), ("outcomes", told)):
            if lines:
                content = "".join(f"{json.dumps(line)}\n" for line in lines)
                self.store.write(f"{what}/returns/{self.segments:03}.jsonl", content.encode())
        if not two:
            return self.killed_at(nth, self.take_in)
        put = tables.put_commit

        def put_late(*given: Any) -> bool:
            patch.undo()
            self.take_in()
            return put(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "put_commit", put_late)
            self.take_in()

    def expected(self) -> dict[str, dict[int, tuple[int, float, float | None]]]:
        """What each model learns from: day, amount and label by id."""
        later = {n: (day, amount, self.verdicts.get(n)) for n, (day, amount) in self.rows.items()}
        served = {n: (day, amount, None) for _, n, day, amount in self.lines} | {n: (*row, 1.0) for n, row in self.rows.items()}
        served |= {n: (day, amount, self.outcomes[line]) for line, n, day, amount in self.lines if line in self.outcomes}
        return {
            "frauds": {n: (day, amount, None if z is None else float(z)) for n, (day, amount, z) in later.items()},
            "returns": served,
        }

    def rows_of(self, name: str, snapshot: Snapshot) -> dict[int, tuple[int, float, float | None]]:
        frame = snapshot.rows()
        assert frame["id"].is_unique
        labels = frame["z"].tolist() if name == "frauds" else label_of(frame, FEATURES, SERVED).tolist()
        known = [None if label is None or label != label else float(label) for label in labels]
        coverage = snapshot.coverage(MODELS[name].label)
        days = [time.day for time in frame["ts"]]
        assert {day.day: n for day, (n, _) in coverage.days.items()} == Counter(days)
        assert coverage.labelled == sum(label is not None for label in known)
        return dict(zip(frame["id"].tolist(), zip(days, frame["amount"].tolist(), known, strict=True), strict=True))

    @invariant()
    def models_learn_from_the_dictionaries(self) -> None:
        """Each thing once, by what is known; of one set of versions always the same."""
        if not hasattr(self, "rows"):
            return
        for name, rows in self.expected().items():
            snapshot = model_snapshot(self.store, MODELS[name])
            if snapshot is None:
                continue
            assert snapshot.labels is not None
            versions = (name, snapshot.version, snapshot.labels.version, snapshot.served.predictions if snapshot.served else None)
            if versions not in self.learned:
                assert self.rows_of(name, snapshot) == rows
                same = [known for digest, known in self.learned.values() if digest == snapshot.digest]  # a row that came and went again
                assert all(known == rows for known in same)
                self.learned[versions] = (snapshot.digest, rows)
            assert self.learned[versions] == (snapshot.digest, rows)

    @invariant()
    def is_the_dictionary(self) -> None:
        if not hasattr(self, "rows") or not (version := Table(self.store, "orders").version()):
            return
        assert amounts(self.store) == {n: amount for n, (_, amount) in self.rows.items()}
        assert counted(self.store) == table_days(self.store) == Counter(day for day, _ in self.rows.values())
        assert self.snapshots.setdefault(version, amounts(self.store)) == amounts(self.store)
        written = receipts(self.store, "orders")
        assert len(written) == self.files
        assert sum(r.counts.added - r.counts.deleted for r in written if r.counts and r.outcome != "refused") == len(self.rows)

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            for version, rows in self.snapshots.items():
                assert amounts(self.store, version) == rows
            for (name, version, labels, predictions), (digest, learned) in self.learned.items():
                snapshot = model_snapshot(self.store, MODELS[str(name)], version, labels, predictions)  # type: ignore[arg-type]
                assert snapshot is not None
                assert (snapshot.digest, self.rows_of(str(name), snapshot)) == (digest, learned)
            for name in ("orders", "verdicts"):
                assert ProfileStore(self.store, name).owed() == {}
            self.patch.undo()
            shutil.rmtree(self.folder)


TestArrivals = Arrivals.TestCase
TestArrivals.settings = settings(max_examples=8, stateful_step_count=6, deadline=None, suppress_health_check=list(HealthCheck))
