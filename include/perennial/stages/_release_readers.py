"""Asks the champions of the models that read a model's scores what they would answer with those of a candidate. No traffic is needed.

The rows are those of the newest days that a reader's table has. What its champion answers them with the scores of the serving version, and
with those of the candidate, comes from the scorer that serves, as in a batch; both are computed now, so that only the version differs.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import discovery
from perennial.lineage.ledger import Ledger
from perennial.score_datasets import KEY, VERSION
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._release_steps import AskReaders
from perennial.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from perennial.data.snapshots import Snapshot
    from perennial.registry.readers import Reading
    from perennial.settings import Settings

MOST_ROWS = 50_000  # of a reader that are looked at, the newest ones
Keys = Sequence[tuple[Any, ...]]
log = logging.getLogger(__name__)


def readers_of(model: str) -> list[ModelSpec]:
    """The models that read the scores of a model: as their dataset, or joined to it."""
    scored = {name for name, spec in discovery.datasets().items() if spec.scores_of == model}
    return [spec for spec in discovery.models().values() if scored & set(spec.datasets)] if scored else []


def readings_of(settings: Settings, store: Store, spec: ModelSpec, asked: AskReaders) -> list[Reading]:
    """What the champion of each reader makes of a candidate's scores; a reader that serves nothing is left out.

    Args:
        settings: where the serving environment is.
        store: has tables and versions.
        spec: of the model whose candidate it is.
        asked: its versions.

    Raises:
        CandidateRefused: a version does not give the scores here that it gave in training.
        Fault: the serving environment does not run.
    """
    readings = []
    for reader in readers_of(spec.name):
        last = Ledger(store, reader.name).last()
        if last is None or last.champion is None:
            continue
        log.info("%s (version %s) is asked what it makes of the scores of version %s.", reader.name, last.champion, asked.candidate)
        with tempfile.TemporaryDirectory(prefix="perennial-readers-") as scratch:
            question = _Question(settings, store, spec, reader, Path(scratch))
            readings.append(question.reading(asked, last.champion, last.versions[last.champion]))
    return readings


@dataclass(frozen=True)
class _Question:
    settings: Settings
    store: Store
    spec: ModelSpec
    reader: ModelSpec
    scratch: Path

    def reading(self, asked: AskReaders, version: int, digest: str) -> Reading:
        """What one reader's champion makes of the scores of both versions."""
        from perennial.registry.readers import Reading

        def none(why: str) -> Reading:
            return Reading(self.reader.name, version, 0, 0, 0.0, None, self.reader.gate, why)

        read = self._rows()
        if read is None or not read[0].num_rows:
            return none("its table has no rows of the newest days that have scores")
        rows, keys, prefix = read
        folders = {
            "champion": self._fetched(self.spec.name, asked.champion_digest),
            "candidate": self._fetched(self.spec.name, asked.candidate_digest),
        }
        scored = {who: self._scores(folder, keys) for who, folder in folders.items()}
        known = [place for place, key in enumerate(keys) if all(key in scores for scores in scored.values())]
        if not known:
            return none("none of the rows that it reads can be scored again")
        rows, keys = rows.take(known), [keys[place] for place in known]
        numbers = {"champion": asked.champion, "candidate": asked.candidate}
        own = self._fetched(self.reader.name, digest)
        answers = {who: self._answers(own, _with_scores(rows, [scored[who][key] for key in keys], prefix, numbers[who])) for who in folders}
        both = sorted(answers["champion"].keys() & answers["candidate"].keys())
        unread = len(answers["champion"].keys() - answers["candidate"].keys())
        if not both:
            if unread:
                return Reading(self.reader.name, version, 0, unread, 0.0, None, self.reader.gate, "")
            return none("it refuses all of these rows, with the champion's scores too")
        return self._compared(version, rows.take(both), answers, both, unread, own)

    def _compared(
        self, version: int, rows: pa.Table, answers: Mapping[str, Mapping[int, np.ndarray]], places: Sequence[int], unread: int, own: Path
    ) -> Reading:
        import numpy as np

        from perennial.data.snapshots import label_of
        from perennial.registry.promotion import Losses
        from perennial.registry.readers import Reading
        from perennial.training.evaluation import per_row_loss
        from perennial.training.scoring import load_features

        before, now = (np.stack([answers[who][place] for place in places]) for who in ("champion", "candidate"))
        labels = label_of(rows.to_pandas(), load_features(own), self.reader)
        labelled, losses = np.isfinite(labels), None
        if labelled.any() and self.reader.task != "anomaly":
            lost = [per_row_loss(self.reader.task, labels[labelled], scores[labelled]) for scores in (now, before)]
            days = rows[discovery.dataset(self.reader.dataset).time_column].to_numpy().astype("datetime64[D]")
            losses = Losses(lost[0], lost[1], days[labelled])
        return Reading(
            self.reader.name, version, len(before), unread, shift_of(before, now, bool(self.reader.classes)), losses, self.reader.gate, ""
        )

    def _rows(self) -> tuple[pa.Table, list[tuple[Any, ...]], str] | None:
        """The newest rows of the reader that have scores, with the keys of the rows that were scored, and what stands before the names of
        scores; None while it has no snapshot."""
        from perennial.data.snapshots import joined_with, model_snapshot

        source = model_snapshot(self.store, self.reader.model_copy(update={"labels": self.reader.feed}))
        if source is None:
            return None
        own, prefix = discovery.dataset(self.reader.dataset), ""
        wanted = [column.name for column in own.table_columns]
        if own.scores_of == self.spec.name:
            key = list(own.key)
        else:
            scores = next(
                discovery.dataset(join.dataset) for join in self.reader.joins if discovery.dataset(join.dataset).scores_of == self.spec.name
            )
            join = next(join for join in self.reader.joins if join.dataset == scores.name)
            of_row = join.model_copy(update={"columns": scores.key, "prefix": KEY})
            versions = source.joins.versions if source.joins else {}
            wider = joined_with(replace(source, joins=None, labels=None), (*self.reader.joins, of_row), versions)
            source = replace(source, joins=wider.joins if wider else source.joins)
            key, prefix = list(of_row.names), join.prefix
            wanted += [*(name for one in self.reader.joins for name in one.names), *key]
        wanted += source.labels.columns if source.labels else ()
        rows = self._newest(source, own, list(dict.fromkeys(wanted)))
        keys = list(zip(*(rows[name].to_pylist() for name in key), strict=True))
        has = [place for place, one in enumerate(keys) if None not in one]
        return rows.take(has), [keys[place] for place in has], prefix

    def _newest(self, source: Snapshot, own: DatasetSpec, columns: list[str]) -> pa.Table:
        import pyarrow.compute as pc

        begin = datetime.combine(source.newest().date() - timedelta(days=self.spec.scoring.days - 1), time())
        rows = source.read(columns, pc.field(own.time_column) >= begin)
        return rows.sort_by([(own.time_column, "descending")]).slice(0, MOST_ROWS)

    def _scores(self, folder: Path, keys: Keys) -> dict[tuple[Any, ...], dict[str, float]]:
        """The scores that a version gives to the rows of these keys, by key and column; what a request would refuse has none."""
        from perennial.data.snapshots import model_snapshot
        from perennial.score_datasets import score_columns
        from perennial.stages._score_answers import answering

        source = model_snapshot(self.store, self.spec.model_copy(update={"labels": None}))
        if source is None:
            return {}
        wanted, dataset = set(keys), discovery.dataset(self.spec.dataset)
        with answering(self.settings, folder) as version:
            rows = source.read(list(dict.fromkeys((*dataset.key_columns, dataset.time_column, *version.inputs))))
            found = list(zip(*(rows[name].to_pylist() for name in dataset.key_columns), strict=True))
            places = [place for place, key in enumerate(found) if key in wanted]
            answers = self._answered(rows.take(places), version)
            names = score_columns(version.names)
            return {found[places[place]]: dict(zip(names, scores.tolist(), strict=True)) for place, scores in answers.items()}

    def _answers(self, folder: Path, rows: pa.Table) -> dict[int, np.ndarray]:
        from perennial.stages._score_answers import answering

        with answering(self.settings, folder) as version:
            return self._answered(rows, version)

    def _answered(self, rows: pa.Table, version: Any) -> dict[int, np.ndarray]:
        """The scores of the rows that a version answers, by their place."""
        from perennial.stages._score_parts import answers_of

        scored: dict[int, np.ndarray] = {}
        size = self.spec.scoring.rows_at_once
        for begin in range(0, rows.num_rows, size):
            block = rows.slice(begin, size)
            answers = answers_of(block, version.inputs, version)
            good = [place for place in range(block.num_rows) if place not in answers.held_back]
            scored |= {begin + place: scores for place, scores in zip(good, answers.scores, strict=True)}
        return scored

    def _fetched(self, model: str, digest: str) -> Path:
        from perennial.lineage.version_folder import fetch

        return fetch(self.store, model, digest, self.scratch / f"{model}-{digest[:12]}")


def shift_of(before: np.ndarray, now: np.ndarray, of_classes: bool) -> float:
    """How far answers [rows, scores] moved, on average: the share that went to other classes, or a value in its standard deviations."""
    import numpy as np

    if of_classes:
        return float(0.5 * np.abs(now - before).sum(axis=1).mean())
    spread = float(before[:, 0].std())
    return float(np.abs(now[:, 0] - before[:, 0]).mean()) / (spread or 1.0)


def _with_scores(rows: pa.Table, scores: Sequence[Mapping[str, float]], prefix: str, version: int) -> pa.Table:
    """Rows with other scores in the place of those that they have, where they have them."""
    import pyarrow as pa

    for name in [*(scores[0] if scores else ()), VERSION]:
        place = rows.schema.get_field_index(prefix + name)
        if place >= 0:
            values = [version] * len(scores) if name == VERSION else [one[name] for one in scores]
            rows = rows.set_column(place, prefix + name, pa.array(values, rows.schema.field(place).type))
    return rows
