"""Training with Lightning, with a checkpoint after each epoch.

Checkpoints are kept on this machine and in the store, so that a killed training resumes here or on another machine.
"""

from __future__ import annotations

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
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed import DistError

from perennial.encoding import Encoder
from perennial.errors import Fault, TrainingRefused
from perennial.specs import ModelSpec
from perennial.store import Store
from perennial.training.batches import Batches, Rows
from perennial.training.calibration import Calibration, fit_calibration
from perennial.training.module import TaskModule
from perennial.training.processes import process_count

log = logging.getLogger("perennial.training")

# So long one node waits for another: for its image to be pulled, or for the first node's upload of a checkpoint.
WAIT = timedelta(minutes=30)

_GLOO = ("gloo", "pair closure")  # what its errors say, mostly with the place in its sources, but not where its patience was over

History = list[dict[str, float]]
Told = Callable[[int, int, float, float], None]  # epochs done, epochs at most, seconds of the last one, its validation loss


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    module: TaskModule  # the best epoch's weights; the last one's in a helper process
    calibration: Calibration | None  # none for a regression, nor in a helper process
    epochs: int  # trained in all, before and after a resumption
    history: History  # epoch, train_loss, validation_loss, learning_rate of each epoch
    resumed_from: int  # epochs that a killed training had done before
    main: bool  # False in the helper processes of a training over several devices


class Checkpoints:
    """The checkpoints of one training: in a folder of this machine, and below `prefix` in the store for other machines."""

    def __init__(self, folder: Path, store: Store | None = None, prefix: str = "") -> None:
        self.folder, self.store, self.prefix = folder, store, prefix

    @property
    def last(self) -> Path:
        """The checkpoint from which training resumes after the last finished epoch."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch; resumption needs them too."""
        return self.folder / "best.ckpt"

    def restore(self) -> bool:
        """Whether there are checkpoints to resume from; they are then in the folder.

        Where there is a store, it alone counts: all machines agree on it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.store:
            if not self.store.exists(self._key(self.last)):
                return False
            for file in (self.best, self.last):
                unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")  # several processes of a machine restore at once
                try:
                    self.store.download(self._key(file), unfinished)
                except KeyError:
                    file.unlink(missing_ok=True)
                else:
                    os.replace(unfinished, file)
        return self.last.exists()

    def mirror(self, file: Path) -> None:
        """Copy one checkpoint into the store."""
        if self.store:
            self.store.upload(file, self._key(file))

    def remove(self) -> None:
        """Delete the checkpoints of this training, here and in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.store:
            for checkpoint in list(self.store.list(self.prefix)):
                self.store.delete(checkpoint.key)

    def _key(self, file: Path) -> str:
        return f"{self.prefix}/{file.name}"


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
) -> Trained:
    """Train until the validation loss no longer improves; the same inputs give the same weights, resumed or not.

    `told` is called after each epoch, in the first process alone, with how far it is.

    Raises:
        TrainingRefused: the loss is no number.
        Fault: this machine has fewer GPUs than the spec asks for, or another node of the training went away.
    """
    if spec.compute.gpus > torch.cuda.device_count():
        raise Fault(
            f"{spec.name} asks for {spec.compute.gpus} GPUs and this machine shows {torch.cuda.device_count()}: "
            "run it where there are enough, or lower compute.gpus in its spec."
        )
    limit = max_epochs or spec.training.max_epochs
    begun = checkpoints.restore()
    torch.set_num_threads(spec.compute.cpus)
    torch.manual_seed(spec.training.seed)
    with _quiet():
        module = model_class(encoder, spec)
        diary = _Diary(limit, spec.training.seed, told)
        stopping = EarlyStopping("validation_loss", patience=spec.training.patience, mode="min", check_finite=False)
        together = [_EndsWhenAsked()] if process_count(spec.compute) > 1 else []
        saver = _BestAndLast(checkpoints)
        trainer = _trainer(spec, limit, checkpoints.folder, [diary, stopping, saver, *together])
        restored, state = _whole(checkpoints, module, {diary.state_key: "history", saver.state_key: "lowest"}) if begun else (None, {})
        if restored:
            log.info("Going on after epoch %d of a training that was interrupted.", state["epoch"] + 1)
        if not _ended(state, stopping, limit):
            with _peers(spec):
                trainer.fit(module, datamodule=_Data(spec, training, validation), ckpt_path=restored, weights_only=True)
        else:
            diary.load_state_dict(state["callbacks"][diary.state_key])
        if trainer.is_global_zero:  # the best epoch's weights are on the first node alone
            module.load_state_dict(_load(checkpoints.best)["state_dict"])
    module.to("cpu").eval()
    calibrated = trainer.is_global_zero and spec.task != "regression"
    calibration = fit_calibration(logits_of(module, validation), validation.labels.numpy()) if calibrated else None
    return Trained(module, calibration, len(diary.history), diary.history, state.get("epoch", -1) + 1, trainer.is_global_zero)


def logits_of(module: LightningModule, rows: Rows, size: int = 8192) -> np.ndarray:
    """Logits [rows, classes] of the module with its current weights, float32."""
    with torch.inference_mode():
        return np.concatenate([module(**inputs).numpy() for inputs, _ in Batches(rows, size)])


def _trainer(spec: ModelSpec, limit: int, folder: Path, callbacks: list[Callback]) -> Trainer:
    compute = spec.compute
    several = process_count(compute) > 1
    return Trainer(
        accelerator="gpu" if compute.gpus else "cpu",
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
        gradient_clip_val=float(spec.training.hyperparameters.get("gradient_clip", 0.0)) or None,
        default_root_dir=folder,
    )


class _Data(LightningDataModule):
    """The batches of this process, reshuffled for each epoch."""

    def __init__(self, spec: ModelSpec, training: Rows, validation: Rows) -> None:
        super().__init__()
        self.spec, self.training, self.validation = spec, training, validation

    def train_dataloader(self) -> Batches:
        trainer = self.trainer
        assert trainer is not None, "Lightning sets it before it asks for batches"
        seed, epoch = self.spec.training.seed, trainer.current_epoch
        return Batches(
            self.training, self.spec.training.batch_size, seed=seed, epoch=epoch, rank=trainer.global_rank, world=trainer.world_size
        )

    def val_dataloader(self) -> Batches:
        return Batches(self.validation, 8192)  # all of it in every process: there is less of it than it costs to share


class _Diary(Callback):
    """A line of the log for each epoch; also seeds each epoch, so that a resumed one draws the same random numbers."""

    def __init__(self, limit: int, seed: int, told: Told | None = None) -> None:
        self.limit, self.seed, self.told = limit, seed, told
        self.history: History = []
        self._begin = 0.0

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

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figures: dict[str, float] = {}
        for name in ("train_loss", "validation_loss"):
            figures[name] = float(trainer.callback_metrics[name])
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        seconds = time.monotonic() - self._begin
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
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])


class _BestAndLast(Checkpoint):
    """`best.ckpt` and `last.ckpt`, each written whole or not at all, each mirrored into the store.

    Lightning's ModelCheckpoint forgets which epoch was the best when a training goes on in another folder.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.lowest = math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.lowest:
            self.lowest = loss
            self._save(trainer, self.checkpoints.best)
        self._save(trainer, self.checkpoints.last)

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


def _whole(checkpoints: Checkpoints, module: TaskModule, kept: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to resume from, with its content: the last one, else that of the best epoch, else none, and training starts again.

    All of them give the same weights in the end, for an epoch follows from the ones before it and the seed.

    Args:
        checkpoints: as restored.
        module: which the weights must fit.
        kept: what each of our callbacks must have kept, by its key.
    """
    last, best = (_fitting(file, module, kept) for file in (checkpoints.last, checkpoints.best))
    if last and best:
        return checkpoints.last, last
    if last and _is_best(last):  # its own epoch is the best: nothing is lost
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


def _is_best(state: dict[str, Any]) -> bool:
    """Whether the epoch after which a checkpoint was written is the best one so far."""
    (history,) = (kept["history"] for kept in state["callbacks"].values() if "history" in kept)
    (lowest,) = (kept["lowest"] for kept in state["callbacks"].values() if "lowest" in kept)
    return bool(history[-1]["validation_loss"] == lowest)


def _fitting(file: Path, module: TaskModule, kept: Mapping[str, str]) -> dict[str, Any] | None:
    """The content of a checkpoint; None if it is missing, incomplete or of another model."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:  # torch does not look at the checksums
                return None
        checkpoint = _load(file)
    except (FileNotFoundError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
        return None
    wanted, weights = module.state_dict(), checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or {n: v.shape for n, v in weights.items()} != {n: v.shape for n, v in wanted.items()}:
        return None
    said = checkpoint.get("callbacks", {})
    whole = (
        isinstance(checkpoint.get("epoch"), int)
        and "optimizer_states" in checkpoint
        and all(word in said.get(key, {}) for key, word in kept.items())
    )
    return checkpoint if whole else None


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
