"""A client of Airflow's REST API for the demo and the end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from perennial.errors import Fault, ServiceUnreachable

ENDED = ("success", "failed")
_Found = TypeVar("_Found")
_RETRY_SECONDS = 0.5
_ANSWERED_AFTER = 3.0  # seconds from a question to its answer


@dataclass(frozen=True)
class Run:
    """One DAG run."""

    dag: str
    id: str
    state: str
    url: str
    seconds: float  # from the event that asked for it to its end; 0 while it runs


class AirflowApi:
    """A logged-in client of one Airflow."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self._user, self._password = url.rstrip("/"), user, password
        self._session = requests.Session()

    def _ask(self, method: str, path: str, *, patience: float = 30, **arguments: Any) -> Any:
        """Send one request. If the server is away (a restart), it is retried for `patience` seconds."""
        until = time.monotonic() + patience
        while True:
            try:
                if "Authorization" not in self._session.headers:
                    self._log_in()
                answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=30, **arguments)
                if answer.status_code == 401:
                    del self._session.headers["Authorization"]
                elif answer.status_code < 500:
                    break
            except (requests.ConnectionError, requests.Timeout):
                pass  # asked again below, until patience ends
            if time.monotonic() > until:
                raise ServiceUnreachable(f"Airflow at {self.url} does not answer: see `perennial status`.")
            time.sleep(_RETRY_SECONDS)
        if answer.status_code == 404:
            raise KeyError(path)
        if answer.status_code == 409:
            raise FileExistsError(path)
        if not answer.ok:
            raise Fault(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _log_in(self) -> None:
        answer = self._session.post(f"{self.url}/auth/token", json={"username": self._user, "password": self._password}, timeout=30)
        if answer.status_code >= 500:
            raise requests.ConnectionError(answer.text[:200])
        if not answer.ok:
            raise Fault(f"Airflow at {self.url} refuses user {self._user}: {answer.status_code}. Another platform may hold the port.")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def token(self) -> str:
        """The token of this login, for what lies beside the REST API, such as the console's pages."""
        if "Authorization" not in self._session.headers:
            self._log_in()
        return str(self._session.headers["Authorization"]).removeprefix("Bearer ")

    def dags(self) -> set[str]:
        """Every DAG that was parsed."""
        return {d["dag_id"] for d in self._ask("GET", "/dags", params={"limit": 200})["dags"]}

    def import_errors(self) -> list[str]:
        """Files that could not be parsed, with the reason."""
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in self._ask("GET", "/importErrors")["import_errors"]]

    def run_states(self) -> dict[tuple[str, str], int]:
        """How many runs of each DAG are in each state, without waiting for an Airflow that is away."""
        answer = self._ask("GET", "/dagStats", patience=0)
        return {(one["dag_id"], part["state"]): part["count"] for one in answer["dags"] for part in one["stats"]}

    def pools(self) -> dict[str, dict[str, int]]:
        """Slots of each pool by what they do, without waiting for an Airflow that is away."""
        answer = self._ask("GET", "/pools", patience=0)
        return {one["name"]: {state: one[f"{state}_slots"] for state in ("open", "running", "queued")} for one in answer["pools"]}

    def trigger(self, dag: str, **parameters: Any) -> Run:
        """Start a run by hand with these parameters."""
        # With an id of our own, asking again after a lost answer finds the run instead of starting a second one.
        run_id = f"manual__{datetime.now(timezone.utc).isoformat()}_{uuid.uuid4().hex[:8]}"
        try:
            body = {"dag_run_id": run_id, "logical_date": None, "conf": parameters}
            return self._run(self._ask("POST", f"/dags/{dag}/dagRuns", json=body))
        except FileExistsError:
            return self.run(dag, run_id)

    def runs(self, dag: str) -> list[Run]:
        """The runs of a DAG, newest first."""
        answer = self._ask("GET", f"/dags/{dag}/dagRuns", params={"order_by": "-run_after", "limit": 100})
        return [self._run(r) for r in answer["dag_runs"]]

    def run(self, dag: str, run_id: str) -> Run:
        """One run as it is now."""
        return self._run(self._ask("GET", f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}"))

    def wait(self, run: Run, seconds: float) -> Run:
        """Wait until a run has ended. Raises Fault when the time is up."""
        return self.until(
            lambda: now if (now := self.run(run.dag, run.id)).state in ENDED else None, f"the end of {run.dag} {run.id}", seconds
        )

    def at_work(self, dag: str) -> bool:
        """Whether any run of a DAG waits or runs."""
        return any(run.state not in ENDED for run in self.runs(dag))

    def until(self, look: Callable[[], _Found | None], what: str, seconds: float, dag: str = "") -> _Found:
        """Call repeatedly until there is a result. Raises Fault when the time is up.

        Where a DAG is named the time counts from its last run's end, because a slow machine may take long over a run; only after ten
        times as long it is up although one is at work.
        """
        began = time.monotonic()
        end = began + seconds
        while (answer := look()) is None:
            if dag and time.monotonic() > end - seconds / 2 and self.at_work(dag):
                end = min(time.monotonic() + seconds, began + 10 * seconds)
            if time.monotonic() > end:
                waited = time.monotonic() - began
                raise Fault(f"Waited {waited:.0f} s for {what}, in vain: open {self.url} to see why.")
            time.sleep(_RETRY_SECONDS)
        return answer

    def note(self, run: Run) -> str:
        """The note of a run; empty if it has none."""
        return self._ask("GET", f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}")["note"] or ""

    def tasks(self, run: Run) -> dict[str, str | None]:
        """State of every task of a run."""
        answer = self._ask("GET", f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}/taskInstances")
        return {t["task_id"]: t["state"] for t in answer["task_instances"]}

    def result(self, run: Run, task: str) -> dict[str, Any] | None:
        """What a task returned (its stage's result); none if it returned nothing."""
        try:
            answer = self._ask(
                "GET",
                f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}/taskInstances/{task}/xcomEntries/return_value",
                params={"deserialize": False},
            )
        except KeyError:
            return None
        value = answer["value"]
        if isinstance(value, str):
            value = json.loads(value)
        document: dict[str, Any] = value
        return document

    def log(self, run: Run, task: str) -> list[str]:
        """The lines of a task's last try, as the UI shows them; also while it runs."""
        path = f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}/taskInstances/{task}"
        tries = max(1, self._ask("GET", path)["try_number"])  # 0 where it was skipped before it could begin
        return [line["event"] for line in self._ask("GET", f"{path}/logs/{tries}", params={"map_index": -1})["content"]]

    def answer(self, run: Run, task: str, option: str) -> None:
        """Answer a task's question to a person, as the logged-in user, seconds after it was asked, as a person would.

        The scheduler takes a task that is answered before it has heard that its process ended for one that was killed.

        Raises:
            KeyError: the task does not ask yet.
            FileExistsError: somebody has answered already.
        """
        path = f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}/taskInstances/{task}/-1/hitlDetails"
        self._ask("GET", path)
        time.sleep(_ANSWERED_AFTER)
        self._ask("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def announce(self, asset: str) -> None:
        """Make an event of an asset, as a task would."""
        (known_asset,) = self._ask("GET", "/assets", params={"name_pattern": asset})["assets"]
        self._ask("POST", "/assets/events", json={"asset_id": known_asset["id"], "extra": {}})

    def parse_again(self, dag: str) -> None:
        """Have the file of a DAG parsed at once."""
        with contextlib.suppress(FileExistsError):  # asked for already
            self._ask("PUT", f"/parseDagFile/{self._ask('GET', f'/dags/{dag}/details')['file_token']}")

    def _run(self, answer: dict[str, Any]) -> Run:
        began = answer.get("queued_at") or answer.get("start_date")
        ended = answer.get("end_date")
        seconds = (_time(ended) - _time(began)).total_seconds() if began and ended else 0.0
        dag, run_id = answer["dag_id"], answer["dag_run_id"]
        return Run(dag, run_id, answer["state"], f"{self.url}/dags/{dag}/runs/{quote(run_id, safe='')}", seconds)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
