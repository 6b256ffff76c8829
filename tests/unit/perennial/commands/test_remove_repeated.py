"""`perennial remove-batch` where rows of the batch came again in other files: the table is as if the batch had never landed."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial import discovery
from perennial.commands import remove_batch
from perennial.data import tables
from perennial.data.receipts import receipts
from perennial.data.tables import Table
from perennial.errors import BatchRefused
from perennial.profiles.store import ProfileStore
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.stages import ingest
from perennial.stages import profile as profiling
from perennial.store import FolderStore

COLUMNS = (
    Column(name="id", type="int"), Column(name="ts", type="timestamp"), Column(name="amount", type="int"),
    Column(name="gone", type="bool", nullable=True),
)  # fmt: skip
KEYED = DatasetSpec(name="orders", title="Orders", owner="tests", key=("id",), event_time="ts", columns=COLUMNS, rows="corrected",
                    on_known_key="keep_first")  # fmt: skip
REPLACED = KEYED.model_copy(update={"on_known_key": "replace", "deleted": "gone"})
NEWEST = REPLACED.model_copy(update={"newest_by": "amount"})
BY_CONTENT = DatasetSpec(name="orders", title="Orders", owner="tests", row_id="content", event_time="ts", columns=COLUMNS)
SETTINGS = Settings(store="unused", landing_settle_seconds=0, airflow_url="http://airflow")


class House:
    """A store with one dataset, whose suite takes everything."""

    def __init__(self, spec: DatasetSpec, folder: str, patch: pytest.MonkeyPatch) -> None:
        self.store, self.spec, self.patch = FolderStore(folder), spec, patch
        self.use()

    def use(self) -> None:
        self.patch.setattr(ingest, "dataset_spec", lambda _: self.spec)
        self.patch.setattr(discovery, "dataset", lambda _: self.spec)

    def take(self, name: str, *rows: tuple[int, int, int, bool]) -> str:
        """Land rows of id, day, amount and whether they delete, and take them in; what became of the file."""
        lines = (f"{n},2026-05-{day:02},{amount},{str(gone).lower()}\n" for n, day, amount, gone in rows)
        self.store.write(f"landing/orders/{name}", ("id,ts,amount,gone\n" + "".join(lines)).encode())
        ingest.run(SETTINGS, self.store, "orders")
        return self.receipt(name)

    def receipt(self, name: str) -> str:
        return next(r.sentence for r in reversed(receipts(self.store, "orders")) if r.name == name)

    def remove(self, name: str) -> int:
        return remove_batch.run(SETTINGS, self.store, "orders", name, reason="twice", by="ada")

    def rows(self) -> list[tuple[int, int, int]]:
        found = Table(self.store, "orders").scan(["id", "ts", "amount"]).to_pylist()
        rows = sorted((row["id"], row["ts"].day, row["amount"]) for row in found)
        profile = ProfileStore(self.store, "orders").read()
        days = Counter({day.day: int(n) for day, n in zip(profile.blocks, profile.rows(), strict=True) if n}) if profile else Counter()
        assert days == Counter(day for _, day, _ in rows)
        return rows


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
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[DatasetSpec], House]:
    return lambda spec: House(spec, str(tmp_path / "store"), monkeypatch)


ONE, TWO, THREE, FOUR = ((n, n, n * 10, False) for n in (1, 2, 3, 4))


@pytest.mark.parametrize("spec", [KEYED, REPLACED, BY_CONTENT])
def test_rows_that_came_again_stay(house: Any, spec: DatasetSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-02, DM-06: As rows of the later file, in the snapshot in which the others leave; receipts say so; landing it again finds them."""
    house = house(spec)
    house.take("a.csv", ONE, TWO, THREE)
    house.take("b.csv", TWO, THREE, FOUR)
    assert house.remove("a.csv") == 0
    assert (house.rows(), Table(house.store, "orders").version()) == ([row[:3] for row in (TWO, THREE, FOUR)], 3)
    assert "What came again in later files stays, as theirs: 2 rows in b.csv (" in capsys.readouterr().out
    assert house.receipt("b.csv").endswith("had are in the table as rows of this file since snapshot 3.")
    assert "its content is in the table orders already" in house.take("c.csv", TWO, THREE, FOUR)
    house.remove("a.csv")
    assert house.receipt("b.csv").count("as rows of this file") == 1
    house.remove("b.csv")
    assert house.rows() == []


def test_what_was_kept_out_by_it_comes_in(house: Any) -> None:
    """DM-02: Other values of its keys, and older ones: of several files the first, or the newest."""
    first = house(KEYED)
    first.take("a.csv", ONE, TWO)
    first.take("b.csv", (1, 5, 50, False))
    first.take("c.csv", (1, 6, 60, False), (2, 2, 20, False))
    first.remove("a.csv")
    assert first.rows() == [(1, 5, 50), (2, 2, 20)]
    first.remove("b.csv")
    assert first.rows() == [(1, 6, 60), (2, 2, 20)]


def test_a_file_that_grew_is_read_as_it_was_taken(house: Any) -> None:
    """DM-02, DM-06: Without the rows that it began with, also once the batch that brought those is removed: no other stays in for that."""
    house = house(KEYED)
    house.take("a.csv", ONE, TWO)
    beginning = receipts(house.store, "orders")[-1].digest
    house.take("b.csv", THREE)
    house.take("a.csv", ONE, TWO, THREE, FOUR)
    house.remove(beginning)
    assert house.remove("b.csv") == 0
    assert house.rows() == [THREE[:3], FOUR[:3]]


def test_a_file_that_is_gone_is_asked_for(house: Any) -> None:
    """DM-06: The batch stays until it is back, under whatever time: nothing is lost for the want of it."""
    house = house(KEYED)
    house.take("a.csv", ONE, TWO)
    house.take("b.csv", TWO)
    content = house.store.read("landing/orders/b.csv")
    house.store.delete("landing/orders/b.csv")
    with pytest.raises(BatchRefused, match=r"a\.csv \(.*\) stays in the table orders: rows of it came again in b\.csv .* Put the same"):
        house.remove("a.csv")
    assert len(house.rows()) == 2
    house.store.write("landing/orders/b.csv", content)
    house.remove("a.csv")
    assert house.rows() == [TWO[:3]]


def test_killed_after_the_commit(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: A repeated call tells the receipts and counts the rows of the files that have them now."""
    house = house(KEYED)
    house.take("a.csv", ONE, TWO)
    house.take("b.csv", TWO)
    with monkeypatch.context() as patch:
        patch.setattr(remove_batch, "_give", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            house.remove("a.csv")
    house.remove("a.csv")
    assert house.rows() == [TWO[:3]]
    assert "as rows of this file" in house.receipt("b.csv")


def test_a_file_that_lands_meanwhile_counts(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: The removal that lost the race looks again at who has rows of the batch."""
    house = house(KEYED)
    house.take("a.csv", ONE, TWO)
    put = tables.put_commit

    def put_late(*arguments: Any) -> bool:
        monkeypatch.setattr(tables, "put_commit", put)
        house.take("b.csv", TWO, THREE)
        return put(*arguments)

    monkeypatch.setattr(tables, "put_commit", put_late)
    house.remove("a.csv")
    assert house.rows() == [TWO[:3], THREE[:3]]


def test_what_came_again_is_found_where_commits_do_not_say(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: A table from before commits told it, or that met too many: the later files are looked at."""
    monkeypatch.setattr(tables, "_MOST_MET", -1)
    house = house(KEYED)
    house.take("a.csv", ONE, TWO)
    house.take("b.csv", TWO, THREE)
    house.remove("a.csv")
    assert house.rows() == [TWO[:3], THREE[:3]]


ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=3, unique_by=lambda row: row[0]
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.lists(ROWS, min_size=2, max_size=4, unique_by=str),
    spec=st.sampled_from([KEYED, REPLACED, NEWEST, BY_CONTENT]),
    data=st.data(),
)
def test_the_table_is_as_if_the_batch_had_never_landed(files: list[Any], spec: DatasetSpec, data: Any) -> None:
    """DM-02, DM-06: Any files, corrections and deletions; a batch that replaced or deleted rows of others cannot be taken out."""
    place = data.draw(st.integers(0, len(files) - 1))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        house = House(spec, f"{folder}/all", patch)
        for number, rows in enumerate(files):
            house.take(f"{number}.csv", *rows)
        try:
            house.remove(f"{place}.csv")
        except BatchRefused:
            taken = next(batch.taken for batch in Table(house.store, "orders").batches() if batch.name == f"{place}.csv")
            assert taken
            return
        without = House(spec, f"{folder}/without", patch)
        for number, rows in enumerate(files):
            if number != place:
                without.take(f"{number}.csv", *rows)
        assert house.rows() == without.rows()
