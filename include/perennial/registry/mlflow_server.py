"""Client of an MLflow server's REST API.

The mlflow package takes three seconds and 300 MB to import (it loads pandas and much else); a stage that moves an
alias has no use for them. docs/decisions/0010 weighs it.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from perennial.errors import ServiceUnreachable, SettingMissing
from perennial.settings import Settings

ANSWER_SECONDS = 15.0
USER = "admin"  # of the server that `perennial up` starts


class MlflowRefusal(Exception):
    """The server answered with an error: `code` such as RESOURCE_DOES_NOT_EXIST, and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


class MlflowServer:
    """The MLflow server that the settings name.

    Args:
        settings: they hold its address, and say where its password or token is.
        seconds: for which it is waited for at each call.

    Raises:
        SettingMissing: the file with the login cannot be read.
    """

    def __init__(self, settings: Settings, seconds: float = ANSWER_SECONDS) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self.url = settings.mlflow_url.rstrip("/")
        self._login = _login(settings)
        self._parts = urlsplit(self.url)
        self._seconds = seconds

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection that is kept between calls; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Send a GET request. Raises MlflowRefusal or ServiceUnreachable."""
        return self._call("GET", f"/api/2.0/mlflow/{path}?{urlencode(query)}")

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a POST request. Raises MlflowRefusal or ServiceUnreachable."""
        return self._call("POST", f"/api/2.0/mlflow/{path}", body)

    def patch(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a PATCH request. Raises MlflowRefusal or ServiceUnreachable."""
        return self._call("PATCH", f"/api/2.0/mlflow/{path}", body)

    def delete(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a DELETE request. Raises MlflowRefusal or ServiceUnreachable."""
        return self._call("DELETE", f"/api/2.0/mlflow/{path}", body)

    def put_file(self, artifact_uri: str, name: str, data: bytes) -> None:
        """Write a file into a run's folder.

        Args:
            artifact_uri: the run's own, as the server gave it.
            name: relative path below it.
            data: the file's bytes.

        Raises:
            ServiceUnreachable: the server does not answer, or does not take files itself.
        """
        parts = urlsplit(artifact_uri)
        if parts.scheme != "mlflow-artifacts":
            raise ServiceUnreachable(
                f"MLflow at {self.url} does not take files itself (it names {artifact_uri}). Start it with --serve-artifacts."
            )
        self._call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(parts.path.strip('/'))}/{quote(name)}", data)

    def _call(self, method: str, target: str, body: Mapping[str, Any] | bytes | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/octet-stream" if isinstance(body, bytes) else "application/json"} | self._login
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            status, answer = self._exchange(method, self._parts.path + target, data, headers)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise ServiceUnreachable(
                f"MLflow at {self.url} does not answer ({why}). Start it, or correct PERENNIAL_MLFLOW_URL; "
                "on one machine `perennial up` starts it."
            ) from error
        if status in (401, 403):
            raise ServiceUnreachable(
                f"MLflow at {self.url} refuses the credentials ({status}). Check PERENNIAL_MLFLOW_LOGIN, or MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD; the server that `perennial up` starts has its password in <home>/secrets/mlflow-password."
            )
        try:
            document = json.loads(answer or b"{}")
        except ValueError:
            document = None
        if status >= 500 or not isinstance(document, dict):
            said = document.get("message", "") if isinstance(document, dict) else answer[:100].decode(errors="replace")
            raise ServiceUnreachable(
                f"MLflow at {self.url} failed with status {status} at {target.partition('?')[0]}: {said or 'no reason given'}. See its log."
            )
        if status >= 400:
            raise MlflowRefusal(status, str(document.get("error_code", status)), str(document.get("message", "")))
        return document

    def _exchange(self, method: str, target: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        kept = self._connection is not None
        try:
            return self._once(method, target, data, headers)
        except (ConnectionError, http.client.HTTPException):
            if not kept:
                raise
            return self._once(method, target, data, headers)  # the server had closed the connection that was kept from the call before

    def _once(self, method: str, target: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._seconds)
        try:
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self.close()
            raise


def _login(settings: Settings) -> dict[str, str]:
    """The header that lets a call in; none where no password or token is known."""
    if settings.mlflow_login:
        try:
            said = Path(settings.mlflow_login).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise SettingMissing(f"PERENNIAL_MLFLOW_LOGIN is {settings.mlflow_login}, which cannot be read: {why}.") from None
        user, colon, password = said.partition(":")
        return _basic(user, password) if colon else {"Authorization": f"Bearer {said}"}
    if settings.has_own_mlflow and settings.mlflow_password.exists():  # MLFLOW_TRACKING_… in somebody's shell are for another one
        return _basic(USER, settings.mlflow_password.read_text())
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if named := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return _basic(named, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    return {}


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
