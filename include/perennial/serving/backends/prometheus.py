"""Reads from Prometheus the raw counters of every pod of a served version, as scraped from `/metrics`."""

from __future__ import annotations

import http.client
import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from perennial.errors import QuestionRefused, ServiceUnreachable, SettingMissing
from perennial.serving.route import Arm

KEPT_SECONDS = 900  # a pod that is gone, or was not scraped, is counted with its last values for this long
STALE_SECONDS = 120  # figures older than this are no evidence
FIRST_ERROR = 500  # status codes from here on are the version's failures
_ANSWER_SECONDS = 10
_ANSWERS, _SECONDS = "perennial_predictions_total", "perennial_prediction_seconds_bucket"  # a counter by `code`, a histogram

Vector = list[tuple[dict[str, str], float]]  # labels and value of each series


@dataclass(frozen=True)
class Figures:
    """Raw counters, and how fresh they are."""

    arms: dict[str, Arm]  # by source, `<model>-v<version>/<pod>`
    age_seconds: dict[int, float]  # by version: since its figures were last read; a version without figures is not in it


class Prometheus:
    """Asks one Prometheus about the versions of one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        if not url:
            raise SettingMissing(
                "PERENNIAL_PROMETHEUS_URL is not set: Seldon Core serves, so a release reads its evidence from Prometheus. "
                "Name one that scrapes the served versions."
            )
        self.url, self.namespace = url.rstrip("/"), namespace

    def figures(self, model: str) -> Figures:
        """The counters of all pods of a model's versions.

        Raises:
            ServiceUnreachable: Prometheus does not answer, or not as Prometheus does.
        """
        chosen = f'{{namespace="{self.namespace}",model="{model}"}}'
        codes: dict[str, dict[str, int]] = defaultdict(dict)
        for labels, value in self._ask(f"last_over_time({_ANSWERS}{chosen}[{KEPT_SECONDS}s])"):
            codes[self._source(model, labels)][labels.get("code", "")] = self._count(value)
        slow: dict[str, dict[float, int]] = defaultdict(dict)
        for labels, value in self._ask(f"last_over_time({_SECONDS}{chosen}[{KEPT_SECONDS}s])"):
            slow[self._source(model, labels)][_milliseconds(labels.get("le", ""))] = self._count(value)
        now, newest = time.time(), dict[int, float]()
        for labels, value in self._ask(f"max by (version) (timestamp({_ANSWERS}{chosen}))"):
            newest[self._version(labels)] = value
        arms = {source: _arm(counts, slow.get(source, {})) for source, counts in codes.items()}
        return Figures(arms, {version: max(0.0, now - at) for version, at in newest.items()})

    def _source(self, model: str, labels: dict[str, str]) -> str:
        pod = labels.get("pod")
        if not pod:
            raise ServiceUnreachable(
                f"The series of {_ANSWERS} in the Prometheus at {self.url} have no label `pod`, so pods cannot be told apart: "
                "set the labels `namespace` and `pod` where it scrapes them (PodMonitors and ServiceMonitors do)."
            )
        return f"{model}-v{self._version(labels)}/{pod}"

    def _count(self, value: float) -> int:
        if not 0 <= value < math.inf:
            raise ServiceUnreachable(f"The Prometheus at {self.url} has {value:g} for a count of requests: look at what it scrapes.")
        return int(value)

    def _version(self, labels: dict[str, str]) -> int:
        number = labels.get("version", "")
        if not re.fullmatch(r"\d+", number):
            raise ServiceUnreachable(
                f"The series of {_ANSWERS} in the Prometheus at {self.url} do not name versions by the label "
                "version: keep that label where it scrapes them."
            )
        return int(number)

    def _ask(self, query: str) -> Vector:
        return ask(self.url, query, _ANSWER_SECONDS)


def ask(url: str, query: str, seconds: float) -> Vector:
    """The vector that an instant query gives.

    Raises:
        ServiceUnreachable: Prometheus does not answer in so many seconds, or not as Prometheus does.
    """
    address = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:  # noqa: S310 - the address is a setting of the operator's
            data: dict[str, Any] = json.load(answer)["data"]
        if data.get("resultType", "vector") != "vector":
            raise QuestionRefused(f"{query} gives a {data['resultType']} instead of a vector: ask for one value of each series now")
        return [({**entry["metric"]}, float(entry["value"][1])) for entry in data["result"]]
    except urllib.error.HTTPError as error:
        why = error.read(300).decode(errors="replace").strip() or error.reason
        refused = QuestionRefused if error.code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY) else ServiceUnreachable
        raise refused(
            f"The Prometheus at {url} refuses a question ({error.code}: {why}): check PERENNIAL_PROMETHEUS_URL and its rights."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnreachable(
            f"The Prometheus at {url} does not answer ({error}), and without it a release has no evidence: "
            "check PERENNIAL_PROMETHEUS_URL and that it runs."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ServiceUnreachable(
            f"What answers at {url} is no Prometheus ({type(error).__name__}: {error}): correct PERENNIAL_PROMETHEUS_URL."
        ) from error


def _milliseconds(bound: str) -> float:
    try:
        return math.inf if bound == "+Inf" else round(float(bound) * 1e3, 6)
    except ValueError:
        raise ServiceUnreachable(
            f"A histogram in the Prometheus has the bound {bound!r}, which is no number: keep the label `le`."
        ) from None


def _arm(codes: dict[str, int], slow: dict[float, int]) -> Arm:
    known = {int(code): count for code, count in codes.items() if code.isdigit()}
    errors, unreadable = (
        sum(n for code, n in known.items() if first <= code < last) for first, last in ((FIRST_ERROR, 1000), (400, FIRST_ERROR))
    )
    return Arm(sum(codes.values()), errors, tuple(sorted(slow.items())), sum(codes.values()), unreadable)
