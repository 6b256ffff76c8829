"""Rows scored in a batch by the real DAG. The first version of `digits` serves already (conftest.py)."""

from __future__ import annotations

import json
import urllib.request

import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger

from .conftest import MODEL

pytestmark = pytest.mark.timeout(1800)
DAY = "2024-01-03"
IMAGES = 100


def test_a_day_is_scored_in_parts(digits, first_loop):
    """SE-03, SY-04: One run scores the rows of a day by the champion in two tasks and writes the table; a row has the score that the
    server gives it."""
    run = digits.ended(digits.trigger("scoring", **{"from": DAY, "to": DAY, "parts": 2}), "success")
    assert digits.api.tasks(run)["merge"] == "success"
    result = digits.api.result(run, "merge")
    champion = Ledger(digits.store, MODEL).last().champion
    assert (result["version"], result["rows"], result["changed"], result["held_back"]) == (champion, IMAGES, IMAGES, 0)
    scores = Table(digits.store, result["table"]).scan().to_pylist()
    assert {row["run"] for row in scores} == {run.id}
    assert {str(row["day"]) for row in scores} == {DAY}

    spec = discovery.model(MODEL)
    by_image = {row["image"]: row for row in Table(digits.store, MODEL).scan(["image", *spec.inputs]).to_pylist()}
    asked = by_image[scores[0]["key_image"]]
    url = digits.settings.gateway_url + digits.settings.prediction_path(MODEL)
    body = json.dumps({"data": {"rows": [{name: asked[name] for name in spec.inputs}]}, "meta": {"puid": "beside-a-batch"}}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        online = json.load(answer)["data"]["ndarray"][0]
    assert [scores[0][f"score_{name}"] for name in spec.classes] == pytest.approx(online, abs=1e-4)
