"""How much it costs to count a table by day and compare it with a reference, beside what other libraries take for their comparison.

    python benchmarks/profile_speed.py [--rows 1000000 10000000] [--peers frouros nannyml ...] [--repeat 3] [--months 1 2 ...] [--seed 0]
                                       [--folder FOLDER]

Real rows: the flights of the chosen months of 2013, drawn with replacement, sorted by day as a table grows; 14 numbers and 6 categories,
and five times as many for the wide table. Each line is whole processes, from start to end: CPU seconds (user and system, all threads; the
middle one of the repeats, which take turns) and the peak of memory. `decode` reads every value of the 20 columns with DuckDB and does
nothing with them: the floor. `ours` makes the state of every day, the joint sample included, and compares it with the reference's;
`ours, one block` makes one state of all rows, as the other libraries do, which know no days. Each of them runs at its own defaults, in an
environment of its own that is made here (`drift_detection.environment`); one that does not install or does not end is named. With a folder,
the tables and each figure are kept there: who runs it again goes on where it ended, with other peers too.

Goals: P1 10M rows at most 1/12 of the cheaper of NannyML and frouros; P2 at most 2.5 times the floor; P3 at most .3 GB, not growing from 1M
to 10M rows; P4 100 columns at most 5.5 times 20; P5 merged parts equal the whole, exactly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from costs import Cost, measure, middle

NUMBERS = [
    *("scheduled_minutes", "dep_delay", "arr_delay", "air_time", "distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip"),
    *("pressure", "visib", "seats"),
]
CATEGORIES = ["carrier", "origin", "dest", "manufacturer", "engine", "tailnum"]
DAY = "scheduled_departure"
COPIES = 5  # of each column in the wide table
REFERENCE_ROWS = 100_000
CHEAP = ("nannyml", "frouros")
PEERS = ("frouros", "nannyml", "deepchecks", "alibi-detect", "whylogs", "evidently")
OURS, ONE_BLOCK, FLOOR = "ours", "ours, one block", "decode"
PREPARE, PARTS, PAIR, INSTALL = "prepare", "parts", "pair", "install"


# ---- the table


def make_tables(folder: Path, months: Sequence[int], sizes: Sequence[int], seed: int) -> None:
    """Write `reference.parquet`, `<rows>.parquet` and `wide.parquet`, drawn by DuckDB so that no table is ever in memory."""
    import duckdb
    import pyarrow as pa

    from perennial_datasets import flights

    days = [rows for _, rows in flights.land(flights.FIRST, flights.LAST) if rows[DAY][0].as_py().month in months]
    connection = duckdb.connect(str(folder / "base.duckdb"), config={"memory_limit": "1GB", "threads": 2})
    connection.register("landed", pa.concat_tables(days))
    names = ", ".join([DAY, *NUMBERS, *CATEGORIES])
    connection.execute(f"create table base as select row_number() over () - 1 place, {names} from landed")
    ((count,),) = connection.execute("select count(*) from base").fetchall()
    wide = ", ".join([DAY, *(f"{name} as {name}_{copy}" for copy in range(COPIES) for name in (*NUMBERS, *CATEGORIES))])
    for number, (name, rows, columns) in enumerate(
        [("reference", REFERENCE_ROWS, names), ("wide", min(sizes), wide), *((str(size), size, names) for size in sizes)]
    ):
        drawn = f"select (hash(range, {seed * 100 + number}) % {count})::bigint k from range({rows})"
        path = folder / f"{name}.parquet"
        connection.execute(f"copy (select {columns} from ({drawn}) d join base on place = k order by {DAY}) to '{path}'")
    connection.close()
    (folder / "base.duckdb").unlink()


# ---- what is measured, each in a process of its own


def fit(folder: Path) -> None:
    """The layouts and the reference's counts, made once and not timed."""
    import numpy as np
    import pyarrow.parquet as pq

    from perennial.profiles.layout import fit_layout
    from perennial.profiles.profile import profile

    reference = pq.read_table(folder / "reference.parquet")
    layout = fit_layout(reference.drop([DAY]))
    (folder / "layout.json").write_text(layout.model_dump_json())
    state = profile(reference, layout, blocks=1).merged()
    np.savez(folder / "reference.npz", **{name: column.cells for name, column in state.columns.items()})
    wide = fit_layout(pq.read_table(folder / "wide.parquet").drop([DAY]).slice(0, REFERENCE_ROWS))
    (folder / "wide.json").write_text(wide.model_dump_json())


def decode_all(path: Path) -> None:
    """Every value of every column, with the least work that cannot be answered from the file's statistics."""
    import duckdb

    connection = duckdb.connect(config={"preserve_insertion_order": False})
    columns = [name for name, kind, *_ in connection.execute(f"describe select * from '{path}'").fetchall() if name != DAY]
    kinds = {name: kind for name, kind, *_ in connection.execute(f"describe select * from '{path}'").fetchall()}
    read = ", ".join(f"sum(length({name}))" if kinds[name] == "VARCHAR" else f"sum({name})" for name in columns)
    connection.execute(f"select {read} from '{path}'").fetchall()


def count(folder: Path, name: str, one_block: bool) -> None:
    """States of all days, or of all rows; then each column's distance from the reference."""
    import numpy as np

    from perennial.profiles.layout import Layout
    from perennial.profiles.profile import profile

    wide = name == "wide"
    layout = Layout.model_validate_json((folder / ("wide.json" if wide else "layout.json")).read_text())
    path = folder / f"{name}.parquet"
    found = profile([path], layout, blocks=1) if one_block else profile([path], layout, day=DAY)
    if wide:
        return
    reference = np.load(folder / "reference.npz")
    for column in layout.names:
        shares = [counts / counts.sum() for counts in (found.cells(column).sum(axis=0), reference[column])]
        assert 0 <= np.abs(shares[0] - shares[1]).sum() / 2 <= 1


def parts_equal_whole(path: Path, layout_file: Path) -> bool:
    """Row groups dealt to three parts, counted apart and added in another order, against the whole file."""
    import pyarrow.parquet as pq

    from perennial.profiles.layout import Layout
    from perennial.profiles.profile import profile

    layout, file = Layout.model_validate_json(layout_file.read_text()), pq.ParquetFile(path)
    groups = range(file.num_row_groups)
    parts = [profile(file.read_row_groups(list(groups[i::3])), layout, day=DAY) for i in range(3) if groups[i::3]]
    backwards = parts[::-1]
    total = backwards[0]
    for part in backwards[1:]:
        total += part
    return total == profile([path], layout, day=DAY)


def child(arguments: Sequence[str]) -> None:
    """One thing that is measured."""
    what, folder, name = arguments[0], Path(arguments[1]), arguments[2]
    if what == PREPARE:
        months, sizes, seed = json.loads(name)
        make_tables(folder, months, sizes, seed)
        fit(folder)
    elif what == PARTS:
        sys.exit(0 if parts_equal_whole(folder / f"{name}.parquet", folder / "layout.json") else 1)
    elif what == INSTALL:
        from drift_detection import environment

        python, why = environment(name)
        print(json.dumps([str(python or ""), why]))
    elif what == PAIR:
        _without_day(folder, Path(name))
    elif what == FLOOR:
        decode_all(folder / f"{name}.parquet")
    else:
        count(folder, name, what == ONE_BLOCK)


# ---- measuring


def itself(what: str, folder: str, name: str) -> list[str]:
    """The command of a child. Whatever needs memory runs in one: a process inherits its parent's peak."""
    return [sys.executable, __file__, "--child", what, folder, name]


def measure_peer(peer: str, folder: Path, name: str, repeat: int) -> Cost | str:
    """A peer's whole process on the reference and the table."""
    found = subprocess.run(itself(INSTALL, ".", peer), capture_output=True, text=True, check=False)
    python, why = json.loads(found.stdout.splitlines()[-1]) if not found.returncode else ("", found.stderr.strip()[-300:])
    if not python:
        return str(why)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        pair = Path(place) / "pair"
        pair.mkdir()
        for link, source in (("reference", "reference"), ("window", name)):
            subprocess.run(itself(PAIR, str(folder / f"{source}.parquet"), str(pair / f"{link}.parquet")), check=True)
        command = [str(python), str(Path(__file__).with_name("drift_peers.py")), peer, place]
        return middle([measure(command) for _ in range(repeat)])


def _without_day(source: Path, target: Path) -> None:
    """The same file with the 20 columns alone: no peer is given a time to compare."""
    import duckdb

    duckdb.connect(config={"memory_limit": "1GB"}).execute(f"copy (select * exclude ({DAY}) from '{source}') to '{target}'")


class _Figures:
    """What was found so far, in a file: `<who>, <table>` -> CPU seconds and GB, or a sentence. Those of other tables are forgotten."""

    def __init__(self, path: Path, asked: str) -> None:
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.path, self.asked = path, asked
        self.known: dict[str, list[float] | str] = kept["figures"] if kept.get("asked") == asked else {}

    def has(self, who: str, table: str) -> bool:
        """Whether that is known."""
        return f"{who}, {table}" in self.known

    def keep(self, who: str, table: str, found: Cost | str = "") -> None:
        """Remember and tell it."""
        self.known[f"{who}, {table}"] = found if isinstance(found, str) else [found.seconds, found.gigabytes]
        self.path.write_text(json.dumps({"asked": self.asked, "figures": self.known}, indent=1))
        print(f"{table:>10} {who}: {found}", flush=True)

    def costs(self) -> dict[tuple[str, str], Cost | str]:
        """All of it, by who and table."""
        found = {}
        for key, value in self.known.items():
            who, table = key.rsplit(", ", 1)
            found[who, table] = value if isinstance(value, str) else Cost(*value)
        return found


def show(costs: dict[tuple[str, str], Cost | str], tables: Sequence[str], who: Sequence[str]) -> None:
    """The table."""
    print(f"\n| whole process | {' | '.join(f'{name} CPU s / GB' for name in tables)} |")
    print(f"| --- | {' | '.join('---' for _ in tables)} |")
    for name in who:
        cells = [costs.get((name, table), "") for table in tables]
        print(f"| {name} | {' | '.join(c if isinstance(c, str) else f'{c.seconds:.2f} / {c.gigabytes:.2f}' for c in cells)} |")


def goals(costs: dict[tuple[str, str], Cost | str], sizes: Sequence[int], exact: bool) -> list[str]:
    """Each goal beside what was found."""
    small, large = str(min(sizes)), str(max(sizes))
    cost = {key: value for key, value in costs.items() if isinstance(value, Cost)}
    said = []
    cheap = [cost[peer, large].seconds for peer in CHEAP if (peer, large) in cost]
    for who in (OURS, ONE_BLOCK):
        own = cost[who, large]
        if cheap:
            said.append(_goal(f"P1 {who}: share of the cheaper peer at {large} rows", own.seconds / min(cheap), 1 / 12))
        said.append(_goal(f"P2 {who}: times the floor at {large} rows", own.seconds / cost[FLOOR, large].seconds, 2.5))
        said.append(_goal(f"P3 {who}: GB at {large} rows", own.gigabytes, 0.3))
        if small != large:
            said.append(_goal(f"P3 {who}: GB at {large} over GB at {small} rows", own.gigabytes / cost[who, small].gigabytes, 1.1))
        if (who, "wide") in cost:
            said.append(_goal(f"P4 {who}: 100 columns over 20 at {small} rows", cost[who, "wide"].seconds / cost[who, small].seconds, 5.5))
    said.append(f"P5 merged parts equal the whole exactly: {'yes' if exact else 'NO'}")
    return said


def _goal(what: str, found: float, most: float) -> str:
    return f"{what}: {found:.3g} (goal: at most {most:.3g}) {'met' if found <= most else f'MISSED by {found / most - 1:.0%}'}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rows of the tables")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS, help="libraries to run beside; none to run alone")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each process; the middle one counts")
    parser.add_argument("--months", type=int, nargs="+", default=list(range(1, 13)), help="months of 2013 to draw rows from")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--folder", type=Path, help="keep tables and figures there, and go on with what is there")
    options = parser.parse_args()
    sizes, own = sorted(options.rows), [FLOOR, ONE_BLOCK, OURS]
    tables = [*map(str, sizes), "wide"]
    with tempfile.TemporaryDirectory(prefix="perennial-speed-") as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        asked = json.dumps([options.months, sizes, options.seed])
        figures = _Figures(folder / "figures.json", asked)
        if not figures.known:
            subprocess.run(itself(PREPARE, str(folder), asked), check=True)
            figures.keep("prepared", "")
        for table in tables:
            if not all(figures.has(what, table) for what in own):
                rounds = [[measure(itself(what, str(folder), table)) for what in own] for _ in range(options.repeat)]
                for what, found in zip(own, zip(*rounds, strict=True), strict=True):
                    figures.keep(what, table, middle(found))
        for peer in options.peers:
            for table in map(str, sizes):
                if not figures.has(peer, table):
                    figures.keep(peer, table, measure_peer(peer, folder, table, 1 if table == str(max(sizes)) else options.repeat))
        exact = subprocess.run(itself(PARTS, str(folder), str(sizes[0])), check=False).returncode == 0
    costs = figures.costs()
    show(costs, tables, [*(peer for peer in PEERS if figures.has(peer, tables[0])), *own])
    print("\n" + "\n".join(goals(costs, sizes, exact)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
