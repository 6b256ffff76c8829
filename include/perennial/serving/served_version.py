"""One version of one model as a server has it: fetched, checked against its golden rows, then asked for scores and told outcomes.

Knows no network: whichever server runs hands it bodies and headers, and sends what it gives. So all of them answer alike, count alike and
record alike.
"""

from __future__ import annotations

import atexit
import logging
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from perennial import tracing
from perennial.errors import PerennialError, StoredDataDamaged, StoreUnreachable, UnknownName
from perennial.lineage import version_folder
from perennial.log_lines import ids_of_trace
from perennial.serving.assignment import UNIT, unit_of
from perennial.serving.joined_values import JoinedValues
from perennial.serving.limits import REPLAYED
from perennial.serving.own_requests import is_own
from perennial.serving.prediction_log import OutcomeLog, PredictionLog
from perennial.serving.refused import Refused, bad_request
from perennial.serving.request import BadRequest, read_feedback
from perennial.serving.scorer import Scorer, ScoringFailed
from perennial.serving.segments import SegmentWriter
from perennial.serving.server_metrics import ServerMetrics
from perennial.serving.wire_form import Scored, SeldonForm, WireForm
from perennial.settings import Settings
from perennial.store import open_store

log = logging.getLogger(__name__)

MOST_RUNS = 1_000  # that are logged of those that found a version ready
RUN = re.compile(r"[^\x00-\x1f\x7f]{1,250}")  # an id, as Airflow has them
PREDICTION_ID_HEADER = "x-prediction-id"  # set by the gateway, so that a request keeps one id when another version answers it again
VERSION_HEADER = "x-perennial-version"


class ServedVersion:
    """One version, served by this process."""

    def __init__(self, model: str, version: int, digest: str, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.from_environment()
        self.model, self.version, self.digest = model, int(version), digest
        self.store = open_store(self.settings.store)
        self.ready = False
        self.joined: JoinedValues | None = None
        self.fallback = ""  # how its answers stand in for those of a version that failed; empty if they do not
        self.refused = False  # not ready, and starting again would not help
        self.reason = "The version is being loaded."
        self.metrics = ServerMetrics(model, self.version)
        self._runs: set[str] = set()
        self._open: list[JoinedValues | SegmentWriter] = []  # what is to be closed
        self._trained_in = ""  # the trace, where spans are sent

    def load(self) -> None:
        """Fetch and load the version, replay its golden rows, open the logs. Called in the process that answers, after any fork.

        A version that must not serve stays up and says why on /ready; what another try may mend ends the process.

        Raises:
            RuntimeError: the store does not answer. Never AttributeError: Seldon's wrapper takes that for a class without `load`.
        """
        try:
            place = f"{self.version}-fallback" if self.fallback else str(self.version)  # two processes that start at once write apart
            folder = version_folder.fetch(
                self.store, self.model, self.digest, self.settings.home / "serving" / "versions" / self.model / place
            )
            self.scorer = self.loaded(Path(folder))
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
        self._open += [*([self.joined] if self.joined else []), self.predictions.segments, self.outcomes.segments]
        if tracing.start("perennial-server"):
            self._trained_in = version_folder.trained_in(self.store, self.model, self.digest)
        atexit.register(self.close)
        if difference:
            self.refused, self.reason = True, f"Version {self.version} of {self.model} must not serve. {difference}"
            log.error("%s", self.reason)
            return
        self.ready, self.reason = True, ""
        log.info("Version %d of %s is ready: its golden rows score as they did in training.", self.version, self.model)

    def loaded(self, folder: Path) -> Scorer:
        """What scores, of the version's folder. Raises ScoringFailed."""
        return Scorer(folder)

    def close(self) -> None:
        """Write what the logs still hold."""
        while self._open:
            self._open.pop(0).close()
        tracing.stop()

    def answer(self, body: bytes | str, headers: Mapping[str, str], form: WireForm | None = None) -> bytes:
        """The answer to one prediction request, in the form in which it is asked; names of headers are asked for in lower case.

        Raises:
            Refused: 400 for a request that does not fit, 500 if the version fails, 503 if it is not ready.
        """
        with tracing.request("predict", headers, links=(self._trained_in,), model=self.model, version=self.version) as note:
            return self._answer(body, headers, form or SeldonForm(), note)

    def _answer(self, body: bytes | str, headers: Mapping[str, str], form: WireForm, note: tracing.Note) -> bytes:
        begun = time.perf_counter()
        # Only on one machine, where the gateway removes the first header of callers, who do not know the word of the other.
        counts = self.settings.serving != "local" or (REPLAYED not in headers and not is_own(self.settings.home, headers))
        try:
            self.must_be_ready()
            request = form.read(body, self.scorer.signature, self.joined.find if self.joined else None)
            puid = request.id or headers.get(PREDICTION_ID_HEADER) or secrets.token_hex(16)
            scores = self.scorer.score(request.columns)
        except BadRequest as error:
            note(status=400)
            self.metrics.count("400", time.perf_counter() - begun, counts)
            raise bad_request(str(error)) from None
        except ScoringFailed as error:
            ids = {"prediction": puid, **ids_of_trace(headers.get("traceparent", ""))}
            log.error("Version %d of %s: %s", self.version, self.model, error, extra=ids)
            note(status=500)
            self.metrics.count("500", time.perf_counter() - begun, counts)
            raise Refused(500, "SCORING_FAILED", f"Version {self.version} of {self.model}: {error}") from None
        except Refused:
            note(status=503)
            self.metrics.count("503", time.perf_counter() - begun, counts)
            raise
        answer = form.write(Scored(self.model, self.version, self.scorer.names, puid, scores, request.ignored, self.fallback))
        seconds = time.perf_counter() - begun
        self.metrics.count("200", seconds, counts)
        note(status=200, rows=len(request.rows), prediction=puid, counts=counts)
        if not counts:
            return answer
        for found in request.found.values():
            for name, one in found.items():
                self.metrics.count_found(name, one.state)
        # Envoy marks mirrored requests so; no caller's host gets past it.
        shadow = headers.get("host", "").partition(":")[0].endswith("-shadow")
        self.predictions.record(
            puid,
            request.rows,
            scores,
            seconds * 1e3,
            body_bytes=len(body),
            event_time=request.event_time,
            shadow=shadow,
            found=request.found,
            unit=unit_of(headers.get(UNIT)),
            trace=tracing.trace_id(),
            fallback=self.fallback,
        )
        if self.fallback:
            self.metrics.count_fallback(self.fallback)
        return answer

    def take_outcome(self, body: bytes) -> bytes:
        """Take in the outcome of one prediction row; the answer means that it is stored.

        Raises:
            Refused: 400 for an outcome that does not fit, 503 if the store does not take it or the version is not ready.
        """
        self.must_be_ready()
        try:
            prediction_id, outcome = read_feedback(body, self.scorer.outcomes)
            self.outcomes.record(prediction_id, outcome)
        except BadRequest as error:
            raise bad_request(str(error)) from None
        except StoreUnreachable as error:
            raise Refused(503, "STORE_UNREACHABLE", str(error)) from None
        self.metrics.outcomes.inc()
        return orjson.dumps({"meta": {"puid": prediction_id}})

    def asked_by(self, run: str) -> None:
        """Log once which run of the orchestrator found the version ready: whoever looks into that run finds its lines here too."""
        if self.ready and run not in self._runs and len(self._runs) < MOST_RUNS and RUN.fullmatch(run):
            self._runs.add(run)
            log.info("Version %d of %s was found ready by a run.", self.version, self.model, extra={"run": run})

    def readiness(self) -> dict[str, object]:
        """Whether the version may be asked, and why not."""
        return {
            "ready": self.ready,
            "refused": self.refused,
            "reason": self.reason,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
        }

    def must_be(self, model: str, version: str) -> None:
        """Raises Refused where another model is asked, or another version, unless none is named."""
        if model != self.model:
            raise Refused(404, "UNKNOWN_MODEL", f"{model or 'A model without a name'} is not served here: this is {self.model}.")
        if version not in ("", str(self.version)):
            raise Refused(
                404,
                "UNKNOWN_VERSION",
                f"Version {version[:80]} of {model} does not answer here, version {self.version} does: leave the version out, or choose it "
                "by the header x-predictor.",
            )

    def must_be_ready(self) -> None:
        """Raises Refused where the version cannot be asked."""
        if not self.ready:
            raise Refused(503, "NOT_READY", self.reason)
