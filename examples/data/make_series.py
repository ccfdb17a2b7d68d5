#!/usr/bin/env python3
"""Writes co2_past.csv and co2_later.csv: the weekly measurements of co2_weekly.csv as rows that a forecast learns from and is judged on.

Weeks are averaged to months; of the 526 months from March 1958 on five have no measurement and lie on the line between their neighbours. A row holds the calendar month
of its first value (0 is January), 36 months one after another, and the 12 that follow: what is known, and what is to be told. A row begins at every month. Rows of
co2_later.csv are those whose 12 months begin in or after 1993; of co2_past.csv those that end before, so that no month that is to be told has been trained on.
Same script, same files, to the byte.
"""

import csv
from collections import defaultdict
from pathlib import Path

KNOWN, AHEAD, LATER = 36, 12, 1993
HERE = Path(__file__).parent

weeks = defaultdict(list)
with open(HERE / "co2_weekly.csv") as file:
    for row in csv.DictReader(file):
        if row["co2"]:
            weeks[int(row["date"][:4]) * 12 + int(row["date"][4:6]) - 1].append(float(row["co2"]))

first, last = min(weeks), max(weeks)
series = {month: sum(values) / len(values) for month, values in weeks.items()}
for month in range(first, last + 1):
    if month not in series:
        before, after = max(m for m in weeks if m < month), min(m for m in weeks if m > month)
        series[month] = series[before] + (month - before) / (after - before) * (series[after] - series[before])

header = ["month"] + [f"known{i}" for i in range(KNOWN)] + [f"next{i}" for i in range(AHEAD)]
for name, is_there in (("co2_past.csv", lambda told: told + AHEAD <= LATER * 12), ("co2_later.csv", lambda told: told >= LATER * 12)):
    lines = [",".join(header)]
    for begin in range(first, last + 2 - KNOWN - AHEAD):
        if is_there(begin + KNOWN):
            lines.append(",".join([str(begin % 12)] + [f"{series[month]:.2f}" for month in range(begin, begin + KNOWN + AHEAD)]))
    (HERE / name).write_text("\n".join(lines) + "\n")
