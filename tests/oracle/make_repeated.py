"""Cases of operands that are repeated over a dimension: a divisor for each row, for each column, one for all; quotients by a sum; sizes around
vectors. What a compiler computes once for a row (a reciprocal, say) must not show."""

from fractions import Fraction

from casefile import Tensors
from exact import FORMATS, fraction, rounded, write
from make_elementwise import add, divide, floor_divide, floor_of, multiply, remainder, subtract
from values import power

DIVISORS = ["41", "3", "1e-40", "-7", "0.1", "1e38", "49", "1e-45", "255", "16777217", "1"]
NUMBERS = ["41", "-41", "123", "1e-40", "3e-45", "1e38", "0.3", "1e8", "255", "-1e-30", "82", "12.3", "16777216", "7"]


def numbers_of(texts, form):
    return [rounded(Fraction(t), form) for t in texts]


def text_of(v):
    return v if isinstance(v, str) else write(v)


def case_of(name, dtype, shape, results, engines, more=""):
    """x[N, A] with s[N], c[A] and t."""
    form = FORMATS[dtype]
    rows, columns = shape
    x, s = numbers_of(NUMBERS, form), numbers_of(DIVISORS, form)
    c, t = s[3:] + s[:3], s[1]
    case = Tensors(name)
    case.engines = engines
    case.inputs = [("x", dtype, shape, ["cycle", *map(text_of, x)]), ("s", dtype, (rows,), ["cycle", *map(text_of, s)]),
                   ("c", dtype, (columns,), ["cycle", *map(text_of, c)]), ("t", dtype, (), ["cycle", text_of(t)])]
    case.code = [f"fn f(x[N, A]: {dtype}, s[N]: {dtype}, c[A]: {dtype}, t: {dtype}) {{", "  " + ", ".join(text for text, _ in results), "}"]
    for n, (_, f) in enumerate(results):
        values = [f(x[(i * columns + j) % len(x)], s[i % len(s)], c[j % len(c)], t, lambda v: rounded(v, form)) for i in range(rows) for j in range(columns)]
        case.results.append((f"result.{n}", dtype, shape, [(rounded(v, form), 0) for v in values]))
    return case


ALONE = [("x / s", lambda x, s, c, t, r: divide(x, s)), ("x / c", lambda x, s, c, t, r: divide(x, c)), ("x / t", lambda x, s, c, t, r: divide(x, t)),
         ("x // s", lambda x, s, c, t, r: floor_divide(x, s)), ("x // c", lambda x, s, c, t, r: floor_divide(x, c)), ("x % s", lambda x, s, c, t, r: remainder(x, s)),
         ("x % t", lambda x, s, c, t, r: remainder(x, t)), ("s / x", lambda x, s, c, t, r: divide(s, x)), ("x * s", lambda x, s, c, t, r: multiply(x, s)),
         ("x - c", lambda x, s, c, t, r: subtract(x, c))]
TOGETHER = [("floor(x / s)", lambda x, s, c, t, r: floor_of(r(divide(x, s)))), ("floor(x / t)", lambda x, s, c, t, r: floor_of(r(divide(x, t)))),
            ("x * s + c", lambda x, s, c, t, r: add(r(multiply(x, s)), c)), ("x * s - x * s", lambda x, s, c, t, r: subtract(r(multiply(x, s)), r(multiply(x, s)))),
            ("(x - c) / s", lambda x, s, c, t, r: divide(r(subtract(x, c)), s)), ("x / s / t", lambda x, s, c, t, r: divide(r(divide(x, s)), t)),
            ("x / s + x / c", lambda x, s, c, t, r: add(r(divide(x, s)), r(divide(x, c)))), ("x / (s * t)", lambda x, s, c, t, r: divide(x, r(multiply(s, t)))),
            ("x + 1e30 - 1e30", lambda x, s, c, t, r: subtract(r(add(x, r(Fraction(10**30)))), r(Fraction(10**30)))), ("x * 1e30 / 1e30", lambda x, s, c, t, r: divide(r(multiply(x, r(Fraction(10**30)))), r(Fraction(10**30)))),
            ("x / 3 * 3", lambda x, s, c, t, r: multiply(r(divide(x, Fraction(3))), Fraction(3))), ("x - x / t * t", lambda x, s, c, t, r: subtract(x, r(multiply(r(divide(x, t)), t)))),
            ("x * c - x * s", lambda x, s, c, t, r: subtract(r(multiply(x, c)), r(multiply(x, s))))]


def shares():
    """Every number of a row over its sum: of rows so small or so large that a reciprocal of the sum would be infinite or nothing."""
    rows = [[power(-140), power(-141), power(-140), power(-139)], [power(100), power(101), power(100), power(99)], [Fraction(1), Fraction(2), Fraction(3), Fraction(58)], [power(-149)] * 4]
    case = Tensors("shares")
    case.inputs = [("x", "f32", (4, 4), ["cycle", *(write(v) for row in rows for v in row)])]
    case.code = ["fn f(x[N, A]) { x / sum(x, over: A), x / max(x, over: A), x / mean(x, over: A) }"]
    form = FORMATS["f32"]
    case.results = [("result.0", "f32", (4, 4), [(rounded(v / sum(row), form), 0) for row in rows for v in row]), ("result.1", "f32", (4, 4), [(rounded(v / max(row), form), 0) for row in rows for v in row]),
                    ("result.2", "f32", (4, 4), [("?", 0) if row[0] == power(-149) else (rounded(fraction(v / sum(row) * 4), form), power(-23) * 4) for row in rows for v in row])]
    return case


FLOATS = {"1e16 % 7": 4, "(-1e16) % 7": 3, "1 // 0.1": 9, "3 // 0.3": 10, "7 % 0.5": 0, "-7 // 2": -4, "-7 % 2": 1, "7 % -2": -1, "floor(-0.5)": -1, "round(2.5)": 2, "round(-3.5)": -4,
          "16777217 / 1": 16777217, "2^53": 2**53, "0.1 * 10": 1, "sqrt(2)^2": Fraction(2) + power(-51), "1e308 * 10 / 10": "inf"}
WHOLE = {"9007199254740993 % 10": 3, "9007199254740993 // 3": 3002399751580331, "3 * 3002399751580331": 9007199254740993, "9007199254740992 + 1": 9007199254740993, "(2^62 - 1)": 2**62 - 1,
         "abs(-9007199254740993)": 9007199254740993, "maximum(9007199254740993, 9007199254740992)": 9007199254740993, "9223372036854775807": 2**63 - 1, "-9223372036854775807": -2**63 + 1,
         "(1700000000001 - 1700000000000)": 1, "-7 // 2": -4, "-7 % 2": 1, "7 % -2": -1}


def constants(name, dtype, expressions):
    """Arithmetic on numbers alone, which the compiler does before anything runs: of a tensor of zeros and such a number."""
    case = Tensors(name)
    case.inputs = [("x", dtype, (3,), ["cycle", "0"])]
    # The number is computed first: `x + (...)`.
    case.code = [f"fn f(x[N]: {dtype}) {{", "  " + ", ".join(f"x + ({text})" for text in expressions), "}"]
    case.results = [(f"result.{n}", dtype, (3,), [(v if isinstance(v, str) else Fraction(v) or "0", 0)]) for n, v in enumerate(expressions.values())]
    return case


def files():
    both = ["compiled", "interpreter"]
    yield "repeated", [case for dtype in ("f32", "f64") for case in
                       (case_of(f"alone_{dtype}", dtype, (11, 14), ALONE, both), case_of(f"alone_of_one_{dtype}", dtype, (1, 33), ALONE, both), case_of(f"alone_of_one_column_{dtype}", dtype, (33, 1), ALONE, both),
                        case_of(f"together_{dtype}", dtype, (11, 14), TOGETHER, ["compiled"]), case_of(f"together_narrow_{dtype}", dtype, (17, 3), TOGETHER, ["compiled"]))] + [shares(), constants("numbers_f64", "f64", FLOATS), constants("numbers_i64", "i64", WHOLE)]
