"""Unix sockets of this machine's programs: their folder, and requests over them."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perennial.errors import SettingMissing
from perennial.settings import Settings

LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes; supervisord and PostgreSQL append a suffix while they bind


def socket_folder(settings: Settings) -> Path:
    """A folder (mode 0700) whose unix sockets have short enough paths: `<home>/run`, or one under the temporary folder.

    Raises:
        SettingMissing: the folder exists and belongs to somebody else.
    """
    folder = settings.home / "run"
    if len(os.fsencode(folder)) > LONGEST_SOCKET_PATH - 24:
        digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"perennial-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SettingMissing(f"The socket folder {folder} belongs to somebody else: remove it, or set PERENNIAL_HOME to a shorter path.")
    folder.chmod(0o700)
    return folder


class UnixConnection(http.client.HTTPConnection):
    """A connection to the program that listens on a socket."""

    def __init__(self, path: Path, timeout: float = 120) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.close()
            raise


def get(path: Path, asked: str, timeout: float = 5, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Send a request to the program at a socket and return the status and text of its answer.

    Raises:
        OSError, http.client.HTTPException: it does not answer.
    """
    return _answer(path, timeout, "GET", asked, None, dict(headers or {}))


def post(path: Path, asked: str, body: str, headers: Mapping[str, str], timeout: float = 5) -> tuple[int, str]:
    """The same with a body."""
    return _answer(path, timeout, "POST", asked, body, dict(headers))


def _answer(path: Path, timeout: float, *request: Any) -> tuple[int, str]:
    connection = UnixConnection(path, timeout)
    try:
        connection.request(*request)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()
