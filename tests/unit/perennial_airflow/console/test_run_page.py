"""The tab of a run: what it came to, stage by stage, the way from landed files into traffic, and how long that may take."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from perennial import discovery
from perennial.settings import Settings
from perennial.specs import BudgetSpec, GateSpec, ModelSpec
from perennial_airflow.console import Console

from ..airflow_runs import START, Runs, left

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
HOSTILE = "<script>alert(1)</script>`'\"&{{7*7}}" + "x" * 10_000
SPEC = ModelSpec(
    name="churn",
    title="Churn",
    owner="crm",
    dataset="d",
    task="regression",
    inputs=("a",),
    label="b",
    gate=GateSpec(metric="rmse", floors={}),
    budget=BudgetSpec(whole=3, stages={"train": 1, "evaluate": 0.1, "release": 0.25}),
)


class Guard:
    """The auth manager: one model's DAGs, and its dataset's, may be read."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: object, method: str) -> set[str]:
        assert method == "GET"
        return {dag for dag in dag_ids if not dag.startswith("secret")}

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: object) -> bool:
        assert (method, access_entity.name) == ("GET", "RUN")
        return not details.id.startswith("secret")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ask the console as somebody who is logged in; `ask(path, user=None)` as nobody."""
    from airflow.api_fastapi.core_api.security import get_user

    monkeypatch.setattr(discovery, "_models", lambda: ({name: SPEC.model_copy(update={"name": name}) for name in ("churn", "secret")}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    for place in ("website", "pages.run"):
        monkeypatch.setattr(f"perennial_airflow.console.{place}.get_auth_manager", Guard)
    pages = Console(Settings.from_environment({"PERENNIAL_STORE": str(tmp_path)}))

    def ask(path: str, user: object = "ada", **query: str) -> httpx.Response:
        app: Any = pages.app
        app.dependency_overrides = {get_user: lambda: user} if user else {}

        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://localhost:8080") as client:
                return await client.get(path, params=query)

        return asyncio.run(answer())

    return ask


def test_a_run_is_shown_to_who_may_read_it(ask: Any, runs: Runs) -> None:
    """DM-09: Without a login 401, without the right 403; a run that there is not and a DAG of somebody else's are sentences."""
    runs.add("churn_training", "r", {"train": ("success", left("done", "Trained."))})
    runs.add("secret_training", "r", {"train": ("success", left("done", "A secret."))})
    runs.add("their_training", "r", {"train": ("failed", left("refused", "Theirs."))}, tag="theirs")
    for path in ("/run", "/run.json", "/dag"):
        assert ask(path, user=None, dag_id="churn_training", run_id="r").status_code == 401
    for path in ("/run", "/run.json"):
        told = ask(path, dag_id="secret_training", run_id="r")
        assert (told.status_code, "A secret." in told.text) == (403, False)
        assert "You may not read the runs of secret_training" in told.text
        assert ask(path, dag_id="churn_training", run_id="r").status_code == 200
        for dag, run, said in (("churn_training", "s", "has no run s"), ("their_training", "r", "is no DAG of a model or dataset")):
            answer = ask(path, dag_id=dag, run_id=run)
            assert (answer.status_code, said in answer.text, "Theirs." in answer.text) == (404, True, False)


@pytest.mark.parametrize(
    ("tasks", "word", "look"),
    [
        ({"register": ("failed", left("refused", "The candidate is worse."))}, "Refused", "changed"),
        ({"move_traffic": ("failed", left("refused", "Version 3 errs.", action="rolled_back"))}, "Rolled back", "changed"),
        ({"train": ("failed", None)}, "Fault", "alarm"),
        ({"train": ("success", left("done", "Trained.")), "alert": ("success", None)}, "Done", ""),
        ({"move_traffic": ("success", left("done", "Moved.")), "settle": ("skipped", left("skipped", "Settled."))}, "Done", ""),
        ({"validate": ("skipped", left("skipped", "Nothing new.")), "train": ("skipped", None)}, "Skipped", ""),
    ],
)
def test_a_refusal_a_rollback_and_a_crash_look_different(ask: Any, runs: Runs, tasks: Any, word: str, look: str) -> None:
    """DE-15: By the word in the heading, and by the box of the decisive sentence."""
    runs.add("churn_training", "r", tasks)
    page = ask("/run", dag_id="churn_training", run_id="r").text
    assert re.search(r"<h1>Training of churn: <span class=\"word [\w-]+\">([\w ]+)</span></h1>", page)[1] == word  # type: ignore[index]
    box = re.search(r'<p class="verdict wraps ?(\w*)"><b>([^<]*)</b> ([^<]*)</p>', page)
    assert box
    view = ask("/run.json", dag_id="churn_training", run_id="r").json()
    assert (box[1], box[2], box[3]) == (look, f"{word} at {view['task']}", view["sentence"])


def test_each_stage_has_its_time_beside_its_budget(ask: Any, runs: Runs) -> None:
    """DE-21: What took longer than the spec allows is red, and says by how much; links of the stage are beside it."""
    pages = {"Report": "http://r.test/w", "Bad": "javascript:alert(1)"}
    tasks = {"train": ("success", {**left("done", "Trained."), "links": pages}), "evaluate": ("success", left("done", "Measured."))}
    runs.add("churn_training", "r", tasks, state="success")
    page = ask("/run", dag_id="churn_training", run_id="r").text.replace("\u00a0", " ")
    assert '<span class="quiet small">of 1 min allowed</span>' in page
    assert '<span class="over small">over its budget of 6 s by 4 s</span>' in page
    assert '<a href="http://r.test/w">Report</a>' in page
    assert "javascript:" not in page


def test_the_way_from_landed_files_into_traffic_is_added_up(ask: Any, runs: Runs) -> None:
    """DE-21: Of the runs that led to a release, each with its time and what it waited; a run that may not be read is left out."""
    at = {name: START + timedelta(minutes=minutes) for name, minutes in (("in", 1), ("t", 2), ("r", 4))}
    done = {"state": "success"}
    for dag, run, task, result, start in (
        ("d_ingestion", "i", "ingest", left("done", "Taken."), at["in"]),
        ("churn_training", "t", "register", left("done", "Registered."), at["t"]),
        ("churn_release", "r", "move_traffic", left("done", "Promoted.", action="promoted"), at["r"]),
    ):
        runs.add(dag, run, {task: ("success", result)}, **done, start_date=start, end_date=start + timedelta(seconds=30))
    runs.start(None, ("d_ingestion", "i"), START)
    runs.start(("d_ingestion", "i"), ("churn_training", "t"), at["t"])
    runs.start(("churn_training", "t"), ("churn_release", "r"), at["r"])
    way = ask("/run.json", dag_id="churn_release", run_id="r").json()["way"]
    assert [(leg["what"], leg["waited"], leg["seconds"], leg["budget"]) for leg in way["legs"]] == [
        ("taking the files in", 60, 30, None),
        ("training", 30, 30, None),
        ("release", 90, 30, 15),
    ]
    assert (way["seconds"], way["budget"], way["is_done"]) == (270, 180, True)
    page = ask("/run", dag_id="churn_release", run_id="r").text.replace("\u00a0", " ")
    assert "over its budget of 3 min by 1 min 30 s" in page
    assert "over its budget of 15 s by 15 s" in page
    assert '<a href="/perennial/run?dag_id=d_ingestion&amp;run_id=i">taking the files in</a>' in page
    for dag, run in (("d_ingestion", "i"), ("churn_training", "t")):  # the way goes on to what they led to
        assert ask("/run.json", dag_id=dag, run_id=run).json()["way"] == way
        assert '<a href="/perennial/run?dag_id=churn_release&amp;run_id=r">release</a>' in ask("/run", dag_id=dag, run_id=run).text
    runs.add("churn_training", "s", {"register": ("success", left("done", "Registered."))}, **done, start_date=at["r"])
    runs.start(("d_ingestion", "i"), ("churn_training", "s"), at["r"])
    before = ask("/run.json", dag_id="churn_training", run_id="s").json()["way"]
    assert ([leg["what"] for leg in before["legs"]], before["seconds"]) == (["taking the files in", "training"], None)
    runs.add("secret_ingestion", "i", {}, **done)
    runs.add("churn_training", "u", {"register": ("success", left("done", "Registered."))}, **done)
    runs.start(("secret_ingestion", "i"), ("churn_training", "u"), START)
    page = ask("/run", dag_id="churn_training", run_id="u").text
    assert ("secret" in page, "A run that you may not read started it." in page) == (False, True)


def test_files_of_several_models_lead_to_the_traffic_of_each(ask: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-21: Each training names its model, what may not be read and what is of no step is left out, and no one's budget is taken for all;
    the way ends with the last promotion, and has a bounded number of runs."""
    done = {"state": "success"}
    models = {name: SPEC.model_copy(update={"name": name}) for name in ("churn", "other", "secret")}
    monkeypatch.setattr(discovery, "_models", lambda: (models, {}))
    runs.add("d_ingestion", "i", {"ingest": ("success", left("done", "Taken."))}, **done)
    runs.start(None, ("d_ingestion", "i"), START)
    for minute, name in enumerate(models, 1):
        start = START + timedelta(minutes=minute)
        runs.add(f"{name}_training", "t", {"register": ("success", left("done", "Yes."))}, **done, start_date=start, end_date=start)
        action = "promoted" if name != "churn" else "rolled_back"
        moved = {"move_traffic": ("success", left("done", "Moved.", action=action))}
        runs.add(f"{name}_release", "r", moved, **done, start_date=start, end_date=start + timedelta(seconds=30))
        runs.start(("d_ingestion", "i"), (f"{name}_training", "t"), start)
        runs.start((f"{name}_training", "t"), (f"{name}_release", "r"), start)
    runs.add("churn_incidents", "x", {}, **done)
    runs.start(("d_ingestion", "i"), ("churn_incidents", "x"), START)
    runs.add("their_training", "x", {}, tag="theirs", **done)
    runs.start(("d_ingestion", "i"), ("their_training", "x"), START)
    way = ask("/run.json", dag_id="d_ingestion", run_id="i").json()["way"]
    assert [leg["what"] for leg in way["legs"]] == [
        "taking the files in", "release of churn", "training of churn", "release of other", "training of other",
    ]  # fmt: skip
    assert (way["seconds"], way["budget"], way["legs"][1]["budget"]) == (150, None, 15)
    monkeypatch.setattr("perennial_airflow.run_records.LATER", 1)
    assert len(ask("/run.json", dag_id="d_ingestion", run_id="i").json()["way"]["legs"]) == 2


def test_hostile_text_of_a_run_is_shown_as_text(ask: Any, runs: Runs) -> None:
    """DM-09: What a stage says, who started the run and what the address names."""
    runs.add("churn_training", HOSTILE[:200], {"train": ("failed", left("fault", HOSTILE))}, triggering_user_name=HOSTILE[:40])
    page = ask("/run", dag_id="churn_training", run_id=HOSTILE[:200]).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert re.findall("<script[^>]*>", page) == ['<script src="/perennial/static/console.js" defer>']
    for path in ("/run", "/dag"):
        assert "<script>alert" not in ask(path, dag_id=HOSTILE, run_id="r").text


def test_the_tab_of_a_dag_leads_to_its_model(ask: Any) -> None:
    """DE-15: A model's DAG to the model's page; a dataset's to the models that learn from it and may be seen; any other to a sentence."""
    for dag, place in (("churn_training", "/perennial/models/churn"), ("churn_incidents", "/perennial/models/churn/incidents")):
        answer = ask("/dag", dag_id=dag)
        assert (answer.status_code, answer.headers["Location"]) == (303, place)
    page = ask("/dag", dag_id="d_ingestion").text
    assert '<a href="/perennial/models/churn">Churn</a>' in page
    assert "/models/secret" not in page
    assert "No model that you may see learns from e." in ask("/dag", dag_id="e_ingestion").text
    assert "their_etl is no DAG of a model or dataset" in ask("/dag", dag_id="their_etl").text


def test_a_run_is_explained_by_whatever_names_it(ask: Any, runs: Runs) -> None:
    """MN-18: By DAG and run, by its id, a model for its newest run that changed something, a DAG, a version for the run that made it. A
    wrong name and one that may not be read get the nearest ones, and of others not a word."""
    runs.asset("churn_candidate")
    later = {"state": "success", "run_after": START + timedelta(hours=1)}
    made = {"register": ("success", {**left("done", "Registered."), "version": 7}), "validate": ("success", None)}
    runs.add("churn_training", "manual__1", made, state="success", triggering_user_name="ada", conf={"reason": "A try.", "force": False})
    runs.add("churn_release", "asset__2", {"move_traffic": ("success", left("done", "Moved.", action="hold"))}, **later)
    runs.add("churn_monitoring", "scheduled__3", {"monitor": ("success", left("done", "Quiet."))}, **later)
    runs.add("secret_training", "manual__4", {"train": ("failed", left("fault", "A secret."))})
    runs.start(("churn_training", "manual__1"), ("churn_release", "asset__2"), START)

    def found(what: str) -> str:
        view = ask("/explain-run.json", what=what).json()
        return f"{view['dag']}/{view['run']}"

    assert (
        found("churn_training/manual__1") == found("manual__1") == found("churn/7") == found("churn_training") == "churn_training/manual__1"
    )
    assert found("churn") == "churn_release/asset__2"
    assert found("scheduled__3") == "churn_monitoring/scheduled__3"
    for what in ("churn/8", "churn/" + 5_000 * "9", "manual_1", "secret_training/manual__4", "secret"):
        answer = ask("/explain-run.json", what=what)
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith(f"There is no run {what[:200]!r}: name one as DAG/run")
        near = answer.json()["detail"].rpartition("Near to it are ")[2]
        assert (near.startswith("churn_"), "manual__4" in near) == (True, False)
    assert "Near to it are churn_training/manual__1" in ask("/explain-run.json", what="chrun_training").text
    assert ask("/explain-run.json", user=None, what="churn").status_code == 401
    told = ask("/explain-run.json", what="churn/7").json()["explanation"]
    assert told["why"] == ["ada started it: A try."]
    assert told["inputs"] == {"parameter reason": "A try."}
    assert told["became"] == ["Version 7 has had no release.", "It serves no traffic now."]
    why = ask("/explain-run.json", what="churn").json()["explanation"]["why"]
    assert why == ["The run manual__1 of churn_training started it, which announced churn_candidate."]


def test_no_run_at_all_is_a_sentence(ask: Any, runs: Runs) -> None:
    """MN-18: On a platform where no run has begun yet, that is said."""
    assert ask("/explain-run.json", what="churn").json()["detail"].endswith(" No run that you may read has begun yet.")
