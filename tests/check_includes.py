"""Who may include whom. Edges that are not in the table would let one stage of the compiler reach into another."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# folder -> folders, or single headers, that its files may include beside their own
ALLOWED = {
    "base": [],
    "ir": ["base"],
    "frontend/syntax": ["base"],
    "frontend": ["base", "frontend/syntax", "ir"],
    "passes": ["base", "ir"],
    "codegen": ["base", "ir", "runtime/step_abi.h"],
    "runtime": ["base", "runtime/workers"],
    "runtime/data": ["base"],
    "runtime/workers": ["base"],
    "engine": ["base", "ir", "frontend", "frontend/syntax", "passes", "codegen", "runtime", "runtime/data", "runtime/workers"],
    "verify": ["base", "ir", "frontend", "frontend/syntax", "passes", "codegen", "runtime", "runtime/data", "runtime/workers", "engine"],
    "driver": ["base", "frontend/syntax", "runtime/workers", "engine", "verify"],
}


def folder_of(path):
    """The innermost folder of the table that the path lies in, else its first folder."""
    inside = [folder for folder in ALLOWED if path.startswith(folder + "/")]
    return max(inside, key=len, default=path.split("/")[0])


def includes(folder):
    """(file, line number, included path) for every #include "..." and #include <llvm...> of a folder's sources, without those of a folder inside it
    that has a line of its own."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".h", ".cpp", ".def") and folder_of(str(path.relative_to(ROOT))) == folder:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line):
                    yield path.relative_to(ROOT), number, match.group(1)


class Includes(unittest.TestCase):
    maxDiff = None

    def test_edges_between_folders(self):
        bad = []
        for folder, allowed in ALLOWED.items():
            for path, number, target in includes(folder):
                top = folder_of(target)
                if top in ALLOWED and top != folder and top not in allowed and target not in allowed:
                    bad.append(f"{path}:{number}: {folder} may not include {target}")
        self.assertEqual(bad, [])

    def test_llvm_headers_stay_in_codegen(self):
        bad = [f"{path}:{number}: {target}" for folder in ALLOWED if folder != "codegen"
               for path, number, target in includes(folder) if target.split("/")[0] in ("llvm", "llvm-c")]
        self.assertEqual(bad, [])

    def test_one_file_of_the_driver_reads_options_with_CLI11(self):
        users = [str(path) for path, _, target in includes("driver") if target.split("/")[0] == "CLI"]
        self.assertEqual(users, ["driver/options.cpp"], "CLI11's header costs seconds in each file that includes it")

    def test_includes_are_written_from_the_root(self):
        bad = []
        for folder in [*ALLOWED, "tests"]:
            for path, number, target in includes(folder):
                quoted = (ROOT / target).exists()
                beside = (ROOT / path.parent / target).exists()
                if beside and not quoted:
                    bad.append(f"{path}:{number}: write the path of {target} from the project's root")
        self.assertEqual(bad, [])


if __name__ == "__main__":
    unittest.main()
