"""Joins of a model that do not fit are told in a sentence, before anything reads a table."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from perennial.specs import Column, DatasetSpec, GateSpec, JoinSpec, LabelSpec, ModelSpec, brought_by

ORDERS = DatasetSpec(
    name="orders", title="Orders", owner="tests", key=("id",), event_time="at",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="shop", type="string"),
        Column(name="size", type="float"), Column(name="tags", type="list", of="string"), Column(name="paid", type="float"),
    ),
)  # fmt: skip
PRICES = DatasetSpec(
    name="prices", title="Prices", owner="tests", key=("number",), event_time="since",
    columns=(
        Column(name="number", type="int"), Column(name="place", type="string"), Column(name="since", type="timestamp"),
        Column(name="price", type="float"), Column(name="told", type="timestamp"), Column(name="maybe", type="timestamp", nullable=True),
        Column(name="size", type="float"), Column(name="tags", type="list", of="string"), Column(name="width", type="float"),
    ),
)  # fmt: skip
FITTING: dict[str, Any] = {"dataset": "prices", "key": ("shop",), "key_there": ("place",), "columns": ("price",), "horizon_days": 2}


def model(*joins: JoinSpec, **fields: Any) -> ModelSpec:
    """A model with these joins."""
    given: dict[str, Any] = {"inputs": ("size", "price"), "label": "paid", **fields}
    return ModelSpec(
        name="sums", title="Sums", owner="tests", dataset="orders", task="regression", joins=joins, gate=GateSpec(metric="rmse", floors={}),
        **given,
    )  # fmt: skip


def test_a_join_that_fits() -> None:
    """DM-13: Inputs and slices may name what it brings; a training reads both datasets, and new rows of its own alone start one."""
    spec = model(JoinSpec(**FITTING), slices=("price", "shop"))
    assert spec.misfit(ORDERS, None, {"prices": PRICES}) is None
    assert (spec.datasets, spec.awaited) == (("orders", "prices"), ("orders",))
    wide = ORDERS.joined_with(brought_by(spec.joins, {"prices": PRICES}))
    assert [column.name for column in wide.columns][-2:] == ["paid", "price"]
    assert wide.column("price").nullable
    assert wide.table_columns == ORDERS.table_columns
    assert ORDERS.joined_with(()) is ORDERS
    with pytest.raises(KeyError):
        ORDERS.column("price")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"key_there": ("place", "number")}, "key_there names 2 columns, and key 1: each has one counterpart"),
        ({"key": ("shop", "shop"), "key_there": ()}, "key names shop twice"),
        ({"columns": ("price", "price")}, "columns names price twice"),
        ({"prefix": "_x"}, "prefix is '_x': names that begin with _"),
        ({"history_until": "2026-01-01T00:00:00Z"}, "history_until has an offset: write it as wall time"),
        ({"history_until": "2026-01-01T00:00", "known_at": "told"}, "history_until is for rows of which nobody noted"),
        ({"history_delay_hours": 2}, "history_delay_hours is set, and history_until does not say"),
        ({"horizon_days": 0}, "greater than 0"),
        ({"columns": ()}, "at least 1 item"),
        ({"key": ()}, "at least 1 item"),
    ],
)
def test_a_join_checks_itself(changes: dict[str, Any], sentence: str) -> None:
    """DM-13: Each mistake has its sentence."""
    with pytest.raises(ValidationError, match=sentence):
        JoinSpec(**{**FITTING, **changes})


@pytest.mark.parametrize(
    ("changes", "word", "why"),
    [
        ({"key": ("shops",)}, "shops", "its join of prices has the key shops, which the dataset orders has not"),
        ({"key_there": ("places",)}, "places", "its join of prices has the key_there places, which the dataset prices has not"),
        ({"key_there": ()}, "shop", "its join of prices has the key shop, which the dataset prices has not"),
        ({"columns": ("cost",)}, "cost", "its join of prices has the columns cost, which the dataset prices has not"),
        ({"known_at": "when"}, "when", "its join of prices has the known_at when, which the dataset prices has not"),
        ({"key_there": ("number",)}, "shop", "its join of prices has the key shop, which is string in orders and int there"),
        (
            {"key": ("size",), "key_there": ("size",)},
            "size",
            "its join of prices has the key size, which is a float: it must be a whole number, a word or a time",
        ),
        (
            {"key": ("tags",), "key_there": ("tags",)},
            "tags",
            "its join of prices has the key tags, which is a list: it must be a whole number, a word or a time",
        ),
        ({"columns": ("size",)}, "size", "its join of prices brings size, which orders has itself: set prefix"),
        ({"columns": ("width",), "prefix": "SIZE"}, "price", None),
        ({"known_at": "price"}, "price", "its join's known_at price must be a timestamp column of prices that is never missing"),
        ({"known_at": "maybe"}, "maybe", "its join's known_at maybe must be a timestamp column of prices that is never missing"),
    ],
)
def test_a_join_that_does_not_fit(changes: dict[str, Any], word: str, why: str | None) -> None:
    """DM-13: The first name that is not there as the join needs it, and why."""
    wrong = model(JoinSpec(**{**FITTING, **changes})).misfit(ORDERS, None, {"prices": PRICES})
    assert wrong is not None
    assert wrong[0] == word
    assert why is None or wrong[1] == why


def test_names_that_no_join_brings() -> None:
    """DM-13: Inputs are those of the dataset or of a join; a label, a group and a weight are the dataset's own."""
    join, known = JoinSpec(**FITTING), {"prices": PRICES}
    wrong = model(join, inputs=("cost",)).misfit(ORDERS, None, known)
    assert wrong == ("cost", "its inputs name cost, which the dataset orders does not have, and no join brings")
    wrong = model(inputs=("price",)).misfit(ORDERS)
    assert wrong == ("price", "its inputs name price, which the dataset orders does not have")
    wrong = model(join, label="price").misfit(ORDERS, None, known)
    assert wrong == ("price", "its label is price, which the dataset orders does not have, and no join brings")
    tags = JoinSpec(**{**FITTING, "columns": ("tags", "price"), "prefix": "price_"})
    wrong = model(tags, inputs=("price_price",), slices=("price_tags",)).misfit(ORDERS, None, known)
    assert wrong == ("price_tags", "its slices name price_tags, which is a list: it must be a number, a word or a time")


@pytest.mark.parametrize(
    ("dataset", "changes", "why"),
    [
        (ORDERS, {}, "its joins name its own dataset orders: a row would find itself"),
        (PRICES.model_copy(update={"time_zone": "Europe/Berlin"}), {}, "the time zone Europe/Berlin and its dataset orders UTC"),
        (
            PRICES.model_copy(update={"rows": "corrected", "on_known_key": "replace"}),
            {"known_at": "told"},
            "whose rows are replaced or deleted when another batch is taken in: leave out known_at",
        ),
        (PRICES.model_copy(update={"rows": "corrected", "deleted": "x"}), {"known_at": "told"}, "leave out known_at"),
    ],
)
def test_a_dataset_that_cannot_be_joined(dataset: DatasetSpec, changes: dict[str, Any], why: str) -> None:
    """DM-13: Its own, one of another clock, and one whose rows change while a column says when they were known."""
    join = JoinSpec(**{**FITTING, "dataset": dataset.name, **changes})
    wrong = model(join).misfit(ORDERS, None, {dataset.name: dataset})
    assert wrong is not None
    assert why in wrong[1]


def test_names_are_brought_once() -> None:
    """DM-13: Two joins, or a join and the label feed, cannot bring one name."""
    join = JoinSpec(**FITTING)
    with pytest.raises(ValidationError, match="joins bring price twice: set prefix in one of them"):
        model(join, JoinSpec(**{**FITTING, "horizon_days": 3}))
    feed = LabelSpec(dataset="feed", key=("id",), columns=("paid", "Price"), known_at="known")
    with pytest.raises(ValidationError, match="joins and the label feed both bring price: set prefix in the join"):
        model(join, labels=feed)
