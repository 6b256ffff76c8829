"""NPZ: one array for each column; what is no column of a table, and what would run or fill the memory, is refused."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime

import numpy as np
import pytest
from numpy.lib import format as npy

from perennial.commands._sample import read_sample
from perennial.data.readers import read_batch
from perennial.errors import BatchRefused
from perennial.specs import Column, DatasetSpec

SPEC = DatasetSpec(
    name="trips", title="Trips", owner="tests", key=("id",), event_time="at", max_batch_bytes=1 << 20,
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp", nullable=True), Column(name="km", type="float", nullable=True),
        Column(name="town", type="string"), Column(name="paid", type="bool"),
    ),
)  # fmt: skip
ARRAYS = {
    "id": np.array([2**60, -1, 3]), "at": np.array(["2026-05-04T06:30", "NaT", "2026-05-05"], "M8[ns]"), "km": np.array([2.5, np.nan, 1]),
    "town": np.array(["Łódź", "", "x"]), "paid": np.array([True, False, True]),
}  # fmt: skip
ROWS = [
    {"id": 2**60, "at": datetime(2026, 5, 4, 6, 30), "km": 2.5, "town": "Łódź", "paid": True},
    {"id": -1, "at": None, "km": None, "town": "", "paid": False},
    {"id": 3, "at": datetime(2026, 5, 5), "km": 1.0, "town": "x", "paid": True},
]


def npz(**changed):
    out = io.BytesIO()
    np.savez_compressed(out, **{name: array for name, array in {**ARRAYS, **changed}.items() if array is not None})
    return out.getvalue()


def header(shape, dtype="<f8", content=b""):
    """An array that says what it is, and has nothing, or the bytes that are given."""
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"shape": shape, "fortran_order": False, "descr": dtype})
    return out.getvalue() + content


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return out.getvalue()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"id": np.array([2**60, -1, 3], ">i8")},
        {"at": ARRAYS["at"].astype("M8[s]"), "km": np.array([2.5, np.nan, 1], "f2")},
        {"town": np.array(["Łódź".encode(), b"", b"x"])},
        {"id": np.array([[2**60, 0], [-1, 0], [3, 0]])[:, 0], "paid": np.asfortranarray([True, False, True])},
    ],
    ids=["plain", "of another machine", "coarser", "texts as bytes", "parts of arrays"],
)
def test_arrays_are_columns(tmp_path, changed):
    """DM-01: Whatever the width, the order of bytes and the unit; NaN and NaT are missing, whole numbers are exact."""
    file = tmp_path / "a.npz"
    file.write_bytes(npz(**changed))
    assert read_batch(file, SPEC).to_pylist() == ROWS


def test_a_sample_has_the_types_of_its_arrays(tmp_path):
    """DM-01: A dataset after a sample takes it; a text that looks like a number stays a text."""
    file = tmp_path / "a.npz"
    file.write_bytes(npz(town=np.array(["1", "2", "3"])))
    assert [(c.name, c.type) for c in read_sample(file).columns] == [
        ("at", "timestamp"), ("id", "int"), ("km", "float"), ("paid", "bool"), ("town", "string"),
    ]  # fmt: skip


REFUSED = {  # content, and the sentence
    "objects": (npz(town=np.array(["x", 2, None], dtype=object)), "town has Python objects, which may hold programs"),
    "one value": (npz(km=np.array(2.5)), "km has no axis, so that it is one value and no column"),
    "complex numbers": (npz(km=np.array([1j] * 3)), "km has the type complex128"),
    "records": (npz(km=np.array([(1, 2)] * 3, dtype="i4,i4")), "km has the type"),
    "other lengths": (npz(km=np.array([1.0])), r"arrays of several lengths \(at 3, id 3, km 1, paid 3, town 3\): the first axis"),
    "several axes": (npz(km=np.ones((3, 2))), "km has the type fixed_size_list<item: double>"),
    "a time beyond the calendar": (npz(at=np.array([2**61] * 3, "M8[s]")), "a time is outside the years 1 to 9999"),
    "a year beyond the calendar": (npz(at=np.array([2**40] * 3, "M8[Y]")), "a time is outside the years 1 to 9999"),
    "a column that is missing": (npz(paid=None), "lacks the columns paid"),
    "no arrays": (zipped(), "holds no arrays"),
    "another file": (zipped(note__txt="x"), "holds note.txt, which is no array of its own"),
    "a large promise": (zipped(km__npy=header((1 << 40,))), "km, unpacked, is larger than 1 MB"),
    "values without bytes": (zipped(km__npy=header((1 << 40,), "<U0")), "km, unpacked, is larger than 1 MB"),
    "a promise not kept": (zipped(km__npy=header((9,))), "is cut short or damaged"),
    "no array": (zipped(km__npy=b"x" * 99), "its array km cannot be read"),
    "a header that is a program": (
        zipped(km__npy=b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').system('true')\n"), "its array km cannot be read",
    ),
    "fewer than no rows": (zipped(km__npy=header((-1,), content=bytes(8))), r"its array km has the shape \(-1,\), in which no rows lie"),
    "rows of nothing": (zipped(km__npy=header((0, 1 << 40, 1 << 40))), "km, unpacked, is larger than 1 MB"),
    "a shape of truth values": (zipped(km__npy=header((True,), content=bytes(8))), "in which no rows lie"),
    "texts without letters": (zipped(km__npy=header((2,), "|S0")), "km has the type |S0, of which no value can be"),
    "times without a unit": (zipped(km__npy=header((2,), "<M8[0s]", bytes(16))), "of which no value can be"),
    "bytes that are no text": (npz(town=np.array([b"\xff"] * 3)), "its array town has a text that is no UTF-8"),
    "numbers that are no signs": (zipped(km__npy=header((2,), "<U1", b"\xff" * 8)), "or has signs that Unicode does not know"),
    "half a sign": (npz(town=np.array(["\ud800"] * 3)), "or has signs that Unicode does not know"),
    "no zip": (b"x", "is cut short or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_column_is_refused(tmp_path, what):
    """DM-10: In one sentence, before anything is loaded that may run or that would not fit."""
    content, said = REFUSED[what]
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    with pytest.raises(BatchRefused, match=said):
        read_batch(file, SPEC)
