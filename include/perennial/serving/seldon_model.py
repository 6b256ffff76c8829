"""The class that seldon-core's wrapper serves, one version per process, on its fast path: bytes in, bytes out.

The wrapper finds `predict_raw` and, with PAYLOAD_PASSTHROUGH=true, hands it the body unread. What the wrapper lacks comes
in through the blueprint that it registers for a model: /live, /ready, /metrics and sentences for unknown paths.
"""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import Any, NoReturn

import flask
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from seldon_core.flask_utils import SeldonMicroserviceException
from werkzeug.exceptions import HTTPException

from perennial.serving.limits import MAX_BODY_BYTES, MAX_FEEDBACK_BYTES, RUN_HEADER
from perennial.serving.refused import FORMS, Refused, bad_request, form_sent, too_large
from perennial.serving.served_version import VERSION_HEADER, ServedVersion


class SeldonModel:
    """A version in the wrapper's terms."""

    def __init__(self, served: ServedVersion) -> None:
        self.served = served
        self.model_error_handler = _routes(served)  # the attribute under which the wrapper looks for a blueprint

    def load(self) -> None:
        """Make the version ready. The wrapper calls it in the worker, after the fork. Raises as `ServedVersion.load`."""
        self.served.load()

    def predict_raw(self, body: bytes | str) -> bytes:
        """Answer one prediction request.

        Raises:
            SeldonMicroserviceException: what the version refuses.
        """
        try:
            return self.served.answer(body, flask.request.headers)  # type: ignore[arg-type]  # asked for by name alone
        except Refused as refused:
            _refuse(refused)

    def health_status_raw(self) -> dict[str, object]:
        """The answer of the wrapper's own health path."""
        return self.served.readiness()

    def init_metadata(self) -> dict[str, object]:
        """The answer of the wrapper's metadata path."""
        served = self.served
        return {"name": served.model, "versions": [str(served.version)], "platform": "perennial", "custom": {"digest": served.digest}}


def _refuse(refused: Refused) -> NoReturn:
    raise SeldonMicroserviceException(str(refused), status_code=refused.status, reason=refused.reason) from None


def _routes(served: ServedVersion) -> flask.Blueprint:
    blueprint = flask.Blueprint("perennial", __name__)
    version = str(served.version)

    @blueprint.before_app_request
    def _limit() -> None:
        predictions = flask.request.path.endswith(("/predict", "/predictions"))
        _bound_body(flask.request.environ, MAX_BODY_BYTES if predictions else MAX_FEEDBACK_BYTES)
        if flask.request.mimetype in FORMS:  # the wrapper would read it as one, at many times its size
            _refuse(form_sent(flask.request.mimetype))

    # Before the wrapper's own, which make a message of protobuf of the body: megabytes become gigabytes, and
    # nesting an error of the server.
    @blueprint.route("/send-feedback", methods=["GET", "POST"])
    @blueprint.route("/api/v1.0/feedback", methods=["POST"])
    @blueprint.route("/api/v0.1/feedback", methods=["POST"])
    def _feedback() -> flask.Response:
        try:
            return flask.Response(served.take_outcome(flask.request.get_data(cache=False)), mimetype="application/json")
        except Refused as refused:
            _refuse(refused)

    @blueprint.route("/live")
    def _live() -> str:
        return "live"

    @blueprint.route("/ready")
    def _ready() -> tuple[dict[str, object], int]:
        served.asked_by(flask.request.headers.get(RUN_HEADER, ""))
        return served.readiness(), HTTPStatus.OK if served.ready else HTTPStatus.SERVICE_UNAVAILABLE

    @blueprint.route("/metrics")
    def _metrics() -> flask.Response:
        return flask.Response(served.metrics.text(), mimetype=CONTENT_TYPE_LATEST)

    @blueprint.after_app_request
    def _name_the_version(response: flask.Response) -> flask.Response:
        response.headers[VERSION_HEADER] = version
        return response

    @blueprint.app_errorhandler(HTTPException)
    def _sentence(error: HTTPException) -> tuple[dict[str, object], int]:
        return bad_request(f"{flask.request.method} {flask.request.path}: {error.description}").document(), error.code or 500

    return blueprint


def _bound_body(environ: dict[str, Any], limit: int) -> None:
    """See to it that no more than `limit` bytes of the body are read, said or sent. Raises SeldonMicroserviceException."""
    if int(environ.get("CONTENT_LENGTH") or 0) > limit:  # gunicorn has refused what is no number
        _refuse(too_large(limit))
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:  # in chunks, whose sum nobody has said
        body = environ["wsgi.input"].read(limit + 1)
        if len(body) > limit:
            _refuse(too_large(limit))
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
