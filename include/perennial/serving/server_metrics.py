"""What one serving process counts, as its /metrics shows it to Prometheus. Runs in the serving environment."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ServerMetrics:
    """Counts of one serving process, in Prometheus' form."""

    def __init__(self, model: str, version: int) -> None:
        self.registry = CollectorRegistry()
        labels = {"model": model, "version": str(version)}
        names = list(labels)
        self._labels = labels
        self._found = Counter(
            "perennial_joined_values",
            "Rows whose joined columns were looked up by key, by join and what it found: found, too_old, not_yet, unknown_key, no_key, "
            "unavailable.",
            [*names, "join", "state"],
            registry=self.registry,
        )
        answers = Counter(
            "perennial_predictions", "Prediction requests answered, by status code.", [*names, "code"], registry=self.registry
        )
        self._answers = {code: answers.labels(code=code, **labels) for code in ("200", "400", "500", "503")}
        self._seconds = Histogram(
            "perennial_prediction_seconds", "Time to answer a prediction request, s.", names, buckets=_SECONDS, registry=self.registry
        ).labels(**labels)
        self.outcomes = Counter("perennial_outcomes", "Outcomes stored.", names, registry=self.registry).labels(**labels)
        self._fallback = Counter(
            "perennial_fallback_answers",
            "Prediction requests answered in the stead of a version that failed, by kind of the fallback.",
            [*names, "kind"],
            registry=self.registry,
        )
        self.dropped = Gauge(
            "perennial_prediction_log_dropped", "Answers that the prediction log had no room for.", names, registry=self.registry
        ).labels(**labels)

    def count_found(self, join: str, state: str) -> None:
        """Count a row for which a join was asked for its columns."""
        self._found.labels(join=join, state=state, **self._labels).inc()

    def count_fallback(self, kind: str) -> None:
        """Count an answer that stands in for that of a version that failed."""
        self._fallback.labels(kind=kind, **self._labels).inc()

    def count(self, code: str, seconds: float, counts: bool) -> None:
        """Count one answer, unless nobody had asked."""
        if counts:
            self._answers[code].inc()
            self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All counts, as Prometheus reads them."""
        found: bytes = generate_latest(self.registry)
        return found
