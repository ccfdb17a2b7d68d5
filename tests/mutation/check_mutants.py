"""The lists of mutants fit the source: every text is there once, every rule and every pass has a mutant. Running them is mutate.py's work."""

import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutants import RESULTS, ROOT, SUITES, read_mutants, read_table, table  # noqa: E402


def entries(path, macro):
    return re.findall(rf"^{macro}\((\w+)", (ROOT / path).read_text(encoding="utf-8"), re.M)


class Mutants(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.mutants = read_mutants()
        self.names = [m.name for m in self.mutants]

    def test_every_text_is_there(self):
        self.assertGreater(len(self.mutants), 100)
        self.assertEqual([fault for m in self.mutants for fault in m.faults((ROOT / m.path).read_text(encoding="utf-8"))], [])

    def test_names_are_unique(self):
        self.assertEqual(sorted(self.names), sorted(set(self.names)))

    def missing(self, prefix, names):
        return [n for n in names if not any(m == f"{prefix}{n}" or m.startswith(f"{prefix}{n}.") for m in self.names)]

    def test_every_gradient_rule_is_broken(self):
        self.assertEqual(self.missing("gradient.", entries("passes/gradient_rules.cpp", "RULE")), [])
        self.assertEqual(self.missing("gradient.", entries("passes/gradient_rules_tensor.cpp", "RULE")), [])

    def test_every_simplification_is_broken(self):
        self.assertEqual(self.missing("simplify.", entries("passes/simplify_rules.def", "NNC_SIMPLIFY")), [])

    def test_every_pass_is_broken(self):
        passes = entries("passes/passes.def", "NNC_GRAPH_PASS")
        self.assertEqual([p for p in passes if p != "simplify" and not any(m.startswith(p + ".") for m in self.names)], [])

    def test_the_table_is_that_of_the_lists_and_all_were_noticed(self):
        text = RESULTS.read_text(encoding="utf-8")
        noticed_by = read_table(text)
        self.assertEqual(text, table(self.mutants, noticed_by), "tests/mutation/mutate.py --table writes it, once the new mutants have been run")
        self.assertEqual({name: suite for name, suite in noticed_by.items() if suite.removesuffix(" (no end)") not in SUITES}, {})


if __name__ == "__main__":
    unittest.main()
