"""Cases of normalisation layers by the statistics of what they are given: values and gradients, by 100 digits, from the layers' definitions.

A group is what one mean and one variance are taken over. Rows of equal numbers, numbers far from zero, groups of 2, 3 and 1000 values, one channel.
"""

from fractions import Fraction

import mpmath

from exact import F32, fraction, rounded, write
from functions import from_mp, to_mp
from make_sums import CHAIN, TREE, Data, case_of
from values import power

EPS = mpmath.mpf("1e-5")


def group_numbers(shape, grouping):
    """group -> the places of its values, in row-major order; `grouping` gives the group of an index."""
    groups = {}
    count = 1
    for n in shape:
        count *= n
    for place in range(count):
        index, rest = [], place
        for n in reversed(shape):
            index.append(rest % n)
            rest //= n
        groups.setdefault(grouping(*reversed(index)), []).append(place)
    return groups


def normalise(name, call, head, shape, grouping, data, centred=True):
    """The layer's result times g, and both gradients."""
    x, g = Data("x", "f32", shape, *data), Data("g", "f32", shape, "cycle", *(write(Fraction(v)) for v in ("0.75", "-1.25", "0.5", "2")))
    at = lambda d, place: to_mp(d.values[place % len(d.values)]) + 0  # noqa: E731
    total = 1
    for n in shape:
        total *= n
    results, x_slopes, g_slopes = [None] * total, [None] * total, [None] * total
    for places in group_numbers(shape, grouping).values():
        count = len(places)
        row, gs = [at(x, p) for p in places], [at(g, p) for p in places]
        mean = mpmath.fsum(row) / count if centred else mpmath.mpf(0)
        deviation = mpmath.sqrt(mpmath.fsum((v - mean) ** 2 for v in row) / count + EPS)
        normal = [(v - mean) / deviation for v in row]
        g_mean = mpmath.fsum(gs) / count if centred else mpmath.mpf(0)
        g_normal = mpmath.fsum(p * q for p, q in zip(gs, normal)) / count
        share, scale = (min(count, CHAIN) + TREE) * power(-24), 1 / fraction(from_mp(deviation))
        # The mean is corrected, so that its error is one of its own last place and of the distances' sum.
        largest, far = max(abs(fraction(from_mp(v - mean))) for v in row), abs(fraction(from_mp(mean)))
        of_value = far * scale * power(-23)
        equal = len(set(row)) == 1 and centred
        for place, v, n, q in zip(places, row, normal, gs):
            error = 0 if equal else share * (largest * scale + abs(fraction(from_mp(n)))) + of_value * (1 + abs(fraction(from_mp(n))))
            value = "0" if equal else from_mp(n)
            factor = abs(fraction(from_mp(q)))
            results[place] = (("-0" if q < 0 else "0") if equal else from_mp(n * q) if n * q else "0", error * factor + (0 if equal else power(-149)))
            g_slopes[place] = (value, error)
            slope = (q - g_mean - n * g_normal) / deviation
            x_slopes[place] = (from_mp(slope) if slope else "0", (share + of_value) * scale * (4 + 2 * largest * scale) * 2)
    return case_of(name, [f"layer f()(x[{head}], g[{head}]) {{ (x |> {call}) * g }}"], [x, g],
                   [("result", "f32", shape, results), ("grad.x", "f32", shape, x_slopes), ("grad.g", "f32", shape, g_slopes)], ["--grad ones"])


def files():
    steps = ("steps", 389, 7, 1009, -6)
    far = ("cycle", *(write(rounded(Fraction(10**5) + Fraction(i * 7 % 13 - 6, 4), F32)) for i in range(13)))
    near = ("cycle", *(write(Fraction(i * 7 % 13 - 5, 8)) for i in range(13)))
    same = ("cycle", write(rounded(Fraction("41.3"), F32)))
    cases = []
    for n in (2, 3, 17, 1000):
        for kind, data in (("", near if n == 1000 else steps), ("_far", far), ("_equal", same)):
            cases.append(normalise(f"batch_norm_{n}{kind}", "BatchNorm1d(track: false)", "B, C", (n, 3 if n < 1000 else 1), lambda b, c: c, data))
    for kind, data in (("", steps), ("_far", far), ("_equal", same)):
        cases.append(normalise(f"batch_norm_one_channel{kind}", "BatchNorm1d(track: false)", "B, C", (37, 1), lambda b, c: c, data))
        cases.append(normalise(f"batch_norm_sequence{kind}", "BatchNorm1d(track: false)", "B, C, L", (5, 3, 7), lambda b, c, s: c, data))
        cases.append(normalise(f"batch_norm_one_row{kind}", "BatchNorm1d(track: false)", "B, C, L", (1, 3, 2), lambda b, c, s: c, data))
        cases.append(normalise(f"batch_norm_image{kind}", "BatchNorm2d(track: false)", "B, C, H, W", (3, 2, 5, 4), lambda b, c, h, w: c, data))
        cases.append(normalise(f"group_norm_image{kind}", "GroupNorm(2)", "B, C, H, W", (2, 6, 3, 2), lambda b, c, h, w: (b, c // 3), data))
        cases.append(normalise(f"group_norm_flat{kind}", "GroupNorm(4)", "B, C", (3, 12), lambda b, c: (b, c // 3), data))
        cases.append(normalise(f"instance_norm_sequence{kind}", "InstanceNorm1d", "B, C, L", (2, 2, 65), lambda b, c, s: (b, c), data))
        cases.append(normalise(f"instance_norm_image{kind}", "InstanceNorm2d", "B, C, H, W", (2, 3, 3, 17), lambda b, c, h, w: (b, c), data))
    for n in (1, 2, 3, 1000):
        cases.append(normalise(f"rms_norm_{n}", "RmsNorm(eps: 1e-5)", "B, C", (3, n), lambda b, c: b, near if n == 1000 else steps, centred=False))
    yield "norms", cases
