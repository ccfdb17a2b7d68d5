#!/usr/bin/python3
"""Writes extremes.json: values and gradients of activations, softmax and losses at extreme arguments, by PyTorch in double precision.

Needs PyTorch (Debian: python3-torch), which the tests themselves do not. Run: tests/run/extremes/generate.py > tests/run/extremes/extremes.json

A case has a function in the language, whose `float` is f32 or f64, and its tensors; `float` inputs get gradients of sum(seed * result) where `gradients` is given. Cases whose
arguments are infinite or NaN and whose gradient PyTorch leaves undefined have values alone. Numbers are JSON's, or "nan", "inf", "-inf".
"""
import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
inf, nan = math.inf, math.nan
cases = []


def plain(t):
    def number(v):
        return "nan" if math.isnan(v) else "inf" if v == inf else "-inf" if v == -inf else v

    return {"shape": list(t.shape), "values": [number(float(v)) for v in t.flatten()]}


def case(name, source, function, inputs, labels=None, classes=0, gradients=True):
    tensors = {n: torch.tensor(v, requires_grad=gradients) for n, v in inputs.items()}
    label = {n: torch.tensor(v) for n, v in (labels or {}).items()}
    result = function(*tensors.values(), *label.values())
    seed = 0.5 + 0.25 * (torch.arange(result.numel()).reshape(result.shape) % 5)
    entry = {"name": name, "source": source, "inputs": {n: plain(t.detach()) for n, t in tensors.items()}, "classes": classes,
             "labels": {n: plain(t) for n, t in label.items()}, "result": plain(result.detach()), "gradients": {}}
    if gradients:
        (seed * result).sum().backward()
        entry["gradients"] = {n: plain(t.grad) for n, t in tensors.items()}
    cases.append(entry)


# Rows of logits up to 1e4 in size; rows some or all of which is -inf, as by a mask.
big = [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4], [0.0, 0.5, -1e4], [1e4, 9999.0, 9998.0], [-1e4, 1e4, 1e4]]
masked = [[-inf, 0.0, 1.0], [-inf, -inf, 2.0], [1e4, -inf, -1e4], [0.25, -inf, -inf]]
hopeless = [[-inf, -inf, -inf], [inf, 0.0, 1.0], [nan, 0.0, -inf], [inf, inf, -inf]]
index = [0, 1, 2, 0, 2, 0]
masked_index = [2, 2, 0, 0]
goal = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.125, 0.5, 0.375], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]

softmaxes = {
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
}
for name, function in softmaxes.items():
    source = f"fn f(x[N, C]: float) {{ {name}(x, over: C) }}"
    case(name, source, function, {"x": big})
    case(name + " masked", source, function, {"x": masked})
    case(name + " without a number", source, function, {"x": hopeless}, gradients=False)

for smoothing in (0, 0.1):
    for reduce in ("none", "mean", "sum"):
        case(f"cross_entropy {smoothing} {reduce}", f"fn f(x[N, C]: float, y[N]: class(C)) {{ cross_entropy(x, y, smoothing: {smoothing}, reduce: {reduce}) }}",
             lambda x, y: F.cross_entropy(x, y, label_smoothing=smoothing, reduction=reduce), {"x": big}, {"y": index}, 3)
        case(f"cross_entropy of distributions {smoothing} {reduce}",
             f"fn f(x[N, C]: float, y[N, C]: float) {{ cross_entropy(x, stop_gradient(y), smoothing: {smoothing}, reduce: {reduce}) }}",
             lambda x, y: F.cross_entropy(x, y.detach(), label_smoothing=smoothing, reduction=reduce) + 0 * y.sum(), {"x": big, "y": goal})
source = "fn f(x[N, C]: float, y[N]: class(C)) { cross_entropy(x, y, reduce: none) }"
case("cross_entropy masked", source, lambda x, y: F.cross_entropy(x, y, reduction="none"), {"x": masked}, {"y": masked_index}, 3)
case("cross_entropy of a masked class", source, lambda x, y: F.cross_entropy(x, y, reduction="none"), {"x": masked[:2]}, {"y": [0, 1]}, 3, False)

source = "fn f(x[N, C]: float, y[N, C]: float) { kl_divergence(x, stop_gradient(y), reduce: none) }"
case("kl_divergence", source, lambda x, y: F.kl_div(F.log_softmax(x, 1), y.detach(), reduction="none") + 0 * y.sum(), {"x": big, "y": goal})
case("kl_divergence of no distribution", source, lambda x, y: F.kl_div(F.log_softmax(x, 1), y, reduction="none"),
     {"x": [[0.0, 1.0, 2.0]] * 2, "y": [[-0.5, 0.5, 1.0], [nan, 0.5, 0.5]]}, gradients=False)
case("hinge of classes", "fn f(x[N, C]: float, y[N]: class(C)) { hinge(x, y, reduce: none) }",
     lambda x, y: F.multi_margin_loss(x, y, reduction="none"), {"x": big}, {"y": index}, 3)

numbers = [1e4, -1e4, 1e4, -1e4, 0.25, -0.5, 300.0, -300.0, 1e4, -1e4, 88.5, -104.5]
targets = [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.25, 0.0, 1.0]
two = {
    "binary_cross_entropy": lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
    "mean_squared_error": lambda x, y: F.mse_loss(x, y, reduction="none"),
    "mean_absolute_error": lambda x, y: F.l1_loss(x, y, reduction="none"),
    "huber": lambda x, y: F.huber_loss(x, y, reduction="none"),
    "hinge": lambda x, y: F.relu(1 - y * x),
}
for name, function in two.items():
    source = f"fn f(x[N]: float, y[N]: float) {{ {name}(x, y, reduce: none) }}"
    case(name, source, function, {"x": numbers, "y": targets})
    case(name + " of NaN", source, function, {"x": [nan, 1.0, nan], "y": [1.0, nan, nan]}, gradients=False)
# Where the square of the distance overflows and the loss does not.
case("huber far away", "fn f(x[N]: float, y[N]: float) { huber(x, y, reduce: none) }", lambda x, y: F.huber_loss(x, y, reduction="none"),
     {"x": [1e25, -1e25, 3e38, inf, -inf], "y": [0.0, 1.0, -1.0, 0.0, 1.0]})
case("binary_cross_entropy of labels", "fn f(x[N]: float, y[N]: class(2)) { binary_cross_entropy(x, y, reduce: none) }",
     lambda x, y: F.binary_cross_entropy_with_logits(x, y.double(), reduction="none"), {"x": numbers}, {"y": [int(t) for t in targets]}, 2)

activations = {
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "softplus": F.softplus, "softsign": F.softsign, "log_sigmoid": F.logsigmoid, "elu": F.elu,
    "selu": F.selu, "celu": F.celu, "silu": F.silu, "mish": F.mish, "gelu": F.gelu, "hardtanh": F.hardtanh, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
}
for name, function in activations.items():
    source = f"fn f(x[N]: float) {{ {name}(x) }}"
    case(name, source, function, {"x": numbers})
    case(name + " of infinity and NaN", source, function, {"x": [inf, -inf, nan]}, gradients=False)
case("gelu by tanh", "fn f(x[N]: float) { gelu(x, approximate: tanh) }", lambda x: F.gelu(x, approximate="tanh"), {"x": numbers})

print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")
