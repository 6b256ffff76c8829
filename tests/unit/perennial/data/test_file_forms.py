"""Files as people have them: what is taken as it is, what is declared, and what the sentence of a refusal says to declare."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import re
import tarfile
import unicodedata
import warnings
import zipfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.commands._sample import lines_of_form, read_sample
from perennial.data.readers import read_batch, refuse_nulls
from perennial.data.readers.packing import Archive, form_of
from perennial.data.readers.proposals import declaration, propose
from perennial.errors import BatchRefused, UnknownName
from perennial.specs import Column, DatasetSpec, FileForm
from perennial.testing.workbooks import opendocument, workbook

HEADER = "id,ts,amount,n,flag,city,y"
ROWS = [
    ("1000", "2026-05-04 06:00:00", "888.41", "1", "false", "Łódź", "false"),
    ("1001", "2026-05-04 06:37:00", "2406.12", "", "true", "New York", "false"),
    ("1002", "2026-05-04 17:14:00", "1317.08", "3", "false", "Paris", "true"),
]
BASE = [
    {"id": 1000, "ts": datetime(2026, 5, 4, 6), "amount": 888.41, "n": 1, "flag": False, "city": "Łódź", "y": False},
    {"id": 1001, "ts": datetime(2026, 5, 4, 6, 37), "amount": 2406.12, "n": None, "flag": True, "city": "New York", "y": False},
    {"id": 1002, "ts": datetime(2026, 5, 4, 17, 14), "amount": 1317.08, "n": 3, "flag": False, "city": "Paris", "y": True},
]
SPEC = DatasetSpec(
    name="trips", title="Trips", owner="tests", key=("id",), event_time="ts",
    columns=(
        Column(name="id", type="int"), Column(name="ts", type="timestamp"), Column(name="amount", type="float"),
        Column(name="n", type="int", nullable=True), Column(name="flag", type="bool"), Column(name="city", type="string"),
        Column(name="y", type="bool"),
    ),
)  # fmt: skip


def csv(header=HEADER, separator=",", **changed):
    """The three rows as CSV, with columns written in another way."""
    names = HEADER.split(",")
    lines = [[changed.get(name, str)(value) for name, value in zip(names, row, strict=True)] for row in ROWS]
    return "\n".join([header.replace(",", separator), *(separator.join(line) for line in lines), ""])


def parquet(**changed):
    """The three rows as Parquet, with columns of another type."""
    rows = pa.table({name: [row[name] for row in BASE] for name in BASE[0]})
    for name, values in changed.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out)
    return out.getvalue()


def sheet(*above, suffix=".xlsx", header=None, others=(), **changed):
    """The three rows as a workbook, below rows that stand above the header, and with cells of another kind."""
    rows = [[*above_row] for above_row in above]
    rows += [header or list(BASE[0]), *([changed.get(name, lambda v: v)(value) for name, value in row.items()] for row in BASE)]
    return workbook({"Trips": rows, **{other: [["note"]] for other in others}}) if suffix == ".xlsx" else opendocument({"Trips": rows})


def avro(codec="null", **changed):
    """The three rows as Avro, with fields of another kind: a type, and what becomes of the value."""
    types = {
        "id": "long", "ts": {"type": "long", "logicalType": "timestamp-micros"}, "amount": "double", "n": ["null", "int"],
        "flag": "boolean", "city": "string", "y": "boolean",
    }  # fmt: skip
    changes = {"ts": (types["ts"], lambda at: at.replace(tzinfo=timezone.utc)), **changed}
    types |= {name: kind for name, (kind, _) in changes.items()}
    rows = [{name: changes[name][1](value) if name in changes else value for name, value in row.items()} for row in BASE]
    out = io.BytesIO()
    schema = {"type": "record", "name": "trip", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}
    fastavro.writer(out, schema, rows, codec=codec)
    return out.getvalue()


def written(**changed):
    """The three rows as JSON can carry them."""
    return [{**row, "ts": row["ts"].isoformat(), **{name: change(row) for name, change in changed.items()}} for row in BASE]


def nested(row):
    return {"id": row["id"], "at": {"ts": row["ts"]}, "where": {"city": row["city"]}, **{n: row[n] for n in ("amount", "n", "flag", "y")}}


def day_first(value):
    return datetime.fromisoformat(value).strftime("%d.%m.%Y %H:%M")


def epoch(value):
    return str(int(datetime.fromisoformat(value).replace(tzinfo=timezone.utc).timestamp()))


def words(true, false):
    return lambda value: true if value == "true" else false


TAKEN = {  # file, content, and what is remarked
    "base": ("a.csv", csv(), ""),
    "byte order mark": ("a.csv", "\ufeff" + csv(), ""),
    "lines of Windows": ("a.csv", csv().replace("\n", "\r\n"), ""),
    "one and zero": ("a.csv", csv(flag=words("1", "0"), y=words("1", "0")), ""),
    "yes and no": ("a.csv", csv(flag=words("yes", "No"), y=words("YES", "no")), ""),
    "whole numbers with a point": ("a.csv", csv(id=lambda v: f"{v}.0", n=lambda v: f"{v}.00" if v else ""), ""),
    "whole numbers with an exponent": ("a.csv", csv(id=lambda v: f"{float(v):e}"), ""),
    "blanks around numbers": (
        "a.csv", csv(id=lambda v: f" {v}", amount=lambda v: f"+{v} ", flag=lambda v: f" {v}", ts=lambda v: f"{v} "), "",
    ),
    "a stray blank": ("a.csv", csv(n=lambda v: v or " "), "n is blank in 1 row, read as missing"),
    "empty lines above": ("a.csv", "\n\n" + csv(), ""),
    "quoted empty numbers": ("a.csv", csv(n=lambda v: f'"{v}"'), ""),
    "blanks around names": ("a.csv", csv(HEADER.replace(",", " , ")), ""),
    "quoted names": ("a.csv", csv(",".join(f'"{name}"' for name in HEADER.split(","))), ""),
    "an empty last column": ("a.csv", csv(HEADER + ",", y=lambda v: f"{v},"), "a.csv: a column without name and values left out"),
    "a separator at the end of each row": ("a.csv", csv(y=lambda v: f"{v},"), "a.csv: a column without name and values left out"),
    "Zulu time": ("a.csv", csv(ts=lambda v: v.replace(" ", "T") + "Z"), ""),
    "an offset": ("a.csv", csv(ts=lambda v: (datetime.fromisoformat(v) + timedelta(hours=2)).isoformat() + "+02:00"), ""),
    "JSON array": ("a.json", json.dumps(written(), indent=2), ""),
    "JSON lines called JSON": ("a.json", "".join(json.dumps(row) + "\n" for row in written()), ""),
    "JSON words": ("a.jsonl", "".join(json.dumps(row) + "\n" for row in written(flag=lambda row: "yes" if row["flag"] else "no")), ""),
    "zoned times": (
        "a.parquet",
        parquet(ts=pa.array([row["ts"].replace(tzinfo=timezone.utc) for row in BASE], pa.timestamp("us", "Asia/Tokyo"))),
        "",
    ),
    "dictionaries and decimals": (
        "a.parquet",
        parquet(
            city=pa.array([row["city"] for row in BASE]).dictionary_encode(),
            amount=pa.array([888.41, 2406.12, 1317.08]).cast(pa.decimal128(9, 2)),
        ),
        "",
    ),
    "Excel": ("a.xlsx", sheet(), ""),
    "OpenDocument": ("a.ods", sheet(suffix=".ods"), ""),
    "times and truths as texts in a sheet": ("a.xlsx", sheet(ts=lambda at: at.isoformat(), flag=lambda v: "yes" if v else "no"), ""),
    "Avro": ("a.avro", avro(), ""),
    "Avro, deflated": ("a.avro", avro("deflate"), ""),
    "Avro of one clock": (
        "a.avro",
        avro(
            ts=({"type": "long", "logicalType": "local-timestamp-millis"}, lambda at: at), n=(["int", "null"], lambda n: n),
            amount=({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, lambda v: Decimal(str(v))),
        ),
        "",
    ),
}  # fmt: skip

DECLARED = {  # file, content, the line to write, and what the refusal without it says
    "semicolon, decimal comma": (
        "a.csv", csv(separator=";", amount=lambda v: v.replace(".", ",")), 'FileForm(separator=";", decimal=",")',
        "fields are separated by ';' and numbers have the decimal mark ','",
    ),
    "tab": ("a.tsv", csv(separator="\t"), 'FileForm(separator="\\t")', "fields are separated by '\\t'"),
    "pipe": ("a.csv.gz", csv(separator="|"), 'FileForm(separator="|")', "fields are separated by '|'"),
    "Latin-1": ("a.csv", csv(city=lambda v: "Köln").encode("latin-1"), 'FileForm(encoding="latin-1")', "line 2 has the byte 0xF6"),
    "Windows": ("a.csv", csv(city=lambda v: "5 €").encode("cp1252"), 'FileForm(encoding="cp1252")', "is written in cp1252"),
    "UTF-16": ("a.csv", csv().encode("utf-16"), 'FileForm(encoding="utf-16")', "line 1 has the byte 0xFF"),
    "UTF-16 without a mark": (
        "a.csv", csv(city=lambda v: "x").encode("utf-16-be"), 'FileForm(encoding="utf-16-be")', "is written in utf-16-be",
    ),
    "J and N": (
        "a.csv", csv(flag=words("J", "N"), y=words("J", "N")), 'FileForm(true=("J",), false=("N",))',
        "flag is 'N' in row 1, which is not true or false, and so in 2 more rows; y is 'N' in row 1",
    ),
    "NA": ("a.csv", csv(n=lambda v: v or "NA"), 'FileForm(nulls=("NA",))', "n is 'NA' in row 2, which is not a whole number"),
    "a dash": ("a.csv", csv(n=lambda v: v or "-"), 'FileForm(nulls=("-",))', "'-' means missing"),
    "thousands": (
        "a.csv", csv(amount=lambda v: f'"{float(v):,}"', n=lambda v: f'"{v}"'), 'FileForm(thousands=",")', "thousands are parted by ','",
    ),
    "a Swiss number": ("a.csv", csv(amount=lambda v: f"{float(v):,}".replace(",", "'")), "FileForm(thousands=\"'\")", "parted by \"'\""),
    "a German number": (
        "a.csv", csv(separator=";", amount=lambda v: f"{float(v):,}".translate({44: ".", 46: ","})),
        'FileForm(separator=";", decimal=",", thousands=".")', "thousands are parted by '.'",
    ),
    "the day first": ("a.csv", csv(ts=day_first), 'FileForm(times=("%d.%m.%Y %H:%M",))', "ts is '04.05.2026 06:00' in row 1"),
    "afternoons": (
        "a.csv", csv(ts=lambda v: f"{datetime.fromisoformat(v):%b %d, %Y %I:%M %p}".join('""')), 'FileForm(times=("%b %d, %Y %I:%M %p",))',
        "times are written as '%b %d, %Y %I:%M %p'",
    ),
    "seconds from 1970 on": ("a.csv", csv(ts=epoch), 'FileForm(times=("epoch seconds",))', "times are written as 'epoch seconds'"),
    "milliseconds in JSON": (
        "a.json", json.dumps(written(ts=lambda row: int(epoch(row["ts"].isoformat())) * 1000)), 'FileForm(times=("epoch milliseconds",))',
        "ts has the type int64, not a time|written as",
    ),
    "nested": (
        "a.jsonl", "".join(json.dumps(nested(row)) + "\n" for row in written()),
        'FileForm(fields={"ts": "at.ts", "city": "where.city"})', "ts lies at at.ts and city lies at where.city",
    ),
    "rows in a document": (
        "a.json", json.dumps({"meta": {"page": 1}, "data": {"items": written()}}), 'FileForm(records="data.items")',
        "has no array of rows of its own, but at data.items",
    ),
    "a title above": ("a.xlsx", sheet(["Trips of May"], []), "FileForm(header_row=3)", "the names of its columns are in row 3"),
    "several sheets": ("a.xlsx", sheet(others=["Notes"]), 'FileForm(sheet="Trips")', "has the sheets 'Trips', 'Notes': say which one"),
    "an error": (
        "a.xlsx", sheet(n=lambda v: v or "#N/A"), 'FileForm(nulls=("#N/A",))', "a.xlsx: n is the error #N/A in D3. Correct the sheet",
    ),
    "nested in Avro": (
        "a.avro",
        avro(city=(
            {"type": "record", "name": "place", "fields": [{"name": "city", "type": ["null", "string"]}]}, lambda city: {"city": city}
        )),
        'FileForm(fields={"city": "city.city"})', "city lies at city.city|has the type struct",
    ),
}  # fmt: skip


@pytest.fixture
def land(tmp_path):
    """Write a file and give its path."""

    def land(name, content):
        data = content.encode() if isinstance(content, str) else content
        if name.endswith(".gz"):
            data = gzip.compress(data)
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return land


def declaring(line, spec=SPEC):
    """The dataset with that line in its spec."""
    return spec.model_copy(update={"files": eval(line, {"FileForm": FileForm})})  # as a person would write it


@pytest.mark.parametrize("form", TAKEN)
def test_what_needs_no_declaration_is_taken(land, form):
    """DM-01: The values of a plain file, and a remark where something was left out or read as missing."""
    file, content, remark = TAKEN[form]
    remarks = []
    assert read_batch(land(file, content), SPEC, remarks=remarks).to_pylist() == BASE
    assert remarks == [remark] * bool(remark)


@pytest.mark.parametrize("form", DECLARED)
def test_what_is_not_declared_is_refused_with_the_line_to_write(land, form):
    """DM-10: Nothing is guessed: the sentence says what the file seems to be, and with the line that it gives the file is taken."""
    file, content, line, said = DECLARED[form]
    path = land(file, content)
    with pytest.raises(BatchRefused) as refused:
        read_batch(path, SPEC)
    assert any(part in str(refused.value) for part in said.split("|") if part)
    assert line in str(refused.value)
    rows = read_batch(path, declaring(line)).to_pylist()
    assert [{**row, "city": ""} for row in rows] == [{**row, "city": ""} for row in BASE]


@pytest.mark.parametrize("form", [*TAKEN, *DECLARED])
def test_a_dataset_after_a_sample_takes_the_sample(land, form):
    """DM-01: For every form: the columns have types that all values fit, and what the dataset must declare is told in a line."""
    file, content, *_ = {**TAKEN, **DECLARED}[form]
    sample = read_sample(land(file, content))
    made = DatasetSpec(name="made", title="Made", owner="tests", key=("id",), event_time="ts", columns=sample.columns, files=sample.files)
    rows = read_batch(sample.path, made).to_pylist()
    assert [(row["id"], row["ts"], row["amount"], row["n"]) for row in rows] == [(r["id"], r["ts"], r["amount"], r["n"]) for r in BASE]
    if form in DECLARED:
        assert declaration(sample.files) == DECLARED[form][2]
        assert DECLARED[form][2] in lines_of_form(sample)[0]
    assert len(sample.rows) == 3


def test_column_names_are_compared_in_one_form(land):
    """DM-01: Letters with marks may be of one sign or of two; case counts unless the spec says otherwise."""
    spec = SPEC.model_copy(update={"columns": (*SPEC.columns[:5], Column(name="cité", type="string"), SPEC.columns[6])})
    header = unicodedata.normalize("NFD", HEADER.replace("city", "cité"))
    assert read_batch(land("a.csv", csv(header)), spec).column_names[5] == "cité"
    upper = land("b.csv", csv(HEADER.upper()))
    with pytest.raises(BatchRefused, match=r'differ in upper and lower case alone: if so, write `files=FileForm\(header="any case"\)`'):
        read_batch(upper, SPEC)
    assert read_batch(upper, declaring('FileForm(header="any case")')).to_pylist() == BASE


def test_columns_that_the_spec_lacks_are_refused_dropped_or_kept(land):
    """DM-01, DM-10: As the spec says: the sentence names both ways out, and what is kept is one object for each row that has any."""
    file = land("a.csv", csv(HEADER + ",note, odd name", y=lambda v: f"{v},{'x' if v == 'true' else ''},"))
    with pytest.raises(BatchRefused, match=r"has unexpected columns note, odd name: .* write `files=FileForm\(extra=\"drop\"\)`"):
        read_batch(file, SPEC)
    remarks = []
    assert read_batch(file, declaring('FileForm(extra="drop")'), remarks=remarks).to_pylist() == BASE
    assert remarks == ["a.csv: note, odd name left out"]
    kept = read_batch(file, declaring('FileForm(extra="keep")')).to_pylist()
    assert [row.pop("_extra") for row in kept] == [None, None, '{"note": "x"}']
    assert kept == BASE


def test_all_faults_of_a_file_are_told_at_once(land):
    """DM-10: Each column's first wrong value, and how many more there are; of many columns the first ten."""
    file = land("a.csv", csv(id=lambda v: f"x{v}", amount=lambda v: "much", flag=lambda v: "maybe"))
    with pytest.raises(BatchRefused) as refused:
        read_batch(file, SPEC)
    assert str(refused.value) == (
        "a.csv: id is 'x1000' in row 1, which is not a whole number, and so in 2 more rows; "
        "amount is 'much' in row 1, which is not a number, and so in 2 more rows; "
        "flag is 'maybe' in row 1, which is not true or false, and so in 2 more rows. Correct the file and land it again."
    )
    many = [Column(name=f"c{place}", type="int") for place in range(12)]
    wide = land("b.csv", ",".join(c.name for c in many) + "\n" + ",".join(["x"] * 12) + "\n")
    with pytest.raises(BatchRefused, match=r"c9 is 'x' in row 1, .*; and 2 more columns with values that do not fit\. Correct"):
        read_batch(
            wide, DatasetSpec.model_construct(name="wide", columns=tuple(many), files=FileForm(), time_zone="UTC", max_batch_bytes=999)
        )


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("amount", ["1,234", "5,678", "9,012"], "amount: '1,234' may have a mark of thousands or of decimals"),
        ("ts", ["03/04/2026", "05/06/2026", "07/08/2026"], "ts: '03/04/2026' may be '%d/%m/%Y' or '%m/%d/%Y'"),
    ],
)
def test_what_may_mean_two_things_is_left_open(land, column, values, said):
    """DM-10: Neither a sample nor a refusal chooses: both say what may be meant."""
    given = iter(values)
    file = land("a.csv", csv(separator=";", **{column: lambda _: next(given)}))
    with pytest.raises(BatchRefused) as refused:
        read_batch(file, declaring('FileForm(separator=";")'))
    assert said in str(refused.value)
    sample = read_sample(file)
    assert {c.name: c.type for c in sample.columns}[column] == "string"
    assert any(said in line for line in lines_of_form(sample))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "id,code\n" + "".join(f"{i},{i}\n" for i in range(30)) + "30,x7\n",
            "code is text, since 'x7' in row 31 is no number; 30 of 31 values",
        ),
        ("id,n,city\n1,NA,NA\n2,3,Rome\n", "city has such a word in 1 row: it is missing there too"),
    ],
)
def test_a_sample_says_what_it_made_of_strange_values(land, text, said):
    """DM-01: One stranger makes no column a text unnoticed, and a word for nothing holds for all columns."""
    assert any(said in line for line in lines_of_form(read_sample(land("a.csv", text))))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.csv", csv(amount=lambda v: "inf"), "amount is 'inf' in row 1, which is not finite"),
        ("a.csv", "1000,2026-05-04,8.5\n1001,2026-05-05,9.5\n", "has values such as '1000' in its first line"),
        ("a.parquet", parquet(id=pa.array([2.0**53, 2.0**53 + 2, 2.0**54])), "id has whole numbers from 2^53 on as numbers with a point"),
        ("a.jsonl", '{"a": [["x"]]}\n', "a has the type list<item: list<item: string>>"),
    ],
)
def test_a_sample_that_no_dataset_could_take_is_refused(land, file, content, said):
    """DM-10: With the sentence that a landed file would get."""
    with pytest.raises(UnknownName) as refused:
        read_sample(land(file, content))
    assert said in str(refused.value)


def test_codes_and_large_numbers_of_a_sample_stay_what_they_are(land):
    """DM-18: Zeros in front make a code, more than 64 bits a text, and ids beyond 2^53 are exact."""
    sample = read_sample(land("a.csv", "zip,huge,id\n00123,99999999999999999999,9007199254740993\n01234,1,9007199254740995\n"))
    assert [column.type for column in sample.columns] == ["string", "string", "int"]
    assert sample.rows["id"].tolist() == [2**53 + 1, 2**53 + 3]


def test_hours_that_come_twice_are_named(land):
    """DM-18: In autumn an offset would tell which hour is meant, in spring the clock has none; other hours and zones need no remark."""
    times = iter(["2026-10-25 02:30:00", "2026-10-25 02:30:00+02:00", "2026-03-29 02:00:00"])
    file = land("a.csv", csv(ts=lambda _: next(times)))
    remarks = []
    rows = read_batch(file, SPEC.model_copy(update={"time_zone": "Europe/Berlin"}), remarks=remarks)
    assert rows["ts"].to_pylist() == [datetime(2026, 10, 25, 2, 30)] * 2 + [datetime(2026, 3, 29, 2)]
    assert remarks == [
        "1 time of ts lies in the hour from 2026-03-29 02:00, which the clock of Europe/Berlin leaves out",
        "1 time of ts lies in the hour from 2026-10-25 02:00, which comes twice in Europe/Berlin: an offset would tell which",
    ]
    quiet = []
    read_batch(land("b.csv", csv()), SPEC.model_copy(update={"time_zone": "Europe/Berlin"}), remarks=quiet)
    read_batch(file, SPEC, remarks=quiet)
    assert quiet == []


DAYS_AND_HOURS = "day,hour,temp\n2026-03-01,0,7.3\n2026-03-01,13,3.6\n2026-03-02,7,4.5\n"
MOMENTS = [datetime(2026, 3, 1), datetime(2026, 3, 1, 13), datetime(2026, 3, 2, 7)]


def test_a_day_and_an_hour_make_a_time(land):
    """DM-01: A sample of days that come twice, with an hour beside them, gets a time of both, and the files are read so, in any form."""
    sample = read_sample(land("a.csv", DAYS_AND_HOURS))
    assert [(c.name, c.type) for c in sample.columns][:3] == [("time", "timestamp"), ("day", "timestamp"), ("hour", "int")]
    assert lines_of_form(sample)[0].startswith("files: time is made of day and hour: ")
    assert sample.rows["time"].tolist() == MOMENTS
    at = DatasetSpec(
        name="temps", title="Temps", owner="tests", key=("time",), event_time="time",
        files=FileForm(time_of={"time": ("day", "hour")}),
        columns=(Column(name="time", type="timestamp"), Column(name="temp", type="float")),
    )  # fmt: skip
    rows = pa.table({"day": pa.array([when.date() for when in MOMENTS]), "hour": [0.0, 13.0, 7.0], "temp": [1.0, 2.0, 3.0]})
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out)
    lines = [{"day": f"{when:%Y-%m-%d}", "hour": f"{when.hour}:00", "temp": 1} for when in MOMENTS]
    for file, content in (("b.csv", DAYS_AND_HOURS), ("b.parquet", out.getvalue()), ("b.json", json.dumps(lines))):
        assert read_batch(land(file, content), at)["time"].to_pylist() == MOMENTS
    with pytest.raises(BatchRefused, match="time is '2026-03-02 25:00' in row 3, which is not a time"):
        read_batch(land("c.csv", DAYS_AND_HOURS.replace(",7,", ",25,")), at)


def test_a_folder_may_name_a_column(land):
    """DM-01: Partitioned Parquet: what the file itself has comes first, and a folder of another name says nothing."""
    rows = pa.table({name: [row[name] for row in BASE] for name in BASE[0] if name != "city"})
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out)
    file = land("part-0.parquet", out.getvalue())
    assert read_batch(file, SPEC, "month=5/city=New%20York/part-0.parquet")["city"].to_pylist() == ["New York"] * 3
    with pytest.raises(BatchRefused, match="lacks the columns city"):
        read_batch(file, SPEC, "town=Rome/part-0.parquet")
    assert read_batch(land("whole.parquet", parquet()), SPEC, "city=Rome/whole.parquet").to_pylist() == BASE


@given(
    when=st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)),
    form=st.sampled_from(["%d.%m.%Y %H:%M:%S.%f", "%m/%d/%y %I:%M:%S.%f %p", "%d %b %Y %H:%M:%S.%f", "%Y%m%d %H:%M:%S.%f"]),
)
def test_a_declared_time_means_what_it_meant_to_its_writer(when, form):
    """DM-18: Whatever is written by a form is read by it; a form that is not of the calendar is refused."""
    from perennial.data.wall_times import wall_times

    assert wall_times(pa.chunked_array([[when.strftime(form), None]]), "UTC", (form,)).to_pylist() == [when, None]


CELLS = [
    "1",
    "x",
    "",
    "2026-05-04",
    "03/04/2026 10:00",
    "1,5",
    "1.234,5",
    "NA",
    "J",
    "yes",
    "inf",
    "9" * 25,
    "ä",
    "\0",
    '"',
    " ",
    "[1]",
    "{}",
    "1e400",
]
NAMES = [*HEADER.split(","), " id", "ID", "", "hour", "day", "1", "2026-01-01", 'q"']
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(CELLS),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
    max_leaves=12,
)
LINES = st.lists(st.lists(st.sampled_from(CELLS), min_size=6, max_size=8), max_size=4)


@given(
    file=st.one_of(
        st.tuples(
            st.sampled_from([".json", ".jsonl"]), st.lists(JSON, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
        ),
        st.tuples(
            st.sampled_from([".csv", ".tsv"]),
            st.tuples(st.sampled_from(",;\t|"), st.just(HEADER.split(",")) | st.lists(st.sampled_from(NAMES), max_size=8), LINES).map(
                lambda parts: "\n".join(parts[0].join(line) for line in [parts[1], *parts[2]]).encode(
                    "utf-16" if len(parts[2]) == 3 else "utf-8"
                )
            ),
        ),
        st.tuples(st.sampled_from([".parquet", ".orc", ".zip", ".tar.gz", ".csv.gz", ".json"]), st.binary(max_size=90)),
    )
)
def test_whatever_a_file_holds_it_is_taken_or_refused(tmp_path_factory, file):
    """DM-10: Landed or as a sample: every other error would leave it in the landing zone for ever."""
    path = tmp_path_factory.getbasetemp() / f"any{file[0]}"
    path.write_bytes(file[1])
    for read, refusal in ((lambda: read_batch(path, SPEC), BatchRefused), (lambda: read_sample(path), UnknownName)):
        with contextlib.suppress(refusal):
            assert read() is not None


def packed(kind, *files):
    """An archive of files, in this order, whose names may come twice; a link where a file has no content."""
    out = io.BytesIO()
    if kind == ".zip":
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w") as archive:
            for name, content in files:
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, content in files:
                member = tarfile.TarInfo(name)
                member.size, member.type, member.linkname = len(content.encode()), tarfile.REGTYPE if content else tarfile.LNKTYPE, "a.csv"
                archive.addfile(member, io.BytesIO(content.encode()))
    return out.getvalue()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.zip", packed(".zip", ("a.csv", csv()), ("a.csv", csv())), "holds several files of the name a.csv"),
        ("a.tar", packed(".tar", ("a.csv", csv()), ("a.csv", csv())), "holds several files of the name a.csv"),
        ("a.tar", packed(".tar", ("a.csv", csv()), ("b.csv", "")), "holds b.csv, which is a link and no file"),
        ("a.tar", packed(".tar", ("b.csv", csv()), ("\udcff.csv", csv())), r"holds \?.csv, a name that is not UTF-8: call its files"),
        ("a.csv", csv(id=lambda v: f"0x{v}"), "id is '0x1000' in row 1, which is not a whole number"),
        ("a.csv", csv().replace("false\n1001", '"false\n1001'), "a quote in row 1 is never closed, before 'false"),
        ("a.json", json.dumps(written(city=lambda row: "\ud800")), "row 1 has half of a surrogate pair"),
    ],
)
def test_what_would_lose_double_or_change_rows_is_refused(land, file, content, said):
    """DM-10: Files that hide each other, links, numbers of another base, a stray quote that swallows the rest, what is no text."""
    with pytest.raises(BatchRefused, match=said):
        read_batch(land(file, content), SPEC)


def test_a_member_above_its_archive_is_read(land):
    """DM-10: Nothing is unpacked to where its name says, so that such a file is no hidden one, which would be left out unsaid."""
    content = packed(".tar", ("../a.csv", csv()), (".hidden.csv", "x"))
    assert read_batch(land("a.tar", content), SPEC).to_pylist() == BASE


def test_numbers_below_empty_lines_are_read_as_declared(land):
    """DM-10: A header that is not in the first line does not let Arrow guess what the columns are."""
    spec = declaring('FileForm(separator=";", decimal=",", thousands=".")')
    content = "\n" + csv(separator=";", amount=lambda v: "1.234")
    assert read_batch(land("a.csv", content), spec)["amount"].to_pylist() == [1234.0] * 3


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ([1.5, float("nan")], pa.list_(pa.float64()), '{"x": [1.5, null]}'),
        ({"a": float("-inf")}, pa.struct([("a", pa.float64())]), '{"x": {"a": "-inf"}}'),
        ([("a", float("nan"))], pa.map_(pa.string(), pa.float64()), '{"x": [["a", null]]}'),
        (b"\xff\0", pa.binary(), '{"x": "/wA="}'),
        (float("inf"), pa.float64(), '{"x": "inf"}'),
    ],
)
def test_what_is_kept_is_json_for_any_reader(land, value, kind, text):
    """DM-10: JSON knows neither NaN nor infinity nor bytes."""
    out = io.BytesIO()
    pa.parquet.write_table(pa.table({"id": [1], "x": pa.array([value], kind)}), out)
    spec = SPEC.model_copy(update={"columns": SPEC.columns[:1], "files": FileForm(extra="keep")})
    assert read_batch(land("a.parquet", out.getvalue()), spec)["_extra"].to_pylist() == [text]


@pytest.mark.parametrize(("value", "kind"), [(2**62, pa.timestamp("us")), (2**30, pa.date32()), ([2**62], pa.list_(pa.timestamp("us")))])
def test_a_time_of_no_calendar_is_told_where_it_would_be_kept(land, value, kind):
    """DM-10: Python's calendar ends with the year 9999, and so does what the text could be read by."""
    out = io.BytesIO()
    pa.parquet.write_table(pa.table({"id": [1], "x": pa.array([value], kind)}), out)
    spec = SPEC.model_copy(update={"columns": SPEC.columns[:1], "files": FileForm(extra="keep")})
    with pytest.raises(BatchRefused, match=r"a.parquet: x, which is kept in _extra, has a time that is outside the years 1 to 9999"):
        read_batch(land("a.parquet", out.getvalue()), spec)


def test_what_is_kept_of_other_columns_is_as_it_was_written(land):
    """DM-10: A text that looks like a time keeps its offset, and what is no number is missing: the rest is JSON for any reader."""
    keep = declaring('FileForm(extra="keep")')
    rows = [{**row, "seen": "2026-05-04T06:00:00+02:00"} for row in written()]
    assert read_batch(land("a.json", json.dumps(rows)), keep)["_extra"].to_pylist() == ['{"seen": "2026-05-04T06:00:00+02:00"}'] * 3
    others = pa.table({name: [row[name] for row in BASE] for name in BASE[0]}).append_column("z", pa.array([float("nan"), 1.5, None]))
    pyarrow.parquet.write_table(others, path := land("a.parquet", b""))
    assert read_batch(path, keep)["_extra"].to_pylist() == [None, '{"z": 1.5}', None]


def test_a_time_beyond_the_calendar_is_refused(land):
    """DM-10: It has no day that could be shown, so that its number is."""
    times = pa.array([1, 10**12, 1], pa.timestamp("s"))
    with pytest.raises(BatchRefused, match="ts is '1000000000000000' in row 2, which is not a time"):
        read_batch(land("a.parquet", parquet(ts=times)), SPEC)


@pytest.mark.parametrize("chunk", [64, 1 << 20])
@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE])
def test_a_wrong_byte_far_into_a_file_of_utf_16_has_its_line(land, monkeypatch, mark, chunk):
    """DM-10: The order of bytes is that of the mark, which is in the first chunk alone."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", chunk)
    order = "utf-16-be" if mark == codecs.BOM_UTF16_BE else "utf-16-le"
    content = mark + ("a,b\n" * 40).encode(order) + "\udc00".encode(order, "surrogatepass") + "\n".encode(order)
    with pytest.raises(BatchRefused, match=r"a\.csv is not utf-16: line 41 has the byte 0x"):
        read_batch(land("a.csv", content), declaring('FileForm(encoding="utf-16")'))


def test_thousands_that_are_not_parted_are_told(land):
    """DM-10: A form with a mark of thousands that the file has not is no mark of nothing."""
    spec = declaring('FileForm(decimal=",", thousands=".")')
    with pytest.raises(BatchRefused, match=r"It looks as if numbers have the decimal mark '.' and thousands are not parted: if so"):
        read_batch(land("a.csv", csv(amount=lambda v: "0.5")), spec)


def test_all_that_is_wrong_in_a_file_is_told_at_once(land):
    """DM-10: Columns that lack hide no values that do not fit, a file in an archive no other, a null no other column's."""
    content = csv(amount=lambda v: "much", flag=lambda v: "maybe").replace("city", "town")
    with pytest.raises(BatchRefused, match=r"lacks the columns city and has .* town: .* Besides, amount is 'much' .*; flag is"):
        read_batch(land("a.csv", content), SPEC)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(12):
            archive.writestr(f"{number:02}.csv", csv(n=lambda v: "none"))
    with pytest.raises(BatchRefused, match=r"00\.csv: n is 'none' .* a\.zip: 09\.csv: n is 'none' .* 2 more files in it are refused\."):
        read_batch(land("a.zip", out.getvalue()), SPEC)
    rows = pa.table({column.name: pa.nulls(2, pa.string()) for column in SPEC.columns})
    with pytest.raises(BatchRefused, match=r"^id is null in 2 .* ts is null in 2 .* y is null in 2 "):
        refuse_nulls(rows, SPEC)


def a_text(cell):
    return f'id,ts,amount,n,flag,city,y\n1,2026-05-04 06:00,1.5,2,true,"{cell}",false\n2,2026-05-04 07:00,2.5,2,true,Bonn,true\n'


HIDING = [  # a file, and what is said of it
    (csv().replace(",New York,", ',"New York,').replace(",Paris,", ',Paris",'), "lines 3 to 4 are one row, .* look like 2 rows"),
    ("\n" + csv().replace("false\n1001", '"false\n1001').replace("false\n1002", 'false"\n1002'), "lines 3 to 4 are one row"),
    (a_text("Rome,false\n3,2026-05-04 08:00,,,yes,Oslo"), "lines 2 to 3 are one row, .* look like 2 rows"),
    (
        a_text("Rome,false\n3,2026-05-04 08:00,,,yes,Oslo,true\n4,2026-05-04 09:00,1,1,no,Bari"),
        "lines 2 to 4 are one row, .* look like 3 rows",
    ),
]


@pytest.mark.parametrize(("content", "said"), HIDING)
def test_quotes_that_hide_rows_are_refused(land, content, said):
    """DM-10: One that opens in a row and closes rows later makes one field of them, which would be lost without a word."""
    with pytest.raises(BatchRefused, match=said):
        read_batch(land("a.csv", content), SPEC)


@pytest.mark.parametrize(
    "cell", ["two\nlines", "one, two\nthree", "Rome,false\n3,tomorrow,,,yes,Oslo", "a\r\nb", "1\n2\n3", 'say ""a,b""\nc']
)
def test_a_quoted_text_may_have_line_breaks(land, cell):
    """DM-10: Unless its lines are rows of the file, by their number of fields and the numbers, times and truth values in them."""
    assert read_batch(land("a.csv", a_text(cell)), SPEC)["city"].to_pylist() == [cell.replace('""', '"'), "Bonn"]


@pytest.mark.parametrize("count", ["253402300800", "999999999999999", "-999999999999999", "253402300800.5", "-62135596801"])
@pytest.mark.parametrize("epoch", ["epoch seconds", "epoch milliseconds"])
def test_a_count_beyond_the_calendar_is_told_with_its_row(land, count, epoch):
    """DM-10: However large, as text or as a number."""
    spec = SPEC.model_copy(update={"files": FileForm(times=(epoch,))})
    beyond = f"{count}000" if epoch == "epoch milliseconds" and "." not in count and len(count) < 15 else count
    if epoch == "epoch milliseconds" and "." in count:
        beyond = "253402300800000.5"
    content = csv(ts=lambda v: beyond if v.startswith("2026-05-04 06:37") else "1764424800")
    with pytest.raises(BatchRefused, match=rf"ts is '{re.escape(beyond)}' in row 2, which is not a time"):
        read_batch(land("a.csv", content), spec)
    number = float(beyond) if "." in beyond else int(beyond)
    lines = "".join(json.dumps({**row, "ts": number if place == 1 else 1764424800}) + "\n" for place, row in enumerate(written()))
    with pytest.raises(BatchRefused, match=r"ts is '.*' in row 2, which is not a time"):
        read_batch(land("a.jsonl", lines), spec)


def test_utf_16_without_its_mark_is_refused(land):
    """DM-10: The declared encoding needs a mark that tells the order of bytes."""
    with pytest.raises(BatchRefused, match=r"a\.csv is not utf-16: .*BOM"):
        read_batch(land("a.csv", csv()), declaring('FileForm(encoding="utf-16")'))


@pytest.mark.parametrize("text", ["30.02.2026 10:00", "01.13.2026 10:00", "01.12.2026 24:00", "1.1.26 10:00", "x01.12.2026 10:00"])
def test_a_declared_time_must_be_of_the_calendar(text):
    """DM-10: No day is made out of another."""
    from perennial.data.wall_times import wall_times

    with pytest.raises(pa.ArrowInvalid):
        wall_times(pa.chunked_array([[text]]), "UTC", ("%d.%m.%Y %H:%M",))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"separator": ";;"}, "is no separator"),
        ({"separator": "a"}, "is no separator"),
        ({"encoding": "klingon"}, "is no encoding"),
        ({"encoding": "base64"}, "is no encoding"),
        ({"decimal": ",", "thousands": ","}, "cannot be the decimal mark and part thousands"),
        ({"true": ["J"], "false": ["j"]}, "cannot mean true and false"),
        ({"false": ["1"]}, "1 cannot mean true and false"),
        ({"true": ["No"]}, "no cannot mean true and false"),
        ({"times": ["%H:%M"]}, "no form of times"),
        ({"times": ["%d.%m.%Y %Q"]}, "no form of times"),
        ({"times": ["%d.%m.%Y %I:%M"]}, "no form of times"),
    ],
)
def test_a_form_checks_itself(fields, said):
    """MO-01: A declaration that could not be kept is refused when it is written."""
    with pytest.raises(ValueError, match=said):
        FileForm(**fields)


KNOWN = ".csv, .tsv, .jsonl, .ndjson, .json, .log, .parquet, .orc, .avro, .npz, .xlsx, .xlsm, .ods"


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("a.csv", csv()), ("note.txt", "x")], "note.txt, which no reader knows"),
        ([("a.csv", csv()), ("b.csv.gz", csv())], "b.csv.gz, which no reader knows"),
        ([("a.csv", csv()), ("B.CSV.ZIP", csv())], "B.CSV.ZIP, which no reader knows"),
        ([(f"{name}.txt", "x") for name in "dcba"], "a.txt, b.txt, c.txt, ..., which no reader knows"),
        ([(f"{name}.txt", "x") for name in "cba"], "a.txt, b.txt, c.txt, which no reader knows"),
        ([(".a.csv", "x"), ("__MACOSX/a.csv", "x"), ("sub/.git/a.csv", "x")], "no files"),
    ],
)
def test_what_an_archive_holds_that_cannot_be_read_is_named(land, kind, files, said):
    """DM-10: Nothing of such an archive is read, and the sentence says what may lie in it; a packed file within another is none of it."""
    with pytest.raises(BatchRefused) as refused:
        read_batch(land(f"a{kind}", packed(kind, *files)), SPEC)
    assert str(refused.value).startswith(f"a{kind} holds {said}: put files into it that end in one of {KNOWN}.")


def test_the_files_of_an_archive_are_read_in_order_of_name(land):
    """DM-01: Whatever lies beside them hidden or is a folder; of whatever form each is."""
    orc = io.BytesIO()
    pyarrow.orc.write_table(pa.table({name: [row[name] for row in BASE] for name in BASE[0]}), orc)
    files = [("sub/B.CSV", csv()), ("__MACOSX/c.csv", "x"), ("sub/.d.csv", "x"), ("a.json", json.dumps(written(city=lambda row: "A")))]
    cities = ["A"] * 3 + [row["city"] for row in BASE]
    tar = packed(".tar", *files)
    for file, content in (
        ("a.zip", packed(".zip", *files)),
        ("a.tar", tar),
        ("a.tgz", gzip.compress(tar, mtime=0)),
        ("b.TAR.gz", gzip.compress(tar, mtime=0)),
    ):
        path = land("raw", content)
        path = path.rename(path.with_name(file))
        assert read_batch(path, SPEC)["city"].to_pylist() == cities
    assert read_batch(land("a.orc", orc.getvalue()), SPEC).to_pylist() == BASE
    with pytest.raises(BatchRefused, match=r"land one of .*\.csv\.zip, .*\.tar\.gz, \.tgz"):
        read_batch(land("a.txt", "x"), SPEC)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("A.Csv", ".csv"),
        ("a.json.GZ", ".json"),
        ("a.orc", ".orc"),
        ("a.zip", ""),
        ("a.tar.gz", ""),
        ("a.parquet.gz", ""),
        ("a.txt", ""),
        *((f"a{form}", form) for form in (".avro", ".npz", ".xlsx", ".xlsm", ".ods")),
    ],
)
def test_the_extension_says_how_a_file_is_read(name, form):
    """DM-01: Upper case counts like lower, packing does not count, and an archive has no form of its own."""
    assert form_of(name) == form


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tgz"])
def test_an_archive_has_its_files_in_order_of_name_and_in_its_own(land, kind):
    """DM-01: Files that are hidden or folders are none of them; each is opened by its name."""
    files = [("b.csv", "1"), ("sub/.hidden/a.csv", "2"), ("a.csv", "3"), ("__MACOSX/d.csv", "4"), ("sub/c.csv", "5")]
    out = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in [("sub/", ""), *files]:
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if kind == ".tgz" else "w") as archive:
            for name, content in [("sub", ""), *files]:
                member = tarfile.TarInfo(name)
                member.size, member.type = len(content), tarfile.REGTYPE if content else tarfile.DIRTYPE
                archive.addfile(member, io.BytesIO(content.encode()))
    with Archive.opened(land(f"a{kind}", out.getvalue())) as archive:
        assert [len(archive.members), archive.names, archive.checked("a")] == [5, *[["a.csv", "b.csv", "sub/c.csv"]] * 2]
        assert archive.in_its_order(["sub/c.csv", "a.csv", "b.csv", "x.csv"]) == ["b.csv", "a.csv", "sub/c.csv"]
        assert archive.in_its_order(["a.csv"]) == ["a.csv"]
        assert [archive.open(name).read() for name in archive.names] == [b"3", b"1", b"5"]


@pytest.mark.parametrize("name", ["a.csv.zip", "a.csv.gz", "a.xlsx", "a.txt", "zip"])
def test_what_is_no_archive_by_its_name_is_not_opened(tmp_path, name):
    """DM-01: A packed file is none, nor is one that no reader knows; whether it is there is not asked."""
    with Archive.opened(tmp_path / name) as archive:
        assert archive is None


@pytest.mark.parametrize("chunk", [100, 1 << 20])
@pytest.mark.parametrize("kind", [".zip", ".tgz"])
def test_the_files_of_an_archive_count_together(land, monkeypatch, chunk, kind):
    """DM-01: Three files that are as large as the limit together are read; with one byte less they are refused before the last is."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", chunk)
    long = csv(city=lambda v: "x" * 9000)
    content = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in "abc":
                archive.writestr(f"{name}.csv", long)
        data = content.getvalue()
    else:
        data = gzip.compress(packed(".tar", *((f"{name}.csv", long) for name in "abc")))
    path, most = land(f"a{kind}", data), 3 * len(long)
    assert read_batch(path, SPEC.model_copy(update={"max_batch_bytes": most})).num_rows == 9
    with pytest.raises(BatchRefused, match=rf"^a\{kind}, unpacked, is larger than {most - 1:,} bytes"):
        read_batch(path, SPEC.model_copy(update={"max_batch_bytes": most - 1}))


def test_a_packed_file_counts_as_it_is_unpacked(land, monkeypatch):
    """DM-01: In however many pieces it is read."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", 100)
    long = csv(city=lambda v: "x" * 9000)
    path = land("a.csv.gz", long)
    assert read_batch(path, SPEC.model_copy(update={"max_batch_bytes": len(long)})).num_rows == 3
    with pytest.raises(BatchRefused, match=rf"^a\.csv\.gz, unpacked, is larger than {len(long) - 1:,} bytes"):
        read_batch(path, SPEC.model_copy(update={"max_batch_bytes": len(long) - 1}))


def test_columns_that_are_dropped_may_come_twice(land):
    """DM-10: What nobody reads may; what the spec has may not, and kept columns may not either, of which one would hide the other."""
    notes = land("a.csv", csv(HEADER + ",note,note", y=lambda v: f"{v},1,2"))
    assert read_batch(notes, declaring('FileForm(extra="drop")')).to_pylist() == BASE
    with pytest.raises(BatchRefused, match="has twice the columns note"):
        read_batch(notes, declaring('FileForm(extra="keep")'))
    with pytest.raises(BatchRefused, match="has twice the columns city"):
        read_batch(land("b.csv", csv(HEADER + ",city", y=lambda v: f"{v},x")), declaring('FileForm(extra="drop")'))


def test_a_name_whose_borders_would_not_show_is_quoted(land):
    """DM-10: A comma within a name does not make two of it."""
    file = land("a.csv", csv(HEADER + ',"odd, name",plain name', y=lambda v: f"{v},1,2"))
    with pytest.raises(BatchRefused, match="has unexpected columns 'odd, name', plain name: "):
        read_batch(file, SPEC)


def test_what_is_kept_is_written_as_it_is(land):
    """DM-01: Letters beyond ASCII and times in the object of the other columns; where none has a value, a text column all the same."""
    keep = declaring('FileForm(extra="keep")')
    rows = pa.table({name: [row[name] for row in BASE] for name in BASE[0]})
    out, remarks = io.BytesIO(), []
    noted = rows.append_column("später", pa.array([datetime(2026, 5, 4), None, None])).append_column("ort", pa.array([None, "Łódź", None]))
    pyarrow.parquet.write_table(noted, out)
    kept = read_batch(land("a.parquet", out.getvalue()), keep, remarks=remarks)
    assert kept["_extra"].to_pylist() == ['{"später": "2026-05-04 00:00:00"}', '{"ort": "Łódź"}', None]
    assert remarks == ["a.parquet: später, ort kept in _extra"]
    nothing = read_batch(land("a.csv", csv(HEADER + ",note", y=lambda v: f"{v},")), keep)
    assert nothing.schema.field("_extra").type == pa.string()
    assert nothing["_extra"].to_pylist() == [None] * 3


def test_columns_may_be_called_otherwise_in_the_file(land):
    """DM-01: Several declared headers, of which one is the name of another column of the spec."""
    file = land("a.csv", csv("id,Start (local),amount,n,y,Town,flag"))
    spec = declaring('FileForm(fields={"ts": "Start (local)", "city": "Town"})')
    assert read_batch(land("b.csv", csv("id,Start (local),amount,n,flag,Town,y")), spec).to_pylist() == BASE
    assert [(row["flag"], row["y"]) for row in read_batch(file, spec).to_pylist()] == [(row["y"], row["flag"]) for row in BASE]


def test_two_times_may_each_be_made_of_a_day_and_an_hour(land):
    """DM-01: Of each the parts are left out; where a file has one of the times itself, the other is made all the same."""
    trips = DatasetSpec(
        name="trips", title="Trips", owner="tests", key=("begin",), event_time="begin",
        files=FileForm(time_of={"begin": ("day", "hour"), "end": ("last", "until")}),
        columns=(Column(name="begin", type="timestamp"), Column(name="end", type="timestamp")),
    )  # fmt: skip
    told = [{"begin": datetime(2026, 3, 1, 7), "end": datetime(2026, 3, 2, 13, 30)}]
    for content in ("day,hour,last,until\n2026-03-01,7,2026-03-02,13:30\n", "begin,last,until\n2026-03-01 07:00,2026-03-02,13:30\n"):
        assert read_batch(land("a.csv", content), trips).to_pylist() == told


@pytest.mark.parametrize(("folder", "column", "value"), [("n=__HIVE_DEFAULT_PARTITION__", "n", None), ("city=a=b%2Fc", "city", "a=b/c")])
def test_a_folder_may_name_no_value_or_any(land, folder, column, value):
    """DM-01: The name that partitioned files give to nothing, and marks of equality within a value."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({name: [row[name] for row in BASE] for name in BASE[0] if name != column}), out)
    assert read_batch(land("a.parquet", out.getvalue()), SPEC, f"{folder}/a.parquet")[column].to_pylist() == [value] * 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": lambda v: f"0X{v}"}, "id is '0X1000' in row 1, which is not a whole number, and so in 2 more rows."),
        ({"id": lambda v: "9007199254740993.0"}, "id is '9007199254740993.0' in row 1, from 2^53 on, where"),
        ({"flag": lambda v: {"true": v}.get(v, "no way")}, "flag is 'no way' in row 1, which is not true or false, and so in 1 more row."),
    ],
)
def test_only_values_that_do_not_fit_are_counted(land, changed, said):
    """DM-10: Words for true and false are none of them; numbers of another base and those that a point leaves in doubt are."""
    with pytest.raises(BatchRefused) as refused:
        read_batch(land("a.csv", csv(**changed)), SPEC)
    assert said in str(refused.value)


def test_a_stored_number_of_more_than_64_bits_is_told_alone(land):
    """DM-10: How many more there are is not reckoned where nothing is written as text, and then not said."""
    file = land("a.parquet", parquet(id=pa.array([1, 2**63 + 5, 2], pa.uint64())))
    with pytest.raises(BatchRefused) as refused:
        read_batch(file, SPEC)
    assert f"id is '{2**63 + 5}' in row 2, which is not a whole number. Correct the file" in str(refused.value)


def test_a_byte_that_a_declared_encoding_lacks_is_told_with_it(land):
    """DM-10: The sentence names the encoding of the spec."""
    with pytest.raises(BatchRefused, match=r"a\.csv is not cp1252: line 2 has the byte 0x81\. Write it as cp1252"):
        read_batch(land("a.csv", csv(city=lambda v: "x").encode().replace(b"x", b"\x81")), declaring('FileForm(encoding="cp1252")'))


def test_words_for_nothing_leave_blanks_and_other_types_as_they_are(land):
    """DM-01: A blank is remarked beside such words too, and numbers that are stored as numbers hold no words."""
    missing, remarks = declaring('FileForm(nulls=("NA",))'), []
    assert read_batch(land("a.csv", csv(n=lambda v: v or " ")), missing, remarks=remarks).to_pylist() == BASE
    assert remarks == ["n is blank in 1 row, read as missing"]
    assert read_batch(land("a.parquet", parquet()), missing).to_pylist() == BASE


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "\u2009"])
def test_thousands_may_be_parted_by_any_blank(land, blank):
    """DM-01: One that no line breaks at and narrow ones are what spreadsheets write."""
    form = declaring('FileForm(separator=";", decimal=",", thousands=" ")')
    content = csv(separator=";", amount=lambda v: f"{float(v):,}".translate({44: blank, 46: ","}))
    assert read_batch(land("a.csv", content), form).to_pylist() == BASE


def test_a_column_without_values_is_missing_in_any_form_of_numbers(land):
    """DM-01: A column of which no row has a number is one of nothing, with a decimal comma too."""
    content = csv(separator=";", n=lambda v: "", amount=lambda v: v.replace(".", ","))
    assert read_batch(land("a.csv", content), declaring('FileForm(separator=";", decimal=",")'))["n"].to_pylist() == [None] * 3


def test_stored_times_without_an_offset_are_named_too(land):
    """DM-18: Those of an hour that comes twice; with a zone each is one moment."""
    berlin, remarks = SPEC.model_copy(update={"time_zone": "Europe/Berlin"}), []
    times = [datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 2, 45), datetime(2026, 10, 26)]
    read_batch(land("a.parquet", parquet(ts=pa.array(times))), berlin, remarks=remarks)
    assert len(remarks) == 1
    assert remarks[0].startswith("2 times of ts lie in the hour from 2026-10-25 02:00, which comes twice in Europe/Berlin")
    zoned = pa.array([datetime(2026, 10, 25, 1, minute, tzinfo=timezone.utc) for minute in (0, 15, 30)], pa.timestamp("us", "UTC"))
    read_batch(land("b.parquet", parquet(ts=zoned)), berlin, remarks=remarks)
    assert len(remarks) == 1


@pytest.mark.parametrize(
    ("values", "kind", "times"),
    [
        (["01.03.2024", "28.03.2024"], "timestamp", ("%d.%m.%Y",)),
        (["01.03.24", "28.03.24"], "timestamp", ("%d.%m.%y",)),
        (["20240301", "20240328"], "int", ()),
        (["1.3", "28.3"], "float", ()),
        (["1.12.3", "1.28.14"], "string", ()),
    ],
)
def test_days_with_dots_are_times_whatever_their_column_is_called(land, values, kind, times):
    """DM-10: Numbers are times only under a name that says so; three numbers with dots between them are a day, if all are one."""
    proposal = propose(land("a.csv", "id,Stichtag\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values))))
    assert {column.name: column.type for column in proposal.columns}["Stichtag"] == kind
    assert proposal.form.times == times
