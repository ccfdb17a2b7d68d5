#!/usr/bin/env python3
"""Writes cases.json: random configurations of MultiHeadAttention, their results and gradients by PyTorch in double precision.

Needs PyTorch (Debian: python3-torch), which the test itself does not. Each case has sizes, options, masks and numbers of its own, drawn from its number; inputs, weights and
seeds of gradients are whole multiples of 1/64, stored as whole numbers. The reference is nn.MultiheadAttention, strictly loaded, where it has the configuration (its path
without shares, which gives zeros where a query is left without a key); of grouped heads and rotary positions, which it lacks, the same written around
scaled_dot_product_attention and complex numbers.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "trajectories"))
from attention_cases import later, turned  # noqa: E402

CASES, UNIT = 48, 64
torch.set_default_dtype(torch.float64)


def draw_case(number):
    draw = np.random.RandomState(number)
    pick = lambda *choices: choices[draw.randint(len(choices))]
    heads, depth = pick((1, 1), (1, 4), (1, 8), (2, 1), (2, 2), (2, 3), (2, 4), (3, 2), (4, 1), (4, 2))
    width, rows, queries = heads * depth, pick(1, 2, 3), pick(1, 2, 5, 9)
    source = pick("self", "self", "self", "key", "key", "key and value")
    keys = queries if source == "self" else pick(1, 3, 7)
    key_width = width if source == "self" else pick(width, 5)
    value_width = key_width if source != "key and value" else pick(width, 3)
    kv_heads = pick(None, None, None, *[n for n in (1, 2) if n < heads and heads % n == 0])
    causal, bias, rotary = pick(False, True), pick(True, True, False), depth % 2 == 0 and pick(False, False, True)
    mask = pick(None, "keys", "keys", "pairs")
    shape = {None: None, "keys": (rows, keys), "pairs": (rows, queries, keys)}[mask]
    there = None if mask is None else draw.rand(*shape) < pick(0.3, 0.7)
    kv = kv_heads or heads
    narrow = kv * depth
    packed = kv == heads and key_width == value_width == width
    shapes = {"m.in_proj_weight": (3 * width, width)} if packed else {
        "m.q_proj_weight": (width, width), "m.k_proj_weight": (narrow, key_width), "m.v_proj_weight": (narrow, value_width)}
    shapes |= {"m.out_proj.weight": (width, width)} | ({"m.in_proj_bias": (width + 2 * narrow,), "m.out_proj.bias": (width,)} if bias else {})
    inputs = {"x": (rows, queries, width)} | ({"key": (rows, keys, key_width)} if source != "self" else {}) | (
        {"value": (rows, keys, value_width)} if source == "key and value" else {})
    numbers = lambda shape: draw.randint(-UNIT, UNIT + 1, shape)
    options = [f"{heads}"] + [f"kv_heads: {kv_heads}"] * bool(kv_heads) + ["causal: true"] * causal + ["bias: false"] * (not bias) + ["rotary: true"] * rotary
    given = [f"{name}: {name}" for name in inputs if name != "x"] + ["mask: there > 0"] * (mask is not None)
    heads_of = {"x": "B, T, C", "key": "B, S, K", "value": "B, S, V"}
    parameters = [f"{name}[{heads_of[name]}]" for name in inputs] + [f"there[{'B, S' if mask == 'keys' else 'B, T, S'}]"] * (mask is not None)
    source_text = f"layer f({', '.join(parameters)}) -> [B, T, C] {{ x |> m: MultiHeadAttention({', '.join(options)}){'(' + ', '.join(given) + ')' if given else ''} }}"
    return {"program": source_text, "heads": heads, "kv_heads": kv, "causal": causal, "rotary": rotary, "bias": bias, "there": there,
            "inputs": {name: numbers(shape) for name, shape in inputs.items()}, "weights": {name: numbers(shape) for name, shape in shapes.items()},
            "seed": numbers((rows, queries, width))}


def sees(case, queries, keys):
    """[B, T, S]: which query sees which key."""
    rows = len(case["inputs"]["x"])
    allowed = torch.ones(rows, queries, keys, dtype=torch.bool)
    if case["causal"]:
        allowed &= torch.ones(queries, keys, dtype=torch.bool).tril()
    if case["there"] is not None:
        there = torch.tensor(case["there"])
        allowed &= there if there.ndim == 3 else there[:, None, :]
    return allowed


def by_module(case, inputs, weights):
    x = inputs["x"]
    key = inputs.get("key", x)
    value = inputs.get("value", key)
    module = nn.MultiheadAttention(x.shape[2], case["heads"], bias=case["bias"], kdim=key.shape[2], vdim=value.shape[2], batch_first=True)
    assert sorted(module.state_dict()) == sorted(name[2:] for name in weights)
    hidden = ~sees(case, x.shape[1], key.shape[1]).repeat_interleave(case["heads"], 0)
    call = lambda *arguments, **options: module(*arguments, attn_mask=hidden, need_weights=False)[0]
    return torch.func.functional_call(Called(module, call), {f"module.{name[2:]}": value for name, value in weights.items()}, (x, key, value), strict=True)


class Called(nn.Module):
    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *arguments):
        return self.call(*arguments)


def by_hand(case, inputs, weights):
    x = inputs["x"]
    key = inputs.get("key", x)
    value = inputs.get("value", key)
    width, depth = x.shape[2], x.shape[2] // case["heads"]
    narrow = case["kv_heads"] * depth
    matrices = weights["m.in_proj_weight"].split(width) if "m.in_proj_weight" in weights else [weights[f"m.{n}_proj_weight"] for n in "qkv"]
    biases = weights["m.in_proj_bias"].split((width, narrow, narrow)) if case["bias"] else [None] * 3
    q, k, v = (F.linear(s, w, b).unflatten(2, (-1, depth)) for s, w, b in zip((x, key, value), matrices, biases))
    if case["rotary"]:
        q, k = turned(q, 10000, True), turned(k, 10000, True)
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=sees(case, x.shape[1], key.shape[1])[:, None], enable_gqa=True)
    return F.linear(y.transpose(1, 2).flatten(2), weights["m.out_proj.weight"], weights.get("m.out_proj.bias"))


def whole(array):
    return {"shape": list(array.shape), "values": array.ravel().tolist()}


def rounded(tensor):
    return {"shape": list(tensor.shape), "values": [float(f"{v:.9g}") for v in tensor.detach().numpy().ravel()]}


def main():
    cases, blind = [], 0
    for number in range(CASES):
        case = draw_case(number)
        tensors = {kind: {name: torch.tensor(a / UNIT, requires_grad=True) for name, a in case[kind].items()} for kind in ("inputs", "weights")}
        is_module = case["kv_heads"] == case["heads"] and not case["rotary"]
        result = (by_module if is_module else by_hand)(case, **tensors)
        (result * torch.tensor(case["seed"] / UNIT)).sum().backward()
        gradients = {name: t.grad for kind in tensors.values() for name, t in kind.items()}
        assert all(torch.isfinite(t).all() for t in (result, *gradients.values()))
        queries, keys = case["inputs"]["x"].shape[1], case["inputs"].get("key", case["inputs"]["x"]).shape[1]
        blind += bool((~sees(case, queries, keys).any(2)).any())
        cases.append({"program": case["program"], "unit": 1 / UNIT, "inputs": {n: whole(a) for n, a in case["inputs"].items()},
                      "there": None if case["there"] is None else whole(case["there"].astype(int)), "weights": {n: whole(a) for n, a in case["weights"].items()},
                      "seed": whole(case["seed"]), "result": rounded(result), "gradients": {n: rounded(g) for n, g in gradients.items()}})
    assert blind > 10, f"queries without a key in {blind} cases"
    (HERE / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(f"{CASES} cases, {blind} of them with queries that are left without a key")


if __name__ == "__main__":
    main()
