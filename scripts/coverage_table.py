"""Prints llvm-cov's summary (`llvm-cov export --summary-only`) as a table: a row for each source file, one for each folder. Called by scripts/coverage."""

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
        numbers = [file["summary"][kind][key] for kind in ("lines", "branches") for key in ("covered", "count")]
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
