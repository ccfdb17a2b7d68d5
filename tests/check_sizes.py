"""Files and functions of engine/ and driver/ stay small enough to be read at once, and the command line stays thin."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["engine", "driver"]
LINES_OF_A_FILE = 600
LINES_OF_A_FUNCTION = 80
LINES_OF_THE_DRIVER = 4600
EXCEPTIONS = {}  # "folder/file.cpp: head of a function as functions() gives it" -> why it is longer


def sources(folder):
    return [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".cpp", ".h")]


def functions(source):
    """(first line, lines, head) of every function with a body, lambdas inside it included. A brace that opens outside of functions belongs to a
    namespace or a type if what stands before it begins so, to a function if it has parentheses, else to a value."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])
    text = re.sub(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-zA-Z])\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/|^[ \t]*#(?:\\\n|[^\n])*', blank, source,
                  flags=re.S | re.M)
    found, depth, begin = [], 0, 0  # depth: of braces inside a function or value, 0 outside; begin: where the present declaration begins
    function = None
    for token in re.finditer(r"[{};]", text):
        if depth:
            depth += {"{": 1, "}": -1, ";": 0}[token[0]]
            if depth == 0:
                if function is not None:
                    first = text.count("\n", 0, function) + 1
                    found.append((first, text.count("\n", 0, token.end()) + 2 - first, " ".join(text[function:].split("{")[0].split())))
                begin = token.end()
        elif token[0] == "{":
            head = text[begin:token.start()]
            opened = re.sub(r"^\s*(?:template\s*<.*?>\s*)?", "", head, flags=re.S)
            if not re.match(r"(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b", opened):
                depth = 1
                function = begin + len(head) - len(head.lstrip()) if "(" in head else None
            begin = token.end()
        else:
            begin = token.end()
            while label := re.match(r"\s*(?:public|private|protected):", text[begin:]):
                begin += label.end()
    return found


class Sizes(unittest.TestCase):
    maxDiff = None

    def test_files(self):
        counts = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for folder in FOLDERS for path in sources(folder)}
        self.assertGreater(len(counts), 50)
        self.assertEqual({path: lines for path, lines in counts.items() if lines > LINES_OF_A_FILE}, {})
        self.assertLess(sum(lines for path, lines in counts.items() if path.startswith("driver/")), LINES_OF_THE_DRIVER)

    def test_functions(self):
        seen, long = 0, []
        for folder in FOLDERS:
            for path in sources(folder):
                for first, lines, head in functions(path.read_text(encoding="utf-8")):
                    seen += 1
                    if lines > LINES_OF_A_FUNCTION:
                        long.append(f"{path.relative_to(ROOT)}: {head}")
        self.assertGreater(seen, 300)
        self.assertEqual(sorted(long), sorted(EXCEPTIONS), "a function of more than 80 lines, or an exception that is none")

    def test_functions_are_measured(self):
        self.assertEqual(functions("namespace a {\nint f(int x) {\n  if (x) {\n    return 1;\n  }\n  return '{';\n}\n}  // namespace a\n"), [(2, 6, "int f(int x)")])
        self.assertEqual(functions("struct A {\n  A() : b{1}, c(2) {\n  }\n private:\n  int b{0};\n  /// }\n  int g() const { return b; }\n};\n")[-1], (7, 1, "int g() const"))
        self.assertEqual(functions('const int table[] = {\n  1,\n};\ntemplate <class T>\nT h(T t) {\n  auto l = [&] { return "}"; };\n  return t;\n}\n'), [(4, 5, "template <class T> T h(T t)")])


if __name__ == "__main__":
    unittest.main()
