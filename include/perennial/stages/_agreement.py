"""Checks that registry and ledger agree, before anything is decided by the registry.

The ledger alone knows what was released. A registry whose database was lost, that was restored from an old copy or that belongs to
another platform numbers versions anew and has no champion: a gate that believed it would compare with nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perennial import discovery
from perennial.errors import PerennialError, RegistryDiffers, ServiceUnreachable
from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import REGISTRY_DIFFERS
from perennial.lineage.ledger import NOTE, Entry, Ledger
from perennial.registry.model_registry import CHAMPION, NOTED, ModelRegistry, Standing, Version
from perennial.settings import Settings
from perennial.store import Store

log = logging.getLogger("perennial.agreement")


@dataclass(frozen=True)
class Agreed:
    """What ledger and registry say of a model, once they agree."""

    last: Entry | None  # the newest entry of the ledger
    standing: Standing
    versions: Mapping[int, Version]  # those that the entry names, and those with a role

    def having(self, alias: str) -> Version | None:
        """The version that has a role."""
        number = self.standing.roles.get(alias)
        return None if number is None else self.versions.get(number)


def require(store: Store, registry: ModelRegistry, model: str) -> Agreed:
    """Raise an error if the registry differs from the ledger, so that nothing is decided by it.

    Raises:
        RegistryDiffers: it lost versions, has others under their numbers, or another champion.
        ServiceUnreachable: MLflow does not answer.
    """
    ledger = Ledger(store, model)
    last = ledger.last()  # before the registry: what is released meanwhile is no difference
    return agree(registry, ledger, last, registry.standing(model))


def agree(registry: ModelRegistry, ledger: Ledger, last: Entry | None, standing: Standing) -> Agreed:
    """The same check, where the ledger's last entry, and after it what the registry says of the model, were read already.

    Raises:
        RegistryDiffers: it lost versions, has others under their numbers, or another champion.
        ServiceUnreachable: MLflow does not answer.
    """
    agreed = _as_registered(registry, ledger.model, last, standing)
    differing = [*_lost_of(registry, ledger.model, last, agreed.versions), *moved(registry, ledger, last, standing)]
    if differing:
        raise RegistryDiffers(differing[0])
    return agreed


def require_versions(registry: ModelRegistry, ledger: Ledger, last: Entry | None, standing: Standing, entry: Entry) -> Agreed:
    """The same check before the registry follows an entry: an alias that somebody moved is only logged, since it is about to be corrected.

    Raises:
        RegistryDiffers: the registry lost versions, or has others under their numbers.
        ServiceUnreachable: MLflow does not answer.
    """
    agreed = _as_registered(registry, ledger.model, last, standing, entry.version)
    if lost_versions := _lost_of(registry, ledger.model, last, agreed.versions):
        raise RegistryDiffers(lost_versions[0])
    for sentence in moved(registry, ledger, last, standing):
        log.warning("%s It is put back now.", sentence)
    return agreed


def differences(registry: ModelRegistry, ledger: Ledger) -> list[str]:
    """A sentence for each thing in which the registry differs from the whole ledger, every version that it ever named included.

    Raises:
        StoredDataDamaged: an entry cannot be read.
        ServiceUnreachable: MLflow does not answer.
    """
    digests, last = ledger.digests(), ledger.last()
    versions = registry.versions(ledger.model)  # after the ledger: what was released meanwhile is in both
    return [*lost(registry, ledger.model, digests, versions), *moved(registry, ledger, last, registry.standing(ledger.model))]


def _as_registered(registry: ModelRegistry, model: str, last: Entry | None, standing: Standing, *numbers: int) -> Agreed:
    named = {*(last.versions if last else ()), *standing.roles.values(), *numbers}
    return Agreed(last, standing, registry.numbered(model, named))


def _lost_of(registry: ModelRegistry, model: str, last: Entry | None, versions: Mapping[int, Version]) -> list[str]:
    return lost(registry, model, last.versions if last else {}, list(versions.values()))


def of_every_model(settings: Settings, store: Store) -> list[str]:
    """A sentence for each thing in which the registry differs from the ledgers of this store: it was lost, or
    store and registry belong to two platforms."""
    registry, sentences = ModelRegistry(settings), []
    for model in sorted(discovery.models()):
        try:
            sentences += differences(registry, Ledger(store, model))
        except PerennialError as error:
            sentences.append(f"Whether the registry agrees with the ledger of {model} could not be looked up: {error}")
    return sentences


def lost(registry: ModelRegistry, model: str, digests: Mapping[int, str], versions: Sequence[Version]) -> list[str]:
    """A sentence for what the registry has lost, and one for what it has under another's number; none if all is there.

    Args:
        registry: has the address.
        model: name of the model.
        digests: number -> digest, as the ledger names them.
        versions: what the registry has.
    """
    has = {version.number: version.digest for version in versions}
    gone = sorted(set(digests) - set(has))
    other = sorted(number for number in set(digests) & set(has) if digests[number] != has[number])
    rebuild = (
        f"If its database was lost, make it again from the store: `perennial registry rebuild --model {model}`. "
        "If it belongs to another platform, correct PERENNIAL_MLFLOW_URL or PERENNIAL_STORE."
    )
    sentences = []
    if gone:
        sentences.append(
            f"The registry at {registry.url} lacks {_listed(gone)} of {model}, which the ledger names: "
            f"nothing is decided on what it has left. {rebuild}"
        )
    if other:
        first = other[0]
        sentences.append(
            f"The registry at {registry.url} has other content than the ledger under {_listed(other)} of {model} "
            f"({has[first][:12] or 'none'}, not {digests[first][:12]}): nothing is decided on it. {rebuild}"
        )
    return sentences


def moved(registry: ModelRegistry, ledger: Ledger, last: Entry | None, standing: Standing) -> list[str]:
    """A sentence if somebody gave the role of champion to another version than the last entry of the ledger does.

    A registry that has only not followed yet says nothing wrong.
    """
    model, alias = ledger.model, standing.roles.get(CHAMPION)
    if alias == (last.champion if last else None):
        return []
    if last is not None and _before(ledger, last, NOTE.fullmatch(standing.followed), alias):
        return []
    followed = _followed(registry, model, standing)
    right = set[int | None]()
    if last is not None and followed is None:
        right.add(None)
    if last is not None and followed is not None and followed < last.seq:
        right.add(ledger.entry(followed).champion)
    if alias in right:
        return []
    now = last.champion if last else None
    who = f"version {now} is the champion" if now else "no version is"
    at = f"at version {alias}" if alias else "gone"
    release = f"; to release version {alias}: `perennial release --model {model} --version {alias} --again --actor YOU`" if alias else ""
    return [
        f"The alias {CHAMPION} of {model} is {at} in the registry at {registry.url}, but by the ledger {who}: somebody changed it by hand. "
        f"`perennial registry rebuild --model {model}` puts it back{release}."
    ]


def _before(ledger: Ledger, last: Entry, note: re.Match[str] | None, alias: int | None) -> bool:
    """Whether a version was the champion by an entry before the last one, which the registry has followed."""
    return note is not None and int(note[1]) < last.seq and ledger.entry(int(note[1])).champion == alias


def _followed(registry: ModelRegistry, model: str, standing: Standing) -> int | None:
    """Place of the newest entry that the registry has followed; None if it has followed none. One whose following was cut short, or that
    was followed before registries noted it at the model, is noted at its version alone."""
    notes = [standing.followed, *(version.tags.get(NOTED, "") for version in registry.versions(model))]
    return max((int(note[1]) for said in notes if (note := NOTE.fullmatch(said))), default=None)


def watch(settings: Settings, store: Store, model: str) -> None:
    """Open an incident if the registry differs from the ledger, end it once it does not.

    An absent registry is not this incident: the stages that need it say so.
    """
    incidents = Incidents(store, model)
    try:
        require(store, ModelRegistry(settings), model)
    except RegistryDiffers as error:
        incidents.open(*REGISTRY_DIFFERS, "critical", str(error))
    except ServiceUnreachable as error:
        log.warning("Whether the registry agrees with the ledger of %s could not be looked up: %s", model, error)
    else:
        if known := incidents.find(*REGISTRY_DIFFERS):
            incidents.resolve(known.id, "The registry has what the ledger names.")


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    return f"version {shown}" if len(numbers) == 1 else f"versions {shown}"
