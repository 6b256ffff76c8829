"""A training from a notebook: the stages of the training DAG, each as a process of its own here, or the DAG itself in Airflow."""

from __future__ import annotations

import getpass
import html
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from perennial import discovery
from perennial.client.connection import connection
from perennial.client.outcome_rows import Sentence
from perennial.client.process import run_stage, say
from perennial.errors import Refused
from perennial.results import EvaluateResult, RegisterResult, ReleaseResult, TrainResult, ValidateResult

if TYPE_CHECKING:
    import pandas

WHO = ("candidate", "champion", "rule")  # whose figures an evaluation may have


class Evaluation:
    """How a candidate did on the rows of its test split.

    Attributes:
        result: what the stage said: sentence, links, metrics.
        document: the whole evaluation, as it is stored.
    """

    def __init__(self, result: EvaluateResult, document: dict[str, Any]) -> None:
        self.result, self.document = result, document

    @property
    def frame(self) -> pandas.DataFrame:
        """A row for each metric: of the candidate with its 95 % interval, of the champion, and of the simplest rule."""
        import pandas

        test = self.document["parts"]["test"]
        metrics = {who: test[who]["metrics"] for who in WHO if who in test}
        ends = test["candidate"].get("intervals", {})
        rows = [
            {
                "metric": name,
                "candidate": value,
                "low": ends.get(name, (None, None))[0],
                "high": ends.get(name, (None, None))[1],
                **{who: figures.get(name) for who, figures in metrics.items() if who != "candidate"},
            }
            for name, value in metrics["candidate"].items()
        ]
        return pandas.DataFrame(rows).set_index("metric")

    def __repr__(self) -> str:
        return f"{self.result.sentence}\n{self.frame.to_string(float_format='{:.4f}'.format, na_rep='-')}"

    def _repr_html_(self) -> str:
        return f"{_paragraph(self.result.sentence, self.result.links)}{self.frame.to_html(float_format='{:.4f}'.format, na_rep='')}"


class Judged:
    """What the gate said of a candidate that it registered.

    Attributes:
        result: what the stage said.
        version: number of the version.
    """

    def __init__(self, result: RegisterResult) -> None:
        self.result, self.version = result, result.version

    @property
    def frame(self) -> pandas.DataFrame:
        """A row for each check of the gate; none where the candidate was registered before."""
        import pandas

        checks: Any = self.result.evidence.get("checks", [])
        return pandas.DataFrame([{name: check[name] for name in ("name", "passed", "sentence")} for check in checks])

    def __repr__(self) -> str:
        return self.result.sentence

    def _repr_html_(self) -> str:
        table = "" if self.frame.empty else self.frame.to_html(index=False)
        return f"{_paragraph(self.result.sentence, self.result.links)}{table}"


@dataclass
class Candidate:
    """A trained candidate: a sealed version folder, and its run in MLflow.

    Attributes:
        model: its name.
        digest: content address of its folder.
        run_id: of MLflow.
        metrics: on the validation rows.
        sentence: what the training said.
        links: pages that show more, by title.
    """

    model: str
    digest: str
    run_id: str
    metrics: dict[str, float]
    sentence: str
    links: dict[str, str] = field(default_factory=dict, repr=False)
    code: str = field(default="", repr=False)  # of the model's files when the training began: later stages refuse others
    _evaluation: EvaluateResult | None = field(default=None, repr=False)
    _registered: RegisterResult | None = field(default=None, repr=False)

    def evaluate(self) -> Evaluation:
        """Measure it on its test rows, side by side with the champion, as the stage `evaluate` does.

        Raises:
            Refused: nothing can be measured, or the model's files have changed since the training.
            Fault: MLflow or the store does not answer.
        """
        here = connection()
        if self._evaluation is None:
            self._evaluation = run_stage(here.settings, "evaluate", EvaluateResult, **self._named)
        return Evaluation(self._evaluation, json.loads(here.store.read(self._evaluation.evaluation)))

    def register(self) -> Judged:
        """Ask the gate, which registers the candidate if it is a model and no worse than the champion. It is evaluated first if it was not.

        Raises:
            Refused: the gate says no; the sentence says which check and by how much.
            Fault: MLflow or the store does not answer.
        """
        if self._registered is None:
            evaluation = self.evaluate().result.evaluation
            self._registered = run_stage(connection().settings, "register", RegisterResult, **self._named, evaluation=evaluation)
        return Judged(self._registered)

    @property
    def _named(self) -> dict[str, Any]:
        return {"model": self.model, "digest": self.digest, "run_id": self.run_id, "code": self.code}

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        figures = "".join(f"<tr><td>{html.escape(name)}</td><td>{value:.4f}</td></tr>" for name, value in sorted(self.metrics.items()))
        table = f"<table><thead><tr><th>metric</th><th>on validation rows</th></tr></thead><tbody>{figures}</tbody></table>"
        return _paragraph(self.sentence, self.links) + table


def train(
    model: str,
    *,
    reason: str = "",
    snapshot: int | None = None,
    max_epochs: int | None = None,
    where: Literal["here", "airflow"] = "here",
) -> Candidate:
    """Train a candidate, and print a line for each epoch while it trains.

    `here`, the stages `validate` and `train` run one after the other as processes of the workload environment, as the training DAG runs
    them; `evaluate` and `register` of the candidate do the rest. `airflow` starts the DAG `<model>_training`, whose stages are pods where
    Airflow runs on Kubernetes, and waits for its end: what it returns is evaluated already, and registered if the gate let it. Either way
    the same stage records the run in MLflow. Inputs that were trained on before give the same candidate at once.

    Args:
        model: its name.
        reason: why it is wanted, for the record.
        snapshot: version of the dataset's table; the newest if absent.
        max_epochs: epochs at most, in place of the spec's.
        where: `here` or `airflow`.

    Raises:
        Refused: the data must not be trained on, or cannot give a model.
        Fault: it broke, or MLflow, the store or Airflow does not answer.
    """
    discovery.model(model)
    asked = {"reason": reason, "snapshot": snapshot, "max_epochs": max_epochs}
    if where == "airflow":
        from perennial.client.airflow import train_in_airflow

        return train_in_airflow(connection(), model, say, {name: value for name, value in asked.items() if value not in (None, "")})
    settings = connection().settings
    begun = run_stage(
        settings,
        "validate",
        ValidateResult,
        model=model,
        cause="manual",
        force=True,
        snapshot=snapshot,
        reason=reason,
        run_url=f"a notebook of {getpass.getuser()}, {uuid.uuid4().hex[:12]}",
    )
    if begun.outcome == "skipped":
        raise Refused(begun.sentence)
    say(begun.sentence)
    chosen = {"snapshot": begun.snapshot, "labels": begun.labels, "predictions": begun.predictions, "cause": begun.cause}
    return candidate_of(
        model,
        run_stage(
            settings,
            "train",
            TrainResult,
            say,
            model=model,
            **chosen,
            request=begun.request,
            code=begun.code,
            max_epochs=max_epochs,
            reason=reason,
        ),
        begun.code,
    )


def candidate_of(model: str, trained: TrainResult, code: str) -> Candidate:
    """The candidate that the stage `train` made."""
    return Candidate(model, trained.digest, trained.run_id, trained.metrics, trained.sentence, trained.links, code)


def release(model: str, version: int | None = None) -> Sentence:
    """Take one look at a release, as the stage `release` does: start it, advance, hold, promote or roll back. A model's first version takes
    all traffic at once; the looks of a canary's steps are best left to the DAG `<model>_release`.

    Args:
        model: its name.
        version: number of the version; the one whose release is under way, else the newest that waits, if absent.

    Returns:
        What the look decided, in words.

    Raises:
        Refused: the release may not start.
        Fault: the servers or the registry do not answer.
    """
    discovery.model(model)
    result = run_stage(connection().settings, "release", ReleaseResult, model=model, version=version, actor=getpass.getuser())
    return Sentence(result.sentence)


def _paragraph(sentence: str, links: dict[str, str]) -> str:
    pages = "".join(f' <a href="{html.escape(address)}">{html.escape(title)}</a>' for title, address in links.items())
    return f"<p>{html.escape(sentence)}{pages}</p>"
