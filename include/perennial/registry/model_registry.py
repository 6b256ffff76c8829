"""The registry of trained versions in MLflow: their numbers, where they come from, and which one is candidate or champion.

>>> from perennial.testing import RegistryInMemory  # the same interface without MLflow
>>> registry = RegistryInMemory()
>>> version = registry.register("delays", run_id="r1", digest="a" * 64)
>>> registry.set_alias("delays", CHAMPION, version.number)
>>> registry.version("delays", CHAMPION).digest == "a" * 64
True
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from perennial.errors import CandidateRefused, RegistryDiffers, ServiceUnreachable, UnknownName
from perennial.registry.mlflow_server import MlflowRefusal, MlflowServer
from perennial.registry.run_facts import RunFacts
from perennial.settings import Settings

CHAMPION, CANDIDATE, LAST_GOOD = "champion", "candidate", "last_good"
BREAKS_CALLERS = (
    "breaks_callers"  # tag of what passed the gate: what callers of that champion must do before it can read all they send, or no
)
COMPARED_WITH = "compared_with"  # tag of what passed the gate: number of the champion it was compared with, or none
RECALIBRATES = "recalibrates"  # tag of a recalibrated version: number of the version whose weights it has
MODEL_FOLDER = "model_folder"  # tag of a run: where below its files MLflow finds what the version reads and answers
FOLDER = "folder"  # tag of a version: where its folder is in the store
RUNS_SHOWN = "?workflowType=machine_learning"  # without it MLflow opens on its pages for language models
TRACE = "trace_id"  # tag of a run: trace in which it was made
ORCHESTRATOR = "orchestrator"  # tag of a run: page of the orchestrator's run that began it
ENDED = "ended"  # tag of a run: why a training ended without a version; empty where it runs, or has one
NOTED = "ledger"  # tag of a version that was released: the entry of the ledger that said last what became of it; of a model: of all
REQUIRED = ("snapshot", "snapshot_digest", "code_digest", "lock_digest", "parameters", "seed", "cause", "parents")
KEPT = (*REQUIRED, "run_key", "dataset", "request", "reason")  # tags that a version takes over from its run
TAG_LIMIT, PARAMETER_LIMIT = 5000, 500
METRICS, PAIRS = 700, 90  # of a call: MLflow takes 1,000 metrics, 100 parameters and 100 tags, together 1,000
NEAR = 50  # versions between two that are read with them rather than one by one
ABSENT = "RESOURCE_DOES_NOT_EXIST"
TAKEN = "RESOURCE_ALREADY_EXISTS"


class Provenance(Protocol):
    """The origin of a trained version: its data, code, settings and cause (see `lineage.manifest.Manifest`)."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def run_key(self) -> str:
        """Hash that identifies the training."""
        ...

    @property
    def dataset(self) -> str:
        """Dataset it was trained on."""
        ...

    @property
    def snapshot(self) -> int:
        """Table version that it was trained on."""
        ...

    @property
    def snapshot_digest(self) -> str:
        """Digest of the snapshot's content."""
        ...

    @property
    def code_digest(self) -> str:
        """Hash of the training code."""
        ...

    @property
    def lock_digest(self) -> str:
        """SHA-256 of the lock file."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The settings of the training."""
        ...

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        ...

    @property
    def cause(self) -> str:
        """Why it was trained."""
        ...

    @property
    def reason(self) -> str:
        """A person's reason for the training."""
        ...

    @property
    def request(self) -> str:
        """Key of the retraining request that it answers."""
        ...

    @property
    def parents(self) -> Sequence[str]:
        """Digests of the versions that came before it."""
        ...

    @property
    def created(self) -> datetime:
        """When the version folder was sealed."""
        ...

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """The whole manifest as JSON."""
        ...


@dataclass(frozen=True)
class Version:
    """A registered version."""

    model: str
    number: int
    digest: str  # content address of its folder
    run_id: str
    snapshot: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What the registry says of a model in one answer."""

    exists: bool = False  # whether anything was ever registered
    roles: Mapping[str, int] = field(default_factory=dict)  # alias -> number of the version that has it
    followed: str = ""  # note of the newest entry of the ledger that the registry has followed; empty if that is not known

    def of(self, number: int) -> tuple[str, ...]:
        """The roles of a version, sorted."""
        return tuple(sorted(alias for alias, has_it in self.roles.items() if has_it == number))


class ModelRegistry:
    """Runs, versions and their aliases. Every method raises ServiceUnreachable when MLflow does not answer."""

    def __init__(self, settings: Settings, server: MlflowServer | None = None) -> None:
        self.url = settings.mlflow_url.rstrip("/")
        self._server = server or MlflowServer(settings)
        self._experiments: dict[str, str] = {}  # ids by model: they never change
        self._created: dict[str, dict[str, Any]] = {}  # runs that this object made, by run key, until they are recorded
        self._finished: dict[str, dict[str, Any]] = {}  # runs by id, which say no other thing any more but what is annotated

    def begin_run(self, manifest: Provenance, tags: Mapping[str, str] | None = None) -> str:
        """Say that a training runs; the id of its run.

        A training that failed or was killed goes on in the run that it had. One that is recorded as finished stays so.
        """
        experiment, key = self._experiment(manifest.model), manifest.run_key
        said = {**_run_tags(manifest), **(tags or {})}
        run, _ = self._run_of_key(experiment, key), self._created.pop(key, None)
        if run is None:
            run = self._created[key] = self._create_run(experiment, key, key[:12], _now(), said)
        run_id: str = run["info"]["run_id"]
        status = run["info"].get("status")
        if status == "FINISHED":
            return run_id
        self._note(run, [], _parameters(manifest), {**said, ENDED: ""} if ENDED in _said(run) else said)
        if status != "RUNNING":
            self._server.post("runs/update", run_id=run_id, status="RUNNING")
        return run_id

    def end_run(self, run_id: str, status: Literal["FAILED", "KILLED"], sentence: str) -> None:
        """Say how a training ended that made no version; one that is recorded as finished stays so. Raises UnknownName."""
        if self._run(run_id)["info"].get("status") == "FINISHED":
            return
        self._log(run_id, [], {}, {ENDED: sentence})
        self._server.post("runs/update", run_id=run_id, status=status, end_time=_now())

    def running(self, model: str, orchestrator: str) -> list[str]:
        """Ids of the runs of a model that are said to run, of those that the orchestrator's run began."""
        answer = self._server.post(
            "runs/search",
            experiment_ids=[self._experiment(model)],
            filter=f"attributes.status = 'RUNNING' and tags.{ORCHESTRATOR} = {_quoted(orchestrator)}",
            max_results=100,
        )
        return [str(run["info"]["run_id"]) for run in answer.get("runs", ())]

    def record_run(
        self,
        manifest: Provenance,
        metrics: Mapping[str, float],
        history: Sequence[Mapping[str, float]],
        digest: str,
        *,
        key: str = "",
        facts: RunFacts | None = None,
    ) -> str:
        """Record a finished training or recalibration; the id of its run.

        Recording the same run key again completes what a killed call left and changes nothing else.

        Args:
            manifest: where the version comes from.
            metrics: final figures.
            history: figures of each epoch, first to last.
            digest: content address of the version folder.
            key: what the run is known by, where that is not the manifest's run key: a recalibration has that of its training.
            facts: what MLflow's pages show of it besides.
        """
        key, facts = key or manifest.run_key, facts or RunFacts()
        experiment = self._experiment(manifest.model)
        moment = _milliseconds(manifest.created)
        tags = _run_tags(manifest) | {"digest": digest, "run_key": key}
        run = self._created.pop(key, None) or self._run_of_key(experiment, key)
        if run is None:
            run = self._create_run(experiment, key, digest[:12], moment, {})
        run_id: str = run["info"]["run_id"]
        if run["info"].get("status") == "FINISHED" and _said(run).get("digest") == digest:
            return run_id
        figures = [
            _metric(name, value, moment, int(epoch.get("epoch", place)))
            for place, epoch in enumerate(history)
            for name, value in epoch.items()
            if name != "epoch"  # what the others are drawn against
        ]
        figures += [_metric(name, value, moment, len(history)) for name, value in metrics.items()]
        files = facts.model_files(run_id, digest, manifest.created.isoformat())
        tags |= facts.tags | ({MODEL_FOLDER: "model"} if files else {})
        self._note(run, figures, _parameters(manifest, facts.parameters), tags)
        if facts.datasets:
            self._server.post("runs/log-inputs", run_id=run_id, datasets=[dataset.as_input() for dataset in facts.datasets])
        for name, data in {"manifest.json": manifest.model_dump_json(indent=1).encode(), **files}.items():
            self._server.put_file(run["info"]["artifact_uri"], name, data)
        self._server.post("runs/update", run_id=run_id, status="FINISHED", end_time=max(moment, _now()), run_name=digest[:12])
        self._finished[run_id] = run
        return run_id

    def annotate(
        self,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Add tags, figures and files to a run. Repeating it changes nothing.

        Raises:
            UnknownName: there is no such run.
        """
        run = self._known_run(run_id)
        moment = int(run["info"].get("start_time", 0))
        self._log(run_id, [_metric(name, value, moment, 0) for name, value in (metrics or {}).items()], {}, tags or {})
        for name, data in (files or {}).items():
            self._server.put_file(run["info"]["artifact_uri"], name, data)

    def run_tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run. Raises UnknownName."""
        return _said(self._run(run_id))

    def register(self, model: str, run_id: str, digest: str, tags: Mapping[str, str] | None = None, description: str = "") -> Version:
        """Give a sealed version folder its number. The same digest is registered once.

        Args:
            model: name of the model.
            run_id: run that recorded its training.
            digest: content address of the version folder.
            tags: more to say of the version.
            description: model card in Markdown.

        Raises:
            CandidateRefused: the run does not say where the version comes from, or speaks of another folder.
            UnknownName: there is no such run.
        """
        run = self._known_run(run_id)
        said = _said(run)
        lacking = [name for name in REQUIRED if not said.get(name)]
        if lacking:
            raise CandidateRefused(
                f"Version {digest[:12]} of {model} cannot be registered: its run {run_id} does not record {_listed(lacking)}. "
                "Train it again with `perennial train`."
            )
        if said.get("digest") != digest:
            raise CandidateRefused(
                f"Version {digest[:12]} of {model} cannot be registered: its run {run_id} recorded the version "
                f"{said.get('digest', 'none')[:12]}. Register it with the run that trained it."
            )
        known = self.find(model, digest)
        if known is None:
            kept = {name: said[name] for name in KEPT if said.get(name)}
            source, folder = _source(run, model, digest), {FOLDER: _folder(model, digest)}
            body = {"source": source, "run_id": run_id, "description": description}
            return self._create_version(model, body, {**kept, **(tags or {}), **folder, "digest": digest})
        self.tag_version(model, known.number, tags or {})
        if description:
            self._server.patch("model-versions/update", name=model, version=str(known.number), description=description)
        return Version(known.model, known.number, known.digest, known.run_id, known.snapshot, known.tags | dict(tags or {}), known.aliases)

    def restore(self, model: str, number: int, digest: str, run_id: str, tags: Mapping[str, str], description: str) -> None:
        """Register a version under the number that it had. MLflow counts upwards, so lower free numbers are registered and deleted again.

        Args:
            model: name of the model.
            number: what it had.
            digest: content address of the version folder.
            run_id: run that records its training; empty for a version whose folder is gone.
            tags: what the version said besides its origin.
            description: model card in Markdown.

        Raises:
            RegistryDiffers: MLflow has given the number before.
        """
        run = self._known_run(run_id) if run_id else {}
        said = _said(run) if run else {}
        every = {**{name: said[name] for name in KEPT if said.get(name)}, **tags, FOLDER: _folder(model, digest), "digest": digest}
        body = {"source": _source(run, model, digest), "description": description}
        while True:
            tagged = {name: str(value)[:TAG_LIMIT] for name, value in every.items()}
            given = self._create_version(model, {**body, **({"run_id": run_id} if run_id else {})}, tagged).number
            if given == number:
                return
            self.delete_version(model, given)
            if given > number:
                raise RegistryDiffers(
                    f"The registry at {self.url} has given the number {number} of {model} before and gives it no second time. "
                    f"Make it whole anew: `perennial registry rebuild --model {model} --replace`."
                )

    def delete_version(self, model: str, number: int) -> None:
        """Delete a version's number; it is never given again. No error if it does not exist."""
        try:
            self._server.delete("model-versions/delete", name=model, version=str(number))
        except MlflowRefusal as refusal:
            if refusal.code != ABSENT:
                raise _broken(refusal) from refusal

    def delete_model(self, model: str) -> None:
        """Delete every version of a model and its aliases; its runs stay, and numbers begin with 1 again. No error if there is none."""
        try:
            self._server.delete("registered-models/delete", name=model)
        except MlflowRefusal as refusal:
            if refusal.code != ABSENT:
                raise _broken(refusal) from refusal

    def tag_version(self, model: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for name, value in tags.items():
            self._server.post("model-versions/set-tag", name=model, version=str(number), key=name, value=str(value)[:TAG_LIMIT])

    def version(self, model: str, which: str | int) -> Version | None:
        """The version with that alias or number; None if there is none."""
        try:
            if isinstance(which, int):
                answer = self._server.get("model-versions/get", name=model, version=which)
            else:
                answer = self._server.get("registered-models/alias", name=model, alias=which)
            return _version(answer["model_version"], tuple(sorted(answer["model_version"].get("aliases", ()))))
        except MlflowRefusal as refusal:
            if refusal.code == ABSENT or (refusal.code == "INVALID_PARAMETER_VALUE" and "alias" in refusal.message.lower()):
                return None
            raise _broken(refusal) from refusal

    def standing(self, model: str) -> Standing:
        """Who has which role, and how far the registry has followed the ledger."""
        found = self._server.get("registered-models/search", filter=f"name = {_quoted(model)}", max_results=1).get("registered_models", ())
        for known in found:
            roles = {str(item["alias"]): int(item["version"]) for item in known.get("aliases", ())}
            return Standing(True, roles, _unpaired(known.get("tags", ())).get(NOTED, ""))
        return Standing()

    def note_followed(self, model: str, note: str) -> None:
        """Say of which entry of the ledger the registry has all that it says."""
        self._server.post("registered-models/set-tag", name=model, key=NOTED, value=note)

    def find(self, model: str, digest: str) -> Version | None:
        """The version that has this content, without its roles; None if none has."""
        return next(iter(self._search(model, f"tags.digest = {_quoted(digest)}")), None)

    def numbered(self, model: str, numbers: Collection[int]) -> dict[int, Version]:
        """Those of these versions that there are, without their roles."""
        if not numbers:
            return {}
        first, last = min(numbers), max(numbers)
        if last - first < NEAR + 4 * len(numbers):
            found: Iterable[Version | None] = self._search(model, f"version_number >= {first} and version_number <= {last}")
        else:
            found = (self.version(model, number) for number in sorted(numbers))
        return {version.number: version for version in found if version and version.number in numbers}

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first; none for a model that has no version yet."""
        standing = self.standing(model)
        if not standing.exists:
            return []
        listed = (replace(version, aliases=standing.of(version.number)) for version in self._search(model))
        return sorted(listed, key=lambda version: version.number)

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Give a version a role, such as champion; the version that had it loses it. Raises UnknownName if there is no such version."""
        try:
            self._server.post("registered-models/alias", name=model, alias=alias, version=str(number))
        except MlflowRefusal as refusal:
            if refusal.code == ABSENT:
                raise UnknownName(
                    f"{model} has no version {number}: it cannot become {alias}. `{self.model_url(model)}` lists the versions."
                ) from refusal
            raise _broken(refusal) from refusal

    def delete_alias(self, model: str, alias: str) -> None:
        """Take a role away from whichever version has it. No error if none has."""
        try:
            self._server.delete("registered-models/alias", name=model, alias=alias)
        except MlflowRefusal as refusal:
            if refusal.code != ABSENT:
                raise _broken(refusal) from refusal

    def run_url(self, run_id: str) -> str:
        """URL of a run's page."""
        try:
            return f"{self.url}/#/experiments/{self._known_run(run_id)['info']['experiment_id']}/runs/{run_id}{RUNS_SHOWN}"
        except UnknownName:
            return self.url

    def version_url(self, model: str, number: int) -> str:
        """URL of a version's page."""
        return f"{self.url}/#/models/{model}/versions/{number}{RUNS_SHOWN}"

    def model_url(self, model: str) -> str:
        """URL of a model's page, with its versions and aliases."""
        return f"{self.url}/#/models/{model}{RUNS_SHOWN}"

    def _experiment(self, model: str) -> str:
        if model not in self._experiments:
            self._experiments[model] = self._experiment_by_name(model)
        return self._experiments[model]

    def _experiment_by_name(self, model: str) -> str:
        for _ in range(2):
            try:
                experiment_id: str = self._server.get("experiments/get-by-name", experiment_name=model)["experiment"]["experiment_id"]
                return experiment_id
            except MlflowRefusal as refusal:
                if refusal.code != ABSENT:
                    raise _broken(refusal) from refusal
            try:
                made: str = self._server.post("experiments/create", name=model)["experiment_id"]
                return made
            except MlflowRefusal as refusal:
                if refusal.code != TAKEN:  # another stage made it since
                    raise _broken(refusal) from refusal
        raise ServiceUnreachable(
            f"MLflow at {self.url} says both that {model} is there and that it is not. Restore the deleted experiment {model} in its UI."
        )

    def _search(self, model: str, which: str = "") -> list[Version]:
        """The versions of a model for which a filter of MLflow's holds, without their roles."""
        listed: list[Version] = []
        page, filtered = "", f"name = {_quoted(model)}{f' and {which}' if which else ''}"
        while True:
            answer = self._server.get("model-versions/search", filter=filtered, max_results=1000, **({"page_token": page} if page else {}))
            listed += [_version(item, ()) for item in answer.get("model_versions", ())]
            page = answer.get("next_page_token", "")
            if not page:
                return listed

    def _create_version(self, model: str, body: Mapping[str, Any], tags: Mapping[str, str]) -> Version:
        """A new version, of a model that is made where it is the first."""
        for _ in range(2):
            try:
                return _version(self._server.post("model-versions/create", name=model, **body, tags=_pairs(tags))["model_version"], ())
            except MlflowRefusal as refusal:
                if refusal.code != ABSENT:
                    raise _broken(refusal) from refusal
            self._create_model(model)
        raise ServiceUnreachable(f"MLflow at {self.url} makes no version of {model}: it says that there is none, also after it was made.")

    def _create_model(self, model: str) -> None:
        try:
            self._server.post("registered-models/create", name=model)
        except MlflowRefusal as refusal:
            if refusal.code != TAKEN:
                raise _broken(refusal) from refusal

    def _create_run(self, experiment: str, key: str, name: str, moment: int, tags: Mapping[str, str]) -> dict[str, Any]:
        """A new run, which is found by its key from then on, and says that much of itself."""
        said = {"run_key": key, **{tag: str(value)[:TAG_LIMIT] for tag, value in tags.items()}}
        body = {"experiment_id": experiment, "run_name": name, "start_time": moment, "tags": _pairs(said)}
        run: dict[str, Any] = self._server.post("runs/create", **body)["run"]
        run["data"] = {**run.get("data", {}), "tags": _pairs(said)}
        return run

    def _run_of_key(self, experiment: str, run_key: str) -> dict[str, Any] | None:
        answer = self._server.post(
            "runs/search",
            experiment_ids=[experiment],
            filter=f"tags.run_key = '{run_key}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return next(iter(answer.get("runs", ())), None)

    def _run(self, run_id: str) -> dict[str, Any]:
        try:
            run: dict[str, Any] = self._server.get("runs/get", run_id=run_id)["run"]
            return run
        except MlflowRefusal as refusal:
            if refusal.code in (ABSENT, "INVALID_PARAMETER_VALUE"):
                raise UnknownName(f"MLflow has no run {run_id!r}. {self.url} lists the runs.") from refusal
            raise _broken(refusal) from refusal

    def _known_run(self, run_id: str) -> dict[str, Any]:
        """A run as `_run` gives it; one that was found finished is not read again."""
        if run_id not in self._finished:
            run = self._run(run_id)
            if run["info"].get("status") != "FINISHED":
                return run
            self._finished[run_id] = run
        return self._finished[run_id]

    def _note(self, run: dict[str, Any], metrics: list[dict[str, Any]], parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Log what a run does not say yet, and remember of it what was logged."""
        said, known = _said(run), _unpaired(run["data"].get("params", ()))
        new_tags = {name: value for name, value in tags.items() if said.get(name) != str(value)[:TAG_LIMIT]}
        new_parameters = {name: value for name, value in parameters.items() if known.get(name) != value}
        self._log(run["info"]["run_id"], metrics, new_parameters, new_tags)
        run["data"] = {**run["data"], "tags": _pairs(said | new_tags), "params": _pairs(known | new_parameters)}

    def _log(self, run_id: str, metrics: list[dict[str, Any]], parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """In as few calls as MLflow takes it in; none where there is nothing to say."""
        left = {"metrics": metrics, "params": _pairs(parameters), "tags": _pairs({k: str(v)[:TAG_LIMIT] for k, v in tags.items()})}
        try:
            while any(left.values()):
                sizes = {"metrics": METRICS, "params": PAIRS, "tags": PAIRS}
                self._server.post("runs/log-batch", run_id=run_id, **{what: items[: sizes[what]] for what, items in left.items() if items})
                left = {what: items[sizes[what] :] for what, items in left.items()}
        except MlflowRefusal as refusal:
            raise _broken(refusal) from refusal


def same_weights(registry: ModelRegistry, model: str, number: int | None, known: Mapping[int, Version]) -> list[str]:
    """A version (as a tag names it, "none" for none), and the versions that it recalibrates, in turn: all have the same weights.

    Args:
        registry: is asked for those that are not known.
        model: name of the model.
        number: of the version.
        known: versions that were read already.
    """
    numbers = [str(number or "none")]
    while number is not None:
        version = known.get(number) or registry.version(model, number)
        before = version.tags.get(RECALIBRATES, "") if version else ""
        number = int(before) if before else None
        numbers += [before] if before else []
    return numbers


def give_roles(registry: ModelRegistry, model: str, roles: Mapping[str, int | None], has: Mapping[str, int] | None = None) -> None:
    """Give each role to its version, and take it from all where that is None. Repeating it changes nothing.

    Args:
        registry: has the roles.
        model: name of the model.
        roles: alias -> number of the version that is to have it, None for none.
        has: the roles as they are, so that nothing is written that holds already; None where that is not known.
    """
    for alias, number in roles.items():
        if has is not None and has.get(alias) == number:
            continue
        if number is None:
            registry.delete_alias(model, alias)
        else:
            registry.set_alias(model, alias, number)


def withdraw_candidate(registry: ModelRegistry, model: str, *numbers: int | None) -> None:
    """Take the role of candidate from these versions; another version keeps it."""
    candidate = registry.version(model, CANDIDATE)
    if candidate and candidate.number in numbers:
        registry.delete_alias(model, CANDIDATE)


def _version(item: Mapping[str, Any], aliases: tuple[str, ...]) -> Version:
    tags = _unpaired(item.get("tags", ()))
    snapshot = tags.get("snapshot", "")
    return Version(
        item["name"],
        int(item["version"]),
        tags.get("digest", ""),
        item.get("run_id", ""),
        int(snapshot) if snapshot.isdigit() else None,
        tags,
        aliases,
    )


def _parameters(manifest: Provenance, more: Mapping[str, str] | None = None) -> dict[str, str]:
    every = {"seed": manifest.seed, **manifest.parameters, **(more or {})}
    return {name: str(value)[:PARAMETER_LIMIT] for name, value in every.items()}


def _run_tags(manifest: Provenance) -> dict[str, str]:
    plain = (
        "model",
        "dataset",
        "snapshot",
        "snapshot_digest",
        "code_digest",
        "lock_digest",
        "seed",
        "cause",
        "reason",
        "request",
        "run_key",
    )
    tags = {name: str(getattr(manifest, name)) for name in plain if getattr(manifest, name) is not None and str(getattr(manifest, name))}
    return tags | {
        "parameters": json.dumps(manifest.parameters, sort_keys=True),
        "parents": json.dumps(list(manifest.parents)),
    }


def _folder(model: str, digest: str) -> str:
    return f"perennial:/models/{model}/versions/{digest}"


def _source(run: Mapping[str, Any], model: str, digest: str) -> str:
    """Where MLflow looks for what a version reads and answers: below its run's files, else the version's folder, which it cannot open."""
    described = run and _unpaired(run["data"].get("tags", ())).get(MODEL_FOLDER)
    return f"{run['info']['artifact_uri']}/{described}" if described else _folder(model, digest)


def _metric(name: str, value: float, moment: int, step: int) -> dict[str, Any]:
    number = float(value)
    shown: float | str = number if math.isfinite(number) else "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return {"key": name, "value": shown, "timestamp": moment, "step": step}


def _quoted(text: str) -> str:
    """A text in a filter of MLflow's; one with both kinds of quotes cannot be asked for."""
    return f"'{text}'" if "'" not in text else '"' + text.replace('"', "") + '"'


def _now() -> int:
    return int(datetime.now().timestamp() * 1000)


def _milliseconds(moment: datetime | str) -> int:
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return int(when.timestamp() * 1000)


def _pairs(mapping: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in mapping.items()]


def _unpaired(pairs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}


def _said(run: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a run."""
    return _unpaired(run["data"].get("tags", ()))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _broken(refusal: MlflowRefusal) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"MLflow refused a call that it should take ({refusal}). Its version may not fit: 3.17 is what this was tested with."
    )
