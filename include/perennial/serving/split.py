"""Does the candidate get the share of the requests that it is to get? A sequential test of the counts on each step. Pure functions.

If requests reach the two versions in other shares than wanted (a cache, sticky connections, a gateway that holds old weights, requests that
get lost on their way to one of them), both are no longer asked the same, and no other comparison means what it says. On each step the
number of the candidate's requests is binomial with the wanted share; against it stands every other share, weighted by a Beta distribution
around the wanted one. The ratio of the two likelihoods is an e-process: the chance that it ever reaches n while requests are split as
wanted is at most 1/n, however often one looks. (Lindon, Malek 2022, "Anytime-valid inference for multinomial count data".) Each step is
tested by itself with its part of `ALPHA`.

Requests between the two looks around a change of weights count for neither step. Nor do requests whose caller chose the version.

`benchmarks/split_simulation.py` shows false alarms, and requests to an alarm.

    >>> split = add(Split(), step=3, share=0.05, candidate=0, champion=0, steps=3)
    >>> split = add(split, step=3, share=0.05, candidate=10, champion=990, steps=3)
    >>> split.mismatch
    Mismatch(share=0.05, candidate=10, requests=1000)
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

ALPHA = 0.001  # chance of a false alarm in a whole release, all its steps together
PRIOR = 100.0  # requests that the other shares weigh: small beside those of a step, so that they are spread widely


class Mismatch(BaseModel):
    """The counts by which a step was seen not to be split as wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(description="Share of the requests that the candidate was to get.")
    candidate: int = Field(description="Requests that it got.")
    requests: int = Field(description="Requests of both versions.")

    @property
    def sentence(self) -> str:
        """What was seen."""
        return (
            f"Traffic is not split as wanted: the candidate got {self.candidate:,} of {self.requests:,} requests "
            f"({100 * self.candidate / self.requests:.3g} %), {100 * self.share:g} % were due to it."
        )


class Split(BaseModel):
    """The counts of the present step, and the mismatch of the first that had one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int | None = Field(default=None, description="Ledger entry with which the step began; none before the first look at one.")
    candidate: int = Field(default=0, description="Requests of the candidate on it.")
    requests: int = Field(default=0, description="Requests of both versions on it.")
    evidence: float = Field(default=0.0, description="Natural logarithm of the evidence on it that the share is another.")
    mismatch: Mismatch | None = Field(default=None, description="Where evidence once reached its limit: what it was of.")


def add(split: Split, *, step: int, share: float | None, candidate: int, champion: int, steps: int) -> Split:
    """The counts after one more look.

    Args:
        split: what was known before.
        step: ledger entry with which the present step began.
        share: of the requests that the candidate is to get, 0 to 1; None while it gets a copy.
        candidate: its requests since the look before.
        champion: those of the champion.
        steps: of the release, on which there is a share.
    """
    if split.step != step:
        return Split(step=step, mismatch=split.mismatch)
    if share is None or not 0 < share < 1:
        return split
    ours, both = split.candidate + candidate, split.requests + candidate + champion
    evidence = odds(ours, both, share)
    mismatch = split.mismatch
    if mismatch is None and evidence >= limit(steps):
        mismatch = Mismatch(share=share, candidate=ours, requests=both)
    return Split(step=step, candidate=ours, requests=both, evidence=evidence, mismatch=mismatch)


def limit(steps: int) -> float:
    """Natural logarithm of the evidence at which a step is not split as wanted, of a release of so many steps."""
    return math.log(max(1, steps) / ALPHA)


def odds(candidate: int, requests: int, share: float) -> float:
    """Natural logarithm of the likelihood of all other shares, beside that of the wanted one."""
    ours, theirs, other = PRIOR * share, PRIOR * (1 - share), requests - candidate
    return (
        math.lgamma(ours + candidate)
        + math.lgamma(theirs + other)
        - math.lgamma(PRIOR + requests)
        - (math.lgamma(ours) + math.lgamma(theirs) - math.lgamma(PRIOR))
        - candidate * math.log(share)
        - other * math.log(1 - share)
    )
