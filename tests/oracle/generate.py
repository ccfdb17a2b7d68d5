#!/usr/bin/env python3
"""Writes cases/*.txt, the numbers that nnc is held against (README.md). Needs mpmath; `--check` compares instead of writing and ends with 1 where
a file would change."""

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import make_elementwise
import make_losses
import make_norms
import make_repeated
import make_shapes
import make_sums
import make_training
from casefile import write_cases

MAKERS = [make_elementwise, make_repeated, make_shapes, make_sums, make_norms, make_losses, make_training]
HEAD = ["Made by tests/oracle/generate.py; do not edit. The form is described in tests/oracle/README.md."]


def write_all(folder):
    """Writes every file of cases into a folder."""
    names = []
    for maker in MAKERS:
        for name, cases in maker.files():
            write_cases(folder / f"{name}.txt", cases, HEAD)
            names.append(f"{name}.txt")
    return names


def main():
    if "--check" not in sys.argv:
        for name in write_all(HERE / "cases"):
            print(name, (HERE / "cases" / name).stat().st_size)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        names = write_all(Path(folder))
        changed = [n for n in names if not (HERE / "cases" / n).exists() or (HERE / "cases" / n).read_bytes() != (Path(folder) / n).read_bytes()]
        changed += [p.name for p in (HERE / "cases").glob("*.txt") if p.name not in names]
    for name in changed:
        print(f"{name} is not what the generator writes")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
