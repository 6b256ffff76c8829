"""Scores in a notebook: by a version's folder, or through the gateway."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas
import pytest

import perennial
from perennial import discovery, testing
from perennial.errors import Refused, ServiceUnreachable, UnknownName
from perennial.lineage.registrations import note_registration
from perennial.registry.model_registry import Version
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.testing.world import crown

ROWS = 7


@pytest.fixture
def version(store, tmp_path, monkeypatch):
    """The digest of a version of a small model that is registered as number 1 and serves nobody yet."""
    spec = testing.small_model()
    monkeypatch.setattr(discovery, "model", lambda name: spec)
    monkeypatch.setattr(discovery, "models", lambda: {spec.name: spec})
    digest = testing.publish_small_version(store, tmp_path / "version", model=spec.name)
    note_registration(store, spec.name, 1, digest, {})
    return digest


@pytest.fixture
def frame():
    """Rows, with a column that the model does not know and an index of their own."""
    return pandas.DataFrame(testing.small_rows(ROWS, seed=3), index=range(100, 100 + ROWS)).assign(note="x")


@pytest.fixture
def gateway(version, store, tmp_path, connected):
    """A gateway that answers as the version does, and keeps what it was asked."""
    crown(store, "small_delays", Version("small_delays", 1, version, "run"))
    scorer, asked = Scorer(tmp_path / "version"), []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body), self.headers.get("x-predictor")))
            scores = scorer.score(read_request(body, scorer.signature).columns).tolist()
            answer = {"data": {"names": scorer.names, "ndarray": scores}, "meta": {"puid": f"id{len(asked)}", "tags": {"version": 1}}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", connected.settings.gateway_port), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def expected(tmp_path, frame):
    """What the version's own scorer says."""
    scorer = Scorer(tmp_path / "version")
    rows = json.loads(frame.drop(columns="note").to_json(orient="records"))
    return scorer.score(read_request(json.dumps({"data": {"rows": rows}}), scorer.signature).columns)


@pytest.mark.parametrize("which", [1, "1", "digest", "short digest"])
def test_a_version_scores_here_as_it_would_serve(version, frame, tmp_path, which, capsys):
    """By number or digest, the index kept, classes by name; a line says that nothing was logged."""
    answers = perennial.score("small_delays", frame, {"digest": version, "short digest": version[:8]}.get(which, which))
    assert answers.index.tolist() == frame.index.tolist()
    np.testing.assert_array_equal(answers[["score_on_time", "score_late"]].to_numpy(), expected(tmp_path, frame))
    assert answers["predicted"].tolist() == ["late" if late >= 0.5 else "on_time" for late in answers["score_late"]]
    assert "prediction_id" not in answers
    assert "not logged" in capsys.readouterr().out


def test_types_of_pandas_are_read_too(version, frame):
    """Missing values of its own, whole numbers that became floats, categories, times."""
    other = frame.astype({"carrier": "category", "origin": "string", "distance": "Int64", "temp": "Float64"})
    other["scheduled_departure"] = pandas.to_datetime(other["scheduled_departure"])
    floats = frame.astype({"distance": "float64"})
    scored = [perennial.score("small_delays", rows, 1, where="here") for rows in (frame, other, floats)]
    pandas.testing.assert_frame_equal(scored[0], scored[1])
    pandas.testing.assert_frame_equal(scored[0], scored[2])


def test_what_serves_answers_through_the_gateway(gateway, frame, tmp_path, capsys):
    """With ids by which outcomes are told; the scores are those of the version."""
    answers = perennial.score("small_delays", frame)
    np.testing.assert_array_equal(answers[["score_on_time", "score_late"]].to_numpy(), expected(tmp_path, frame))
    assert answers["prediction_id"].tolist() == [f"id1-{place}" for place in range(ROWS)]
    assert answers["version"].unique().tolist() == [1]
    ((path, body, wanted),) = gateway
    assert path.endswith("/small-delays/api/v1.0/predictions")
    assert ("note" in body["data"]["rows"][0], wanted) == (False, None)
    assert capsys.readouterr().out == ""


def test_rows_with_times_are_requests_of_their_own(gateway, frame):
    """Each with its event time, so that monitoring puts it into the right window; a version that is named is asked for by its number."""
    answers = perennial.score("small_delays", frame, 1, at="scheduled_departure")
    assert answers["prediction_id"].tolist() == [f"id{place}-0" for place in range(1, ROWS + 1)]
    assert [body["meta"]["tags"]["event_time"] for _, body, _ in gateway] == frame["scheduled_departure"].tolist()
    assert {wanted for _, _, wanted in gateway} == {"1"}


def test_a_silent_gateway_is_said(version, store, frame, capsys):
    """Asked for, it is an error; else the rows are scored here, and a line says why."""
    crown(store, "small_delays", Version("small_delays", 1, version, "run"))
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        perennial.score("small_delays", frame, where="gateway")
    assert len(perennial.score("small_delays", frame)) == ROWS
    assert "version 1, and not logged: the gateway at http" in capsys.readouterr().out
    with pytest.raises(UnknownName, match="in requests alone"):
        perennial.score("small_delays", frame, where="here", at="scheduled_departure")


@pytest.mark.parametrize(
    ("changed", "version_asked", "error", "why"),
    [
        ({"origin": "ROM"}, 1, Refused, "Row 0: origin is 'ROM'|Row 0: origin"),
        ({"distance": 0}, 1, Refused, "Row 0: distance"),
        ({}, None, UnknownName, "No version of small_delays serves: name one"),
        ({}, 9, UnknownName, "has no version 9"),
    ],
    ids=["value", "range", "nothing serves", "no such version"],
)
def test_what_cannot_be_scored_is_a_sentence(version, frame, changed, version_asked, error, why):
    """The serving code's own sentence where a row does not fit."""
    with pytest.raises(error, match=why):
        perennial.score("small_delays", frame.assign(**changed), version_asked)


def test_a_frame_without_rows_or_inputs_is_refused(version, frame):
    """With the names of the inputs."""
    with pytest.raises(UnknownName, match="no rows"):
        perennial.score("small_delays", frame.head(0), 1)
    with pytest.raises(UnknownName, match="reads carrier"):
        perennial.score("small_delays", frame[["note"]], 1)
    with pytest.raises(UnknownName, match="no column when"):
        perennial.score("small_delays", frame, 1, at="when")
