#!/usr/bin/env python3
"""Writes the trajectories: what PyTorch computes in double precision for 50 steps of training, from given weights, on given rows.

Needs PyTorch and numpy (Debian: python3-torch), which the tests themselves do not: what it writes is committed. The initial weights
and the data are exact in single precision, so that a double and a single precision run start from the same point. README.md in this
folder says what is written.
"""

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import attention_cases
import loss_cases
import norm_cases
import program_cases
import recurrent_cases
import rule_cases
import std_cases
import text_cases

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
STEPS = 50
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)


def write_safetensors(path, tensors):
    """The whole of the format: length of the header, header (JSON), the tensors' bytes in the header's order."""
    kinds = {np.dtype("<f4"): "F32", np.dtype("<f8"): "F64", np.dtype("<i8"): "I64"}
    header, offset = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": kinds[value.dtype], "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(v).tobytes() for v in tensors.values()))


def write_idx(path, array):
    """The IDX format of MNIST: unsigned bytes, sizes in big-endian order. No time stamp: same bytes on every run."""
    raw = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw, 9, mtime=0))


def initial_weights(sizes, names, seed):
    """Dense layers as PyTorch draws them, rounded to single precision."""
    draw = np.random.RandomState(seed)
    weights = {}
    for name, inputs, outputs in zip(names, sizes, sizes[1:]):
        bound = 1 / np.sqrt(inputs)
        weights[f"{name}.weight"] = draw.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = draw.uniform(-bound, bound, outputs).astype(np.float32)
    return weights


def train(names, activations, weights, x, y, batch, make_optimizer, sign=1, dtype=torch.float64):
    """(losses, final weights): rows in file order, the last batch of an epoch smaller where they do not come out even."""
    parameters = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in weights.items()}
    optimizer = make_optimizer(list(parameters.values()))
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y)
    losses = []
    while len(losses) < STEPS:
        for start in range(0, len(x), batch):
            h = x[start:start + batch]
            for name, activation in zip(names, activations):
                h = activation(h @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"])
            optimizer.zero_grad()
            loss = sign * cross_entropy(h, y[start:start + batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, {name: value.detach().numpy() for name, value in parameters.items()}


def identity(x):
    return x


MNIST = """\
# 50 steps of examples/mnist_mlp.nn on its first 320 rows, in file order.

data mnist {
  image[784] : u8        = idx("mnist-images.gz")
  label      : class(10) = idx("mnist-labels.gz")
}

model Mlp(image[B, 784]: u8) -> [B, 10] {
  image / 255
    |> fc1: Dense(64) |> relu
    |> fc2: Dense(64) |> relu
    |> fc3: Dense(10)
}

train {
  data     mnist, batch: 32
  let logits = Mlp(image)
  minimize cross_entropy(logits, label)
  using    sgd(lr: 0.01)
  epochs   5
  report   accuracy(logits, label)
  seed     1
}
"""

SMALL = """\
# 50 steps of a small network with %s; the last batch of an epoch has 8 rows.

data rows {
  x[8]  : f32      = csv("small.csv", columns: 0..8)
  label : class(3) = csv("small.csv", columns: 8)
}

model Small(x[B, 8]) -> [B, 3] {
  x |> Dense(16) |> tanh |> Dense(16) |> relu |> Dense(3)
}

train {
  data     rows, batch: 16
  minimize %scross_entropy(Small(x), label)
  using    %s
  epochs   10
  seed     1
}
"""

def mnist_case():
    images = np.frombuffer(gzip.decompress((EXAMPLES / "data/t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress((EXAMPLES / "data/t10k-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    images, labels = images.reshape(-1, 28, 28)[:320], labels[:320]
    write_idx(HERE / "mnist-images.gz", images)
    write_idx(HERE / "mnist-labels.gz", labels)
    names = ["fc1", "fc2", "fc3"]
    weights = initial_weights([784, 64, 64, 10], names, seed=1)
    write_safetensors(HERE / "mnist_mlp.init.safetensors", weights)
    (HERE / "mnist_mlp.nn").write_text(MNIST)
    x = images.reshape(320, 784).astype(np.float64) / 255
    rule = lambda p: torch.optim.SGD(p, lr=0.01)
    return {"mnist_mlp": (names, [torch.relu, torch.relu, identity], weights, x, labels.astype(np.int64), 32, rule)}


def mnist_rows():
    read = lambda name: np.frombuffer(gzip.decompress((HERE / name).read_bytes()), np.uint8)
    return {"image": read("mnist-images.gz")[16:].reshape(-1, 1, 28, 28), "digit": read("mnist-labels.gz")[8:].astype(np.int64)}


def small_cases():
    draw = np.random.RandomState(2)
    x = draw.normal(size=(72, 8)).round(3)
    y = np.argmax(np.tanh(x @ draw.normal(size=(8, 3))) + 0.3 * draw.normal(size=(72, 3)), axis=1)
    (HERE / "small.csv").write_text("".join(",".join(f"{v:.3f}" for v in row) + f",{label}\n" for row, label in zip(x, y)))
    names = ["dense1", "dense2", "dense3"]
    weights = initial_weights([8, 16, 16, 3], names, seed=3)
    write_safetensors(HERE / "small.init.safetensors", weights)
    x = x.astype(np.float32)  # what a field of type f32 holds
    cases = {}
    for name, (title, nn, rule) in rule_cases.RULES.items():
        sign = -1 if "maximise: true" in nn else 1
        (HERE / f"{name}.nn").write_text(SMALL % (title, "-" if sign < 0 else "", nn))
        cases[name] = (names, [torch.tanh, torch.relu, identity], weights, x, y, 16, rule, sign)
    return cases


def gaps(losses, final, single_losses, single):
    loss_gap = max(abs(a - b) for a, b in zip(losses, single_losses))
    weight_gap = max(np.linalg.norm(single[k] - final[k]) / np.linalg.norm(final[k]) for k in final if np.any(final[k]))
    return f"loss {losses[0]:.4f} -> {losses[-1]:.4f}   PyTorch in single precision: losses within {loss_gap:.1e}, weights {weight_gap:.1e}"


def main():
    only = sys.argv[1:]  # names of cases to write; without them all
    expected = json.loads((HERE / "expected.json").read_text()) if only else {}
    plain = mnist_case()  # writes the rows that the next ones read
    data = {**std_cases.make_data(HERE / "std.csv"), **mnist_rows()}
    groups = ((norm_cases.cases(), 200, "predictions"), (std_cases.cases(), 100, "reports"), (program_cases.cases(), 300, None),
              (text_cases.cases(), 400, None), (loss_cases.cases(), 600, "reports"),
              (recurrent_cases.cases(), 400, "predictions"), (attention_cases.cases(), 500, "predictions"))
    for seed, name, case, more in [(seed, *item, more) for cases, first, more in groups for seed, item in enumerate(cases.items(), first)]:
        if only and name not in only:
            continue
        weights = case.initial(seed)
        write_safetensors(HERE / f"{name}.init.safetensors", weights)
        (HERE / f"{name}.nn").write_text(case.program())
        losses, final, found = case.run(weights, data, STEPS, torch.float64)
        single_losses, single, _ = case.run(weights, data, STEPS, torch.float32)
        kept = final if more else {key: value.astype(np.float32) if value.dtype == np.float64 else value for key, value in final.items()}
        write_safetensors(HERE / f"{name}.final.safetensors", kept)
        expected[name] = {"program": f"{name}.nn", "init": f"{name}.init.safetensors", "final": f"{name}.final.safetensors", "steps": STEPS,
                          "losses": losses, **({"made_up": True} if isinstance(case, norm_cases.MadeUpCase) else {}), **({more: found} if more else found)}
        print(f"{name:16} {gaps(losses, final, single_losses, single)}")
    for name, case in {**plain, **small_cases()}.items():
        if only and name not in only:
            continue
        losses, final = train(*case)
        write_safetensors(HERE / f"{name}.final.safetensors", final)
        init = "mnist_mlp.init.safetensors" if name == "mnist_mlp" else "small.init.safetensors"
        expected[name] = {"program": f"{name}.nn", "init": init, "final": f"{name}.final.safetensors", "steps": STEPS, "losses": losses}
        print(f"{name:16} {gaps(losses, final, *train(*case, dtype=torch.float32))}")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
