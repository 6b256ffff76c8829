"""`perennial traffic --model NAME --from TIME --to TIME`: replay a dataset's rows against the gateway, as callers would send them.

$ perennial traffic --model flight_delays --from 2013-02-01 --to 2013-02-02
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from perennial import discovery, encoding
from perennial.data.served_rows import prediction_id
from perennial.data.snapshots import latest_snapshot
from perennial.errors import EXIT_DONE, EXIT_FAULT, ServiceUnreachable, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.serving.load import NO_ANSWER, Call, Load, send
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._versions import as_logged
from perennial.store import Store

if TYPE_CHECKING:
    import pandas

AT_A_TIME = timedelta(days=1)  # of event time in memory


def run(settings: Settings, store: Store, *, model: str, first: datetime, last: datetime, rate: float, limit: int | None) -> int:
    """Send each row once, in order of event time, with the row's own time and an id made from its key; exit code 1 if any was not answered.

    A row has the spec's inputs and those of every version that serves: one from before the spec was edited still reads its own.

    Raises:
        UnknownName: there is no such model, or its dataset has no rows in that time.
        ServiceUnreachable: no request reached the gateway.
    """
    spec = discovery.model(model)
    dataset = discovery.dataset(spec.dataset)
    callers = as_logged(store, spec, dataset, Ledger(store, model).newest(1))
    load = send(settings, spec, rows_as_calls(store, callers, dataset, first, last, limit=limit), rate=rate or None, progress=_show)
    if not load.requests:
        raise UnknownName(
            f"The dataset {dataset.name} has no rows from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}: "
            "land and ingest these days first."
        )
    if all(failure.startswith(NO_ANSWER) for failure in load.failures) and len(load.failures) == load.requests:
        raise ServiceUnreachable(
            f"The gateway at {settings.gateway_url} does not answer ({load.failures[0].removeprefix(NO_ANSWER)}): "
            "start the platform (`perennial up`), or correct PERENNIAL_GATEWAY_URL."
        )
    print(f"\r{load.sentence()}")
    if load.failures:
        print(f"The first failure: {load.failures[0]}", file=sys.stderr)
    return EXIT_FAULT if load.failures else EXIT_DONE


def rows_as_calls(
    store: Store, model: ModelSpec, dataset: DatasetSpec, first: datetime, last: datetime, *, limit: int | None = None
) -> Iterator[Call]:
    """One call for each row of the newest snapshot with event time in [first, last), a day of them in memory."""
    snapshot = latest_snapshot(store, dataset)
    begin, left = first, limit
    while snapshot is not None and begin < last and left != 0:
        end = min(begin + AT_A_TIME, last)
        frame = snapshot.rows(list(dict.fromkeys((*_sent(model, dataset), *dataset.key_columns, dataset.time_column))), begin, end)
        for call in _calls(frame.iloc[:left], model, dataset):
            yield call
            left = None if left is None else left - 1
        begin = end


def _sent(model: ModelSpec, dataset: DatasetSpec) -> list[str]:
    """The columns that a call has: inputs of the dataset, and where the model joins others, keys and event time, by which the server finds
    what they bring."""
    by = [*(name for join in model.joins for name in join.key), *([dataset.event_time] if model.joins and dataset.event_time else [])]
    own = {column.name for column in dataset.table_columns}
    return [name for name in dict.fromkeys((*model.inputs, *by)) if name in own]


def _calls(frame: pandas.DataFrame, model: ModelSpec, dataset: DatasetSpec) -> Iterator[Call]:
    types = {column.name: column.type for column in dataset.table_columns}
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    rows = encoding.rows_from_columns(columns, list(frame.columns))
    for row in rows:
        whole = {
            name: int(value) if types[name] == "int" and value is not None else value for name, value in row.items()
        }  # nullable integers come as floats
        yield Call(
            [{name: whole[name] for name in _sent(model, dataset)}],
            prediction_id(model.name, [whole[name] for name in dataset.key_columns]),
            str(whole[dataset.time_column]),
        )


def _show(load: Load) -> None:
    print(
        f"\r{load.requests:,} requests, {len(load.failures)} failed, p50 {load.quantile(0.5):.1f} ms", end="", file=sys.stderr, flush=True
    )
