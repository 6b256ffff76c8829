"""Does the alarm budget hold? `python benchmarks/request_anomalies.py [--splits 20] [--detectors multivariate isolation_forest]`.

Flights of 2013 as requests, with the inputs that the model `flight_delays` watches. In every split whole days are drawn at random
for the reference and for a window, so nothing changed between them, though rows of one day are alike and storms make whole days
strange. Printed for each detector: alarms a day in the windows, mean over the splits and its standard error, beside the budget;
in how many windows strange requests were called unusual; CPU seconds of fitting and of judging a window.
"""

from __future__ import annotations

import argparse
import time
from datetime import date
from typing import get_args

import numpy as np
import pyarrow as pa

from perennial import discovery
from perennial.monitoring.anomalies import find_anomalies, fit_watch
from perennial.profiles.reference import watched
from perennial.specs import AnomalyDetector

MODEL = "flight_delays"


def main() -> None:
    """Draw the splits, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    spec = discovery.model(MODEL)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--detectors", nargs="+", choices=get_args(AnomalyDetector), default=get_args(AnomalyDetector))
    parser.add_argument("--reference-days", type=int, default=spec.monitoring.reference_days)
    parser.add_argument("--window-days", type=int, default=60, help="long, so that the rate is known well")
    parser.add_argument("--alarms-per-day", type=float, default=spec.monitoring.alarms_per_day, help="the budget")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    dataset = discovery.dataset(spec.dataset)
    columns = watched(spec, dataset)[0]
    landed = discovery.dataset_module(spec.dataset).land(date(2013, 1, 1), date(2013, 12, 31))
    by_day = [rows.select([dataset.event_time, *columns]) for _, rows in landed]

    print(f"{len(by_day)} days, {sum(d.num_rows for d in by_day):,} requests; budget {options.alarms_per_day:g} a day", flush=True)
    print("| detector | alarms a day, mean ± se of splits | least and most | windows called unusual | CPU s to fit | CPU s to judge |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.detectors:
        rates, unusual, fitting, judging = [], 0, 0.0, 0.0
        for split in range(options.splits):
            order = np.random.default_rng([options.seed, split]).permutation(len(by_day))
            chosen = np.sort(order[: options.reference_days]), order[options.reference_days :][: options.window_days]
            reference, window = (pa.concat_tables([by_day[i] for i in part]) for part in chosen)
            days = [np.repeat(part, [by_day[i].num_rows for i in part]).astype("datetime64[D]") for part in chosen]
            began = time.process_time()
            watch = fit_watch(reference.select(columns), days[0], name, split)
            fitted = time.process_time()
            ids = [str(i) for i in range(window.num_rows)]
            found = find_anomalies(watch, window.select(columns), days[1], ids, name=name, alarms_per_day=options.alarms_per_day)
            fitting, judging = fitting + fitted - began, judging + time.process_time() - fitted
            rates.append(found.found / found.days)
            unusual += found.unusual
        error = np.std(rates, ddof=1) / np.sqrt(len(rates))
        print(
            f"| {name} | {np.mean(rates):.2f} ± {error:.2f} | {min(rates):.2f} to {max(rates):.2f} | {unusual} of {options.splits} "
            f"| {fitting / options.splits:.2f} | {judging / options.splits:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
