"""Every error Perennial raises on purpose. The docstring of a class is its meaning; the message is one sentence
that says what, where, why and what to do.

PerennialError
├── Refused                 a decision: exit 2, never retried
│   ├── BatchRefused          data did not meet its suite
│   ├── TrainingRefused       there is nothing to train on, or training must not start
│   │   ├── DataRefused         the rows to train on did not meet their suite
│   │   └── CodeBroken          the model's own code breaks on its data
│   ├── CandidateRefused      the gate turned a version down
│   ├── ReleaseRefused        traffic may not move as asked
│   ├── SourceRefused         a source is not as its dataset's spec says
│   ├── RegistryDiffers       the registry is not the one that the ledger tells of
│   ├── UnknownName           no such model, dataset, version or stage
│   └── SpecBroken            the files of a dataset or model are broken
└── Fault                   something broke: exit 1, retried with backoff
    ├── SettingMissing        a setting is absent or malformed
    ├── StoreUnreachable      the store does not answer, refuses the credentials or is full
    ├── SourceUnreachable     a database or service from which data come does not answer
    ├── ServiceUnreachable    MLflow, the gateway or another server does not answer
    ├── StoredDataDamaged     stored bytes do not match their digest
    └── LedgerConflict        another writer took the next place in the ledger

    >>> from perennial.errors import BatchRefused
    >>> BatchRefused.exit_code
    2
"""

from __future__ import annotations

EXIT_DONE, EXIT_FAULT, EXIT_REFUSED = 0, 1, 2


class PerennialError(Exception):
    """An error with a sentence for a person, and pages that show more, by title."""

    exit_code = EXIT_FAULT

    def __init__(self, sentence: str = "", links: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.links = links or {}

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence and where to read more, not the way through the code."""
        return [str(self), *(f"{title}: {address}" for title, address in self.links.items())]


class Refused(PerennialError):
    """A decision, not a malfunction: repeating it would give the same answer."""

    exit_code = EXIT_REFUSED


class BatchRefused(Refused):
    """A batch did not meet its dataset's suite or could not be read."""


class TrainingRefused(Refused):
    """Training must not start: bad data, or inputs that cannot give a model."""


class DataRefused(TrainingRefused):
    """The rows to train on did not meet their dataset's suite."""


class CodeBroken(TrainingRefused):
    """The model's own code breaks on its data."""


class CandidateRefused(Refused):
    """The gate turned a version down."""


class ReleaseRefused(Refused):
    """Traffic may not move as asked."""


class SourceRefused(Refused):
    """A source is not as its dataset's spec says."""


class RegistryDiffers(Refused):
    """The registry lost versions that the ledger names, has others under their numbers, or another champion."""


class UnknownName(Refused):
    """No model, dataset, version or stage has that name."""


class SpecBroken(Refused):
    """The files of a dataset or model cannot be read, or do not fit together."""


class Fault(PerennialError):
    """Something broke; trying again may help."""


class SettingMissing(Fault):
    """A setting is absent or malformed."""


class StoreUnreachable(Fault):
    """The store does not answer, refuses the credentials or has no room."""


class SourceUnreachable(Fault):
    """A database or service from which data come does not answer."""


class ServiceUnreachable(Fault):
    """A server that the stage needs does not answer."""


class QuestionRefused(ServiceUnreachable):
    """A server answers, and not this question: others it may answer."""


class StoredDataDamaged(Fault):
    """Stored bytes do not match the digest under which they were stored."""


class LedgerConflict(Fault):
    """Another writer took the next place in the ledger."""
