"""Cases of optimizers and schedules: what the published rules give, from awkward counts of updates on.

The loss is linear in the weights, so the gradient of update t is the row that it read: a trajectory needs nothing but the rule.
"""

from fractions import Fraction

import mpmath
from mpmath import mpf

from casefile import Training
from exact import F32, fraction, rounded
from functions import from_mp, to_mp
from values import power

WIDTH = 6
ROWS = [["1", "-0.5", "1e-3", "40", "0.1", "-1e-6"], ["0.5", "0.25", "-2e-3", "41", "0.1", "2e-6"], ["-0.75", "1", "1e-3", "39", "0.1", "1e-6"],
        ["2", "-0.125", "5e-4", "-7", "0.1", "-3e-6"]]
FIRST = ["0.5", "-1", "1e-3", "100", "0", "3"]


def program():
    """Every optimizer on weights of its own, `a0.w0`, ..., each with a column of the rows as its gradient."""
    places = range(WIDTH)
    names = ", ".join(f"x{i}" for i in places)
    return ["data rows {", *(f'  x{i} : f32 = csv("rows.csv", columns: {i})' for i in places), "}",
            f"layer Linear()({', '.join(f'x{i}[B]' for i in places)}) -> [B] {{", *(f"  param w{i} = {FIRST[i]}" for i in places),
            "  " + " + ".join(f"x{i} * w{i}" for i in places), "}",
            f"model All({', '.join(f'x{i}[B]' for i in places)}) -> [B] {{",
            *(f"  a{n}: Linear()" for n in range(len(OPTIMIZERS))), "  " + " + ".join(f"a{n}({names})" for n in range(len(OPTIMIZERS))), "}",
            "train {", "  data rows, batch: 1", f"  minimize sum(All({names}))", *(f'  using {rule} for "a{n}.*"' for n, rule in enumerate(OPTIMIZERS)), "  epochs 1", "}"]


def f32(text):
    v = rounded(Fraction(text), F32)
    return mpf(0) if v == "0" else to_mp(v)


def option(rule, name, default):
    """The value that a rule's text gives a hyperparameter."""
    import re
    found = re.search(rf"\b{name}: ([-\w.]+)", rule)
    if not found:
        return default
    return {"true": True, "false": False}.get(found[1]) if found[1] in ("true", "false") else mpf(found[1])


def direction_of(rule):
    return -1 if option(rule, "maximise", False) else 1


def sgd(rule):
    lr, momentum, nesterov = option(rule, "lr", None), option(rule, "momentum", mpf(0)), option(rule, "nesterov", False)
    decay, dampening, sign = option(rule, "decay", mpf(0)), option(rule, "dampening", mpf(0)), direction_of(rule)

    def update(w, g, state, t):
        g = sign * g + decay * w
        if momentum:
            buffer = g if t == 1 else momentum * state.get("b", mpf(0)) + (1 - dampening) * g
            state["b"] = buffer
            g = g + momentum * buffer if nesterov else buffer
        return w - lr * g
    return update


def adam(rule):
    is_w = rule.startswith("adamw")
    lr, b1, b2 = option(rule, "lr", mpf("1e-3")), option(rule, "beta1", mpf("0.9")), option(rule, "beta2", mpf("0.999"))
    eps, decay = option(rule, "eps", mpf("1e-8")), option(rule, "decay", mpf("0.01") if is_w else mpf(0))
    amsgrad, sign = option(rule, "amsgrad", False), direction_of(rule)

    def update(w, g, state, t):
        g = sign * g
        if is_w:
            w = w - lr * decay * w
        else:
            g = g + decay * w
        means(state, g, b1, b2)
        state["largest"] = max(state.get("largest", mpf(0)), state["v"])
        square = state["largest"] if amsgrad else state["v"]
        return w - lr * (state["m"] / (1 - b1**t)) / (mpmath.sqrt(square / (1 - b2**t)) + eps)
    return update


def means(state, g, b1, b2):
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g


def nadam(rule):
    lr, b1, b2 = option(rule, "lr", mpf("2e-3")), option(rule, "beta1", mpf("0.9")), option(rule, "beta2", mpf("0.999"))
    eps, decay, slow = option(rule, "eps", mpf("1e-8")), option(rule, "decay", mpf(0)), option(rule, "momentum_decay", mpf("4e-3"))
    decoupled = option(rule, "decoupled", False)

    def update(w, g, state, t):
        w, g = (w * (1 - lr * decay), g) if decoupled else (w, g + decay * w)
        mu, after = (b1 * (1 - mpf("0.96") ** (n * slow) / 2) for n in (t, t + 1))
        state["mu"] = state.get("mu", mpf(1)) * mu
        means(state, g, b1, b2)
        ahead = (1 - mu) * g / (1 - state["mu"]) + after * state["m"] / (1 - state["mu"] * after)
        return w - lr * ahead / (mpmath.sqrt(state["v"] / (1 - b2**t)) + eps)
    return update


def radam(rule):
    lr, b1, b2 = option(rule, "lr", mpf("1e-3")), option(rule, "beta1", mpf("0.9")), option(rule, "beta2", mpf("0.999"))
    eps, decay, decoupled = option(rule, "eps", mpf("1e-8")), option(rule, "decay", mpf(0)), option(rule, "decoupled", False)

    def update(w, g, state, t):
        w, g = (w * (1 - lr * decay), g) if decoupled else (w, g + decay * w)
        means(state, g, b1, b2)
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * t * b2**t / (1 - b2**t)
        if length <= 5:
            return w - lr * state["m"] / (1 - b1**t)
        trust = mpmath.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return w - lr * state["m"] / (1 - b1**t) * trust * mpmath.sqrt(1 - b2**t) / (mpmath.sqrt(state["v"]) + eps)
    return update


def rprop(rule):
    lr, less, more = option(rule, "lr", mpf("0.01")), option(rule, "eta_minus", mpf("0.5")), option(rule, "eta_plus", mpf("1.2"))
    least, most = option(rule, "step_min", mpf("1e-6")), option(rule, "step_max", mpf(50))

    def update(w, g, state, t):
        turn = mpmath.sign(g) * mpmath.sign(state.get("before", 0))
        state["size"] = min(max(state.get("size", lr) * (more if turn > 0 else less if turn < 0 else 1), least), most)
        state["before"] = mpf(0) if turn < 0 else g
        return w - state["size"] * mpmath.sign(state["before"])
    return update


def adadelta(rule):
    lr, rho, eps, decay = option(rule, "lr", mpf(1)), option(rule, "rho", mpf("0.9")), option(rule, "eps", mpf("1e-6")), option(rule, "decay", mpf(0))

    def update(w, g, state, t):
        g = g + decay * w
        state["v"] = rho * state.get("v", 0) + (1 - rho) * g * g
        delta = mpmath.sqrt(state.get("d", 0) + eps) / mpmath.sqrt(state["v"] + eps) * g
        state["d"] = rho * state.get("d", 0) + (1 - rho) * delta * delta
        return w - lr * delta
    return update


def lion(rule):
    lr, b1, b2, decay = option(rule, "lr", mpf("1e-4")), option(rule, "beta1", mpf("0.9")), option(rule, "beta2", mpf("0.99")), option(rule, "decay", mpf(0))

    def update(w, g, state, t):
        m = state.get("m", mpf(0))
        state["m"] = b2 * m + (1 - b2) * g
        return w - lr * (mpmath.sign(b1 * m + (1 - b1) * g) + decay * w)
    return update


def lamb(rule):
    """Of a parameter that is one number: its length is its size."""
    lr, b1, b2 = option(rule, "lr", mpf("1e-3")), option(rule, "beta1", mpf("0.9")), option(rule, "beta2", mpf("0.999"))
    eps, decay = option(rule, "eps", mpf("1e-6")), option(rule, "decay", mpf("0.01"))

    def update(w, g, state, t):
        means(state, g, b1, b2)
        way = state["m"] / (1 - b1**t) / (mpmath.sqrt(state["v"] / (1 - b2**t)) + eps) + decay * w
        return w - lr * (abs(w) / abs(way) if w and way else 1) * way
    return update


def adafactor(rule):
    """Of a parameter that is one number, which has neither rows nor columns."""
    lr, fall, d = option(rule, "lr", mpf("0.01")), option(rule, "beta2_decay", mpf("-0.8")), option(rule, "d", mpf(1))
    eps1, eps2, decay = option(rule, "eps1", mpf(2) ** -23), option(rule, "eps2", mpf("1e-3")), option(rule, "decay", mpf(0))

    def update(w, g, state, t):
        share, rate = mpf(t) ** fall, max(eps2, abs(w)) * min(lr, 1 / mpmath.sqrt(t))
        state["v"] = (1 - share) * state.get("v", 0) + share * g * g
        way = g / mpmath.sqrt(max(state["v"], eps1**2))
        return w * (1 - lr * decay) - rate / max(1, abs(way) / d) * way
    return update


def rmsprop(rule):
    lr, alpha, eps = option(rule, "lr", mpf("0.01")), option(rule, "alpha", mpf("0.99")), option(rule, "eps", mpf("1e-8"))
    decay, momentum, centered = option(rule, "decay", mpf(0)), option(rule, "momentum", mpf(0)), option(rule, "centered", False)

    def update(w, g, state, t):
        g = g + decay * w
        state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g * g
        v = state["v"]
        if centered:
            state["a"] = alpha * state.get("a", 0) + (1 - alpha) * g
            v = v - state["a"] ** 2
        direction = g / (mpmath.sqrt(v) + eps)
        if momentum:
            state["b"] = momentum * state.get("b", 0) + direction
            direction = state["b"]
        return w - lr * direction
    return update


def adagrad(rule):
    lr, lr_decay = option(rule, "lr", mpf("0.01")), option(rule, "lr_decay", mpf(0))
    decay, start, eps = option(rule, "decay", mpf(0)), option(rule, "start", mpf(0)), option(rule, "eps", mpf("1e-10"))

    def update(w, g, state, t):
        g = g + decay * w
        state["s"] = state.get("s", start) + g * g
        return w - lr / (1 + (t - 1) * lr_decay) * g / (mpmath.sqrt(state["s"]) + eps)
    return update


RULES = {"sgd": sgd, "adam": adam, "adamw": adam, "rmsprop": rmsprop, "adagrad": adagrad, "nadam": nadam, "radam": radam, "rprop": rprop, "adadelta": adadelta, "lion": lion, "lamb": lamb,
         "adafactor": adafactor}
OPTIMIZERS = [
    "sgd(lr: 0.1)", "sgd(lr: 0.1, momentum: 0.9)", "sgd(lr: 0.1, momentum: 0.9, nesterov: true)", "sgd(lr: 0.1, momentum: 0.9, dampening: 0.1, decay: 0.01)",
    "adam()", "adam(lr: 0.1, beta2: 0.99999999)", "adam(lr: 0.1, beta1: 0.9999999, beta2: 0.9999999)", "adam(lr: 0.01, decay: 0.1, eps: 1e-4)",
    "adam(lr: 0.01, beta1: 0.0, beta2: 0.5)", "adamw()", "adamw(lr: 0.1, decay: 0.5)", "adamw(lr: 0.001, beta2: 0.9999999)",
    "rmsprop()", "rmsprop(lr: 0.1, alpha: 0.5, centered: true, eps: 1e-2)", "rmsprop(lr: 0.01, momentum: 0.9, decay: 0.1)",
    "adagrad()", "adagrad(lr: 0.1, lr_decay: 0.01, start: 0.1)", "adagrad(lr: 0.1, decay: 0.1, eps: 1e-3)",
    "sgd(lr: 0.1, momentum: 0.9, decay: 0.01, maximise: true)", "adam(lr: 0.1, beta2: 0.5, amsgrad: true)", "adamw(lr: 0.1, beta2: 0.5, amsgrad: true, maximise: true)",
    "nadam()", "nadam(lr: 0.1, beta2: 0.9999999, momentum_decay: 0.1, decay: 0.1)", "nadam(lr: 0.1, decay: 0.5, decoupled: true)", "radam()", "radam(lr: 0.1, beta2: 0.9, decay: 0.1)",
    "radam(lr: 0.1, beta2: 0.9999999, decay: 0.5, decoupled: true)", "rprop()", "rprop(lr: 0.1, eta_minus: 0.25, eta_plus: 2, step_min: 0.05, step_max: 0.15)", "adadelta()",
    "adadelta(lr: 0.1, rho: 0.5, eps: 1e-2, decay: 0.1)", "lion()", "lion(lr: 0.1, beta1: 0.5, beta2: 0.75, decay: 0.1)", "lamb()", "lamb(lr: 0.1, beta1: 0.5, eps: 1e-2, decay: 0.0)",
    "adafactor()", "adafactor(lr: 0.5, beta2_decay: -0.5, eps1: 0.1, eps2: 0.1, d: 2, decay: 0.1)"]
STARTS = {0: 5, 2**24: 4, 2**31: 3}  # updates done -> updates that follow


def trajectory(rule, start, steps):
    """[(weight, how far it has moved)] after the first update and, where the run begins later, those that follow."""
    make = RULES[rule.split("(")[0]](rule)
    counts = ([0] if start else []) + list(range(start, start + steps))
    found = []
    for column in range(WIDTH):
        w, state, way = f32(FIRST[column]), {}, mpf(0)
        for t in counts:
            before = w
            w = make(w, f32(ROWS[t % len(ROWS)][column]), state, t + 1)
            way += abs(w - before)
        found.append((w, abs(w) + way))
    return found


def optimizer_cases():
    for start, steps in STARTS.items():
        case = Training(f"optimizers_from_{start}")
        case.code, case.start, case.steps = program(), start, steps
        case.files = {"rows.csv": [",".join(row) for row in ROWS]}
        for number, rule in enumerate(OPTIMIZERS):
            case.code.append(f"# a{number}: {rule}")
            # Every update rounds some ten times; a centred mean square loses digits to its difference.
            units = 256 if "centered" in rule else 24
            case.results += [(f"a{number}.w{i}", "f32", (), [(from_mp(w), units * power(-24) * abs(fraction(from_mp(s))))])
                             for i, (w, s) in enumerate(trajectory(rule, start, steps))]
        yield case


# --- schedules: a rule that leaves the rate in the weight ---


def cosine(rate, total, warmup=0, final=0):
    def at(step):
        if step < warmup:
            return mpf(rate) * (step + 1) / warmup
        progress = min(mpf(step - warmup) / (total - warmup), mpf(1))
        return final + (mpf(rate) - final) / 2 * (1 + mpmath.cos(mpmath.pi * progress))
    return at


SCHEDULES = [
    ("constant(0.1)", lambda step: mpf("0.1")),
    ("step_decay(0.1, every: 10)", lambda step: mpf("0.1") * mpf("0.1") ** (step // 10)),
    ("step_decay(0.5, every: 41, by: 0.99)", lambda step: mpf("0.5") * mpf("0.99") ** (step // 41)),
    ("step_decay(0.5, every: 16777217, by: 0.5)", lambda step: mpf("0.5") ** (1 + step // 16777217)),
    ("exponential(0.1, by: 0.999)", lambda step: mpf("0.1") * mpf("0.999") ** step),
    ("exponential(0.1, by: 0.5, every: 16777216)", lambda step: mpf("0.1") * mpf("0.5") ** (mpf(step) / 16777216)),
    ("warmup(0.1, steps: 41)", lambda step: mpf("0.1") * min(mpf(step + 1) / 41, mpf(1))),
    ("warmup(1, steps: 33554433)", lambda step: min(mpf(step + 1) / 33554433, mpf(1))),
    ("cosine(0.1, total: 1000)", cosine(mpf("0.1"), 1000)),
    ("cosine(0.1, total: 33554433, final: 0.01)", cosine(mpf("0.1"), 33554433, 0, mpf("0.01"))),
    ("cosine(1, total: 4294967297, warmup: 16777217)", cosine(1, 4294967297, 16777217)),
    ("epoch + 0.5 * step", lambda step: mpf(step) * 3 / 2),
    ("step % 41", lambda step: mpf(step % 41)),
    ("step // 41", lambda step: mpf(step // 41)),
]
STEPS = (0, 1, 9, 10, 40, 41, 122, 123, 333, 999, 1000, 2**24 - 1, 2**24, 2**24 + 1, 33554432, 33554433, 2**31 - 1, 2**31, 2**31 + 1, 2**32 + 1)


def schedule_cases():
    for step in STEPS:
        case = Training(f"schedules_at_{step}")
        case.code = ["data rows {", '  x : f32 = csv("rows.csv")', "}", "model Linear(x[B]) -> [B] {", *(f"  param w{n} = 0" for n in range(len(SCHEDULES))),
                     "  x * (" + " + ".join(f"w{n}" for n in range(len(SCHEDULES))) + ")", "}",
                     "optimizer keep_rate(lr) { update value = lr }",
                     "train {", "  data rows, batch: 1", "  minimize sum(Linear(x))", *(f'  using keep_rate(lr: {text}) for "w{n}"' for n, (text, _) in enumerate(SCHEDULES)), "  epochs 1", "}"]
        case.files = {"rows.csv": ["-1"]}
        case.start, case.steps, case.note = step, 1, "scalars are 64 bits: a rate is rounded once, where it meets the weight"
        for n, (_, rate) in enumerate(SCHEDULES):
            value = fraction(from_mp(rate(step)))
            # The cosine near its end is a difference of numbers near 1.
            case.results.append((f"w{n}", "f32", (), [(value or "0", F32.ulp(value) * Fraction(51, 100) + power(-48))]))
        yield case


# --- one step over many rows ---


def long_batch(batch, rows):
    """The gradient of a mean over many rows, by one batch of all of them or the last of many; sums and means of a split of as many."""
    case = Training(f"rows_{rows}_batch_{batch}")
    values = [rounded(Fraction(v), F32) for v in ("0.1", "0.3")]
    case.code = ["data rows {", '  x : f32 = csv("rows.csv")', "  test last 50%", "}", "model Line(x[B]) -> [B] {", "  param w = 0", "  param b = 0", "  x * w + b", "}",
                 "train {", f"  data rows, batch: {batch}", "  minimize mean(Line(x))", "  using sgd(lr: 1)", "  epochs 1",
                 "  report total: sum(x)", "  report average: mean(x)", "  report largest: max(x)", "  report squares: sum(x^2)", "}"]
    case.files, case.repeat = {"rows.csv": ["0.1", "0.3"]}, rows
    size = rows if batch == "all" else batch
    case.steps = 1
    mean = sum(values) / 2
    allowed = (min(size, 1024) + 66) * power(-24)
    case.results = [("w", "f32", (), [(-mean, mean * allowed)]), ("b", "f32", (), [(Fraction(-1), allowed)]), ("report:total", "f64", (), [(mean * rows, mean * rows * 1090 * power(-24))]),
                    ("report:average", "f64", (), [(mean, mean * 1090 * power(-24))]), ("report:largest", "f64", (), [(values[1], 0)]),
                    ("report:squares", "f64", (), [(sum(v * v for v in values) / 2 * rows, rows * 1090 * power(-24) / 16)])]
    return case


def files():
    yield "long_batches", [long_batch("all", 100002), long_batch(1000, 100000), long_batch(10**5, 10**5)]
    yield "optimizers", list(optimizer_cases())
    yield "schedules", list(schedule_cases())


