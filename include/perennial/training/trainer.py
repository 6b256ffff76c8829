"""Training with Lightning, with a checkpoint after each epoch.

Checkpoints are kept on this machine and in the store, so that a killed training resumes here or on another machine.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import pickle
import shutil
import signal
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.accelerators import XLAAccelerator
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed import DistError
from torch.optim.lr_scheduler import ReduceLROnPlateau

from perennial.encoding import Encoder
from perennial.errors import Fault, TrainingRefused
from perennial.specs import ModelSpec
from perennial.training.adapter import Adapted, TheirBatches
from perennial.training.batches import Batches, Rows
from perennial.training.checkpoints import Checkpoints
from perennial.training.module import TaskModule
from perennial.training.processes import process_count
from perennial.training.warm_start import begin_with
from perennial.training.watchdog import Watchdog

log = logging.getLogger("perennial.training")

# So long one node waits for another: for its image to be pulled, or for the first node's upload of a checkpoint.
WAIT = timedelta(minutes=30)

_GLOO = ("gloo", "pair closure")  # what its errors say, mostly with the place in its sources, but not where its patience was over

_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc", "not enough memory")  # of torch's errors
_PRECISION: dict[str, Any] = {"32": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}
_REPLACED = {"configure_optimizers", "training_loss"}  # of a module while it trains

History = list[dict[str, float]]
Spent = Callable[[float, int, int], None]  # seconds of all tries, epochs done, epochs at most; raises where a budget is used up
Told = Callable[[int, int, float, float], None]  # epochs done, epochs at most, seconds of the last one, its validation loss


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    module: TaskModule  # the best epoch's weights; the last one's in a helper process
    epochs: int  # trained in all, before and after a resumption
    history: History  # epoch, train_loss, validation_loss, learning_rate of each epoch
    resumed_from: int  # epochs that a killed training had done before
    main: bool  # False in the helper processes of a training over several devices
    accumulate: int = 1  # parts in which the rows of a step were taken: twice what the spec says where memory was short
    seconds: Mapping[str, float] = field(default_factory=dict)  # of this run: batches, steps, validation, checkpoints


def train(
    spec: ModelSpec,
    *,
    model_class: type[TaskModule],
    encoder: Encoder,
    training: Rows,
    validation: Rows,
    checkpoints: Checkpoints,
    max_epochs: int | None = None,
    told: Told | None = None,
    begins_with: bytes = b"",
    halved: bool = False,
    spent: Spent | None = None,
) -> Trained:
    """Train until `training.monitor` no longer improves; the same inputs give the same weights, resumed or not.

    `told` is called after each epoch, in the first process alone, with how far it is. `begins_with` are weights as `warm_start.weights_of`
    gives them: those that fit take the place of random ones. Where memory does not suffice the training starts
    again, once, with the rows of each step in twice as many parts; with `halved` it begins so, to repeat one that had to.
    `spent` is called before each step and may end the training; its checkpoints stay.

    Raises:
        TrainingRefused: the loss is no number, or the model's optimisers are none that this trains with.
        Fault: this machine has no TPUs or fewer GPUs than the spec asks for, no compiler or too little memory, the training made no
            step for too long, or another node of it went away.
    """
    if spec.compute.accelerator == "tpu" and not XLAAccelerator.is_available():
        raise Fault(
            f"{spec.name} asks for TPUs and this machine shows none (torch_xla finds them): "
            "run it where there are some, or set compute.accelerator in its spec to 'auto'."
        )
    if spec.compute.accelerator != "tpu" and spec.compute.gpus > torch.cuda.device_count():
        raise Fault(
            f"{spec.name} asks for {spec.compute.gpus} GPUs and this machine shows {torch.cuda.device_count()}: "
            "run it where there are enough, or lower compute.gpus in its spec."
        )
    compiler = os.environ.get("CXX", "g++")
    if spec.training.compile and not shutil.which(compiler):
        raise Fault(f"{spec.name} asks for training.compile, and this machine has no compiler {compiler}: install it, or unset compile.")
    torch.set_num_threads(spec.compute.cpus)

    begun = checkpoints.restore()

    def attempt(asked: ModelSpec, *, begun: bool) -> Trained:
        torch.manual_seed(spec.training.seed)
        module = model_class(encoder, asked)
        if begins_with:
            log.info("Begins with %d of %d tensors of the champion's weights; the others do not fit.", *begin_with(module, begins_with))
        return _train(asked, module, training, validation, checkpoints, max_epochs or spec.training.max_epochs, told, spent, begun=begun)

    theirs = issubclass(model_class, Adapted) and model_class.brings_batches()  # nobody here can cut them
    smaller = None if theirs else halved_steps(spec)
    if smaller and (halved or (begun and _was_halved(checkpoints, spec))):
        return attempt(smaller, begun=begun)
    try:
        return attempt(spec, begun=begun)
    except (MemoryError, RuntimeError) as error:
        if not is_memory_short(error):
            raise
        if smaller is None:
            raise Fault(_out_of_memory(spec)) from error
    log.warning(
        "%s The training starts again with the rows of each step in %d parts.", _out_of_memory(spec, ""), smaller.training.accumulate
    )
    checkpoints.remove()
    gc.collect()
    if spec.compute.gpus:
        torch.cuda.empty_cache()
    try:
        return attempt(smaller, begun=checkpoints.restore())
    except (MemoryError, RuntimeError) as error:
        if not is_memory_short(error):
            raise
        raise Fault(_out_of_memory(smaller)) from error


def is_memory_short(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or of a GPU does not suffice."""
    said = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in said for words in _MEMORY)


def halved_steps(spec: ModelSpec) -> ModelSpec | None:
    """The spec with the rows of a step in twice as many parts; None where they cannot be cut further, or several processes train."""
    accumulate = 2 * spec.training.accumulate
    if process_count(spec.compute) > 1 or accumulate > spec.training.batch_size:
        return None
    return spec.model_copy(update={"training": spec.training.model_copy(update={"accumulate": accumulate})})


def _out_of_memory(spec: ModelSpec, advice: str | None = None) -> str:
    where = "of the GPU" if spec.compute.gpus else "of this machine"
    advice = " Raise compute.memory_gb, lower training.batch_size, or raise training.accumulate." if advice is None else advice
    return f"The memory {where} does not suffice to train {spec.name} with {_part_rows(spec):,} rows at a time.{advice}"


def _part_rows(spec: ModelSpec) -> int:
    """Rows that a process takes at a time."""
    return max(1, spec.training.batch_size // process_count(spec.compute) // spec.training.accumulate)


def _was_halved(checkpoints: Checkpoints, spec: ModelSpec) -> bool:
    """Whether the training to resume had been started again with more parts, since memory was short."""
    state = _read(checkpoints.last) or _read(checkpoints.best) or {}
    return any(kept.get("accumulate", spec.training.accumulate) > spec.training.accumulate for kept in state.get("callbacks", {}).values())


def _train(
    spec: ModelSpec,
    module: TaskModule,
    training: Rows,
    validation: Rows,
    checkpoints: Checkpoints,
    limit: int,
    told: Told | None,
    spent: Spent | None,
    *,
    begun: bool,
) -> Trained:
    with _quiet():
        diary = _Diary(spec, limit, told)
        stopping = EarlyStopping(spec.training.monitor, patience=spec.training.patience, mode=spec.training.mode, check_finite=False)
        together = [_EndsWhenAsked()] if process_count(spec.compute) > 1 else []
        saver, plateau = _BestAndLast(checkpoints, spec), _Plateau()
        _prepare(module, spec, plateau)
        data = _Data(spec, training, validation, module)
        stalled = (
            f"{spec.name}'s training made no step for {spec.training.stall_minutes or 0:g} minutes (training.stall_minutes): "
            "look for what its model or its device waits for. Training again goes on after the last finished epoch."
        )
        watchdog = Watchdog(minutes=spec.training.stall_minutes, sentence=stalled)
        trainer = _trainer(
            spec, limit, checkpoints.folder, [diary, stopping, plateau, saver, _Alive(watchdog), _Spending(spent, limit), *together]
        )
        restored, state = (
            _whole(checkpoints, module, {diary.state_key: "history", saver.state_key: "lowest"}, spec) if begun else (None, {})
        )
        if restored:
            log.info("Going on after epoch %d of a training that was interrupted.", state["epoch"] + 1)
        if not _ended(state, stopping, limit):
            with _peers(spec), _compiled(spec), watchdog:
                trainer.fit(module, datamodule=data, ckpt_path=restored, weights_only=True)
        else:
            diary.load_state_dict(state["callbacks"][diary.state_key])
        if trainer.is_global_zero:  # the best epoch's weights are on the first node alone
            module.load_state_dict(_load(checkpoints.best)["state_dict"])
    module.to("cpu").eval()
    for name in _REPLACED & vars(module).keys():
        delattr(module, name)
    module.row_weights = None
    seconds = {"batches": data.seconds, "steps": diary.seconds - data.seconds, "validation": diary.validating, "checkpoints": saver.seconds}
    return Trained(
        module,
        len(diary.history),
        diary.history,
        state.get("epoch", -1) + 1,
        trainer.is_global_zero,
        spec.training.accumulate,
        {name: round(value, 3) for name, value in seconds.items()},
    )


def _trainer(spec: ModelSpec, limit: int, folder: Path, callbacks: list[Callback]) -> Trainer:
    compute = spec.compute
    several = process_count(compute) > 1
    return Trainer(
        accelerator="tpu" if compute.accelerator == "tpu" else "gpu" if compute.gpus else "cpu",
        devices=compute.gpus or 1,
        num_nodes=compute.nodes,
        strategy=DDPStrategy(timeout=WAIT) if several else "auto",
        sync_batchnorm=several and bool(compute.gpus),  # torch has it for GPUs alone
        max_epochs=limit,
        callbacks=callbacks,
        deterministic=True,
        use_distributed_sampler=False,  # Batches cuts the rows itself, so that order follows from seed and epoch
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=spec.training.clip,
        precision=_PRECISION[spec.training.precision],
        accumulate_grad_batches=min(spec.training.accumulate, max(1, spec.training.batch_size // process_count(compute))),
        default_root_dir=folder,
    )


class _Data(LightningDataModule):
    """The batches of this process, reshuffled for each epoch; they lie on the GPU where they fit there."""

    def __init__(self, spec: ModelSpec, training: Rows, validation: Rows, module: TaskModule) -> None:
        super().__init__()
        self.spec, self.training, self.validation, self.module = spec, training, validation, module
        self.augment = module.augment if type(module).augment is not TaskModule.augment else None
        self.batches: list[Batches | TheirBatches] = []

    @property
    def seconds(self) -> float:
        """How long the batches of all training epochs took to be put together."""
        return sum(batches.seconds for batches in self.batches)

    def setup(self, stage: str) -> None:
        trainer = self.trainer
        assert trainer is not None, "Lightning sets it before it asks for batches"
        device = trainer.strategy.root_device
        if device.type == "cuda" and fit_on_device(self.training, self.validation, torch.cuda.mem_get_info(device)[0]):
            self.training, self.validation = self.training.to(device), self.validation.to(device)
            log.info("All rows are on the GPU: %.1f MB.", (self.training.bytes + self.validation.bytes) / 1e6)

    def train_dataloader(self) -> Batches | TheirBatches:
        trainer, training = self.trainer, self.spec.training
        assert trainer is not None, "Lightning sets it before it asks for batches"
        if isinstance(self.module, Adapted) and (theirs := self.module.batches(self.training, trainer.current_epoch)):
            self.batches.append(theirs)
            return theirs
        batches = Batches(
            self.training,
            training.batch_size,
            seed=training.seed,
            epoch=trainer.current_epoch,
            rank=trainer.global_rank,
            world=trainer.world_size,
            parts=training.accumulate,
            augment=self.augment,
        )
        self.batches.append(batches)
        return batches

    def val_dataloader(self) -> Batches:
        return Batches(self.validation, 8192)  # all of it in every process: there is less of it than it costs to share


def fit_on_device(training: Rows, validation: Rows, free: int) -> bool:
    """Whether the rows may stay in a device's memory for the whole training: they take less than half of what is free there, in bytes."""
    return training.bytes + validation.bytes < free / 2


class _Diary(Callback):
    """A line of the log for each epoch; also seeds each epoch, so that a resumed one draws the same random numbers."""

    def __init__(self, spec: ModelSpec, limit: int, told: Told | None = None) -> None:
        self.spec, self.limit, self.seed, self.told = spec, limit, spec.training.seed, told
        self.history: History = []
        self.seconds = self.validating = 0.0
        self._begin = self._validates_since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        here, first = trainer.current_epoch, trainer.strategy.broadcast(trainer.current_epoch)
        if here != first:
            raise Fault(
                f"This node goes on after epoch {here} and the first one after epoch {first}: "
                "another training of the same inputs writes checkpoints. Let it end, then try again."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch * 1009 + trainer.global_rank)
        self._begin = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validates_since = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        took = time.monotonic() - self._validates_since
        self.validating += took
        self.seconds -= took

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule), "it trains nothing else"
        pl_module.log_losses()
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if value.numel() == 1}
        wanted = self.spec.training.monitor
        if wanted not in logged:
            raise TrainingRefused(
                f"{self.spec.name} is to be watched by {wanted} (training.monitor), and its model logs {', '.join(sorted(logged))}: "
                "name one of them, or give it in the model's `metrics`."
            )
        own = sorted(name for name in logged if name.startswith(("validation_", "val_")) and name != "validation_loss")
        figures = {name: logged[name] for name in dict.fromkeys(("train_loss", "validation_loss", *own, wanted))}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        seconds = time.monotonic() - self._begin
        self.seconds += seconds
        epoch = trainer.current_epoch + 1
        self.history.append({"epoch": epoch, **figures, "learning_rate": rate})
        if trainer.is_global_zero:
            losses = ", ".join(f"{name.replace('_', ' ')} {value:.5f}" for name, value in figures.items())
            log.info(
                "Epoch %d of at most %d: %s, learning rate %.2g, %.1f s, at most %.0f s to go.",
                epoch,
                self.limit,
                losses,
                rate,
                seconds,
                seconds * (self.limit - epoch),
            )
            if self.told:
                self.told(epoch, self.limit, seconds, figures["validation_loss"])
        wrong = [name for name, value in figures.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingRefused(
                f"The {wrong[0].replace('_', ' ')} of epoch {epoch} is no number: lower hyperparameters.learning_rate or look "
                "for extreme values in the inputs."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "accumulate": self.spec.training.accumulate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])


class _Plateau(Callback):
    """Steps a ReduceLROnPlateau after each epoch, and keeps its state in the checkpoints.

    Lightning steps it after checkpoints are written, so that a resumed training would miss one step of it.
    """

    def __init__(self) -> None:
        self.schedule: ReduceLROnPlateau | None = None
        self.monitor = ""
        self._kept: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.schedule and self._kept:
            self.schedule.load_state_dict(self._kept)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.schedule is None:
            return
        if self.monitor not in trainer.callback_metrics:
            raise TrainingRefused(
                f"The model's ReduceLROnPlateau watches {self.monitor}, and the model logs {', '.join(sorted(trainer.callback_metrics))}: "
                "name one of them as `monitor` beside the scheduler."
            )
        self.schedule.step(float(trainer.callback_metrics[self.monitor]))

    def state_dict(self) -> dict[str, Any]:
        if self.schedule is None:
            return {}
        # Without the functions in it, so that checkpoints hold numbers alone.
        return {name: value for name, value in self.schedule.state_dict().items() if isinstance(value, (int, float, str, bool, list))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = dict(state_dict)


class _BestAndLast(Checkpoint):
    """`best.ckpt` and `last.ckpt`, each written whole or not at all, each mirrored into the store.

    Lightning's ModelCheckpoint forgets which epoch was the best when a training goes on in another folder.
    """

    def __init__(self, checkpoints: Checkpoints, spec: ModelSpec) -> None:
        self.checkpoints, self.spec = checkpoints, spec
        self.lowest = math.inf
        self.seconds = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        begun = time.monotonic()
        figure = _lower_is_better(self.spec, trainer.callback_metrics)
        if figure < self.lowest:
            self.lowest = figure
            self._save(trainer, self.checkpoints.best)
        self._save(trainer, self.checkpoints.last)
        self.seconds += time.monotonic() - begun

    def _save(self, trainer: Trainer, file: Path) -> None:
        unfinished = file.with_suffix(".unfinished")
        trainer.save_checkpoint(unfinished)
        if trainer.is_global_zero:
            os.replace(unfinished, file)
            self.checkpoints.mirror(file)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest = float(state_dict["lowest"])


class _Alive(Callback):
    """Tells the watchdog of each step."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.watchdog = watchdog

    def on_train_batch_end(self, *_: Any) -> None:
        self.watchdog.beat()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.watchdog.beat()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.watchdog.beat()


class _Spending(Callback):
    """Tells what a training has used, its earlier tries included."""

    def __init__(self, spent: Spent | None, limit: int) -> None:
        self.spent, self.limit = spent, limit
        self.before, self._since = 0.0, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.spent:  # all processes end together
            self.spent(trainer.strategy.broadcast(self._seconds), trainer.current_epoch, self.limit)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.spent and trainer.world_size == 1:
            self.spent(self._seconds, trainer.current_epoch, self.limit)

    @property
    def _seconds(self) -> float:
        return self.before + time.monotonic() - self._since

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = float(state_dict["spent"])


def _lower_is_better(spec: ModelSpec, figures: Mapping[str, Any]) -> float:
    """The figure that is watched, with its sign changed where the higher is better."""
    value = float(figures[spec.training.monitor])
    return value if spec.training.mode == "min" else -value


def _prepare(module: TaskModule, spec: ModelSpec, plateau: _Plateau) -> None:
    """See to it that the model's optimiser is one that this trains with, and let torch compile its loss where the spec says so."""
    configured = module.configure_optimizers

    def configure_optimizers() -> Any:
        return _one_optimizer(configured(), spec, plateau)

    vars(module)["configure_optimizers"] = configure_optimizers
    if spec.training.compile:
        vars(module)["training_loss"] = torch.compile(module.training_loss)


def _one_optimizer(given: Any, spec: ModelSpec, plateau: _Plateau) -> Any:
    """What the model's `configure_optimizers` gave, without a ReduceLROnPlateau, which `plateau` steps.

    Raises:
        TrainingRefused: it is not one optimiser with at most one schedule.
    """
    several = (
        f"{spec.name}'s configure_optimizers gives {{}}: return one optimiser, or {{'optimizer': …, 'lr_scheduler': …}} with one of each."
    )
    schedules: list[Any] = []
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, list) for part in given):
        given, schedules = given
    if isinstance(given, (list, tuple)):
        if len(given) != 1:
            raise TrainingRefused(several.replace("{}", f"{len(given)} optimisers"))
        given = given[0]
    if isinstance(given, torch.optim.Optimizer):
        given = {"optimizer": given}
    if not isinstance(given, dict) or not isinstance(given.get("optimizer"), torch.optim.Optimizer):
        raise TrainingRefused(several.replace("{}", f"a {type(given).__name__}"))
    if "lr_scheduler" in given:
        schedules = [given["lr_scheduler"]]
    if len(schedules) > 1:
        raise TrainingRefused(several.replace("{}", f"{len(schedules)} schedules"))
    if not schedules:
        return {"optimizer": given["optimizer"]}
    told = schedules[0] if isinstance(schedules[0], dict) else {"scheduler": schedules[0]}
    if not isinstance(told.get("scheduler"), ReduceLROnPlateau):
        return {"optimizer": given["optimizer"], "lr_scheduler": told}
    plateau.schedule, plateau.monitor = told["scheduler"], told.get("monitor") or given.get("monitor") or spec.training.monitor
    return {"optimizer": given["optimizer"]}


@contextmanager
def _compiled(spec: ModelSpec) -> Iterator[None]:
    """Say in a sentence that torch could not compile the model."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise TrainingRefused(
            f"torch.compile cannot compile {spec.name}'s training_loss ({str(error).splitlines()[0][:300]}): unset training.compile."
        ) from error


class _EndsWhenAsked(Callback):
    """Lets SIGTERM end one of several processes at once; the others notice and end too.

    Lightning's own handler first tells the others, in the middle of whatever they are telling each other: all of them hang.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _ended(state: dict[str, Any], stopping: EarlyStopping, limit: int) -> bool:
    """Whether the interrupted training had finished its last epoch; one more would make it differ from an uninterrupted one."""
    if state.get("epoch", -1) + 1 >= limit:
        return True
    kept = state.get("callbacks", {}).get(stopping.state_key, {})
    return int(kept.get("wait_count", 0)) >= stopping.patience


def _whole(checkpoints: Checkpoints, module: TaskModule, kept: Mapping[str, str], spec: ModelSpec) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to resume from, with its content: the last one, else that of the best epoch, else none, and training starts again.

    All of them give the same weights in the end, for an epoch follows from the ones before it and the seed.

    Args:
        checkpoints: as restored.
        module: which the weights must fit.
        kept: what each of our callbacks must have kept, by its key.
        spec: says which epoch is the best.
    """
    last, best = (_fitting(file, module, kept) for file in (checkpoints.last, checkpoints.best))
    if last and best:
        return checkpoints.last, last
    if last and _is_best(last, spec):  # its own epoch is the best: nothing is lost
        log.warning("%s is damaged; %s is of the same epoch and takes its place.", checkpoints.best, checkpoints.last.name)
        copy = checkpoints.best.with_name(f"{checkpoints.best.name}.{os.getpid()}.unfinished")
        shutil.copyfile(checkpoints.last, copy)
        os.replace(copy, checkpoints.best)
        return checkpoints.last, last
    if best:
        log.warning("%s is damaged: training goes on from %s.", checkpoints.last, checkpoints.best.name)
        return checkpoints.best, best
    which = "The weights of the best epoch" if last else "Both checkpoints"
    log.warning("%s in %s are damaged: training begins anew.", which, checkpoints.folder)
    return None, {}


def _is_best(state: dict[str, Any], spec: ModelSpec) -> bool:
    """Whether the epoch after which a checkpoint was written is the best one so far."""
    (history,) = (kept["history"] for kept in state["callbacks"].values() if "history" in kept)
    (lowest,) = (kept["lowest"] for kept in state["callbacks"].values() if "lowest" in kept)
    return _lower_is_better(spec, history[-1]) == float(lowest)


def _fitting(file: Path, module: TaskModule, kept: Mapping[str, str]) -> dict[str, Any] | None:
    """The content of a checkpoint; None if it is missing, incomplete or of another model."""
    checkpoint = _read(file)
    if checkpoint is None:
        return None
    wanted, weights = module.state_dict(), checkpoint.get("state_dict")
    if not isinstance(weights, dict) or {n: v.shape for n, v in weights.items()} != {n: v.shape for n, v in wanted.items()}:
        return None
    said = checkpoint.get("callbacks", {})
    whole = (
        isinstance(checkpoint.get("epoch"), int)
        and "optimizer_states" in checkpoint
        and all(word in said.get(key, {}) for key, word in kept.items())
    )
    return checkpoint if whole else None


def _read(file: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None if it is missing or incomplete."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # torch does not look at the checksums
                return None
        checkpoint = _load(file)
    except (FileNotFoundError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
        return None
    return checkpoint if isinstance(checkpoint, dict) else None


def _load(file: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return checkpoint


@contextmanager
def _peers(spec: ModelSpec) -> Iterator[None]:
    """Turn torch's error about a lost node into one sentence; the other nodes end too."""
    try:
        yield
    except RuntimeError as error:
        if process_count(spec.compute) == 1 or not (isinstance(error, DistError) or any(word in str(error) for word in _GLOO)):
            raise
        log.info("%s", str(error).splitlines()[0])
        raise Fault(
            f"This process of {spec.name}'s training lost another node, or waited {WAIT.total_seconds() / 60:g} minutes for it "
            "in vain: its own log says what became of it. Training again goes on after the last finished epoch."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's own log lines and advice out of the task log; the diary logs each epoch."""
    loggers = [
        logging.getLogger(name)
        for name in ("pytorch_lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero", "lightning.pytorch")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch)\b.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
