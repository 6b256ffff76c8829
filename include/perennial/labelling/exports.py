"""Reads what people answered from the exports of labelling tools.

Label Studio: JSON, JSON-MIN and CSV. CVAT: "CVAT for images 1.1" (XML) and COCO (JSON), also in the archive that it gives, with one tag
or category an image. Plain CSV: the tasks that `perennial labels choose` writes, filled in; the person is in the column `_person`.

    >>> import pathlib
    >>> from perennial.labelling.answers import Target
    >>> from perennial.specs import Column
    >>> target = Target("pets", key=(Column(name="photo", type="string"),), labels=(Column(name="kind", type="string"),), known="known")
    >>> file = pathlib.Path("pets.csv")
    >>> _ = file.write_text("photo,kind,_person,known\\n1.png,cat,ada,2024-02-01T10:00:00Z\\n2.png,,ada,2024-02-01T10:00:00Z\\n")
    >>> export = read_export(file, target)
    >>> export.answers, export.left_out
    ([Answer(key=('1.png',), person='ada', label={'kind': 'cat'}, known='2024-02-01T10:00:00Z')], 1)
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from perennial.errors import BatchRefused
from perennial.labelling.answers import Answer, Key, Target, fits, has_offset, plain
from perennial.specs import Column

CHANGED = ("updated_at", "created_at")  # of an annotation: when its label became known
PERSON = "_person"  # column of plain CSV
KEY = "_key"  # of our own tasks: the key columns with their values, which no tool has fields of the same name for
OWN = frozenset(
    {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
)  # Label Studio's, in flat exports
LARGEST = 512 << 20  # bytes of an unpacked export
AHEAD = timedelta(days=1)  # by which the clock of a tool may be wrong: a label of a later time would stay the newest for ever
UNDATED = "_undated"  # in annotations whose export may tell no time
_MEANT = {"int": "a whole number", "float": "a number", "bool": "true or false", "timestamp": "a time such as 2024-02-01 10:00:00"}
WHO = (PERSON, "completed_by", "annotator")  # where exports have the person
FORMS = "give an export of Label Studio (JSON, JSON-MIN or CSV), of CVAT (CVAT for images 1.1, COCO), or plain CSV"

Row = dict[str, Any]


@dataclass(frozen=True)
class Export:
    """What an export holds.

    Attributes:
        digest: SHA-256 of the file.
        answers: in the order of the file.
        left_out: annotations that were skipped or have no value.
    """

    digest: str
    answers: list[Answer]
    left_out: int


def read_export(file: Path, target: Target, person: str = "") -> Export:
    """The answers of an export.

    Args:
        file: the export; its extension and content say what it is.
        target: key columns, label columns and the time to look for.
        person: who answered, where the file does not say.

    Raises:
        BatchRefused: it cannot be read, is no such export, or lacks a column of the target.
    """
    try:
        content = file.read_bytes()
        name, unpacked = _unpacked(file, content)
        text = unpacked.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
        raise BatchRefused(f"{file} cannot be read ({error}): {FORMS}.") from None
    annotations = list(_annotations(file.with_name(name), text, target))
    rows = [_answer(target, each, f"Annotation {n} of {file.name}", person) for n, each in enumerate(annotations, 1)]
    answers = [row for row in rows if row is not None]
    _refuse_contradiction(file, target, answers)
    return Export(hashlib.sha256(content).hexdigest(), answers, len(rows) - len(answers))


def _unpacked(file: Path, content: bytes) -> tuple[str, bytes]:
    """The one XML or JSON file in an archive, as CVAT gives it, and its name; a file that is no archive as it is."""
    if file.suffix.lower() != ".zip":
        return file.name, content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = [entry for entry in archive.infolist() if entry.filename.lower().endswith((".xml", ".json"))]
        if len(inside) != 1 or inside[0].file_size > LARGEST:
            names = ", ".join(entry.filename for entry in inside[:3]) or "none"
            raise BatchRefused(
                f"{file.name} should have one .xml or .json file of at most {LARGEST >> 20} MiB inside, and has {names}: unpack it."
            )
        return PurePosixPath(inside[0].filename).name, archive.read(inside[0])


def _annotations(file: Path, text: str, target: Target) -> Iterator[Row]:
    """Each annotation, flat: the data of its task, a value by name of each result, the person and the time."""
    kind = file.suffix.lower()
    if kind == ".csv":
        return _csv(file, text)
    if kind == ".xml":
        return _cvat(file, text, target)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BatchRefused(f"{file} is no JSON ({error}): {FORMS}.") from None
    if isinstance(document, dict) and {"images", "annotations", "categories"} <= set(document):
        return _coco(file, document, target)
    if not isinstance(document, list) or not all(isinstance(task, dict) for task in document):
        raise BatchRefused(f"{file} is no export of Label Studio: it should be a list of tasks.")
    return _label_studio(file, document)


def _answer(target: Target, annotation: Mapping[str, Any], where: str, person: str) -> Answer | None:
    """The answer of an annotation; None if it has none of the label values."""
    given = {column.name: _value(annotation.get(column.name), f"{where}: its {column.name}") for column in target.labels}
    if all(value in (None, "") for value in given.values()):
        return None
    label = {column.name: _fitting(given[column.name], column, target, where) for column in target.labels}
    known = next((str(annotation[name]).strip() for name in (target.known, *CHANGED) if annotation.get(name)), "")
    named = _key_columns(annotation, target, where)
    key = tuple(_fitting(named.get(column.name), column, target, where) for column in target.key)
    lacks = [column.name for column, value in zip(target.key, key, strict=True) if not value]
    if not known and not {UNDATED, PERSON} & set(annotation):  # filled in by hand, nobody writes a time: it counts from now
        lacks.append(target.known)
    if lacks:
        has = ", ".join(sorted(map(str, annotation))) or "nothing"
        raise BatchRefused(f"{where} has no {lacks[0]}, which {target.name} needs (it has {has}): export the tasks with that column.")
    try:
        if known and target.moment(known) > datetime.now(timezone.utc) + AHEAD:
            raise BatchRefused(f"{where}: its {target.known} is {known[:40]!r}, which is yet to come: correct the time.")
    except ValueError:
        raise BatchRefused(f"{where}: its {target.known} is {known[:40]!r}, which is no time like 2024-02-01T10:00:00Z.") from None
    return Answer(key, next(filter(None, (_person(annotation.get(name)) for name in WHO)), person), label, known)


def _key_columns(annotation: Mapping[str, Any], target: Target, where: str) -> Mapping[str, Any]:
    """Where the key columns are: in `_key` of tasks that Perennial wrote, else in the data of the task."""
    named = annotation.get(KEY)
    if isinstance(named, str) and named:
        try:
            named = json.loads(named)
        except (ValueError, RecursionError):
            raise BatchRefused(f"{where}: its {KEY} is no JSON: leave that column as it was written.") from None
    if isinstance(named, dict):
        return named
    hidden = [column.name for column in target.key if column.name in OWN and "annotator" in annotation]
    if hidden:
        raise BatchRefused(
            f"{where}: {hidden[0]} in a flat export is Label Studio's own, not that of {target.name}: export the project as JSON."
        )
    return annotation


def _fitting(value: Any, column: Column, target: Target, where: str) -> str:
    """A value as text. Raises BatchRefused where ingestion would refuse it, and with it all labels of the export."""
    if isinstance(value, dict | list):
        raise BatchRefused(f"{where}: its {column.name} is {str(value)[:40]}, and {target.name} takes one value there: correct the task.")
    written = plain(value, column, target.time_zone)
    if not fits(written, column, target.time_zone):
        kind = _MEANT.get(column.type, "text")
        raise BatchRefused(f"{where}: its {column.name} is {written[:40]!r}, and {target.name} takes {kind} there: correct it.")
    return written


def _refuse_contradiction(file: Path, target: Target, answers: Sequence[Answer]) -> None:
    """Which of two labels that one person gave at one time he means, nobody knows."""
    said: dict[tuple[Key, str, str], Mapping[str, str]] = {}
    for answer in answers:
        before = said.setdefault((answer.key, answer.person, answer.known), answer.label)
        if before != answer.label:
            both = " and ".join(repr(", ".join(filter(None, label.values()))) for label in (before, answer.label))
            raise BatchRefused(
                f"{file.name} has two labels of {target.words_of(answer.key)} by {answer.person or 'a person without a name'} at the same "
                f"time, {both}: keep one of them, or tell in {PERSON} who gave which."
            )


def _person(value: Any) -> str:
    """Name of a person: a mail address or an id of Label Studio, or as it is written."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value).strip()


def _csv(file: Path, text: str) -> Iterator[Row]:
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    if separator != "," and "," in first:
        raise BatchRefused(f"The header of {file.name} has commas and {separator!r}: write it with one separator.")
    csv.field_size_limit(LARGEST)  # a text among the inputs may be long
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        heads = list(reader.fieldnames or ())
        if twice := [head for head in heads if heads.count(head) > 1]:
            raise BatchRefused(f"The header of {file.name} has {twice[0]!r} twice: which one counts? Remove the other.")
        for row in reader:
            if None in row or None in row.values():
                raise BatchRefused(f"{file.name}, line {reader.line_num}: it has not as many fields as the header. Correct it.")
            yield row
    except csv.Error as error:
        raise BatchRefused(f"{file.name} is no CSV ({error}, line {reader.line_num}): {FORMS}.") from None


def _label_studio(file: Path, tasks: list[Row]) -> Iterator[Row]:
    for number, task in enumerate(tasks, 1):
        if "annotations" not in task:
            yield task  # JSON-MIN
            continue
        where = f"Task {number} of {file.name}"
        data = _object({} if task.get("data") is None else task["data"], f"{where}: its data")
        for annotation in _objects(task["annotations"], f"{where}: its annotations"):
            results = {} if annotation.get("was_cancelled") else _results(file, annotation)
            about = {name: annotation.get(name) for name in (*CHANGED, "completed_by")}
            yield {**data, **about, **results}


def _object(value: Any, what: str) -> Row:
    if not isinstance(value, dict):
        raise BatchRefused(f"{what} should be an object as Label Studio writes it, and is {json.dumps(value)[:40]}: export it again.")
    return value


def _objects(values: Any, what: str) -> list[Row]:
    """A list of objects; an empty one where there is none."""
    if not isinstance(values, list | None):
        raise BatchRefused(f"{what} should be a list as Label Studio writes it, and is {json.dumps(values)[:40]}: export it again.")
    return [_object(value, f"{what}: each") for value in values or ()]


def _results(file: Path, annotation: Mapping[str, Any]) -> Row:
    """The value of each result by its name; relations between regions have neither."""
    values: Row = {}
    for result in _objects(annotation.get("result"), f"Annotation {annotation.get('id', '')} of {file.name}: its result"):
        name, value = result.get("from_name"), result.get("value")
        if not isinstance(name, str | None):
            raise BatchRefused(f"Annotation {annotation.get('id', '')} of {file.name} has a result without a name: export it again.")
        if name in values and values[name] != value:
            raise BatchRefused(
                f"Annotation {annotation.get('id', '')} of {file.name} has several values of {name}, and a label is one value: export a "
                "project with one choice a task."
            )
        if name is not None:
            values[name] = value
    return values


def _value(value: Any, where: str) -> Any:
    """The one value of a result: its choice, number, rating or text."""
    while isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        if len(inner) > 1:
            raise BatchRefused(f"{where} is {json.dumps(value)[:80]}, and a label is one value: export a project with one choice a task.")
        value = inner[0] if inner else None
    return value


def _cvat(file: Path, text: str, target: Target) -> Iterator[Row]:
    """Tags of images. A tag's attributes with the names of columns are their values; the name of the image is the key."""
    if "<!ENTITY" in text:
        raise BatchRefused(f"{file.name} declares entities, which no export of CVAT does: export it again.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities nothing can grow
    except ElementTree.ParseError as error:
        raise BatchRefused(f"{file.name} is no XML ({error}): {FORMS}.") from None
    if root.tag != "annotations" or root.find("image") is None:
        raise BatchRefused(f"{file.name} is no export 'CVAT for images 1.1': it should be <annotations> with an <image> each.")
    about = {
        "completed_by": root.findtext("meta/task/assignee/username") or root.findtext("meta/job/assignee/username"),
        target.known: _utc(root.findtext("meta/task/updated") or root.findtext("meta/dumped") or ""),
        UNDATED: True,
    }
    column = _only_label(file, target)
    for image in root.iter("image"):
        name = image.get("name", "")
        tags = image.findall("tag")
        if len({tag.get("label") for tag in tags}) > 1:
            raise BatchRefused(f"The image {name} of {file.name} has several tags, and a label is one value: keep one tag an image.")
        for tag in tags[:1]:
            attributes = {str(attribute.get("name")): attribute.text for attribute in tag.iter("attribute")}
            yield {**_of_image(file, name, target, attributes), **about, column: tag.get("label"), **attributes}
        if not tags:
            yield {**_of_image(file, name, target, {}), **about}


def _coco(file: Path, document: Row, target: Target) -> Iterator[Row]:
    """Categories of images; boxes and masks are not read."""
    column = _only_label(file, target)
    try:
        names = {image["id"]: str(image["file_name"]) for image in document["images"]}
        categories = {category["id"]: str(category["name"]) for category in document["categories"]}
        for what, numbers in (("images", names), ("categories", categories)):
            if len(numbers) < len(document[what]):
                raise BatchRefused(f"Two {what} of {file.name} have the same id, so nobody knows which is meant: export it again.")
        labels: dict[Any, set[str]] = {number: set() for number in names}
        for annotation in document["annotations"]:
            labels[annotation["image_id"]].add(categories[annotation["category_id"]])
    except (KeyError, TypeError) as error:
        raise BatchRefused(f"{file.name} is no COCO export: {error} is missing or unknown. Export it again.") from None
    info = document.get("info")
    known = _utc(str(info.get("date_created") or "")) if isinstance(info, dict) else ""
    for number, name in names.items():
        if len(labels[number]) > 1:
            raise BatchRefused(f"The image {name} of {file.name} has several categories, and a label is one value: keep one an image.")
        yield {**_of_image(file, name, target, {}), target.known: known, UNDATED: True, column: next(iter(labels[number]), None)}


def _only_label(file: Path, target: Target) -> str:
    if len(target.deciding) != 1:
        raise BatchRefused(f"{file.name} has one label an image, and {target.name} has {', '.join(target.deciding)}: which one is it?")
    return target.deciding[0]


def _of_image(file: Path, name: str, target: Target, attributes: Mapping[str, Any]) -> Row:
    """The key of an image: its name; of a column of whole numbers its name without folder and extension."""
    missing = [column for column in target.key if column.name not in attributes]
    if len(missing) > 1:
        raise BatchRefused(
            f"{file.name} names images, and a row of {target.name} is named by {', '.join(c.name for c in target.key)}: "
            "give the tags attributes of these names."
        )
    return {column.name: PurePosixPath(name).stem if column.type == "int" else name for column in missing}


def _utc(written: str) -> str:
    """A time of CVAT, which gives them in UTC; empty if it is none."""
    if has_offset(written):
        return written
    return f"{written}Z" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+", written) else ""
