"""nnc against numbers that it had no part in making (README.md in this folder).

Each file of cases/ is one test: its programs run compiled at every vector level of the machine, with one and several threads, interpreted and
in reports, and every number must be within its bound of the exact one. What is wrong is listed, the worst of each result first.

ORACLE_VERBOSE=1 prints the largest error of each result as well. As a script, `check_oracle.py FILE[:CASE]...` runs files or single cases.
"""

import functools
import importlib.util
import math
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile
from array import array
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from casefile import period, read_cases
from exact import ARRAY_CODES, FORMATS, distance, fraction, of_float, read, to_float, write
from oracle_train import run_report, run_training

HERE = Path(__file__).resolve().parent
NNC = os.path.abspath(os.environ.get("NNC", HERE.parent.parent / "build/nnc"))
VERBOSE = os.environ.get("ORACLE_VERBOSE")
NPY_TYPES = {"f32": "<f4", "f64": "<f8", "i32": "<i4", "i64": "<i8", "u8": "|u1", "bool": "|b1"}
TYPES_OF_NPY = {v: k for k, v in NPY_TYPES.items()}


def vector_levels():
    """The levels that this machine runs, by what the CPU says of itself."""
    try:
        flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    except (OSError, TypeError):
        flags = set()
    levels = ["portable"]
    if {"avx2", "fma", "f16c"} <= flags:
        levels.append("avx2")
    if "avx2" in levels and {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        levels.append("avx512")
    return levels


def routes(engines):
    """name -> options of `nnc run`."""
    found = {}
    if "compiled" in engines:
        for level in vector_levels():
            found[level] = ["--cpu", level, "--threads", "1"]
        if "threads" in engines:
            found["threads"] = ["--threads", "3"]
    if "interpreter" in engines:
        found["interpreter"] = ["--engine", "interpreter"]
    return found


# --- arrays ---


def stored_type(dtype):
    """`class(5)` is stored as i32."""
    return "i32" if dtype.startswith("class") else dtype


def write_npy(path, dtype, shape, values, repeats=1):
    """`values`, so often, cut to the shape."""
    form = stored_type(dtype)
    numbers = array(ARRAY_CODES[form], [to_float(v) if form in FORMATS else int(fraction(v)) for v in values])
    count = math.prod(shape)
    numbers = (numbers * (-(-count // len(numbers))))[:count]
    header = f"{{'descr': '{NPY_TYPES[form]}', 'fortran_order': False, 'shape': ({''.join(f'{n},' for n in shape)}), }}"
    header = header.ljust((len(header) + 11 + 63) // 64 * 64 - 11) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        numbers.tofile(file)


def parse_npy(raw):
    """(type, shape, numbers)."""
    size = int.from_bytes(raw[8:10], "little")
    header = raw[10:10 + size].decode()
    dtype = TYPES_OF_NPY[re.search(r"'descr': '([^']+)'", header)[1]]
    shape = tuple(int(n) for n in re.findall(r"\d+", re.search(r"'shape': \(([^)]*)\)", header)[1]))
    numbers = array(ARRAY_CODES[dtype])
    numbers.frombytes(raw[10 + size:])
    return dtype, shape, numbers


def read_npz(path):
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): parse_npy(archive.read(name)) for name in archive.namelist()}


# --- errors ---


@functools.lru_cache(maxsize=None)
def plain_number(text):
    """A Python float or integer that is the number of a text; NaN where none is."""
    value = read(text)
    if isinstance(value, str):
        return float(value)
    return int(value) if value.denominator == 1 else to_float(value) if Fraction(to_float(value)) == value else math.nan


def miss(found, dtype, expected, bound):
    """By how many times its bound a number is off: at most 1 is right; infinity where units say nothing."""
    if expected == "?":
        return 0.0
    if bound[:5] == "exact":  # a comparison of floats or whole numbers settles it
        plain = plain_number(expected)
        if plain == found and plain != 0:
            return 0.0
    expected = read(expected)
    is_float = dtype in FORMATS
    found = of_float(found) if is_float else Fraction(int(found))
    if not is_float:
        return 0.0 if expected not in ("nan", "inf", "-inf") and found == fraction(expected) else math.inf
    kind, _, size = bound.partition(" ")
    if kind == "exact":
        return 0.0 if found == expected else math.inf
    form = FORMATS[dtype]
    if kind == "power" and not isinstance(expected, str):
        size = Fraction(size) * (1 + Fraction(abs(logarithm(expected))))
    if kind == "near" and expected not in ("nan", "inf", "-inf") and abs(fraction(expected)) < form.infinity:
        if found in ("nan", "inf", "-inf"):
            return math.inf
        unit = form.ulp(max(Fraction(1), abs(fraction(expected))))
        return float(abs(fraction(found) - fraction(expected)) / unit / Fraction(size))
    gap = distance(found, expected, form)
    size, _, least = str(size).partition(" least ")
    if gap is None or gap <= Fraction(size):
        return math.inf if gap is None else float(gap / Fraction(size))
    unit = form.ulp(min(abs(fraction(expected)), form.infinity))
    return float(gap * unit / max(unit * Fraction(size), Fraction(least or 0) * Fraction(2) ** form.lowest))


def logarithm(value):
    """ln |value|, whatever its size; for bounds alone."""
    return math.log(abs(value.numerator)) - math.log(value.denominator)


def show(text):
    value = read(text) if isinstance(text, str) else text
    return value if isinstance(value, str) else str(value) if value.denominator == 1 and abs(value) < 10**20 else repr(to_float(value))


class Failures:
    """What a case did wrong, in few lines."""

    def __init__(self, case):
        self.case, self.wrong, self.worst, self.trouble = case, {}, {}, []

    def note(self, route, result, size, text):
        key = (route, result)
        if size > self.worst.get(key, -1):
            self.worst[key] = size
        if size > 1:
            self.wrong.setdefault(key, []).append((size, text))

    def lines(self):
        lines = [f"{self.case.name}: {text}" for text in self.trouble]
        for (route, result), found in self.wrong.items():
            found.sort(key=lambda f: -f[0])
            shown = "; ".join(text for _, text in found[:3])
            lines.append(f"{self.case.name} [{route}] {result}: {len(found)} wrong, {shown}")
        return lines


# --- cases ---


def run_nnc(folder, arguments):
    """None, or what went wrong."""
    run = subprocess.run([NNC, *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)
    return None if run.returncode == 0 else f"nnc {' '.join(arguments)} ended with {run.returncode}: {run.stderr.strip()[:600]}"


def write_program(folder, case):
    name = "case.nnir" if case.code[0].startswith("graph") else "case.nn"
    (folder / name).write_text("\n".join(case.code) + "\n")
    return ["run", name] + ([] if name.endswith("nnir") else ["--fn", "f"])


def results_by_route(case, folder, failures):
    """(route, arrays) of each way to run a case whose inputs are in the folder."""
    command = write_program(folder, case)
    names = [name for c in case.inputs for name in c.name.split(",")] if case.kind == "table" else [c[0] for c in case.inputs]
    for name in names:
        command += ["--input", f"{name}={name}.npy"]
    command += [word for option in case.options for word in option.split()]
    # Of a table the last level alone takes several threads; sums are where they matter, and there each has its own turn.
    ways = routes(case.engines + ["threads"] * (case.kind == "tensors"))
    if case.kind == "table" and len(ways) > 2:
        ways[vector_levels()[-1]][-1] = "3"
    for route, options in ways.items():
        output = folder / "out.npz"
        output.unlink(missing_ok=True)
        trouble = run_nnc(folder, command + options + ["--output", "out.npz"])
        if trouble:
            failures.trouble.append(trouble)
            return
        yield route, read_npz(output)


def check_table(case, folder, failures):
    count = len(case.rows)
    for i, column in enumerate(case.inputs):
        for name in column.name.split(","):
            write_npy(folder / f"{name}.npy", column.dtype, (count,), [read(row[i]) for row in case.rows])
    known = {}
    found = list(results_by_route(case, folder, failures)) if {"compiled", "interpreter"} & set(case.engines) else []
    if "report" in case.engines:
        found += run_report(NNC, case, write_npy, folder, failures)
    for route, arrays in found:
        for j, column in enumerate(case.results, len(case.inputs)):
            if column.name not in arrays:
                failures.trouble.append(f"[{route}] no result {column.name}, only {sorted(arrays)}")
                continue
            dtype, shape, numbers = arrays[column.name]
            if len(numbers) != count:
                failures.trouble.append(f"[{route}] {column.name} has {len(numbers)} elements instead of {count}")
                continue
            for row, number in zip(case.rows, numbers):
                if number is None:
                    continue
                if route == "interpreter" and column.bound.endswith(" compiled"):
                    continue  # it keeps 64 bits between operations
                if route == "report" and row[j][0] == "-":
                    number = number or -0.0  # sums over rows begin with zero
                key = (dtype, number if number == number else "nan", number == 0 and str(number)[:1], row[j], column.bound)
                size = known.get(key)
                if size is None:
                    size = known[key] = miss(number, dtype, row[j], column.bound)
                if size > 1 or VERBOSE:
                    used = [show(w) for w, c in zip(row, case.inputs) if len(case.inputs) < 4 or re.search(rf"\b{c.name}\b", column.what)]
                    arguments = ", ".join(used)
                    failures.note(route, f"{column.name} {column.what} : {dtype}, {column.bound}", size,
                                  f"at ({arguments}) {number!r} for {show(row[j]) if row[j] != '?' else '?'}, {size:.3g} times the bound")


def compare_values(failures, route, name, dtype, numbers, values):
    is_float = dtype in FORMATS
    # What a plain comparison of floats can settle, it settles; it is the many right ones that cost time.
    plain = []
    for value, allowed in values:
        if value == "?":
            plain.append((math.nan, math.inf))
        elif not is_float:
            plain.append((int(fraction(value)) if not isinstance(value, str) or value in ("0", "-0") else math.nan, 0))
        else:
            plain.append((to_float(value), to_float(allowed) * 0.99 if allowed and not isinstance(value, str) else 0))
    count, worst = len(values), 0.0
    for i, number in enumerate(numbers):
        center, reach = plain[i % count]
        if reach == math.inf or (number == center and number != 0) or (reach and abs(number - center) <= reach):
            if VERBOSE and reach:
                worst = max(worst, abs(number - center) / reach)
            continue
        value, allowed = values[i % count]
        found = of_float(number) if is_float else Fraction(number)
        if isinstance(found, str) or isinstance(value, str) or not allowed:
            same = found == value or (not is_float and value in ("0", "-0") and found == 0)
            size = 0.0 if same or (allowed and found in ("0", "-0") and value in ("0", "-0")) else math.inf
            if size and allowed and found in ("0", "-0") and not isinstance(value, str):
                size = float(abs(value) / allowed)
            elif size and allowed and value in ("0", "-0") and not isinstance(found, str):
                size = float(abs(found) / allowed)
        else:
            size = float(abs(found - value) / allowed)
        if size > 1:
            failures.note(route, name, size, f"element {i} is {number!r} for {show(value)}, {size:.3g} times the bound")
        worst = max(worst, size)
    failures.note(route, name, min(worst, 1.0), "")


def check_tensors(case, folder, failures):
    for name, dtype, shape, formula in case.inputs:
        write_npy(folder / f"{name}.npy", dtype, shape, period(formula))
    for route, arrays in results_by_route(case, folder, failures):
        for name, dtype, shape, values in case.results:
            if name not in arrays:
                failures.trouble.append(f"[{route}] no result {name}, only {sorted(arrays)}")
                continue
            stored, found_shape, numbers = arrays[name]
            if found_shape != shape:
                failures.trouble.append(f"[{route}] {name} is {stored}{list(found_shape)} instead of {list(shape)}")
                continue
            compare_values(failures, route, name, stored, numbers, values)


def check_training(case, folder, failures):
    for route, results in run_training(NNC, case, folder, failures):
        for name, dtype, shape, values in case.results:
            if name not in results:
                failures.trouble.append(f"[{route}] no {name}, only {sorted(results)}")
                continue
            if len(results[name]) != math.prod(shape):
                failures.trouble.append(f"[{route}] {name} has {len(results[name])} elements instead of {list(shape)}")
                continue
            compare_values(failures, route, name, dtype, results[name], values)


def check_case(case):
    """The lines that say what is wrong."""
    failures = Failures(case)
    with tempfile.TemporaryDirectory(prefix="nnc-oracle-") as folder:
        {"table": check_table, "tensors": check_tensors, "training": check_training}[case.kind](case, Path(folder), failures)
    if VERBOSE:
        for (route, result), size in sorted(failures.worst.items(), key=lambda item: -item[1]):
            print(f"{case.name} [{route}] {result}: {size:.3g} of the bound")
    return failures.lines()


class Oracle(unittest.TestCase):
    def check(self, path):
        cases = read_cases(path)
        self.assertGreater(len(cases), 0)
        with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
            lines = [line for found in pool.map(check_case, cases) for line in found]
        self.assertEqual(lines, [], "\n" + "\n".join(lines))


def add_files():
    for path in sorted((HERE / "cases").glob("*.txt")):
        setattr(Oracle, f"test_{path.stem}", lambda self, path=path: self.check(path))


add_files()


class Generated(unittest.TestCase):
    def test_the_numbers_are_what_the_generator_writes(self):
        if importlib.util.find_spec("mpmath") is None:
            self.skipTest("mpmath is not installed, which only the generator needs")
        run = subprocess.run([sys.executable, HERE / "generate.py", "--check"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


def main(arguments):
    wrong = 0
    for argument in arguments:
        file, _, wanted = argument.partition(":")
        path = Path(file) if os.path.exists(file) else HERE / "cases" / f"{file}.txt"
        for case in read_cases(path):
            if not wanted or case.name == wanted:
                lines = check_case(case)
                wrong += len(lines)
                print("\n".join(lines) if lines else f"{case.name}: right", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:])) if len(sys.argv) > 1 else unittest.main()
