"""A Delta table's commit log: every file that it ever added, with its hash, and whether the commits have changed since they were written.

Each commit keeps the SHA-256 of the one before it; that of the newest is beside the log, in `_sha256/last.json`, until the next one has it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from perennial.data.commits import FACT, PREVIOUS, last_key, log_key, missing
from perennial.store import Store


@dataclass
class Log:
    """The content of a table's commits."""

    added: dict[str, int] = field(default_factory=dict)  # bytes of every file that ever was in the table, by path
    files: dict[str, tuple[int, int | None]] = field(
        default_factory=dict
    )  # bytes and rows of the files of the version that was asked for, by path
    version: int = -1  # the newest
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 by path, where a commit tells it
    damage: list[str] = field(default_factory=list)  # a sentence for each commit that is missing or not as it was written


def read_log(store: Store, name: str, until: int | None = None) -> Log:
    """Read every commit of a table. A commit from before hashes were kept is vouched for by none, unless the next one has its hash.

    Args:
        store: where the table is.
        name: of the table.
        until: version whose files are told; the newest if absent.
    """
    log, before, version = Log(), "", -1
    now: dict[str, tuple[int, int | None]] = {}
    numbers = [
        item.key.rsplit("/", 1)[1].removesuffix(".json") for item in store.list(f"tables/{name}/_delta_log") if item.key.endswith(".json")
    ]
    for number in (int(number) for number in numbers if number.isdecimal()):
        if number != version + 1:
            log.damage.append(missing(name, version + 1))
            before = ""
        version, key = number, log_key(name, number)
        data = store.read(key)
        fault = _take(log, now, data, key)
        if number == until:
            log.files = dict(now)
        if fault and before and fault != before:
            log.damage.append(_changed(log_key(name, number - 1)))
        before = hashlib.sha256(data).hexdigest()
    log.version = version
    if until is None:
        log.files = now
    try:
        last = json.loads(store.read(last_key(name)))
        if last["version"] == version and last["sha256"] != before:
            log.damage.append(_changed(log_key(name, version)))
        if last["version"] > version and not store.exists(log_key(name, last["version"])):  # else it was made since the list was
            log.damage.append(missing(name, last["version"]))
    except KeyError:
        pass  # written before hashes were kept, or about to be written
    except (ValueError, TypeError):
        log.damage.append(f"{last_key(name)} cannot be read: delete it; the next commit writes it anew.")
    return log


def _take(log: Log, now: dict[str, tuple[int, int | None]], data: bytes, key: str) -> str:
    """Apply a commit to the table's files and add its content; returns the hash of the commit before it, if it records one."""
    try:
        actions: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
        info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
        for action in actions:
            if "remove" in action:
                now.pop(action["remove"]["path"], None)
        for added in (action["add"] for action in actions if "add" in action):
            log.added[added["path"]] = added["size"]
            now[added["path"]] = added["size"], json.loads(added.get("stats") or "{}").get("numRecords")
        log.hashes |= json.loads(info.get(FACT) or "{}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.damage.append(f"{key} cannot be read ({type(error).__name__}): restore it from a backup.")
        return ""
    return str(info.get(PREVIOUS, ""))


def _changed(key: str) -> str:
    return f"{key} was changed after it was written: its SHA-256 is not the one that was kept. Restore the file from a backup."
