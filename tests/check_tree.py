"""The house rules that a reader relies on: every folder explains itself, every source opens with its idea."""

import unittest
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


if __name__ == "__main__":
    unittest.main()
