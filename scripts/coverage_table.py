"""Prints llvm-cov's export as a table: a row for each source file, one for each folder. Called by scripts/coverage.

Branches are those of the file's own text: llvm-cov's summary counts those of macros as well, in each place where one is used.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

FOLDERS = ("base", "ir", "passes", "frontend", "runtime", "codegen", "driver")


def percent(covered, count):
    return f"{100 * covered / count:6.1f} %" if count else "       –"


def main():
    report, root = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    rows, totals = defaultdict(list), defaultdict(lambda: [0, 0, 0, 0])
    for file in report["data"][0]["files"]:
        path = Path(file["filename"])
        if not path.is_relative_to(root) or path.relative_to(root).parts[0] not in FOLDERS:
            continue
        path = path.relative_to(root)
        outcomes = defaultdict(lambda: [0, 0])  # of a condition, over all instances of a template
        for branch in file["branches"]:
            for i in (0, 1):
                outcomes[tuple(branch[:4])][i] += branch[4 + i]
        reached = sum(count > 0 for pair in outcomes.values() for count in pair)
        numbers = [file["summary"]["lines"]["covered"], file["summary"]["lines"]["count"], reached, 2 * len(outcomes)]
        rows[path.parts[0]].append((str(path), numbers))
        totals[path.parts[0]] = [a + b for a, b in zip(totals[path.parts[0]], numbers)]
    print(f"{'':40}{'lines':>8} {'':>12}{'branches':>14}")
    for folder in FOLDERS:
        for name, n in sorted(rows[folder]):
            print(f"{name:40}{percent(*n[:2])} {f'{n[0]}/{n[1]}':>12}    {percent(*n[2:])} {f'{n[2]}/{n[3]}':>12}")
        if folder in totals:
            n = totals[folder]
            print(f"{folder + '/':40}{percent(*n[:2])} {f'{n[0]}/{n[1]}':>12}    {percent(*n[2:])} {f'{n[2]}/{n[3]}':>12}\n")


if __name__ == "__main__":
    main()
