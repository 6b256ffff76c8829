"""A Prometheus that answers nonsense is told in a sentence: it never breaks who asks."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from perennial.errors import QuestionRefused, ServiceUnreachable
from perennial.serving.backends.prometheus import Prometheus, ask

URL = "http://prometheus:9090"
LABELS = {"code": "200", "pod": "p", "version": "1", "le": "0.1"}


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let every question have this answer."""
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(text.encode()))


def vector(*values: Any, **labels: Any) -> str:
    """An answer of Prometheus' own with these values."""
    series = [{"metric": {**LABELS, **labels}, "value": [0, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}})


@pytest.mark.parametrize(
    "text",
    [
        "<html>Sign in</html>",
        "[]",
        "{}",
        "null",
        '{"data": []}',
        '{"data": null}',
        '{"data": {"result": [[]]}}',
        '{"data": {"result": [{"metric": {}, "value": [1]}]}}',
        '{"data": {"result": [{"metric": 5, "value": [1, "2"]}]}}',
        '{"data": {"result": [{"metric": {}, "value": {}}]}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_prometheus_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """MN-15: Whatever answers at the address, one sentence says what to correct."""
    answering(monkeypatch, text)
    with pytest.raises(
        ServiceUnreachable, match=r"What answers at http://prometheus:9090 is no Prometheus .*correct PERENNIAL_PROMETHEUS_URL"
    ):
        ask(URL, "up", 1)


@pytest.mark.parametrize("kind", ["scalar", "string", "matrix"])
def test_an_answer_that_is_no_vector_is_the_querys_fault(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """SE-09, MN-15: The sentence names the query, not the address."""
    answering(monkeypatch, json.dumps({"data": {"resultType": kind, "result": [0, "1"]}}))
    with pytest.raises(QuestionRefused, match=f"up gives a {kind} instead of a vector"):
        ask(URL, "up", 1)


@pytest.mark.parametrize(("code", "of_the_question"), [(400, True), (422, True), (401, False), (503, False)])
def test_a_query_that_is_refused_is_told_from_a_prometheus_that_is(
    monkeypatch: pytest.MonkeyPatch, code: int, *, of_the_question: bool
) -> None:
    """SE-09, MN-15: A query that cannot be read is that query's fault; what refuses all refuses the others, too."""

    def refuses(*_: Any, **__: Any) -> None:
        raise urllib.error.HTTPError(URL, code, "no", {}, io.BytesIO(b"parse error"))  # type: ignore[arg-type]

    monkeypatch.setattr(urllib.request, "urlopen", refuses)
    with pytest.raises(ServiceUnreachable, match=f"refuses a question \\({code}: parse error\\)") as caught:
        ask(URL, "up{", 1)
    assert isinstance(caught.value, QuestionRefused) == of_the_question


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (vector("NaN"), "has nan for a count of requests"),
        (vector("+Inf"), "has inf for a count of requests"),
        (vector("-3"), "has -3 for a count of requests"),
        (vector("3", le="soon"), "the bound 'soon', which is no number"),
    ],
)
def test_counts_that_are_none_are_told(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """MN-15: A release reads no evidence from them."""
    answering(monkeypatch, text)
    with pytest.raises(ServiceUnreachable, match=said):
        Prometheus(URL, "models").figures("churn")
