"""What functions of one argument are: by rational arithmetic where that is exact, else by mpmath with 100 digits. Needs mpmath."""

import math
from fractions import Fraction

import mpmath
from mpmath import mp, mpf

from exact import fraction

mp.dps = 100
BEYOND = Fraction(2) ** 1200  # larger than any float, and its inverse smaller than any
FEW, MANY = Fraction(1, 2**60), 60


def to_mp(value):
    value = fraction(value)
    return mpf(value.numerator) / mpf(value.denominator)


def from_mp(value):
    """A Fraction; far beyond the floats it stays just beyond them."""
    if mpmath.isnan(value):
        return "nan"
    if mpmath.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    sign, man, exp, bits = value._mpf_
    if exp + bits > 1200 or exp + bits < -1200:
        clamped = BEYOND if exp + bits > 0 else 1 / BEYOND
        return -clamped if sign else clamped
    result = Fraction(int(man)) * Fraction(2) ** exp
    return -result if sign else result


class Function:
    """A function of one argument. `text` is how nnc writes it; `exact` takes and gives a Fraction or, with `high`, an mpf; `specials` are its values
    at what is no ordinary number (NaN is NaN where it says nothing). Bounds are `exact` (correctly rounded) or in ULP, for f32 and f64.
    `slope` is its derivative (mpf), where finite numbers have one; slopes are held `near`: in ULP of the larger of 1 and their value."""

    def __init__(self, name, text, bounds, exact, specials, slope=None, high=True, slope_bound=8):
        self.name, self.text, self.bounds, self.specials, self.high = name, text, bounds, specials, high
        self.exact, self.slope, self.slope_bound = exact, slope, slope_bound

    def value(self, x):
        if x in self.specials:
            return self.specials[x]
        if x == "nan":
            return "nan"
        if not self.high:
            return self.exact(fraction(x))
        return from_mp(self.exact(to_mp(x)))

    def slope_at(self, x):
        if self.slope is None or x in ("nan", "inf", "-inf"):
            return "?"
        found = self.slope(to_mp(x))
        return "?" if found is None else from_mp(found)


def odd(at_infinity):
    return {"0": "0", "-0": "-0", "inf": at_infinity, "-inf": "-" + at_infinity if isinstance(at_infinity, str) else -at_infinity}


ONE = Fraction(1)
TIES = {"0": "0", "-0": "-0", "inf": "inf", "-inf": "-inf"}


def signed_zero(value, x):
    return value if value else ("-0" if x < 0 else "0")


def nearest_even(x):
    return signed_zero(Fraction(round(x)), x)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def softplus(x):
    return mpmath.log1p(mpmath.exp(x)) if x < 60 else x + mpmath.log1p(mpmath.exp(-x))


def normal_share(x):
    """The share of the normal distribution below x."""
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def density(x):
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


def huge(x):
    return abs(x) > 1e6


def erf(x):
    return mpf(1 if x > 0 else -1) if huge(x) else mpmath.erf(x)


def gelu(x):
    return (x if x > 0 else -mpf(2) ** -4000) if huge(x) else x * normal_share(x)


def gelu_tanh_inner(x):
    return mpmath.sqrt(2 / mpmath.pi) * (x + mpf("0.044715") * x**3)


def gelu_tanh(x):
    return (x if x > 0 else -mpf(2) ** -4000) if huge(x) else x * sigmoid(2 * gelu_tanh_inner(x))


def gelu_tanh_slope(x):
    if huge(x):
        return mpf(x > 0)
    s, inner = sigmoid(2 * gelu_tanh_inner(x)), mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpf("0.044715") * x * x)
    return s + x * s * (1 - s) * 2 * inner


def tiny_exp(x):
    """e^x, or something below all floats."""
    return mpmath.exp(x) if x > -5000 else mpf(2) ** -4000


def exp(x):
    return mpmath.exp(x) if abs(x) < 5000 else (mpf(2) ** 4000 if x > 0 else mpf(2) ** -4000)


def silu(x):
    return x if x > 5000 else -mpf(2) ** -4000 if x < -5000 else x * sigmoid(x)


def silu_slope(x):
    if abs(x) > 5000:
        return mpf(x > 0)
    s = sigmoid(x)
    return s + x * s * (1 - s)


def mish(x):
    if x > 5000:
        return x
    return -mpf(2) ** -4000 if x < -5000 else x * mpmath.tanh(softplus(x))


def mish_slope(x):
    if abs(x) > 5000:
        return mpf(x > 0)
    t = mpmath.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


def expm1(x):
    return mpmath.expm1(x) if abs(x) < 5000 else (mpf(2) ** 4000 if x > 0 else mpf(-1))


SELU_SCALE, SELU_ALPHA = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
step = lambda x: mpf(x > 0)  # noqa: E731

# What takes floats. The order is that of the columns.
FUNCTIONS = [
    Function("neg", "-x", ("exact",) * 2, lambda x: -x, {"0": "-0", "-0": "0", "inf": "-inf", "-inf": "inf"}, lambda x: mpf(-1), high=False),
    Function("abs", "abs(x)", ("exact",) * 2, abs, {"0": "0", "-0": "0", "inf": "inf", "-inf": "inf"}, lambda x: mpf((x > 0) - (x < 0)), high=False),
    Function("sign", "sign(x)", ("exact",) * 2, lambda x: Fraction((x > 0) - (x < 0)), {**TIES, "inf": ONE, "-inf": -ONE}, high=False),
    Function("floor", "floor(x)", ("exact",) * 2, lambda x: Fraction(math.floor(x)) or "0", TIES, high=False),
    Function("ceil", "ceil(x)", ("exact",) * 2, lambda x: signed_zero(Fraction(math.ceil(x)), x), TIES, high=False),
    Function("round", "round(x)", ("exact",) * 2, nearest_even, TIES, high=False),
    Function("sqrt", "sqrt(x)", ("ulp 0.5",) * 2, lambda x: mpmath.sqrt(x) if x >= 0 else mpmath.nan, {"0": "0", "-0": "-0", "inf": "inf", "-inf": "nan"},
             lambda x: 1 / (2 * mpmath.sqrt(x)) if x > 0 else None),
    Function("exp", "exp(x)", ("ulp 1.1", "ulp 1"), exp, {"0": ONE, "-0": ONE, "inf": "inf", "-inf": "0"}, exp),
    Function("expm1", "expm1(x)", ("ulp 2", "ulp 2"), expm1, {**TIES, "-inf": -ONE}, exp),
    Function("log", "log(x)", ("ulp 1", "ulp 1"), lambda x: mpmath.log(x) if x > 0 else mpmath.nan, {"0": "-inf", "-0": "-inf", "inf": "inf", "-inf": "nan"},
             lambda x: 1 / x if x > 0 else None),
    Function("log1p", "log1p(x)", ("ulp 1", "ulp 1"), lambda x: mpmath.log1p(x) if x > -1 else (mpmath.ninf if x == -1 else mpmath.nan), {**TIES, "-inf": "nan"},
             lambda x: 1 / (1 + x) if x > -1 else None),
    Function("sin", "sin(x)", ("ulp 1.5", "ulp 1"), mpmath.sin, {"0": "0", "-0": "-0", "inf": "nan", "-inf": "nan"}, mpmath.cos),
    Function("cos", "cos(x)", ("ulp 1.5", "ulp 1"), mpmath.cos, {"0": ONE, "-0": ONE, "inf": "nan", "-inf": "nan"}, lambda x: -mpmath.sin(x)),
    Function("tanh", "tanh(x)", ("ulp 2.5", "ulp 2.5"), mpmath.tanh, odd(ONE), lambda x: 1 / mpmath.cosh(x) ** 2 if abs(x) < 5000 else mpf(0)),
    Function("sigmoid", "sigmoid(x)", ("ulp 2.5", "ulp 2"), lambda x: sigmoid(x) if x > -5000 else mpf(2) ** -4000,
             {"0": Fraction(1, 2), "-0": Fraction(1, 2), "inf": ONE, "-inf": "0"}, lambda x: sigmoid(x) * sigmoid(-x) if abs(x) < 5000 else mpf(0)),
    Function("erf", "erf(x)", ("ulp 2.2", "ulp 1.5"), erf, odd(ONE), lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x) if not huge(x) else mpf(0)),
    Function("square", "x^2", ("exact",) * 2, lambda x: x * x, {"0": "0", "-0": "0", "inf": "inf", "-inf": "inf"}, lambda x: 2 * x, high=False),
    Function("cube", "x^3", ("ulp 2",) * 2, lambda x: x * x * x, TIES, lambda x: 3 * x * x, high=False),
    Function("inverse", "x^-1", ("exact",) * 2, lambda x: 1 / x, {"0": "inf", "-0": "-inf", "inf": "0", "-inf": "-0"}, lambda x: -1 / (x * x) if x else None, high=False),
    Function("fourth", "x^4", ("ulp 2", "power 4"), lambda x: x ** 4, {"0": "0", "-0": "0", "inf": "inf", "-inf": "inf"}, lambda x: 4 * x**3, high=False),
    Function("root", "x^0.5", ("ulp 1", "ulp 2"), lambda x: mpmath.sqrt(x) if x >= 0 else mpmath.nan, {"0": "0", "-0": "?", "inf": "inf", "-inf": "?"},
             lambda x: 1 / (2 * mpmath.sqrt(x)) if x > 0 else None),
    Function("to the 0", "x^0", ("exact",) * 2, lambda x: ONE, {"nan": ONE, "inf": ONE, "-inf": ONE}, lambda x: mpf(0), high=False),
    Function("2 to the", "2^x", ("ulp 1", "power 4"), lambda x: mpf(2) ** x if abs(x) < 5000 else (mpf(2) ** 4000 if x > 0 else mpf(2) ** -4000),
             {"0": ONE, "-0": ONE, "inf": "inf", "-inf": "0"}, lambda x: mpf(2) ** x * mpmath.log(2) if abs(x) < 5000 else mpf(2) ** (4000 if x > 0 else -4000),
             slope_bound="power 8"),
]

ACTIVATIONS = [
    Function("relu", "relu(x)", ("exact",) * 2, lambda x: max(x, 0) or "0", {"-0": "0", "inf": "inf", "-inf": "0"}, step, high=False),
    Function("relu6", "relu6(x)", ("exact",) * 2, lambda x: min(max(x, 0), 6) or "0", {"-0": "0", "inf": Fraction(6), "-inf": "0"}, lambda x: mpf(0 < x < 6), high=False),
    Function("leaky_relu", "leaky_relu(x)", ("ulp 1.5",) * 2, lambda x: x if x > 0 else x / 100, TIES, lambda x: mpf(1) if x > 0 else mpf("0.01"), high=False),
    Function("softplus", "softplus(x)", ("ulp 3",) * 2, lambda x: softplus(x) if x > -5000 else mpf(2) ** -4000,
             {"inf": "inf", "-inf": "0"}, lambda x: sigmoid(x) if x > -5000 else mpf(0)),
    Function("softsign", "softsign(x)", ("ulp 2",) * 2, lambda x: x / (1 + abs(x)), {"0": "0", "-0": "-0", "inf": "?", "-inf": "?"}, lambda x: 1 / (1 + abs(x)) ** 2, high=False),
    Function("log_sigmoid", "log_sigmoid(x)", ("ulp 3",) * 2, lambda x: -softplus(-x) if x < 5000 else -mpf(2) ** -4000, {"inf": "-0", "-inf": "-inf"},
             lambda x: sigmoid(-x) if x < 5000 else mpf(0)),
    Function("elu", "elu(x)", ("ulp 2",) * 2, lambda x: x if x > 0 else expm1(x), {**TIES, "-inf": -ONE}, lambda x: mpf(1) if x > 0 else tiny_exp(x)),
    Function("selu", "selu(x)", ("ulp 4.5",) * 2, lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * expm1(x)),
             {**TIES, "-inf": from_mp(-SELU_SCALE * SELU_ALPHA)}, lambda x: SELU_SCALE * (1 if x > 0 else SELU_ALPHA * tiny_exp(x))),
    Function("celu", "celu(x)", ("ulp 2",) * 2, lambda x: x if x > 0 else expm1(x), {**TIES, "-inf": -ONE}, lambda x: mpf(1) if x > 0 else tiny_exp(x)),
    Function("celu of 1/4", "celu(x, alpha: 0.25)", ("ulp 2.5",) * 2, lambda x: x if x > 0 else expm1(4 * x) / 4, {**TIES, "-inf": Fraction(-1, 4)},
             lambda x: mpf(1) if x > 0 else tiny_exp(4 * x)),
    Function("silu", "silu(x)", ("ulp 4 least 128", "ulp 4 least 1024"), silu, {"0": "0", "-0": "-0", "inf": "inf", "-inf": "?"}, silu_slope, slope_bound=64),
    Function("mish", "mish(x)", ("ulp 8 least 128", "ulp 8 least 1024"), mish, {"0": "0", "-0": "-0", "inf": "inf", "-inf": "?"}, mish_slope, slope_bound=64),
    Function("gelu", "gelu(x)", ("ulp 8 least 128", "ulp 8 least 1024"), gelu, {"0": "0", "-0": "-0", "inf": "inf", "-inf": "?"},
             lambda x: step(x) if huge(x) else normal_share(x) + x * density(x)),
    Function("gelu of tanh", "gelu(x, approximate: tanh)", ("near 4",) * 2, gelu_tanh, {"0": "0", "-0": "-0", "inf": "inf", "-inf": "?"}, gelu_tanh_slope, slope_bound=128),
    Function("hardtanh", "hardtanh(x)", ("exact",) * 2, lambda x: min(max(x, -ONE), ONE), {"0": "0", "-0": "-0", "inf": ONE, "-inf": -ONE}, lambda x: mpf(-1 < x < 1), high=False),
]
