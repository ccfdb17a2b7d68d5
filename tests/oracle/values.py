"""Awkward numbers: where programs that compute go wrong."""

import random
from fractions import Fraction

from exact import F32, F64, rounded


def power(e):
    return Fraction(2) ** e


def signed(numbers):
    return [v for n in numbers for v in (n, -n)]


def specials(form):
    """The ends of a type: zeros, infinities, NaN, smallest and largest of each kind."""
    least, normal = power(form.lowest), power(form.lowest + form.bits - 1)
    largest = power(form.highest + 1) - power(form.highest + 1 - form.bits)
    return ["0", "-0", "inf", "-inf", "nan", *signed([least, normal - least, normal, normal + least, largest])]


def whole_numbers(form):
    """Primes, powers of two and their neighbours, the ends of the integers."""
    numbers = [1, 2, 3, 5, 7, 10, 41, 255, 257, 1023, 1025, 10**9 + 7, 2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2, 2**31 - 1, 2**31, 2**53 - 1,
               2**53 + 1, 2**63, 10**8]
    return signed(sorted({rounded(Fraction(n), form) for n in numbers}))


def fractions_of(form):
    """Numbers that are not whole: halves (ties of rounding), decimals, the neighbours of 1 and 2."""
    unit = power(1 - form.bits)
    texts = ["0.1", "0.2", "0.3", "0.7", "2.7", "0.01", "1e-3", "1e-8", "1e-10", "1e-20", "1e-30", "1e-37", "1e10", "1e20", "1e38", "3.14159265358979",
             "1.5707963267948966", "0.7853981633974483", "22.0", "0.6931471805599453", "5.5", "6.0", "9.1", "13.0", "16.5", "20.0", "37.5", "87.3", "88.7",
             "88.8", "103.9", "104.5", "709.7", "745.2", "0.35586344513849516", "0.37495", "0.8862", "12345.678", "1048576.5"]
    numbers = [Fraction(1, 2), Fraction(3, 2), Fraction(5, 2), Fraction(1, 4), Fraction(1, 3), 1 + unit, 1 - unit / 2, 2 - unit, Fraction(1, 2) - unit / 4,
               power(-12), power(-24), power(-53), power(23) - Fraction(1, 2), power(22) + Fraction(1, 2), *map(Fraction, texts)]
    return signed(sorted({rounded(n, form) for n in numbers}, key=Fraction))


def drawn(form, count, low, high, seed):
    """Numbers of both signs whose exponents are spread evenly."""
    draw = random.Random(seed)
    return [rounded(Fraction(draw.getrandbits(60) | 1 << 60, 1 << 60) * power(draw.randint(low, high)) * draw.choice((-1, 1)), form)
            for _ in range(count)]


def many(form):
    """For functions of one argument."""
    return unique(specials(form) + whole_numbers(form) + fractions_of(form) + drawn(form, 24, -30, 30, 7) + drawn(form, 24, -8, 6, 8))


def few(form):
    """For functions of two: each meets each."""
    unit = power(1 - form.bits)
    numbers = [Fraction(1), Fraction(3), Fraction(41), Fraction(10**8), Fraction(1, 10), Fraction(7, 2), 1 + unit, power(form.bits) + 2, Fraction(1, 3)]
    least, normal = power(form.lowest), power(form.lowest + form.bits - 1)
    largest = power(form.highest + 1) - power(form.highest + 1 - form.bits)
    return unique(["0", "-0", "inf", "-inf", "nan", *signed([least, normal, largest]), *signed([rounded(n, form) for n in numbers])])


def unique(numbers):
    return list(dict.fromkeys(numbers))


INTEGER_SETS = {
    "i32": signed([1, 2, 3, 41, 123, 2**15 - 1, 2**24, 2**24 + 1, 10**9 + 7, 2**31 - 1]) + [0, -2**31],
    "i64": signed([1, 2, 3, 41, 2**24 + 1, 2**31, 2**32 + 1, 2**53 + 1, 1700000000123, 2**62 + 1, 2**63 - 1]) + [0, -2**63],
    "u8": [0, 1, 2, 3, 5, 7, 41, 100, 127, 128, 200, 254, 255],
    "bool": [0, 1],
}

__all__ = ["F32", "F64", "power", "signed", "specials", "whole_numbers", "fractions_of", "drawn", "many", "few", "unique", "INTEGER_SETS"]
