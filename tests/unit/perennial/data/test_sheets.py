"""Sheets of Excel and OpenDocument: what their cells mean, and which files are refused with which sentence."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.commands._sample import read_sample
from perennial.data.readers import read_batch
from perennial.errors import BatchRefused
from perennial.specs import Column, DatasetSpec, FileForm
from perennial.testing.workbooks import opendocument, workbook

NAMES = ["id", "at", "km", "town"]
FIRST = [1, datetime(2026, 5, 4, 6, 30), 2.5, "Łódź"]
SPEC = DatasetSpec(
    name="trips", title="Trips", owner="tests", key=("id",), event_time="at", time_zone="Europe/Berlin",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="km", type="float", nullable=True),
        Column(name="town", type="string", nullable=True),
    ),
)  # fmt: skip


def declaring(**fields):
    return SPEC.model_copy(update={"files": FileForm(**fields)})


def with_part(content, part, old, new):
    """The workbook with one of its parts changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, re.sub(old, new, source.read(name)) if name.endswith(part) else source.read(name))
    return out.getvalue()


def trips(*rows, **given):
    return workbook({"Trips": [NAMES, *(rows or [FIRST])]}, **given)


CELL = '<table:table-cell office:value-type="float" office:value="1" {}/>'
REFUSED = {  # content, and the sentence
    "nothing": (workbook({"Trips": []}), r"has no values in the sheet 'Trips', and the names of its columns belong in row 1"),
    "a header alone": (workbook({"Trips": [NAMES]}), "has a header but no rows"),
    "no sheet that is shown": (
        with_part(trips(), "workbook.xml", b'state="visible"', b'state="hidden"'), r"has hidden sheets alone \('Trips'\): say which one",
    ),
    "a merged header": (trips(merged=["C1:D1"]), r"merged cells in C1:D1, of which the first alone has a value"),
    "merged rows": (trips(FIRST, FIRST, merged=["D2:D3", "A2:A3"]), r"merged cells in D2:D3 and 1 more place, .* unmerge them"),
    "a formula without a value": (trips([1, FIRST[1], "=1+1"]), "a formula without a value in C2: open it in Excel"),
    "errors": (
        trips([1, FIRST[1], "#DIV/0!", "#N/A"], [2, FIRST[1], 3, "#N/A"]),
        r"km is the error #DIV/0! in C2; town is the error #N/A in D2 and 1 more place\. Correct the sheet",
    ),
    "ids that Excel has cut": (trips([2**53 + 1, *FIRST[1:]]), "id is '9007199254740992.0' in row 2 of the sheet, from 2\\^53 on"),
    "long numbers in a text": (trips([*FIRST[:3], 10**15 + 1]), "town is a number of more than 15 digits in D2, of which Excel keeps 15"),
    "a number that was a time": (trips([1, 46146.25, 2.5]), "at has the type double, not a time"),
    "a text among numbers": (trips(FIRST, [2, FIRST[1], "much"]), "km is 'much' in row 3 of the sheet, which is not a number"),
    "no workbook": (b"id;at\n1;2", "cut short or damaged"),
    "a cut workbook": (trips()[:-400], "cut short or damaged"),
    "a password": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a password, or is of Excel before 2007: save it"),
    "another zip": (with_part(trips(), ".rels", b'officeDocument"', b'other"'), "it is no workbook|its parts are not those"),
    "broken XML": (with_part(trips(), "sheet1.xml", b"</sheetData>", b""), "its parts are not those of a workbook"),
    "a far cell": (
        with_part(trips(), "sheet1.xml", b'r="D2"', b'r="XFD1048576"'), "read into memory, is larger than 1,024 MB",
    ),
    "far cells of OpenDocument": (
        opendocument({"A": '<table:table-row table:number-rows-repeated="1000000">' + CELL.format('table:number-columns-repeated="9999"')
                      + "</table:table-row>"}),
        "read into memory, is larger than 1,024 MB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_sheet_does_not_say_is_refused(tmp_path, what):
    """DM-10: One sentence, with the cell if there is one; nothing that a person sees in a sheet becomes another value or a missing one."""
    content, said = REFUSED[what]
    file = tmp_path / ("a.ods" if "OpenDocument" in what else "a.xlsx")
    file.write_bytes(content)
    with pytest.raises(BatchRefused, match=said):
        read_batch(file, SPEC)


def test_a_refusal_tells_the_rows_of_the_sheet_and_what_is_missing_too(tmp_path):
    """DM-01, DM-03: With a title and an empty row above, as the sheet's program counts; a value that is missing is told at once."""
    file = tmp_path / "a.xlsx"
    rows = [["Trips of Monday"], NAMES, [], FIRST, [2, FIRST[1], "much"], [None, FIRST[1], 3], [None, FIRST[1], "more"]]
    file.write_bytes(workbook({"Trips": rows}))
    with pytest.raises(BatchRefused) as refused:
        read_batch(file, declaring(header_row=2))
    assert "km is 'much' in row 5 of the sheet, which is not a number, and so in 1 more row;" in str(refused.value)
    assert "id is missing in row 6 of the sheet and in 1 more row" in str(refused.value)


def test_missing_values_of_a_text_file_are_told_with_other_faults(tmp_path):
    """DM-03: By the rows of values, as everywhere outside sheets."""
    file = tmp_path / "a.csv"
    file.write_text("id,at,km,town\n1,2026-03-02,much,a\n,2026-03-02,3,b\n")
    with pytest.raises(BatchRefused, match=r"km is 'much' in row 1, which is not a number; id is missing in row 2\. Correct the file"):
        read_batch(file, SPEC)


def test_cells_have_one_meaning(tmp_path):
    """DM-01: Dates are midnights, an empty cell is missing, a number in a column of texts is a text, and what is left out is remarked."""
    rows = [
        NAMES,
        [1, date(2026, 5, 4), None, 12345.0],
        [None] * 4,
        [2, "2026-05-04T06:00:00Z", 3, True],
        [3, datetime(2026, 5, 4, 6), 0.1, time(6, 30)],
        [10**15 + 1, datetime(2026, 5, 4, 6, 0, 0, 500_000), -2.5, timedelta(hours=30, minutes=1)],
    ]
    file = tmp_path / "a.xlsx"
    file.write_bytes(workbook({"Trips": rows, "Notes": [["x"]]}, hidden=["Notes"]))
    remarks = []
    table = read_batch(file, SPEC, remarks=remarks)
    assert table.to_pylist() == [
        {"id": 1, "at": datetime(2026, 5, 4), "km": None, "town": "12345"},
        {"id": 2, "at": datetime(2026, 5, 4, 8), "km": 3.0, "town": "true"},
        {"id": 3, "at": datetime(2026, 5, 4, 6), "km": 0.1, "town": "06:30:00"},
        {"id": 10**15 + 1, "at": datetime(2026, 5, 4, 6, 0, 0, 500_000), "km": -2.5, "town": "30:01:00"},
    ]
    assert remarks == [
        "a.xlsx: 'Notes', which is hidden, left out",
        "a.xlsx: 1 empty row between others left out",
        "a.xlsx: 1 number of id with more than 15 digits, of which Excel keeps 15",
        "a.xlsx: 4 cells of town that are no text, read as text",
    ]


def test_what_is_not_asked_for_may_be_anything(tmp_path):
    """DM-01: Errors, merged cells and formulas above the header, beside the columns or in those that are dropped keep nothing out."""
    rows = [["Trips", None], [None], [*NAMES, "sum", None], [*FIRST, "=1+1", None], [None], [None] * 7]
    file = tmp_path / "a.xlsx"
    file.write_bytes(workbook({"Trips": rows}, merged=["A1:D2"]))
    read = read_batch(file, declaring(header_row=3, extra="drop"))
    assert read.to_pylist() == [dict(zip(NAMES, FIRST, strict=True))]


def test_errors_that_mean_missing(tmp_path):
    """DM-01: A declared error is missing in every column, of OpenDocument too, where its cell has a number as well."""
    form = declaring(nulls=("#N/A", "#DIV/0!"))
    excel, opened = tmp_path / "a.xlsx", tmp_path / "a.ods"
    excel.write_bytes(trips([1, FIRST[1], "#DIV/0!", "#N/A"]))
    content = opendocument({"A": [NAMES, [1, FIRST[1], 0, "#N/A"]]})
    for old, new in ((b'value="0"><text:p>0<', b'value="0" calcext:value-type="error"><text:p>#DIV/0!<'),
                     (b'"string"><text:p>#N/A', b'"string" office:string-value="" calcext:value-type="error"><text:p>#N/A')):  # fmt: skip
        content = with_part(content, "content.xml", old, new)
    opened.write_bytes(content)
    for file in (excel, opened):
        assert read_batch(file, form).to_pylist() == [{"id": 1, "at": FIRST[1], "km": None, "town": None}]
        with pytest.raises(BatchRefused, match="km is the error #DIV/0! in C2; town is the error #N/A in D2"):
            read_batch(file, SPEC)


def test_merged_cells_and_formulas_of_open_document(tmp_path):
    """DM-10: They are refused as those of Excel are."""
    file = tmp_path / "a.ods"
    content = opendocument({"A": [NAMES, FIRST, [2, FIRST[1], 2.5, None]]})
    for old, new, said in (
        (b'"string"><text:p>\xc5', b'"string" table:number-rows-spanned="2"><text:p>\xc5', "merged cells in D2:D3"),
        (b"<table:table-cell/>", b'<table:table-cell table:formula="of:=1+1"/>', "a formula without a value in D3"),
    ):  # fmt: skip
        file.write_bytes(with_part(content, "content.xml", old, new))
        with pytest.raises(BatchRefused, match=said):
            read_batch(file, SPEC)


def test_a_sheet_is_named_where_there_are_several(tmp_path):
    """DM-01, DM-10: A sample's dataset declares the first that has rows; one of another name is refused with those that there are."""
    file = tmp_path / "a.xlsx"
    file.write_bytes(workbook({"Cover": [["Trips of 2026"]], "Trips": [["Monday"], NAMES, FIRST, FIRST]}))
    assert read_sample(file).files == FileForm(sheet="Trips", header_row=2)
    with pytest.raises(
        BatchRefused, match=r"has no sheet 'Fahrten', but 'Cover', 'Trips': .* It looks as if its rows lie in the sheet 'Trips'"
    ):
        read_batch(file, declaring(sheet="Fahrten", header_row=2))


VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(-1e9, 1e9).map(lambda v: round(v, 3)), st.integers(-(10**14), 10**14),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda v: v.replace(microsecond=0, second=1)),
    st.from_regex(r"[a-zäł][a-zäł ]{0,5}[a-z]", fullmatch=True),
)  # fmt: skip


@settings(max_examples=15)
@given(values=st.lists(VALUES, min_size=1, max_size=5), suffix=st.sampled_from([".xlsx", ".ods"]))
def test_any_cell_is_a_text_or_missing(tmp_path_factory, values, suffix):
    """DM-01: In a column of texts every cell is as a CSV file would have it, in both kinds of workbook."""
    file = tmp_path_factory.mktemp("sheet") / f"a{suffix}"
    rows = [[*NAMES], *([number, FIRST[1], 1.5, value] for number, value in enumerate(values))]
    file.write_bytes((workbook if suffix == ".xlsx" else opendocument)({"Trips": rows}))

    def text(value):
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, datetime):
            return value.isoformat(" ")
        return str(int(value)) if float(value).is_integer() else repr(value)

    assert read_batch(file, SPEC)["town"].to_pylist() == [text(value) for value in values]
