"""A dataset with a source, its store and both stages that bring rows from the one into the other; for tests of sources.

>>> from pathlib import Path
>>> import sqlite3, tempfile
>>> from perennial.specs import Column, DatasetSpec, SqlSource
>>> folder = Path(tempfile.mkdtemp())
>>> with sqlite3.connect(folder / "shop.db") as database:
...     _ = database.execute("create table orders (id integer primary key, at timestamp)")
...     _ = database.execute("insert into orders values (1, '2026-03-01 08:00:00')")
>>> columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
>>> source = SqlSource(url=f"sqlite:///{folder}/shop.db", table="orders", cursor="id")
>>> spec = DatasetSpec(name="orders", title="Orders", owner="shop", columns=columns, key=("id",), event_time="at", source=source)
>>> collecting = Collecting(spec, folder / "store")
>>> collecting.collect().rows, collecting.take_in().appended
(1, {'orders-00000001.parquet': 1})
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from perennial.results import CollectResult, IngestResult
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.store import FolderStore

WRITES = ("write", "put_if_absent", "upload", "copy", "delete")


class Collecting:
    """A dataset that is found by its stages alone. Its suite is a stand-in that every batch passes.

    Args:
        spec: of the dataset, with its source.
        folder: of the store.
        connections: what the file of connections holds, by name.
    """

    def __init__(self, spec: DatasetSpec, folder: Path, connections: dict[str, dict[str, Any]] | None = None) -> None:
        self.spec = spec
        self.store = FolderStore(str(folder))
        file = ""
        if connections:
            file = f"{folder}-connections.json"
            Path(file).write_text(json.dumps(connections))
            os.chmod(file, 0o600)
        self.settings = Settings(store=str(folder), landing_settle_seconds=0, airflow_url="http://airflow", connections=file)

    def collect(self, store: FolderStore | None = None, **arguments: Any) -> CollectResult:
        """One run of the stage `collect`."""
        from perennial.stages import collect

        with patch.object(collect, "dataset_spec", lambda name: self.spec):
            return collect.run(self.settings, store or self.store, self.spec.name, **arguments)

    def take_in(self) -> IngestResult:
        """One run of the stage `ingest`."""
        from perennial.stages import ingest

        with patch.object(ingest, "dataset_spec", lambda name: self.spec), _no_suite():
            return ingest.run(self.settings, self.store, self.spec.name)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table, sorted by key; each once, or they are doubled there."""
        from perennial.data.tables import Table

        rows: list[dict[str, Any]] = Table(self.store, self.spec.name).scan().to_pylist()
        return sorted(rows, key=lambda row: tuple(str(row[name]) for name in self.spec.key_columns))

    def keys(self) -> Counter[Any]:
        """How often the table has each key; a key of one column stands by itself."""
        keys = (tuple(row[name] for name in self.spec.key_columns) for row in self.rows())
        return Counter(key[0] if len(key) == 1 else key for key in keys)

    def collect_killed(self, before: int) -> bool:
        """Collect in a process that ends by SIGKILL before its n-th write to the store; False if it was done earlier."""
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                self.collect(_Killing(self.store.root, before))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the stage broke before it was killed"
        return os.WIFSIGNALED(status)

    def collect_cut(self, before: int) -> bool:
        """The same within this process, for libraries that no forked process may use: the stage is left before its n-th write."""
        try:
            self.collect(_Killing(self.store.root, before, process=False))
        except Cut:
            return True
        return False


class Cut(BaseException):
    """The end of a stage in the middle, where a process cannot be forked and killed."""


class _Killing(FolderStore):
    """A store that ends its process before a write, or its stage."""

    def __init__(self, root: str, before: int, *, process: bool = True) -> None:
        super().__init__(root)
        self._left, self._process = before, process

    def __getattribute__(self, name: str) -> Any:
        if name in WRITES:
            self._left -= 1
            if self._left == 0 and not self._process:
                raise Cut
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


@contextmanager
def _no_suite() -> Iterator[None]:
    from perennial.quality import data_docs, validation
    from perennial.quality.validation import Verdict

    def passes(rows: Any, dataset: DatasetSpec, batch_name: str, **_: object) -> Verdict:
        return Verdict(dataset.name, batch_name, rows.num_rows, True, None, (), f"reports/{dataset.name}/{batch_name}.html")

    with patch.object(validation, "validate", passes), patch.object(data_docs, "write_index", lambda *_: None):
        yield
