"""Every diagnostic, operation, pass and command-line flag is named by at least one test.

The list in a .def file (for flags, the driver's declarations) is the promise, the tests are searched for its names: what nobody
tests is found here, by name.
"""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def entries(path, macro):
    """First arguments of MACRO(...) in a .def file, comments left out."""
    text = re.sub(r"//.*", "", (ROOT / path).read_text(encoding="utf-8"))
    return re.findall(rf"^\s*{macro}\(\s*\"?(\w+)", text, re.M)


def test_texts():
    """Path -> text of every file that is a test (not of the checks themselves)."""
    texts = {}
    for path in sorted((ROOT / "tests").rglob("*")):
        if path.suffix in (".cpp", ".nn", ".nnir", ".test", ".golden", ".py") and path.name != Path(__file__).name:
            texts[path.relative_to(ROOT)] = path.read_text(encoding="utf-8", errors="replace")
    return texts


class Coverage(unittest.TestCase):
    maxDiff = None  # the missing names are the message

    def setUp(self):
        self.texts = test_texts()

    def missing(self, names, pattern):
        """Names for which no test matches the pattern; {} in it stands for the name."""
        return [name for name in names if not any(re.search(pattern.format(name), text) for text in self.texts.values())]

    def test_every_diagnostic_has_a_test(self):
        codes = entries("base/diagnostics.def", "NNC_DIAGNOSTIC")
        self.assertGreater(len(codes), 10)
        self.assertEqual(codes, sorted(set(codes)), "codes stand in numeric order, each once")
        self.assertEqual(self.missing(codes, r"\b{}\b"), [])

    def test_every_operation_has_a_test(self):
        operations = entries("ir/ops.def", "NNC_OP")
        self.assertGreater(len(operations), 10)
        self.assertEqual(self.missing(operations, r"\b{}\b"), [])

    def test_every_pass_has_a_test(self):
        passes = entries("passes/passes.def", r"NNC_\w*PASS")
        self.assertGreater(len(passes), 3)
        # passes are asked for by name on a command line (a-b for a_b) or called as functions
        self.assertEqual([name for name in passes if self.missing([name], r"\b{}\b") and
                          self.missing([name.replace("_", "-")], r"(?<![\w-]){}(?![\w-])")], [])

    def test_every_flag_has_a_test(self):
        driver = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "driver").glob("*.cpp")))
        declared = " ".join(re.findall(r'\.(?:option|flag)\(\s*"([^"]*)"', driver))
        flags = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", declared)))
        self.assertGreater(len(flags), 30)
        self.assertEqual(self.missing(flags, r"(?<![\w-]){}(?![\w-])"), [])


if __name__ == "__main__":
    unittest.main()
