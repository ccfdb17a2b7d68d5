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

# Embeddings: of no length and of hardly any, the same and opposite ones; distances of 0, hinges exactly where they begin.
nothing = [[0.0, 0.0], [3.0, 4.0], [1e-9, 0.0], [1.0, -1.0], [1e4, 1e4], [0.5, 0.0]]
others = [[1.0, 2.0], [3.0, 4.0], [1.0, 0.0], [-1.0, 1.0], [1e4, -1e4], [0.0, 0.25]]
case("cosine_similarity", "fn f(x[N, C]: float, y[N, C]: float) { cosine_similarity(x, y) }", lambda x, y: F.cosine_similarity(x, y), {"x": nothing, "y": others})
case("cosine_similarity of short vectors", "fn f(x[N, C]: float, y[N, C]: float) { cosine_similarity(x, y, eps: 2) }", lambda x, y: F.cosine_similarity(x, y, eps=2.0), {"x": nothing, "y": others})
for margin in (0.0, 0.25):
    case(f"cosine_loss {margin}", f"fn f(x[N, C]: float, y[N, C]: float, t[N]: float) {{ cosine_loss(x, y, stop_gradient(t), margin: {margin}, reduce: none) }}",
         lambda x, y, t: F.cosine_embedding_loss(x, y, t.detach(), margin=margin, reduction="none") + 0 * t, {"x": [[2.0, 1.0], [3.0, 4.0], [1.0, 0.5], *nothing[3:]], "y": others, "t": [1.0, -1.0, 1.0, -1.0, -1.0, 0.0]})
near = [[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1e4, 0.0]]
far = [[6.0, 0.0], [0.0, 0.0], [0.0, 0.0], [6.0, 0.0], [0.0, 0.5], [-1e4, 0.0]]
for options, given in (("", {}), (", eps: 0", {"eps": 0.0}), (", eps: 0, swap: true", {"eps": 0.0, "swap": True})):
    case(f"triplet_loss{options}", f"fn f(x[N, C]: float, y[N, C]: float, z[N, C]: float) {{ triplet_loss(x, y, z{options}, reduce: none) }}",
         lambda x, y, z: F.triplet_margin_loss(x, y, z, reduction="none", **given), {"x": [[0.0, 0.0]] * 6, "y": near, "z": far})


def unit(x):
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / (norm + (norm.clamp(min=1e-8) - norm).detach())


def contrastive(x, y):
    score = unit(x) @ unit(y).transpose(-1, -2) 
    return (torch.logsumexp(score, -1) + torch.logsumexp(score, -2)) / 2 - torch.diagonal(score, dim1=-2, dim2=-1)


case("contrastive_loss", "fn f(x[N, K, C]: float, y[N, K, C]: float) { contrastive_loss(x, y, temperature: 1, symmetric: true, reduce: none) }", contrastive,
     {"x": [others[3:], nothing[3:]], "y": [others[:3], others[3:]]})

# Likelihoods: variances of 0, below the least one, at it and large; counts of 0 and 1, of which the approximation is left out.
case("gaussian_nll", "fn f(x[N]: float, y[N]: float, v[N]: float) { gaussian_nll(x, y, v, eps: 0.25, full: true, reduce: none) }",
     lambda x, y, v: F.gaussian_nll_loss(x, y, v, eps=0.25, full=True, reduction="none"),
     {"x": [1.0, 1.0, 1.0, 0.5, 1e4, 0.0], "y": [1.0, 0.0, -1.0, 0.0, 0.0, 0.0], "v": [0.0, 0.125, 0.25, 1e4, 1e4, 0.0]})
for options, given in (("", {}), (", full: true", {"full": True}), (", log_input: false, full: true", {"log_input": False, "full": True})):
    case(f"poisson_nll{options}", f"fn f(x[N]: float, y[N]: float) {{ poisson_nll(x, stop_gradient(y){options}, reduce: none) }}",
         lambda x, y: F.poisson_nll_loss(x, y.detach(), reduction="none", **given) + 0 * y, {"x": [0.0, 0.5, 1.0, 3.0, 50.0, 0.25], "y": [0.0, 0.0, 1.0, 2.0, 40.0, 0.5]})

# Focal losses where nothing is missed, and where all is.
for gamma in (0.0, 2.0):
    def focal(x, y):
        loss = F.cross_entropy(x, y, reduction="none")
        return (1 - torch.exp(-loss))**gamma * loss

    def binary_focal(x, y):
        miss = y * torch.sigmoid(-x) + (1 - y) * torch.sigmoid(x)
        return miss**gamma * F.binary_cross_entropy_with_logits(x, y, reduction="none")

    case(f"focal_loss {gamma}", f"fn f(x[N, C]: float, y[N]: class(C)) {{ focal_loss(x, y, gamma: {gamma}, reduce: none) }}", focal, {"x": big}, {"y": index}, 3)
    case(f"binary_focal_loss {gamma}", f"fn f(x[N]: float, y[N]: class(2)) {{ binary_focal_loss(x, y, gamma: {gamma}, reduce: none) }}",
         lambda x, y: binary_focal(x, y.double()), {"x": numbers}, {"y": [int(t) for t in targets]}, 2)
# A power below 1 is infinitely steep at 0, where it counts for nothing.
case("focal_loss 0.5", "fn f(x[N, C]: float, y[N]: class(C)) { focal_loss(x, y, gamma: 0.5, reduce: none) }",
     lambda x, y: torch.where(F.cross_entropy(x, y, reduction="none") > 0, torch.sqrt(-torch.expm1(-F.cross_entropy(x, y, reduction="none").clamp(min=1e-9))), 0.0) * F.cross_entropy(x, y, reduction="none"),
     {"x": big}, {"y": index}, 3)


def dice(smooth):
    def loss(found, right):
        all = found.sum(-1) + right.sum(-1) + smooth
        return 1 - torch.where(all > 0, (2 * (found * right).sum(-1) + smooth) / torch.where(all > 0, all, 1), 1)
    return loss


# Areas: empty ones, full ones, one of each.
for smooth in (0.0, 1.0):
    case(f"binary_dice_loss {smooth}", f"fn f(x[N, P]: float, y[N, P]: float) {{ binary_dice_loss(x, stop_gradient(y), smooth: {smooth}, reduce: none) }}",
         lambda x, y: dice(smooth)(torch.sigmoid(x), y.detach()) + 0 * y.sum(-1),
         {"x": [[-1e4, -1e4], [1e4, 1e4], [-1e4, 1e4], [0.0, 0.5], [-1e4, -1e4], [1e4, 1e4]], "y": [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]})

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
