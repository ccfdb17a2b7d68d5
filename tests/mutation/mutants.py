"""Reads the lists of mutants (*.mutants) of this folder (README.md says how they are written), and writes and reads the table of what noticed them."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = HERE / "RESULTS.md"
SUITES = ("unit", "lit", "run", "random", "trajectories", "training", "workers", "fuzz")  # what is run on a mutant, the quickest to notice first


class Mutant:
    """One deliberate fault: texts of a file and what stands there instead."""

    def __init__(self, name, what, path, where):
        self.name, self.what, self.path, self.where = name, what, path, where
        self.edits = []  # (before, after)

    def faults(self, source):
        """What is wrong with this mutant itself, for a source text."""
        found = []
        for before, after in self.edits:
            if source.count(before) != 1:
                found.append(f"{self.where}: {self.name}: its text occurs {source.count(before)} times in {self.path}, not once:\n{before}")
            if before == after:
                found.append(f"{self.where}: {self.name}: changes nothing")
        if not self.edits:
            found.append(f"{self.where}: {self.name}: has no text")
        return found

    def apply(self, source):
        for before, after in self.edits:
            source = source.replace(before, after)
        return source


def read_mutants():
    """All mutants in the order of the files."""
    result = []
    for file in sorted(HERE.glob("*.mutants")):
        path, edits, side = None, None, None
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            sign, text = line[:1], line[2:]
            if sign in ("-", "+"):
                if sign == "-" and side != "-":
                    edits.append(([], []))
                edits[-1][0 if sign == "-" else 1].append(text)
                side = sign
                continue
            if not line or sign == "#":
                continue
            side = None
            if ": " in line:
                name, what = line.split(": ", 1)
                result.append(Mutant(name, what, path, f"{file.name}:{number}"))
                edits = result[-1].edits
            else:
                path = line
    for mutant in result:
        mutant.edits = [("\n".join(before), "\n".join(after)) for before, after in mutant.edits]
    return result


def table(mutants, noticed_by):
    """The text of RESULTS.md: all mutants, and the suite that noticed each, by name."""
    rows = [f"| `{m.name}` | {m.what} | {noticed_by.get(m.name, 'not run')} |" for m in mutants]
    return "\n".join([
        "# What noticed each mutant", "",
        f"Written by `tests/mutation/mutate.py --table`. The compiler was broken in {len(mutants)} places, one at a time; the first suite that failed is named.", "",
        "| mutant | what is wrong | noticed by |", "| --- | --- | --- |", *rows, ""])


def read_table(text):
    """The name of each mutant of a table -> the suite that noticed it."""
    return dict(re.findall(r"^\| `([^`]+)` \| .* \| (.*) \|$", text, re.M))
