"""The gate's verdict is recorded either way; what passes is registered once and becomes candidate."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.errors import CandidateRefused, ServiceUnreachable, StoredDataDamaged, TrainingRefused, UnknownName
from perennial.lineage.trainings import judged
from perennial.settings import Settings
from perennial.specs import LimitSpec, RequirementSpec, ServingSpec
from perennial.stages import register
from perennial.store import FolderStore
from perennial.testing import World, small_model

RUN = "run1"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A candidate."""
    spec = small_model().model_copy(update={"slices": ("carrier",)})
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home")})
    world = World(tmp_path, spec=spec, settings=settings, store=FolderStore(str(tmp_path / "store")))
    world.digest = world.published(1)
    monkeypatch.setattr(register.discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(register, "ModelRegistry", lambda settings: world.registry)
    return world


def evaluated(world, worse=None, champion=None, log_loss=0.5, old_worse=0.0):
    """The evaluation of the candidate in the store; its key."""
    rng, rows = np.random.default_rng(3), 2100
    prefix = f"reports/{world.spec.name}/{world.digest}"
    document = {
        "digest": world.digest,
        "snapshot": 4,
        "champion": champion and {"version": champion, "digest": "c" * 64},
        "incomparable": "",
        "losses": f"{prefix}/losses.parquet",
    }
    document["parts"] = {"test": {"rows": rows, "candidate": {"metrics": {"log_loss": log_loss}}}}
    if worse is not None:
        base = rng.exponential(0.45, 2 * rows)
        part = np.repeat(["test", "old_context"], rows)
        carrier = np.array(["AA", "UA"])[np.arange(2 * rows) % 2]
        shift = np.where(part == "test", worse, np.where(carrier == "UA", old_worse, 0.0))
        table = pa.table(
            {
                "part": part,
                "day": np.arange(2 * rows) % 7,
                "key": ["[]"] * (2 * rows),
                "slice_carrier": carrier,
                "champion": base,
                "candidate": base + shift + rng.normal(0, 0.02, 2 * rows),
            }
        )
        sink = io.BytesIO()
        pq.write_table(table, sink)
        world.store.write(document["losses"], sink.getvalue())
    world.store.write(f"{prefix}/evaluation.json", json.dumps(document).encode())
    return f"{prefix}/evaluation.json"


def registered(world, evaluation):
    """What the stage says, once the ledger has the registry's champion."""
    world.crown(world.registry.version(world.spec.name, "champion"))
    return register.run(world.settings, world.store, model=world.spec.name, digest=world.digest, run_id=RUN, evaluation=evaluation)


def test_the_first_version_is_registered_as_candidate(world):
    """MO-13, MO-12, SY-31: Floors and golden rows; the card carries the figures; the evidence is in the store and on the run."""
    result = registered(world, evaluated(world))
    assert (result.outcome, result.version, result.run_id) == ("done", 1, RUN)
    assert world.registry.version(world.spec.name, "candidate").number == 1
    assert "| log_loss | 0.5000 |" in world.registry.descriptions[0]
    assert "workload environment" in result.evidence["checks"][1]["sentence"]
    assert json.loads(world.registry.runs[RUN].files["gate.json"])["passed"]
    assert json.loads(world.store.read(f"reports/{world.spec.name}/{world.digest}/gate.json")) == result.evidence
    run = world.registry.runs[RUN]
    page = f"/perennial/report/{world.spec.name}/{world.digest}/evaluation.html"
    assert run.tags == {"gate": "passed", "evaluation": world.settings.airflow_url + page}
    assert run.metrics == {"test_log_loss": 0.5}
    assert json.loads(run.files["evaluation.json"])["digest"] == world.digest
    assert world.registry.version(world.spec.name, 1).tags["compared_with"] == "none"


def test_repeating_it_registers_nothing_twice(world):
    """DE-22: And does not bring back a candidate that a release has decided on."""
    evaluation = evaluated(world)
    registered(world, evaluation)
    world.registry.delete_alias(world.spec.name, "candidate")
    assert registered(world, evaluation).version == 1
    assert world.registry.version(world.spec.name, "candidate").number == 1
    world.registry.tag_version(world.spec.name, 1, {"rolled_back": "it failed"})
    world.registry.delete_alias(world.spec.name, "candidate")
    registered(world, evaluation)
    assert world.registry.version(world.spec.name, "candidate") is None
    assert len(world.registry.versions(world.spec.name)) == 1


def overtaken(world):
    """Version 1 waits for its release; version 2 became champion meanwhile."""
    registered(world, evaluated(world))
    world.registry.add(world.spec.name, "c" * 64, "champion")


def test_a_version_that_was_overtaken_is_judged_against_the_champion_of_now(world):
    """MO-13: Else it could only be released unjudged: training it again gives the same version."""
    overtaken(world)
    result = registered(world, evaluated(world, worse=-0.1, champion=2))
    assert (result.outcome, result.version) == ("done", 1)
    assert "was judged again, against version 2" in result.sentence
    assert world.registry.version(world.spec.name, "candidate").tags["compared_with"] == "2"
    assert len(world.registry.versions(world.spec.name)) == 2


def test_an_overtaken_version_that_is_worse_is_no_candidate_any_more(world):
    """MO-13: And a newer candidate keeps the role."""
    overtaken(world)
    with pytest.raises(CandidateRefused, match="worse than the champion"):
        registered(world, evaluated(world, worse=0.1, champion=2))
    assert world.registry.version(world.spec.name, "candidate") is None
    world.registry.add(world.spec.name, "d" * 64, "candidate")
    with pytest.raises(CandidateRefused):
        registered(world, evaluated(world, worse=0.1, champion=2))
    assert world.registry.version(world.spec.name, "candidate").number == 3


def with_champion(world):
    world.registry.add(world.spec.name, "c" * 64, "champion")
    return 1


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"worse": 0.1}, "It is worse than the champion"),
        ({"worse": 0.0, "log_loss": 2.0}, "Log loss is 2.0000 and must be at most 0.9"),
        ({"worse": -0.1, "old_worse": 0.3}, "carrier UA"),
    ],
)
def test_a_worse_candidate_keeps_its_run_and_its_reason(world, shape, words):
    """MO-13, MO-10: Refused: nothing is registered, the run says why, the refusal links to it."""
    with pytest.raises(CandidateRefused, match=words) as refusal:
        registered(world, evaluated(world, champion=with_champion(world), **shape))
    assert words in world.registry.runs[RUN].tags["refused"]
    assert refusal.value.links["MLflow run"] == f"http://registry/runs/{RUN}"
    assert not json.loads(world.registry.runs[RUN].files["gate.json"])["passed"]
    assert judged(world.store, world.spec.name, world.digest)
    assert world.registry.version(world.spec.name, "candidate") is None


def test_one_that_holds_its_own_passes(world):
    """MO-13: Beside a champion, on the same rows."""
    result = registered(world, evaluated(world, champion=with_champion(world), worse=0.0))
    assert result.version == 2
    assert "less than 5% worse than the champion, not to be better" in result.sentence
    assert world.registry.version(world.spec.name, 2).tags["compared_with"] == "1"


def test_a_comparison_with_a_former_champion_does_not_count(world):
    """MO-13: Somebody was promoted since: evaluate again."""
    evaluation = evaluated(world)
    with_champion(world)
    with pytest.raises(CandidateRefused, match="compared with no champion, but version 1 is the champion now"):
        registered(world, evaluation)


def test_a_class_that_the_test_days_lack_is_named(world):
    """DM-10, MO-13: Also where a floor is missed because of it: "could not be computed" alone helps nobody."""
    key = evaluated(world)
    document = json.loads(world.store.read(key))
    document["parts"]["test"] |= {"classes": {"on_time": 2100, "late": 0}, "days": ["2013-01-20", "2013-01-26"]}
    world.store.write(key, json.dumps(document).encode())
    lacking = "no row of the test days (2013-01-20 to 2013-01-26) is `late`, so nothing is shown of such rows"
    world.spec = world.spec.model_copy(update={"gate": world.spec.gate.model_copy(update={"floors": {"roc_auc": 0.6}})})
    with pytest.raises(CandidateRefused) as refused:
        registered(world, key)
    assert f"Roc auc could not be computed, and its floor is 0.6; {lacking}" in str(refused.value)
    world.spec = small_model()
    assert lacking in registered(world, key).sentence


def changed(world, champion, **changes):
    """An evaluation beside a champion of another signature."""
    key = evaluated(world, champion=champion, worse=None if "meaning" in changes else -0.1)
    document = json.loads(world.store.read(key))
    if "meaning" in changes:
        document |= {
            "champion": None,
            "incomparable": f"The champion means something else: {changes['meaning'][0]}.",
            "incomparable_with": champion,
        }
    world.store.write(key, json.dumps(document | {"signature": {"meaning": [], "breaking": [], "compatible": [], **changes}}).encode())
    return key


@pytest.mark.parametrize("written", [True, False])
def test_another_meaning_of_the_answers_is_refused(world, written):
    """MO-13, SE-12: Two meanings never share a route and its outcomes: the sentence says what has changed, and which way leads on.

    Also by an evaluation of before.
    """
    key = changed(world, with_champion(world), meaning=["its classes were `a`, `b` and are `a`, `b`, `c`"])
    if not written:
        document = json.loads(world.store.read(key))
        del document["signature"]
        world.store.write(key, json.dumps(document).encode())
    with pytest.raises(CandidateRefused, match=r"classes were `a`, `b` and are `a`, `b`, `c`.*`perennial retire`.*a name of its own"):
        registered(world, key)
    assert len(world.registry.versions(world.spec.name)) == 1
    assert not json.loads(world.registry.runs[RUN].files["gate.json"])["passed"]


def test_what_callers_must_send_is_said_with_the_version(world):
    """SE-12, MO-12: A breaking change passes the gate, and the registry says what it breaks: the release reads that.

    Judged again without it, it breaks nothing.
    """
    champion = with_champion(world)
    result = registered(world, changed(world, champion, breaking=["every request must send `gust` (float), never null"]))
    assert "it breaks callers of version 1: every request must send `gust` (float), never null" in result.sentence
    assert world.registry.version(world.spec.name, 2).tags["breaks_callers"] == "every request must send `gust` (float), never null"
    world.registry.add(world.spec.name, "e" * 64, "champion", {"compared_with": "1"})
    again = registered(world, changed(world, 3, compatible=["the input `dest` is no longer read"]))
    assert "callers of version 3 may go on as they are: the input `dest` is no longer read" in again.sentence
    assert world.registry.version(world.spec.name, 2).tags["breaks_callers"] == "no"


@pytest.mark.parametrize("late", ["register", "set_alias"])
def test_a_candidate_that_passed_counts_as_judged_only_once_it_is_candidate(world, monkeypatch, late):
    """DE-22: Else a registry that is away would leave a version that nobody releases and that no night trains again."""
    key = evaluated(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.registry, late, lambda *arguments, **named: (_ for _ in ()).throw(ServiceUnreachable("MLflow is away.")))
        with pytest.raises(ServiceUnreachable):
            registered(world, key)
    assert not judged(world.store, world.spec.name, world.digest)
    registered(world, key)
    assert judged(world.store, world.spec.name, world.digest)
    assert world.registry.version(world.spec.name, "candidate").number == 1


def test_a_champion_that_was_recalibrated_meanwhile_is_still_the_one_compared_with(world):
    """MO-13: Same weights, two other parameters: the comparison holds, and the version says which one it was made with.

    Also when it is judged again.
    """
    evaluation = evaluated(world, champion=with_champion(world), worse=-0.1)
    world.registry.add(world.spec.name, "d" * 64, "champion", {"compared_with": "1", "recalibrates": "1"})
    assert registered(world, evaluation).version == 3
    assert world.registry.version(world.spec.name, 3).tags["compared_with"] == "1"
    again = registered(world, evaluation)
    assert (again.version, "was judged again, against version 1: " in again.sentence) == (3, True)
    world.registry.add(world.spec.name, "e" * 64, "champion", {"compared_with": "1"})
    with pytest.raises(CandidateRefused, match="compared with version 1, but version 4 is the champion now"):
        registered(world, evaluation)


def test_golden_rows_that_differ_refuse(world):
    """MO-14: A version whose scores are not training's."""
    folder = world.folder / "version1"
    golden = json.loads((folder / "golden.json").read_text())
    golden["scores"][0] = [0.5, 0.5]
    (folder / "golden.json").write_text(json.dumps(golden))
    from perennial.lineage import version_folder
    from perennial.testing import small_manifest

    world.digest = version_folder.publish(world.store, world.spec.name, folder, small_manifest(run_key="1" * 24))
    with pytest.raises(CandidateRefused, match="golden rows do not match"):
        registered(world, evaluated(world))


def test_a_candidate_beyond_its_limit_or_floor_is_refused_with_whom_to_ask(world):
    """SE-04, MO-24: The figure, the limit or floor, the requirement that it serves and its owner; the verdict and the run keep them."""
    limits = {"folder_mb": LimitSpec(at_most=1e-6, requirement="R-9: fits the edge", owner="edge team")}
    gate = world.spec.gate.model_copy(update={"requirements": {"log_loss": RequirementSpec(requirement="R-2", owner="desk")}})
    world.spec = world.spec.model_copy(update={"serving": ServingSpec(limits=limits), "gate": gate})
    with pytest.raises(CandidateRefused) as refusal:
        registered(world, evaluated(world, log_loss=2.0))
    assert "Log loss is 2.0000 and must be at most 0.9 (requirement R-2; owner desk)" in str(refusal.value)
    assert "MB in the workload environment and must be at most 1e-06 MB (requirement R-9: fits the edge; owner edge team)" in str(
        refusal.value
    )
    verdict = json.loads(world.store.read(f"reports/{world.spec.name}/{world.digest}/gate.json"))
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == ["floors", "limit folder_mb"]
    assert "edge team" in world.registry.runs[RUN].tags["refused"]


def test_the_card_says_what_a_version_takes(world):
    """SE-15: What it was measured to take, and that it answers generated inputs."""
    registered(world, evaluated(world))
    assert "* limits: it has no absolute limits; in the workload environment it showed p95 latency" in world.registry.descriptions[0]
    assert "* generated inputs: it answers 4" in world.registry.descriptions[0]


def test_an_evaluation_must_be_this_candidates(world):
    """MO-13: A missing one and one of another digest."""
    with pytest.raises(UnknownName, match="no evaluation"):
        registered(world, "reports/nothing.json")
    with pytest.raises(UnknownName, match="no evaluation"):
        registered(world, "../elsewhere.json")
    evaluation = evaluated(world)
    world.digest = "e" * 64
    with pytest.raises(StoredDataDamaged, match="speaks of"):
        registered(world, evaluation)


def test_other_files_than_the_run_began_with_are_refused(world):
    """MO-16: A floor or a margin that was edited meanwhile belongs to the next run; nothing is registered."""
    evaluation = evaluated(world)
    with pytest.raises(TrainingRefused, match="changed while this run was under way"):
        register.run(
            world.settings, world.store, model=world.spec.name, digest=world.digest, run_id=RUN, evaluation=evaluation, code="0" * 64
        )
    assert world.registry.versions(world.spec.name) == []


def test_the_page_of_the_evaluation_and_the_card_have_the_verdict(world):
    """MO-12, MO-13: In the store and on the run, whether the gate let it in or refused it; the list of versions is noted either way."""
    place = f"reports/{world.spec.name}/{world.digest}"
    world.store.write(f"{place}/evaluation.html", b"<main><h1>Late</h1></main>")
    with pytest.raises(CandidateRefused):
        registered(world, evaluated(world, log_loss=5.0))
    assert b"The gate refused it.</strong><br>Log loss is 5.0000" in world.store.read(f"{place}/evaluation.html")
    assert world.registry.runs[RUN].files["evaluation.html"] == world.store.read(f"{place}/evaluation.html")
    assert b"* floors: log loss is 5.0000" in world.store.read(f"{place}/card.md")
    note = json.loads(world.store.read(f"views/versions/{world.spec.name}.json"))
    assert [one["passed"] for _, one in note["of"].values()] == [False]
    registered(world, evaluated(world))
    html = world.store.read(f"{place}/evaluation.html").decode()
    assert "The gate let it in" in html
    assert "refused" not in html
    assert world.store.read(f"{place}/card.md").decode() == world.registry.descriptions[-1]
