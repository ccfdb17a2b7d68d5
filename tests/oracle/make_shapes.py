"""Cases of operations that move numbers, as graphs in text: not one bit of an element may change, whatever its type."""

from fractions import Fraction
from itertools import product
from math import prod

from casefile import Tensors
from exact import FORMATS, INTEGERS, rounded, write
from values import INTEGER_SETS, power


class Array:
    """Numbers with a shape, row-major."""

    def __init__(self, shape, values):
        self.shape, self.values = tuple(shape), list(values)
        assert len(self.values) == prod(self.shape)

    def __getitem__(self, place):
        index = 0
        for i, n in zip(place, self.shape):
            index = index * n + i
        return self.values[index]


def made(shape, element):
    return Array(shape, [element(*place) for place in product(*map(range, shape))])


def awkward(dtype):
    """Twelve numbers of a type."""
    if dtype in FORMATS:
        form = FORMATS[dtype]
        largest = power(form.highest + 1) - power(form.highest + 1 - form.bits)
        return ["-0", "inf", power(form.lowest), -largest, rounded(Fraction(1, 10), form), "-inf", power(form.bits) + 2, Fraction(3), "0", 1 - power(-form.bits), -power(form.lowest + 5), Fraction(41)]
    numbers = {"i32": [-2**31, 2**31 - 1, 2**24 + 1, 0, -1, 10**9 + 7, 41, -2**24 - 1, 7, 3, 2, 1], "i64": [-2**63, 2**63 - 1, 2**53 + 1, 0, -1, 2**31, 1700000000123, -2**53 - 1, 2**62 + 1, 7, 3, 1],
               "u8": INTEGER_SETS["u8"][:12], "bool": [1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1, 0]}
    return [Fraction(v) if v else "0" for v in numbers[dtype]]


def literal(values):
    return "[" + ", ".join(decimal(v) for v in values) + "]"


def decimal(v):
    return v if isinstance(v, str) else str(v.numerator) if v.denominator == 1 else repr(v.numerator / v.denominator)


def wrapped(v, dtype):
    low, high = INTEGERS[dtype]
    return Fraction((int(v) - low) % (high - low + 1) + low) or "0"


def moves(dtype):
    x = Array((4, 3), awkward(dtype))
    picked = [3, 0, 3, 1, 3]
    zero = "0"
    small = [Fraction(v) if v else zero for v in ((1, 0, 1) if dtype == "bool" else (3, 0, 2))]
    lines = [("transpose", "transpose(%0) axes [1, 0]", made((3, 4), lambda i, j: x[j, i])),
             ("reshape", "reshape(%0)", Array((2, 6), x.values)),
             ("slice rows", "slice(%0) axis 0 begin 1", made((2, 3), lambda i, j: x[i + 1, j])),
             ("slice columns", "slice(%0) axis 1 begin 2", made((4, 1), lambda i, j: x[i, j + 2])),
             ("broadcast", "broadcast(%0) axes [0, 2]", made((4, 5, 3), lambda i, k, j: x[i, j])),
             ("broadcast outside", "broadcast(%0) axes [1, 2]", made((7, 4, 3), lambda k, i, j: x[i, j])),
             ("gather rows", "gather(%0, %1) axis 0 ab,c->cb", made((5, 3), lambda i, j: x[picked[i], j])),
             ("select", "select(%2, %0, %3)", made((4, 3), lambda i, j: x[i, j] if i % 2 else small[j])),
             ("constant", f"constant {decimal(x.values[2]) if dtype not in FORMATS else '0.1'}", Array((3,), [x.values[2] if dtype not in FORMATS else rounded(Fraction(0.1), FORMATS[dtype])] * 3)),
             ("literal", f"literal {literal(small)}", Array((3,), small))]
    if dtype not in ("bool", "u8"):
        lines += [("pad", "pad(%0) axis 1 begin 2", made((4, 7), lambda i, j: x[i, j - 2] if 2 <= j < 5 else zero))]
        order = lambda v: power(2000) if v == "inf" else -power(2000) if v == "-inf" else Fraction(0) if isinstance(v, str) else v  # noqa: E731
        pick = lambda choose, values: choose(values, key=order)  # noqa: E731
        columns = [[x[i, j] for i in range(4)] for j in range(3)]
        lines += [("reduce_max", "reduce_max(%0) axes [0]", Array((3,), [unsigned(pick(max, c)) for c in columns])),
                  ("reduce_min", "reduce_min(%0) axes [0]", Array((3,), [unsigned(pick(min, c)) for c in columns]))]
    if dtype in ("i32", "i64"):
        lines += [("reduce_sum", "reduce_sum(%0) axes [0]", Array((3,), [wrapped(sum(map(Fraction, c)), dtype) for c in columns])),
                  ("scatter_add", "scatter_add(%4, %1) axis 0 cb,c->ab", scattered(x, picked, dtype)),
                  ("contract", "contract(%0, %3) ab,cb->ac", made((4, 4), lambda i, k: wrapped(sum(Fraction(x[i, j]) * Fraction(small[j]) for j in range(3)), dtype)))]
    elif dtype in FORMATS:
        ones = Array((5, 3), [Fraction(i + 1) for i in range(15)])
        lines += [("scatter_add", "scatter_add(%4, %1) axis 0 cb,c->ab", scattered(ones, picked, None))]
    case = Tensors(f"moves_{dtype}")
    case.inputs = [("x", dtype, (4, 3), ["cycle", *(v if isinstance(v, str) else write(v) for v in x.values)]), ("picked", "i32", (5,), ["cycle", *(write(Fraction(v)) if v else "0" for v in picked)]),
                   ("even", "bool", (4, 3), ["cycle", "0", "0", "0", "1p0", "1p0", "1p0"]), ("small", dtype, (4, 3), ["cycle", *(v if isinstance(v, str) else write(v) for v in small)])]
    case.code = ["graph @moves {", f"  %0 = input @x : {dtype}[4, 3]", "  %1 = input @picked : i32[5]", "  %2 = input @even : bool[4, 3]", f"  %3 = input @small : {dtype}[4, 3]"]
    if dtype in FORMATS:
        case.code.append(f"  %4 = literal {literal([Fraction(i + 1) for i in range(15)])} : {dtype}[5, 3]")
    else:
        case.code.append(f"  %4 = gather(%0, %1) axis 0 ab,c->cb : {dtype}[5, 3]")
    for n, (name, text, array) in enumerate(lines):
        case.code.append(f"  %{n + 5} = {text} : {dtype}[{', '.join(map(str, array.shape))}]")
        case.results.append((f"{name.replace(' ', '_')}", dtype, array.shape, [(v, 0) for v in array.values]))
    case.code += [f"  output \"{name.replace(' ', '_')}\" %{n + 5}" for n, (name, _, _) in enumerate(lines)] + ["}"]
    return case


def unsigned(v):
    return "0" if v == "-0" else v


def scattered(x, picked, dtype):
    """Twice picked rows of x added up in their places; without a type x holds the updates themselves."""
    def element(i, j):
        rows = [n for n, p in enumerate(picked) if p == i]
        total = sum((Fraction(x[p, j]) for p in (rows if dtype is None else [picked[n] for n in rows])), Fraction(0))
        return (total or "0") if dtype is None else wrapped(total, dtype)
    return made((4, 3), element)


def positions():
    case = Tensors("positions")
    sizes = (1, 2, 3, 17, 65, 1025)
    case.code = ["graph @positions {"]
    for n, size in enumerate(sizes):
        case.code += [f"  %{2 * n} = iota axis 0 : i32[{size}]", f"  %{2 * n + 1} = extent {size} : f64[]"]
        case.results += [(f"iota{size}", "i32", (size,), [(Fraction(i) or "0", 0) for i in range(size)]), (f"extent{size}", "f64", (), [(Fraction(size), 0)])]
    case.code += [f'  output "iota{size}" %{2 * n}\n  output "extent{size}" %{2 * n + 1}' for n, size in enumerate(sizes)]
    case.code = [line for text in case.code for line in text.split("\n")] + ["}"]
    return case


def files():
    yield "shapes", [moves(dtype) for dtype in ("f32", "f64", "i32", "i64", "u8", "bool")] + [positions()]
