"""`perennial registry rebuild`: rebuild the registry from the store, with the numbers, digests, tags and aliases that it had.

The ledger says which version had which number, receipts say it of those that were never released. MLflow counts upwards and gives
no number twice: a number that nobody has is given and taken away again. May be killed anywhere and repeated.

    $ perennial registry rebuild --model flight_delays
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from perennial import discovery
from perennial.errors import EXIT_DONE, RegistryDiffers, StoredDataDamaged, UnknownName
from perennial.lineage.ledger import UNDER_WAY, Entry, Ledger
from perennial.lineage.manifest import Manifest
from perennial.lineage.registrations import Registration, registrations
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import key, published, read_manifest, sealed_versions
from perennial.registry.model_registry import (
    CANDIDATE,
    CHAMPION,
    COMPARED_WITH,
    LAST_GOOD,
    RECALIBRATES,
    ModelRegistry,
    give_roles,
)
from perennial.registry.promotion import Check, Verdict
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import _agreement
from perennial.stages._routes import marks, roles_of
from perennial.stages._run_facts import facts_of
from perennial.stages.recalibrate import LABELS
from perennial.stages.register import model_card, readme
from perennial.stages.train import RECORD
from perennial.store import Store


def run(settings: Settings, store: Store, *, action: Literal["rebuild"], model: str | None = None, replace: bool = False) -> int:
    """Make the registry of one model or of all again; a line for each version that was made, and for what could not be restored.

    Args:
        settings: where MLflow is.
        store: has the versions, the ledger and the receipts.
        action: what to do.
        model: name of the model; all if absent.
        replace: delete what the registry has of the model first; a version that only it numbered comes after the others.

    Raises:
        UnknownName: there is no such model.
        RegistryDiffers: the registry has other content under the numbers, or has counted beyond those it lacks; only `replace` helps.
        ServiceUnreachable: MLflow does not answer.
    """
    del action
    registry = ModelRegistry(settings)
    for spec in [discovery.model(model)] if model else list(discovery.models().values()):
        Rebuild(spec, store, registry).run(replace=replace)
    return EXIT_DONE


@dataclass
class Rebuild:
    """The rebuilding of one model's registry."""

    spec: ModelSpec
    store: Store
    registry: ModelRegistry
    entries: list[Entry] = field(init=False)
    receipts: dict[int, Registration] = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.spec.name
        self.entries = Ledger(self.store, self.name).entries()
        self.receipts = registrations(self.store, self.name)

    def run(self, *, replace: bool) -> None:
        """Make what is missing; then the aliases."""
        wanted, has = self._numbers(), {version.number: version.digest for version in self.registry.versions(self.name)}
        anew = [digest for number, digest in sorted(has.items()) if digest and digest not in wanted.values()]
        other = sorted(number for number, digest in has.items() if wanted.get(number, digest) != digest)
        late = sorted(number for number in set(wanted) - set(has) if number < max(has, default=0))
        if (other or late) and not replace:
            raise RegistryDiffers(
                f"The registry at {self.registry.url} has counted on without version {(late or other)[0]} of {self.name}, "
                "or has another under that number, and no number can be given twice. "
                f"Make it whole anew: `perennial registry rebuild --model {self.name} --replace` deletes its versions of "
                f"{self.name} first, and registers those again that only it has, after the others."
            )
        if replace and (other or set(wanted) - set(has)):
            self.registry.delete_model(self.name)
            has = {}
        for number, digest in sorted(has.items()):
            if number not in wanted and digest in wanted.values():  # given for a gap by a call that was killed before it could take it away
                self.registry.delete_version(self.name, number)
            elif number not in wanted and digest:
                wanted[number] = digest
        unnumbered = [*(digest for digest in anew if digest not in wanted.values()), *self._passed({*wanted.values(), *anew})]
        for digest in unnumbered:
            wanted[max(wanted, default=0) + 1] = digest
        for number in sorted(set(wanted) - set(has)):
            self._make(number, wanted[number])
        self._tag(set(wanted))
        self._aliases(wanted)
        made = len(set(wanted) - set(has))
        print(f"{self.name}: {len(wanted)} versions are in the registry, {made} of them made again.")
        if lost := sorted(set(range(1, max(wanted, default=0) + 1)) - set(wanted)):
            print(f"  Nobody knows what had the numbers {', '.join(map(str, lost))}: they stay free.")
        if made:
            print("  Runs have new ids and times, runs of candidates that the gate refused are not made again.")
        for sentence in _agreement.differences(self.registry, Ledger(self.store, self.name)):
            raise RegistryDiffers(sentence)

    def _numbers(self) -> dict[int, str]:
        """Number -> digest, from the surest source: the ledger, receipts, then what evaluations and recalibrations mention."""
        numbers = {number: digest for entry in self.entries for number, digest in entry.versions.items()}
        for number, registration in self.receipts.items():
            numbers.setdefault(number, registration.digest)
        for item in self.store.list(f"reports/{self.name}"):
            said: dict[str, Any] = {}
            if item.key.endswith("/evaluation.json"):
                said = self._document(item.key).get("champion") or {}
            elif item.key.startswith(f"reports/{self.name}/recalibrations/"):
                said = self._document(item.key)
            if said.get("version") and said.get("digest") and said["digest"] not in numbers.values():
                numbers.setdefault(int(said["version"]), said["digest"])
        return numbers

    def _passed(self, known: set[str]) -> Iterator[str]:
        """Versions that passed the gate and whose number nobody noted, oldest first."""
        sealed = sealed_versions(self.store).get(self.name, [])
        passed = [digest for digest in sealed if digest not in known and self._gate(digest).get("passed")]
        yield from sorted(passed, key=lambda digest: read_manifest(self.store, self.name, digest).created)

    def _make(self, number: int, digest: str) -> None:
        try:
            manifest = read_manifest(self.store, self.name, digest)
        except (UnknownName, StoredDataDamaged) as error:
            self.registry.restore(self.name, number, digest, "", {"restored": str(error)}, str(error))
            print(f"  version {number} ({digest[:12]}): its number alone. {error}")
            return
        run_id = self._run(manifest)
        self.registry.restore(self.name, number, digest, run_id, self._tags(number, manifest), self._card(digest))
        print(f"  version {number} ({digest[:12]}) of snapshot {manifest.snapshot}")

    def _run(self, manifest: Manifest) -> str:
        digest = manifest.digest
        key_of_run = (
            manifest.run_key if published(self.store, self.name, manifest.run_key) == digest else f"{manifest.run_key}-{digest[:12]}"
        )
        record = self._document(f"{key(self.name, digest)}/{RECORD}") if manifest.cause != "recalibration" else {}
        metrics = {f"validation_{name}": value for name, value in record.get("metrics", {}).items()}
        facts = facts_of(self.store, manifest, record)
        run_id = self.registry.record_run(manifest, metrics, record.get("history", []), digest, key=key_of_run, facts=facts)
        reports = f"reports/{self.name}/{digest}"
        kept = {
            name: self.store.read(f"{reports}/{name}")
            for name in ("evaluation.json", "evaluation.html", "gate.json")
            if self.store.exists(f"{reports}/{name}")
        }
        figures = self._document(f"{reports}/evaluation.json").get("parts", {}).get("test", {}).get("candidate", {}).get("metrics", {})
        tags = {"gate": "passed"} if self._gate(digest).get("passed") else {}
        self.registry.annotate(run_id, tags, {f"test_{name}": value for name, value in figures.items()}, kept)
        return run_id

    def _tags(self, number: int, manifest: Manifest) -> dict[str, str]:
        """The tags of a version from its receipt; without one, from gate, evaluation and recalibration."""
        if number in self.receipts and self.receipts[number].digest == manifest.digest:
            return self.receipts[number].tags
        gate, evaluation = self._gate(manifest.digest), self._document(f"reports/{self.name}/{manifest.digest}/evaluation.json")
        tags = {"gate": str(gate.get("sentence", ""))} if gate else {}
        if gate.get("labels"):  # of a recalibration
            champion = next((str(n) for n, digest in self._numbers().items() if digest == gate.get("champion")), "none")
            return {**tags, LABELS: str(gate["labels"]), RECALIBRATES: champion, COMPARED_WITH: champion}
        compared = evaluation.get("incomparable_with") or (evaluation.get("champion") or {}).get("version")
        return {**tags, COMPARED_WITH: str(compared or "none")} if evaluation else tags

    def _card(self, digest: str) -> str:
        gate, evaluation = self._gate(digest), self._document(f"reports/{self.name}/{digest}/evaluation.json")
        if not gate.get("checks") or not evaluation:
            return readme(self.spec)
        checks = tuple(Check(check["name"], check["passed"], check["sentence"]) for check in gate["checks"])
        return model_card(self.spec, Verdict(gate["passed"], gate["sentence"], checks), evaluation)

    def _tag(self, numbers: set[int]) -> None:
        """The outcome of each version's release, as the release recorded it."""
        noted: dict[int, dict[str, str]] = {}
        for entry in self.entries:
            if entry.kind not in UNDER_WAY:
                noted.setdefault(entry.version, {}).update(marks(entry))
        has = {version.number: version.tags for version in self.registry.versions(self.name)}
        for number, tags in noted.items():
            if number in numbers and tags.items() - has[number].items():
                self.registry.tag_version(self.name, number, tags)

    def _aliases(self, wanted: dict[int, str]) -> None:
        last = self.entries[-1] if self.entries else None
        decided = {entry.version for entry in self.entries if entry.kind not in UNDER_WAY}
        newest = max((last.champion or 0, *decided) if last else (0,))
        waiting = max((n for n, digest in wanted.items() if n > newest and self._gate(digest).get("passed")), default=None)
        served = roles_of(last) if last else {CHAMPION: None, LAST_GOOD: None}
        give_roles(self.registry, self.name, {**served, CANDIDATE: waiting})

    def _gate(self, digest: str) -> dict[str, Any]:
        return self._document(verdict_key(self.name, digest))

    def _document(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads(self.store.read(name))
        except KeyError:
            return {}
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StoredDataDamaged(f"{name} cannot be read: restore it from a backup, or delete it to rebuild without what it says.")
        return document
