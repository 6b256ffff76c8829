"""An experiment's traffic at the real gateway, with real servers: the same unit gets the same version."""

import http.client
import json
from itertools import pairwise

import pytest

from perennial import testing
from perennial.serving.assignment import UNIT, arm_of, bucket
from perennial.serving.envoy import VERSION_WANTED
from perennial.serving.route import WITHOUT_UNIT, Route

SALT = "small-4"
UNITS = [f"user-{number}" for number in range(100)] + ["a", "anna@example.org", "x" * 200, '"{}\\1$', "0" * 31, "0" * 32, "0" * 64]
BODY = json.dumps({"data": {"rows": testing.small_rows(1)}})


class Caller:
    """One connection to the gateway that is opened anew where it has gone."""

    def __init__(self, platform):
        self.platform, self.connection = platform, None

    def close(self):
        """End the connection."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, **headers):
        """The status and the version that answered."""
        for _ in range(2):
            settings = self.platform.settings
            self.connection = self.connection or http.client.HTTPConnection(settings.host, settings.gateway_port, timeout=30)
            try:
                path, more = settings.prediction_path(self.platform.model.name), {"Content-Type": "application/json", **headers}
                self.connection.request("POST", path, BODY, more)
                answer = self.connection.getresponse()
                answer.read()
                return answer.status, int(answer.headers["x-perennial-version"])
            except (OSError, http.client.HTTPException):
                self.close()
        raise AssertionError("the gateway does not answer")


@pytest.fixture(scope="module")
def shared(platform):
    """The platform with an experiment between versions 7 and 8, and a function that gives version 8 another share, in percent."""
    digests = {7: platform.version(), 8: platform.version(seed=1)}

    def share(percent):
        weights = {7: 10_000 - 100 * percent, 8: 100 * percent}
        platform.backend.apply(platform.model, Route(weights, None, digests, champion=7, salt=SALT))
        for version in digests:
            platform.backend.wait_ready(platform.model, version, 60)
        return weights

    share(50)
    return platform, share


@pytest.fixture
def caller(shared):
    """A caller of the gateway."""
    caller = Caller(shared[0])
    yield caller
    caller.close()


def test_a_unit_keeps_its_version(shared, caller):
    """SE-09: 10,000 requests, five shares, both restarts: it is the version that the pure function names, and changes once at most."""
    platform, share = shared
    seen = {unit: [] for unit in UNITS}
    for percent in (5, 20, 50, 80, 95):
        weights = share(percent)
        wanted = {unit: arm_of(unit, SALT, weights, champion=7) for unit in UNITS}
        for half in range(2):
            for _ in range(10):
                for unit in UNITS:
                    status, version = caller.ask(**{UNIT: unit})
                    assert (status, version) == (200, wanted[unit]), unit
                    seen[unit].append(version)
            if half == 0 and percent == 20:
                platform.programs.remove_program("gateway")
                platform.start_gateway()
                share(percent)
            if half == 0 and percent == 50:
                for version in (7, 8):
                    platform.programs.remove_program(f"serving-{platform.model.name}-v{version}")
                platform.backend.resume()
                share(percent)
    assert sum(map(len, seen.values())) >= 10_000
    assert all(sum(before != after for before, after in pairwise(versions)) <= 1 for versions in seen.values())
    assert len({tuple(versions) for versions in seen.values()}) == 6, "each share moved some of them"


def test_requests_without_a_unit_go_to_the_champion(shared, caller):
    """SE-09, MN-04: they are in no experiment, and none of its counters moves; the watch has theirs. Who names a version gets it."""
    platform, share = shared
    share(50)

    def answered():
        return {version: arm.answered for version, arm in platform.backend.observe(platform.model).items()}

    before = answered()
    odd = ({}, {UNIT: ""}, {UNIT: "anna, ben"}, {UNIT: "zo\u00eb".encode("latin-1")})
    assert [caller.ask(**headers) for headers in odd for _ in range(5)] == [(200, 7)] * 20
    assert [caller.ask(**{VERSION_WANTED: "8"}) for _ in range(5)] == [(200, 8)] * 5
    assert answered() == {**before, WITHOUT_UNIT: before[WITHOUT_UNIT] + 20}
    before = answered()
    unit = next(unit for unit in UNITS if bucket(unit, SALT) >= 5_000)
    assert [caller.ask(**{UNIT: unit}) for _ in range(5)] == [(200, 8)] * 5
    assert answered() == {**before, 8: before[8] + 5}


def test_another_salt_spreads_units_anew(shared):
    """SE-09: who was together in one experiment is not in the next."""
    places = [[bucket(f"user-{number}", salt) >= 5_000 for number in range(4_000)] for salt in ("small-4", "small-9")]
    together = sum(one == other for one, other in zip(*places, strict=True))
    assert abs(together - 2_000) < 150


def test_a_unit_whose_version_is_gone_is_answered_by_the_other(shared, caller):
    """SE-09, SE-12: nobody is left without an answer; the log names the unit and who answered, so that it is no evidence of its version."""
    platform, share = shared
    weights = share(50)
    unit = next(unit for unit in UNITS if arm_of(unit, SALT, weights, champion=7) == 8)
    platform.programs.remove_program(f"serving-{platform.model.name}-v8")
    assert [caller.ask(**{UNIT: unit}) for _ in range(3)] == [(200, 7)] * 3
    key = f"predictions/{platform.model.name}"

    def logged():
        lines = [json.loads(line) for item in platform.store.list(key) for line in platform.store.read(item.key).splitlines()]
        of_unit = sorted((line["time"], line["version"]) for line in lines if line.get("unit") == unit)  # tests before this one asked, too
        return [version for _, version in of_unit][-3:] == [7] * 3

    testing.wait_until(logged, 30, "the log")
    platform.backend.resume()
    share(50)
    assert caller.ask(**{UNIT: unit}) == (200, 8)
