"""Which requests a local server answers."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.local import callers, stack
from perennial.settings import Settings

SETTINGS = Settings.from_environment({"PERENNIAL_ALLOWED_HOSTS": "models.example", "PERENNIAL_HOST": "192.0.2.7"})


@pytest.mark.parametrize(
    ("host", "origin", "said"),
    [
        ("localhost:8080", None, ""),
        ("models.example", "http://models.example", ""),
        ("MODELS.example", "http://models.EXAMPLE", ""),
        ("models.example", "https://portal.example", ""),
        ("rebound.example", None, "No server here has the name 'rebound.example'"),
        ("rebound.example", "http://rebound.example", "No server here has the name 'rebound.example'"),
        ("localhost:8080", "http://localhost:8081", "A page of 'http://localhost:8081' may not"),
        ("localhost:8080", "null", "A page of 'null' may not"),
        ("localhost:8080", "http://portal.example", "A page of 'http://portal.example' may not"),
        ("localhost:8080", "", "A page of '' may not"),
        ("localhost:8080", "http://[", "A page of 'http://[' may not"),
        ("localhost:8080", "http://[x]", "A page of 'http://[x]' may not"),
    ],
)
def test_a_refusal_says_why(host: str, origin: str | None, said: str) -> None:
    """SC-01: By name first, then by page; the scheme of another site's page counts, its port too."""
    found = callers.refusal(SETTINGS, host, origin, pages=("https://portal.example",))
    assert found.startswith(said)
    assert bool(found) is bool(said)


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_a_caller_sends_gets_an_answer(host: str, origin: str) -> None:
    """SC-01: A header that no browser sends is refused like any other, in a sentence of bounded length."""
    assert len(callers.refusal(SETTINGS, host, origin)) < 1000


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://ML.example.com/airflow", "https://ml.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://user@ml.example.com:443/", "https://ml.example.com"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("", ""),
        ("reports", ""),
    ],
)
def test_an_origin_is_what_a_browser_sends(address: str, origin: str) -> None:
    """SC-01: Small letters, no path, no port that goes without saying."""
    assert callers.origin_of(address) == origin


@pytest.mark.parametrize(
    "host",
    [
        "localhost:5000",
        "127.0.0.1",
        "[::1]:5000",
        "[::1]",
        "models.example:80",
        "192.0.2.7:5000",
        "rebound.example",
        "x[::1]",
        "",
        "1::1]:5000",
    ],
)
def test_mlflow_is_told_the_same_names(host: str) -> None:
    """SC-01: It compares names by patterns, in which a bracket is a sign of its own: what it lets in is what ours lets in."""
    allowed = any(fnmatch.fnmatch(host, told) if "*" in told else host == told for told in stack._mlflow_hosts(SETTINGS))
    assert allowed is not bool(callers.refusal(SETTINGS, host, None))


def test_where_all_names_are_allowed_pages_are_not() -> None:
    """SC-01: `*` is for names; which pages may change something in MLflow stays a list."""
    settings = Settings.from_environment({"PERENNIAL_ALLOWED_HOSTS": "*"})
    assert stack._mlflow_hosts(settings) == ["*"]
    assert "http://127.0.0.1:5000" in stack._mlflow_pages(settings)
    assert not any("*" in page for page in stack._mlflow_pages(settings))
