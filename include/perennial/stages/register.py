"""Run the gate on a candidate, and register it if it passes.

$ perennial register --model flight_delays --digest DIGEST --run-id RUN --evaluation reports/flight_delays/DIGEST/evaluation.json
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perennial import discovery, tracing
from perennial.errors import CandidateRefused, StoredDataDamaged, UnknownName
from perennial.learner_words import name_of
from perennial.lineage.ledger import AGAINST
from perennial.lineage.making import usage_of
from perennial.lineage.manifest import require_code
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_notes import card_key, note_versions
from perennial.registry.alarms import finds_as_much, is_stable, keeps_budget
from perennial.registry.model_registry import (
    BREAKS_CALLERS,
    CANDIDATE,
    CHAMPION,
    COMPARED_WITH,
    ModelRegistry,
    Version,
    same_weights,
    withdraw_candidate,
)
from perennial.registry.promotion import Check, Losses, Verdict, has_every_class, judge, keeps_its_meaning
from perennial.registry.signatures import Changes
from perennial.reports.notes import note_evaluation
from perennial.results import RegisterResult
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import _agreement
from perennial.stages._inspection import inspected
from perennial.stages._online import export_values
from perennial.store import Store
from perennial.training.report import with_verdict

log = logging.getLogger("perennial.register")


def run(settings: Settings, store: Store, *, model: str, digest: str, run_id: str, evaluation: str, code: str = "") -> RegisterResult:
    """Judge and register. Repeating it changes nothing.

    A refused candidate keeps its run: the tag `refused` says why, `gate.json` holds every check. A version that waits for its
    release while another one became champion is judged again, against that one.

    Raises:
        TrainingRefused: the model's files are not those that the run began with.
        CandidateRefused: the gate says no; the sentence says which check and by how much.
        UnknownName: there is no such model, version, run or evaluation.
        RegistryDiffers: the registry is not the one that the ledger tells of.
        ServiceUnreachable: MLflow does not answer.
        StoredDataDamaged: the version's files or the evaluation do not fit together.
    """
    spec = discovery.model(model)
    require_code(spec, code)
    registry = ModelRegistry(settings)
    agreed = _agreement.require(store, registry, model)
    champion = agreed.having(CHAMPION)
    opponent = str(champion.number if champion else "none")
    known = registry.find(model, digest)
    if known is not None and (is_decided(known) or known.tags.get(COMPARED_WITH) == opponent):
        result = _registered(
            settings,
            registry,
            known,
            agreed.having(CANDIDATE),
            {"registered_before": True},
            f"Version {known.number} of {model} is {digest[:12]} already; the gate passed it before.",
        )
        note_registration(store, model, known.number, digest, known.tags)
        note_versions(store, model)
        if not store.exists(verdict_key(model, digest)):  # a call that was killed between the registry and the store
            store.write(verdict_key(model, digest), json.dumps({"passed": True, "sentence": known.tags.get("gate", "")}, indent=1).encode())
            note_evaluation(store, model, digest)
        return result
    document = _document(store, evaluation, digest)
    compared = _compared_with(registry, model, document, champion, agreed.versions)
    with tracing.span("replay golden rows", model=model, digest=digest):
        golden, served = inspected(settings, store, spec, digest)
    test, older = _losses(store, document, spec)
    changes = _changes(document)
    besides = [] if compared == "none" else [keeps_its_meaning(changes, f"version {compared}")]
    besides += _of_task(store, spec, document)
    verdict = judge(
        spec.gate,
        document["parts"]["test"]["candidate"]["metrics"],
        golden,
        losses=test,
        older=older,
        not_compared=document.get("incomparable", "").rstrip(".") or _beside_champion(spec, document),
        besides=besides,
        inspected=served,
    )
    evidence = verdict.as_json()
    encoded = json.dumps(evidence, indent=1).encode()
    card = model_card(spec, verdict, document)
    store.write(card_key(model, digest), card.encode())
    registry.annotate(
        run_id,
        {
            "evaluation": _evaluation_page(settings, model, digest),
            "gate": "passed" if verdict.passed else "refused",
            **({} if verdict.passed else {"refused": verdict.sentence}),
        },
        {f"test_{name}": value for name, value in document["parts"]["test"]["candidate"]["metrics"].items()},
        {"evaluation.json": store.read(evaluation), "gate.json": encoded, **judged_page(store, model, digest, evidence)},
    )
    # The stored verdict says that this training needs no other, so it comes after all that must have happened.
    if not verdict.passed:
        if known is not None:
            withdraw_candidate(registry, model, known.number)
        store.write(verdict_key(model, digest), encoded)
        note_evaluation(store, model, digest)
        note_versions(store, model)
        raise CandidateRefused(
            f"Candidate {digest[:12]} of {model} is refused. {verdict.sentence} Its run keeps the evidence: {registry.run_url(run_id)}",
            _links(settings, registry, model, digest, run_id),
        )
    for dataset in dict.fromkeys(join.dataset for join in spec.joins):  # before any server of it starts
        export_values(store, dataset)
    tags = {"gate": verdict.sentence, COMPARED_WITH: compared, BREAKS_CALLERS: "; ".join(changes.breaking) or "no"}
    tags |= made_by(store, spec, digest)
    if known is None:
        version, verb = registry.register(model, run_id, digest, tags, card), "is registered"
    else:
        registry.tag_version(model, known.number, tags)
        version, verb = known, f"was judged again, against {'no champion' if compared == 'none' else f'version {compared}'}"
    note_registration(store, model, version.number, digest, {**version.tags, **tags})
    sentence = f"Version {version.number} of {model} ({digest[:12]}) {verb}: {verdict.sentence}"
    result = _registered(settings, registry, version, agreed.having(CANDIDATE), evidence, sentence)
    store.write(verdict_key(model, digest), encoded)
    note_evaluation(store, model, digest)
    note_versions(store, model)
    return result


def made_by(store: Store, spec: ModelSpec, digest: str) -> dict[str, str]:
    """What made the version and what that used, as tags; without the latter where nobody noted it."""
    used = usage_of(store, spec.name, digest)
    return {"learner": spec.learner, **({"used": used.sentence} if used else {})}


def judged_page(store: Store, model: str, digest: str, verdict: Mapping[str, Any]) -> dict[str, bytes]:
    """Write the verdict on top of the evaluation's page; the page, by its name, or nothing if there is none."""
    place = f"reports/{model}/{digest}/evaluation.html"
    try:
        shown = with_verdict(store.read(place).decode(), verdict).encode()
    except KeyError:
        return {}
    store.write(place, shown)
    return {"evaluation.html": shown}


def readme(spec: ModelSpec) -> str:
    """The model's description from its folder, in Markdown, with which every model card begins."""
    file = discovery.model_folder(spec.name) / "README.md"
    return (file.read_text() if file.exists() else f"# {spec.title}\n").rstrip()


def model_card(spec: ModelSpec, verdict: Verdict, document: Mapping[str, Any]) -> str:
    """The version's model card in Markdown: what the model's folder says, then this version's figures."""
    test = document["parts"]["test"]
    figures = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(test["candidate"]["metrics"].items()))
    checks = "\n".join(f"* {check.name}: {check.sentence}" for check in verdict.checks)
    return (
        f"{readme(spec)}\n\n## This version\n\nSnapshot {document['snapshot']}, {test['rows']:,} test rows, "
        f"made by {name_of(spec.learner)}, owner {spec.owner}.\n\n| metric | value |\n| --- | --- |\n{figures}\n\n{checks}\n"
    )


def _registered(
    settings: Settings, registry: ModelRegistry, version: Version, waiting: Version | None, evidence: dict[str, object], sentence: str
) -> RegisterResult:
    if not is_decided(version) and (waiting is None or waiting.number < version.number):
        registry.set_alias(version.model, CANDIDATE, version.number)
    links = {
        "Model version": registry.version_url(version.model, version.number),
        **_links(settings, registry, version.model, version.digest, version.run_id),
    }
    return RegisterResult(sentence=sentence, version=version.number, run_id=version.run_id, evidence=evidence, links=links)


def is_decided(version: Version) -> bool:
    """Whether a release has decided on it: a repeated call must not bring that back."""
    return bool({"promoted", *AGAINST} & set(version.tags))


def _links(settings: Settings, registry: ModelRegistry, model: str, digest: str, run_id: str) -> dict[str, str]:
    return {"MLflow run": registry.run_url(run_id), "Evaluation": _evaluation_page(settings, model, digest)}


def _evaluation_page(settings: Settings, model: str, digest: str) -> str:
    return settings.report_url(f"reports/{model}/{digest}/evaluation.html")


def _document(store: Store, evaluation: str, digest: str) -> dict[str, Any]:
    try:
        data = store.read(evaluation)
    except (KeyError, ValueError):  # no such object, or no key at all
        raise UnknownName(f"The store has no evaluation {evaluation}. Run `perennial evaluate`; it prints the key.") from None
    document: dict[str, Any] = json.loads(data)
    if document.get("digest") != digest:
        raise StoredDataDamaged(
            f"The evaluation {evaluation} speaks of {str(document.get('digest'))[:12]}, not of {digest[:12]}. "
            "Run `perennial evaluate` for this candidate."
        )
    return document


def _changes(document: Mapping[str, Any]) -> Changes:
    """The changes that the candidate makes for the champion's callers.

    An evaluation of before that was written down says at least why nothing compares.
    """
    if "signature" in document:
        return Changes.read(document["signature"])
    return Changes(meaning=(document["incomparable"].rstrip("."),)) if document.get("incomparable") else Changes()


def _compared_with(
    registry: ModelRegistry, model: str, document: Mapping[str, Any], champion: Version | None, known: Mapping[int, Version]
) -> str:
    """The version that a candidate was compared with, "none" without one: the champion, or one that the champion recalibrates."""
    compared = document.get("incomparable_with") or (document.get("champion") or {}).get("version")
    now = champion.number if champion and champion.digest != document["digest"] else None
    if str(compared or "none") not in same_weights(registry, model, now, known):
        was, is_now = (f"version {number}" if number else "no champion" for number in (compared, now))
        raise CandidateRefused(
            f"The candidate {document['digest'][:12]} of {model} was compared with {was}, but {is_now} is the champion now. "
            "Run `perennial evaluate` and `perennial register` again."
        )
    return str(compared or (champion.number if champion else "none"))


def _losses(store: Store, document: Mapping[str, Any], spec: ModelSpec) -> tuple[Losses | None, dict[str, Losses]]:
    """Losses on the test split, and on older data by slice; None where there is no champion, or no label to learn from."""
    if spec.anomaly or not document.get("champion"):
        return None, {}
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(store.read(document["losses"])))
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names if name != "key"}
    units = columns.get("unit", columns["day"])  # groups, where the split is by group; an evaluation from before that has days alone
    drawn = {name: part.get("drawn", "days") for name, part in document["parts"].items()}
    whole = Losses(columns["candidate"].astype(np.float64), columns["champion"].astype(np.float64), units, drawn["test"])
    test, old = whole.where(columns["part"] == "test"), columns["part"] == "old_context"
    whole = replace(whole, drawn=drawn.get("old_context", "days"))
    older = {"all older rows": whole.where(old)} if old.any() else {}
    for slice_name in spec.slices:
        values = columns[f"slice_{slice_name}"]
        older |= {f"{slice_name} {value}": whole.where(old & (values == value)) for value in np.unique(values[old].astype(str))}
    return test, older


def _of_task(store: Store, spec: ModelSpec, document: Mapping[str, Any]) -> list[Check]:
    """Which classes no test row has; of a model without labels, its alarms on the test rows and what refits said."""
    if spec.anomaly is None:
        test = document["parts"]["test"]
        return [has_every_class(test.get("classes", {}), test.get("days", []), test.get("drawn", "days"))]
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(store.read(document["losses"])), columns=["part", "unit", "candidate"])
    rows = table.filter(pc.equal(table["part"], "test"))
    alarms, units, test = rows["candidate"].to_numpy().astype(np.float64), rows["unit"].to_numpy(), document["parts"]["test"]
    checks = [
        keeps_budget(alarms, units, test["drawn"], spec.anomaly, spec.gate.alpha, spec.gate.resamples),
        is_stable(test["candidate"]["stability"], spec.anomaly),
    ]
    found = finds_as_much(test)
    return [*checks, found] if found else checks


def _beside_champion(spec: ModelSpec, document: Mapping[str, Any]) -> str:
    """What can be said of an anomaly model and its champion, which have no losses; empty where there is none."""
    if not spec.anomaly or not document.get("champion"):
        return ""
    test = document["parts"]["test"]
    if finds_as_much(test):
        return "it and the champion are compared by the anomalies that they find"
    ours, theirs = (test[who]["metrics"]["alarm_share"] for who in ("candidate", "champion"))
    return (
        f"nothing says whether it or the champion finds more, since too few test rows have a label ({test['labelled']:,} of "
        f"{test['rows']:,}); on the same rows it raises an alarm at {ours:.2%} and the champion at {theirs:.2%}"
    )
