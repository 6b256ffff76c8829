"""The library that draws the console's pictures is the one that is pinned, from whichever npm registry this machine uses."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from perennial.local.browser_library import LibraryUnavailable, install, registry


def archive(content: bytes) -> bytes:
    """A package as npm has it, with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as members:
        member = tarfile.TarInfo("package/dist/draw.min.js")
        member.size = len(content)
        members.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def registry_of(tmp_path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A registry and what it has, by path; the lock pins the package `draw` with the content `draw()`. Below `torn` answers break off."""
    packages: dict[str, bytes] = {"/npm/draw/-/draw-1.0.0.tgz": archive(b"draw()"), "/npm/torn/draw/-/draw-1.0.0.tgz": b"half"}

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in packages else 404)
            self.send_header("Content-Length", str(len(packages.get(self.path, b"")) + 9 * self.path.startswith("/npm/torn/")))
            self.end_headers()
            self.wfile.write(packages.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    digest = base64.b64encode(hashlib.sha512(packages["/npm/draw/-/draw-1.0.0.tgz"]).digest()).decode()
    files = {"package/dist/draw.min.js": "draw.js"}
    draw = {"package": "draw", "version": "1.0.0", "use": "draws", "integrity": f"sha512-{digest}", "files": files}
    (tmp_path / "lock.json").write_text(json.dumps([draw]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/npm", packages
    server.shutdown()
    server.server_close()


def test_what_is_pinned_is_put_beside_airflow(registry_of: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """DE-09: The registry that npm is told to use is asked, and the pinned file lies where the console looks for it."""
    install(tmp_path / "venv", {"NPM_CONFIG_REGISTRY": registry_of[0]}, tmp_path / "lock.json")
    assert (tmp_path / "venv/share/perennial/draw.js").read_bytes() == b"draw()"


def test_what_lies_there_is_not_fetched_again(registry_of: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """DE-09: An environment that is brought up to date without a network keeps it; what was lost, or is pinned anew, is asked for."""
    lock, settings = tmp_path / "lock.json", {"npm_config_registry": registry_of[0]}
    install(tmp_path / "venv", settings, lock)
    kept = registry_of[1].pop("/npm/draw/-/draw-1.0.0.tgz")
    install(tmp_path / "venv", settings, lock)
    drawn = tmp_path / "venv/share/perennial/draw.js"
    drawn.unlink()
    with pytest.raises(LibraryUnavailable, match=r"draw-1\.0\.0\.tgz"):
        install(tmp_path / "venv", settings, lock)
    registry_of[1]["/npm/draw/-/draw-1.0.0.tgz"] = kept
    install(tmp_path / "venv", settings, lock)
    assert drawn.read_bytes() == b"draw()"
    (pin,) = json.loads(lock.read_text())
    lock.write_text(json.dumps([{**pin, "version": "1.0.1"}]))
    with pytest.raises(LibraryUnavailable, match=r"draw-1\.0\.1\.tgz"):
        install(tmp_path / "venv", settings, lock)


def test_another_content_is_refused(registry_of: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """A registry that gives something else than what is pinned is refused, and nothing of it is put anywhere."""
    registry_of[1]["/npm/draw/-/draw-1.0.0.tgz"] = archive(b"steal()")
    with pytest.raises(LibraryUnavailable, match="is not what is pinned"):
        install(tmp_path / "venv", {"npm_config_registry": registry_of[0]}, tmp_path / "lock.json")
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("end", "why"), [("/other", "HTTP 404"), ("/torn", "IncompleteRead"), ("", "refused|reset|closed")])
def test_a_registry_that_does_not_give_it_is_one_sentence(
    registry_of: tuple[str, dict[str, bytes]], tmp_path: Path, end: str, why: str
) -> None:
    """Where it was asked for, why it did not come, and what to do."""
    address = registry_of[0] + end if end else "http://127.0.0.1:1"
    with pytest.raises(LibraryUnavailable, match=f"could not be fetched from {address}.*({why}).*make setup"):
        install(tmp_path / "venv", {"npm_config_registry": address}, tmp_path / "lock.json")


def test_npms_own_configuration_says_which_registry(tmp_path: Path) -> None:
    """A variable wins over the file of the user; without both it is the public one."""
    (tmp_path / ".npmrc").write_text("fund=false\nregistry = https://npm.example/mirror/\n")
    home = {"HOME": str(tmp_path)}
    assert registry(home) == "https://npm.example/mirror/"
    assert registry({**home, "npm_config_registry": "https://other.example"}) == "https://other.example/"
    assert registry({"HOME": str(tmp_path / "nobody")}) == "https://registry.npmjs.org/"
    assert registry({}) == "https://registry.npmjs.org/"
