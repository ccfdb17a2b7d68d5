"""Cases of sums: long ones, over rows, over columns, in gradients, in contractions, to one destination of a gather's gradient; moments, softmax."""

from fractions import Fraction

import mpmath

from casefile import Tensors, period
from exact import F32, F64, fraction, rounded, write
from functions import from_mp, to_mp
from values import power

# The error that a sum may have, as a share of the sum of its absolute values: a chain of at most 1,024 terms, each rounded once, then a tree
# of chains and pieces (at most 64 levels).
CHAIN, TREE = 1024, 64
SIZES = (1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 63, 65, 127, 1000, 1023, 1025, 4097)


def bound(sizes, form=F32, terms=None, extra=2):
    """Of a sum whose absolute values add up to `sizes`; a product of each term and what is done to the sum cost `extra` more roundings."""
    steps = min(CHAIN, terms or CHAIN) + TREE + extra
    return sizes * steps * power(-form.bits)


class Data:
    """An input given by a formula, of which any element can be asked for."""

    def __init__(self, name, dtype, shape, *formula):
        self.name, self.dtype, self.shape, self.formula = name, dtype, shape, [str(word) for word in formula]
        self.values = [fraction(v) if not isinstance(v, str) or v in ("0", "-0") else v for v in period(self.formula)]

    def __getitem__(self, place):
        index = 0
        for i, n in zip(place if isinstance(place, tuple) else (place,), self.shape):
            index = index * n + i
        return self.values[index % len(self.values)]

    def total(self, count):
        """(sum, sum of absolute values) of the first elements in row-major order."""
        rounds, rest = divmod(count, len(self.values))
        add = lambda values: rounds * sum(values) + sum(values[:rest])  # noqa: E731
        return add(self.values), add([abs(v) for v in self.values])

    def line(self):
        return (self.name, self.dtype, self.shape, self.formula)


def case_of(name, code, data, results, options=(), engines=None, note=""):
    case = Tensors(name)
    case.code, case.inputs, case.options, case.note = code, [d.line() for d in data], list(options), note
    case.results = results
    if engines:
        case.engines = engines
    return case


TENTH = write(rounded(Fraction(1, 10), F32))
THIRD = write(rounded(Fraction(1, 3), F64))


def whole_sums(name, count, dtype, *formula):
    """Sum, mean, largest and smallest of all elements, and the gradient of the mean."""
    form = F32 if dtype == "f32" else F64
    x = Data("x", dtype, (count,), *formula)
    total, sizes = x.total(count)
    values = [x[i] for i in range(min(count, len(x.values)))]
    allowed = bound(sizes, form, count)
    return case_of(name, [f"fn f(x[N]: {dtype}) {{ sum(x), mean(x), max(x), min(x) }}"], [x],
                   [("result.0", dtype, (), [(total, allowed)]), ("result.1", dtype, (), [(total / count, allowed / count)]),
                    ("result.2", dtype, (), [(max(values), 0)]), ("result.3", dtype, (), [(min(values), 0)])])


def mean_slope(count):
    """The gradient of a mean is one over the count, rounded."""
    x = Data("x", "f32", (count,), "steps", 7, 3, 1009, -5)
    return case_of(f"slope_of_mean_{count}", ["fn f(x[N]) { mean(x) }"], [x],
                   [("grad.x", "f32", (count,), [(Fraction(1, count), F32.ulp(Fraction(1, count)))])], ["--grad ones"])


def by_size():
    """Every size at once: rows of each length, added up, averaged, squared; the rows are three, the last shifted by the formula."""
    names = [f"x{n}" for n in SIZES]
    data = [Data(name, "f32", (3, n), "steps", 389, n, 1009, -6) for name, n in zip(names, SIZES)]
    code = [f"fn f({', '.join(f'{name}[A, D{n}]' for name, n in zip(names, SIZES))}) {{"]
    code.append("  " + ", ".join(f"sum({name}, over: D{n})" for name, n in zip(names, SIZES)) + ",")
    code.append("  " + ", ".join(f"mean({name}, over: D{n})" for name, n in zip(names, SIZES)) + ",")
    code.append("  " + ", ".join(f"sum({name}, over: A)" for name, n in zip(names, SIZES) if n < 1000) + ",")
    code.append("  " + ", ".join(f"sum({name} * {name}, over: D{n})" for name, n in zip(names, SIZES)) + " }")
    results = []

    def add(shape, values):
        results.append((f"result.{len(results)}", "f32", shape, values))
    rows = [[[d[a, i] for i in range(n)] for a in range(3)] for d, n in zip(data, SIZES)]
    for table, n in zip(rows, SIZES):
        add((3,), [(sum(r), bound(sum(map(abs, r)), terms=n)) for r in table])
    for table, n in zip(rows, SIZES):
        add((3,), [(sum(r) / n, bound(sum(map(abs, r)) / n, terms=n)) for r in table])
    for table, n in zip(rows, SIZES):
        if n >= 1000:
            continue
        columns = [[r[i] for r in table] for i in range(n)]
        add((n,), [(sum(c), bound(sum(map(abs, c)), terms=3, extra=-60)) for c in columns])
    for table, n in zip(rows, SIZES):
        add((3,), [(sum(v * v for v in r), bound(sum(v * v for v in r), terms=n)) for r in table])
    return case_of("rows_of_every_size", code, data, results)


def column_sums(count, width, *formula):
    x = Data("x", "f32", (count, width), *formula)
    columns = [strided(x, c, count, width) for c in range(width)]
    return case_of(f"columns_{count}_{formula[0]}", ["fn f(x[N, D]) { sum(x, over: N), mean(x, over: N) }"], [x],
                   [("result.0", "f32", (width,), [(t, bound(s, terms=count)) for t, s in columns]),
                    ("result.1", "f32", (width,), [(t / count, bound(s / count, terms=count)) for t, s in columns])])


def strided(x, first, count, stride):
    """(sum, sum of absolute values) of `count` elements, `stride` apart."""
    period_of = len(x.values)
    counts = [0] * period_of
    for i in range(count if count < period_of else period_of):
        counts[(first + i * stride) % period_of] += 1
    if count > period_of:
        rounds, rest = divmod(count, period_of)
        counts = [c * rounds for c in counts]
        for i in range(rest):
            counts[(first + i * stride) % period_of] += 1
    return sum(c * v for c, v in zip(counts, x.values)), sum(c * abs(v) for c, v in zip(counts, x.values))


def paired(x, y, first_x, stride_x, first_y, stride_y, count):
    """(sum, sum of absolute values) of `count` products of elements so far apart."""
    n = len(x.values) * len(y.values)
    total = sizes = Fraction(0)
    steps = min(count, n)
    products = [x.values[(first_x + i * stride_x) % len(x.values)] * y.values[(first_y + i * stride_y) % len(y.values)] for i in range(steps)]
    rounds, rest = divmod(count, steps)
    total = rounds * sum(products) + sum(products[:rest])
    sizes = rounds * sum(map(abs, products)) + sum(abs(v) for v in products[:rest])
    return total, sizes


def layer_gradients(count, name, g_formula, x_formula):
    """A dense layer on many rows: gradients of weight, bias and input, each against its sum."""
    inputs, outputs = 3, 5
    x, g = Data("x", "f32", (count, inputs), *x_formula), Data("g", "f32", (count, outputs), *g_formula)
    w, b = Data("w", "f32", (outputs, inputs), "steps", 5, 1, 17, -3), Data("b", "f32", (outputs,), "cycle", "19p2")
    code = ["fn f(x[N, In], w[Out, In], b[Out], g[N, Out]) {", "  sum((sum(x * w, over: In) + b) * g)", "}"]
    bias = [strided(g, o, count, outputs) for o in range(outputs)]
    weights = [paired(x, g, i, inputs, o, outputs, count) for o in range(outputs) for i in range(inputs)]
    return case_of(name, code, [x, w, b, g],
                   [("grad.b", "f32", (outputs,), [(t, bound(s, terms=count)) for t, s in bias]),
                    ("grad.w", "f32", (outputs, inputs), [(t, bound(s, terms=count)) for t, s in weights])], ["--grad ones"])


def contraction(count):
    """Rows times columns over a long dimension."""
    x, y = Data("x", "f32", (2, count), "steps", 389, 5, 113, -6), Data("y", "f32", (3, count), "steps", 91, 2, 31, -3)
    values = [paired(x, y, m * count, 1, p * count, 1, count) for m in range(2) for p in range(3)]
    return case_of(f"contraction_{count}", ["fn f(x[M, K], y[P, K]) { sum(x * y, over: K) }"], [x, y],
                   [("result", "f32", (2, 3), [(t, bound(s, terms=count)) for t, s in values])])


def whole_contraction(rows, length, columns, dtype="f32", batch=None):
    """Products of small whole numbers add up exactly in any order: tiles, edges and tails of awkward sizes, forward and in both gradients."""
    outer = (batch,) if batch else ()
    x, y, g = (Data(n, dtype, outer + shape, "steps", a, b, m, 0) for n, shape, a, b, m in
               (("x", (rows, length), 7, 2, 11), ("y", (columns, length), 5, 1, 13), ("g", (rows, columns), 3, 1, 7)))
    places = range(batch or 1)
    at = lambda t, b, i, j: int(t[(b, i, j) if batch else (i, j)])  # noqa: E731
    dot = lambda f, n: Fraction(sum(f(k) for k in range(n)))  # noqa: E731
    values = [dot(lambda k: at(x, b, i, k) * at(y, b, j, k), length) * at(g, b, i, j) for b in places for i in range(rows) for j in range(columns)]
    of_x = [dot(lambda j: at(g, b, i, j) * at(y, b, j, k), columns) for b in places for i in range(rows) for k in range(length)]
    of_y = [dot(lambda i: at(g, b, i, j) * at(x, b, i, k), rows) for b in places for j in range(columns) for k in range(length)]
    form = lambda numbers: [("?" if v == 0 else v, 0) for v in numbers]  # noqa: E731
    dims = "H, " if batch else ""
    return case_of(f"whole_{batch or 1}_{rows}_{length}_{columns}_{dtype}", [f"fn f(x[{dims}M, K]: {dtype}, y[{dims}P, K]: {dtype}, g[{dims}M, P]: {dtype}) {{ sum(x * y, over: K) * g }}"], [x, y, g],
                   [("result", dtype, outer + (rows, columns), form(values)), ("grad.x", dtype, outer + (rows, length), form(of_x)), ("grad.y", dtype, outer + (columns, length), form(of_y))], ["--grad ones"])


def gathered(count, rows, step, name):
    """The gradient of a gather adds up whatever was read from one row of the table."""
    width = 3
    table, g = Data("table", "f32", (rows, width), "ramp", 7), Data("g", "f32", (count, width), "cycle", TENTH, "-" + TENTH, "3p-3", "5p-7")
    index = Data("index", "i32", (count,), "cycle", *(write(Fraction(i * step % rows)) for i in range(rows)))
    totals = [[Fraction(0), Fraction(0)] for _ in range(rows * width)]
    # Index and gradient repeat after `rows` and four elements: count each pair of places once.
    whole = rows * 4
    for n in range(min(count, whole)):
        times = count // whole + (n < count % whole) if count > whole else 1
        for c in range(width):
            v = g[n, c]
            slot = totals[int(index[n]) * width + c]
            slot[0] += times * v
            slot[1] += times * abs(v)
    return case_of(name, ["fn f(table[V, D], index[N]: i32, g[N, D]) { sum(table[V: index] * g) }"], [table, index, g],
                   [("grad.table", "f32", (rows, width), [(t, bound(s)) for t, s in totals])], ["--grad ones"])


def equal_numbers(dtype="f32"):
    """Of equal numbers the variance is zero, whatever their count, and so is what LayerNorm makes of them."""
    cases = []
    for text in ("0.1", "41.3", "-1e-3", "16777217", "1e30"):
        value = rounded(Fraction(text), F32)
        names = [f"x{n}" for n in SIZES]
        data = [Data(name, "f32", (2, n), "cycle", write(value)) for name, n in zip(names, SIZES)]
        code = [f"fn f({', '.join(f'{name}[A, D{n}]' for name, n in zip(names, SIZES))}) {{"]
        for name, n in zip(names, SIZES):
            code.append(f"  let m{n}, v{n} = moments({name}, over: D{n})")
        code.append("  " + ", ".join(f"m{n}" for n in SIZES) + ",")
        code.append("  " + ", ".join(f"v{n}" for n in SIZES) + ",")
        code.append("  " + ", ".join(f"({name} - m{n}) / sqrt(v{n} + 1e-5)" for name, n in zip(names, SIZES)) + " }")
        results = [("", "f32", (2,), [(value, 0)]) for _ in SIZES] + [("", "f32", (2,), [(Fraction(0), 0)]) for _ in SIZES]
        results = [("", d, s, [("0", 0)] if not v[0][0] else v) for _, d, s, v in results] + [("", "f32", (2, n), [("0", 0)]) for n in SIZES]
        cases.append(case_of(f"equal_{text}", code, data, [(f"result.{i}", d, s, v) for i, (_, d, s, v) in enumerate(results)]))
    return cases


def moments_of(count, offset):
    """Mean and variance of numbers far from zero: the variance comes from distances, not from squares."""
    x = Data("x", "f32", (1, count), "cycle", *(write(rounded(Fraction(offset) + Fraction(i * 7 % 13 - 6, 4), F32)) for i in range(13)))
    values = [x[0, i] for i in range(13)]
    weights = [count // 13 + (i < count % 13) for i in range(13)]
    mean = sum(w * v for w, v in zip(weights, values)) / count
    variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, values)) / count
    sizes = sum(w * abs(v) for w, v in zip(weights, values)) / count
    error = bound(sizes, terms=count)  # of the mean, from which the distances are taken
    distance = max(abs(v - mean) for v in values)
    allowed = error * error + 2 * distance * sizes * power(-24) + bound(variance, terms=count, extra=8)
    return case_of(f"moments_{count}_{offset}", ["fn f(x[A, N]) {", "  let m, v = moments(x, over: N)", "  m, v", "}"], [x],
                   [("result.0", "f32", (1,), [(mean, error)]), ("result.1", "f32", (1,), [(variance, allowed)])])


def layer_norm(count):
    """LayerNorm of rows that are not centred, and its gradient for a gradient of the result that is not constant."""
    x, g = Data("x", "f32", (3, count), "steps", 389, 7, 1009, -6), Data("g", "f32", (3, count), "steps", 91, 2, 127, -5)
    values, slopes = [], []
    for a in range(3):
        row, gs = [to_mp(x[a, i]) + 0 for i in range(count)], [to_mp(g[a, i]) for i in range(count)]
        mean = mpmath.fsum(row) / count
        deviation = mpmath.sqrt(mpmath.fsum((v - mean) ** 2 for v in row) / count + mpmath.mpf("1e-5"))
        normal = [(v - mean) / deviation for v in row]
        g_mean, g_normal = mpmath.fsum(gs) / count, mpmath.fsum(p * q for p, q in zip(gs, normal)) / count
        largest = max(abs(fraction(from_mp(v))) for v in row)
        scale, share = 1 / fraction(from_mp(deviation)), (min(count, CHAIN) + TREE) * power(-24)
        for n, q in zip(normal, gs):
            values.append((from_mp(n), share * (largest * scale + abs(fraction(from_mp(n))))))
            exact = from_mp((q - g_mean - n * g_normal) / deviation)
            slopes.append((exact, share * scale * (4 + 2 * largest * scale) * 2))
    return case_of(f"layer_norm_{count}", ["layer f()(x[N, C], g[N, C]) { (x |> LayerNorm) * g }"], [x, g],
                   [("result", "f32", (3, count), [(fraction(v) * g.values[i % len(g.values)] or "0", a * abs(g.values[i % len(g.values)]) or power(-149)) for i, (v, a) in enumerate(values)]),
                    ("grad.x", "f32", (3, count), slopes), ("grad.g", "f32", (3, count), values)], ["--grad ones"])


def tied_slopes():
    """The gradient of a largest is shared by all that are it."""
    x = Data("x", "f32", (7, 5), "cycle", "3p0", "3p0", "1p0", "3p0", "-5p0")
    both = [rounded(Fraction(1, 3), F32) if v == 3 else "0" for v in x.values]
    low = [Fraction(1) if v == -5 else "0" for v in x.values]
    return [case_of(f"tied_slope_{name}", [f"fn f(x[A, D]) {{ {name}(x, over: D) }}"], [x], [("grad.x", "f32", (7, 5), [(v, 0) for v in values])], ["--grad ones"])
            for name, values in (("max", both), ("min", low))]


def softmax_case(name, row, count, note=""):
    """softmax, log_softmax and logsumexp of a row that repeats."""
    x = Data("x", "f32", (2, count), "cycle", *(v if isinstance(v, str) else write(v) for v in row))
    numbers = [x[0, i] for i in range(count)]
    finite = [v for v in numbers if not isinstance(v, str)]
    largest = max(finite)
    total = mpmath.fsum(mpmath.exp(to_mp(v - largest)) for v in finite)
    log_total = mpmath.log(total)
    both = [x[a, i] for a in range(2) for i in range(count)]
    # The sum's own error, that of each exponential (its argument is rounded once), and that of the quotient.
    share = (min(count, CHAIN) + TREE + 8) * power(-24)
    shifted = lambda v: v - largest  # noqa: E731
    softmax = [(("0", 0) if v == "-inf" else (from_mp(mpmath.exp(to_mp(shifted(v))) / total), 0)) for v in both]
    softmax = [(v, 0 if v == "0" else (share + abs(shifted(b)) * power(-23)) * v + power(-148)) for (v, _), b in zip(softmax, both)]
    logs = [("-inf", 0) if v == "-inf" else (fraction(from_mp(to_mp(shifted(v)) - log_total)), 0) for v in both]
    logs = [(v, 0 if v == "-inf" else 2 * share + abs(v) * power(-23)) for v, _ in logs]
    lse = fraction(from_mp(to_mp(largest) + log_total))
    return case_of(name, ["fn f(x[A, C]) { softmax(x, over: C), log_softmax(x, over: C), logsumexp(x, over: C) }"], [x],
                   [("result.0", "f32", (2, count), softmax), ("result.1", "f32", (2, count), [(v if v == "-inf" else v, a) for v, a in logs]),
                    ("result.2", "f32", (2,), [(lse, 2 * share + abs(lse) * power(-23))])], note=note)


def extremes():
    """Largest, smallest and their places among ties, zeros, infinities and NaN, at the ends of vectors of every size."""
    cases = []
    rows = {"ties": ("3p0", "3p0", "1p0", "3p0", "-5p0"), "infinities": ("-inf", "-inf", "1p0", "inf", "inf"), "only_minus_infinity": ("-inf",),
            "nan": ("1p0", "7p0", "nan", "nan", "inf"), "negative": ("-3p0", "-1p-149", "-1p127", "-1p-149")}
    for name, row in rows.items():
        names = [f"x{n}" for n in SIZES]
        data = [Data(x, "f32", (1, n), "cycle", *row) for x, n in zip(names, SIZES)]
        code = [f"fn f({', '.join(f'{x}[A, D{n}]' for x, n in zip(names, SIZES))}) {{"]
        code.append("  " + ", ".join(f"max({x}, over: D{n}), min({x}, over: D{n}), argmax({x}, over: D{n})" for x, n in zip(names, SIZES)) + " }")
        results = []
        for d, n in zip(data, SIZES):
            values = [d[0, i] for i in range(n)]
            key = lambda v: power(2000) if v == "inf" else -power(2000) if v == "-inf" else v  # noqa: E731
            if "nan" in values:
                found = ("nan", "nan", Fraction(values.index("nan")))
            else:
                found = (max(values, key=key), min(values, key=key), Fraction(values.index(max(values, key=key))))
            results += [(f"result.{len(results) + i}", "f32", (1,), [(v if v else "0", 0)]) for i, v in enumerate(found)]
        cases.append(case_of(f"extremes_{name}", code, data, results))
    return cases


def integer_sums():
    cases = []
    for dtype, formula, low, high in (("i32", ("cycle", "7fffffffp0", "3b9aca07p0", "-5p0"), -2**31, 2**31), ("i64", ("cycle", "20000000000001p0", "7fffffffffffffffp0", "-3p0"), -2**63, 2**63)):
        for count in (3, 1025):
            x = Data("x", dtype, (2, count), *formula)
            rows = [[x[a, i] for i in range(count)] for a in range(2)]
            wrap = lambda v: Fraction((int(v) - low) % (high - low) + low)  # noqa: E731
            cases.append(case_of(f"sum_{dtype}_{count}", [f"fn f(x[A, N]: {dtype}) {{ sum(x, over: N), max(x, over: N), min(x, over: N), argmax(x, over: N), sum(x) }}"], [x],
                                 [("result.0", dtype, (2,), [(wrap(sum(r)), 0) for r in rows]), ("result.1", dtype, (2,), [(max(r), 0) for r in rows]),
                                  ("result.2", dtype, (2,), [(min(r), 0) for r in rows]), ("result.3", "i32", (2,), [(Fraction(r.index(max(r))) or "0", 0) for r in rows]),
                                  ("result.4", dtype, (), [(wrap(sum(map(sum, rows))), 0)])]))
    for dtype, formula in (("u8", ("cycle", "ffp0", "3p0")), ("bool", ("cycle", "1p0", "1p0", "0"))):
        x = Data("x", dtype, (100003,), *formula)
        total, _ = x.total(100003)
        cases.append(case_of(f"sum_{dtype}", [f"fn f(x[N]: {dtype}) {{ sum(x), mean(x) }}"], [x],
                             [("result.0", "f32", (), [(total, 0)]), ("result.1", "f32", (), [(total / 100003, F32.ulp(total / 100003))])],
                             note="whole numbers below 2^24 add up exactly"))
    return cases


def files():
    steps = ("steps", 389, 11, 1009, -6)
    yield "sums", [whole_sums("tenths_10000000", 10**7, "f32", "cycle", TENTH), whole_sums("signs_1000003", 10**6 + 3, "f32", "cycle", TENTH, "-" + TENTH, "1p-20"),
                   whole_sums("steps_1000003", 10**6 + 3, "f32", *steps), whole_sums("large_and_small", 4097, "f32", "cycle", "1p24", "1p0", "-1p24", "1p0"),
                   whole_sums("thirds_f64", 10**6 + 3, "f64", "cycle", THIRD), whole_sums("steps_f64", 4097, "f64", *steps), mean_slope(1023), mean_slope(41), mean_slope(100003),
                   by_size(), column_sums(100003, 4, "cycle", TENTH), column_sums(1000003, 3, *steps), column_sums(1025, 17, *steps)]
    yield "sums_of_products", [layer_gradients(100003, "layer_equal", ("cycle", TENTH), ("cycle", "3p-1")), layer_gradients(1000003, "layer_long", ("cycle", TENTH), ("cycle", TENTH)),
                               layer_gradients(4097, "layer_steps", ("steps", 91, 2, 127, -7), ("steps", 5, 2, 31, -3)),
                               *(whole_contraction(*sizes) for sizes in ((1, 1, 1), (3, 41, 7), (17, 33, 65), (31, 127, 5), (2, 1025, 3), (65, 7, 17), (5, 3, 2, "f64"), (17, 41, 9, "f64"), (7, 9, 3, "f32", 5), (1, 17, 33, "f32", 3))),
                               contraction(1), contraction(17), contraction(1025), contraction(4097), contraction(100003),
                               gathered(1000003, 1, 1, "gather_one_row"), gathered(100003, 7, 3, "gather_seven_rows"), gathered(4097, 41, 5, "gather_41_rows")]
    ramp = [Fraction(v) for v in (0, 3, -2, 88, -104, 1)]
    yield "moments", [*equal_numbers(), moments_of(1023, 0), moments_of(1025, 1000), moments_of(4097, 10**6), moments_of(13, -41), *(layer_norm(n) for n in (1, 2, 3, 17, 65, 257)),
                      *(softmax_case(f"softmax_equal_{n}", [rounded(Fraction(1, 10), F32)], n) for n in (1, 2, 3, 7, 1000, 4097)),
                      softmax_case("softmax_large", [v * 100 for v in ramp], 6), softmax_case("softmax_mixed", ramp, 41), softmax_case("softmax_far", [Fraction(10**30), Fraction(-10**30), Fraction(0)], 3),
                      softmax_case("softmax_masked", [Fraction(1), "-inf", Fraction(2)], 33)]
    yield "extremes", extremes() + tied_slopes() + integer_sums()
