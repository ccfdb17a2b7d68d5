"""The house rules that a reader relies on: every folder explains itself, every source opens with its idea."""

import re
import unittest
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ["base", "ir", "frontend", "passes", "codegen", "runtime", "engine", "verify", "driver"]
FOLDERS = [*CODE, "tests", "examples"]
TEXTS = re.compile(r'''"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^'\\\n])\'|//[^\n]*''')  # what is no code: strings, characters, comments


def unordered(source, acts, operands=False):
    """Lines where what matches `acts` stands in two arguments of one call; with `operands` also in two operands of one operator."""
    text = TEXTS.sub(lambda m: " " * len(m[0]), source)
    lines = set()
    opened = [("{", [0], [0])]  # (bracket, where each of its arguments begins, where each operand of the last expression begins)

    def judge(begins, end):
        if sum(bool(acts.search(text[a:b])) for a, b in zip(begins, [*begins[1:], end])) > 1:
            lines.add(text.count("\n", 0, begins[0] + re.match(r"\s*", text[begins[0]:]).end()) + 1)

    # Ordered: commas of braces and of declarations, semicolons, `? :`, `&&`, `||`. An operator has spaces around it, which < and > of templates have not.
    for token in re.finditer(r"[(\[{)\]}]|[,;]|&&|\|\|| [?:] | (?:[-+*/%<>^|&]|[-+*/%=!<>]?=|<<|>>) ", text):
        bracket, arguments, terms = opened[-1]
        if token[0] in "([{":
            opened.append((token[0], [token.end()], [token.end()]))
            continue
        if token[0][0] == " " and token[0][1] not in "?:":
            terms.append(token.end())
            continue
        if operands:
            judge(terms, token.start())
        if token[0] in ")]}":
            before = text[: arguments[0] - 1].rstrip()[-40:]
            header = bracket == "(" and re.search(r"\b(?:if|for|while|switch)$", before)
            if bracket == "(" and not header and re.search(r"[\w>]$", before):
                judge(arguments, token.start())
            opened.pop()
            if header or token[0] == "}":  # a statement begins
                opened[-1][2][:] = [token.end()]
        else:
            if token[0] == ",":
                arguments.append(token.end())
            terms[:] = [token.end()]
    return sorted(lines)


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
        for folder in CODE:
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

    def words_in(self, folders, pattern):
        """file:line of every match in the code of the folders."""
        return [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".cpp", ".h")
                for number, line in enumerate(TEXTS.sub("", path.read_text()).splitlines(), 1) if re.search(pattern, line)]

    def test_the_library_neither_prints_nor_ends_the_process(self):
        """Who uses it is told by values and events, and keeps its process: standard streams, exit, signal handlers."""
        words = r"\b(?:stdout|stderr|cout|cerr|clog|[fvd]?printf|puts|fputs|putchar|fmt::print|print\(std\w+|_?exit|_Exit|quick_exit|abort|terminate|signal|sigaction|raise)\b(?!_)"
        self.assertEqual(self.words_in(["engine", "verify"], words), [])

    def test_the_command_line_alone_reads_the_environment(self):
        self.assertEqual(self.words_in([folder for folder in CODE if folder != "driver"], r"\b(?:secure_)?getenv\b|\benviron\b"), [])
        self.assertGreater(len(self.words_in(["driver"], r"\bgetenv\b")), 0)

    def test_no_call_makes_two_nodes_among_its_arguments(self):
        """Arguments are evaluated in an order that each compiler chooses, and a graph's nodes are numbered as they are made."""
        makes = re.compile(r"\b(?:b|build|builder|b_|build_|at)\.(?!graph\b|span\b|scope\b)\w+\(")
        found = []
        for folder in ("ir", "frontend", "passes"):
            for path in sorted((ROOT / folder).glob("*.cpp")):
                found += [f"{path.relative_to(ROOT)}:{line}" for line in unordered(path.read_text(), makes)]
        self.assertEqual(found, [])

    def test_the_cases_of_the_fuzzer_are_drawn_in_one_order(self):
        """A seed of nnc-fuzz means the same case whatever compiler built it: what draws, or makes a node, never stands twice among the arguments
        of a call or the operands of an operator. Braces are evaluated from left to right."""
        sources = {path: path.read_text() for path in sorted((ROOT / "tests/fuzz").glob("*.*")) if path.suffix in (".cpp", ".h")}
        # Helpers: functions that take the random numbers or the graph under construction, and what the generators' classes make texts and nodes with.
        helpers = set(re.findall(r"\b(\w+)\((?:Random|GraphBuilder)& ", "".join(sources.values())))
        for name in ("graph_generator.cpp", "program_generator.cpp"):
            helpers |= set(re.findall(r"^  (?:std::string|Names|NodeId) (\w+)\(", sources[ROOT / "tests/fuzz" / name], re.M))
        self.assertLessEqual({"random_layouts", "any_dtype", "mean_of_all", "make", "subset", "dense"}, helpers)
        draws = re.compile(r"\b(?:random_?|choice|g_?|build|b)\.(?!type\b|shape\b|elements\b|value\b)\w+\(|(?<![\w:.])(?:" + "|".join(helpers) + r")\(")
        found = [f"{path.relative_to(ROOT)}:{line}" for path, text in sources.items() for line in unordered(text, draws, operands=True)]
        self.assertEqual(found, [])

    def test_what_has_no_order_is_found(self):
        draws = re.compile(r"\bdraw\(")
        for text in ("f(draw(), draw());", "f(1, draw(), g(draw()));", "x = draw() + draw();", "x = s + draw() * 2 + f(draw());", "f({draw() - draw()});", "a[draw()] = draw();"):
            self.assertEqual(unordered(text, draws, operands=True), [1], text)
        for text in ("f({draw(), draw()});", "x = draw(), y = draw();", "x = draw() ? draw() : draw();", "f(g(draw()));", "if (draw() && draw()) draw();", "f(draw(), \"draw()\");  // draw() + draw()",
                     "for (x = draw(); x < draw(); ++x) {}"):
            self.assertEqual(unordered(text, draws, operands=True), [], text)


if __name__ == "__main__":
    unittest.main()
