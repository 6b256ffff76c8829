"""Promises of every model: a good model keeps them all, and each is broken by a model that was made to break it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from perennial import discovery
from perennial.encoding import Category, Columns, Cycle, Encoder, Number, Series, Words, hours, numbers, text, times
from perennial.errors import UnknownName
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.testing import PROMISES, Trial, broken_promises, check_model, promises, rows_like
from perennial.training.module import TaskModule

DATASET = DatasetSpec(
    name="orders",
    title="Orders",
    owner="tests",
    key=("customer",),
    event_time="ordered",
    time_zone="America/New_York",
    columns=(
        Column(name="ordered", type="timestamp"),
        Column(name="customer", type="int"),
        Column(name="pieces", type="int", nullable=True),
        Column(name="price", type="float"),
        Column(name="discount", type="float", nullable=True),
        Column(name="shop", type="string"),
        Column(name="note", type="text", nullable=True),
        Column(name="prices", type="list", of="float"),
        Column(name="late", type="int"),
    ),
)
SPEC = ModelSpec(
    name="late_orders",
    title="Late orders",
    owner="tests",
    dataset="orders",
    task="binary",
    classes=("on_time", "late"),
    label="late",
    inputs=("ordered", "note", "customer", "pieces", "price", "discount", "shop", "prices"),
    gate=GateSpec(floors={"log_loss": 0.7}),
)


def derive(columns: Columns) -> dict[str, np.ndarray]:
    return {**columns, "hour": hours(columns["ordered"])}


def fit(columns: Columns) -> Encoder:
    return Encoder(
        {
            "numbers": [*(Number.fit(columns, name, nulls=True) for name in ("pieces", "price", "discount")), Cycle("hour", 24)],
            "categories": [Category.fit(columns, name) for name in ("shop", "customer")],
            "words": [Words.fit(columns, "note", 8)],
            "prices": [Series.fit(columns, "prices", 4)],
        }
    )


def encode(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    return encoder.encode(derive(columns))


class Model(TaskModule):
    """A sum of everything, by weights of chance."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.layer = torch.nn.Linear(encoder.width("numbers"), 2)
        self.embeddings = torch.nn.ModuleList(torch.nn.Embedding(size, 2) for size in encoder.sizes("categories"))
        self.words = torch.nn.Embedding(encoder.sizes("words")[0], 2, padding_idx=0)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        logits: torch.Tensor = self.layer(numbers.float()) + sum(e(categories[:, i]) for i, e in enumerate(self.embeddings))
        return logits + self.words(words).sum(dim=1) + prices.sum(dim=2)


class Mixes(Model):
    """Looks at all rows of the batch."""

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        logits = super().forward(numbers, categories, words, prices)
        return logits - logits.mean(dim=0)


class Looks(Model):
    """Has a large tensor besides."""

    def forward(
        self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor, picture: torch.Tensor
    ) -> torch.Tensor:
        """Logits [rows, 2]."""
        return super().forward(numbers, categories, words, prices) + picture[:, :1]


class Chance(Model):
    """Leaves out half of its numbers, also when it does not train."""

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return super().forward(torch.nn.functional.dropout(numbers), categories, words, prices)


class OfOneSize(Model):
    """Computes another thing of one row than of many, which a trace cannot see."""

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        logits = super().forward(numbers, categories, words, prices)
        return logits if len(numbers) > 1 else 2 * logits


class Complex(Model):
    """Has a layer that ONNX does not know."""

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return super().forward(numbers, categories, words, prices) + torch.special.i1(numbers[:, :2])


class Ranged(Model):
    """Has a tensor of codes besides."""

    def forward(
        self, numbers: torch.Tensor, categories: torch.Tensor, words: torch.Tensor, prices: torch.Tensor, range: torch.Tensor
    ) -> torch.Tensor:
        """Logits [rows, 2]."""
        return super().forward(numbers, categories, words, prices) + range[:, None].float().clamp(0, 9)


def tried(network: type[TaskModule] = Model, **features: Callable[..., Any]) -> Trial:
    module: Any = SimpleNamespace(**{"fit": fit, "encode": encode, **features})
    return Trial(SPEC, DATASET, module, network, rows_like(SPEC, DATASET))


def changed(**columns: Callable[[Columns], np.ndarray]) -> dict[str, Callable[..., Any]]:
    """The features of the good model with some columns made otherwise."""

    def other(given: Columns) -> Columns:
        return {**given, **{name: make(given) for name, make in columns.items()}}

    return {"fit": lambda given: fit(other(given)), "encode": lambda encoder, given: encode(encoder, other(given))}


def hour_of_the_machine(columns: Columns) -> np.ndarray:
    moments = columns["ordered"].astype("datetime64[s]").astype(np.int64).tolist()
    return np.array([np.datetime64(datetime.fromtimestamp(moment).isoformat(), "s") for moment in moments])


def as_written(columns: Columns) -> np.ndarray:
    """Knows only the kind of array that a request gives."""
    assert columns["ordered"].dtype == "datetime64[s]"
    return columns["ordered"]


def by_hand(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    """Counts its rows in too small a number."""
    rows = np.array([len(columns["shop"])]).astype(np.int16)[0]
    assert np.int16(rows * 8) > 0
    return encode(encoder, columns)


def as_doubles(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    return {name: values.astype(np.float64) if name == "numbers" else values for name, values in encode(encoder, columns).items()}


BROKEN = {
    "column order": (changed(price=lambda columns: numbers(list(columns.values())[4])), "price", "by their names"),
    "nulls": (changed(discount=lambda columns: np.array([1 - value for value in nulls(columns["discount"])])), "discount", "numbers"),
    "unseen categories": (
        changed(shop=lambda columns: np.array([{"a": "x", "b": "y", "c": "z"}[value] for value in columns["shop"]], dtype=object)),
        "shop",
        "Category",
    ),
    "strange texts and lists": (
        changed(note=lambda columns: np.array([value and value.split()[0] for value in columns["note"].tolist()], dtype=object)),
        "note",
        "Words or Grams",
    ),
    "a row alone": (changed(price=lambda columns: columns["price"] - columns["price"].mean()), "price", "fit"),
    "time zone": (changed(ordered=hour_of_the_machine), "ordered", "fromtimestamp"),
    "huge whole numbers": (changed(customer=lambda columns: numbers(columns["customer"])), "customer", "as it comes"),
    "kinds of columns": (
        changed(customer=lambda columns: np.array([str(value) for value in columns["customer"].tolist()], dtype=object)),
        "customer",
        "every kind",
    ),
    "no numbers": (
        changed(price=lambda columns: np.array([float(int(value)) for value in columns["price"].tolist()])),
        "price",
        "Number or Steps",
    ),
    "ten thousand rows": ({"encode": by_hand}, "10,008 rows", "any number of rows"),
    "the same again": ({"network": Chance}, "model.py", "functional.dropout"),
    "label": (
        changed(price=lambda columns: columns["price"] + numbers(columns["late"]) if "late" in columns else columns["price"]),
        "late, which is its label",
        "inputs alone",
    ),
    "ONNX": ({"network": OfOneSize}, "model.py", "how many rows"),
}


def nulls(values: np.ndarray) -> list[Any]:
    """A column as Python's values, null as None."""
    return [None if text(value) is None else value for value in values.tolist()]


def small(value: float) -> float:
    assert not abs(value) > 1000
    return value


def test_a_good_model_keeps_every_promise() -> None:
    """MO-02: none of them asks for more than perennial's own encoder gives."""
    assert broken_promises(tried()) == []


@pytest.mark.parametrize("promise", PROMISES)
def test_a_bad_model_is_told_in_one_sentence(promise: str) -> None:
    """MO-01: It names the model, the column, and what to do. A promise that no model can break would promise nothing."""
    features, column, what_to_do = BROKEN[promise]
    sentences = broken_promises(tried(**features), promise)
    assert len(sentences) == 1
    assert sentences[0].startswith("late_orders: ")
    assert re.search(rf"\b{column}\b", sentences[0].removeprefix("late_orders: "))
    assert what_to_do in sentences[0]


def test_a_network_that_mixes_rows_is_told() -> None:
    """MO-01, DE-14: Its features are right and its scores are not."""
    (sentence,) = broken_promises(tried(Mixes), "a row alone")
    assert "model.py" in sentence


def test_chance_and_memory_in_features_are_told() -> None:
    """MO-01, DE-14: What fit learns and what encode gives must follow from the rows alone."""
    drawn = np.random.default_rng(0)
    noisy = changed(price=lambda columns: columns["price"] + drawn.normal())
    (sentence,) = broken_promises(tried(fit=noisy["fit"]), "the same again")
    assert "fit learns something else" in sentence
    (sentence,) = broken_promises(tried(encode=noisy["encode"]), "the same again")
    assert "when they are encoded again" in sentence


def test_a_layer_that_onnx_lacks_is_told() -> None:
    """MO-01, MO-22: Before the training, not at its end."""
    (sentence,) = broken_promises(tried(Complex), "ONNX")
    assert "cannot be written and run as ONNX, UnsupportedOperatorError" in sentence
    assert "model.py" in sentence


def test_a_label_among_the_inputs_is_told() -> None:
    """DM-13: A model that is told the answer learns nothing."""
    spec = SPEC.model_copy(update={"inputs": (*SPEC.inputs, "late")})
    (sentence,) = broken_promises(replace(tried(), spec=spec, rows=rows_like(spec, DATASET)), "label")
    assert (
        sentence == "late_orders: its inputs name its label late: it is not known when a prediction is asked for, so take it out of inputs."
    )


def test_a_column_that_is_known_only_later_is_told() -> None:
    """DM-13: Also one that is not the label: a column that is no input changes nothing."""
    spec = SPEC.model_copy(update={"inputs": tuple(name for name in SPEC.inputs if name != "discount")})
    given = changed(discount=lambda columns: columns.get("discount", np.zeros(len(columns["price"]))))
    (sentence,) = broken_promises(replace(tried(**given), spec=spec, rows=rows_like(spec, DATASET)), "label")
    assert "discount, which is no input" in sentence


def test_a_large_batch_of_large_features_has_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-14: Ten thousand pictures of a camera would fill the memory of the machine that tries the model."""
    monkeypatch.setattr(promises, "MOST_BYTES", 1 << 20)
    seen: list[int] = []

    def large(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
        seen.append(len(columns["price"]))
        return {**encode(encoder, columns), "picture": np.zeros((len(columns["price"]), 1 << 12), dtype=np.float32)}

    assert broken_promises(tried(Looks, encode=large), "ten thousand rows") == []
    assert max(seen) == 72  # a MiB of 16 KiB each, and whole repetitions of its 24 rows


def test_a_tensor_of_another_kind_is_told() -> None:
    """MO-01, MO-22: float64 would be refused when the network is written as ONNX, after the training."""
    (sentence,) = broken_promises(tried(encode=as_doubles), "kinds of columns")
    assert "numbers is float64" in sentence


def test_a_time_that_is_read_only_as_a_request_writes_it_is_told() -> None:
    """DM-18: A table gives times in microseconds."""
    (sentence,) = broken_promises(tried(**changed(ordered=as_written)), "kinds of columns")
    assert "ordered as datetime64[us]" in sentence


def test_a_whole_number_that_does_not_fit_is_told() -> None:
    """DE-14: Whatever breaks is told with the values that broke it."""
    trial = tried(**changed(pieces=lambda columns: np.array([small(value) for value in columns["pieces"]])))
    (sentence,) = broken_promises(trial, "huge whole numbers")
    assert "with pieces of 9007199254740992" in sentence


def test_a_model_that_scores_nothing_is_told_once() -> None:
    """MO-01: Not by each promise anew, and with what broke."""
    (sentence,) = broken_promises(tried(**changed(shop=lambda columns: columns["shops"])))
    assert sentence.startswith("late_orders: it breaks with KeyError ('shops')")


def test_broken_promises_stand_below_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-01: `check_model` finds the model by its name or spec, and tells all that is wrong at once."""
    parts = {
        "features": tried(encode=as_doubles, fit=changed(price=lambda c: c["price"])["fit"]).features,
        "model": SimpleNamespace(Model=Mixes),
    }
    monkeypatch.setattr(discovery, "dataset", lambda name: DATASET)
    monkeypatch.setattr(discovery, "model_part", lambda name, part: parts[part])
    with pytest.raises(AssertionError) as told:
        check_model(SPEC)
    lines = str(told.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("late_orders: ") for line in lines)
    with pytest.raises(AssertionError, match=r"^late_orders: a row alone[^\n]*$"):
        check_model(SPEC, only="a row alone")


def test_rows_of_ones_own_are_tried() -> None:
    """DE-14: Where a feature expects more of a value than its type says."""
    rows = [{**row, "shop": str(place % 12 + 1)} for place, row in enumerate(rows_like(SPEC, DATASET))]

    def month(columns: Columns) -> np.ndarray:
        return np.array([("jan", "feb", "mar")[int(value) % 3] if value.isdecimal() else "" for value in columns["shop"]], dtype=object)

    module: Any = SimpleNamespace(**changed(shop=month))
    assert broken_promises(Trial(SPEC, DATASET, module, Model, rows)) == []


def test_times_are_tried_in_the_zone_of_their_dataset() -> None:
    """DM-18: The wall time is the dataset's: times of `encoding` read what serving gives alike."""
    trial = tried()
    assert times(trial.own["ordered"]).dtype == "datetime64[s]"
    assert {len(values) for values in trial.own.values()} == {len(trial.rows)}


def test_rows_of_ones_own_need_no_short_numbers() -> None:
    """DE-14: A tenth has other digits as float32: the encoder's own numbers would look as if they depended on the kind of column."""
    rows = [{**row, "price": 0.1 * place} for place, row in enumerate(rows_like(SPEC, DATASET))]
    assert broken_promises(replace(tried(), rows=rows)) == []


def test_rows_of_ones_own_may_leave_out_what_may_be_null() -> None:
    """DE-14: As a request may: what is left out is null."""
    rows = [{name: value for name, value in row.items() if name != "discount"} for row in rows_like(SPEC, DATASET)]
    assert broken_promises(replace(tried(), rows=rows)) == []


@pytest.mark.parametrize("ranges", [lambda pieces: np.clip(pieces, 0, 5), lambda pieces: np.log2(np.maximum(pieces, 1))])
def test_ranges_of_whole_numbers_are_no_category(ranges: Callable[[np.ndarray], np.ndarray]) -> None:
    """DE-14: A count that is capped and a number's magnitude tell 1 from 2 and two huge ones not, and lose nothing by it."""

    def with_range(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
        return {**encode(encoder, columns), "range": ranges(np.nan_to_num(numbers(columns["pieces"]))).astype(np.int64)}

    assert broken_promises(tried(Ranged, encode=with_range)) == []


def test_a_promise_that_is_none_is_told() -> None:
    """MO-01: Else a name that is written wrong would try nothing, and look as if all were well."""
    with pytest.raises(UnknownName, match="There is no promise 'null': name one of column order, nulls"):
        check_model("digits", only="null")
