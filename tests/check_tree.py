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


if __name__ == "__main__":
    unittest.main()
