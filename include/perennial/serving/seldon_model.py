"""The class that seldon-core's wrapper serves, one version per process, on its fast path: bytes in, bytes out.

The wrapper finds `predict_raw` and, with PAYLOAD_PASSTHROUGH=true, hands it the body unread. What the wrapper lacks comes
in through the blueprint that it registers for a model: /live, /ready, /metrics and sentences for unknown paths.
"""

from __future__ import annotations

import atexit
import io
import logging
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask
import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from seldon_core.flask_utils import SeldonMicroserviceException
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from perennial.errors import PerennialError, StoredDataDamaged, StoreUnreachable, UnknownName
from perennial.lineage import version_folder
from perennial.serving.joined_values import JoinedValues
from perennial.serving.limits import MAX_BODY_BYTES, MAX_FEEDBACK_BYTES, REPLAYED
from perennial.serving.prediction_log import OutcomeLog, PredictionLog
from perennial.serving.request import BadRequest, read_feedback, read_request
from perennial.serving.scorer import Scorer, ScoringFailed
from perennial.settings import Settings
from perennial.store import open_store

log = logging.getLogger(__name__)

MOST_NAMED = 20  # of the fields that a version ignored, in its answer
PREDICTION_ID_HEADER = "x-prediction-id"  # set by the gateway, so that a request keeps one id when another version answers it again
VERSION_HEADER = "x-perennial-version"
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class SeldonModel:
    """One version of one model: fetched, checked against its golden rows, then served."""

    def __init__(self, model: str, version: int, digest: str, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.from_environment()
        self.model, self.version, self.digest = model, int(version), digest
        self.store = open_store(self.settings.store)
        self.ready = False
        self.joined: JoinedValues | None = None
        self.refused = False  # not ready, and starting again would not help
        self.reason = "The version is being loaded."
        self.metrics = Metrics(model, self.version)
        self.model_error_handler = _routes(self)  # the attribute under which the wrapper looks for a blueprint
        self._tags = {"model": model, "version": self.version}

    def load(self) -> None:
        """Fetch and load the version, replay its golden rows, open the logs. The wrapper calls it in the worker, after the fork.

        A version that must not serve stays up and says why on /ready; what another try may mend ends the process.

        Raises:
            RuntimeError: the store does not answer. Never AttributeError: the wrapper takes that for a class without `load`.
        """
        try:
            folder = version_folder.fetch(
                self.store, self.model, self.digest, self.settings.home / "serving" / "versions" / self.model / str(self.version)
            )
            self.scorer = Scorer(Path(folder))
            difference = self.scorer.replay()
        except (ScoringFailed, StoredDataDamaged, UnknownName) as error:
            difference = str(error)
        except (PerennialError, KeyError, AttributeError) as error:
            raise RuntimeError(f"Version {self.version} of {self.model} cannot be fetched: {error}") from error
        self.joined = (
            JoinedValues(self.store, self.scorer.signature.joins, self.settings.home / "serving" / "online") if not difference else None
        )
        self.predictions = PredictionLog(self.store, self.model, self.version)
        self.outcomes = OutcomeLog(self.store, self.model, self.version)
        self.metrics.dropped.set_function(lambda: self.predictions.segments.dropped)
        atexit.register(self.close)
        if difference:
            self.refused, self.reason = True, f"Version {self.version} of {self.model} must not serve. {difference}"
            log.error("%s", self.reason)
            return
        self.ready, self.reason = True, ""
        log.info("Version %d of %s is ready: its golden rows score as they did in training.", self.version, self.model)

    def close(self) -> None:
        """Write what the logs still hold."""
        if self.joined:
            self.joined.close()
        self.predictions.segments.close()
        self.outcomes.segments.close()

    def predict_raw(self, body: bytes | str) -> bytes:
        """Answer one prediction request.

        Raises:
            SeldonMicroserviceException: 400 for a request that does not fit, 500 if the version fails, 503 if it is not ready.
        """
        begun = time.perf_counter()
        # Only on one machine, where the gateway removes the header of callers.
        counts = self.settings.serving != "local" or REPLAYED not in flask.request.headers
        try:
            if not self.ready:
                raise SeldonMicroserviceException(self.reason, status_code=503, reason="NOT_READY")
            request = read_request(body, self.scorer.signature, finder=self.joined.find if self.joined else None)
            scores = self.scorer.score(request.columns)
        except BadRequest as error:
            self.metrics.count("400", time.perf_counter() - begun, counts)
            raise SeldonMicroserviceException(str(error), status_code=400, reason="BAD_REQUEST") from None
        except ScoringFailed as error:
            log.error("Version %d of %s: %s", self.version, self.model, error)
            self.metrics.count("500", time.perf_counter() - begun, counts)
            raise SeldonMicroserviceException(
                f"Version {self.version} of {self.model}: {error}", status_code=500, reason="SCORING_FAILED"
            ) from None
        except SeldonMicroserviceException:
            self.metrics.count("503", time.perf_counter() - begun, counts)
            raise
        headers, host = flask.request.headers, flask.request.environ.get("HTTP_HOST", "")
        puid = request.id or headers.get(PREDICTION_ID_HEADER) or uuid.uuid4().hex
        tags = {**self._tags, "ignored": [name[:80] for name in request.ignored[:MOST_NAMED]]} if request.ignored else self._tags
        answer = orjson.dumps(
            {"data": {"names": self.scorer.names, "ndarray": scores}, "meta": {"puid": puid, "tags": tags}},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        seconds = time.perf_counter() - begun
        self.metrics.count("200", seconds, counts)
        if not counts:
            return answer
        for found in request.found.values():
            for name, one in found.items():
                self.metrics.count_found(name, one.state)
        shadow = host.partition(":")[0].endswith("-shadow")  # Envoy marks mirrored requests so; no caller's host gets past it
        self.predictions.record(
            puid,
            request.rows,
            scores,
            seconds * 1e3,
            body_bytes=len(body),
            event_time=request.event_time,
            shadow=shadow,
            found=request.found,
        )
        return answer

    def take_outcome(self, body: bytes) -> bytes:
        """Take in the outcome of one prediction row; the answer means that it is stored.

        Raises:
            SeldonMicroserviceException: 400 for an outcome that does not fit, 503 if the store does not take it or the version is not
                ready.
        """
        if not self.ready:
            raise SeldonMicroserviceException(self.reason, status_code=503, reason="NOT_READY")
        try:
            prediction_id, outcome = read_feedback(body, self.scorer.outcomes)
            self.outcomes.record(prediction_id, outcome)
        except BadRequest as error:
            raise SeldonMicroserviceException(str(error), status_code=400, reason="BAD_REQUEST") from None
        except StoreUnreachable as error:
            raise SeldonMicroserviceException(str(error), status_code=503, reason="STORE_UNREACHABLE") from None
        self.metrics.outcomes.inc()
        return orjson.dumps({"meta": {"puid": prediction_id}})

    def health_status_raw(self) -> dict[str, object]:
        """The answer of the wrapper's own health path."""
        return {
            "ready": self.ready,
            "refused": self.refused,
            "reason": self.reason,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
        }

    def init_metadata(self) -> dict[str, object]:
        """The answer of the wrapper's metadata path."""
        return {"name": self.model, "versions": [str(self.version)], "platform": "perennial", "custom": {"digest": self.digest}}


class Metrics:
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
        self.dropped = Gauge(
            "perennial_prediction_log_dropped", "Answers that the prediction log had no room for.", names, registry=self.registry
        ).labels(**labels)

    def count_found(self, join: str, state: str) -> None:
        """Count a row for which a join was asked for its columns."""
        self._found.labels(join=join, state=state, **self._labels).inc()

    def count(self, code: str, seconds: float, counts: bool) -> None:
        """Count one answer, unless nobody had asked."""
        if counts:
            self._answers[code].inc()
            self._seconds.observe(seconds)


def _routes(model: SeldonModel) -> flask.Blueprint:
    blueprint = flask.Blueprint("perennial", __name__)
    version = str(model.version)

    @blueprint.before_app_request
    def _limit() -> None:
        predictions = flask.request.path.endswith(("/predict", "/predictions"))
        _bound_body(flask.request.environ, MAX_BODY_BYTES if predictions else MAX_FEEDBACK_BYTES)
        if flask.request.mimetype in _FORMS:  # the wrapper would read it as one, at many times its size
            raise SeldonMicroserviceException(
                f"The body is sent as {flask.request.mimetype}: send JSON with the header Content-Type: application/json.",
                status_code=400,
                reason="BAD_REQUEST",
            )

    # Before the wrapper's own, which make a message of protobuf of the body: megabytes become gigabytes, and
    # nesting an error of the server.
    @blueprint.route("/send-feedback", methods=["GET", "POST"])
    @blueprint.route("/api/v1.0/feedback", methods=["POST"])
    @blueprint.route("/api/v0.1/feedback", methods=["POST"])
    def _feedback() -> flask.Response:
        return flask.Response(model.take_outcome(flask.request.get_data(cache=False)), mimetype="application/json")

    @blueprint.route("/live")
    def _live() -> str:
        return "live"

    @blueprint.route("/ready")
    def _ready() -> tuple[dict[str, object], int]:
        return model.health_status_raw(), HTTPStatus.OK if model.ready else HTTPStatus.SERVICE_UNAVAILABLE

    @blueprint.route("/metrics")
    def _metrics() -> flask.Response:
        return flask.Response(generate_latest(model.metrics.registry), mimetype=CONTENT_TYPE_LATEST)

    @blueprint.after_app_request
    def _name_the_version(response: flask.Response) -> flask.Response:
        response.headers[VERSION_HEADER] = version
        return response

    @blueprint.app_errorhandler(HTTPException)
    def _sentence(error: HTTPException) -> tuple[dict[str, object], int]:
        text = f"{flask.request.method} {flask.request.path}: {error.description}"
        if isinstance(error, _TooLarge):
            text = str(error.description)
        return {"status": {"status": 1, "info": text, "code": -1, "reason": "BAD_REQUEST"}}, error.code or 500

    return blueprint


class _TooLarge(RequestEntityTooLarge):
    """The body is larger than its path allows."""

    def __init__(self, limit: int) -> None:
        if limit == MAX_BODY_BYTES:
            super().__init__(f"The request is larger than {limit >> 20} MB: send its rows in several requests.")
        else:
            super().__init__(f"The request is larger than {limit >> 10} KB: send one outcome in each.")


def _bound_body(environ: dict[str, Any], limit: int) -> None:
    """See to it that no more than `limit` bytes of the body are read, said or sent. Raises _TooLarge."""
    if int(environ.get("CONTENT_LENGTH") or 0) > limit:  # gunicorn has refused what is no number
        raise _TooLarge(limit)
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:  # in chunks, whose sum nobody has said
        body = environ["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            raise _TooLarge(limit)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
