"""Training: the same again, resumed or not; it stops when it should and says what it does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from perennial.encoding import Encoder
from perennial.errors import Fault, TrainingRefused
from perennial.specs import ModelSpec
from perennial.store import FolderStore
from perennial.training.batches import Rows
from perennial.training.calibration import Calibration
from perennial.training.checkpoints import Checkpoints
from perennial.training.export import calibration_of
from perennial.training.learners import Encoded
from perennial.training.learners.lightning import Network
from perennial.training.module import TaskModule
from perennial.training.trainer import Trained, _peers, train

ToySpec = Callable[..., ModelSpec]
ToyRows = Callable[[ModelSpec], tuple[Encoder, Rows, Rows]]


@dataclass(frozen=True)
class Toy(Trained):
    """A trained toy, and the calibration that its export would have."""

    calibration: Calibration | None = None


Run = Callable[..., Toy]


@pytest.fixture
def run(toy_model: type[TaskModule], toy_rows: ToyRows, tmp_path: Path) -> Run:
    """Train the toy."""

    def go(spec: ModelSpec, where: str | Checkpoints = "run", **given: Any) -> Toy:
        spec = spec.model_copy(update={"compute": spec.compute.model_copy(update={"cpus": 1})})
        encoder, first, second = toy_rows(spec)
        checkpoints = where if isinstance(where, Checkpoints) else Checkpoints(tmp_path / where)
        asked = {"model_class": toy_model, "encoder": encoder, "training": first, "validation": second, "checkpoints": checkpoints} | given
        trained = train(spec, **asked)
        validation = Encoded(
            {name: values.numpy() for name, values in asked["validation"].inputs.items()}, asked["validation"].labels.numpy()
        )
        return Toy(**vars(trained), calibration=calibration_of(Network(trained.module), validation))

    return go


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    """Copies of all weights."""
    return {name: value.clone() for name, value in trained.module.state_dict().items()}


def same(first: Toy, second: Toy) -> bool:
    """Whether two trainings gave the same to the last bit."""
    one, other = weights(first), weights(second)
    return (
        first.history == second.history
        and first.calibration == second.calibration
        and all(torch.equal(one[name], other[name]) for name in one)
    )


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_task_learns(run: Run, toy_spec: ToySpec, task: str) -> None:
    """MO-03, SY-18: The validation loss falls, told after each epoch; classifiers are calibrated, regressions are not."""
    told: list[tuple[int, int, float, float]] = []
    trained = run(toy_spec(task, max_epochs=6), told=lambda *note: told.append(note))
    assert [(epoch, limit, loss) for epoch, limit, _, loss in told] == [
        (epoch["epoch"], 6, epoch["validation_loss"]) for epoch in trained.history
    ]
    losses = [epoch["validation_loss"] for epoch in trained.history]
    assert min(losses) < losses[0]
    assert (trained.calibration is None) == (task == "regression")
    assert trained.main


def test_the_same_inputs_give_the_same_model(run: Run, toy_spec: ToySpec) -> None:
    """MO-15: To the last bit; another seed gives another one."""
    first = run(toy_spec(), "a")
    assert same(first, run(toy_spec(), "b"))
    assert not same(first, run(toy_spec(seed=6), "c"))


def test_the_best_epoch_is_kept(run: Run, toy_spec: ToySpec, toy_rows: ToyRows) -> None:
    """MO-03: Not the last one: the module's loss is the lowest of the history."""
    spec = toy_spec(max_epochs=12, patience=12, hyperparameters={"learning_rate": 0.3})
    trained = run(spec)
    losses = [epoch["validation_loss"] for epoch in trained.history]
    assert min(losses) < losses[-1]
    _, _, validation = toy_rows(spec)
    with torch.inference_mode():
        found = torch.nn.functional.cross_entropy(trained.module(**validation.inputs), validation.labels)
    assert float(found) == pytest.approx(min(losses), rel=1e-5)


def test_it_stops_early(run: Run, toy_spec: ToySpec) -> None:
    """MO-03: After `patience` epochs without a better loss."""
    trained = run(toy_spec(max_epochs=60, patience=2, hyperparameters={"learning_rate": 0.3}))
    losses = [epoch["validation_loss"] for epoch in trained.history]
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 3


class Power(RuntimeError):
    """The machine went away."""


class Interrupted:
    """A model class that dies at the beginning of an epoch."""

    def __new__(cls, base: type[TaskModule], epoch: int) -> type[TaskModule]:  # type: ignore[misc]
        """The class `base`, but mortal."""

        def dies(self: TaskModule) -> None:
            if self.current_epoch == epoch:
                raise Power

        return type("Mortal", (base,), {"on_train_epoch_start": dies})


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_training_equals_one_left_alone(run: Run, toy_spec: ToySpec, toy_model: type[TaskModule], epoch: int) -> None:
    """DE-22, MO-15: Same weights, same history, no epoch twice, whether the best epoch came before or after."""
    alone = run(toy_spec(), "alone")
    with pytest.raises(Power):
        run(toy_spec(), "killed", model_class=Interrupted(toy_model, epoch))
    resumed = run(toy_spec(), "killed")
    assert resumed.resumed_from == epoch
    assert resumed.epochs == alone.epochs == 4
    assert same(alone, resumed)


def test_a_training_goes_on_when_it_had_only_to_be_sealed(run: Run, toy_spec: ToySpec) -> None:
    """DE-22: Killed after its last epoch, by limit or early stopping, it trains no further and gives the same."""
    for name, spec in (("limit", toy_spec()), ("early", toy_spec(max_epochs=60, patience=2, hyperparameters={"learning_rate": 0.3}))):
        first = run(spec, name)
        again = run(spec, name)
        assert again.resumed_from == first.epochs == again.epochs
        assert same(first, again)


def test_another_machine_goes_on_from_the_store(run: Run, toy_spec: ToySpec, toy_model: type[TaskModule], tmp_path: Path) -> None:
    """DE-22: Checkpoints are mirrored; a machine with an empty folder continues from them, and nothing is left when they are removed."""
    store = FolderStore(str(tmp_path / "store"))
    alone = run(toy_spec(), "alone")
    with pytest.raises(Power):
        run(toy_spec(), Checkpoints(tmp_path / "here", store, "models/toy/runs/k"), model_class=Interrupted(toy_model, 3))
    assert [found.key for found in store.list("models")] == ["models/toy/runs/k/best.ckpt", "models/toy/runs/k/last.ckpt"]
    there = Checkpoints(tmp_path / "there", store, "models/toy/runs/k")
    resumed = run(toy_spec(), there)
    assert resumed.resumed_from == 3
    assert same(alone, resumed)
    there.remove()
    assert not list(store.list("models"))
    assert not (tmp_path / "there").exists()


def truncated(file: Path) -> None:
    """The disk was full."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rubbish(file: Path) -> None:
    """Something else is there."""
    file.write_bytes(b"no checkpoint")


def changed(file: Path) -> None:
    """One bit of a weight is another one, which torch reads without a word."""
    data, state = bytearray(file.read_bytes()), torch.load(file, weights_only=True)
    weight = max(state["state_dict"].values(), key=torch.numel).numpy().tobytes()
    data[data.index(weight) + 3] ^= 1
    file.write_bytes(bytes(data))


def of_another(file: Path) -> None:
    """The weights are those of another model."""
    state = torch.load(file, weights_only=True)
    state["state_dict"] = {name: value[..., :1].clone() for name, value in state["state_dict"].items()}
    torch.save(state, file)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (truncated, "last"), (rubbish, "best last"), (changed, "last"), (changed, "best"), (of_another, "last"), (of_another, "best last"),
        (Path.unlink, "best"),
    ],
)  # fmt: skip
def test_damaged_checkpoints_do_not_stop_a_training(
    run: Run,
    toy_spec: ToySpec,
    toy_model: type[TaskModule],
    tmp_path: Path,
    damage: Callable[[Path], None],
    names: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """DE-22: It says which one is damaged, goes on from what is whole or begins anew, and gives the same as one left alone."""
    spec = toy_spec(max_epochs=3, hyperparameters={"learning_rate": 0.3})
    alone = run(spec, "alone")
    store = FolderStore(str(tmp_path / "store"))
    with pytest.raises(Power):
        run(spec, Checkpoints(tmp_path / "here", store, "k"), model_class=Interrupted(toy_model, 2))
    for name in names.split():
        damage(tmp_path / "store" / "k" / f"{name}.ckpt")
    resumed = run(spec, Checkpoints(tmp_path / "there", store, "k"))
    assert same(alone, resumed)
    assert "damaged" in caplog.text


def test_a_damaged_best_checkpoint_is_made_of_the_last_where_that_is_the_best(
    run: Run, toy_spec: ToySpec, toy_model: type[TaskModule], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DE-22: No epoch is trained twice."""
    alone = run(toy_spec(), "alone")
    losses = [epoch["validation_loss"] for epoch in alone.history]
    assert losses[2] == min(losses[:3])
    with pytest.raises(Power):
        run(toy_spec(), "killed", model_class=Interrupted(toy_model, 3))
    rubbish(tmp_path / "killed" / "best.ckpt")
    resumed = run(toy_spec(), "killed")
    assert resumed.resumed_from == 3
    assert same(alone, resumed)
    assert "best.ckpt is damaged; last.ckpt is of the same epoch and takes its place." in caplog.text


def test_a_damaged_last_checkpoint_goes_on_from_the_best_epoch(
    run: Run, toy_spec: ToySpec, toy_model: type[TaskModule], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DE-22: Not from the beginning."""
    alone = run(toy_spec(), "alone")
    with pytest.raises(Power):
        run(toy_spec(), "killed", model_class=Interrupted(toy_model, 3))
    truncated(tmp_path / "killed" / "last.ckpt")
    resumed = run(toy_spec(), "killed")
    losses = [epoch["validation_loss"] for epoch in alone.history[:3]]
    assert resumed.resumed_from == losses.index(min(losses)) + 1
    assert same(alone, resumed)
    assert "last.ckpt is damaged: training goes on from best.ckpt." in caplog.text


def test_checkpoints_hold_no_code(run: Run, toy_spec: ToySpec, tmp_path: Path) -> None:
    """SC-08: They load with weights_only, so nothing in them can run."""
    run(toy_spec())
    for name in ("best", "last"):
        assert torch.load(tmp_path / "run" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_nothing_else_is_written(run: Run, toy_spec: ToySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-10: Two checkpoints in the folder, and the working folder stays empty."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    run(toy_spec())
    assert not list((tmp_path / "cwd").iterdir())
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_the_log_has_a_line_for_each_epoch(run: Run, toy_spec: ToySpec, caplog: pytest.LogCaptureFixture) -> None:
    """MN-14: With both losses, the learning rate and the time to go."""
    caplog.set_level(logging.INFO, logger="perennial")
    run(toy_spec())
    lines = [message for message in caplog.messages if message.startswith("Epoch ")]
    assert len(lines) == 4
    assert all(word in lines[0] for word in ("Epoch 1 of at most 4", "train loss", "validation loss", "learning rate 0.02", "s to go"))


def test_a_loss_that_is_no_number_ends_with_a_sentence(run: Run, toy_spec: ToySpec, tmp_path: Path) -> None:
    """MN-14: And no checkpoint keeps it."""
    with pytest.raises(TrainingRefused, match=r"loss of epoch 1 is no number: lower hyperparameters\.learning_rate"):
        run(toy_spec(hyperparameters={"learning_rate": 1e30}))
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_run_may_have_fewer_epochs(run: Run, toy_spec: ToySpec) -> None:
    """DE-16: max_epochs overrides the spec's limit."""
    assert run(toy_spec(), max_epochs=2).epochs == 2


def test_label_smoothing_touches_training_alone(run: Run, toy_spec: ToySpec) -> None:
    """MO-03: The validation loss stays the plain cross entropy, or early stopping would follow another figure than the gate."""
    trained = run(toy_spec(max_epochs=1, hyperparameters={"learning_rate": 0.0, "label_smoothing": 0.9}))
    plain = run(toy_spec(max_epochs=1, hyperparameters={"learning_rate": 0.0}), "plain")
    assert trained.history[0]["validation_loss"] == plain.history[0]["validation_loss"]
    assert trained.history[0]["train_loss"] != plain.history[0]["train_loss"]


def test_missing_gpus_are_a_sentence(run: Run, toy_spec: ToySpec) -> None:
    """OP-04: Not a traceback of Lightning; another machine may have them, so it is a fault and not a refusal."""
    spec = toy_spec()
    with pytest.raises(Fault, match=r"toy asks for 64 GPUs and this machine shows \d+: run it where there are enough"):
        run(spec.model_copy(update={"compute": spec.compute.model_copy(update={"gpus": 64})}))
    with pytest.raises(Fault, match=r"toy asks for TPUs and this machine shows none .*: run it where there are some, or set"):
        run(spec.model_copy(update={"compute": spec.compute.model_copy(update={"gpus": 1, "accelerator": "tpu"})}))


@pytest.mark.parametrize(
    "words", ["[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer", "Application timeout caused pair closure"]
)
def test_a_lost_node_is_a_sentence(toy_spec: ToySpec, words: str) -> None:
    """MN-14: However gloo tells it; any other error is what it is."""
    spec = toy_spec()
    spec = spec.model_copy(update={"compute": spec.compute.model_copy(update={"nodes": 2})})
    with pytest.raises(Fault, match="lost another node"), _peers(spec):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="shapes"), _peers(spec):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
