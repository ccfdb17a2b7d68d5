"""A bounded share of differential fuzzing (tests/fuzz): kept failures along every road, then fresh graphs and programs.

Hours of it: build/nnc-fuzz --minutes 120.
"""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = Path(os.environ["NNC"]).parent / "nnc-fuzz" if "NNC" in os.environ else ROOT / "build/nnc-fuzz"


def run_fuzz(*arguments):
    done = subprocess.run([FUZZ, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout


class Fuzz(unittest.TestCase):
    def test_kept_failures_stay_mended(self):
        kept = sorted(path for path in (ROOT / "tests/fuzz/regressions").iterdir() if path.suffix in (".nn", ".nnir"))
        self.assertTrue(kept)
        status, output = run_fuzz("--replay", *kept)
        self.assertEqual(status, 0, output)
        self.assertIn(f"{len(kept)} files, 0 failures", output)

    def test_fresh_graphs_agree_by_every_road_and_use_every_operation(self):
        with tempfile.TemporaryDirectory() as folder:
            status, output = run_fuzz("--kind", "graph", "--seed", "1", "--count", "45", "--quiet", "--reach-all", "--out", folder)
        self.assertEqual(status, 0, output)  # which graphs a seed means depends on the compiler: argument lists draw random numbers
        reached, possible = map(int, re.search(r"(\d+) of +(\d+) operations in element types", output).groups())
        self.assertEqual(reached, possible, output)

    def test_fresh_programs_agree_by_every_road_and_damaged_ones_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            status, output = run_fuzz("--kind", "program", "--seed", "1", "--count", "16", "--quiet", "--out", folder)
        self.assertEqual(status, 0, output)
        self.assertIn("0 graphs and 16 programs", output)

    def test_a_failure_is_reported(self):
        with tempfile.TemporaryDirectory() as folder:
            case = Path(folder) / "index.nnir"
            # An index that leaves its table: no road may answer.
            case.write_text("#= rows 1\n#= input @i 3\n#= persistent @t 1 2\ngraph @wrong {\n  param @t : f32[2]\n  %0 = parameter @t : f32[2]\n"
                            "  %1 = input @i : i32[B]\n  %2 = gather(%0, %1) axis 0 a,b->b : f32[B]\n  output \"y\" %2\n}\n")
            status, output = run_fuzz("--replay", case, "--route", "carrier=graph")
        self.assertEqual(status, 1, output)
        self.assertIn("index 3", output)
