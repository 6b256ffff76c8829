"""What the local backend keeps between two starts."""

import json

from perennial.serving import envoy
from perennial.serving.backends.local import LocalBackend, read_state, server_socket
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial.specs import stand_in
from perennial.testing import small_model

# Written by 0.1.0 while each server had a port.
BEFORE = {
    "small_delays": {
        "ports": {"2": 9101, "1": 9100},
        "prefix": "/seldon/perennial/small-delays/",
        "timeout_seconds": 10.0,
        "threads": 4,
        "route": {"weights": {"1": 9000, "2": 1000}, "shadow": None, "digests": {"1": "a", "2": "b"}, "champion": 1},
    }
}


def test_what_was_served_before_is_known(tmp_path):
    """OP-08, SE-12: The versions and the route of a platform that gave servers ports are found again."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    assert read_state(settings) == {}
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "state.json").write_text(json.dumps(BEFORE))
    assert read_state(settings)["small_delays"]["versions"] == [1, 2]
    assert LocalBackend(settings).route(small_model()) == Route({1: 9000, 2: 1000}, None, {1: "a", 2: "b"}, 1)


def test_a_model_without_its_spec_keeps_its_settings_of_serving(tmp_path, monkeypatch):
    """SE-12: Other threads or another limit would replace servers that run, in the middle of a rollback."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    backend, started = LocalBackend(settings), []
    envoy.folder(settings).mkdir()
    monkeypatch.setattr(backend, "_start", lambda model, known, version, digest: started.append(known["threads"]))
    monkeypatch.setattr(backend, "_take_up", lambda *_: None)
    monkeypatch.setattr(backend, "_retire", lambda *_: None)
    route = Route({1: 10_000}, None, {1: "a" * 64}, 1)
    for model in (small_model(threads=7, timeout_seconds=3), stand_in("small_delays")):
        backend.apply(model, route)
    assert started == [7, 7]
    assert read_state(settings)["small_delays"]["timeout_seconds"] == 3
    backend.apply(small_model(threads=2), route)  # mended
    backend.apply(stand_in("unknown"), route)
    assert started[2:] == [2, stand_in("unknown").serving.threads]


def test_a_socket_is_a_versions_own_and_short_enough(tmp_path):
    """SC-01: Whatever the home and the model are called, two versions never share a socket, and the kernel takes its path."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / ("h" * (76 - len(str(tmp_path)) - 5)))})
    found = {server_socket(settings, model, version) for model in ("m" * 40, "m" * 39 + "n", "a") for version in (1, 12, 123_456)}
    assert len(found) == 9
    assert max(len(str(path)) for path in found) <= 107
