"""Readers: every kind of file gives the same rows; every kind of damage gives a sentence."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from datetime import datetime
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet
import pytest

from perennial.data.readers import EXTENSIONS, read_batch, refuse_nulls, schema
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec
from perennial.testing.workbooks import opendocument, workbook


def csv(rows: pa.Table) -> bytes:
    out = io.BytesIO()
    pyarrow.csv.write_csv(rows, out)
    return out.getvalue()


def parquet(rows: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out, **options)
    return out.getvalue()


def jsonl(rows: pa.Table) -> bytes:
    return "".join(json.dumps(row, default=str) + "\n" for row in rows.to_pylist()).encode()


def json_array(rows: pa.Table) -> bytes:
    return json.dumps(rows.to_pylist(), default=str, indent=1).encode()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def orc(rows: pa.Table) -> bytes:
    out = io.BytesIO()
    pyarrow.orc.write_table(rows, out)
    return out.getvalue()


def avro(rows: pa.Table) -> bytes:
    kinds = {
        "int64": "long", "double": "double", "string": "string", "bool": "boolean",
        "timestamp[us]": {"type": "long", "logicalType": "local-timestamp-micros"},
    }  # fmt: skip
    fields = [{"name": field.name, "type": ["null", kinds[str(field.type)]]} for field in rows.schema]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "row", "fields": fields}, rows.to_pylist())
    return out.getvalue()


def cells(rows: pa.Table) -> dict[str, list[list[object]]]:
    return {"Rows": [rows.column_names, *(list(row.values()) for row in rows.to_pylist())]}


def sheet(rows: pa.Table) -> bytes:
    return workbook(cells(rows))


def open_sheet(rows: pa.Table) -> bytes:
    return opendocument(cells(rows))


def tarred(mode: str, **members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def encode(name: str, rows: pa.Table) -> bytes:
    """These rows as a file of that name; an archive holds them in two files."""
    extension = name[name.index(".") :]
    if extension in (".zip", ".tar", ".tar.gz", ".tgz"):
        members = {"a/1.csv": csv(rows.slice(0, 1)), "a/2.parquet": parquet(rows.slice(1))}
        return zipped(**members) if extension == ".zip" else tarred("w" if extension == ".tar" else "w:gz", **members)
    form = extension.split(".")[1]
    plain = {
        "csv": csv,
        "tsv": csv,
        "parquet": parquet,
        "orc": orc,
        "json": json_array,
        "avro": avro,
        **dict.fromkeys(("xlsx", "xlsm"), sheet),
        "ods": open_sheet,
    }.get(form, jsonl)(rows)
    return gzip.compress(plain) if name.endswith(".gz") else zipped(member=plain) if name.endswith(".zip") else plain


@pytest.fixture
def read(tmp_path: Path, spec: DatasetSpec):
    def read(name: str, data: bytes) -> pa.Table:
        (tmp_path / name).write_bytes(data)
        return read_batch(tmp_path / name, spec)

    return read


WITH_TESTS_OF_THEIR_OWN = (".npz", ".log", ".log.gz", ".log.zip")  # have no missing texts, or a pattern


@pytest.mark.parametrize("extension", [*(e for e in EXTENSIONS if e not in WITH_TESTS_OF_THEIR_OWN), ".CSV", ".Parquet"])
def test_every_extension_gives_the_same_rows(read, rows: pa.Table, spec: DatasetSpec, extension: str) -> None:
    """DM-01: Columns in the spec's order and types, nulls kept, whatever the file's form."""
    found = read(f"a{extension}", encode(f"a{extension}".lower(), rows))
    assert found.schema == schema(spec)
    assert found.to_pylist() == rows.to_pylist()


def test_columns_may_come_in_another_order(read, rows: pa.Table, spec: DatasetSpec) -> None:
    """DM-01: Order is the spec's, not the file's."""
    assert read("a.csv", csv(rows.select(rows.column_names[::-1]))).column_names == [c.name for c in spec.columns]


@pytest.mark.parametrize("name", ["a.xls", "a", "a.csv.bz2", "a.txt"])
def test_unknown_extensions_are_named(read, name: str) -> None:
    """DM-10: The sentence lists what can be landed."""
    with pytest.raises(BatchRefused, match=r"no reader knows: land one of \.csv"):
        read(name, b"x")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl", "a.csv.gz"])
def test_empty_files_are_refused(read, name: str) -> None:
    """DM-10: No bytes at all."""
    with pytest.raises(BatchRefused, match="is empty"):
        read(name, b"")


def test_packed_nothing_is_refused(read) -> None:
    """DM-10: Nothing, packed, is nothing."""
    with pytest.raises(BatchRefused, match="is empty"):
        read("a.csv.gz", gzip.compress(b""))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_header_without_rows_is_refused(read, rows: pa.Table, name: str) -> None:
    """DM-10: Columns alone are no batch."""
    with pytest.raises(BatchRefused, match="no rows"):
        read(name, encode(name, rows.slice(0, 0)))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.csv.zip", "a.jsonl.gz"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(read, make_sales, name: str, kept: float) -> None:
    """DM-10: A file that was cut anywhere is told as damaged, never read in part."""
    data = encode(name, make_sales(300))
    with pytest.raises(BatchRefused, match=r"cut short or damaged|cannot be read"):
        read(name, data[: int(len(data) * kept)])


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.csv.zip"])
def test_files_of_another_kind_are_refused(read, name: str) -> None:
    """DM-10: Text under the name of a packed file."""
    with pytest.raises(BatchRefused, match=r"cut short or damaged|cannot be read"):
        read(name, b"sold,shop\n" * 50)


def test_a_zip_holds_one_file(read, rows: pa.Table) -> None:
    """DM-10: Several members, or none, are counted and named."""
    with pytest.raises(BatchRefused, match=r"holds 2 files \(one, two\)"):
        read("a.csv.zip", zipped(one=csv(rows), two=csv(rows)))
    with pytest.raises(BatchRefused, match="holds 0 files"):
        read("a.csv.zip", zipped())


def test_a_zip_with_a_password_is_refused(read, rows: pa.Table) -> None:
    """DM-10: What cannot be opened is told."""
    data = bytearray(zipped(member=csv(rows)))
    data[6] |= 1  # the flag "encrypted", in the member and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BatchRefused, match="encrypted"):
        read("a.csv.zip", bytes(data))


@pytest.mark.parametrize(
    ("text", "line", "byte"),
    [
        ("sold,shop,amount,items,open\n2013-01-01,caf\u00e9,1,1,true\n".encode("latin-1"), 2, "E9"),
        ("sold,shop\n".encode("utf-16"), 1, "FF"),
        ("sold,shop\n".encode("utf-16-le"), 1, "00"),
        (b"a,b\n" * 400_000 + b"\xff", 400_001, "FF"),
    ],
)
def test_other_encodings_are_refused_with_their_place(tmp_path: Path, spec: DatasetSpec, text: bytes, line: int, byte: str) -> None:
    """DM-10: Line and byte are named, also megabytes into the file and for UTF-16."""
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(BatchRefused, match=rf"is not UTF-8: line {line} has the byte 0x{byte}"):
        read_batch(tmp_path / "a.csv", spec.model_copy(update={"max_batch_bytes": 1 << 30}))


def test_a_character_across_two_chunks_is_no_error(
    tmp_path: Path, spec: DatasetSpec, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-01: The decoder carries the first half of a character over."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", 7)
    text = csv(rows).replace(b"north", "z\u00fcrich".encode())
    (tmp_path / "a.csv").write_bytes(text)
    assert read_batch(tmp_path / "a.csv", spec)["shop"].to_pylist() == ["zürich"] * 3


def test_a_byte_order_mark_is_skipped(read, rows: pa.Table) -> None:
    """DM-01: Excel writes one before UTF-8."""
    assert read("a.csv", b"\xef\xbb\xbf" + csv(rows)).num_rows == 3


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_changed_columns_are_named(read, rows: pa.Table, name: str) -> None:
    """DM-10: Missing and unexpected columns, each by name."""
    changed = rows.drop_columns(["amount", "items"]).append_column("colour", pa.array(["red"] * 3))
    with pytest.raises(
        BatchRefused,
        match=r"lacks the columns amount, items and has unexpected columns colour: correct the file, or the columns in the spec of sales",
    ):
        read(name, encode(name, changed))


def test_a_column_that_comes_twice_is_named(read) -> None:
    """DM-10: One name, one column."""
    with pytest.raises(BatchRefused, match="has twice the columns shop"):
        read("a.csv", b"sold,shop,amount,items,open,shop\n2013-01-01,a,1,1,true,b\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2013-01-01,a,much,1,true", "amount is 'much' in row 3, which is not a number"),
        ("2013-01-01,a,1,1.5,true", "items is '1.5' in row 3, which is not a whole number"),
        ("yesterday,a,1,1,true", "sold is 'yesterday' in row 3, which is not a time such as 2013-01-31 06:15:00"),
        ("2013-01-01,a,inf,1,true", "amount is 'inf' in row 3, which is not finite"),
        ("2013-01-01,a,1,1,maybe", "open is 'maybe' in row 3, which is not true or false"),
    ],
)
def test_values_of_the_wrong_type_are_named_with_their_row(read, line: str, said: str) -> None:
    """DM-10: Column, value and the number of the first such row."""
    good = "2013-01-01,a,1,1,true\n"
    with pytest.raises(BatchRefused, match=said):
        read("a.csv", f"sold,shop,amount,items,open\n{good}{good}{line}\n{good}{line}\n".encode())


def test_rows_of_another_length_are_refused(read) -> None:
    """DM-10: A line with a field too many."""
    with pytest.raises(BatchRefused, match=r"Expected 5 columns, got 6"):
        read("a.csv", b"sold,shop,amount,items,open\n2013-01-01,a,1,1,true,surplus\n")


def test_fields_may_hold_commas_and_line_ends(read) -> None:
    """DM-01: Quoted text is text; an empty field is null, an empty quoted one is empty text."""
    found = read("a.csv", b'sold,shop,amount,items,open\n2013-01-01,"a, b\nc",,,\n2013-01-02,"",1,1,true\n')
    assert found["shop"].to_pylist() == ["a, b\nc", ""]
    assert found["amount"].to_pylist() == [None, 1.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"sold,shop,amount,items,open\n' + "2013-01-01,a,1,1,true\n" * 6500, "a quote in its first line is never closed, before 'sold"),
        ('{header}2013-01-01,"{long}\nb",x,1,true\n', "amount is 'x' in row 1"),
        ('{header}2013-01-01,{long},1,1,true\n2013-01-02,"a,1,1,true\n2013-01-03,b",1,1,true\n', "lines 3 to 4 are one row"),
    ],
    ids=["the header", "a long text of two lines", "rows after a long text"],
)
def test_a_field_may_be_long(read, text: str, said: str) -> None:
    """DM-10: Longer than the 131,072 letters at which Python's reader of CSV gives up; what is wrong with the file is told all the same."""
    with pytest.raises(BatchRefused, match=said):
        read("a.csv", text.format(header="sold,shop,amount,items,open\n", long="a" * 140_000).encode())


def test_a_zip_whose_parts_lie_nowhere_is_damaged(read) -> None:
    """DM-10: That is the file's fault, and no disk's, which would be tried again."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", "x" * 60)
    zipped = bytearray(out.getvalue())
    end = zipped.rindex(b"PK\5\6")
    zipped[end + 16 : end + 20] = (end + 1000).to_bytes(4, "little")  # where its list of parts begins
    with pytest.raises(BatchRefused, match=r"^a.zip is cut short or damaged"):
        read("a.zip", bytes(zipped))


def test_json_lines_that_are_no_json_are_named(read, rows: pa.Table) -> None:
    """DM-10: The line is named; so is one that is no object."""
    with pytest.raises(BatchRefused, match="line 4 is no JSON"):
        read("a.jsonl", jsonl(rows) + b'{"sold": \n')
    with pytest.raises(BatchRefused, match="line 4 is no JSON object"):
        read("a.jsonl", jsonl(rows) + b"[1]\n")


def test_json_lines_of_mixed_types_name_the_column(read, rows: pa.Table) -> None:
    """DM-10: A column that changes its type is named."""
    with pytest.raises(BatchRefused, match="amount"):
        read("a.jsonl", jsonl(rows) + jsonl(rows).replace(b"1.5", b'"much"'))


def test_a_key_that_a_json_line_leaves_out_is_null(read, rows: pa.Table) -> None:
    """DM-01: Only a column that no line has is missing."""
    lines = [{k: v for k, v in row.items() if v is not None} for row in rows.to_pylist()]
    found = read("a.jsonl", "".join(json.dumps(line, default=str) + "\n" for line in lines).encode())
    assert found.to_pylist() == rows.to_pylist()


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("sold", pa.array([1, 2, 3]), "not a time such as 2013-01-31 06:15:00"),
        ("shop", pa.array([1, 2, 3]), "not text"),
        ("amount", pa.array([[1.0]] * 3), "not a number"),
        ("items", pa.array([True] * 3), "not a whole number"),
        ("items", pa.array([1.0, 2.5, 3.0]), "items is '2.5' in row 2"),
        ("open", pa.array([1, 0, 1]), "not true or false"),
    ],
)
def test_parquet_types_that_do_not_fit_are_named(read, rows: pa.Table, column: str, values: pa.Array, said: str) -> None:
    """DM-10: A type is not bent silently: numbers do not become text, nor times."""
    with pytest.raises(BatchRefused, match=said):
        read("a.parquet", parquet(rows.set_column(rows.column_names.index(column), column, values)))


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        ("sold", pa.array([1_000_000_001] * 3, pa.timestamp("ns")), [datetime(1970, 1, 1, 0, 0, 1)] * 3),
        ("items", pa.array([1, 2, None], pa.int8()), [1, 2, None]),
        ("items", pa.array([1.0, 2.0, None]), [1, 2, None]),
        ("amount", pa.array([1, 2, 3]), [1.0, 2.0, 3.0]),
        ("amount", pa.array([1.0, float("nan"), None]), [1.0, None, None]),
        ("shop", pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        ("shop", pa.array(["a", "b", None], pa.large_string()), ["a", "b", None]),
        ("amount", pa.nulls(3), [None] * 3),
    ],
)
def test_types_that_mean_the_same_are_taken(read, rows: pa.Table, column: str, values: pa.Array, kept: list[object]) -> None:
    """DM-01: Narrow integers, nanoseconds, dictionaries, NaN for null."""
    assert read("a.parquet", parquet(rows.set_column(rows.column_names.index(column), column, values)))[column].to_pylist() == kept


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, spec: DatasetSpec) -> None:
    """DM-10: Two gigabytes that occupy no disk: the sentence says to split; the content is never looked at."""
    with open(tmp_path / "a.csv", "wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(BatchRefused, match=r"larger than 1,024 MB, .* split it by time"):
        read_batch(tmp_path / "a.csv", spec.model_copy(update={"max_batch_bytes": 1 << 30}))


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: ("a.csv.gz", gzip.compress(data)),
        lambda data: ("a.csv.zip", zipped(member=data)),
        lambda data: ("a.jsonl.gz", gzip.compress(data)),
    ],
)
def test_a_small_file_that_unpacks_beyond_the_limit_is_refused(read, pack) -> None:
    """DM-10: Unpacking stops at the limit."""
    name, data = pack(b"0" * 5_000_000)
    assert len(data) < 20_000
    with pytest.raises(BatchRefused, match=r"unpacked, is larger than 200,000 bytes"):
        read(name, data)


def test_a_small_parquet_with_many_rows_is_refused(read, rows: pa.Table) -> None:
    """DM-10: Run lengths hide a million equal rows in a few kilobytes."""
    many = pa.table({name: pa.repeat(rows[name][1], 100_000) for name in rows.column_names})
    data = parquet(many, compression="zstd")
    assert len(data) < 200_000
    with pytest.raises(BatchRefused, match="unpacked, is larger than"):
        read("a.parquet", data)


def test_nulls_where_there_must_be_none_are_refused(rows: pa.Table, spec: DatasetSpec) -> None:
    """DM-10: The table never holds them, even if the suite forgot to look."""
    refuse_nulls(rows, spec)
    with pytest.raises(BatchRefused, match="shop is null in 3 of 3 rows and the spec of sales does not allow that"):
        refuse_nulls(rows.set_column(1, "shop", pa.nulls(3, pa.string())), spec)


def test_a_full_disk_is_no_refusal(tmp_path: Path, spec: DatasetSpec, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15: Trouble of this machine is not blamed on the file."""
    (tmp_path / "a.csv").write_bytes(csv(rows))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("perennial.data.readers.encodings.tempfile.SpooledTemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        read_batch(tmp_path / "a.csv", spec)
