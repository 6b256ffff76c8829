"""The model flight_delays beside gradient-boosted trees, on the same rows, inputs and days.

    python benchmarks/flight_delays_against_boosting.py
    python benchmarks/flight_delays_against_boosting.py --starts 59 236 --seeds 3 --settings 2    # minutes less

Six splits spread evenly over 2013: 56 days to train, the next 7 to validate, the next 7 to test. Both see the same derived columns and
neither sees the test days. The trees are scikit-learn's HistGradientBoostingClassifier; learning rate, leaves, L2, leaf size and number of
trees are those of twelve settings (times up to 300 trees) that have the lowest log loss on the validation days. The network uses the
validation days to stop early and to calibrate; its hyperparameters are those of its spec, which were chosen on other weeks (starting 29
days later). "Calibrated" are the same trees with the network's own calibration: what that alone gives. "Boosted" is the learner of that
name (LightGBM) with the same inputs as plain numbers and codes, fixed hyperparameters, stopped early and calibrated on the validation
days: what a model's folder without a model.py gives. Network and boosted are the medians of several seeds.
Seconds are wall time of everything after the columns are in memory: encoding and training, for the trees the whole search and the chosen
setting alone.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from perennial.encoding import Category, Encoder, Number
from perennial.specs import ModelSpec, TrainingSpec
from perennial.training.batches import rows_of
from perennial.training.calibration import fit_calibration
from perennial.training.checkpoints import Checkpoints
from perennial.training.evaluation import metrics
from perennial.training.learners import Encoded, Lesson
from perennial.training.learners.boosted import learn
from perennial.training.trainer import train
from perennial_datasets.flights import FIRST, LAST, land
from perennial_models.flight_delays import features
from perennial_models.flight_delays.model import Model
from perennial_models.flight_delays.spec import MODEL

TRAIN_DAYS, VALIDATION_DAYS, TEST_DAYS = 56, 7, 7
STARTS = (0, 59, 118, 177, 236, 295)  # day of the year, counted from 0; the last split ends with the year
GRID = tuple(itertools.product((0.03, 0.08), ((15, 20), (15, 200), (31, 200)), (0.0, 10.0)))  # learning rate, (leaves, rows of a leaf), L2
MOST_TREES = 300
BOOSTED = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
}


@dataclass(frozen=True)
class Part:
    """Rows of some days: the model's inputs and whether each flight was late."""

    columns: dict[str, np.ndarray]
    late: np.ndarray


def load() -> pd.DataFrame:
    """Every flight of 2013 that arrived, as the dataset's own file gives them."""
    rows = pd.concat([table.to_pandas() for _, table in land(FIRST, LAST)], ignore_index=True)
    return rows[rows["arr_delay"].notna()].reset_index(drop=True)


def splits(rows: pd.DataFrame, starts: tuple[int, ...]) -> Iterator[tuple[date, Part, Part, Part]]:
    """First test day and train, validation and test part of each split."""
    day = (rows["scheduled_departure"].dt.normalize() - pd.Timestamp(FIRST)).dt.days
    for start in starts:
        edges = np.cumsum([start, TRAIN_DAYS, VALIDATION_DAYS, TEST_DAYS])
        parts = []
        for first, end in itertools.pairwise(edges):
            some = rows[(day >= first) & (day < end)]
            columns = {name: some[name].to_numpy() for name in some.columns}
            parts.append(Part({name: columns[name] for name in MODEL.inputs}, features.label(columns)))
        yield (pd.Timestamp(FIRST) + pd.Timedelta(days=int(edges[2]))).date(), *parts


def boosting(grid: tuple, train_part: Part, validation: Part, test: Part) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Scores of the test rows as they are and calibrated like the network's, seconds of the search, seconds of the chosen setting alone."""
    begin = time.perf_counter()
    tables = [pd.DataFrame(features.derive(part.columns)) for part in (train_part, validation, test)]
    frames = [table[list(dict.fromkeys((*features.NUMBERS, *features.CATEGORIES)))].copy() for table in tables]
    for name in features.CATEGORIES:
        known = pd.Index(frames[0][name].dropna().unique())
        for frame in frames:
            frame[name] = pd.Categorical(frame[name], categories=known)
    lowest, kept, alone = np.inf, (np.empty(0), np.empty(0)), 0.0
    for rate, (leaves, rows), l2 in grid:
        started = time.perf_counter()
        trees = HistGradientBoostingClassifier(
            learning_rate=rate,
            max_leaf_nodes=leaves,
            min_samples_leaf=rows,
            l2_regularization=l2,
            max_iter=MOST_TREES,
            early_stopping=False,
            categorical_features="from_dtype",
            random_state=MODEL.training.seed,
        ).fit(frames[0], train_part.late)
        losses = [metrics("binary", validation.late, scores)["log_loss"] for scores in trees.staged_predict_proba(frames[1])]
        if min(losses) < lowest:
            lowest, chosen = min(losses), int(np.argmin(losses))
            first, second = (next(itertools.islice(trees.staged_predict_proba(frame), chosen, None)) for frame in frames[1:])
            kept, alone = (first, second), time.perf_counter() - started
    calibration = fit_calibration(np.log(kept[0]), validation.late)
    return kept[1], calibration.apply(np.log(kept[1])), time.perf_counter() - begin, alone


def network(spec: ModelSpec, train_part: Part, validation: Part, test: Part) -> tuple[np.ndarray, float]:
    """Scores of the test rows and seconds."""
    begin = time.perf_counter()
    encoder = features.fit(train_part.columns)
    rows = [rows_of(spec, features.encode(encoder, part.columns), part.late) for part in (train_part, validation, test)]
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            spec, model_class=Model, encoder=encoder, training=rows[0], validation=rows[1], checkpoints=Checkpoints(Path(folder))
        )
    with torch.inference_mode():
        logits = [trained.module(**part.inputs).numpy() for part in rows[1:]]
    return fit_calibration(logits[0], validation.late).apply(logits[1]), time.perf_counter() - begin


def boosted(spec: ModelSpec, train_part: Part, validation: Part, test: Part) -> tuple[np.ndarray, float]:
    """Scores of the test rows and seconds."""
    begin = time.perf_counter()
    found = features.derive(train_part.columns)
    encoder = Encoder(
        {
            "numbers": [Number.fit(found, name, nulls=True) for name in features.NUMBERS],
            "categories": [Category.fit(found, name, min_rows=20) for name in features.CATEGORIES],
        }
    )
    rows = [Encoded(features.encode(encoder, part.columns), part.late) for part in (train_part, validation, test)]
    with tempfile.TemporaryDirectory() as folder:
        trees = learn(Lesson(spec, encoder, rows[0], rows[1], Checkpoints(Path(folder))))
    logits = [trees.scores(part.inputs) for part in rows[1:]]
    return fit_calibration(logits[0], validation.late).apply(logits[1]), time.perf_counter() - begin


def seeded(spec: ModelSpec, seed: int) -> ModelSpec:
    """The spec with another seed."""
    return spec.model_copy(update={"training": spec.training.model_copy(update={"seed": seed})})


def figures(late: np.ndarray, scored: list[np.ndarray]) -> np.ndarray:
    """Medians over seeds: log loss, ROC AUC, calibration error."""
    each = [metrics("binary", late, scores) for scores in scored]
    return np.median([[one[name] for name in ("log_loss", "roc_auc", "calibration_error")] for one in each], axis=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, nargs="+", default=STARTS, help="day of the year on which each split begins")
    parser.add_argument("--seeds", type=int, default=3, help="of how many seeds network and boosted are the medians")
    parser.add_argument("--settings", type=int, default=len(GRID), help="how many settings the search of the trees tries")
    asked = parser.parse_args()
    logging.getLogger("perennial").setLevel(logging.WARNING)
    trees_spec = ModelSpec(
        **MODEL.model_dump(exclude={"learner", "training"}), learner="boosted", training=TrainingSpec(hyperparameters=BOOSTED)
    )
    print(f"{'':<26} | {'log loss':<48} | {'ROC AUC':<25} | {'calibration error':<34} | seconds")
    four = f"{'trees':>9}{'calibrated':>11}{'network':>9}{'boosted':>9}"
    print(
        f"{'test week':<12}{'rows':>7}{'late':>7} | {'share only':>10}{four} | {'trees':>7}{'network':>9}{'boosted':>9} |{four[2:]} |"
        f"{'search':>8}{'trees':>7}{'network':>9}{'boosted':>9}"
    )
    found = []
    for first, *parts in splits(load(), tuple(asked.starts)):
        share = float(parts[0].late.mean())
        test = parts[2].late
        grown, calibrated, search, alone = boosting(GRID[: asked.settings], *parts)
        nets = [network(seeded(MODEL, seed), *parts) for seed in range(asked.seeds)]
        made = [boosted(seeded(trees_spec, seed), *parts) for seed in range(asked.seeds)]
        each = [figures(test, scored) for scored in ([grown], [calibrated], [one for one, _ in nets], [one for one, _ in made])]
        constant = metrics("binary", test, np.tile([1 - share, share], (len(test), 1)))["log_loss"]
        losses, areas, errors = np.array(each).T
        seconds = (search, alone, *(float(np.median([took for _, took in several])) for several in (nets, made)))
        found.append((constant, *losses, *areas[[0, 2, 3]], *errors, *seconds))
        _print(str(first), f"{len(parts[0].late):>7}{test.mean():>7.1%}", found[-1])
    _print("mean", " " * 14, tuple(np.mean(found, axis=0)))


def _print(name: str, rows: str, row: tuple[float, ...]) -> None:
    losses = f"{row[0]:>10.4f}{row[1]:>9.4f}{row[2]:>11.4f}{row[3]:>9.4f}{row[4]:>9.4f}"
    errors = f"{row[8]:>7.4f}{row[9]:>11.4f}{row[10]:>9.4f}{row[11]:>9.4f}"
    seconds = f"{row[12]:>8.1f}{row[13]:>7.1f}{row[14]:>9.1f}{row[15]:>9.1f}"
    print(f"{name:<12}{rows} | {losses} | {row[5]:>7.3f}{row[6]:>9.3f}{row[7]:>9.3f} |{errors} |{seconds}", flush=True)


if __name__ == "__main__":
    main()
