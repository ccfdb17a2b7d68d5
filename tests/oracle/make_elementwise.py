"""Cases of element-wise operations and functions: every type, awkward arguments, divisors written as numbers."""

import math
from fractions import Fraction

from mpmath import mpf

from casefile import Column, Table
from exact import FORMATS, INTEGERS, fraction, rounded, write
from functions import ACTIVATIONS, FUNCTIONS, from_mp, to_mp
from values import INTEGER_SETS, few, many, power

BITS = {"f32": 48, "f64": 80}  # of what is compared within a bound


def word(value, dtype, bound):
    """An expected number as text."""
    if isinstance(value, str):
        return value
    form = FORMATS.get(dtype)
    if form is None:
        return write(Fraction(value))
    if bound == "exact" or abs(value) > form.infinity * 2:
        return write(rounded(value, form))
    return write(value, BITS[dtype])


def element_table(name, dtype, functions, arguments, with_slopes=False):
    """One argument; with slopes each function has an input of its own, so that its gradient stands alone."""
    case = Table(name)
    index = 0 if dtype == "f32" else 1
    if not with_slopes:
        case.engines.append("report")
        case.code = [f"fn f(x[N]: {dtype}) {{", "  " + ", ".join(f.text for f in functions), "}"]
        case.inputs = [Column("x", dtype)]
        case.results = [Column(f"result.{i}", dtype, f.bounds[index], f.name) for i, f in enumerate(functions)]
        case.rows = [[write(x), *(word(f.value(x), dtype, f.bounds[index]) for f in functions)] for x in arguments]
        return case
    functions = [f for f in functions if f.slope]
    names = [f"x{i}" for i in range(len(functions))]
    texts = [f.text.replace("exp(x", "exp (x").replace("(x", f"({n}").replace("x^", f"{n}^").replace("^x", f"^{n}").replace("-x", f"-{n}").replace("exp (", "exp(")
             for f, n in zip(functions, names)]
    case.code = [f"fn f({', '.join(f'{n}[N]: {dtype}' for n in names)}) {{", "  " + ", ".join(texts), "}"]
    case.options = ["--grad ones"]
    case.inputs = [Column(",".join(names), dtype)]
    case.results = [Column(f"grad.{n}", dtype, f.slope_bound if isinstance(f.slope_bound, str) else f"near {f.slope_bound}", f.name) for f, n in zip(functions, names)]
    case.rows = [[write(x)] + [word(f.slope_at(x), dtype, "near") for f in functions] for x in arguments]
    return case


# --- two floats ---


def is_negative(x):
    return x in ("-0", "-inf") or (not isinstance(x, str) and x < 0)


def signed_zero(negative):
    return "-0" if negative else "0"


def signed_infinity(negative):
    return "-inf" if negative else "inf"


def is_zero(x):
    return x in ("0", "-0")


def is_infinite(x):
    return x in ("inf", "-inf")


def add(x, y):
    if "nan" in (x, y) or (is_infinite(x) and is_infinite(y) and x != y):
        return "nan"
    if is_infinite(x) or is_infinite(y):
        return x if is_infinite(x) else y
    if is_zero(x) and is_zero(y):
        return "-0" if x == y == "-0" else "0"
    return fraction(x) + fraction(y) or "0"


def negated(x):
    if isinstance(x, str):
        return x if x == "nan" else x[1:] if x[0] == "-" else "-" + x
    return -x


def subtract(x, y):
    return add(x, negated(y))


def multiply(x, y):
    negative = is_negative(x) != is_negative(y)
    if "nan" in (x, y) or (is_zero(x) and is_infinite(y)) or (is_zero(y) and is_infinite(x)):
        return "nan"
    if is_infinite(x) or is_infinite(y):
        return signed_infinity(negative)
    return fraction(x) * fraction(y) or signed_zero(negative)


def divide(x, y):
    negative = is_negative(x) != is_negative(y)
    if "nan" in (x, y) or (is_zero(x) and is_zero(y)) or (is_infinite(x) and is_infinite(y)):
        return "nan"
    if is_infinite(x) or is_zero(y):
        return signed_infinity(negative)
    if is_infinite(y) or is_zero(x):
        return signed_zero(negative)
    return fraction(x) / fraction(y)


def floor_divide(x, y):
    """Python's x // y, the floor of the exact quotient; by zero it is the quotient, as in NumPy."""
    if is_zero(y):
        return divide(x, y)
    if "nan" in (x, y) or is_infinite(x):
        return "nan"
    if is_infinite(y):
        return Fraction(-1) if not is_zero(x) and is_negative(x) != is_negative(y) else signed_zero(is_negative(x) != is_negative(y))
    return Fraction(math.floor(fraction(x) / fraction(y))) or signed_zero(is_zero(x) and is_negative(x) != is_negative(y))


def remainder(x, y):
    """Python's x % y: exact, with the sign of y."""
    if "nan" in (x, y) or is_infinite(x) or is_zero(y):
        return "nan"
    if is_infinite(y):
        return signed_zero(is_negative(y)) if is_zero(x) else x if is_negative(x) == is_negative(y) else y
    x, zero = fraction(x), signed_zero(is_negative(y))
    y = fraction(y)
    return x - y * math.floor(x / y) or zero


def larger(x, y):
    if "nan" in (x, y):
        return "nan"
    if is_zero(x) and is_zero(y):
        return x if x == y else "?"
    return max(x, y, key=order)


def smaller(x, y):
    found = larger(negated(x), negated(y))
    return found if found == "?" else negated(found)


def copy_sign(x, y):
    if "nan" in (x, y):
        return "nan"
    return x if is_negative(x) == is_negative(y) else negated(x)


def order(x):
    return power(2000) if x == "inf" else -power(2000) if x == "-inf" else fraction(x)


def compare(holds):
    return lambda x, y: Fraction("nan" not in (x, y) and holds(order(x), order(y)))


def raise_to(x, y):
    """C's pow."""
    one = Fraction(1)
    if y in ("0", "-0") or x == 1:
        return one
    if "nan" in (x, y):
        return "nan"
    if is_infinite(y):
        size = abs(order(x))
        return one if size == 1 else "inf" if (size > 1) == (y == "inf") else "0"
    y = fraction(y)
    odd = y.denominator == 1 and y.numerator % 2 == 1
    if is_zero(x):
        return (signed_infinity if y < 0 else signed_zero)(odd and is_negative(x))
    if is_infinite(x):
        return (signed_zero if y < 0 else signed_infinity)(odd and is_negative(x))
    if x < 0 and y.denominator != 1:
        return "nan"
    size = abs(log_of(x) * to_mp(y))
    if size > 3000:
        value = power(1200) if (log_of(x) > 0) == (y > 0) else power(-1200)
    else:
        import mpmath
        value = from_mp(mpmath.exp(log_of(x) * to_mp(y)))
    return -value if odd and x < 0 else value


def log_of(x):
    import mpmath
    return mpmath.log(to_mp(abs(x)))


COMPARISONS = [("x == y", compare(lambda a, b: a == b)), ("x != y", lambda x, y: Fraction("nan" in (x, y) or order(x) != order(y))),
               ("x < y", compare(lambda a, b: a < b)), ("x <= y", compare(lambda a, b: a <= b)), ("x > y", compare(lambda a, b: a > b)),
               ("x >= y", compare(lambda a, b: a >= b))]
ARITHMETIC = [("x + y", add), ("x - y", subtract), ("x * y", multiply), ("x / y", divide)]
WHOLE = [("x // y", floor_divide), ("x % y", remainder)]
EXTREMES = [("maximum(x, y)", larger), ("minimum(x, y)", smaller), ("copysign(x, y)", copy_sign)]


def pair_table(name, dtype, operations, values, bound="exact"):
    case = Table(name)
    case.engines.append("report")
    case.code = [f"fn f(x[N]: {dtype}, y[N]: {dtype}) {{", "  " + ", ".join(text for text, _ in operations), "}"]
    case.inputs = [Column("x", dtype), Column("y", dtype)]
    case.results = [Column(f"result.{i}" if len(operations) > 1 else "result", "bool" if (text, f) in COMPARISONS else dtype, bound, text)
                    for i, (text, f) in enumerate(operations)]
    pairs = [(x, y) for x in values for y in values]
    case.rows = [[write(x), write(y), *(word(f(x, y), c.dtype, bound) for (_, f), c in zip(operations, case.results))] for x, y in pairs]
    return case


def power_table(dtype):
    form = FORMATS[dtype]
    bases = ["0", "-0", "inf", "-inf", "nan", *(rounded(Fraction(t), form) for t in ("1", "-1", "2", "-2", "0.5", "3", "-3", "1.0000001", "0.99", "1e-30", "1e30", "41"))]
    exponents = ["0", "-0", "inf", "-inf", "nan", *(rounded(Fraction(t), form) for t in ("1", "-1", "2", "3", "-3", "0.5", "-0.5", "0.1", "100", "-100", "127.5", "4", "16777215", "1e9"))]
    case = Table(f"power_{dtype}")
    case.code = [f"fn f(x[N]: {dtype}, y[N]: {dtype}) {{ x ^ y }}"]
    case.inputs = [Column("x", dtype), Column("y", dtype)]
    # In f64 the logarithm carries only its own precision.
    case.results = [Column("result", dtype, "ulp 1" if dtype == "f32" else "power 4", "x ^ y")]
    case.rows = [[write(x), write(y), word(raise_to(x, y), dtype, "ulp")] for x in bases for y in exponents]
    return case


def pair_slopes(dtype):
    """The gradients of functions of two arguments; each has inputs of its own. Ties of the larger and the smaller are halved."""
    import mpmath
    half = Fraction(1, 2)
    form = FORMATS[dtype]
    powers = lambda x, y: from_mp(to_mp(y) * mpmath.exp(to_mp(y - 1) * log_of(x)))  # noqa: E731
    operations = [("{x} + {y}", lambda x, y: (1, 1)), ("{x} - {y}", lambda x, y: (1, -1)), ("{x} * {y}", lambda x, y: (y, x)),
                  ("{x} / {y}", lambda x, y: (1 / y, -x / y**2)), ("{x} % {y}", lambda x, y: (1, -Fraction(math.floor(x / y)))), ("{x} // {y}", lambda x, y: (0, 0)),
                  ("maximum({x}, {y})", lambda x, y: (half if x == y else x > y, half if x == y else x < y)),
                  ("minimum({x}, {y})", lambda x, y: (half if x == y else x < y, half if x == y else x > y)),
                  ("where({x} < {y}, {x}, {y})", lambda x, y: (x < y, x >= y)),
                  ("{x} ^ {y}", lambda x, y: (powers(x, y), from_mp(mpmath.exp(to_mp(y) * log_of(x)) * log_of(x))) if x > 0 else ("?", "?")),
                  ("copysign({x}, {y})", lambda x, y: (1 if (x > 0) == (y > 0) else -1, 0))]
    values = [rounded(Fraction(t), form) for t in ("1", "-1", "2", "3", "41", "-0.1", "0.7", "1e-3", "255", "-1e3", "16777215")]
    pairs = [(x, y) for x in values for y in values if abs(y) < 100 or x < 100]
    names = range(len(operations))
    case = Table(f"pair_slopes_{dtype}")
    case.options = ["--grad ones"]
    case.code = [f"fn f({', '.join(f'x{n}[N]: {dtype}, y{n}[N]: {dtype}' for n in names)}) {{", "  " + ", ".join(t.format(x=f"x{n}", y=f"y{n}") for n, (t, _) in enumerate(operations)), "}"]
    case.inputs = [Column(",".join(f"x{n}" for n in names), dtype), Column(",".join(f"y{n}" for n in names), dtype)]
    bounds = ["power 16" if "^" in t else "near 3" for t, _ in operations]
    case.results = [Column(f"grad.{side}{n}", dtype, bounds[n], t) for n, (t, _) in enumerate(operations) for side in "xy"]
    for x, y in pairs:
        found = [v if isinstance(v, str) else Fraction(v) or "0" for _, f in operations for v in f(x, y)]
        case.rows.append([write(x), write(y), *(word(v, dtype, c.bound) for v, c in zip(found, case.results))])
    return case


def no_contraction_table(dtype):
    """Every operation rounds by itself: products are rounded before they are added."""
    form = FORMATS[dtype]
    r = lambda v: rounded(v, form)  # noqa: E731
    f = lambda v: fraction(v)  # noqa: E731
    case = Table(f"rounded_one_by_one_{dtype}")
    case.engines = ["compiled"]
    case.note = "a fused multiply-add gives other numbers in nearly every row"
    case.code = [f"fn f(x[N]: {dtype}, y[N]: {dtype}, z[N]: {dtype}) {{", "  x*x - x*x, x*y - x*y, x*x - y*y, x*y + z, x - y*z, (x + y) * z, x*y + y*z, 3 * x + y, z - x / y * y", "}"]
    case.inputs = [Column(n, dtype) for n in "xyz"]
    texts = case.code[1].split(",")
    case.results = [Column(f"result.{i}", dtype, "exact", t.strip()) for i, t in enumerate(texts)]
    from values import drawn
    numbers = drawn(form, 96, -3, 3, 21)
    for x, y, z in zip(numbers[:32], numbers[32:64], numbers[64:]):
        xx, yy, xy, yz = r(x * x), r(y * y), r(x * y), r(y * z)
        case.rows.append([write(v) for v in (x, y, z, "0", "0", r(f(xx) - f(yy)), r(f(xy) + z), r(x - f(yz)), r(f(r(x + y)) * z), r(f(xy) + f(yz)),
                                             r(f(r(3 * x)) + y), r(z - f(r(f(r(x / y)) * y))))])
    return case


# --- integers ---


def wrapped(value, dtype):
    low, high = INTEGERS[dtype]
    return Fraction((int(value) - low) % (high - low + 1) + low)


def integer_tables(dtype):
    values = INTEGER_SETS[dtype]
    wrap = lambda g: lambda x, y: wrapped(g(int(x), int(y)), dtype)  # noqa: E731
    operations = [("x + y", wrap(lambda x, y: x + y)), ("x - y", wrap(lambda x, y: x - y)), ("x * y", wrap(lambda x, y: x * y)),
                  ("x // y", lambda x, y: wrapped(x // y, dtype) if y else "?"), ("x % y", lambda x, y: wrapped(x % y, dtype) if y else "?"),
                  ("maximum(x, y)", lambda x, y: max(x, y)), ("minimum(x, y)", lambda x, y: min(x, y)), ("where(x < y, x, y)", lambda x, y: min(x, y))]
    case = Table(f"pairs_{dtype}")
    everything = operations + COMPARISONS
    case.code = [f"fn f(x[N]: {dtype}, y[N]: {dtype}) {{", "  " + ", ".join(t for t, _ in everything), "}"]
    case.inputs = [Column("x", dtype), Column("y", dtype)]
    case.results = [Column(f"result.{i}", dtype, "exact", t) for i, (t, _) in enumerate(everything)]
    for x in values:
        for y in values:
            case.rows.append([write(Fraction(x)), write(Fraction(y)), *(write(g(Fraction(x), Fraction(y))) for _, g in everything)])
    yield case
    single = [("-x", lambda x: wrapped(-x, dtype)), ("abs(x)", lambda x: wrapped(abs(x), dtype)), ("sign(x)", lambda x: Fraction((x > 0) - (x < 0))),
              ("bool(x)", lambda x: Fraction(x != 0)), ("i64(x)", lambda x: x), ("i32(x)", lambda x: wrapped(x, "i32")),
              ("f64(x)", lambda x: rounded(x, FORMATS["f64"])), ("f32(x)", lambda x: rounded(x, FORMATS["f32"])),
              ("maximum(x, 0)", lambda x: max(x, 0)), ("minimum(x, 41)", lambda x: min(x, 41)), ("where(x > 0, x, 0)", lambda x: max(x, 0)),
              ("x + 1", lambda x: wrapped(x + 1, dtype)), ("x - 16777217", lambda x: wrapped(x - 16777217, dtype)), ("x * 3", lambda x: wrapped(x * 3, dtype)),
              ("x == 16777217", lambda x: Fraction(x == 16777217)), ("x < 16777217", lambda x: Fraction(x < 16777217)), ("x >= 2147483647", lambda x: Fraction(x >= 2147483647)),
              ("7 - x", lambda x: wrapped(7 - x, dtype)), ("x - x", lambda x: Fraction(0))]
    if dtype == "i64":
        single += [("x - 1700000000000", lambda x: wrapped(x - 1700000000000, dtype)), ("x == 9007199254740993", lambda x: Fraction(x == 9007199254740993)),
                   ("maximum(x, 9007199254740993)", lambda x: max(x, 9007199254740993)), ("x * 4294967297", lambda x: wrapped(x * 4294967297, dtype))]
    for c in (1, 2, 3, 7, 10, 41, 64, 1000, 16777217, 1000000007, 2147483647) + ((4294967296, 9007199254740993) if dtype == "i64" else ()):
        single += [(f"x // {c}", lambda x, c=c: Fraction(x.numerator // c)), (f"x % {c}", lambda x, c=c: Fraction(x.numerator % c))]
    case = Table(f"single_{dtype}")
    case.engines.append("report")
    case.code = [f"fn f(x[N]: {dtype}) {{", "  " + ", ".join(t for t, _ in single), "}"]
    case.inputs = [Column("x", dtype)]
    case.results = [Column(f"result.{i}", {"f64(x)": "f64", "f32(x)": "f32"}.get(t, dtype), "exact", t) for i, (t, _) in enumerate(single)]
    numbers = sorted(set(values) | {c * k + d for c in (3, 41, 1000) for k in (-41, -1, 1, 7, 1000003) for d in (-1, 0, 1)})
    for x in numbers:
        case.rows.append([write(Fraction(x)), *(write(Fraction(g(Fraction(x))) if not isinstance(g(Fraction(x)), str) else g(Fraction(x))) for _, g in single)])
    yield case


def small_integer_table(dtype):
    """u8, bool and class(N) count as f32 in arithmetic, whose numbers they are."""
    declared = "class(256)" if dtype == "class" else dtype
    values = INTEGER_SETS["u8" if dtype == "class" else dtype]
    single = [("f32(x)", lambda x: x), ("f64(x)", lambda x: x), ("i32(x)", lambda x: x), ("i64(x)", lambda x: x), ("bool(x)", lambda x: Fraction(x != 0)),
              ("x == y", lambda x, y: Fraction(x == y)), ("where(x == y, x, y)", lambda x, y: y)]
    if dtype != "bool":
        single += [("x + y", lambda x, y: x + y), ("x - y", lambda x, y: x - y), ("x * y", lambda x, y: x * y), ("x < y", lambda x, y: Fraction(x < y)),
                   ("x / 255", lambda x: rounded(x / 255, FORMATS["f32"])), ("x / 256", lambda x: x / 256), ("x // 41", lambda x: x // 41), ("x % 41", lambda x: x % 41),
                   ("x // 3", lambda x: x // 3), ("x % 7", lambda x: x % 7), ("x // y", lambda x, y: Fraction(x // y) if y else "?"), ("x % y", lambda x, y: Fraction(x % y) if y else "?"),
                   ("maximum(x, y)", max), ("minimum(x, 3)", lambda x: min(x, Fraction(3))), ("-x", lambda x: -x or "?"), ("x - 200", lambda x: x - 200), ("x * 1000", lambda x: x * 1000)]
    else:
        single += [("x and y", lambda x, y: Fraction(x and y)), ("x or y", lambda x, y: Fraction(x or y)), ("not x", lambda x: 1 - x)]
    case = Table(f"small_{dtype}")
    case.code = [f"fn f(x[N]: {declared}, y[N]: {declared}) {{", "  " + ", ".join(t for t, _ in single), "}"]
    case.inputs = [Column("x", declared if dtype != "class" else "class(256)"), Column("y", declared)]
    case.results = [Column(f"result.{i}", "f32", "exact", t) for i, (t, _) in enumerate(single)]
    for x in map(Fraction, values):
        for y in map(Fraction, values):
            found = [g(x, y) if g in (max, min) or g.__code__.co_argcount == 2 else g(x) for _, g in single]
            case.rows.append([write(x), write(y), *(v if isinstance(v, str) else write(Fraction(v)) for v in found)])
    return case


def mixed_integer_table(small, dtype):
    """u8, bool and class(N) beside an integer are integers of its type, so no digit is lost."""
    declared = "class(256)" if small == "class" else small
    integer = lambda g: lambda x, y: wrapped(g(int(x), int(y)), dtype)  # noqa: E731
    mixed = [("x + y", integer(lambda x, y: x + y)), ("y + x", integer(lambda x, y: x + y)), ("x - y", integer(lambda x, y: x - y)), ("x * y", integer(lambda x, y: x * y)),
             ("y // x", integer(lambda x, y: y // x) if small != "bool" else None), ("y % x", integer(lambda x, y: y % x) if small != "bool" else None),
             ("maximum(x, y)", max), ("minimum(y, x)", min), ("where(x < y, x, y)", min)]
    mixed = [(t, g) for t, g in mixed if g]
    case = Table(f"{small}_beside_{dtype}")
    case.code = [f"fn f(x[N]: {declared}, y[N]: {dtype}) {{", "  " + ", ".join(t for t, _ in mixed), "}"]
    case.inputs = [Column("x", declared), Column("y", dtype)]
    case.results = [Column(f"result.{i}", dtype, "exact", t) for i, (t, _) in enumerate(mixed)]
    for x in map(Fraction, INTEGER_SETS["bool" if small == "bool" else "u8"]):
        for y in map(Fraction, INTEGER_SETS[dtype]):
            case.rows.append([write(x), write(y), *("?" if x == 0 and ("//" in t or "%" in t) else write(Fraction(g(x, y))) for t, g in mixed)])
    return case


# --- divisors that are written as numbers ---


def divisor_table(dtype):
    """x / c, x // c, x % c and floor(x / c) for awkward c, at multiples of c and their neighbours, and at the ends of the type."""
    form = FORMATS[dtype]
    texts = ["1", "3", "41", "7", "10", "0.1", "0.7", "1e-40", "1e-45", "3e38", "1000000007", "16777215", "16777217", "255", "49", "1e20", "-3", "-0.1"]
    if dtype == "f64":
        texts += ["1e-310", "1e308", "9007199254740993"]
    case = Table(f"divided_by_numbers_{dtype}")
    case.engines.append("report")
    case.note = "the divisor stands in the program; each has an input of its own"
    columns = []
    for number, text in enumerate(texts):
        c, x = rounded(Fraction(text), form), f"x{number}"
        quotient = lambda v, c: floor_of(rounded(divide(v, c), form))  # noqa: E731
        operations = [(f"{x} / ({text})", divide, "exact"), (f"{x} // ({text})", floor_divide, "exact"), (f"{x} % ({text})", remainder, "exact"),
                      (f"floor({x} / ({text}))", quotient, "exact compiled")]
        columns.append((x, divisor_arguments(c, form), [(t, [write_word(f(v, c), dtype) for v in divisor_arguments(c, form)], bound) for t, f, bound in operations]))
    case.inputs = [Column(x, dtype) for x, _, _ in columns]
    case.code = [f"fn f({', '.join(f'{x}[N]: {dtype}' for x, _, _ in columns)}) {{"]
    case.code += ["  " + ", ".join(t for t, _, _ in operations) + ("," if x != columns[-1][0] else "") for x, _, operations in columns] + ["}"]
    results = [operation for _, _, operations in columns for operation in operations]
    case.results = [Column(f"result.{i}", dtype, bound, text) for i, (text, _, bound) in enumerate(results)]
    count = max(len(arguments) for _, arguments, _ in columns)
    for i in range(count):
        case.rows.append([write(arguments[i % len(arguments)]) for _, arguments, _ in columns] + [words[i % len(words)] for _, words, _ in results])
    return case


def write_word(value, dtype):
    return word(value, dtype, "exact")


def divisor_arguments(c, form):
    least, largest = power(form.lowest), power(form.highest + 1) - power(form.highest + 1 - form.bits)
    numbers = ["0", "-0", "inf", "-inf", least, -least, largest, -largest, Fraction(1), Fraction(10**8)]
    for k in (1, 2, 3, 5, 41, 255, 1023, 4097, 10**6 + 3, 2**23 + 1):
        for v in (rounded(c * k, form), rounded(-c * k, form)):
            if v not in ("inf", "-inf"):
                numbers += [v, rounded(fraction(v) + form.ulp(fraction(v)), form), rounded(fraction(v) - form.ulp(fraction(v)), form)]
    return list(dict.fromkeys(numbers))


def literal_table(dtype):
    """A number of the program is the number of the type that it meets: in compiled code, in the interpreter and in reports alike."""
    form = FORMATS[dtype]
    c = lambda text: rounded(Fraction(text), form)  # noqa: E731
    same = lambda x, y: x != "nan" and order(x) == order(y)  # noqa: E731
    above = lambda x, y: x != "nan" and order(x) > order(y)  # noqa: E731
    third = rounded(Fraction(1 / 3), form)
    single = [("x + 0.1", lambda x: add(x, c("0.1"))), ("0.1 - x", lambda x: subtract(c("0.1"), x)), ("x * 0.7", lambda x: multiply(x, c("0.7"))), ("x * (1 / 3)", lambda x: multiply(x, third)),
              ("x + 16777217", lambda x: add(x, c("16777217"))), ("x - 9007199254740993", lambda x: subtract(x, c("9007199254740993"))), ("x + 1e-45", lambda x: add(x, c("1e-45"))),
              ("x / 1000000007", lambda x: divide(x, c("1000000007"))), ("41 / x", lambda x: divide(Fraction(41), x)), ("maximum(x, 0.1)", lambda x: larger(x, c("0.1"))),
              ("minimum(x, 16777217)", lambda x: smaller(x, c("16777217"))), ("where(x > 0.1, 0.1, x)", lambda x: c("0.1") if above(x, c("0.1")) else x),
              ("x == 0.1", lambda x: Fraction(same(x, c("0.1")))), ("x > 0.1", lambda x: Fraction(above(x, c("0.1")))), ("x <= 0.7", lambda x: Fraction(x != "nan" and not above(x, c("0.7")))),
              ("x == 16777217", lambda x: Fraction(same(x, c("16777217"))))]
    case = Table(f"literals_{dtype}")
    case.engines.append("report")
    case.code = [f"fn f(x[N]: {dtype}) {{", "  " + ", ".join(t for t, _ in single), "}"]
    case.inputs = [Column("x", dtype)]
    case.results = [Column(f"result.{i}", dtype, "exact", t) for i, (t, _) in enumerate(single)]
    neighbours = [fraction(c(t)) + d * form.ulp(fraction(c(t))) for t in ("0.1", "0.7", "16777217", "41", "1000000007") for d in (-1, 0, 1)]
    case.rows = [[write(x), *(word(g(x), dtype, "exact") for _, g in single)] for x in few(form) + neighbours]
    return case


def floor_of(x):
    if isinstance(x, str):
        return x
    return Fraction(math.floor(x)) or "0"


def cast_table(dtype):
    """From a float: towards zero, to the ends of the type, NaN to 0."""
    form = FORMATS[dtype]

    def to_integer(target):
        low, high = INTEGERS[target]
        return lambda x: Fraction(0) if x == "nan" else Fraction(min(max(int(order(x)), low), high))
    single = [("i32(x)", to_integer("i32")), ("i64(x)", to_integer("i64")), ("bool(x)", lambda x: Fraction(x == "nan" or order(x) != 0)),
              ("f64(x)", lambda x: x), ("f32(x)", lambda x: rounded(x, FORMATS["f32"])), ("i64(floor(x))", lambda x: to_integer("i64")(floor_of(x)))]
    case = Table(f"cast_{dtype}")
    case.code = [f"fn f(x[N]: {dtype}) {{", "  " + ", ".join(t for t, _ in single), "}"]
    case.inputs = [Column("x", dtype)]
    case.results = [Column(f"result.{i}", {3: "f64", 4: "f32"}.get(i, "i64"), "exact", t) for i, (t, _) in enumerate(single)]
    case.rows = [[write(x), *(write(g(x)) for _, g in single)] for x in many(form)]
    return case


def files():
    for dtype, form in FORMATS.items():
        yield f"unary_{dtype}", [element_table(f"functions_{dtype}", dtype, FUNCTIONS, many(form)), cast_table(dtype)]
        yield f"activations_{dtype}", [element_table(f"activations_{dtype}", dtype, ACTIVATIONS, many(form))]
        yield f"slopes_{dtype}", [element_table(f"slopes_{dtype}", dtype, FUNCTIONS, many(form), True),
                                  element_table(f"activation_slopes_{dtype}", dtype, ACTIVATIONS, many(form), True)]
        yield f"pairs_{dtype}", [pair_table(f"arithmetic_{dtype}", dtype, ARITHMETIC, few(form)), pair_table(f"whole_{dtype}", dtype, WHOLE, few(form)),
                                 pair_table(f"order_{dtype}", dtype, EXTREMES + COMPARISONS, few(form)), power_table(dtype), pair_slopes(dtype), no_contraction_table(dtype)]
        yield f"divisors_{dtype}", [divisor_table(dtype), literal_table(dtype)]
    yield "integers", [case for dtype in ("i32", "i64") for case in integer_tables(dtype)] + [small_integer_table(d) for d in ("u8", "bool", "class")] + \
        [mixed_integer_table(small, dtype) for small in ("u8", "bool", "class") for dtype in ("i32", "i64")]
