"""Cases of losses and metrics, by their definitions."""

import random
from fractions import Fraction

import mpmath
from mpmath import mpf

from casefile import Tensors
from exact import F32, fraction, rounded, write
from functions import from_mp, sigmoid, softplus, to_mp
from values import power


def single(x):
    return rounded(Fraction(x), F32)


def tensor_case(name, code, inputs, results, options=(), note=""):
    case = Tensors(name)
    case.code, case.options, case.note = code, list(options), note
    case.inputs = [(n, dtype, shape, ["cycle", *(v if isinstance(v, str) else write(Fraction(v)) for v in values)]) for n, dtype, shape, values in inputs]
    case.results = results
    return case


def with_error(exact, units, scale=0):
    """(value, allowed): so many units of f32 in the value or in what it is taken from, whichever is larger."""
    value = from_mp(exact) if isinstance(exact, mpf) else exact
    if isinstance(value, str):
        return value, 0
    if abs(value) > F32.infinity:
        return ("-inf" if value < 0 else "inf"), 0
    units = Fraction(units)
    return value, units * power(-24) * max(abs(value), Fraction(scale)) + power(-149) * units


def size(value):
    return abs(fraction(from_mp(value)))


def flat(rows):
    return [v for row in rows for v in row]


def logit_rows(classes, seed):
    """Rows of logits: ordinary, equal, far apart, large."""
    draw = random.Random(seed)
    ordinary = [[single(Fraction(draw.randint(-4000, 4000), 1000)) for _ in range(classes)] for _ in range(2)]
    equal = [single("0.1")] * classes
    far = [single(-104 if i % 3 else 88) for i in range(classes)]
    large = [single(Fraction(10**4) * (1 if i == classes - 1 else -1)) for i in range(classes)]
    huge = [single(Fraction(10**30) * (i % 5 - 2)) for i in range(classes)]
    return [r if not any(v == "0" for v in r) else [Fraction(0) if v == "0" else v for v in r] for r in (*ordinary, equal, far, large, huge)]


def log_softmax(row):
    numbers = [to_mp(v) for v in row]
    largest = max(numbers)
    total = mpmath.log(mpmath.fsum(mpmath.exp(v - largest) for v in numbers))
    return [v - largest - total for v in numbers]


def cross_entropy_cases():
    for classes in (1, 2, 3, 10, 41, 257):
        rows = logit_rows(classes, classes)
        labels = [i * 7 % classes for i in range(len(rows))]
        logs = [log_softmax(r) for r in rows]
        losses = [-l[i] for l, i in zip(logs, labels)]
        scale = 1 + classes / 16
        values = [with_error(v, 24, scale if abs(v) < 1e4 else 1) for v in losses]
        smooth = [mpf(9) / 10 * loss - mpf(1) / 10 * mpmath.fsum(l) / classes for loss, l in zip(losses, logs)]
        values_smooth = [with_error(v, 40, size(v) * 8 + Fraction(scale)) for v in smooth]
        code = [f"dim Classes = {classes}", "fn f(x[N, Classes], label[N]: class(Classes)) {", "  cross_entropy(x, label, reduce: none), cross_entropy(x, label, reduce: none, smoothing: 0.1)", "}"]
        inputs = [("x", "f32", (len(rows), classes), flat(rows)), ("label", "i32", (len(rows),), labels)]
        yield tensor_case(f"cross_entropy_{classes}", code, inputs, [("result.0", "f32", (len(rows),), values), ("result.1", "f32", (len(rows),), values_smooth)])
        # Ordinary logits: mean, sum, and the gradient (softmax - one_hot) / rows.
        few, picked = rows[:3], labels[:3]
        shares = [[mpmath.exp(v) for v in log_softmax(r)] for r in few]
        slopes = [(s - (c == i)) / 3 for share, i in zip(shares, picked) for c, s in enumerate(share)]
        mean = mpmath.fsum(losses[:3]) / 3
        code = [f"dim Classes = {classes}", "fn f(x[N, Classes], label[N]: class(Classes)) { cross_entropy(x, label) }"]
        inputs = [("x", "f32", (3, classes), flat(few)), ("label", "i32", (3,), picked)]
        yield tensor_case(f"cross_entropy_slope_{classes}", code, inputs, [("result", "f32", (), [with_error(mean, 24, scale)]),
                                                                          ("grad.x", "f32", (3, classes), [with_error(v, 24 + classes / 32, 1) for v in slopes])], ["--grad ones"])


LOGITS = ["0", *(single(v) for v in ("1", "-1", "0.1", "5.5", "-5.5", "20", "-20", "88.8", "-104.5", "1e4", "-1e4", "1e-30", "3e38", "-3e38"))]


def two_class_cases():
    pairs = [(x, t) for x in LOGITS for t in (Fraction(0), Fraction(1), Fraction(1, 4))]
    number = lambda v: Fraction(0) if v == "0" else v  # noqa: E731
    losses, slopes, shares = [], [], []
    for x, t in pairs:
        x = to_mp(number(x))
        loss = softplus(x) - x * to_mp(t) if abs(x) < 5000 else max(x, mpf(0)) - x * to_mp(t)
        losses.append(with_error(loss, 8, size(x * to_mp(t))))
        share = sigmoid(x) if abs(x) < 5000 else mpf(x > 0)
        slopes.append(with_error(share - to_mp(t), 8, 1))
    n = len(pairs)
    inputs = [("x", "f32", (n,), [x for x, _ in pairs]), ("t", "f32", (n,), [t for _, t in pairs])]
    yield tensor_case("binary_cross_entropy", ["fn f(x[N], t[N]) { binary_cross_entropy(x, t, reduce: none) }"], inputs, [("result", "f32", (n,), losses), ("grad.x", "f32", (n,), slopes)], ["--grad ones"])


def distance_cases():
    pairs = [(single(a), single(b)) for a, b in (("1", "1"), ("0.1", "0.3"), ("-0.5", "0.5"), ("1e10", "1"), ("1e30", "-1e30"), ("1e-30", "-1e-30"), ("16777217", "3"), ("41", "40"), ("2", "1"), ("0.25", "1.25"))]
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    gaps = [single(x - y) for x, y in pairs]
    gaps = [Fraction(0) if g == "0" else g for g in gaps]
    n = len(pairs)
    huber = [g * g / 2 if abs(g) < 1 else abs(g) - Fraction(1, 2) for g in gaps]
    slopes = [max(min(g, Fraction(1)), Fraction(-1)) for g in gaps]
    hinge = [max(1 - x * y, Fraction(0)) for x, y in pairs]
    inputs = [("x", "f32", (n,), a), ("y", "f32", (n,), b)]
    yield tensor_case("distances", ["fn f(x[N], y[N]) {", "  mean_squared_error(x, y, reduce: none), mean_absolute_error(x, y, reduce: none), huber(x, y, reduce: none), hinge(x, y, reduce: none),",
                                    "  huber(x, y, delta: 0.25, reduce: none), max_absolute_error(x, y)", "}"], inputs,
                      [("result.0", "f32", (n,), [with_error(g * g, 2) for g in gaps]), ("result.1", "f32", (n,), [(abs(g) or "0", 0) for g in gaps]),
                       ("result.2", "f32", (n,), [with_error(v, 2, 1 if v else 0) if v else ("0", 0) for v in huber]),
                       ("result.3", "f32", (n,), [with_error(v, 2, abs(x * y)) if v else ("0", 0) for v, (x, y) in zip(hinge, pairs)]),
                       ("result.4", "f32", (n,), [with_error(g * g / 2 if abs(g) < Fraction(1, 4) else (abs(g) - Fraction(1, 8)) / 4, 2, 1 if g else 0) if g else ("0", 0) for g in gaps]),
                       ("result.5", "f32", (), [(max(map(abs, gaps)), 0)])])
    yield tensor_case("huber_slope", ["fn f(x[N], y[N]) { huber(x, y, reduce: sum) }"], inputs,
                      [("grad.x", "f32", (n,), [with_error(v, 1) for v in slopes]), ("grad.y", "f32", (n,), [with_error(-v, 1) for v in slopes])], ["--grad ones"])
    mean = [single(v) for v in ("1", "2", "4", "7", "11")]
    target = [single(v) for v in ("1.5", "2", "3", "7", "12")]
    gap = [x - y for x, y in zip(mean, target)]
    squares = sum(g * g for g in gap)
    centre = sum(target) / 5
    yield tensor_case("regression_metrics", ["fn f(x[N], y[N]) { r2(x, y), root_mean_squared_error(x, y), mean_squared_error(x, y), mean_absolute_error(x, y), max_absolute_error(x, y) }"],
                      [("x", "f32", (5,), mean), ("y", "f32", (5,), target)],
                      [("result.0", "f32", (), [with_error(1 - squares / sum((t - centre) ** 2 for t in target), 8, 1)]),
                       ("result.1", "f32", (), [with_error(mpmath.sqrt(to_mp(squares / 5)), 4)]), ("result.2", "f32", (), [with_error(squares / 5, 4)]),
                       ("result.3", "f32", (), [with_error(sum(map(abs, gap)) / 5, 4)]), ("result.4", "f32", (), [(Fraction(1), 0)])])


def divergence_case():
    rows = logit_rows(5, 99)[:4]
    shares = [[Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(1, 8), Fraction(1, 8)], [Fraction(1)] + [Fraction(0)] * 4, [single("0.2")] * 5, [power(-149), Fraction(1, 2), Fraction(1, 4), power(-20), Fraction(1, 4)]]
    values = []
    for row, share in zip(rows, shares):
        for v, s in zip(log_softmax(row), share):
            exact = to_mp(s) * (mpmath.log(to_mp(s)) - v) if s else mpf(0)
            values.append(with_error(exact, 16, s * (size(v) + 104)) if s else ("0", 0))
    yield tensor_case("kl_divergence", ["dim Classes = 5", "fn f(x[N, Classes], t[N, Classes]) { kl_divergence(x, t, reduce: none) }"],
                      [("x", "f32", (4, 5), flat(rows)), ("t", "f32", (4, 5), flat(shares))], [("result", "f32", (4, 5), values)])


def focal_cases():
    rows = logit_rows(3, 31)[:4]
    labels, alpha = [0, 2, 1, 1], [Fraction(1, 2), Fraction(2), Fraction(3, 4)]
    losses = [-log_softmax(r)[i] for r, i in zip(rows, labels)]
    hard = lambda loss, gamma: (-mpmath.expm1(-loss)) ** gamma * loss  # noqa: E731
    # Of a loss that is far below the logits the power keeps no more digits than the loss itself has.
    allowed = lambda loss, gamma: 40 * (1 + gamma) * (1 + (1 / size(loss) if loss else 0))  # noqa: E731
    of = lambda gamma, factor: [with_error(hard(v, mpf(gamma)) * to_mp(f), allowed(v, Fraction(gamma))) for v, f in zip(losses, factor)]  # noqa: E731
    yield tensor_case("focal_loss", ["dim Classes = 3", "fn f(x[N, Classes], label[N]: class(Classes)) {", "  let alpha = [0.5, 2, 0.75]", "  focal_loss(x, label, reduce: none), focal_loss(x, label, gamma: 0.5, alpha: alpha, reduce: none)", "}"],
                      [("x", "f32", (4, 3), flat(rows)), ("label", "i32", (4,), labels)],
                      [("result.0", "f32", (4,), of(2, [Fraction(1)] * 4)), ("result.1", "f32", (4,), of("0.5", [alpha[i] for i in labels]))])
    pairs = [(x, t) for x in LOGITS[:10] for t in (Fraction(0), Fraction(1), Fraction(1, 4))]
    values = []
    for x, t in pairs:
        x = to_mp(Fraction(0) if x == "0" else x)
        loss, miss = softplus(x) - x * to_mp(t), to_mp(t) * sigmoid(-x) + to_mp(1 - t) * sigmoid(x)
        values.append(with_error(miss**2 * loss, 48, size(miss**2 * x * to_mp(t))))
    n = len(pairs)
    yield tensor_case("binary_focal_loss", ["fn f(x[N], t[N]) { binary_focal_loss(x, t, reduce: none) }"],
                      [("x", "f32", (n,), [x for x, _ in pairs]), ("t", "f32", (n,), [t for _, t in pairs])], [("result", "f32", (n,), values)])


def likelihood_cases():
    rows = [[single(v) for v in row] for row in (("0.5", "0.5", "0.1"), ("1", "-2", "3"), ("40", "41", "1e-3"), ("-0.1", "0.3", "1e10"), ("1e4", "-1e4", "2"), ("7", "1", "0.25"), ("1", "7", "1e-30"))]
    rows = [[Fraction(0) if v == "0" else Fraction(v) for v in row] for row in rows]
    n, least = len(rows), single("1e-6")
    inputs = [(name, "f32", (n,), column) for name, column in zip("xyv", zip(*rows))]
    values, full = [], []
    for x, y, v in rows:
        v = to_mp(max(v, least))
        terms = mpmath.log(v) / 2, to_mp(x - y) ** 2 / v / 2
        scale = size(terms[0]) + size(terms[1])
        values.append(with_error(terms[0] + terms[1], 8, scale))
        full.append(with_error(terms[0] + terms[1] + mpmath.log(2 * mpmath.pi) / 2, 8, scale + 1))
    yield tensor_case("gaussian_nll", ["fn f(x[N], y[N], v[N]) { gaussian_nll(x, y, v, reduce: none), gaussian_nll(x, y, v, full: true, reduce: none) }"], inputs,
                      [("result.0", "f32", (n,), values), ("result.1", "f32", (n,), full)])
    pairs = [(Fraction(single(a)), Fraction(b)) for a, b in (("0.5", 1), ("-2", 3), ("20", 5), ("-40", 0), ("1e-3", 1000), ("3", 20), ("5", 150))] + [(Fraction(0), Fraction(2))]
    n = len(pairs)

    def stirling(count):
        c = to_mp(count)
        return mpf(0) if count <= 1 else c * mpmath.log(c) - c + mpmath.log(2 * mpmath.pi * c) / 2

    logs, whole, means = [], [], []
    for x, count in pairs:
        e = mpmath.exp(to_mp(x))
        scale = size(e) + abs(x * count)
        logs.append(with_error(e - to_mp(x * count), 8, scale))
        large = scale + (abs(count) * (size(mpmath.log(to_mp(count))) + 1) if count > 1 else 0)
        whole.append(with_error(e - to_mp(x * count) + stirling(count), 12, large))
        mean = abs(x)
        log = mpmath.log(to_mp(mean) + mpf("1e-8"))
        means.append(with_error(to_mp(mean) - to_mp(count) * log, 12, mean + abs(count) * size(log)))
    yield tensor_case("poisson_nll", ["fn f(x[N], y[N]) { poisson_nll(x, y, reduce: none), poisson_nll(x, y, full: true, reduce: none), poisson_nll(abs(x), y, log_input: false, reduce: none) }"],
                      [("x", "f32", (n,), [x or "0" for x, _ in pairs]), ("y", "f32", (n,), [y or "0" for _, y in pairs])],
                      [("result.0", "f32", (n,), logs), ("result.1", "f32", (n,), whole), ("result.2", "f32", (n,), means)])


def embedding_cases():
    texts = (("1", "2", "-3", "0.5"), ("0.1", "0.2", "0.3", "-0.7"), ("100", "1e-3", "5", "-7"), ("-1", "-2", "3", "-0.5"), ("3", "0.25", "-1", "2"))
    rows = [[Fraction(single(v)) for v in row] for row in texts]
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))  # noqa: E731
    length = lambda a: mpmath.sqrt(to_mp(dot(a, a)))  # noqa: E731
    cosine = lambda a, b: to_mp(dot(a, b)) / (length(a) * length(b))  # noqa: E731
    others = rows[1:] + rows[:1]
    n = len(rows)
    inputs = [("x", "f32", (n, 4), flat(rows)), ("y", "f32", (n, 4), flat(others))]
    cosines = [cosine(a, b) for a, b in zip(rows, others)]
    yield tensor_case("cosines", ["fn f(x[N, C], y[N, C]) { cosine_similarity(x, y), cosine_loss(x, y, ones([N]), reduce: none), cosine_loss(x, y, -ones([N]), margin: -0.5, reduce: none) }"], inputs,
                      [("result.0", "f32", (n,), [with_error(c, 12, 1) for c in cosines]), ("result.1", "f32", (n,), [with_error(1 - c, 12, 2) for c in cosines]),
                       ("result.2", "f32", (n,), [with_error(max(c + mpf("0.5"), mpf(0)), 12, 2) if c > -0.5 else ("0", 0) for c in cosines])])
    moved = lambda a, b: length([x - y + single("1e-6") for x, y in zip(a, b)])  # noqa: E731
    triplets = []
    for i, (a, b) in enumerate(zip(rows, others)):
        near, far = moved(a, b), moved(a, rows[(i + 2) % n])
        gap = near - far + 50
        triplets.append(with_error(gap, 12, size(near) + size(far) + 50) if gap > 0 else ("0", 0))
    yield tensor_case("triplets", ["fn f(x[N, C], y[N, C], z[N, C]) { triplet_loss(x, y, z, margin: 50, reduce: none) }"],
                      [*inputs, ("z", "f32", (n, 4), flat(rows[2:] + rows[:2]))], [("result", "f32", (n,), triplets)])
    scores = [[cosine(a, b) * 4 for b in others] for a in rows]
    total = lambda values: mpmath.log(mpmath.fsum(mpmath.exp(v) for v in values))  # noqa: E731
    one = [total(scores[i]) - scores[i][i] for i in range(n)]
    both = [(one[i] + total([scores[k][i] for k in range(n)]) - scores[i][i]) / 2 for i in range(n)]
    yield tensor_case("contrastive", ["fn f(x[R, N, C], y[R, N, C]) { contrastive_loss(x, y, temperature: 0.25, reduce: none), contrastive_loss(x, y, temperature: 0.25, symmetric: true, reduce: none) }"],
                      [("x", "f32", (1, n, 4), flat(rows)), ("y", "f32", (1, n, 4), flat(others))],
                      [("result.0", "f32", (1, n), [with_error(v, 24, 4) for v in one]), ("result.1", "f32", (1, n), [with_error(v, 24, 4) for v in both])])


def dice_cases():
    rows = [[Fraction(single(v)) for v in row] for row in (("0.5", "-1", "3"), ("88", "88", "88"), ("-2", "0.1", "-0.3"))]
    right = [[Fraction(1), Fraction(0), Fraction(1)], [Fraction(1)] * 3, [Fraction(0)] * 3]
    values = []
    for row, area in zip(rows, right):
        found = [sigmoid(to_mp(v)) for v in row]
        both, all = mpmath.fsum(f * to_mp(r) for f, r in zip(found, area)), mpmath.fsum(found) + to_mp(sum(area))
        values.append(1 - (2 * both + 1) / (all + 1))
    yield tensor_case("binary_dice_loss", ["fn f(x[N, P], y[N, P]) { binary_dice_loss(x, y, reduce: none) }"],
                      [("x", "f32", (3, 3), flat(rows)), ("y", "f32", (3, 3), [v or "0" for v in flat(right)])], [("result", "f32", (3,), [with_error(v, 12, 1) for v in values])])


# --- metrics ---


def rank_right(row, label, k):
    """Whether the label is among the k largest. Ahead of it are the larger ones, NaN, and of equal ones those that come first; as NaN itself it is
    never right."""
    if row[label] == "nan":
        return False
    key = lambda v: power(3000) if v == "nan" else -power(3000) if v == "-inf" else fraction(v)  # noqa: E731
    own = key(row[label])
    return sum(key(v) > own or (key(v) == own and i < label) for i, v in enumerate(row)) < k


def metric_cases():
    n = 12
    draw = random.Random(4)
    separate = [[single(v) for v in draw.sample(range(1, 100), 5)] for _ in range(n)]
    labels = [draw.randrange(5) for _ in range(n)]
    found = [max(range(5), key=lambda c: r[c]) for r in separate]
    table = [[sum(l == a and f == b for l, f in zip(labels, found)) for b in range(5)] for a in range(5)]
    share = lambda c, totals: Fraction(table[c][c], max(totals, 1))  # noqa: E731
    precision = sum(share(c, sum(table[a][c] for a in range(5))) for c in range(5)) / 5
    recall = sum(share(c, sum(table[c])) for c in range(5)) / 5
    f1 = sum(Fraction(2 * table[c][c], max(sum(table[a][c] for a in range(5)) + sum(table[c]), 1)) for c in range(5)) / 5
    inputs = [("x", "f32", (n, 5), flat(separate)), ("label", "i32", (n,), labels)]
    head = ["dim Classes = 5", "fn f(x[N, Classes], label[N]: class(Classes)) {"]
    exact = lambda v: with_error(Fraction(v), 3) if v else ("0", 0)  # noqa: E731
    yield tensor_case("metrics", head + ["  accuracy(x, label), top_k(x, label, k: 2), top_k(x, label, k: 5), precision(x, label), recall(x, label), f1(x, label), confusion(x, label), perplexity(x / 50, label)", "}"], inputs,
                      [("result.0", "f32", (), [exact(Fraction(sum(l == f for l, f in zip(labels, found)), n))]),
                       ("result.1", "f32", (), [exact(Fraction(sum(rank_right(r, l, 2) for r, l in zip(separate, labels)), n))]), ("result.2", "f32", (), [exact(1)]),
                       ("result.3", "f32", (), [exact(precision)]), ("result.4", "f32", (), [exact(recall)]), ("result.5", "f32", (), [exact(f1)]),
                       ("result.6", "f32", (5, 5), [exact(Fraction(v)) if v else ("0", 0) for row in table for v in row]),
                       ("result.7", "f32", (), [with_error(mpmath.exp(-mpmath.fsum(log_softmax([v / 50 for v in r])[l] for r, l in zip(separate, labels)) / n), 32)])])
    one, two = single("1"), single("2")
    rows = [[one] * 5, [one] * 5, [two, one, two, one, one], [two, one, two, one, one], ["nan"] * 5, ["nan", one, two, one, one], [one, two, "nan", one, one], ["-inf", "-inf", "-inf", "-inf", "-inf"]]
    labels = [0, 4, 2, 0, 0, 2, 1, 0]
    rights = lambda k: Fraction(sum(rank_right(r, l, k) for r, l in zip(rows, labels)), len(rows))  # noqa: E731
    yield tensor_case("ties_and_nan", head + ["  top_k(x, label, k: 1), top_k(x, label, k: 2), top_k(x, label, k: 5)", "}"],
                      [("x", "f32", (len(rows), 5), flat(rows)), ("label", "i32", (len(rows),), labels)], [(f"result.{i}", "f32", (), [exact(rights(k))]) for i, k in enumerate((1, 2, 5))],
                      note="of ties the first count, as accuracy takes the first largest; NaN is wrong")
    yield tensor_case("binary_accuracy", ["fn f(x[N], label[N]) { binary_accuracy(x, label) }"],
                      [("x", "f32", (8,), ["0", "nan", "inf", "-inf", one, -one, power(-149), -power(-149)]), ("label", "f32", (8,), [1, 1, 1, 1, 0, 0, 1, 0])], [("result", "f32", (), [exact(Fraction(4, 8))])])


def hinge_case():
    rows = [[single(v) for v in r] for r in (("1", "0.5", "-2"), ("0.1", "0.1", "0.1"), ("1e4", "-1e4", "3"))]
    rows = [[Fraction(v) for v in r] for r in rows]
    labels = [0, 2, 1]
    values = [sum(max(1 - r[l] + v, Fraction(0)) for c, v in enumerate(r) if c != l) / 3 for r, l in zip(rows, labels)]
    yield tensor_case("hinge_of_classes", ["dim Classes = 3", "fn f(x[N, Classes], label[N]: class(Classes)) { hinge(x, label, reduce: none) }"],
                      [("x", "f32", (3, 3), flat(rows)), ("label", "i32", (3,), labels)], [("result", "f32", (3,), [with_error(v, 6) for v in values])])


def files():
    yield "losses", [*cross_entropy_cases(), *two_class_cases(), *distance_cases(), *divergence_case(), *hinge_case(), *focal_cases(), *likelihood_cases(), *embedding_cases(), *dice_cases()]
    yield "metrics", list(metric_cases())
