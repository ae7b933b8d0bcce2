# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The table that the benchmarks print and write."""
import json
import pathlib
import statistics

rows = []


def head():
    print(f"{'':<62} {'median':>9} {'p99':>9} {'':<5} {'n':>4}  bound")


def row(what, samples, bound, unit="ms", pick=statistics.median):
    """One line of the table: what was measured, its median (or `pick`), 99th percentile, bound, and whether it holds. A
    negative bound is one from below. Returns the value."""
    samples = sorted(samples)
    value = pick(samples)
    high = samples[min(len(samples) - 1, int(len(samples) * 0.99))]
    rows.append({"what": what, "value": value, "p99": high, "samples": len(samples), "unit": unit, "bound": bound})
    limit, mark = "", ""
    if bound is not None:
        sign = ">=" if bound < 0 else "<="
        limit = f"{sign} {abs(bound):g}"
        mark = "ok" if (value >= -bound if bound < 0 else value <= bound) else "MISSED"
    print(f"{what:<62} {value:>9.1f} {high:>9.1f} {unit:<5} {len(samples):>4}  {limit:<8} {mark}", flush=True)
    return value


def write(path):
    pathlib.Path(path).write_text(json.dumps(rows, indent=1) + "\n")
