"""A value means the same, or is refused alike, in a landed file, a request and what a server logged; training reads the table's."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial import encoding
from perennial.data.readers import read_batch
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import BatchRefused
from perennial.forms import form_of_requests
from perennial.monitoring.prediction_table import collect_predictions
from perennial.serving.request import BadRequest, read_request, read_signature
from perennial.specs import Column, DatasetSpec, FileForm, GateSpec, ModelSpec
from perennial.store import FolderStore

ZONE = "America/New_York"
DATASET = DatasetSpec(
    name="values", title="Values", owner="tests", key=("k",), event_time="at", time_zone=ZONE,
    columns=(
        Column(name="k", type="int"), Column(name="at", type="timestamp"), Column(name="int", type="int", nullable=True),
        Column(name="float", type="float", nullable=True), Column(name="timestamp", type="timestamp", nullable=True),
    ),
)  # fmt: skip
MODEL = ModelSpec(
    name="model", title="Model", owner="tests", dataset="values", task="regression", label="float", inputs=("int", "float", "timestamp"),
    gate=GateSpec(metric="rmse", floors={}),
)  # fmt: skip
SIGNATURE = read_signature(
    {"inputs": [{"name": name, "type": name, "nullable": True} for name in MODEL.inputs], "time_zone": ZONE},
)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc).isoformat()

CASES = [  # type, JSON, and what it means; None where it is refused
    ("int", "0", 0),
    ("int", "-3", -3),
    ("int", "9007199254740992", 2**53),
    ("int", "9007199254740993", 2**53 + 1),
    ("int", "9223372036854775807", 2**63 - 1),
    ("int", "-9223372036854775808", -(2**63)),
    ("int", "9223372036854775808", None),
    ("int", "1e19", None),
    ("int", "-1e308", None),
    ("int", "9007199254740991", 2**53 - 1),
    ("int", "9007199254740993.0", None),
    ("int", "9007199254740994.0", None),
    ("int", "1.5", None),
    ("int", "2.0", 2),
    ("int", "1e3", 1000),
    ("float", "1.5", 1.5),
    ("float", "-1e308", -1e308),
    ("float", "3", 3.0),
    ("float", "9007199254740993", 2.0**53),
    ("float", "9223372036854775807", 2.0**63),
    ("float", "123456789012345678901234567890", 123456789012345678901234567890.0),
    ("float", "1e400", None),
    ("timestamp", '"2013-02-01T06:00:00"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-02-01T06:00:00-05:00"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-02-01T11:00:00Z"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-07-01 12:00:00+02:00"', datetime(2013, 7, 1, 6)),
    ("timestamp", '"2050-07-01T10:00:00Z"', datetime(2050, 7, 1, 6)),
    ("timestamp", '"2013-11-03T01:30:00"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"2013-11-03T05:30:00Z"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"2013-11-03T06:30:00Z"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"9999-12-31T23:59-14:00"', None),
    ("timestamp", '"0001-01-01T00:00+14:00"', None),
    ("timestamp", '"tomorrow"', None),
]  # fmt: skip

BY_A_FLOAT = ("9007199254740993.0", "9007199254740994.0")  # whole numbers that a float does not tell apart


def in_file(folder: Path, kind: str, written: str, extension: str) -> object:
    """What training reads of a landed file, or None if it is refused."""
    others = {"k": "1", "at": '"2013-02-01"', "int": "null", "float": "null", "timestamp": "null", kind: written}
    file = folder / f"a{extension}"
    if extension == ".csv":
        cells = ["" if value == "null" else value.strip('"') for value in others.values()]
        file.write_text(f"{','.join(others)}\n{','.join(cells)}\n")
    else:
        file.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in others.items()) + "}\n")
    store = FolderStore(str(folder / extension))
    try:
        Table(store, "values").append(read_batch(file, DATASET), "digest")
    except BatchRefused:
        return None
    column = latest_snapshot(store, DATASET).rows([kind])[kind].to_numpy()
    return (encoding.times(column) if kind == "timestamp" else column)[0].item()


def in_request(kind: str, written: str) -> object:
    """What features get of a request, or None if it is refused."""
    body = f'{{"data": {{"rows": [{{"{kind}": {written}}}]}}}}'
    try:
        column = read_request(body, SIGNATURE).columns[kind]
    except BadRequest:
        return None
    return column[0].item()


def in_log(folder: Path, kind: str, written: str) -> object:
    """What monitoring reads of a logged line, or None if it is set aside."""
    store = FolderStore(str(folder / "logged"))
    line = f'{{"id": "a-0", "version": 1, "time": "{NOW}", "scores": [1.0], "ms": 1, "row": {{"{kind}": {written}}}}}\n'
    store.write("predictions/model/a.jsonl", line.encode())
    table = Table(store, "model_predictions")
    if collect_predictions(store, MODEL, DATASET, table).damaged:
        return None
    found = table.scan()[f"input_{kind}"].to_pylist()[0]
    return found.replace(tzinfo=None) if kind == "timestamp" else found


@pytest.mark.parametrize(("kind", "written", "meant"), CASES)
def test_a_value_means_the_same_everywhere(tmp_path, kind, written, meant):
    """DM-18: File, table, training, request and log agree on times, whole numbers beyond 2^53 and infinity, or refuse them."""
    assert in_request(kind, written) == meant
    assert in_file(tmp_path, kind, written, ".jsonl") == meant
    assert in_file(tmp_path, kind, written, ".csv") == meant
    if written not in BY_A_FLOAT:  # an older release took it as that number
        assert in_log(tmp_path, kind, written) == meant


def test_category_codes_of_huge_numbers_agree():
    """DM-18: Neighbours beyond 2^53 are two categories, in training and in serving, with nulls and without."""
    ids = [2**53 + 1, 2**53 + 3, 2**53 + 5]
    for more in ([], [None]):
        trained = encoding.Category.fit({"int": encoding.whole_numbers([*ids, *more])}, "int")
        assert trained.values == tuple(map(str, ids))
        body = json.dumps({"data": {"rows": [{"int": value} for value in [*ids, *more]]}})
        assert trained.encode(read_request(body, SIGNATURE).columns)[:, 0].tolist() == [1, 2, 3, *([0] if more else [])]


def test_nullable_whole_numbers_of_a_snapshot_are_exact(tmp_path):
    """DM-18: A column of numbers beyond 2^53 that has nulls reaches training as it was landed."""
    file = tmp_path / "a.csv"
    file.write_text("k,at,int,float,timestamp\n1,2013-01-01,9007199254740993,,\n2,2013-01-02,,,\n3,2013-01-03,5,,\n")
    store = FolderStore(str(tmp_path / "store"))
    Table(store, "values").append(read_batch(file, DATASET), "digest")
    assert latest_snapshot(store, DATASET).rows(["int"])["int"].tolist() == [2**53 + 1, None, 5]


def test_parquet_follows_the_rule(tmp_path):
    """DM-18, DM-10: Zoned times are converted; whole numbers that came as floats from 2^53 on, and infinity, are refused with their row."""
    moment = pa.array([datetime(2013, 2, 1, 11, tzinfo=timezone.utc)], pa.timestamp("ns", "Asia/Tokyo"))
    right = {"k": [1], "at": moment, "int": [2**53 + 1], "float": [1.0], "timestamp": moment}
    file = tmp_path / "a.parquet"

    def read(**changes):
        pyarrow.parquet.write_table(pa.table({**right, **changes}), file)
        return read_batch(file, DATASET)

    assert read().to_pylist() == [
        {"k": 1, "at": datetime(2013, 2, 1, 6), "int": 2**53 + 1, "float": 1.0, "timestamp": datetime(2013, 2, 1, 6)}
    ]
    assert read(int=[2.0**53 - 1])["int"].to_pylist() == [2**53 - 1]
    assert read(float=[2**53 + 1])["float"].to_pylist() == [2.0**53]
    with pytest.raises(BatchRefused, match=r"int is '9007199254740992.0' in row 1, from 2\^53 on"):
        read(int=[2.0**53])
    with pytest.raises(BatchRefused, match="float is '-inf' in row 1, which is not finite"):
        read(float=[-np.inf])


FORM = FileForm(
    decimal=",", thousands=".", nulls=("n/a", "-"), true=("ja",), false=("nein",),
    times=("%d.%m.%Y %H:%M", "%d.%m.%y", "%d %b %Y %I:%M %p", "epoch seconds"),
    header="any case", fields={"float": "Strecke", "int": "where.floor"},
)  # fmt: skip
KINDS = ("int", "float", "timestamp", "bool", "string")
FORMED = DatasetSpec(
    name="values", title="Values", owner="tests", key=("k",), event_time="at", time_zone=ZONE, files=FORM.model_copy(update={"fields": {}}),
    columns=(
        Column(name="k", type="int"), Column(name="at", type="timestamp"), *(Column(name=kind, type=kind, nullable=True) for kind in KINDS),
    ),
)  # fmt: skip
TEXTS = [  # type and text, as a file of that form has it
    *(("float", text) for text in ("1.234,5", "1234,5", "1234.5", "1.2345", ",5", "+5,", "1,5e3", "NaN", "inf", "n/a", " - ", "", "0x1")),
    *(("int", text) for text in (
        "1.234", "1234", "12.34", "3,0", "3,5", "9007199254740993", "9007199254740993,0", "99999999999999999999", "nan", "n/a",
    )),
    *(("bool", text) for text in ("ja", "JA", " Nein ", "yes", "0", "1", "true", "no", "on", "n/a", "")),
    *(("timestamp", text) for text in (
        "29.11.2026 14:00", "9.1.2026 4:05", "30.02.2026 10:00", "29.11.2026", "29.11.26", "29.11.70", "29 Nov 2026 12:30 am", "morgen",
        "29 nov 2026 12:30 PM", "29 Nov 2026 13:30 PM", "1764424800", "1764424800.25", "-1", "99999999999999", "2026-11-29",
        "2026-11-29T14:00:00+01:00", "n/a",
    )),
]  # fmt: skip


def as_file_has_it(folder: Path, kind: str, cell: object, extension: str) -> object:
    """What is read of a landed file that has the value, or "refused"."""
    row = {"k": 1, "at": "2026-01-01", **dict.fromkeys(KINDS), kind: cell}
    file = folder / f"a{extension}"
    if extension == ".csv":
        with file.open("w", newline="") as target:
            csv.writer(target).writerows([list(row), ["" if value is None else value for value in row.values()]])
    else:
        file.write_text(json.dumps(row) + "\n")
    try:
        return read_batch(file, FORMED)[kind].to_pylist()[0]
    except BatchRefused:
        return "refused"


def as_request_has_it(kind: str, value: object, form: FileForm = FORM) -> object:
    """What features get of a request that has the value, or "refused"; None for no value."""
    inputs = [{"name": name, "type": name, "nullable": True} for name in KINDS]
    signature = read_signature({"inputs": inputs, "time_zone": ZONE, "files": form_of_requests(form, KINDS)})
    try:
        request = read_request(json.dumps({"data": {"rows": [{**dict.fromkeys(KINDS), kind: value}]}}), signature)
    except BadRequest:
        return "refused"
    found = request.columns[kind][0]
    if kind == "timestamp" and not np.isnat(found):  # what is logged means the same again
        assert encoding.times(np.array([request.rows[0][kind]], dtype=object), ZONE)[0] == found
    plain = found.item() if hasattr(found, "item") else found
    return None if plain != plain else plain


def same(kind: str, in_file: object, in_request: object) -> bool:
    if isinstance(in_file, datetime):  # seconds are what features see
        in_file = in_file.replace(microsecond=0)
    return in_file == in_request


@pytest.mark.parametrize(("kind", "text"), TEXTS)
def test_a_text_of_the_declared_form_means_the_same_in_file_and_request(tmp_path, kind, text):
    """DM-18: Words, marks and forms of times that a dataset declares: a caller may send what the file has, in CSV and in JSON."""
    meant = as_request_has_it(kind, text)
    assert same(kind, as_file_has_it(tmp_path, kind, text, ".csv"), meant)
    if text:  # between quotes there is no empty field
        assert same(kind, as_file_has_it(tmp_path, kind, text, ".jsonl"), meant)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["int", "float", "bool", "timestamp"]),
    text=st.one_of(
        st.text("0123456789.,+-eE ", max_size=9),
        st.from_regex(r"[0-3]?[0-9]\.[01]?[0-9]\.[0-9]{2,4}( [0-2]?[0-9]:[0-5][0-9])?", fullmatch=True),
        st.sampled_from(["ja", "NEIN", "n/a", " -", "yes", "inf", "nan", "Infinity", "-nan", "+1.000,5"]),
    ),
)
def test_any_text_means_the_same_in_file_and_request(tmp_path, kind, text):
    """DM-18: Or is refused by both."""
    assert same(kind, as_file_has_it(tmp_path, kind, text or None, ".csv"), as_request_has_it(kind, text))


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        ("float", 1.5, 1.5), ("float", 1234, 1234.0), ("int", 3.0, 3), ("bool", True, True), ("bool", 1, "refused"),
        ("int", True, "refused"), ("timestamp", 1764424800, datetime(2025, 11, 29, 9)),
        ("timestamp", 20261129.5, datetime(1970, 8, 23, 8, 5, 29)), ("timestamp", True, "refused"),
        ("string", "ja", "ja"), ("string", "1.234,5", "1.234,5"), ("string", "n/a", "refused"), ("string", 5, "refused"),
    ],
)  # fmt: skip
def test_what_is_no_text_keeps_its_meaning(tmp_path, kind, value, meant):
    """DM-18: JSON's numbers and truth values are what they are; a number is a time only where times are declared as counts, as in files.
    Texts stay texts, but for a word for nothing: nobody can tell whether it is one."""
    assert as_request_has_it(kind, value) == meant
    without_counts = FORM.model_copy(update={"times": ("%Y%m%d",)})
    assert kind != "timestamp" or as_request_has_it(kind, value, without_counts) == "refused"
    if kind != "string" and meant != "refused":
        assert same(kind, as_file_has_it(tmp_path, kind, value, ".jsonl"), meant)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"STRECKE": "1,5", "where": {"floor": 3}}, (1.5, 3.0)),
        ({" Float ": 1.5, "INT": 3, "colour": "red"}, (1.5, 3.0)),
        ({"where.floor": "3", "float": "1,5"}, (1.5, 3.0)),
        ({"FLOAT": 2.5, "float": 1.5}, "Row 0 has the field 'float' twice, also as 'FLOAT'."),
        ({"float": 1.5, "FLOAT": 2.5}, "Row 0 has the field 'float' twice, also as 'FLOAT'."),
        (
            {"float": "1.5", "int": 3},
            "Row 0: float must be a number, not '1.5' (texts are read as in files: decimal mark ',' and thousands mark '.'; true 'ja'; "
            "false 'nein'; missing 'n/a', '-'; times '%d.%m.%Y %H:%M', '%d.%m.%y', '%d %b %Y %I:%M %p', 'epoch seconds').",
        ),
    ],
)  # fmt: skip
def test_fields_may_be_called_as_in_files(row, said):
    """SE-12, DM-18: Another header, another case, a nested field; one that is there twice is refused; a misfit is told the forms."""
    inputs = [{"name": name, "type": name, "nullable": True} for name in ("float", "int")]
    signature = read_signature({"inputs": inputs, "files": form_of_requests(FORM, ("float", "int"))})
    if isinstance(said, str):
        with pytest.raises(BadRequest) as refused:
            read_request(json.dumps({"data": {"rows": [row]}}), signature)
        assert str(refused.value) == said
        return
    request = read_request(json.dumps({"data": {"rows": [row]}}), signature)
    assert (request.columns["float"][0], request.columns["int"][0]) == said
    assert request.rows == [{"float": 1.5, "int": 3}]
    assert request.ignored == (("colour",) if "colour" in row else ())


def test_a_time_of_two_fields_is_one_in_a_request():
    """DM-18: A day and an hour, as `time_of` declares; the hour stays where it is an input of its own."""
    form = form_of_requests(FileForm(time_of={"timestamp": ("day", "int"), "other": ("a", "b")}), ("timestamp", "int"))
    assert form == {"time_of": {"timestamp": ["day", "int"]}}
    inputs = [{"name": name, "type": name} for name in ("timestamp", "int")]
    request = read_request('{"data": {"rows": [{"day": "2026-11-29", "int": 7}]}}', read_signature({"inputs": inputs, "files": form}))
    assert request.rows == [{"timestamp": "2026-11-29 07:00", "int": 7}]
    assert request.ignored == ()


@pytest.mark.parametrize("digits", [20, 300, 305, 310, 5000])
def test_a_whole_number_of_any_length_is_told(digits):
    """DM-10: Also one that Python refuses to read, or that no number with a point reaches."""
    signature = read_signature({"inputs": [{"name": "int", "type": "int"}], "files": {"decimal": ","}})
    with pytest.raises(BadRequest, match=r"^Row 0: int (is|must be) "):
        read_request(json.dumps({"data": {"rows": [{"int": "9" * digits}]}}), signature)


@pytest.mark.parametrize("word", ["weiß", "EVET İ", "ΣΑΣ"])
def test_a_truth_word_of_any_letters_means_the_same_in_file_and_request(tmp_path, word):
    """DM-01: A sharp s, a dotted I and a sigma at the end of a word, whose cases are no pairs."""
    form = FileForm(true=(word,), false=("no",))
    spec = DatasetSpec(
        name="d", title="D", owner="o", row_id="position", event_time="", files=form, columns=[Column(name="b", type="bool")]
    )
    (tmp_path / "a.csv").write_text(f"b\n{word}\nno\n")
    assert read_batch(tmp_path / "a.csv", spec)["b"].to_pylist() == [True, False]
    signature = read_signature({"inputs": [{"name": "b", "type": "bool"}], "files": form_of_requests(form, ["b"])})
    assert read_request(json.dumps({"data": {"rows": [{"b": word}, {"b": "no"}]}}), signature).columns["b"].tolist() == [True, False]


def test_what_is_wrong_in_a_request_is_told_at_once():
    """SC-07: Fields that lack, unknown ones, values, rows and the rest: the first of each, with its row; ten at most."""
    strict = read_signature({"inputs": [{"name": name, "type": name} for name in KINDS], "strict": True})
    whole = {"int": 1, "float": 1.5, "timestamp": "2026-11-29", "bool": True, "string": "x"}
    rows = [{**whole, "int": "a"}, 5, {**whole, "colour": 1, "bool": None}, {name: whole[name] for name in ("int", "float")}]
    with pytest.raises(BadRequest) as refused:
        read_request(json.dumps({"data": {"rows": rows}, "meta": {"tags": {"event_time": "x"}}}), strict)
    assert str(refused.value) == (
        "Row 1 is not an object of field names and values. Row 2 has the unknown field 'colour': the fields are int, float, timestamp, "
        "bool, string. Row 3 lacks the field timestamp. Row 3 lacks the field bool. Row 3 lacks the field string. "
        "Row 0: int must be a whole number, not 'a'. Row 2: bool must not be null. "
        "meta.tags.event_time must be a time like 2013-02-01T06:00:00, not 'x'."
    )
