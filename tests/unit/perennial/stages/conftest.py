"""What tests of several stages share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import reproduce
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch
from perennial.serving import folder_inspection, generated_inputs, probe
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import _inspection, evaluate, register, score, train
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory
from perennial.training.evaluation import resampled


@pytest.fixture(autouse=True)
def inspected_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are inspected by the code of the serving environment, and in this process: starting one for each would take a second."""
    if "serving_environment" not in request.fixturenames:
        monkeypatch.setattr(_inspection, "_inspected_by", lambda python, folder, asked: folder_inspection.main(folder, asked))
        monkeypatch.setattr(probe, "WINDOWS", 1)
        monkeypatch.setattr(generated_inputs, "MAX_ROWS", 200)


@pytest.fixture
def serving_environment() -> None:
    """A test that has this has versions inspected by a process, as always outside of tests."""


@pytest.fixture(scope="module")
def project_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """`project_of(dataset, source, *rows)`: a project with a dataset, which is found meanwhile, and a snapshot after each of the rows."""
    with contextlib.ExitStack() as meanwhile:

        def project_of(dataset: str, source: str, *rows: pa.Table) -> Path:
            root = tmp_path_factory.mktemp(dataset)
            (root / "include/perennial_datasets").mkdir(parents=True)
            (root / f"include/perennial_datasets/{dataset}.py").write_text(source)
            meanwhile.enter_context(discovery.also_in(root))
            table = Table(FolderStore(str(root / "store")), dataset)
            for number, some in enumerate(rows):
                table.append(some, f"batch {number}")
            return root

        yield project_of


@pytest.fixture
def platform(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, FolderStore, RegistryInMemory]:
    """Settings, store and registry of the module's `project`, for the stages that make a version."""
    registry = RegistryInMemory()
    for stage in (train, register, reproduce):
        monkeypatch.setattr(stage, "ModelRegistry", lambda _: registry)
    monkeypatch.setattr(evaluate, "resampled", partial(resampled, resamples=20))
    monkeypatch.setattr(train, "facts_of", lambda *_: None)
    return Settings(home=project / "home", store=str(project / "store")), FolderStore(str(project / "store")), registry


@pytest.fixture
def scored_as_served() -> Callable[..., None]:
    """`scored_as_served(settings, store, model, digest)`: version 1 serves; the newest day of its table, scored as a batch, has the bits
    that the code of the server gives a request with these rows."""

    def scored_as_served(settings: Settings, store: FolderStore, name: str, digest: str) -> None:
        Ledger(store, name).append(
            "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
        )
        spec, dataset = discovery.model(name), discovery.dataset(discovery.model(name).dataset)
        rows = latest_snapshot(store, dataset).rows()  # type: ignore[union-attr]
        day = rows[dataset.event_time].max().date()
        rows = rows[rows[dataset.event_time].dt.date == day].sort_values(dataset.key[0])
        result = score.run(settings, store, name, first=day, last=day)
        assert (result.rows, result.held_back) == (len(rows), 0)
        scorer = Scorer(fetch(store, name, digest, Path(store.root) / "served" / name))
        request = rows[[*spec.inputs]].to_json(orient="records", date_format="iso", double_precision=15)
        answers = scorer.score(read_request(f'{{"data": {{"rows": {request}}}}}', scorer.signature).columns)
        stored = Table(store, result.table).scan().sort_by(f"key_{dataset.key[0]}").to_pylist()
        assert [[row[f"score_{what}"] for what in scorer.names] for row in stored] == answers.tolist()

    return scored_as_served


@pytest.fixture
def goes_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`goes_after(world, kind, version)`: just after an entry of that kind was written, the server of a version goes for good."""

    def goes_after(world: Any, kind: str, version: int) -> None:
        put = world.store.put_if_absent

        def put_then_gone(key: str, data: bytes) -> bool:
            won: bool = put(key, data)
            if json.loads(data)["kind"] == kind:
                world.backend.refusals[version] = ServiceUnreachable("Not ready after 60 s.")
            return won

        monkeypatch.setattr(world.store, "put_if_absent", put_then_gone)

    return goes_after
