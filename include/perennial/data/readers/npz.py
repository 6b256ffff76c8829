r"""NPZ files of NumPy: one array for each column, whose first axis is the rows.

>>> import numpy as np, pathlib
>>> from perennial.data.readers import read_batch
>>> from perennial.specs import Column, DatasetSpec
>>> np.savez("monday.npz", ride=np.array([7, 8]), km=np.array([4.2, np.nan]))
>>> columns = [Column(name="ride", type="int"), Column(name="km", type="float", nullable=True)]
>>> rides = DatasetSpec(name="rides", title="Rides", owner="fleet", columns=columns, key=["ride"], event_time="")
>>> read_batch(pathlib.Path("monday.npz"), rides).to_pylist()
[{'ride': 7, 'km': 4.2}, {'ride': 8, 'km': None}]
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from typing import IO, Any

import numpy as np
import pyarrow as pa

from perennial.data.readers.limits import refuse_too_large
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

_LONGEST_HEADER = 10_000  # bytes in which an array says what it is
_FINER = ("ns", "ps", "fs", "as")  # than a table's times: cut to microseconds
_LAST_SIGN, _HALVES = 0x10FFFF, (0xD800, 0xDFFF)  # of Unicode; halves of a pair are no signs
_OBJECTS = "Python objects, which may hold programs: write it as numbers, texts or times"


def read_npz(file: IO[bytes], spec: DatasetSpec, name: str) -> pa.Table:
    """The rows of an NPZ file. An array of several axes becomes nested lists; objects of Python are never loaded.

    Raises:
        BatchRefused: it is too large, or its arrays have other types or numbers of rows than a table has.
        pyarrow.ArrowInvalid: an array is none.
    """
    columns: dict[str, pa.Array] = {}
    with zipfile.ZipFile(file) as parts:
        refuse_too_large(sum(part.file_size for part in parts.infolist()), spec, f"{name}, unpacked,")
        for part in sorted(parts.namelist()):
            if not part.endswith(".npy") or part.removesuffix(".npy") in columns:
                raise BatchRefused(f"{name} holds {part}, which is no array of its own: an .npz has one .npy for each column.")
            with parts.open(part) as array:
                columns[part.removesuffix(".npy")] = _column(array, part.removesuffix(".npy"), spec, name)
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{column} {length:,}" for column, length in list(lengths.items())[:10])
        raise BatchRefused(f"{name} has arrays of several lengths ({told}): the first axis of each is the rows.")
    if not columns:
        raise BatchRefused(f"{name} holds no arrays: land it again with its columns.")
    return pa.table(columns)


def _column(file: IO[bytes], column: str, spec: DatasetSpec, name: str) -> pa.Array:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise pa.ArrowInvalid(f"its array {column} cannot be read ({str(error).splitlines()[0]})") from None
    if dtype.hasobject or dtype.names or dtype.kind in "cVm" or dtype == "M8" or (dtype.kind == "f" and dtype.itemsize > 8) or not shape:
        what = _OBJECTS if dtype.hasobject else f"the type {dtype}" if shape else "no axis, so that it is one value and no column"
        raise BatchRefused(f"{name}: {column} has {what}.")
    if not all(type(length) is int and length >= 0 for length in shape) or 0 in shape[1:]:
        raise pa.ArrowInvalid(f"its array {column} has the shape {shape}, in which no rows lie")
    size = math.prod(shape) * dtype.itemsize
    refuse_too_large(max(size, math.prod(shape), math.prod(shape[1:])), spec, f"{name}: {column}, unpacked,")
    if not dtype.itemsize or (dtype.kind == "M" and np.datetime_data(dtype)[1] < 1):
        raise pa.ArrowInvalid(f"its array {column} has the type {dtype.str}, of which no value can be")
    content = file.read(size)
    if len(content) < size:
        raise EOFError(f"the array {column} ends too early")
    try:
        return _nested(np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C"))
    except UnicodeError:
        raise pa.ArrowInvalid(f"its array {column} has a text that is no UTF-8, or has signs that Unicode does not know") from None


def _nested(array: np.ndarray) -> pa.Array:
    """An array's rows: values, or lists of lists of fixed sizes."""
    values = pa.array(_plain(np.ascontiguousarray(array).reshape(-1)))
    for length in reversed(array.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, length)
    return values


def _plain(values: np.ndarray) -> np.ndarray[Any, Any]:
    """Values in the byte order of this machine; texts of bytes as texts, days and other times as microseconds."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8").astype(object)
    if values.dtype.kind == "U":
        _refuse_no_signs(values)
        return values.astype(object)
    if values.dtype.kind == "M":
        return _microseconds(values)
    return values.astype("f4" if values.dtype.kind == "f" and values.dtype.itemsize < 4 else values.dtype.newbyteorder("="))


def _refuse_no_signs(values: np.ndarray) -> None:
    """Raises UnicodeError where a number stands for no sign: NumPy looks at none, and Python would give up on them."""
    signs = np.ascontiguousarray(values).view(f"{values.dtype.str[0]}u4")
    if np.any((signs > _LAST_SIGN) | ((signs >= _HALVES[0]) & (signs <= _HALVES[1]))):
        raise UnicodeError


def _microseconds(times: np.ndarray) -> np.ndarray[Any, Any]:
    """Raises ArrowInvalid where a time would wrap."""
    plain = times.astype("datetime64[us]")
    if np.datetime_data(times.dtype)[0] not in _FINER and not np.all((plain.astype(times.dtype) == times) | np.isnat(times)):
        raise pa.ArrowInvalid("a time is outside the years 1 to 9999")
    return plain
