"""Consumers' contracts hold versions back, and those of the champion are looked at each night."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import contracts as command
from perennial.errors import ReleaseRefused, SpecBroken, UnknownName
from perennial.incidents.incidents import Incidents
from perennial.lineage import manifest, version_folder
from perennial.lineage.registrations import note_registration
from perennial.serving.folder_inspection import in_process
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import _contracts
from perennial.stages._contracts import note_contracts
from perennial.stages._inspection import inspect_server, inspected
from perennial.store import FolderStore
from perennial.testing import World, publish_small_version, small_model, small_rows

ROWS = {"data": {"rows": small_rows(2)}}
KEPT = {"request": ROWS, "names": ["late"], "scores": [{"name": "late", "at_least": 0, "at_most": 1}]}
BROKEN = {"request": ROWS, "names": ["cancelled"]}
NAME = small_model().name
Write = Callable[..., None]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`written(board={"a case": {…}})` writes the contract of a consumer into the model's folder, `written(board=None)` takes it away."""
    folder = tmp_path / NAME
    monkeypatch.setattr(discovery, "model_folder", lambda name: folder)

    def written(**cases: Any) -> None:
        (folder / "contracts").mkdir(parents=True, exist_ok=True)
        for consumer, given in cases.items():
            file = folder / "contracts" / f"{consumer}.json"
            if given is None:
                file.unlink()
            else:
                file.write_text(given if isinstance(given, str) else json.dumps({"owner": "desk", "cases": given}))

    return written


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Write) -> World:
    """A champion that is a real small version, to whose server there is a way."""
    world = World(tmp_path / "world")
    world.with_champion(world.published(1))
    world.backend.asides[1] = way(world, world.published(1), tmp_path / "served1")
    monkeypatch.setattr(_contracts, "open_backend", lambda settings: world.backend)
    return world


def way(world: World, digest: str, folder: Path) -> Any:
    """A way to a version."""
    return in_process(Scorer(version_folder.fetch(world.store, NAME, digest, folder)))


def test_a_broken_contract_blocks_the_registration(tmp_path: Path, written: Write) -> None:
    """DE-12: The check names the consumer, whom to ask and the case; the others' checks pass."""
    store = FolderStore(str(tmp_path / "store"))
    digest = publish_small_version(store, tmp_path / "version")
    written(board={"fine": KEPT}, desk={"fine": KEPT, "wants cancelled": BROKEN})
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home")})
    _, checks = inspected(settings, store, small_model(), digest)
    told = {check.name: (check.passed, check.sentence) for check in checks if check.name.startswith("contract ")}
    assert told == {
        "contract board": (True, "it keeps the contract of board, 1 case (owner desk)"),
        "contract desk": (
            False,
            'the contract of desk is broken (ask desk): in the case "wants cancelled" the answer has no score cancelled',
        ),
    }
    written(board="{")
    with pytest.raises(SpecBroken, match=r"contracts/board\.json cannot be used"):
        inspected(settings, store, small_model(), digest)


def test_at_its_server_a_version_must_keep_contracts_before_traffic(world: World, tmp_path: Path, written: Write) -> None:
    """DE-11, DE-12: No traffic moves to a candidate that breaks one; the ledger names the consumer."""
    written(board={"wants cancelled": BROKEN})
    world.candidate(world.published(2))
    world.backend.asides[2] = way(world, world.published(2), tmp_path / "served2")
    assert world.look().action == "rolled_back"
    last = world.ledger.last()
    assert last is not None
    assert 'gets no traffic: the contract of board is broken (ask desk): in the case "wants cancelled"' in last.reason
    assert not [route for route in world.backend.history if route.weights.get(2)]
    with pytest.raises(ReleaseRefused, match="the contract of board is broken"):
        inspect_server(world.settings, world.store, world.spec, world.backend, 2, world.published(2))


def test_a_contract_that_comes_during_a_release_blocks_the_promotion(world: World, tmp_path: Path, written: Write) -> None:
    """DE-12: Before each step and the promotion it is looked at again."""
    world.candidate(world.published(2))
    world.backend.asides[2] = way(world, world.published(2), tmp_path / "served2")
    assert world.look().action == "started"
    written(board={"wants cancelled": BROKEN})
    assert world.until_end().action == "rolled_back"
    last = world.ledger.last()
    assert last is not None
    assert (last.champion, "Version 2 of small_delays does not go on: the contract of board is broken" in last.reason) == (1, True)


def test_a_rollback_asks_no_consumer(world: World, tmp_path: Path, written: Write) -> None:
    """DE-12, SE-10: What must come back at once comes back, whatever a contract says of it."""
    written(board={"fine": KEPT})
    world.candidate(world.published(2))
    world.backend.asides[2] = way(world, world.published(2), tmp_path / "served2")
    assert world.look().action == "started"
    written(board={"wants cancelled": BROKEN})
    assert world.look(None, "roll_back", "ann").action == "rolled_back"


def test_a_contract_that_the_champion_breaks_is_an_incident(world: World, written: Write) -> None:
    """DE-12: One for each consumer, critical, with version, case and owner; it ends once it is kept, or the contract is gone."""
    incidents = Incidents(world.store, NAME)
    note = lambda: note_contracts(world.settings, world.store, world.spec)  # noqa: E731
    assert note() == ()
    written(board={"wants cancelled": BROKEN, "wants more": BROKEN}, desk={"fine": KEPT})
    (opened,) = note()
    (one,) = incidents.open_ones()
    assert (one.id, one.kind, one.key, one.severity) == (opened, "contract", "contract of board", "critical")
    assert one.sentence == (
        'Version 1 serves, and the contract of board is broken (ask desk): in the case "wants cancelled" the answer has no score cancelled.'
    )
    assert note() == ()
    written(board={"fine": KEPT})
    assert note() == (opened,)
    assert not incidents.open_ones()
    written(board="{")
    note()
    (unread,) = incidents.open_ones()
    assert "contracts/board.json cannot be used" in unread.sentence
    written(board=None)
    note()
    assert not incidents.open_ones()


def test_where_there_is_no_way_aside_the_champions_folder_is_asked(world: World, written: Write) -> None:
    """DE-12: As on Kubernetes; a version that is no more whole is told as an incident of the same kind."""
    world.backend.asides.clear()
    written(board={"wants cancelled": BROKEN})
    assert len(note_contracts(world.settings, world.store, world.spec)) == 1
    written(board={"fine": KEPT})
    note_contracts(world.settings, world.store, world.spec)
    assert not Incidents(world.store, NAME).open_ones()


def test_a_folder_is_asked_once(world: World, written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-12, OP-10: Its answers stay as they are until a contract, a file of it or the code that asks is another."""
    world.backend.asides.clear()
    asked: list[int] = []
    real = _contracts.broken_by_folder
    monkeypatch.setattr(_contracts, "broken_by_folder", lambda *given: asked.append(1) or real(*given))

    def opened() -> list[str]:
        note_contracts(world.settings, world.store, world.spec)
        return [one.sentence for one in Incidents(world.store, NAME).open_ones()]

    written(board={"wants cancelled": BROKEN})
    first = opened()
    assert (opened(), len(first), len(asked)) == (first, 1, 1)
    written(board={"fine": KEPT})
    assert (opened(), opened(), len(asked)) == ([], [], 2)
    world.store.write(f"views/contracts/{NAME}.json", b"[]")
    assert (opened(), len(asked)) == ([], 3)
    monkeypatch.setattr(_contracts, "code_digest", lambda: "other")
    assert (opened(), len(asked)) == ([], 4)
    world.store.write(f"{version_folder.key(NAME, world.published(1))}/model.onnx", b"x")
    (damaged,) = opened()
    assert "model.onnx" in damaged
    assert opened() == [damaged]


def test_before_a_release_nothing_is_asked(tmp_path: Path, written: Write) -> None:
    """DE-12: Nobody counts on a version that nobody gets."""
    written(board={"wants cancelled": BROKEN})
    world = World(tmp_path / "empty")
    assert note_contracts(world.settings, world.store, world.spec) == ()


def test_a_file_that_is_no_contract_hides_no_other_models(
    world: World, written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """DE-12: What can be listed and checked is, then the file is named."""
    other = tmp_path / "other" / "contracts"
    other.mkdir(parents=True)
    (other / "hall.json").write_text("{")
    written(board={"fine": KEPT})
    folder = discovery.model_folder(NAME)
    monkeypatch.setattr(discovery, "model_folder", lambda name: folder if name == NAME else other.parent)
    monkeypatch.setattr(discovery, "models", lambda: {"aaa": small_model("aaa"), NAME: world.spec})
    with pytest.raises(SpecBroken, match=r"hall\.json"):
        command.run(world.settings, world.store, what="list")
    assert capsys.readouterr().out == "small_delays: board, owner desk: 1 case: fine\n"


def test_the_command_lists_and_checks(world: World, written: Write, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """DE-12: 0 where all are kept, 1 where one is broken, with a line for each; another version can be named."""
    monkeypatch.setattr(discovery, "models", lambda: {NAME: world.spec})
    note_registration(world.store, NAME, 1, world.published(1), {})

    def said(**asked: Any) -> tuple[int, str]:
        code = command.run(world.settings, world.store, **asked)
        return code, capsys.readouterr().out

    assert said(what="list") == (0, "No model has a contract: docs/contracts.md says how one is written.\n")
    written(board={"fine": KEPT})
    listed = "small_delays: board, owner desk: 1 case: fine\n"
    assert said(what="list", model=NAME) == (0, listed)
    assert said(what="check") == (0, "small_delays, version 1: keeps board, owner desk: 1 case: fine\n")
    written(board={"wants cancelled": BROKEN})
    code, text = said(what="check", version=1)
    assert (code, text.startswith("small_delays, version 1: the contract of board is broken (ask desk)")) == (1, True)
    with pytest.raises(UnknownName, match="has no version 9"):
        said(what="check", version=9)


def test_a_contract_is_no_code_of_the_model(tmp_path: Path, written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-12: A new one asks for no training."""
    written(board={"fine": KEPT})
    (tmp_path / NAME / "weights.bin").write_bytes(b"1")
    assert [file.name for file in manifest._brought(NAME)] == ["weights.bin"]


def test_a_candidate_is_refused_by_the_gate_for_it(world: World, written: Write) -> None:
    """DE-12: `register` says so as its other checks do."""
    written(board={"wants cancelled": BROKEN})
    golden, checks = inspected(world.settings, world.store, world.spec, world.published(1))
    from perennial.registry.promotion import judge

    verdict = judge(world.spec.gate, {"log_loss": 0.5}, golden, inspected=checks)
    assert not verdict.passed
    assert verdict.sentence.startswith("The contract of board is broken (ask desk)")
