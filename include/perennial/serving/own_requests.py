"""A request of a release's own through the gateway, as callers reach a version: part of the release's trace, neither logged nor counted.

It shows in one trace how a request goes from the gateway to the version that has just got traffic. Servers know it by a word that only
this machine's user can read, since a caller must not be able to have its predictions left out.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perennial import tracing
from perennial.serving.caller import here
from perennial.serving.envoy import VERSION_WANTED
from perennial.settings import Settings

log = logging.getLogger(__name__)

HEADER = "x-perennial-own"
ANSWER_SECONDS = 5.0


def is_own(home: Path, headers: Mapping[str, str]) -> bool:
    """Whether these are headers of such a request."""
    said = headers.get(HEADER)
    if not said:
        return False
    try:
        word = _file(home).read_text()
    except OSError:
        return False
    return hmac.compare_digest(said.encode(), word.encode())


def ask(settings: Settings, model: str, version: int, row: Mapping[str, Any]) -> int:
    """The status with which the gateway answers for a version, 0 for none. It decides nothing: whether a version serves others find out.

    Args:
        settings: say where the gateway is.
        model: name of the model.
        version: of it.
        row: one row, as a request may send it.
    """
    url = here(settings).gateway_url + settings.prediction_path(model)
    with tracing.span("ask through the gateway", model=model, version=version) as note:
        headers = {"Content-Type": "application/json", VERSION_WANTED: str(version), HEADER: _word(settings.home), **tracing.headers()}
        request = urllib.request.Request(url, json.dumps({"data": {"rows": [row]}}).encode(), headers)  # noqa: S310 - http, the scheme of `here`
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine's own: never through a proxy
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, ValueError) as error:
            status = 0
            log.info("The gateway did not answer the release's own request: %s.", error)
        note(status=status)
    return status


def _word(home: Path) -> str:
    file = _file(home)
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
            text.write(secrets.token_hex(16))
    except FileExistsError:
        pass
    return file.read_text()


def _file(home: Path) -> Path:
    return home / "serving" / "own-requests"
