"""How fast the trainer is beside a loop written by hand: samples per second, by turns, medians.

Both train the same model on the same rows, shuffled and augmented, with the same optimiser. Of the trainer its batches and steps count, as
it notes them, with all that Lightning does between them; of the loop all that it does. Validation, checkpoints and the start are left out.

By `--turns 5 --epochs 2` on two cores with other work: digits .842 of the loop's speed, flight_delays .971.

$ python benchmarks/training_speed.py
$ python benchmarks/training_speed.py --gpus 1 --precision bf16-mixed --turns 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from perennial import discovery
from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.batches import Rows, rows_of
from perennial.training.trainer import Checkpoints, train

DAYS = {"digits": (date(2024, 1, 1), date(2024, 1, 18)), "flight_delays": (date(2013, 1, 1), date(2013, 1, 14))}
ROWS = {"digits": 8_000, "flight_delays": 40_000}


def prepared(name: str, rows: int) -> tuple[Encoder, Rows, Rows]:
    """Encoder and rows of a model's example data, repeated to so many; the validation rows are few, for they are not what is measured."""
    spec, features = discovery.model(name), discovery.model_part(name, "features")
    source = discovery.dataset_module(spec.dataset)
    frame = pa.concat_tables([table for _, table in source.land(*DAYS[name])]).to_pandas()
    columns = {column: frame[column].to_numpy() for column in frame.columns}
    labels = features.label(columns)
    known = np.flatnonzero(~np.isnan(labels))
    inputs = {column: columns[column][known] for column in spec.inputs}
    encoder = features.fit(inputs)
    encoded, places = features.encode(encoder, inputs), np.resize(np.arange(len(known)), rows)
    training = rows_of(spec, {tensor: values[places] for tensor, values in encoded.items()}, labels[known][places])
    return encoder, training, rows_of(spec, {tensor: values[:256] for tensor, values in encoded.items()}, labels[known][:256])


def by_hand(spec: ModelSpec, encoder: Encoder, rows: Rows, epochs: int) -> float:
    """Seconds that a plain loop takes."""
    device = torch.device("cuda" if spec.compute.gpus else "cpu")
    torch.set_num_threads(spec.compute.cpus)
    torch.manual_seed(0)
    model = discovery.model_part(spec.name, "model").Model(encoder, spec).to(device).train()
    rows, optimizer, chance = rows.to(device), model.configure_optimizers(), torch.Generator(device)
    mixed = {"32": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}[spec.training.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=mixed is torch.float16)
    _wait(device)
    since = time.perf_counter()
    for _ in range(epochs):
        for places in torch.randperm(len(rows)).to(device).split(spec.training.batch_size):
            optimizer.zero_grad()
            with torch.autocast(device.type, mixed, enabled=mixed is not None):
                inputs = model.augment({tensor: values[places] for tensor, values in rows.inputs.items()}, chance)
                loss = model.training_loss(inputs, rows.labels[places])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    _wait(device)
    return time.perf_counter() - since


def by_trainer(spec: ModelSpec, encoder: Encoder, rows: Rows, validation: Rows, epochs: int) -> float:
    """Seconds that the trainer takes for its batches and steps."""
    with tempfile.TemporaryDirectory() as scratch:
        trained = train(
            spec,
            model_class=discovery.model_part(spec.name, "model").Model,
            encoder=encoder,
            training=rows,
            validation=validation,
            checkpoints=Checkpoints(Path(scratch)),
            max_epochs=epochs,
        )
    return trained.seconds["batches"] + trained.seconds["steps"]


def measured(name: str, *, gpus: int = 0, precision: str = "32", turns: int = 5, epochs: int = 4, rows: int = 0) -> dict[str, float]:
    """Samples per second of both, and the share of the loop's speed that the trainer has: the median of all turns."""
    spec = discovery.model(name)
    training = spec.training.model_copy(update={"precision": precision, "patience": 1000})
    compute = spec.compute.model_copy(update={"gpus": gpus, "cpus": 1 if not gpus else spec.compute.cpus})
    spec = spec.model_copy(update={"training": training, "compute": compute})
    encoder, known, validation = prepared(name, rows or ROWS[name])
    by_hand(spec, encoder, known, 1)
    by_trainer(spec, encoder, known, validation, 1)
    taken: dict[str, list[float]] = {"loop": [], "trainer": []}
    for _ in range(turns):
        taken["loop"].append(by_hand(spec, encoder, known, epochs))
        taken["trainer"].append(by_trainer(spec, encoder, known, validation, epochs))
    samples = len(known) * epochs
    shares = [loop / trainer for loop, trainer in zip(taken["loop"], taken["trainer"], strict=True)]
    return {which: samples / statistics.median(each) for which, each in taken.items()} | {"share": statistics.median(shares)}


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--precision", default="32", choices=["32", "bf16-mixed", "16-mixed"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    given = vars(parser.parse_args())
    for name in ROWS:
        figures = measured(name, **given)
        print(
            f"{name}: {figures['trainer']:,.0f} samples/s by the trainer, {figures['loop']:,.0f} by hand, "
            f"{figures['share']:.3f} of it (median of {given['turns']} turns)"
        )


def _wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
