"""The text in which cases stand: written by generate.py, read by check_oracle.py. README.md describes it."""

from exact import read, write


class Column:
    """An input of a table (several, `a,b,c`, that get the same numbers), or a result with the error that it may have: `exact`, `exact compiled` (the
    interpreter, which keeps 64 bits, is not asked), `ulp 2.5`, `ulp 4 least 64` (whichever
    is more: 4 units in the last place or 64 of the smallest numbers of the type), `near 4` (units in the last place of the larger of 1 and the exact
    value), `power 4` (4 units times 1 + |log of the exact value|)."""

    def __init__(self, name, dtype, bound=None, what=""):
        self.name, self.dtype, self.bound, self.what = name, dtype, bound, what


class Table:
    """One definition, evaluated element by element: each row holds an argument for each input and a number for each result."""

    kind = "table"

    def __init__(self, name):
        self.name, self.note, self.engines, self.code, self.options = name, "", ["compiled", "interpreter"], [], []
        self.inputs, self.results, self.rows = [], [], []


class Tensors:
    """One definition on tensors given by formulas; each number of a result has its own allowed error."""

    kind = "tensors"

    def __init__(self, name):
        self.name, self.note, self.engines, self.code, self.options = name, "", ["compiled", "interpreter"], [], []
        self.inputs = []   # (name, dtype, shape, formula as a list of words)
        self.results = []  # (name, dtype, shape, [(value, allowed)], which repeat when they are fewer than the elements)


class Training:
    """A program that trains, the files it reads, and what its weights and reports are after so many steps from so many."""

    kind = "training"

    def __init__(self, name):
        self.name, self.note, self.code, self.files, self.options = name, "", [], {}, []
        self.start = 0     # updates that count as done before the first one
        self.steps = 1
        self.repeat = 1    # how often the lines of its files stand there
        self.results = []  # (name, dtype, shape, [(value, allowed)]); `report:NAME` or the weight's name


def words_of(values):
    """The values as words; those that repeat after a few stand once."""
    repeats = next((p for p in range(1, 65) if all(v == values[i % p] for i, v in enumerate(values))), len(values))
    words = []
    for value, allowed in values[:repeats]:
        words.append(write(value, 64) + (f"~{write(allowed, 12)}" if allowed else ""))
    return words


def write_cases(path, cases, head):
    """Replaces a file of cases."""
    lines = [f"# {line}" for line in head]
    for case in cases:
        lines += ["", f"{case.kind} {case.name}"]
        if case.note:
            lines.append(f"note {case.note}")
        if case.kind != "training":
            lines.append("engines " + " ".join(case.engines))
        for option in case.options:
            lines.append(f"option {option}")
        lines += [f"code {line}".rstrip() for line in case.code]
        if case.kind == "table":
            lines += [f"in {c.name} {c.dtype}" for c in case.inputs]
            lines += [f"out {c.name} {c.dtype} {c.bound} | {c.what}" for c in case.results]
            lines += [" ".join(row) for row in case.rows]
        if case.kind == "tensors":
            for name, dtype, shape, formula in case.inputs:
                lines.append(f"in {name} {dtype} {','.join(map(str, shape)) or '-'} {' '.join(formula)}")
        if case.kind == "training":
            for name, rows in case.files.items():
                lines.append(f"file {name}")
                lines += [f"line {row}" for row in rows]
            lines.append(f"start {case.start}")
            lines.append(f"steps {case.steps}")
            lines.append(f"repeat {case.repeat}")
        if case.kind != "table":
            for name, dtype, shape, values in case.results:
                lines.append(f"out {name} {dtype} {','.join(map(str, shape)) or '-'} {' '.join(words_of(values))}")
        lines.append("end")
    path.write_text("\n".join(lines) + "\n")


def shape_of(text):
    return () if text == "-" else tuple(map(int, text.split(",")))


def read_word(word):
    value, _, allowed = word.partition("~")
    return read(value), read(allowed) if allowed else 0


def read_cases(path):
    """The cases of a file."""
    cases, case, file = [], None, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if case is None:
            if line and not line.startswith("#"):
                kind, name = line.split(" ", 1)
                case = {"table": Table, "tensors": Tensors, "training": Training}[kind](name)
            continue
        word, _, rest = line.partition(" ")
        if word == "end":
            cases.append(case)
            case = None
        elif word == "note":
            case.note = rest
        elif word == "engines":
            case.engines = rest.split()
        elif word == "option":
            case.options.append(rest)
        elif word == "code":
            case.code.append(rest)
        elif word == "file":
            file = case.files.setdefault(rest, [])
        elif word == "line":
            file.append(rest)
        elif word in ("start", "steps", "repeat"):
            setattr(case, word, int(rest))
        elif word == "in" and case.kind == "table":
            case.inputs.append(Column(*rest.split()))
        elif word == "in":
            name, dtype, shape, *formula = rest.split()
            case.inputs.append((name, dtype, shape_of(shape), formula))
        elif word == "out" and case.kind == "table":
            head, _, what = rest.partition(" | ")
            name, dtype, bound = head.split(" ", 2)
            case.results.append(Column(name, dtype, bound, what))
        elif word == "out":
            name, dtype, shape, *values = rest.split()
            case.results.append((name, dtype, shape_of(shape), [read_word(v) for v in values]))
        elif case.kind == "table":
            case.rows.append(line.split())
        else:
            raise ValueError(f"{path}:{number}: {line}")
    return cases


def period(formula):
    """The numbers of a formula's period: `cycle V...` repeats its numbers; `steps A B M E` is ((i*A + B) mod M - M div 2) * 2^E for i = 0, 1, ...;
    `ramp N` 0, 1, ..., N-1."""
    kind, *rest = formula
    if kind == "cycle":
        return [read(v) for v in rest]
    if kind == "ramp":
        return [read(write(i)) for i in fractions(range(int(rest[0])))]
    a, b, m, e = map(int, rest)
    return [read(write(v * scale(e))) for v in fractions((i * a + b) % m - m // 2 for i in range(m))]


def fractions(numbers):
    from fractions import Fraction
    return [Fraction(n) for n in numbers]


def scale(e):
    from fractions import Fraction
    return Fraction(2) ** e
