"""The registry is made again from the store, on a real MLflow server."""

import hashlib
import json

import pytest

from perennial.commands import ledger as ledger_command
from perennial.commands import registry as command
from perennial.errors import RegistryDiffers
from perennial.lineage.ledger import Ledger
from perennial.lineage.registrations import note_registration, registrations
from perennial.lineage.trainings import verdict_key
from perennial.registry.model_registry import CANDIDATE, CHAMPION, COMPARED_WITH, LAST_GOOD, NOTED, ModelRegistry
from perennial.specs import ReleaseSpec
from perennial.stages import _agreement
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, publish_small_version, small_model


class Lost:
    """A store whose registry was lost: 1 and 4 were released, 2 was deleted by hand, 3 rejected, 5 waits, one of another number is gone."""

    def __init__(self, root, settings, name) -> None:
        self.name, self.settings = name, settings
        self.spec = small_model(name).model_copy(update={"release": ReleaseSpec(steps=(100,))})
        self.store, self.registry = FolderStore(str(root / "store")), ModelRegistry(settings)
        self.digests = {number: self.sealed(root, number) for number in (1, 3, 4, 5)}
        before = RegistryInMemory()
        release = Release(self.spec, settings, self.store, RehearsedBackend(), before)
        for number in (1, 3, 4):
            before.add(name, self.digests[number], number=number)
            if number == 3:
                release.look(3, "roll_back", "jo")
            else:
                assert release.look().action == "promoted"
        note_registration(self.store, name, 5, self.digests[5], {"gate": "It is better.", COMPARED_WITH: "4", "kept": "by the receipt"})
        self.ledger = Ledger(self.store, name)

    def sealed(self, root, number):
        digest = publish_small_version(self.store, root / f"{self.name}-{number}", model=self.name, seed=number)
        self.store.write(
            f"models/{self.name}/versions/{digest}/training.json",
            json.dumps({"metrics": {"log_loss": 0.5}, "history": [{"loss": 1.0}]}).encode(),
        )
        self.store.write(
            verdict_key(self.name, digest), json.dumps({"passed": True, "sentence": f"{number} is good.", "checks": []}).encode()
        )
        return digest

    def rebuild(self, **options):
        command.Rebuild(self.spec, self.store, self.registry).run(**{"replace": False, **options})

    def numbers(self):
        return {version.number: version.digest for version in self.registry.versions(self.name)}

    def alias(self, name):
        found = self.registry.version(self.name, name)
        return found and found.number


@pytest.fixture
def lost(tmp_path, server, request):
    return Lost(tmp_path, server[0], f"lost_{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}")


def test_numbers_digests_tags_and_aliases_come_back(lost, capsys):
    """OP-08, MO-12: Gaps stay gaps; what became of each version is noted again; the ledger agrees; once more changes nothing."""
    lost.rebuild()
    assert lost.numbers() == lost.digests
    assert (lost.alias(CHAMPION), lost.alias(LAST_GOOD), lost.alias(CANDIDATE)) == (4, 1, 5)
    found = {version.number: version for version in lost.registry.versions(lost.name)}
    assert found[4].tags[NOTED] == lost.ledger.last().note
    assert found[3].tags["rejected"] == "jo decided against it."
    assert (found[5].tags["kept"], found[5].tags[COMPARED_WITH], found[1].tags["gate"]) == ("by the receipt", "4", "1 is good.")
    assert found[1].snapshot == 1
    assert lost.registry.run_tags(found[1].run_id)["digest"] == lost.digests[1]
    assert _agreement.differences(lost.registry, lost.ledger) == []
    assert "4 versions are in the registry, 4 of them made again" in capsys.readouterr().out
    lost.rebuild()
    assert {version.number: version for version in lost.registry.versions(lost.name)} == found
    assert "0 of them made again" in capsys.readouterr().out


@pytest.mark.parametrize("killed_at", [2, 3, 5])
def test_a_rebuild_that_was_killed_goes_on(lost, monkeypatch, killed_at):
    """OP-08: Also between the number that is given for a gap and its taking away."""
    calls, post = [], lost.registry._server.post

    def dies(path, **body):
        answer = post(path, **body)
        calls.extend([path] if path == "model-versions/create" else [])
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(lost.registry._server, "post", dies)
    with pytest.raises(KeyboardInterrupt):
        lost.rebuild()
    monkeypatch.undo()
    lost.rebuild()
    assert lost.numbers() == lost.digests
    assert lost.alias(CHAMPION) == 4


def test_numbers_that_began_anew_are_replaced_on_purpose(lost, tmp_path):
    """OP-08: What was registered since comes after all others; without the word nothing is deleted."""
    newer = lost.sealed(tmp_path, 9)
    run_id = lost.registry.record_run(command.read_manifest(lost.store, lost.name, newer), {}, [], newer)
    assert lost.registry.register(lost.name, run_id, newer).number == 1
    with pytest.raises(RegistryDiffers, match=r"rebuild --model .* --replace"):
        lost.rebuild()
    assert lost.numbers() == {1: newer}
    lost.rebuild(replace=True)
    assert lost.numbers() == {**lost.digests, 6: newer}
    assert lost.alias(CHAMPION) == 4


def test_what_cannot_be_restored_is_said(lost, capsys):
    """OP-08: A version whose folder is gone keeps its number; the ledger goes on."""
    folder = f"models/{lost.name}/versions/{lost.digests[1]}"
    for item in list(lost.store.list(folder)):
        lost.store.delete(item.key)
    lost.rebuild()
    assert lost.numbers() == lost.digests
    printed = capsys.readouterr().out
    assert f"version 1 ({lost.digests[1][:12]}): its number alone. The store has no version" in printed
    assert "Nobody knows what had the numbers 2" in printed


def test_a_number_is_given_once(lost):
    """MO-11: A registry that begins anew is noticed at the first number that the store has a receipt of."""
    note_registration(lost.store, lost.name, 5, lost.digests[5], {"gate": "again"})
    assert registrations(lost.store, lost.name)[5].tags == {"gate": "again"}
    with pytest.raises(RegistryDiffers, match="its numbers begin anew"):
        note_registration(lost.store, lost.name, 5, lost.digests[1], {})


def test_the_command_rebuilds_every_model(lost, monkeypatch, capsys):
    """OP-08: And `ledger verify`, which tells of the loss before, calls it sound after."""
    for module in (command, ledger_command):
        monkeypatch.setattr(module.discovery, "models", lambda: {lost.name: lost.spec})
    assert ledger_command.run(lost.settings, lost.store, action="verify") == 1
    assert command.run(lost.settings, lost.store, action="rebuild") == 0
    assert ledger_command.run(lost.settings, lost.store, action="verify") == 0
