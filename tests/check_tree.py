"""The house rules that a reader relies on: every folder explains itself, every source opens with its idea."""

import re
import unittest
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["base", "ir", "frontend", "passes", "codegen", "runtime", "driver", "tests", "examples"]


class Tree(unittest.TestCase):
    maxDiff = None

    def test_every_folder_has_a_readme(self):
        self.assertEqual([folder for folder in FOLDERS if not (ROOT / folder / "README.md").exists()], [])

    def test_every_source_opens_with_a_comment(self):
        sources = [path for folder in FOLDERS for kind in ("cpp", "h") for path in sorted((ROOT / folder).rglob(f"*.{kind}"))]
        self.assertGreater(len(sources), 20)
        self.assertEqual([str(path.relative_to(ROOT)) for path in sources if not path.read_text().startswith("// ")], [])

    def test_every_class_has_a_name_of_its_own(self):
        """Two classes of one name in one namespace break the one-definition rule: the linker keeps one of two inline destructors, and a build
        without optimisation calls it for the other class."""
        defined = defaultdict(list)
        for folder in FOLDERS[:7]:
            for path in sorted((ROOT / folder).rglob("*")):
                if path.suffix not in (".h", ".cpp"):
                    continue
                inside = []
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    if opening := re.match(r"namespace *([\w:]*) *\{(?!.*\})", line):
                        inside.append(opening[1] or "the file's own")
                    elif re.match(r"\} *// namespace", line):
                        inside.pop()
                    elif (name := re.match(r"(?:class|struct|union|enum class|enum) (?:alignas\(\w+\) )?(\w+)\b(?!::)[^;(]*\{", line)) and "the file's own" not in inside:
                        defined["::".join([*inside, name[1]])].append(f"{path.relative_to(ROOT)}:{number}")
        self.assertGreater(len(defined), 200)
        self.assertEqual({name: places for name, places in defined.items() if len(places) > 1}, {})

    def test_no_call_makes_two_nodes_among_its_arguments(self):
        """Arguments are evaluated in an order that each compiler chooses, and a graph's nodes are numbered as they are made."""
        makes = re.compile(r"\b(?:b|build|builder|b_|build_|at)\.(?!graph\b|span\b|scope\b)\w+\(")
        found = []
        for folder in ("ir", "frontend", "passes"):
            for path in sorted((ROOT / folder).glob("*.cpp")):
                text = re.sub(r"//[^\n]*", lambda m: " " * len(m[0]), re.sub(r'"(?:\\.|[^"\\\n])*"', lambda m: " " * len(m[0]), path.read_text()))
                opened = []  # (bracket, where each argument begins)
                for i, c in enumerate(text):
                    if c in "([{":
                        opened.append((c, [i + 1]))
                    elif c == "," and opened:
                        opened[-1][1].append(i + 1)
                    elif c in ")]}" and opened:
                        bracket, begins = opened.pop()
                        if bracket == "(" and re.search(r"(?<!if)(?<!for)(?<!while)(?<!switch)[\w>] *$", text[:begins[0] - 1][-40:]):
                            arguments = [text[a:b] for a, b in zip(begins, [*begins[1:], i])]
                            if sum(bool(makes.search(a)) for a in arguments) > 1:
                                found.append(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, begins[0]) + 1}")
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
