"""Finds anomalous requests: whole rows that are unlike all rows of the reference, checked after they were answered.

    >>> import numpy as np, pyarrow as pa
    >>> from perennial.monitoring.anomalies import find_anomalies, fit_watch
    >>> rng, days = np.random.default_rng(1), np.repeat(np.arange("2013-01-01", "2013-01-31", dtype="datetime64[D]"), 100)
    >>> watch = fit_watch(pa.table({"temp": rng.normal(30, 5, 3000)}), days, "multivariate", seed=1)
    >>> asked, today = pa.table({"temp": [31.0, 900.0]}), np.repeat(np.datetime64("2013-02-01"), 2)
    >>> find_anomalies(watch, asked, today, ["a", "b"], name="multivariate", alarms_per_day=3).shown[0].prediction_id
    'b'

Every input becomes one number that says how extreme its value is: a normal score. A number gets that of its rank among the
reference's values and goes on in standard deviations beyond them, so that a gross error stays far outside; a category gets
that of its rarity, one that the reference never had lies beyond the rarest; a missing value lies where a value as rare would.
On these normal scores five detectors, and all of them answer one question, `score`: how strange is this row?

    univariate_sum    each column for itself, by its Gaussian; the sum: a row that is somewhat strange everywhere
    univariate_max    the same, but the strangest column alone counts: one gross value among many columns
    multivariate      one Gaussian with a shrunk covariance (Ledoit and Wolf 2004): values that do not go together
    isolation_forest  how few random cuts part a row from the others (Liu, Ting and Zhou 2008): no shape is assumed
    one_class_svm     distance from the dense regions (Schölkopf et al. 2001), on a thinned sample: it sees holes as well

An alarm is one row over the threshold, and the threshold follows from how many of them a day a person wants to read. The
detector is fitted on every second day of the reference; the others, which it has not seen, tell the threshold. Rows of one day
are not independent, and a storm makes a whole day strange, so what counts is days: the threshold is the lowest score t with

    (sum of L_i(t) over n held-out days + B(t)) / (n + 1) <= budget

where L_i(t) are the rows of a day from t on, at the traffic of the window, and B(t) stands for a day yet to come. This is conformal
risk control (Angelopoulos et al. 2022), which keeps the budget in the mean over days like these if B bounds what a day can
have. No useful bound is known: B is twice the worst held-out day, the mean of what lies beyond the worst where the tail falls
with the square, as of storms. What the held-out days would have given, in the mean and on the worst of them, is reported.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring.figures import Anomalies, Anomaly
from perennial.profiles.layout import kind_of, normal_quantile

if TYPE_CHECKING:
    import pyarrow as pa

    from perennial.specs import AnomalyDetector

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

FIT_ROWS, SVM_ROWS = 20_000, 2_000  # of the reference, at most, that a detector is fitted on; the work of the SVM grows with their square
SVM_OUTSIDE = 0.05  # share of the fitted rows that the SVM may leave outside its regions
HELD_OUT_ROWS = 100_000  # of the reference, at most, that the threshold is taken from
CHUNK = 100_000  # rows of the window that are scored at a time
BY_DISTANCE = frozenset({"isolation_forest", "one_class_svm"})  # see gaps between values, which ranks would close
MIN_ROWS = 100  # on either side: fewer tell nothing about a rare row
MAX_SHOWN, MAX_NAMED = 50, 3
KNOTS = 512  # values of a number whose normal score is kept; between them it is interpolated
FARTHEST = 50.0  # standard deviations; farther makes no row stranger
BEYOND = 2.0  # how much farther than the rarest a value lies that the reference never had
USUAL = 3.0  # a value with a normal score up to this is not strange by itself
TRIALS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # normal scores that a column is tried with to see whether it made a row strange
YET_TO_COME = 2.0  # times the alarms of the worst held-out day: what one more day is reckoned with
MUCH = 3.0  # times the budget
MOST = 0.01  # of the requests may be strange, whatever the budget
MIN_DEVIATION = 0.1  # of a column's normal scores: a column that hardly ever changes must not outweigh all others


class Detector(Protocol):
    """The interface of a fitted anomaly detector for whole rows."""

    def score(self, rows: Floats) -> Floats:
        """Strangeness of rows of normal scores [rows, columns]: larger is stranger, only the order has a meaning across detectors."""
        ...


@dataclass(frozen=True)
class Univariate:
    """Each column for itself: minus the logarithm of its normal density, summed or the largest."""

    means: Floats
    deviations: Floats
    largest: bool

    @classmethod
    def fit(cls, rows: Floats, *, largest: bool) -> Univariate:
        """Mean and standard deviation of each column."""
        return cls(rows.mean(axis=0), np.maximum(rows.std(axis=0), MIN_DEVIATION), largest)

    def score(self, rows: Floats) -> Floats:
        """Strangeness of each row, in nats."""
        terms = ((rows - self.means) / self.deviations) ** 2 / 2 + np.log(self.deviations) + np.log(2 * np.pi) / 2
        nats: Floats = terms.max(axis=1) if self.largest else terms.sum(axis=1)
        return nats


@dataclass(frozen=True)
class Multivariate:
    """Minus the logarithm of one normal density over all columns."""

    means: Floats
    precision: Floats  # inverse covariance [columns, columns]
    log_determinant: float  # of the covariance

    @classmethod
    def fit(cls, rows: Floats) -> Multivariate:
        """The mean, and a covariance drawn towards a multiple of the identity where rows are few (Ledoit and Wolf 2004)."""
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(rows)
        return cls(fitted.location_, fitted.precision_, float(np.linalg.slogdet(fitted.covariance_)[1]))

    def score(self, rows: Floats) -> Floats:
        """Strangeness of each row, in nats."""
        away = rows - self.means
        distance = np.einsum("ri,ij,rj->r", away, self.precision, away, optimize=True)
        nats: Floats = (distance + self.log_determinant + rows.shape[1] * np.log(2 * np.pi)) / 2
        return nats


@dataclass(frozen=True)
class Learnt:
    """A detector of scikit-learn, whose scores are larger where rows are more usual."""

    usual: Callable[[Floats], Floats]

    def score(self, rows: Floats) -> Floats:
        """Strangeness of each row: what the library gives, the other way round."""
        strangeness: Floats = -self.usual(rows)
        return strangeness


def fit_detector(name: AnomalyDetector, rows: Floats, seed: int) -> Detector:
    """Fit the named detector to normal scores [rows, columns] of the reference."""
    if name == "multivariate":
        return Multivariate.fit(rows)
    if name == "isolation_forest":
        from sklearn.ensemble import IsolationForest

        return Learnt(IsolationForest(n_estimators=200, random_state=seed % 2**32).fit(rows).score_samples)
    if name == "one_class_svm":
        from sklearn.svm import OneClassSVM

        thinned = rows[np.sort(np.random.default_rng(seed).choice(len(rows), min(len(rows), SVM_ROWS), replace=False))]
        return Learnt(OneClassSVM(nu=SVM_OUTSIDE, gamma=_kernel_rate(thinned)).fit(thinned).decision_function)
    return Univariate.fit(rows, largest=name == "univariate_max")


def _kernel_rate(rows: Floats) -> float:
    """Rate of the SVM's Gaussian kernel.

    It is as wide as the distance to the root-of-n-th neighbour, so that a hole among the rows is not filled from its rim.
    """
    squares = (rows**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    near = int(np.sqrt(len(rows)))
    return 1 / max(2 * float(np.median(np.partition(distances, near, axis=1)[:, near])), 1e-6)


@dataclass(frozen=True)
class Number:
    """Normal scores of a numeric column: by interpolation between the reference's extremes, in its standard deviations beyond them."""

    values: Floats  # rising, of the reference
    scores: Floats  # of these values
    deviation: float  # of the reference's values
    missing: float  # score of a missing value
    usual: tuple[float, float]  # between which 99 of 100 values of the reference lie

    @classmethod
    def fit(cls, values: Floats, *, ranks: bool) -> Number:
        """From the reference's values, NaN where missing; by rank, or in standard deviations from the mean."""
        known = np.sort(values[np.isfinite(values)])
        missing = _rare(len(values) - len(known), len(values))
        if not len(known):
            return cls(np.zeros(1), np.zeros(1), 1.0, missing, (0.0, 0.0))
        deviation = float(known.std()) if known[-1] > known[0] else max(abs(float(known[0])), 1.0)
        usual = float(known[int(0.005 * len(known))]), float(known[-1 - int(0.005 * len(known))])
        if not ranks:
            ends = known[[0, -1]] if known[-1] > known[0] else known[:1]
            return cls(ends, (ends - known.mean()) / deviation, deviation, missing, usual)
        distinct, counts = np.unique(known, return_counts=True)
        up_to = np.cumsum(counts)
        # Evenly in rank, and both ends: the interpolation is finest where the values are.
        knots = np.unique(np.searchsorted(up_to, np.linspace(0, len(known), KNOTS)).clip(0, len(distinct) - 1))
        return cls(distinct[knots], normal_quantile((up_to - counts / 2)[knots] / len(known)), deviation, missing, usual)

    def score(self, column: pa.ChunkedArray) -> Floats:
        """Normal scores [rows]."""
        values = _floats(column)
        low, high = self.values[0], self.values[-1]
        with np.errstate(invalid="ignore"):
            scores = np.interp(values, self.values, self.scores)
            beyond = (np.maximum(values - high, 0) - np.maximum(low - values, 0)) / self.deviation
        scores = scores + beyond + np.sign(beyond) * (BEYOND if len(self.values) == 1 else 0)
        return np.where(np.isfinite(values), np.clip(scores, -FARTHEST, FARTHEST), self.missing)


@dataclass(frozen=True)
class Category:
    """Normal scores of a column of categories, by how rare each is."""

    scores: Mapping[str | None, float]  # None is the missing value
    unseen: float

    @classmethod
    def fit(cls, column: pa.ChunkedArray) -> Category:
        """From the reference's values."""
        texts, counts = _counted(column)
        total = int(counts.sum())
        order = np.argsort(-counts, kind="stable")
        # Categories of one frequency share the middle of their ranks: of equally frequent ones none is strange.
        sizes, place = np.unique(-counts[order], return_inverse=True)
        mass = np.bincount(place, counts[order], minlength=len(sizes))
        scores = normal_quantile(((np.cumsum(mass) - mass / 2) / max(total, 1))[place])
        rarest = _rare(0, total)
        known = dict(zip([texts[i] for i in order], scores.tolist(), strict=True))
        missing: dict[str | None, float] = {None: rarest}
        return cls(missing | known, rarest + BEYOND)

    def score(self, column: pa.ChunkedArray) -> Floats:
        """Normal scores [rows]."""
        texts, places = _coded(column)
        scores = np.array([self.scores.get(text, self.unseen) for text in texts], dtype=float)
        return scores[places] if len(scores) else np.zeros(0)


@dataclass(frozen=True)
class Scale:
    """Normal scores of every column of the reference."""

    columns: Mapping[str, Number | Category]

    @classmethod
    def fit(cls, reference: pa.Table, *, ranks: bool) -> Scale:
        """Numbers by rank or in standard deviations, everything else by rarity."""
        return cls(
            {
                name: Number.fit(_floats(reference[name]), ranks=ranks)
                if kind_of(reference.schema.field(name).type) == "numeric"
                else Category.fit(reference[name])
                for name in reference.column_names
            }
        )

    def apply(self, rows: pa.Table) -> Floats:
        """[rows, columns], in the order of the reference's columns."""
        return np.column_stack([column.score(rows[name]) for name, column in self.columns.items()])


@dataclass(frozen=True)
class Watch:
    """A fitted detector with its scores of days that it has not seen."""

    name: str
    scale: Scale
    detector: Detector
    held_out: Floats  # scores of the held-out rows
    held_out_days: Days  # the day of each

    def score(self, rows: pa.Table) -> Floats:
        """Strangeness of each row."""
        parts = [self.detector.score(self.scale.apply(rows.slice(begin, CHUNK))) for begin in range(0, rows.num_rows, CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def threshold(self, rows_per_day: float, budget: float) -> tuple[float, float]:
        """The score that as many rows exceed as the budget allows, and for how many a day it stands: more where the reference is too small.

        Args:
            rows_per_day: traffic; held-out days count as if they had it.
            budget: rows a day.
        """
        names, day = np.unique(self.held_out_days, return_inverse=True)
        weight = rows_per_day / np.bincount(day)
        order = np.argsort(-self.held_out, kind="stable")

        def reckoned(rows: int) -> float:
            """Alarms a day if the k-th strangest held-out row is the threshold: a new row exceeds it as easily as any of the k."""
            each_day = weight * np.bincount(day[order[:rows]], minlength=len(names))
            return float(each_day.sum() + YET_TO_COME * each_day.max()) / (len(names) + 1)

        rows = bisect_right(range(1, len(order) + 1), budget, key=reckoned)
        rows = max(min(rows, int(MOST * len(order))), 1)  # of little traffic most would be within the budget
        return float(self.held_out[order[rows - 1]]), reckoned(rows)

    def days_over(self, rows_per_day: float, threshold: float) -> Floats:
        """Rows over the threshold on each held-out day, as if it had `rows_per_day` rows."""
        _, day = np.unique(self.held_out_days, return_inverse=True)
        alarms: Floats = rows_per_day * np.bincount(day, self.held_out > threshold) / np.bincount(day)
        return alarms


def fit_watch(reference: pa.Table, days: Days, name: AnomalyDetector, seed: int) -> Watch | str:
    """Fit a detector to every second day of the reference and score the days between.

    Args:
        reference: one row per row, one column per watched input.
        days: [rows], the day of each row.
        name: which detector.
        seed: of thinning and of what the detector draws.

    Returns:
        The watch, or a sentence that says what the reference lacks.
    """
    rng = np.random.default_rng(seed)
    known, place = np.unique(days, return_inverse=True)
    order = np.argsort(place, kind="stable")
    fitted, held_out = (_thinned(order[place[order] % 2 == half], most, rng) for half, most in ((0, FIT_ROWS), (1, HELD_OUT_ROWS)))
    if len(known) < 2 or min(len(fitted), len(held_out)) < MIN_ROWS:
        return (
            f"The reference has {len(days)} rows on {len(known)} days: "
            f"{MIN_ROWS} rows on every second day are needed to tell which request is strange."
        )
    rows = reference.take(fitted)
    scale = Scale.fit(rows, ranks=name not in BY_DISTANCE)
    detector = fit_detector(name, scale.apply(rows), seed)
    watch = Watch(name, scale, detector, np.zeros(0), days[held_out])
    return Watch(name, scale, detector, watch.score(reference.take(held_out)), days[held_out])


def find_anomalies(watch: Watch | str, rows: pa.Table, days: Days, ids: Sequence[str], *, name: str, alarms_per_day: float) -> Anomalies:
    """Judge the requests of a window.

    Args:
        watch: what `fit_watch` gave.
        rows: the requests' inputs, with the reference's columns.
        days: [rows], the day of each request.
        ids: [rows], its prediction_id.
        name: of the detector.
        alarms_per_day: the budget, rows per day.
    """
    if isinstance(watch, str):
        return Anomalies(detector=name, alarms_per_day=alarms_per_day, sentence=watch)
    window_days = len(np.unique(days))
    if not rows.num_rows:
        return Anomalies(detector=name, alarms_per_day=alarms_per_day, sentence="The window has no requests.")
    per_day = rows.num_rows / window_days
    threshold, reckoned = watch.threshold(per_day, alarms_per_day)
    usual = watch.days_over(per_day, threshold)
    scores = watch.score(rows)
    over = np.flatnonzero(scores > threshold)
    each_day = len(over) / window_days
    unusual = each_day > max(MUCH * alarms_per_day, MUCH * reckoned, usual.max())
    strangest = over[np.lexsort((np.asarray(ids, dtype=str)[over], -scores[over]))][:MAX_SHOWN]
    return Anomalies(
        detector=name,
        alarms_per_day=alarms_per_day,
        achieved=round(float(usual.mean()), 4),
        highest=round(float(usual.max()), 4),
        threshold=round(threshold, 6),
        held_out_days=len(usual),
        scored=rows.num_rows,
        days=window_days,
        found=len(over),
        shown=tuple(_explained(watch, rows.take(strangest), [ids[i] for i in strangest], scores[strangest])) if len(strangest) else (),
        unusual=unusual,
        sentence=_sentence(len(over), window_days, alarms_per_day, reckoned, unusual=unusual),
    )


def _sentence(count: int, days: int, budget: float, reckoned: float, *, unusual: bool) -> str:
    what = "No request is" if not count else f"{count} request{'s are' if count > 1 else ' is'}"
    sentence = (
        f"{what} unlike the reference; up to {budget * days:g} in {days} day{'s' if days > 1 else ''} are expected while nothing is wrong."
    )
    if unusual:
        sentence += " That is more than on any held-out day of the reference."
    if reckoned > budget:
        sentence += f" At this traffic the reference is too small to tell fewer than {reckoned:.3g} a day."
    return sentence


def _explained(watch: Watch, rows: pa.Table, ids: Sequence[str], scores: Floats) -> list[Anomaly]:
    """Name the columns: those without which a row would be far less strange, whatever the detector."""
    names = list(watch.scale.columns)
    normal = watch.scale.apply(rows)
    falls = np.zeros(normal.shape)
    for column in range(len(names)):
        tried = np.repeat(normal, len(TRIALS), axis=0)
        tried[:, column] = np.tile(TRIALS, len(normal))
        falls[:, column] = scores - watch.detector.score(tried).reshape(len(normal), len(TRIALS)).min(axis=1)
    anomalies = []
    for row, score in enumerate(scores):
        order = np.argsort(-falls[row], kind="stable")
        named = [int(i) for i in order[:MAX_NAMED] if falls[row, i] >= falls[row, order[0]] / 2]
        anomalies.append(
            Anomaly(
                prediction_id=ids[row],
                score=round(float(score), 6),
                columns=tuple(names[i] for i in named),
                sentence=_says([(names[i], rows[names[i]][row].as_py(), float(normal[row, i])) for i in named], watch.scale),
            )
        )
    return anomalies


def _says(named: list[tuple[str, Any, float]], scale: Scale) -> str:
    parts = []
    for name, value, normal in named:
        column = scale.columns[name]
        said = "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        if abs(normal) <= USUAL:
            parts.append(f"`{name}` is {said}")
        elif isinstance(column, Number):
            parts.append(f"`{name}` is {said}, usual is {column.usual[0]:.4g} to {column.usual[1]:.4g}")
        else:
            unseen = value is not None and str(value) not in column.scores
            parts.append(f"`{name}` is {said}, which {'the reference does not have' if unseen else 'is rare'}")
    alone = all(abs(normal) <= USUAL for _, _, normal in named)
    together = (
        ": usual each for itself, not together"
        if alone and len(named) > 1
        else ": usual by itself, not with the rest of the row"
        if alone
        else ""
    )
    return f"{'; '.join(parts)}{together}."


def _thinned(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _rare(count: int, total: int) -> float:
    """Normal score of something that `count` of `total` rows have, as if these were the most extreme ones."""
    return float(-normal_quantile(np.array([(count + 0.5) / (total + 1)]))[0])


def _floats(column: pa.ChunkedArray) -> Floats:
    """Values as float64; missing, infinite and unreadable ones are NaN."""
    import pyarrow as pa

    values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _coded(column: pa.ChunkedArray) -> tuple[list[str | None], NDArray[np.int64]]:
    """The different values as text, None for the missing one, and the place of each row's value among them."""
    import pyarrow as pa

    coded = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    return coded.dictionary.to_pylist(), np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _counted(column: pa.ChunkedArray) -> tuple[list[str | None], NDArray[np.int64]]:
    texts, places = _coded(column)
    return texts, np.bincount(places, minlength=len(texts))
