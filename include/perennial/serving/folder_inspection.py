"""Inspects a version's folder in the environment that runs this: `python -m perennial.serving.folder_inspection FOLDER`.

Replays its golden rows and, where these match, inspects it as a server of it would be. Reads one JSON document from its standard input,
{"limit_ms": milliseconds or null, "requests": [...]}, and prints one: `golden`, and the fields of `Inspected`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from perennial.serving.aside import Aside
from perennial.serving.inspection import inspect
from perennial.serving.replay import replay
from perennial.serving.request import BadRequest, read_request
from perennial.serving.scorer import Scorer, ScoringFailed


def in_process(scorer: Scorer) -> Aside:
    """A version that this process has loaded; it answers as a server does, without its network."""

    def ask(body: bytes) -> tuple[int, bytes]:
        try:
            scores = scorer.score(read_request(body, scorer.signature).columns)
        except BadRequest as error:
            return 400, orjson.dumps({"status": {"info": str(error)}})
        except ScoringFailed as error:
            return 500, orjson.dumps({"status": {"info": str(error)}})
        meta = {"puid": "inspected", "tags": {"model": scorer.model}}
        return 200, orjson.dumps({"data": {"names": scorer.names, "ndarray": scores}, "meta": meta}, option=orjson.OPT_SERIALIZE_NUMPY)

    return Aside(ask, (os.getpid(),))


def main(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known of a version before it is registered; nothing but the golden rows where these do not match."""
    golden = replay(folder)
    if not golden["matches"]:
        return {"golden": golden}
    found = inspect(in_process(Scorer(folder)), folder, asked.get("requests", []), asked.get("limit_ms"))
    return {"golden": golden, **asdict(found)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.load(sys.stdin))))
