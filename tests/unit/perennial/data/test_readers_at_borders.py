"""Readers at their borders: the last size, row, byte and number that is taken, the first that is refused, and the sentence that says so."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest

from perennial.data.readers import read_batch, refuse_nulls, refuse_too_large
from perennial.data.readers.columns import ColumnsDiffer, column_called, under_spec_names
from perennial.data.readers.values import Misfit, type_of, typed
from perennial.errors import BatchRefused
from perennial.specs import Column, FileForm

HEADER = "sold,shop,amount,items,open"
LINE = "2013-01-01 00:00:00,a,1.5,1,true"


@pytest.fixture
def read(tmp_path, spec):
    """Read bytes as a file of that name, with another limit or under another name if asked."""

    def read(file, data, *, limit=None, called=""):
        (tmp_path / file).write_bytes(data)
        return read_batch(tmp_path / file, spec.model_copy(update={"max_batch_bytes": limit or spec.max_batch_bytes}), called)

    return read


@pytest.fixture
def refusal(read):
    """The whole sentence with which bytes are refused."""

    def refusal(file, data, **more):
        with pytest.raises(BatchRefused) as raised:
            read(file, data, **more)
        return str(raised.value)

    return refusal


def lines(*rows):
    """A CSV file of these rows."""
    return "\n".join([HEADER, *rows, ""]).encode()


def parquet(rows, **changed):
    """A Parquet file of some rows of which columns are replaced."""
    for name, values in changed.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    out = io.BytesIO()
    pyarrow.parquet.write_table(rows, out)
    return out.getvalue()


def zipped(*members):
    """A zip of empty members by name; a name that ends in a slash is a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


REFUSED = {
    "unknown extension": ("a.txt", b"x", "{} has an extension that no reader knows: land one of .csv, "),
    "nothing": ("a.csv", b"", "{} is empty: land it again with its rows."),
    "packed nothing": ("a.csv.gz", gzip.compress(b"", mtime=0), "{} is empty: land it again with its rows."),
    "no rows": ("a.csv", lines(), "{} has a header but no rows: land it again with its rows."),
    "too large": ("a.csv", b"x" * 200_001, "{} is larger than 200,000 bytes, the most that sales takes in one file: split it by time"),
    "unpacks to too much": (
        "a.csv.gz",
        gzip.compress(b"x" * 200_001, mtime=0),
        "{}, unpacked, is larger than 200,000 bytes, the most that sales takes",
    ),
    "damaged": ("a.csv.gz", gzip.compress(lines(LINE), mtime=0)[:-9], "{} is cut short or damaged ("),
    "no Parquet": ("a.parquet", b"x" * 99, "{} cannot be read: Parquet magic bytes not found in footer"),
    "no zip": ("a.csv.zip", b"x" * 99, "{} is cut short or damaged (File is not a zip file): land it again."),
    "two in a zip": ("a.csv.zip", zipped(("b", b""), ("c", b"")), "{} holds 2 files (b, c): put exactly one into a zip."),
    "no UTF-8": ("a.csv", b"\xff", "{} is not UTF-8: line 1 has the byte 0xFF. Write it as UTF-8 and land it again."),
    "half a character": ("a.csv", lines(LINE) + b"\xc3", "{} is not UTF-8: line 3 has the byte 0xC3. Write it as UTF-8 and land it again."),
    "other columns": (
        "a.csv",
        b"sold,shop\n1,2\n",
        "{} lacks the columns amount, items, open: correct the file, or the columns in the spec",
    ),
    "other type": (
        "a.csv",
        lines(LINE, LINE.replace("1.5", "much")),
        "{}: amount is 'much' in row 2, which is not a number. Correct the file",
    ),
    "no object": ("a.jsonl", b"\n[1]\n", "{} cannot be read: line 2 is no JSON object. Land it again, whole and in the form its"),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("called", ["", "what you sent"])
def test_every_refusal_names_the_file(refusal, why, called):
    """DM-10: as it is called in the log, or by its own name; what, where, and the next step."""
    file, data, sentence = REFUSED[why]
    assert refusal(file, data, called=called).startswith(sentence.format(called or file))


def test_a_file_just_as_large_as_may_be_is_read(read, refusal, rows):
    """DM-01: as it lies and unpacked: the limit itself is taken, one byte less is not enough."""
    plain = lines(LINE)
    for file, data in (("a.csv", plain), ("a.csv.gz", gzip.compress(plain * 1)), ("a.csv.zip", zipped(("m", plain)))):
        largest = max(len(data), len(plain))
        assert read(file, data, limit=largest).num_rows == 1
        assert f"is larger than {largest - 1:,} bytes" in refusal(file, data, limit=largest - 1)
    assert "a.csv, unpacked," not in refusal("a.csv", plain, limit=len(plain) - 1)


def test_a_parquet_file_just_as_large_as_may_be_unpacked_is_read(read, refusal):
    """DM-01: cells count like bytes where an encoding hides them, over all row groups together."""
    many = pa.table(
        {
            "sold": pa.repeat(pa.scalar(datetime(2013, 1, 1), pa.timestamp("us")), 30_000),
            **{name: pa.repeat(pa.scalar(value), 30_000) for name, value in {"shop": "a", "amount": 1.0, "items": 1, "open": True}.items()},
        }
    )
    out = io.BytesIO()
    pyarrow.parquet.write_table(many, out, compression="zstd", row_group_size=10_000)
    data, cells = out.getvalue(), 150_000
    assert len(data) < cells
    assert read("a.parquet", data, limit=cells).num_rows == 30_000
    assert refusal("a.parquet", data, limit=cells - 1).startswith("a.parquet, unpacked, is larger than 149,999 bytes")


def test_bytes_of_all_row_groups_count(read, refusal):
    """DM-01: texts that no encoding shortens are as large as they are, in however many groups they lie."""
    texts = [f"{number:0100d}" for number in range(2000)]
    table = pa.table(
        {
            "sold": pa.repeat(pa.scalar(datetime(2013, 1, 1), pa.timestamp("us")), 2000), "shop": texts,
            "amount": pa.nulls(2000, pa.float64()), "items": pa.nulls(2000, pa.int64()), "open": pa.nulls(2000, pa.bool_()),
        }
    )  # fmt: skip
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd", row_group_size=500, use_dictionary=False)
    assert len(out.getvalue()) < 150_000
    assert "unpacked, is larger than 180,000 bytes" in refusal("a.parquet", out.getvalue(), limit=180_000)
    assert read("a.parquet", out.getvalue(), limit=300_000).num_rows == 2000


@pytest.mark.parametrize(("size", "said"), [(1 << 20, "1 MB"), ((1 << 20) - 1, "1,048,575 bytes"), (5 << 29, "2,560 MB"), (1, "1 bytes")])
def test_a_limit_is_told_in_bytes_below_a_megabyte(spec, size, said):
    """DM-01: the limit itself is allowed, and is told in the larger unit from one of it on."""
    limited = spec.model_copy(update={"max_batch_bytes": size})
    refuse_too_large(size, limited, "a.csv")
    with pytest.raises(
        BatchRefused, match=rf"^a\.csv is larger than {said}, the most .*, or raise max_batch_bytes in the dataset's spec\.$"
    ):
        refuse_too_large(size + 1, limited, "a.csv")


def test_folders_in_a_zip_are_no_files(read, refusal):
    """DM-01: of more than three members the first three are named."""
    assert read("a.csv.zip", zipped(("folder/", b""), ("folder/m", lines(LINE)))).num_rows == 1
    assert "holds 3 files (b, c, d): put" in refusal("a.csv.zip", zipped(*((name, b"") for name in "bcd")))
    assert "holds 4 files (b, c, d, ...): put" in refusal("a.csv.zip", zipped(*((name, b"") for name in "bcde")))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 64, 1 << 20])
@pytest.mark.parametrize("wrong", [b"\xff", b"\x00", b"\xc3(", b"\xc3\n", b"\xe2\x82"])
@pytest.mark.parametrize("before", ["", "ab\n", "é\né\n\n€€\n€"])
def test_a_wrong_byte_is_found_wherever_a_chunk_ends(refusal, monkeypatch, chunk, wrong, before):
    """DM-10: line and byte are those of the whole file, also where a character is half in one chunk and half in the next, or has no end."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", chunk)
    line = before.count("\n") + 1
    tail = b"" if wrong == b"\xe2\x82" else b"\nmore\n"
    assert f"line {line} has the byte 0x{wrong[0]:02X}" in refusal("a.csv", before.encode() + wrong + tail)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_characters_of_every_length_are_read_in_any_chunks(read, monkeypatch, chunk):
    """DM-01: of one to four bytes, with the mark of byte order before the header and a comma in its name's place."""
    monkeypatch.setattr("perennial.data.readers.packing._CHUNK", chunk)
    found = read("a.csv", b"\xef\xbb\xbf" + lines(LINE.replace(",a,", ",aé€𝄞,")))
    assert found["shop"].to_pylist() == ["aé€𝄞"]


def test_only_an_empty_field_is_null(read):
    """DM-01: words for nothing are text where text belongs; blanks are kept."""
    words = ["NA", "null", "NaN", "-", " ", "0", "true"]
    found = read("a.csv", lines(*(LINE.replace(",a,", f",{word},") for word in words), LINE.replace(",a,", ",,")))
    assert found["shop"].to_pylist() == [*words, None]


def test_columns_that_come_twice_are_told_with_the_others(refusal):
    """DM-10: what is missing, what is too much and what is doubled, in one sentence and in order of the alphabet."""
    data = b"sold,shop,zoo,ape,shop,zoo\n2013-01-31,2,3,4,5,6\n"
    assert refusal("a.csv", data) == (
        "a.csv lacks the columns amount, items, open and has unexpected columns zoo, ape, zoo and has twice the columns shop, zoo: "
        "correct the file, or the columns in the spec of sales if the source has really changed."
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_the_first_wrong_row_is_named_wherever_it_is(refusal, count):
    """DM-10: the first, the last or one between, alone or with a later one."""
    for first in range(count):
        for later in (first, count - 1):
            rows = [LINE] * count
            rows[later] = LINE.replace(",1,", ",later,")
            rows[first] = LINE.replace(",1,", ",x,")
            said = refusal("a.csv", lines(*rows))
            more = "" if later == first else ", and so in 1 more row"
            assert said == f"a.csv: items is 'x' in row {first + 1}, which is not a whole number{more}. Correct the file and land it again."


def test_a_long_value_is_cut(refusal):
    """DM-10: of a value sixty characters are told, and all of one of sixty."""
    for length in (59, 60, 61):
        said = refusal("a.csv", lines(LINE.replace(",1.5,", f",{'x' * length},")))
        assert f"amount is '{'x' * min(length, 60)}' in row 1" in said


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2.0**53 - 1, 2**53 - 1),
        (1 - 2.0**53, 1 - 2**53),
        (2.0**53, None),
        (-(2.0**53), None),
        (2.0**63, None),
    ],
)
def test_whole_numbers_with_a_point_are_exact_or_refused(read, refusal, rows, value, kept):
    """DM-10: below 2^53 in size each is itself; from there on its neighbour may have been meant, and the row is named."""
    data = parquet(rows, items=pa.array([1.0, value, None]))
    if kept is None:
        said = refusal("a.parquet", data)
        assert f"items is '{value}' in row 2, " in said
    else:
        assert read("a.parquet", data)["items"].to_pylist() == [1, kept, None]


def test_whole_numbers_without_a_point_are_exact(read, rows):
    """DM-01: all of 64 bits are kept where whole numbers belong; where numbers belong the nearest is taken, as in CSV."""
    largest = pa.array([2**63 - 1, -(2**63), 2**53 + 1])
    found = read("a.parquet", parquet(rows, items=largest, amount=largest))
    assert found["items"].to_pylist() == largest.to_pylist()
    assert found["amount"].to_pylist() == [2.0**63, -(2.0**63), 2.0**53]
    assert read("a.csv", lines(LINE.replace(",1.5,1,", f",{2**53 + 1},{2**53 + 1},"))).select(["amount", "items"]).to_pylist() == [
        {"amount": 2.0**53, "items": 2**53 + 1}
    ]


@pytest.mark.parametrize("text", ["nan", "NaN", ""])
def test_not_a_number_is_null(read, rows, text):
    """DM-10: written, stored in a float, or stored where a whole number belongs: there is no value."""
    assert read("a.csv", lines(LINE.replace(",1.5,", f",{text},")))["amount"].to_pylist() == [None]
    missing = pa.array([1.0, float("nan"), 3.0])
    found = read("a.parquet", parquet(rows, items=missing, amount=missing.cast(pa.float32())))
    assert found["items"].to_pylist() == [1, None, 3]
    assert found["amount"].to_pylist() == [1.0, None, 3.0]


@pytest.mark.parametrize("value", ["inf", "-inf"])
def test_infinity_is_refused_in_its_row(refusal, rows, value):
    """DM-10: written or stored, of either sign."""
    said = "amount is '{}' in row 2, which is not finite. Correct the file and land it again."
    assert said.format(value) in refusal("a.csv", lines(LINE, LINE.replace("1.5", value)))
    assert said.format(value) in refusal("a.parquet", parquet(rows, amount=pa.array([1.0, float(value), 2.0])))


FITS = {
    "sold": [pa.array([date(2013, 1, 1)] * 3), pa.array([1] * 3, pa.timestamp("s")), pa.array(["2013-01-01"] * 3)],
    "shop": [pa.array(["a"] * 3), pa.array(["a"] * 3, pa.large_string()), pa.array(["a"] * 3).dictionary_encode()],
    "amount": [pa.array([1] * 3, pa.uint8()), pa.array([1.5] * 3, pa.float32()), pa.array([Decimal("1.50")] * 3), pa.array(["1.5"] * 3)],
    "items": [pa.array([1] * 3, pa.uint64()), pa.array([2.0] * 3), pa.array(["1"] * 3), pa.array([1] * 3).dictionary_encode()],
    "open": [pa.array([True] * 3), pa.array(["true"] * 3)],
}
DOES_NOT = {
    "sold": [pa.array([1.0] * 3), pa.array([True] * 3)],
    "shop": [pa.array([1.0] * 3), pa.array([True] * 3), pa.array([date(2013, 1, 1)] * 3), pa.array([1] * 3).dictionary_encode()],
    "amount": [pa.array([True] * 3), pa.array([date(2013, 1, 1)] * 3)],
    "items": [pa.array([Decimal("1")] * 3), pa.array([date(2013, 1, 1)] * 3)],
    "open": [pa.array([1.0] * 3), pa.array([date(2013, 1, 1)] * 3)],
}


@pytest.mark.parametrize("column", FITS)
def test_which_stored_types_fit_a_column(read, refusal, rows, column):
    """DM-10: text and nothing at all fit everywhere, a type of the same meaning fits, every other is refused with both."""
    for values in (*FITS[column], pa.nulls(3)):
        assert (
            read("a.parquet", parquet(rows, **{column: values})).schema.field(column).type
            == read("a.csv", lines(LINE)).schema.field(column).type
        )
    for values in DOES_NOT[column]:
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        assert refusal("a.parquet", parquet(rows, **{column: values})).startswith(f"a.parquet: {column} has the type {kind}, not ")


JSON = '{"sold": "2013-01-01T00:00:00", "shop": "a", "amount": 1.5, "items": 1, "open": true}'


def test_blank_lines_between_json_lines_are_passed_over(read, refusal):
    """DM-01: and counted, so that a broken line is found under its number."""
    assert read("a.jsonl", f"\n{JSON}\n \n{JSON}".encode()).num_rows == 2
    assert "line 4 is no JSON (" in refusal("a.jsonl", f"\n{JSON}\n\n{{\n".encode())
    assert "line 1 is no JSON object" in refusal("a.jsonl", f"7\n{JSON}\n".encode())


@pytest.mark.parametrize(
    ("line", "said"), [("null", "line 2 is no JSON object"), ("[null, null]", "line 2 is no JSON object"), ("x", "line 2 is no JSON (")]
)
def test_a_line_that_is_no_object_never_reaches_arrow(refusal, line, said):
    """DM-10: a row that is null kills Arrow's reader, and with it whoever reads."""
    assert said in refusal("a.jsonl", f"{JSON}\n{line}\n".encode())


def test_a_list_of_nulls_is_refused(refusal):
    """DM-10: Arrow makes it shorter than it says it is."""
    assert "shop" in refusal("a.jsonl", JSON.replace('"a"', "[null, null]").encode())
    assert "cannot be read" in refusal("a.jsonl", JSON.replace("1.5", "[null, null]").encode())


def test_a_text_that_looks_like_a_time_stays_text(read):
    """DM-01: times and texts are taken as they are written, and an offset from UTC is no part of a text that goes missing."""
    found = read("a.jsonl", JSON.replace('"a"', '"2013-01-01T00:00:00+02:00"').encode())
    assert found["shop"].to_pylist() == ["2013-01-01T00:00:00+02:00"]
    assert found["sold"].to_pylist() == [datetime(2013, 1, 1)]


def test_a_text_that_no_json_line_has_is_missing(refusal, read):
    """DM-10: null in every line is there; in no line at all is not."""
    assert read("a.jsonl", JSON.replace('"a"', "null").encode())["shop"].to_pylist() == [None]
    assert "lacks the columns shop:" in refusal("a.jsonl", JSON.replace('"shop": "a", ', "").encode())


def test_a_null_is_refused_only_where_none_may_be(rows, spec):
    """DM-02: of each column that must not lack values; how many rows lack it and of how many, and what to do."""
    refuse_nulls(rows.set_column(2, "amount", pa.nulls(3, pa.float64())), spec)
    with pytest.raises(BatchRefused, match=r"^shop is null in 1 of 3 rows and the spec of sales does not allow that: fill it, or make the"):
        refuse_nulls(rows.set_column(1, "shop", pa.array(["a", None, "b"])), spec)
    with pytest.raises(BatchRefused, match=r"^sold is null in 2 of 3 rows"):
        refuse_nulls(rows.set_column(0, "sold", pa.array([None, None, datetime(2013, 1, 1)], pa.timestamp("us"))), spec)


OBJECT = b'{"sold": "2013-01-01 00:00:00", "shop": "a", "amount": 1.5, "items": 1, "open": true}\n'


@pytest.mark.parametrize("file", ["a.ndjson", "a.ndjson.gz", "a.jsonl"])
def test_lines_of_json_have_two_names(read, file):
    """DM-01: `.ndjson` is `.jsonl`, packed or not."""
    assert read(file, gzip.compress(OBJECT) if file.endswith(".gz") else OBJECT).to_pylist() == read("same.jsonl", OBJECT).to_pylist()


@pytest.mark.parametrize(("written", "text"), [("007", "007"), ("1e3", "1e3"), ("true", "true"), ('"a\nb"', "a\nb")])
def test_a_text_stays_the_text_that_it_is(read, written, text):
    """DM-01, DM-18: a text column whose values all look like numbers is none, and a quoted value may hold a line's end."""
    rows = read("a.csv", lines(*(f"2013-01-01 0{hour}:00:00,{written},1.5,1,true" for hour in range(3))))
    assert rows["shop"].to_pylist() == [text] * 3


def test_a_line_of_json_may_be_long(read):
    """DM-01: longer than what the reader takes in at a time by itself."""
    long_name = "a" * 3_000_000
    rows = read("a.jsonl", OBJECT + OBJECT.replace(b'"a"', f'"{long_name}"'.encode()), limit=10_000_000)
    assert rows["shop"].to_pylist() == ["a", long_name]


def test_a_text_of_many_lines_is_one_value(read):
    """DM-01, DM-18: also where the reader's blocks of some megabytes end within it."""
    long_text = "a\n" * 2_500_000
    rows = read("a.csv", lines(*[LINE.replace(",a,", f',"{long_text}",')] * 3), limit=20_000_000)
    assert [len(text) for text in rows["shop"].to_pylist()] == [len(long_text)] * 3


def test_unpacking_ends_a_megabyte_after_the_limit(refusal):
    """DM-10: what comes later is not even looked at: a packed file that is damaged there is told to be too large."""
    packed = gzip.compress(b"0" * (3 << 19))  # a megabyte and a half
    damaged = packed + b"x" * 99
    assert refusal("a.csv.gz", damaged, limit=200_000).startswith("a.csv.gz, unpacked, is larger than 200,000 bytes")
    assert refusal("a.csv.gz", damaged, limit=2 << 20).startswith("a.csv.gz is cut short or damaged")


def test_a_byte_order_mark_alone_is_no_file(refusal):
    """DM-10: a spreadsheet without a cell is told like any file that cannot be read."""
    assert refusal("a.csv", b"\xef\xbb\xbf").startswith("a.csv cannot be read: Empty CSV file. Land it again")


def test_a_byte_order_mark_before_a_text_column(read):
    """DM-01, DM-18: the first column too keeps the type of the spec: its values are not guessed to be numbers."""
    data = b"\xef\xbb\xbfshop,sold,amount,items,open\n007,2013-01-01,1.5,1,true\n"
    assert read("a.csv", data)["shop"].to_pylist() == ["007"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(read):
    """DM-01: spreadsheets write one, and letters beyond ASCII."""
    rows = read("a.csv", b"\xef\xbb\xbf" + lines("2013-01-01 00:00:00,Köln,1.5,1,true".encode().decode()))
    assert rows.column_names[0] == "sold"
    assert rows["shop"].to_pylist() == ["Köln"]


@pytest.mark.parametrize(
    ("file", "changed", "sentence"),
    [
        ("a.parquet", {"amount": [[float("inf")]]}, "a.parquet: amount is 'inf' in row 1, which is not finite."),
        ("a.parquet", {"items": [[2.0**53]]}, "a.parquet: items is '9007199254740992.0' in row 1, from 2^53 on"),
        (
            "a.parquet",
            {"items": pa.chunked_array([pa.array([2**63 + 5], pa.uint64())])},
            "a.parquet: items is '9223372036854775813' in row 1",
        ),
    ],
)
def test_the_file_is_named_whose_number_does_not_fit(read, refusal, file, changed, sentence):
    """DM-02: beyond the finite numbers, the exact ones, and 64 bits: refused, and never another number."""
    rows = read("good.csv", lines(LINE))
    assert refusal(file, parquet(rows, **changed)).startswith(sentence)


@pytest.mark.parametrize(
    ("header", "form", "column"),
    [
        ("shop", {}, "shop"),
        (" shop ", {}, "shop"),
        ("Shop", {}, None),
        ("SHOP", {"header": "any case"}, "shop"),
        ("Filiale", {"fields": {"shop": "Filiale", "open": "offen"}}, "shop"),
        ("offen", {"fields": {"shop": "Filiale", "open": "offen"}}, "open"),
        ("filiale", {"fields": {"shop": "Filiale"}}, None),
        ("zoo", {}, None),
    ],
)
def test_the_column_that_a_header_means(spec, header, form, column):
    """DM-10: Its own name or the one declared for files, compared as the form says; any other means none."""
    meant = column_called(header, spec.model_copy(update={"files": FileForm(**form)}))
    assert meant == next((one for one in spec.columns if one.name == column), None)


def test_a_refusal_of_columns_has_those_that_can_be_looked_at(spec):
    """DM-10: Whatever the order of the file, those of the spec that are there once, in its order: their values are looked at too."""
    names = ["zoo", "open", "items", " shop", "items"]
    values = [pa.chunked_array([[place, place]]) for place in range(5)]
    with pytest.raises(ColumnsDiffer, match="lacks the columns sold, amount and has unexpected columns zoo and has twice the") as refused:
        under_spec_names(pa.table(values, names=names), spec, "a.csv", [])
    assert refused.value.rows.to_pydict() == {"shop": [3, 3], "open": [1, 1]}


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ({"type": "int"}, pa.int64()),
        ({"type": "float"}, pa.float64()),
        ({"type": "string"}, pa.string()),
        ({"type": "timestamp"}, pa.timestamp("us")),
        ({"type": "bool"}, pa.bool_()),
        ({"type": "text"}, pa.string()),
        ({"type": "list", "of": "int"}, pa.list_(pa.int64())),
    ],
)
def test_the_type_that_a_column_has_in_the_table(column, kind):
    """DM-18: Of each type of column; of a list by what it holds."""
    assert type_of(Column(name="a", **column)) == kind


def test_a_column_of_no_scalars_is_read_by_its_kind():
    """DM-01, DM-10: Also where equal values are stored once; the row of a value that does not fit is counted from 1."""
    column = Column(name="tags", type="list", of="int", nullable=True)
    texts = pa.chunked_array([pa.array(["[1, 2]", None, "[1, 2]", "[]"]).dictionary_encode()])
    assert typed(texts, column, FileForm(), "UTC", []).to_pylist() == [[1, 2], None, [1, 2], []]
    with pytest.raises(Misfit) as refused:
        typed(pa.chunked_array([["[1]", '["a"]']]), column, FileForm(), "UTC", [])
    assert refused.value.why == "tags has 'a' as element 0, which must be a whole number (row 2)"


def test_infinite_numbers_are_taken_where_they_may_be():
    """DM-10: Refused with their row unless whoever reads the file can use them; not a number is null either way."""
    column, values = Column(name="x", type="float", nullable=True), pa.chunked_array([[1.0, float("nan"), float("inf")]])
    with pytest.raises(Misfit, match=r"x is 'inf' in row 3, which is not finite"):
        typed(values, column, FileForm(), "UTC", [])
    assert typed(values, column, FileForm(), "UTC", [], infinite=True).to_pylist() == [1.0, None, float("inf")]


def test_what_is_taken_otherwise_than_it_stands_there_is_remarked():
    """DM-18: An hour that comes twice in the dataset's zone, and a word for nothing in the dataset's form."""
    column, remarks = Column(name="at", type="timestamp", nullable=True), []
    texts = pa.chunked_array([["3.11.2013 01:30", "n/a"]])
    found = typed(texts, column, FileForm(times=("%d.%m.%Y %H:%M",), nulls=("n/a",)), "America/New_York", remarks)
    assert found.to_pylist() == [datetime(2013, 11, 3, 1, 30), None]
    lies = "1 time of at lies in the hour from 2013-11-03 01:00, which comes twice in America/New_York: an offset would tell which"
    assert remarks == [lies]
