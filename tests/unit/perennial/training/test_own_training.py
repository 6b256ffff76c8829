"""Training as people expect it: a loss, metric, optimiser, schedule or augmentation of one's own, weights, precision and accumulation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from perennial.encoding import Encoder
from perennial.errors import Fault, StoredDataDamaged, TrainingRefused
from perennial.specs import ComputeSpec, ModelSpec
from perennial.training.batches import Rows
from perennial.training.checkpoints import Checkpoints
from perennial.training.module import TaskModule
from perennial.training.row_weights import row_weights
from perennial.training.trainer import Trained, fit_on_device, train
from perennial.training.warm_start import weights_of

ToySpec = Callable[..., ModelSpec]
ToyRows = Callable[[ModelSpec], tuple[Encoder, Rows, Rows]]
Run = Callable[..., Trained]
Model = type[TaskModule]
SCHEDULED = torch.optim.lr_scheduler


@pytest.fixture
def run(toy_model: Model, toy_rows: ToyRows, tmp_path: Path) -> Run:
    """Train the toy, with a model and training rows of one's own where given."""

    def go(spec: ModelSpec, model: Model = toy_model, where: str = "", weights: torch.Tensor | None = None, **given: Any) -> Trained:
        spec = spec.model_copy(update={"compute": ComputeSpec(cpus=1)})  # threads that wait for each other are slow beside other tests
        encoder, first, second = toy_rows(spec)
        rows = Rows(first.inputs, first.labels, weights)
        folder = tmp_path / (where or f"run{len(list(tmp_path.iterdir()))}")
        return train(spec, model_class=model, encoder=encoder, training=rows, validation=second, checkpoints=Checkpoints(folder), **given)

    return go


def with_methods(base: Model, **methods: Any) -> Model:
    """The model with some of its methods overridden."""
    return type("Own", (base,), methods)


def same_weights(one: Trained, other: Trained) -> bool:
    """Whether two trainings gave the same weights to the last bit."""
    first, second = one.module.state_dict(), other.module.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


class Power(RuntimeError):
    """The machine went away."""


def dies_in(epoch: int) -> Callable[[TaskModule], None]:
    """What a model does at the beginning of an epoch if the machine goes away then."""

    def dies(self: TaskModule) -> None:
        if self.current_epoch == epoch:
            raise Power

    return dies


def resumed_equals_alone(run: Run, spec: ModelSpec, model: Model) -> bool:
    """Whether a training that was killed in its fourth epoch and goes on gives what one gives that was left alone."""
    alone = run(spec, model, "alone")
    with pytest.raises(Power):
        run(spec, with_methods(model, on_train_epoch_start=dies_in(3)), "killed")
    resumed = run(spec, model, "killed")
    assert resumed.resumed_from == 3
    return same_weights(alone, resumed) and alone.history == resumed.history


def test_without_any_of_it_training_is_a_plain_loop(run: Run, toy_spec: ToySpec, toy_model: Model, toy_rows: ToyRows) -> None:
    """MO-15: What the spec does not ask for leaves every bit of the weights as a loop written by hand gives them."""
    spec = toy_spec(max_epochs=3)
    trained = run(spec)
    encoder, rows, validation = toy_rows(spec)
    torch.manual_seed(spec.training.seed)
    module = toy_model(encoder, spec)
    optimizer, states = torch.optim.AdamW(module.parameters(), lr=0.02, weight_decay=1e-2), []
    for epoch in range(3):
        torch.manual_seed(5 * 1_000_003 + epoch * 1009)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(5 * 1_000_003 + epoch))
        for places in torch.split(order, 32):
            optimizer.zero_grad()
            logits = module.train()(**{name: values[places] for name, values in rows.inputs.items()})
            functional.cross_entropy(logits, rows.labels[places]).backward()
            optimizer.step()
        with torch.inference_mode():
            loss = functional.cross_entropy(module.eval()(**validation.inputs), validation.labels)
        states.append((float(loss), {name: value.clone() for name, value in module.state_dict().items()}))
    best = min(states, key=lambda state: state[0])[1]
    assert all(torch.equal(best[name], value) for name, value in trained.module.state_dict().items())


def test_a_metric_of_ones_own_may_choose_the_epoch(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """MO-03: It is in the history, over all validation rows at once, and the epoch with its highest value is kept."""

    def metrics(self: TaskModule, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        assert len(labels) == 120
        return {"luck": (self.current_epoch - 1.0) ** 2 * -torch.ones(())}

    spec = toy_spec(max_epochs=6, patience=2, monitor="validation_luck", mode="max")
    own = run(spec, with_methods(toy_model, metrics=metrics), "own")
    assert [epoch["validation_luck"] for epoch in own.history] == [-1, 0, -1, -4]
    assert same_weights(own, run(toy_spec(max_epochs=2)))


def test_what_is_watched_must_be_logged(run: Run, toy_spec: ToySpec) -> None:
    """MO-03: Else a sentence names what is."""
    with pytest.raises(
        TrainingRefused, match=r"watched by validation_f1 \(training.monitor\), and its model logs train_loss, validation_loss"
    ):
        run(toy_spec(monitor="validation_f1"))


def test_a_loss_of_ones_own(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """MO-03: It is minimised, and the loss that the epoch is chosen by is the same one."""

    def loss(self: TaskModule, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.multi_margin_loss(logits, labels)

    spec = toy_spec()
    trained = run(spec, with_methods(toy_model, loss=loss))
    assert not same_weights(trained, run(spec))
    assert min(epoch["validation_loss"] for epoch in trained.history) < 0.5  # cross entropy does not get there


def optimised(how: str) -> Callable[[TaskModule], Any]:
    """A `configure_optimizers`, by what it returns."""

    def configure(self: TaskModule) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)
        other = torch.optim.SGD(self.parameters(), lr=0.5)
        plateau = SCHEDULED.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.2)
        steps = SCHEDULED.StepLR(optimizer, 1, gamma=0.5)
        return {
            "steps": {"optimizer": optimizer, "lr_scheduler": steps},
            "each batch": {"optimizer": optimizer, "lr_scheduler": {"scheduler": steps, "interval": "step"}},
            "lists": ([optimizer], [steps]),
            "one in a list": [optimizer],
            "plateau": {"optimizer": optimizer, "lr_scheduler": plateau},
            "plateau by": {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "train_loss"}},
            "plateau by nothing": {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "validation_f1"},
            "two": [optimizer, other],
            "two schedules": ([optimizer], [steps, steps]),
            "none": None,
        }[how]

    return configure


@pytest.mark.parametrize(
    ("how", "rates"),
    [
        ("steps", [0.25, 0.125, 0.0625]), ("lists", [0.25, 0.125, 0.0625]), ("each batch", [0.5**11, 0.5**21, 0.5**31]),
        ("one in a list", [0.5, 0.5, 0.5]),
    ],
)  # fmt: skip
def test_an_optimiser_and_a_schedule_of_ones_own(run: Run, toy_spec: ToySpec, toy_model: Model, how: str, rates: list[float]) -> None:
    """MO-03: In every form in which Lightning takes them; the history has the rate after each epoch."""
    trained = run(toy_spec(max_epochs=3), with_methods(toy_model, configure_optimizers=optimised(how)))
    assert [epoch["learning_rate"] for epoch in trained.history] == pytest.approx(rates, rel=1)
    assert len({epoch["learning_rate"] for epoch in trained.history}) == len(set(rates))


@pytest.mark.parametrize("how", ["plateau", "plateau by", "steps"])
def test_a_schedule_goes_on_where_it_was(run: Run, toy_spec: ToySpec, toy_model: Model, how: str) -> None:
    """DE-22, MO-15: ReduceLROnPlateau watches what the spec watches unless told otherwise, and a resumed training misses no step of it."""
    spec, model = toy_spec(max_epochs=6, patience=6), with_methods(toy_model, configure_optimizers=optimised(how))
    assert resumed_equals_alone(run, spec, model)
    rates = [epoch["learning_rate"] for epoch in run(spec, model, "alone").history]
    assert rates[-1] < rates[0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("two", "toy's configure_optimizers gives 2 optimisers: return one optimiser"),
        ("two schedules", "gives 2 schedules: return one"),
        ("none", "gives a NoneType"),
        ("plateau by nothing", "ReduceLROnPlateau watches validation_f1, and the model logs train_loss, validation_loss: name one"),
    ],
)
def test_optimisers_that_it_does_not_train_with_are_a_sentence(run: Run, toy_spec: ToySpec, toy_model: Model, how: str, words: str) -> None:
    """MO-03: What it takes stands in it."""
    with pytest.raises(TrainingRefused, match=words):
        run(toy_spec(), with_methods(toy_model, configure_optimizers=optimised(how)))


def without_chance(base: Model) -> Model:
    """The model without dropout."""

    def init(self: TaskModule, encoder: Encoder, spec: ModelSpec) -> None:
        base.__init__(self, encoder, spec)
        self.layers[2].p = 0.0  # type: ignore[union-attr, operator, index]

    return with_methods(base, __init__=init)


def test_accumulated_steps_are_whole_steps(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """MO-03: The rows of a step in four parts give the weights that they give at once, but for rounding."""
    model = without_chance(toy_model)
    once, parts = run(toy_spec(), model), run(toy_spec(accumulate=4), model)
    assert not same_weights(once, parts)
    for name, value in once.module.state_dict().items():
        assert torch.allclose(value, parts.module.state_dict()[name], atol=2e-3), name


def test_gradients_are_clipped(run: Run, toy_spec: ToySpec) -> None:
    """MO-03: By the spec as by the hyperparameter that it was; a limit that nothing reaches changes nothing."""
    rate = {"learning_rate": 0.02}
    by_spec, by_hyperparameter = run(toy_spec(gradient_clip=0.1)), run(toy_spec(hyperparameters={**rate, "gradient_clip": 0.1}))
    assert same_weights(by_spec, by_hyperparameter)
    assert not same_weights(by_spec, run(toy_spec()))


def test_mixed_precision(run: Run, toy_spec: ToySpec) -> None:
    """MO-03: Layers compute with 16 bits, so the weights differ a little; weights and what is exported have 32."""
    mixed, plain = run(toy_spec(precision="bf16-mixed")), run(toy_spec())
    assert not same_weights(mixed, plain)
    assert {value.dtype for value in mixed.module.state_dict().values()} == {torch.float32}
    assert mixed.history[-1]["validation_loss"] == pytest.approx(plain.history[-1]["validation_loss"], abs=0.05)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("members", [(), (3,)])
def test_weights_count_rows_as_often(toy_spec: ToySpec, toy_model: Model, toy_rows: ToyRows, task: str, members: tuple[int, ...]) -> None:
    """MO-03: The loss of rows that weigh 0, 1 and 2 is that of the same rows left out, once and twice; in validation all weigh the same."""
    spec = toy_spec(task)
    encoder, rows, _ = toy_rows(spec)
    module, labels = toy_model(encoder, spec), rows.labels[:30]
    logits = torch.randn(*members, 30, len(spec.classes) or 1)
    times = torch.arange(30) % 3
    repeated = torch.repeat_interleave(torch.arange(30), times)
    module.row_weights = times.float()
    assert torch.allclose(module.train().loss(logits, labels), module.eval().loss(logits[..., repeated, :], labels[repeated]))
    whole = module.loss(logits, labels)
    module.row_weights = None
    assert whole == module.loss(logits, labels)


def test_weights_reach_the_loss(run: Run, toy_spec: ToySpec, toy_model: Model, toy_rows: ToyRows) -> None:
    """MO-03: Rows that weigh nothing teach nothing: their labels may be any."""
    spec = toy_spec()
    labels = toy_rows(spec)[1].labels
    weights = torch.where(labels == 1, 2.0, 0.0)
    trained = run(spec, weights=weights)
    _, _, validation = toy_rows(spec)
    with torch.inference_mode():
        assert (trained.module(**validation.inputs).argmax(dim=1) == 1).all()


def test_weights_of_rows(toy_spec: ToySpec) -> None:
    """MO-03: Balanced classes weigh equally much together; a column and weights by class multiply; the mean is 1."""
    labels, frame = np.array([0, 0, 0, 1.0]), pd.DataFrame({"care": [1, 1, 2, 4]})
    assert row_weights(toy_spec(), frame, labels) is None
    for given, wanted in (
        ({"class_weights": "balanced"}, [2 / 3, 2 / 3, 2 / 3, 2]),
        ({"sample_weight": "care"}, [0.5, 0.5, 1, 2]),
        ({"class_weights": {"no": 2.0, "yes": 1.0}, "sample_weight": "care"}, [2 / 3, 2 / 3, 4 / 3, 4 / 3]),
    ):
        weights = row_weights(toy_spec(**given), frame, labels)
        assert weights is not None
        assert weights.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, None, 2, 1], r"toy cannot weigh its rows by care: it is missing, below zero or infinite in 1 of 4 training rows"),
        ([1, -1, np.inf, 1], r"in 2 of 4 training rows"),
        ([0, 0, 0, 0], r"it is zero in all of them"),
    ],
)
def test_rows_without_a_weight_are_a_sentence(toy_spec: ToySpec, values: list[float | None], words: str) -> None:
    """MO-03: None is guessed."""
    with pytest.raises(TrainingRefused, match=words):
        row_weights(toy_spec(sample_weight="care"), pd.DataFrame({"care": values}), np.zeros(4))


def test_augmentation_touches_training_rows_alone(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """DM-05: Every training row passes in every epoch and no other does; a resumed or repeated training sees the same."""
    passed: list[int] = []

    def augment(self: TaskModule, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        passed.append(len(inputs["numbers"]))
        noise = torch.randn(inputs["numbers"].shape, generator=generator, device=generator.device)
        return inputs | {"numbers": inputs["numbers"] + noise}

    model, spec = with_methods(toy_model, augment=augment), toy_spec()
    assert resumed_equals_alone(run, spec, model)
    passed.clear()
    again = run(spec, model, "again")
    assert sum(passed) == 300 * 4
    assert same_weights(again, run(spec, model, "alone"))
    assert not same_weights(again, run(spec))


def hungry(base: Model, most: int, fails: Callable[[], Any]) -> Model:
    """A model for whose loss so many rows are too many."""

    def training_loss(self: TaskModule, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        if len(labels) > most:
            fails()
        return self.loss(self(**inputs), labels)

    return with_methods(base, training_loss=training_loss)


def too_large() -> None:
    """Ask torch for more memory than there is in the world."""
    torch.empty(2**58)


def no_memory() -> None:
    """What Python says."""
    raise MemoryError


@pytest.mark.parametrize("fails", [too_large, no_memory])
def test_a_batch_that_is_too_large_is_halved_once(
    run: Run, toy_spec: ToySpec, toy_model: Model, fails: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """MO-23: The same steps in twice as many parts, said in the log and in what comes out; resumed, it stays so."""
    spec, model = toy_spec(), hungry(toy_model, 16, fails)
    trained = run(spec, model, "alone")
    assert trained.accumulate == 2
    assert "The memory of this machine does not suffice to train toy with 32 rows at a time. The training starts again" in caplog.text
    assert same_weights(trained, run(toy_spec(accumulate=2)))
    assert resumed_equals_alone(run, spec, model)


def test_too_little_memory_is_a_sentence(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """MO-23: After one smaller batch, or where there is no smaller one; any other error is what it is."""
    words = r"does not suffice to train toy with 16 rows at a time\. Raise compute.memory_gb, lower training.batch_size, or raise"
    with pytest.raises(Fault, match=words):
        run(toy_spec(), hungry(toy_model, 8, too_large))
    with pytest.raises(Fault, match="with 1 rows at a time"):
        run(toy_spec(batch_size=1), hungry(toy_model, 0, no_memory))
    with pytest.raises(Power):
        run(toy_spec(), with_methods(toy_model, on_train_epoch_start=dies_in(0)))


def test_a_training_that_hangs_ends_with_a_sentence(run: Run, toy_spec: ToySpec, toy_model: Model) -> None:
    """MO-23: It may be tried again."""

    def hangs(self: TaskModule) -> None:
        if self.current_epoch == 1:
            time.sleep(200)

    with pytest.raises(Fault, match=r"toy's training made no step for 0.02 minutes \(training.stall_minutes\)"):
        run(toy_spec(stall_minutes=0.02), with_methods(toy_model, on_train_epoch_start=hangs))


def test_without_a_compiler_nothing_is_compiled(run: Run, toy_spec: ToySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-03: It is said before the training begins; another machine may have one."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Fault, match=r"toy asks for training\.compile, and this machine has no compiler no-such-compiler: install it"):
        run(toy_spec(compile=True))


def test_the_training_step_is_compiled(run: Run, toy_spec: ToySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-03: The loss that training minimises, whatever the model makes of it; what is exported is the plain model."""
    monkeypatch.setenv("CXX", "true")
    compiled: list[Any] = []

    def compiles(function: Any) -> Any:
        compiled.append(function.__func__)
        return function

    monkeypatch.setattr(torch, "compile", compiles)
    trained = run(toy_spec(compile=True))
    assert compiled == [TaskModule.training_loss]
    assert same_weights(trained, run(toy_spec()))
    assert not {"training_loss", "configure_optimizers"} & set(vars(trained.module))


def test_what_cannot_be_compiled_is_a_sentence(run: Run, toy_spec: ToySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-03: With what torch said first."""
    monkeypatch.setenv("CXX", "true")

    def breaks(*_: Any) -> None:
        raise torch._dynamo.exc.Unsupported("data-dependent branch\nand more")

    monkeypatch.setattr(torch, "compile", lambda _: breaks)
    with pytest.raises(TrainingRefused, match=r"torch.compile cannot compile toy's training_loss \(data-dependent branch\): unset"):
        run(toy_spec(compile=True))


def test_rows_stay_on_the_device_where_they_fit(toy_spec: ToySpec, toy_rows: ToyRows) -> None:
    """OP-06: Where they take less than half of the free memory; weights are counted, and go along."""
    _, first, second = toy_rows(toy_spec())
    free = 2 * (first.bytes + second.bytes)
    assert fit_on_device(first, second, free + 1)
    assert not fit_on_device(first, second, free)
    weighed = Rows(first.inputs, first.labels, torch.ones(len(first)))
    assert weighed.bytes == first.bytes + 4 * len(first)
    there = weighed.to(torch.device("meta"))
    assert {values.device.type for values in (*there.inputs.values(), there.labels, there.weights) if values is not None} == {"meta"}


def test_the_seconds_of_a_training_are_told(run: Run, toy_spec: ToySpec, caplog: pytest.LogCaptureFixture) -> None:
    """OP-06: Of what it did."""
    caplog.set_level(logging.INFO)
    seconds = run(toy_spec()).seconds
    assert set(seconds) == {"batches", "steps", "validation", "checkpoints"}
    assert min(seconds.values()) > 0


def test_a_warm_start_begins_where_the_champion_ended(run: Run, toy_spec: ToySpec, caplog: pytest.LogCaptureFixture) -> None:
    """MO-15: Its first epoch is better than a cold one's; resumed or not and again it gives the same; what does not fit is random."""
    caplog.set_level(logging.INFO, logger="perennial")
    spec = toy_spec()
    cold = run(spec)
    warm = run(spec, begins_with=weights_of(cold.module))
    assert "Begins with 5 of 5 tensors" in caplog.text
    assert warm.history[0]["train_loss"] < cold.history[0]["train_loss"]
    assert same_weights(warm, run(spec, begins_with=weights_of(cold.module)))
    classes = run(toy_spec("multiclass"), begins_with=weights_of(cold.module))
    assert "Begins with 3 of 5 tensors" in caplog.text
    assert not same_weights(classes, run(toy_spec("multiclass")))
    assert weights_of(cold.module) == weights_of(run(spec).module)
    with pytest.raises(StoredDataDamaged, match="cannot be read"):
        run(spec, begins_with=b"no weights")


def test_a_budget_ends_a_training_and_counts_all_its_tries(run: Run, toy_spec: ToySpec) -> None:
    """MO-23, DE-22: Its checkpoint stays; with a larger budget it goes on, counts what was used before, and gives the same."""
    told: list[tuple[float, int, int]] = []

    def spent(seconds: float, epochs: int, limit: int) -> None:
        told.append((seconds, epochs, limit))
        if epochs == 2:
            raise TrainingRefused("The budget is used up.")

    spec = toy_spec()
    alone = run(spec)
    with pytest.raises(TrainingRefused, match="The budget is used up"):
        run(spec, where="ended", spent=spent)
    assert [epochs for _, epochs, _ in told] == sorted(epochs for _, epochs, _ in told)
    assert told[-1][1:] == (2, 4)
    before = told[-1][0]
    resumed = run(spec, where="ended", spent=lambda *given: told.append(given))
    assert resumed.resumed_from == 2
    assert same_weights(alone, resumed)
    assert told[-1][0] > before - 1  # a moment after the checkpoint was not kept
    first = next(seconds for seconds, epochs, _ in told[::-1] if epochs == 2)
    assert first > 0
