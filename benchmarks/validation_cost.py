"""What it costs to validate rows by a suite, beside what DuckDB takes to count the same alone.

    python benchmarks/validation_cost.py [--sizes 1000000 4000000] [--repeat 3] [--against TREE] [--folder FOLDER]

Real rows: the flights of 2013 in a Parquet file, and again for the years after it, so that no key comes twice; validated by the suite of
flights (52 expectations, the key's uniqueness among them). Each line is whole processes, from start to end, which take turns. `DuckDB
alone` makes one scan with an aggregate for each expectation, and groups by the key. `libraries` only loads Great Expectations and reads
the suite: what validating no row costs. With `--against`, another checkout validates the same file as it did.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from costs import by_turns, interpreter, show

SUITE = Path(__file__).parents[1] / "great_expectations/expectations/flights.json"
TIMES = ("scheduled_departure", "scheduled_arrival", "departure", "arrival")


def make_rows(path: str, rows: str) -> None:
    """Write so many flights, in row groups as other programs write them."""
    import duckdb
    import pyarrow as pa

    from perennial_datasets import flights

    connection = duckdb.connect()
    connection.register("landed", pa.concat_tables([day for _, day in flights.land(flights.FIRST, flights.LAST)]))
    ((count,),) = connection.execute("select count(*) from landed").fetchall()
    later = ", ".join(f"{name} + to_days((365 * year)::int) as {name}" for name in TIMES)
    years = f"(select range as year from range({-(-int(rows) // count)}))"
    connection.execute(
        f"copy (select * exclude (year) replace ({later}) from landed, {years} order by year, landed.scheduled_departure limit {rows}) "
        f"to '{path}' (row_group_size 122880)"
    )


def aggregates(expectations: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What the expectations ask about, as SQL; and the key that must not come twice."""
    found, key = [], []
    for one in expectations:
        kind, given = one["type"], one["kwargs"]
        column = given.get("column")
        bounds = [(given.get("min_value"), "<"), (given.get("max_value"), ">")]
        if kind == "expect_column_values_to_be_between":
            outside = " or ".join(f"{column} {sign} {bound}" for bound, sign in bounds if isinstance(bound, int | float))
            found.append(f"count_if({outside or f'{column} is null'})")
        elif kind in ("expect_column_values_to_be_in_set", "expect_column_distinct_values_to_equal_set"):
            values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in given["value_set"])
            found.append(f"count_if({column} not in ({values}))")
        elif kind == "expect_column_values_to_match_regex":
            found.append(f"count_if(not regexp_matches({column}, '{given['regex']}'))")
        elif kind == "expect_column_pair_values_a_to_be_greater_than_b":
            found.append(f"count_if({given['column_A']} < {given['column_B']})")
        elif kind == "expect_column_unique_value_count_to_be_between":
            found.append(f"count(distinct {column})")
        elif kind == "expect_compound_columns_to_be_unique":
            key = given["column_list"]
        elif column and kind.split("_")[2] in ("mean", "min", "max"):
            found.append(f"{ {'mean': 'avg'}.get(kind.split('_')[2], kind.split('_')[2]) }({column})")
        else:
            found.append(f"count({column or '*'})")
    return found, key


def alone(path: str) -> None:
    """Count with DuckDB."""
    import duckdb

    counted, key = aggregates(json.loads(SUITE.read_text())["expectations"])
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "400MB"})
    print(connection.execute(f"select {', '.join(counted)} from '{path}'").fetchall())
    print(connection.execute(f"select count(*) from (select 1 from '{path}' group by {', '.join(key)} having count(*) > 1)").fetchall())


def validated(path: str) -> None:
    """Validate as this checkout does: by blocks of the file, or all rows at once where it knows no blocks."""
    import pyarrow.parquet as pq

    from perennial.discovery import dataset
    from perennial.quality.validation import validate

    spec = dataset("flights")
    try:
        from perennial.row_blocks import RowBlocks
    except ImportError:
        rows: Any = pq.read_table(path)
    else:
        import pyarrow as pa

        from perennial.row_blocks import BLOCK

        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        rows = RowBlocks(
            file.schema_arrow,
            lambda names: (pa.Table.from_batches([part]) for part in file.iter_batches(BLOCK, columns=list(names), use_threads=False)),
        )
    print(validate(rows, spec, "years").sentence())


def libraries() -> None:
    """Load what any validation needs."""
    from perennial.quality import suites

    suites.load_suite("flights")
    suites.validator()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--against", default="", help="another checkout, in which `make setup` was run")
    parser.add_argument("--folder", type=Path, help="keeps the files")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ways = {"rows": make_rows, "alone": alone, "validated": validated, "libraries": libraries}
        ways[given.child[0]](*given.child[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)

        def way(name: str, *more: str, tree: str = "") -> list[str]:
            return [interpreter(tree), str(Path(__file__).resolve()), "--child", name, *more]

        for rows in given.sizes:
            path = folder / f"{rows}.parquet"
            if not path.exists():
                subprocess.run(way("rows", str(path), str(rows)), check=True)  # what this process holds would count as its children's
            before = {"before": way("validated", str(path), tree=given.against)} if given.against else {}
            print(f"\n{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB\n")
            ways = {"DuckDB alone": way("alone", str(path)), **before, "now": way("validated", str(path)), "libraries": way("libraries")}
            show(by_turns(ways, given.repeat))


if __name__ == "__main__":
    sys.exit(main())
