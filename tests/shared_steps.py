"""Small programs whose steps are computed in shares, for the checks of `accumulate` and of workers: each has something that a share of the rows could get wrong.

Rows are few, so that the last batch of an epoch can have any number of them, and sizes of tensors are odd, so that no range of elements comes out even."""

import json
import random

from command_line import CommandLine

ROWS = 64

# What stands before each of them; {test} sets rows aside.
DATA = """
data rows {{
  x[12] : f32      = csv("rows.csv", columns: 0..12)
  label : class(3) = csv("rows.csv", columns: 12)
  target : f32     = csv("rows.csv", columns: 13)
  share : f32      = csv("rows.csv", columns: 14)
  items[2] : class(300) = csv("rows.csv", columns: 15..17)
  {test}
}}
"""
PLAIN = "model Net(x[B, 12]) -> [B, 3] { x |> Dense(17) |> tanh |> Dense(5) |> relu |> Dense(3) }\n"
TRAIN = """
train {
  data     rows, batch: 12
  let scores = Net(x)
  minimize cross_entropy(scores, label%s)
  using    %s
  epochs   3
  report   accuracy(scores, label)
  seed     5
}
"""

# name -> definitions and the train block.
PROGRAMS = {
    "sgd": PLAIN + TRAIN % ("", "sgd(lr: 0.1, momentum: 0.9, decay: 0.001)"),
    # The norm is a sum over whole gradients.
    "clipped": PLAIN + TRAIN % ("", "adam(lr: 0.02), clip_norm: 0.5"),
    # The loss is divided by a number that the data decides.
    "ignore": PLAIN + TRAIN % (", ignore: 2", "adamw(lr: 0.02)"),
    "own_optimizer": """
optimizer lion(lr, beta1 = 0.9, beta2 = 0.99, decay = 0) {
  state m = 0
  let direction = sign(beta1 * m + (1 - beta1) * grad)
  update m = beta2 * m + (1 - beta2) * grad
  update value = value - lr * (direction + decay * value)
}
""" + PLAIN + TRAIN % ("", "lion(lr: 0.004, decay: 0.01)"),
    # A rule that needs all of a tensor.
    "whole_tensors": """
optimizer trust(lr) {
  update value = value - lr * sqrt(sum(value^2) + 0.01) / sqrt(sum(grad^2) + 0.01) * grad
}
""" + PLAIN + TRAIN % ("", "trust(lr: 0.1)"),
    # Sums over whole tensors, which stand in memory in different orders, beside each other and of a product of two.
    "tensor_sums": """
optimizer centred(lr) {
  state m = 0
  update m = 0.5 * m + grad - mean(m)
  update value = value - lr * (m + mean(grad) + mean(value) + 0.01 * sum(m * grad) - 0.02 * sum(value * grad))
}
model Net(x[B, 12]) -> [B, 3] { x |> Dense(37) |> LayerNorm |> tanh |> Dense(19) |> relu |> Dense(3) }
""" + TRAIN % ("", "centred(lr: 0.05)"),
    "tensor_sums_conv": """
optimizer centred(lr) {
  state m = 0
  update m = 0.5 * m + grad - mean(m)
  update value = value - lr * (m + mean(grad) + mean(value))
}
dim Planes = 1, Height = 4, Width = 3
model Net(x[B, 12]) -> [B, 3] { x as [B, Planes, Height, Width] |> Conv2d(5, 3, pad: same) |> tanh |> Conv2d(7, 3, pad: same) |> flatten |> Dense(3) }
""" + TRAIN % ("", "centred(lr: 0.05)"),
    # What is drawn belongs to a row's place in the whole batch.
    "draws": """
layer Encoder(x[B, C]) -> [B, 4], [B, 4] {
  let h = x |> fc: Dense(9) |> relu |> Dropout(0.25)
  h |> mu: Dense(4), h |> logvar: Dense(4)
}
model Net(x[B, 12]) -> [B, 3] {
  let mu, logvar = x |> encoder: Encoder
  let z = if training { mu + exp(0.5 * logvar) * normal_like(mu) } else { mu }
  z |> Dense(3)
}
""" + TRAIN % ("", "rmsprop(lr: 0.01)"),
    "scan": """
dim T = 4, C = 3
layer Gated(H)(x[B, T, C]) -> [B, T, H] {
  let new = x |> new: Dense(H)
  own: Dense(H, bias: false)
  scan t in T with h[B, H] = 0 {
    update h = 0.5 * h + tanh(new[T: t] + own(h))
    yield h
  }
}
model Net(x[B, 12]) -> [B, 3] {
  let y = x as [B, T, C] |> Gated(7)
  y[T: T - 1] |> Dense(3)
}
""" + TRAIN % ("", "adam(lr: 0.02), clip_norm: 1"),
    "conv": """
dim Planes = 1, Height = 4, Width = 3
model Net(x[B, 12]) -> [B, 3] {
  x as [B, Planes, Height, Width] |> Conv2d(5, 3, pad: same) |> relu |> maxpool2d(2) |> Conv2d(3, 1) |> LayerNorm |> flatten |> Dense(3)
}
""" + TRAIN % ("", "sgd(lr: 0.05)"),
    # Several losses, one of them weighted by a column; rules for groups of parameters; reports of the largest and the least value, which are no sums.
    "weighted": """
model Net(x[B, 12]) -> [B, 3], [B] {
  let h = x |> Dense(6) |> silu |> RmsNorm
  h |> scores: Dense(3), (h |> value: Dense(1)) as [B]
}
train {
  data     rows, batch: 12
  let scores, value = Net(x)
  let error = (value - target)^2
  minimize sum(error * share) / (sum(share) + 0.125) + 0.1 * cross_entropy(scores, label)
  using    adam(lr: 0.01) for "*.weight", sgd(lr: 0.02) for "*.bias", sgd(lr: 0.02)
  epochs   3
  report   worst: max(error), least: min(error), off: mean(error), accuracy(scores, label)
  seed     5
}
""",
    # Few entries of a large table are named, some by several rows, and the others stay as they are: rows travel, not the table. Moments of another one move all of its entries.
    "lookups": """
dim Slots = 2
model Net(items[B, Slots]: class(300), x[B, 12]) -> [B] {
  let place = items |> Embedding(300, 7) |> flatten
  let usual = items |> Embedding(300, 3) |> flatten
  ((place |> Dense(8) |> tanh) * (x |> Dense(8)) |> Dense(1)) as [B] + ((usual |> Dense(1)) as [B])
}
train {
  data     rows, batch: 12
  minimize mean((Net(items, x) - target)^2)
  using    sgd(lr: 0.05) for "embedding1.*", sgd(lr: 0.05, momentum: 0.5)
  epochs   3
  seed     5
}
""",
    # The gradient of a gain is a sum over what stands for each of its elements in a matrix: one kernel goes through elements of the one and lines of the other.
    "gains": """
layer Gains(H)(x[B, C]) -> [B, H] {
  frozen param direction[H, C] ~ normal(0.3)
  param gain[H] = 1
  sum(x * (gain * direction), over: C)
}
model Net(x[B, 12]) -> [B, 3] { x |> Gains(37) |> tanh |> Dense(3) }
""" + TRAIN % ("", "sgd(lr: 0.1)"),
    # A rule that needs all of a state, which its owners update.
    "whole_states": """
optimizer steady(lr) {
  state m = 0
  let size = sqrt(sum(m^2) + 0.01)
  update m = 0.5 * m + grad
  update value = value - lr * grad / size
}
model Net(x[B, 12]) -> [B, 3] { x |> Dense(37) |> tanh |> Dense(3) }
""" + TRAIN % ("", "steady(lr: 0.1)"),
    # Gradients of a table that rows look up: sums over those rows that have an index.
    "table": """
model Net(label[B]: class(3), x[B, 12]) -> [B] {
  let place = label |> Embedding(3, 8)
  (place * (x |> Dense(8)) |> Dense(1)) as [B]
}
train {
  data     rows, batch: 12
  minimize mean((Net(label, x) - target)^2)
  using    adam(lr: 0.02), clip_norm: 1
  epochs   3
  seed     5
}
""",
}

# Rows read what the rows of the whole batch add up to: workers exchange that in mid-step; batches that follow one another do not.
COUPLED = {
    # Moments of the data, which have a stage of their own, and of two layers; clipped gradients, averages of the moments.
    "normed": """
model Net(x[B, 12]) -> [B, 3] { x |> BatchNorm1d |> Dense(17) |> BatchNorm1d |> tanh |> Dense(5) |> BatchNorm1d(momentum: 0.25) |> relu |> Dense(3) }
""" + TRAIN % ("", "adam(lr: 0.02), clip_norm: 0.5"),
    # Sums over images and pixels, two branches at once; a loss divided by a number that the data decides.
    "normed_conv": """
dim Planes = 1, Height = 4, Width = 3
layer Branches(x[B, Planes, H, W]) -> [B, 5, H, W] {
  let left = x |> Conv2d(5, 3, pad: same, bias: false) |> BatchNorm2d
  left + (x |> Conv2d(5, 1, bias: false) |> BatchNorm2d) |> relu
}
model Net(x[B, 12]) -> [B, 3] { x as [B, Planes, Height, Width] |> Branches |> flatten |> Dense(3) }
""" + TRAIN % (", ignore: 2", "sgd(lr: 0.05, momentum: 0.9)"),
    # A layer of the user's own: the largest values of all rows, a matrix of second moments; a recurrence that reads what all rows add up to; a loss that is no sum.
    "whitened": """
dim T = 4, C = 3, Other = 5
layer Whitened(x[B, H]) -> [B, H] {
  let centred = (x - mean(x, over: B)) / (max(abs(x), over: B) + 1)
  let moments = sum(centred * (centred as [B, Other]), over: B) / B
  centred - 0.25 * (sum(centred * moments, over: H) as [B, H])
}
layer Gated(H)(x[B, T, C]) -> [B, H] {
  let new = x |> new: Dense(H)
  let usual = mean(new, over: (B, T))
  own: Dense(H, bias: false)
  let y = scan t in T with h[B, H] = 0 {
    update h = 0.5 * h + tanh(new[T: t] + own(h) - usual * h)
    yield h
  }
  y[T: T - 1]
}
model Net(x[B, 12]) -> [B, 3] { x as [B, T, C] |> Gated(5) |> Whitened |> Dense(3) }
train {
  data     rows, batch: 12
  let scores = Net(x)
  minimize cross_entropy(scores, label) + 0.1 * sqrt(mean((scores - mean(scores, over: B))^2) + 0.01)
  using    adam(lr: 0.01)
  epochs   3
  report   accuracy(scores, label), off: mean(abs(scores - mean(scores, over: B)))
  seed     5
}
""",
}


class SharedSteps(CommandLine):
    def setUp(self):
        super().setUp()
        self.write_rows(ROWS)

    def write_rows(self, count):
        draw = random.Random(3)
        lines = []
        for _ in range(count):
            x = [draw.gauss(0, 1) for _ in range(12)]
            label = max(range(3), key=lambda k: x[k] + 0.5 * x[k + 3] + draw.gauss(0, 0.3))
            lines.append(",".join([*(f"{v:.3f}" for v in x), str(label), f"{x[0] - x[5]:.3f}", f"{draw.choice((0, 0.25, 1, 3)):.2f}", *(str(int(300 * draw.random() ** 4)) for _ in range(2))]))
        self.write("rows.csv", "\n".join(lines) + "\n")

    def make(self, name, test=""):
        return self.write(f"{name}.nn", DATA.format(test=test) + (PROGRAMS | COUPLED)[name])

    def result(self, file, *options, out="w", **more):
        """Everything that a run leaves, times left out: weights, checkpoint, what it printed, its log."""
        (self.folder / "run.jsonl").unlink(missing_ok=True)
        run = self.nnc("train", file, "--json", "--out", f"{out}.safetensors", "--log", "run.jsonl", *options, **more)
        return [*self.digest(out), *(without_times(text) for text in (run.stdout, (self.folder / "run.jsonl").read_text()))]


def without_times(lines):
    records = [json.loads(line) for line in lines.splitlines()]
    for record in records:
        for key in [key for key in record if "second" in key]:
            del record[key]
    return [json.dumps(record) for record in records]


def batch(rows, accumulate=1, pieces=None, epochs=None):
    """Options for so many rows at a time."""
    options = ["--set", f"data.batch={rows}", f"data.accumulate={accumulate}"]
    if pieces:
        options.append(f"data.pieces={pieces}")
    return [*options, *(("--epochs", epochs) if epochs else ())]
