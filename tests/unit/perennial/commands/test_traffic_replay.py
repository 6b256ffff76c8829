"""Rows of a dataset as callers would send them."""

import json
from datetime import date, datetime, timezone

import pyarrow as pa
import pytest

from perennial import discovery, options
from perennial.commands import traffic
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.serving.load import Load
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import publish_small_version, small_model

FIRST, LAST = datetime(2013, 1, 1, tzinfo=timezone.utc), datetime(2013, 1, 3, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two days of flights, taken in."""
    store = FolderStore(str(tmp_path_factory.mktemp("store")))
    for name, rows in discovery.dataset_module("flights").land(date(2013, 1, 1), date(2013, 1, 2)):
        fields = [
            pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema
        ]  # as readers give them
        Table(store, "flights").append(rows.cast(pa.schema(fields)), name)
    return store


def test_each_row_is_one_call_in_order_of_time(store):
    """DE-11: Every row of the window is sent once, oldest first, with exactly the model's inputs and its own time; ids are unique and the
    same in each replay."""
    model, dataset = discovery.model("flight_delays"), discovery.dataset("flights")
    calls = list(traffic.rows_as_calls(store, model, dataset, FIRST, LAST))
    assert len(calls) == 842 + 943  # flights of 1 and 2 January
    assert [call.event_time for call in calls] == sorted(call.event_time for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    assert {frozenset(call.rows[0]) for call in calls} == {frozenset(model.inputs)}
    assert list(traffic.rows_as_calls(store, model, dataset, FIRST, LAST, limit=850)) == calls[:850]
    json.dumps([call.rows for call in calls], allow_nan=False)
    whole = {column.name for column in dataset.columns if column.type == "int"}
    assert {type(value) for call in calls for name, value in call.rows[0].items() if name in whole} <= {int, type(None)}


def test_the_command_says_what_came_back(store, monkeypatch, capsys):
    """DE-11: Exit code 0 if all was answered, 1 with the first failure if not, and a refusal where there are no rows."""
    sent = []

    def answer(failures):
        def send(settings, model, calls, **_):
            sent.extend(calls)
            return Load(requests=len(sent), failures=failures)

        return send

    settings = Settings.from_environment({})
    arguments = {"model": "flight_delays", "first": FIRST, "last": LAST, "rate": 0.0, "limit": 3}
    monkeypatch.setattr(traffic, "send", answer([]))
    assert traffic.run(settings, store, **arguments) == 0
    assert len(sent) == 3
    monkeypatch.setattr(traffic, "send", answer(["503: nobody"]))
    assert traffic.run(settings, store, **arguments) == 1
    assert "503: nobody" in capsys.readouterr().err
    sent.clear()
    monkeypatch.setattr(traffic, "send", answer([]))
    with pytest.raises(UnknownName, match="has no rows from 2014"):
        traffic.run(
            settings,
            store,
            **{**arguments, "first": datetime(2014, 1, 1, tzinfo=timezone.utc), "last": datetime(2014, 1, 2, tzinfo=timezone.utc)},
        )


def test_a_version_from_before_the_spec_was_edited_gets_what_it_reads(store, tmp_path, monkeypatch):
    """DE-11: The spec dropped `origin` and gained `distance`; the version that serves needs `origin`, the next one `distance`: rows have
    both."""
    served = FolderStore(str(tmp_path / "served"))
    digest = publish_small_version(served, tmp_path / "version", model="small_delays")
    Ledger(served, "small_delays").append(
        "released", version=1, champion=1, weights={1: 10_000}, versions={1: digest}, reason="first", actor="jo", after_seq=None
    )
    edited = small_model().model_copy(update={"inputs": ("carrier", "distance", "air_time")})
    monkeypatch.setattr(traffic.discovery, "model", lambda name: edited)
    monkeypatch.setattr(traffic, "latest_snapshot", lambda _, dataset: latest_snapshot(store, dataset))
    sent = []

    def send(settings, model, calls, **_):
        sent.extend(calls)
        return Load(requests=len(sent))

    monkeypatch.setattr(traffic, "send", send)
    traffic.run(Settings.from_environment({}), served, model="small_delays", first=FIRST, last=LAST, rate=0.0, limit=3)
    assert {frozenset(call.rows[0]) for call in sent} == {frozenset({*edited.inputs, *small_model().inputs})}


def test_the_command_takes_the_options_that_are_told(store):
    """DE-11: The options of the table are the command's arguments."""
    import inspect

    wanted = {option.argument for option in options.COMMANDS["traffic"][1]}
    assert wanted == set(inspect.signature(traffic.run).parameters) - {"settings", "store"}


def test_a_gateway_that_is_down_is_one_sentence(store):
    """MN-18: Not thousands of failures: what is not there, and how to start it."""
    settings = Settings.from_environment({"PERENNIAL_GATEWAY_URL": "http://127.0.0.1:9"})
    with pytest.raises(ServiceUnreachable, match=r"gateway at http://127.0.0.1:9 does not answer .*perennial up"):
        traffic.run(settings, store, model="flight_delays", first=FIRST, last=LAST, rate=0.0, limit=3)
