"""Exact numbers: what rounds them, writes them, and measures how far a float is from one.

A number is a Fraction or one of the words "nan", "inf", "-inf", "0", "-0"; so zeros have a sign and nothing is ever rounded unless `rounded`
does it. As text a number is a whole number in hexadecimal times a power of two: `3p-1` is 1.5, `-ffffffp104` the lowest f32.
"""

import math
from fractions import Fraction

SPECIAL = ("nan", "inf", "-inf", "0", "-0")


class Format:
    """A binary float type of IEEE 754: bits of its significand (the hidden one included), exponents of its smallest and largest numbers."""

    def __init__(self, name, bits, lowest, highest, code):
        self.name, self.bits, self.lowest, self.highest, self.code = name, bits, lowest, highest, code

    def ulp(self, value):
        """The distance from |value| to the next number of the type, as if exponents had no end above; below, that of the subnormal numbers."""
        return Fraction(2) ** max(exponent(value) - self.bits + 1, self.lowest) if value else Fraction(2) ** self.lowest

    @property
    def infinity(self):
        return Fraction(2) ** (self.highest + 1)


F32 = Format("f32", 24, -149, 127, "f")
F64 = Format("f64", 53, -1074, 1023, "d")
FORMATS = {"f32": F32, "f64": F64}
INTEGERS = {"i32": (-2**31, 2**31 - 1), "i64": (-2**63, 2**63 - 1), "u8": (0, 255), "bool": (0, 1)}
ARRAY_CODES = {"f32": "f", "f64": "d", "i32": "i", "i64": "q", "u8": "B", "bool": "B"}


def exponent(value):
    """e with 2^e <= |value| < 2^(e+1)."""
    value = abs(value)
    e = value.numerator.bit_length() - value.denominator.bit_length()
    return e if Fraction(2) ** e <= value else e - 1


def rounded(value, form):
    """The number of the type nearest to a number, halves to even; too large ones become infinite, too small ones zero, with their sign."""
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    unit = form.ulp(value)
    units = round(abs(value) / unit)  # halves to even
    result = units * unit
    sign = "-" if value < 0 else ""
    if result >= form.infinity:
        return sign + "inf"
    if result == 0:
        return sign + "0"
    return -result if value < 0 else result


def of_float(x):
    """The number that a Python float is."""
    if x != x:
        return "nan"
    if x in (float("inf"), float("-inf")):
        return "inf" if x > 0 else "-inf"
    if x == 0:
        return "-0" if str(x).startswith("-") else "0"
    return Fraction(x)


def to_float(value):
    """The nearest Python float."""
    if isinstance(value, str):
        return float(value)
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.copysign(math.inf, value)


def fraction(value):
    """A finite number without the sign of its zero."""
    return Fraction(0) if isinstance(value, str) and value in ("0", "-0") else value


def write(value, bits=None):
    """As text; with `bits`, a Fraction is first cut to so many bits (of what is compared within a bound)."""
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    sign, value = ("-" if value < 0 else ""), abs(value)
    if bits is not None:
        scale = exponent(value) - bits + 1
        value = round(value / Fraction(2) ** scale) * Fraction(2) ** scale
    power = value.denominator.bit_length() - 1
    assert value.denominator == 1 << power, "not a binary fraction: say how many bits"
    number, e = value.numerator, -power
    zeros = (number & -number).bit_length() - 1
    return f"{sign}{number >> zeros:x}p{e + zeros}"


def read(text):
    """The number of a text; `?` stands for one that nobody promises."""
    if text in SPECIAL or text == "?":
        return text
    number, e = text.split("p")
    value = Fraction(int(number, 16))
    return value * 2 ** int(e) if int(e) >= 0 else value / 2 ** -int(e)


def distance(found, expected, form):
    """How far a float (a number as of_float gives it) is from an exact one, in units in the last place of the exact one rounded to the type. An
    infinity counts as the first power of two that the type does not hold. None: it cannot be said in units (NaN, a wrong infinity, the wrong
    sign of a zero)."""
    if isinstance(expected, str):
        if expected in ("nan", "inf", "-inf") or found in SPECIAL:
            return Fraction(0) if expected == found else None
        expected = Fraction(0)
    if isinstance(found, str):
        if found == "nan" or (found in ("0", "-0") and (found == "-0") != (expected < 0)):
            return None
        found = Fraction(0) if found in ("0", "-0") else form.infinity if found == "inf" else -form.infinity
    if abs(expected) > form.infinity + 16 * form.ulp(form.infinity):  # beyond all doubt
        return Fraction(0) if found == (form.infinity if expected > 0 else -form.infinity) else None
    nearest = rounded(expected, form)
    unit = form.ulp(expected if isinstance(nearest, str) else nearest)
    return abs(found - expected) / unit
