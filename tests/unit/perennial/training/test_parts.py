"""The parts that models share: each learns, is written as ONNX that computes the same, sees no padding and keeps every model's promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from perennial.encoding import Category, Columns, Encoder, Number, Pixels, Series, Words
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.testing import Trial, broken_promises, rows_like
from perennial.training.export import TOLERANCE
from perennial.training.module import TaskModule
from perennial.training.parts import Convolutions, EmbeddingEnsemble, Embeddings, Recurrent, Transformer, steps_of
from perennial.training.scoring import open_session, run_session

DATASET = DatasetSpec(
    name="visits",
    title="Visits",
    owner="tests",
    key=("shop",),
    event_time="at",
    columns=(
        Column(name="at", type="timestamp"),
        Column(name="shop", type="string"),
        Column(name="city", type="string", nullable=True),
        Column(name="price", type="float", nullable=True),
        Column(name="remark", type="text", nullable=True),
        Column(name="spent", type="list", of="float"),
        Column(name="picture", type="image", shape=(6, 5), mode="RGB"),
        Column(name="returns", type="int"),
    ),
)


class OfCodes(TaskModule):
    """`Embeddings` of categories, and a layer."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.embeddings = Embeddings(encoder.sizes("categories"))
        self.head = nn.Linear(self.embeddings.width, 2)

    def forward(self, categories: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.head(self.embeddings(categories))


class OfMembers(TaskModule):
    """`EmbeddingEnsemble` of numbers and categories."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.members = EmbeddingEnsemble(encoder.width("numbers"), encoder.sizes("categories"), 2, members=3, hidden=8)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.members(numbers, categories).mean(dim=0)


class OfPictures(TaskModule):
    """`Convolutions` over pictures."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.layers = Convolutions((3, 6, 5), 2, channels=4, hidden=8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.layers(pixels)


class OfSteps(TaskModule):
    """`Recurrent` over a list of numbers."""

    def __init__(self, encoder: Encoder, spec: ModelSpec, **how: Any) -> None:
        super().__init__(encoder, spec)
        self.reads = Recurrent(2, 8, **how)
        self.head = nn.Linear(8, 2)

    def forward(self, spent: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.head(self.reads(*steps_of(spent)))


class OfWordsInOrder(TaskModule):
    """`Recurrent` over the words of a text."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.words = nn.Embedding(encoder.sizes("remark")[0], 4, padding_idx=0)
        self.reads = Recurrent(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, remark: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.head(self.reads(self.words(remark), remark > 0))


class OfWords(TaskModule):
    """`Transformer` over the words of a text."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.reads = Transformer(encoder.sizes("remark")[0], 6, 8, heads=2, layers=2)
        self.head = nn.Linear(8, 2)

    def forward(self, remark: torch.Tensor) -> torch.Tensor:
        """Logits [rows, 2]."""
        return self.head(self.reads(remark))


TENSORS = {
    "numbers": lambda columns: [Number.fit(columns, "price", nulls=True)],
    "categories": lambda columns: [Category.fit(columns, name) for name in ("city", "shop")],
    "pixels": lambda columns: [Pixels("picture", (6, 5), "RGB")],
    "spent": lambda columns: [Series.fit(columns, "spent", 4)],
    "remark": lambda columns: [Words.fit(columns, "remark", 6)],
}
PARTS: dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]] = {  # the network, its tensors, its inputs
    "embeddings": (OfCodes, ("categories",), ("city", "shop")),
    "ensemble": (OfMembers, ("numbers", "categories"), ("price", "city", "shop")),
    "convolutions": (OfPictures, ("pixels",), ("picture",)),
    "lstm": (OfSteps, ("spent",), ("spent",)),
    "gru of two layers": (partial(OfSteps, cell="gru", layers=2), ("spent",), ("spent",)),
    "lstm of words": (OfWordsInOrder, ("remark",), ("remark",)),
    "transformer": (OfWords, ("remark",), ("remark",)),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks as small as these wait for a second thread longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tried(part: str) -> Trial:
    """A model that is little more than the part."""
    network, tensors, inputs = PARTS[part]

    def fit(columns: Columns) -> Encoder:
        return Encoder({name: TENSORS[name](columns) for name in tensors})

    spec = ModelSpec(
        name="returns",
        title="Returns",
        owner="tests",
        dataset="visits",
        task="binary",
        classes=("no", "yes"),
        label="returns",
        inputs=inputs,
        gate=GateSpec(floors={"log_loss": 0.7}),
    )
    features: Any = SimpleNamespace(fit=fit, encode=lambda encoder, columns: encoder.encode(columns))
    return Trial(spec, DATASET, features, network, rows_like(spec, DATASET))


def tensors_of(trial: Trial, rows: int) -> dict[str, torch.Tensor]:
    """What the network gets of so many rows."""
    encoded = trial.tensors(trial.columns(rows_like(trial.spec, DATASET, rows, seed=7)))
    return {name: torch.from_numpy(values) for name, values in encoded.items()}


def trained(trial: Trial, steps: int) -> Sequence[float]:
    """The losses of some steps on rows whose labels follow from nothing: they can be learnt by heart."""
    network, inputs = trial.learned.module.train(), tensors_of(trial, 12)
    labels = torch.arange(12) % 2
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = network.training_loss(inputs, labels)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    network.eval()
    return losses


@pytest.mark.parametrize("part", PARTS)
def test_a_part_learns_the_same_each_time_and_is_exported(part: str, tmp_path: Path) -> None:
    """MO-01, MO-22: Its loss falls, by the same bits when it is done again; ONNX computes what it learnt, of 1, 7 and 100 rows."""
    trial = tried(part)
    losses = trained(trial, 20)
    assert losses[-1] < losses[0] - 0.02
    again = tried(part)
    assert trained(again, 20) == losses
    weights = [list(one.learned.module.parameters()) for one in (trial, again)]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))

    trial.learned.write_onnx(tmp_path / "model.onnx", trial.tensors(trial.own))
    session = open_session(tmp_path / "model.onnx")
    for rows in (1, 7, 100):
        tensors = {name: values.numpy() for name, values in tensors_of(trial, rows).items()}
        exported = run_session(session, tensors)
        assert exported.shape == (rows, 2)
        assert np.abs(exported - trial.scores(tensors)).max() <= TOLERANCE


@pytest.mark.parametrize("part", PARTS)
def test_a_part_keeps_every_promise(part: str) -> None:
    """MO-02: As every model must that is made of it."""
    assert broken_promises(tried(part)) == []


@pytest.mark.parametrize("part", ["lstm", "gru of two layers"])
def test_what_stands_behind_a_list_changes_nothing(part: str) -> None:
    """MO-01: Whatever the numbers are where the list has none."""
    network = tried(part).learned.module
    spent = tensors_of(tried(part), 30)["spent"]
    behind = spent.clone()
    behind[:, 0][spent[:, 1] == 0] = 5.0
    assert not torch.equal(behind, spent)
    with torch.inference_mode():
        assert torch.equal(network.reads(*steps_of(behind)), network.reads(*steps_of(spent)))
        assert not network.reads(*steps_of(torch.zeros(1, 2, 4))).any()  # of an empty list nothing is known


@pytest.mark.parametrize("part", ["lstm of words", "transformer"])
def test_what_padding_is_embedded_as_changes_nothing(part: str) -> None:
    """MO-01: A text is read the same however far its row is filled up; an empty one is zeros, not NaN."""
    network = tried(part).learned.module
    remark = tensors_of(tried(part), 30)["remark"]
    assert (remark == 0).any(dim=1).sum() > 10
    with torch.inference_mode():
        before = network(remark)
        words = network.words if part == "lstm of words" else network.reads.words
        words.weight[0] = torch.randn(words.weight.shape[1])
        assert torch.allclose(network(remark), before, atol=1e-6)
        assert torch.equal(network(torch.zeros(1, 6, dtype=torch.int64)), network.head.bias[None])


def test_words_are_read_in_their_order() -> None:
    """MO-01: "Not bad, good" is not "not good, bad": both kinds of reader know where a word stands."""
    for part in ("lstm of words", "transformer"):
        network = tried(part).learned.module
        with torch.inference_mode():
            assert not torch.allclose(network(torch.tensor([[2, 3, 4, 0, 0, 0]])), network(torch.tensor([[2, 4, 3, 0, 0, 0]])), atol=1e-5)


def test_a_code_of_many_values_gets_a_wider_embedding() -> None:
    """MO-01: Half as many numbers as there are codes, and never more than asked for."""
    assert [embedding.embedding_dim for embedding in Embeddings([2, 5, 100], widest=6).of_columns] == [2, 3, 6]
