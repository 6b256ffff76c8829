"""Comparison of two versions' signatures (`signature.json`): what changes for callers, and whether answers still mean the same.

What an answer means never changes under one name. What callers send may grow: a change that every request of yesterday survives is
*compatible*, one that some do not is *breaking* and needs a person who has told the callers.

    >>> from perennial.registry.signatures import compare
    >>> before = {"inputs": [{"name": "age", "type": "int"}]}
    >>> now = {"inputs": [{"name": "age", "type": "int"}, {"name": "city", "type": "string"}]}
    >>> compare(before, now).breaking
    ('every request must send `city` (string), never null',)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perennial.column_types import ColumnKind, kind_of

Signature = Mapping[str, Any]  # `signature.json`, and `label`: the column from which the label is made

MEANINGS = {"task": "task", "label": "label", "classes": "classes"}


@dataclass(frozen=True)
class Changes:
    """The changes from one signature to another, as parts of sentences."""

    meaning: tuple[str, ...] = ()  # of an answer: such a version is another model
    breaking: tuple[str, ...] = ()  # what callers must do before it can read all that they send
    compatible: tuple[str, ...] = ()  # what no caller notices

    @classmethod
    def read(cls, stored: Mapping[str, Sequence[str]]) -> Changes:
        """The changes as read from an evaluation."""
        return cls(**{kind: tuple(said) for kind, said in stored.items()})

    def as_json(self) -> dict[str, list[str]]:
        """The changes as JSON, for an evaluation."""
        return {kind: list(said) for kind, said in asdict(self).items()}


def compare(before: Signature, now: Signature) -> Changes:
    """Compare the candidate's signature with the champion's.

    A task, label or list of classes that either of them does not name is not compared: versions of before it was written down have none.
    """
    meaning = tuple(
        f"its {word} {'were' if name == 'classes' else 'was'} {_shown(before[name])} and {'are' if name == 'classes' else 'is'} "
        f"{_shown(now[name])}"
        for name, word in MEANINGS.items()
        if before.get(name) and now.get(name) and before[name] != now[name]
    )
    old, new = ({field["name"]: field for field in side["inputs"]} for side in (before, now))
    breaking, compatible = [], []
    for name, field in new.items():
        if name in old:
            worse, better = _changed(old[name], field)
            breaking += worse
            compatible += better
        elif field.get("nullable"):
            compatible.append(f"the input `{name}` is new, and null where a caller does not send it")
        else:
            breaking.append(f"every request must send `{name}` ({field['type']}), never null")
    found = {name for join in before.get("joins", ()) for name in join["columns"]}
    still = {name for join in now.get("joins", ()) for name in join["columns"]}
    breaking += [f"`{name}` must be sent itself: it is no longer found by a key" for name in sorted(found - still) if name in new]
    gone = [name for name in old if name not in new]
    if not now.get("strict"):
        compatible += [f"the input `{name}` is no longer read" for name in gone]
        compatible += ["fields that are no input are ignored"] if before.get("strict") else []
    elif before.get("strict"):
        breaking += [f"no request may send `{name}` any more" for name in gone]
    else:
        breaking.append(f"no request may send a field that is no input: {_shown(list(new))}")
    zones = [side.get("time_zone", "UTC") for side in (before, now)]  # a version of before it was written down has UTC
    if zones[0] != zones[1] and any(field["type"] == "timestamp" for field in new.values()):
        compatible.append(f"times that carry an offset are converted to {zones[1]}, no longer to {zones[0]}; others stay as they stand")
    worse, better = _changed_forms(before.get("files") or {}, now.get("files") or {}, new.values())
    return Changes(meaning, (*breaking, *worse), (*compatible, *better))


def _changed_forms(before: Mapping[str, Any], now: Mapping[str, Any], inputs: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The changes of how texts and names are read that callers may send as files have them: those that break callers, and the others."""
    breaking, compatible = [], []
    marks = [(side.get("decimal", "."), side.get("thousands", "")) for side in (before, now)]
    if before and (not now or marks[0] != marks[1]):
        breaking.append(
            f"numbers that are sent as text must have the decimal mark {_shown(marks[1][0])} and the thousands mark {_shown(marks[1][1])}"
            if now
            else "no text is read as a number, truth value or time any more: send JSON's own"
        )
    for name, what in (("true", "true"), ("false", "false"), ("nulls", "a missing value"), ("times", "a form of times")):
        had, has = before.get(name, ()), now.get(name, ())
        if gone := [word for word in had if word not in has]:
            breaking.append(f"{_shown(gone)} is no longer {what}")
        if more := [word for word in has if word not in had]:
            compatible.append(f"{_shown(more)} may be sent for {what}")
            texts = [one["name"] for one in inputs if one["type"] == "string" and one.get("nullable")] if name == "nulls" else []
            if texts:
                breaking.append(f"{_shown(texts)} must be null, not {_shown(more)}")
    for name in ("fields", "time_of"):
        if gone := [column for column, called in before.get(name, {}).items() if now.get(name, {}).get(column) != called]:
            breaking.append(f"{_shown(gone)} must be sent under that name or as files have it now")
    if before.get("header") and not now.get("header"):
        breaking.append("fields must be sent in the case of their names")
    return breaking, compatible


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The changes of one input: those that break callers, and those that do not."""
    name = now["name"]
    breaking, compatible = [], []
    if (before["type"], now["type"]) == ("int", "float"):  # a whole number is a number
        compatible.append(f"`{name}` may be any number")
    elif before["type"] != now["type"]:
        breaking.append(f"`{name}` must be sent as {now['type']}, no longer as {before['type']}")
    elif kind := kind_of(now["type"]):
        worse, better = _changed_content(before, now, kind)
        breaking += worse
        compatible += better
    if before.get("nullable") and not now.get("nullable"):
        breaking.append(f"`{name}` must not be null any more")
    elif now.get("nullable") and not before.get("nullable"):
        compatible.append(f"`{name}` may be null")
    for bound, words, sign in (("min", "at least", 1), ("max", "at most", -1)):
        was, is_now = before.get(bound), now.get(bound)
        if is_now is not None and (was is None or sign * (is_now - was) > 0):
            breaking.append(f"`{name}` must be {words} {is_now:.16g}")
        elif was != is_now:
            compatible.append(f"`{name}` may be {'below' if bound == 'min' else 'above'} {was:.16g}")
    had, has = before.get("values"), now.get("values")
    if has is not None and (had is None or set(had) - set(has)):
        breaking.append(f"`{name}` must be one of {_shown(has)}")
    elif had is not None and (has is None or set(has) - set(had)):
        compatible.append(f"`{name}` may have values besides {_shown(had)}")
    return breaking, compatible


def _changed_content(before: Mapping[str, Any], now: Mapping[str, Any], kind: ColumnKind) -> tuple[list[str], list[str]]:
    """The changes of what a list, text, array or picture may hold, and how much: those that break callers, and the others."""
    name = now["name"]
    breaking, compatible = [], []
    if (before.get("of"), now.get("of")) == ("int", "float"):
        compatible.append(f"`{name}` may hold any numbers")
    elif before.get("of") != now.get("of"):
        breaking.append(f"`{name}` must hold {now['of']}, no longer {before['of']}")
    if now["type"] == "array" and list(before["shape"]) != list(now["shape"]):  # a picture may have any size
        old, new = (" x ".join(map(str, side["shape"])) for side in (before, now))
        breaking.append(f"`{name}` must have {new} numbers, no longer {old}")
    old_limit, new_limit = (side.get("longest") or kind.most for side in (before, now))
    if new_limit < old_limit:
        breaking.append(f"`{name}` may be at most {new_limit} long")
    elif new_limit > old_limit:
        compatible.append(f"`{name}` may be longer")
    return breaking, compatible


def _shown(value: object) -> str:
    return (
        f"`{value}`"
        if isinstance(value, str)
        else ", ".join(f"`{one}`" for one in value)
        if isinstance(value, (list, tuple))
        else str(value)
    )
