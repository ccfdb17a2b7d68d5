"""Trajectories that together use every activation, loss, metric, schedule and layer of std.nn (generate.py writes them).

Each case is a program, its initial weights, and the same network written with PyTorch's own functions; its reports are recorded for every step.
Where PyTorch has no such function (metrics), the definition is written out in numpy. All hyperparameters are exact in single precision.
"""

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

BATCH, ROWS = 16, 72

DATA = """\
data rows {
  x[6]    : f32      = csv("std.csv", columns: 0..6)
  y[3]    : f32      = csv("std.csv", columns: 6..9)
  share[4] : f32     = csv("std.csv", columns: 9..13)
  label   : class(4) = csv("std.csv", columns: 13)
  flag    : class(2) = csv("std.csv", columns: 14)
  side    : f32      = csv("std.csv", columns: 15)
  part    : f32      = csv("std.csv", columns: 16)
  token[3] : class(7) = csv("std.csv", columns: 17..20)
}
"""


def make_data(path):
    """Writes the table and gives its columns, as a field of type f32 or class holds them."""
    draw = np.random.RandomState(11)
    x = draw.normal(size=(ROWS, 6)).round(3)
    hidden = np.tanh(x @ draw.normal(size=(6, 8)))
    y = (hidden @ draw.normal(size=(8, 3))).round(3)
    share = draw.multinomial(16, [0.4, 0.3, 0.2, 0.1], size=ROWS) / 16  # some are 0
    label = np.argmax(hidden @ draw.normal(size=(8, 4)) + 0.5 * draw.normal(size=(ROWS, 4)), axis=1)
    flag = (hidden @ draw.normal(size=8) + 0.5 * draw.normal(size=ROWS) > 0).astype(np.int64)
    side = 2.0 * (hidden @ draw.normal(size=8) > 0.25) - 1
    part = draw.randint(0, 65, size=ROWS) / 64
    token = draw.randint(0, 7, size=(ROWS, 3))
    with open(path, "w") as file:
        for i in range(ROWS):
            numbers = [f"{v:.3f}" for v in (*x[i], *y[i])] + [repr(float(v)) for v in share[i]]
            numbers += [str(label[i]), str(flag[i]), f"{side[i]:g}", repr(float(part[i])), *map(str, token[i])]
            file.write(",".join(numbers) + "\n")
    single = lambda a: a.astype(np.float32)
    return {"x": single(x), "y": single(y), "share": single(share), "label": label, "flag": flag, "side": single(side),
            "part": single(part), "token": token}


def dense(w, name, h):
    """A dense layer of those weights, with its bias if it has one."""
    return F.linear(h, w[f"{name}.weight"], w.get(f"{name}.bias"))


def dense_shapes(sizes):
    """name -> shape for layers called dense1, dense2, ..."""
    shapes = {}
    for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), 1):
        shapes[f"dense{i}.weight"], shapes[f"dense{i}.bias"] = (outputs, inputs), (outputs,)
    return shapes


def chain(*activations):
    """x -> dense1 -> activation -> dense2 -> ... -> the last dense."""
    def network(w, d):
        h = d["x"]
        for i, activation in enumerate(activations, 1):
            h = activation(dense(w, f"dense{i}", h))
        return dense(w, f"dense{len(activations) + 1}", h)
    return network


# --- metrics, by their definitions ---


def share_right(logits, label):
    return float(np.mean(np.argmax(logits, axis=1) == label))


def share_in_top(logits, label, k):
    ranks = [np.sum(row > row[l]) for row, l in zip(logits, label)]
    return float(np.mean(np.array(ranks) < k))


def confusion(logits, label, classes=4):
    table = np.zeros((classes, classes))
    for found, right in zip(np.argmax(logits, axis=1), label):
        table[right, found] += 1
    return table


def precision(table):
    return float(np.mean([table[c, c] / max(table[:, c].sum(), 1) for c in range(len(table))]))


def recall(table):
    return float(np.mean([table[c, c] / max(table[c].sum(), 1) for c in range(len(table))]))


def f1(table):
    return float(np.mean([2 * table[c, c] / max(table[:, c].sum() + table[c].sum(), 1) for c in range(len(table))]))


def r2(prediction, target):
    return float(1 - np.sum((target - prediction)**2) / np.sum((target - target.mean())**2))


class Case:
    """One program: `forward(weights, data)` gives (what the reports see, loss), `reports(result, data)` numbers by name."""

    def __init__(self, title, model, train, shapes, forward, optimizer, reports=None, schedule=None, clip=None):
        self.title, self.model, self.train, self.shapes = title, model, train, shapes
        self.forward, self.optimizer, self.reports, self.schedule, self.clip = forward, optimizer, reports, schedule, clip

    def program(self):
        clauses = "".join(f"  {line}\n" for line in self.train.strip().splitlines())
        return (f"# 50 steps: {self.title}; the last batch of an epoch has 8 rows.\n\n{DATA}\n{self.model.strip()}\n\n"
                f"train {{\n  data     rows, batch: {BATCH}\n{clauses}  epochs   10\n  seed     1\n}}\n")

    def initial(self, seed):
        draw = np.random.RandomState(seed)
        weights = {}
        for name, shape in self.shapes.items():
            bound = 1 / np.sqrt(shape[-1])
            weights[name] = draw.uniform(-bound, bound, shape).astype(np.float32)
        return weights

    def run(self, weights, data, steps, dtype):
        """(losses, final weights, reports by name)."""
        w = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in weights.items()}
        columns = {name: torch.tensor(c, dtype=dtype if c.dtype == np.float32 else torch.int64) for name, c in data.items()}
        optimizer = self.optimizer(list(w.values()))
        schedule = self.schedule(optimizer) if self.schedule else None
        losses, reports = [], {}
        while len(losses) < steps:
            for start in range(0, ROWS, BATCH):
                d = {name: c[start:start + BATCH] for name, c in columns.items()}
                optimizer.zero_grad()
                result, loss = self.forward(w, d)
                loss.backward()
                if self.reports:
                    plain = {name: c.numpy() for name, c in d.items()}
                    for name, value in self.reports(result.detach().numpy(), plain).items():
                        reports.setdefault(name, []).append(float(value))
                if self.clip:
                    torch.nn.utils.clip_grad_norm_(list(w.values()), self.clip)
                optimizer.step()
                if schedule:
                    schedule.step()
                losses.append(loss.item())
        return losses, {name: value.detach().numpy() for name, value in w.items()}, reports


def with_loss(network, loss):
    def forward(w, d):
        result = network(w, d)
        return result, loss(result, d)
    return forward


def sgd(rate, momentum=0.0):
    return lambda p: torch.optim.SGD(p, lr=rate, momentum=momentum)


def cases():
    softmax = lambda h: F.softmax(h, dim=-1)
    log_softmax = lambda h: F.log_softmax(h, dim=-1)
    found = {}

    def add(name, *arguments, **options):
        found[name] = Case(*arguments, **options)

    add("std_saturating", "sigmoid, softsign, hardtanh, log_sigmoid, tanh; squared error", """
model Net(x[B, 6]) -> [B, 3] {
  x |> Dense(10) |> sigmoid |> Dense(9) |> softsign |> Dense(8) |> hardtanh(low: -0.75, high: 0.5) |> Dense(7) |> log_sigmoid |> Dense(6) |> tanh
    |> Dense(3)
}""", """
let found = Net(x)
minimize mean_squared_error(found, y)
using    sgd(lr: 0.125, momentum: 0.5)
report   r2(found, y), root_mean_squared_error(found, y), max_absolute_error(found, y)""",
        dense_shapes([6, 10, 9, 8, 7, 6, 3]),
        with_loss(chain(torch.sigmoid, F.softsign, lambda h: F.hardtanh(h, -0.75, 0.5), F.logsigmoid, torch.tanh),
                  lambda found, d: F.mse_loss(found, d["y"])),
        sgd(0.125, 0.5),
        reports=lambda found, d: {"r2": r2(found, d["y"]), "root_mean_squared_error": np.sqrt(np.mean((found - d["y"])**2)),
                                  "max_absolute_error": np.max(np.abs(found - d["y"]))})

    add("std_rectified", "relu, relu6, leaky_relu, elu, celu, selu; the Huber loss; a rate in steps", """
model Net(x[B, 6]) -> [B, 3] {
  x |> Dense(10) |> relu6 |> Dense(9) |> leaky_relu(slope: 0.125) |> Dense(8) |> elu(alpha: 0.75) |> Dense(9) |> celu(alpha: 1.5) |> Dense(8) |> selu
    |> Dense(8) |> relu |> Dense(3)
}""", """
let found = Net(3 * x)
minimize huber(found, y, delta: 0.75)
using    sgd(lr: step_decay(0.25, every: 20, by: 0.5))""",
        dense_shapes([6, 10, 9, 8, 9, 8, 8, 3]),
        with_loss(lambda w, d: chain(F.relu6, lambda h: F.leaky_relu(h, 0.125), lambda h: F.elu(h, 0.75), lambda h: F.celu(h, 1.5), F.selu,
                                     F.relu)(w, {"x": 3 * d["x"]}),
                  lambda found, d: F.huber_loss(found, d["y"], delta=0.75)),
        sgd(0.25), schedule=lambda o: lr_scheduler.StepLR(o, step_size=20, gamma=0.5))

    add("std_smooth", "softplus, silu, mish, both gelus; absolute error; an exponentially falling rate", """
model Net(x[B, 6]) -> [B, 3] {
  x |> Dense(10) |> softplus |> Dense(9) |> silu |> Dense(8) |> mish |> Dense(9) |> gelu |> Dense(8) |> gelu(approximate: tanh) |> Dense(3)
}""", """
let found = Net(x)
minimize mean_absolute_error(found, y)
using    sgd(lr: exponential(0.0625, by: 0.96875))""",
        dense_shapes([6, 10, 9, 8, 9, 8, 3]),
        with_loss(chain(F.softplus, F.silu, F.mish, F.gelu, lambda h: F.gelu(h, approximate="tanh")),
                  lambda found, d: F.l1_loss(found, d["y"])),
        sgd(0.0625), schedule=lambda o: lr_scheduler.ExponentialLR(o, gamma=0.96875))

    def classified(w, d):
        h = dense(w, "dense1", d["x"])
        h = F.layer_norm(h, (12,), w["layernorm1.weight"], w["layernorm1.bias"], eps=0.0078125)
        return dense(w, "dense2", torch.tanh(h))

    def classification_reports(logits, d):
        table, label = confusion(logits, d["label"]), d["label"]
        total = float(np.mean([-np.log(np.exp(row - row.max()) / np.exp(row - row.max()).sum())[l] for row, l in zip(logits, label)]))
        return {"accuracy": share_right(logits, label), "top": share_in_top(logits, label, 2), "perplexity": np.exp(total),
                "precision": precision(table), "recall": recall(table), "f1": f1(table), "squares": np.sum(table**2),
                "below": np.sum(np.tril(table, -1))}

    add("std_classes", "cross entropy with smoothing, added up; layer normalisation; every metric of classes; a warm-up", """
model Net(x[B, 6]) -> [B, 4] { x |> Dense(12) |> LayerNorm(eps: 0.0078125) |> tanh |> Dense(4) }

fn below(table[R, C]) { sum(where(index(C) < index(R), table, 0)) }""", """
let logits = Net(x)
minimize cross_entropy(logits, label, smoothing: 0.125, reduce: sum)
using    sgd(lr: warmup(0.03125, steps: 20))
report   accuracy(logits, label), perplexity(logits, label), precision(logits, label), recall(logits, label), f1(logits, label)
report   top: top_k(logits, label, k: 2)
report   squares: sum(confusion(logits, label)^2)
report   below: below(confusion(logits, label))""",
        {"dense1.weight": (12, 6), "dense1.bias": (12,), "layernorm1.weight": (12,), "layernorm1.bias": (12,), "dense2.weight": (4, 12),
         "dense2.bias": (4,)},
        with_loss(classified, lambda logits, d: F.cross_entropy(logits, d["label"], label_smoothing=0.125, reduction="sum")),
        sgd(0.03125), reports=classification_reports,
        schedule=lambda o: lr_scheduler.LambdaLR(o, lambda step: min((step + 1) / 20, 1)))

    def embedded(w, d):
        h = F.embedding(d["token"], w["embedding1.weight"]).reshape(len(d["token"]), -1)
        return dense(w, "dense2", torch.tanh(dense(w, "dense1", h)))

    add("std_shares", "an embedding, a dense layer without bias; cross entropy with shares of classes; a rate that falls every fifth step", """
model Net(token[B, T]: class(7)) -> [B, 4] { Embedding(7, 5)(token) |> flatten |> Dense(12, bias: false) |> tanh |> Dense(4) }""", """
let logits = Net(token)
minimize cross_entropy(logits, share, smoothing: 0.25)
using    sgd(lr: exponential(0.5, by: 0.875, every: 5))""",
        {"embedding1.weight": (7, 5), "dense1.weight": (12, 15), "dense2.weight": (4, 12), "dense2.bias": (4,)},
        with_loss(embedded, lambda logits, d: F.cross_entropy(logits, d["share"], label_smoothing=0.25)),
        sgd(0.5), schedule=lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.875**(step / 5)))

    one = lambda network: lambda w, d: network(w, d)[:, 0]
    two_classes = one(chain(torch.tanh))
    add("std_two_classes", "binary cross entropy with classes and with shares; gradients clipped by their norm", """
model Net(x[B, 6]) -> [B] { (x |> Dense(12) |> tanh |> Dense(1)) as [B] }""", """
let score = Net(x)
minimize binary_cross_entropy(score, flag) + 0.5 * binary_cross_entropy(score, part, reduce: sum)
using    sgd(lr: constant(0.25)), clip_norm: 0.5
report   binary_accuracy(score, flag)""",
        dense_shapes([6, 12, 1]),
        with_loss(two_classes, lambda score, d: F.binary_cross_entropy_with_logits(score, d["flag"].to(score.dtype))
                  + 0.5 * F.binary_cross_entropy_with_logits(score, d["part"], reduction="sum")),
        sgd(0.25), clip=0.5, reports=lambda score, d: {"binary_accuracy": np.mean((score > 0) == (d["flag"] == 1))})

    def margins(w, d):
        return torch.cat([chain(torch.tanh)(w, d), dense(w, "score", d["x"])], 1)

    add("std_margins", "both hinge losses; up in a straight line, then down along a cosine", """
model Net(x[B, 6]) -> [B, 4], [B] {
  let logits = x |> Dense(12) |> tanh |> Dense(4)
  let one = x |> score: Dense(1)
  logits, one as [B]
}""", """
let logits, one = Net(x)
minimize hinge(logits, label) + hinge(one, side)
using    sgd(lr: cosine(0.25, total: 40, warmup: 8, final: 0.015625), momentum: 0.5)""",
        {**dense_shapes([6, 12, 4]), "score.weight": (1, 6), "score.bias": (1,)},
        with_loss(margins, lambda both, d: F.multi_margin_loss(both[:, :4], d["label"])
                  + torch.mean(torch.clamp(1 - d["side"] * both[:, 4], min=0))),
        sgd(0.25, 0.5),
        schedule=lambda o: lr_scheduler.LambdaLR(o, lambda step: (step + 1) / 8 if step < 8 else
                                                 (0.015625 + 0.5 * (0.25 - 0.015625) * (1 + np.cos(np.pi * min((step - 8) / 32, 1)))) / 0.25))

    add("std_divergence", "the Kullback-Leibler divergence element by element; softmax and log_softmax inside; down along a cosine", """
model Net(x[B, 6]) -> [B, 4] {
  dim Mid = 10
  x |> Dense(Mid) |> softmax(over: Mid) |> Dense(Mid) |> log_softmax(over: Mid) |> Dense(4)
}""", """
let logits = Net(x)
let each = kl_divergence(logits, share, reduce: none)
minimize mean(each) + sum(each) / 64
using    sgd(lr: cosine(0.125, total: 50, final: 0.03125))""",
        dense_shapes([6, 10, 10, 4]),
        with_loss(chain(softmax, log_softmax),
                  lambda logits, d: F.kl_div(log_softmax(logits), d["share"]) + F.kl_div(log_softmax(logits), d["share"], reduction="sum") / 64),
        sgd(0.125), schedule=lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=0.03125))

    def conv(w, name, h, **options):
        return (F.conv2d if h.dim() == 4 else F.conv1d)(h, w[f"{name}.weight"], w.get(f"{name}.bias"), **options)

    def seen_as_images(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"])).reshape(-1, 2, 6, 6)
        h = torch.tanh(conv(w, "conv1", h, padding=1, groups=2))
        h = F.max_pool2d(h, 3, stride=2, padding=1)
        h = torch.tanh(F.conv_transpose2d(h, w["up.weight"], w["up.bias"], stride=2, padding=1, output_padding=1))
        h = torch.tanh(conv(w, "conv2", h, stride=2, padding=2, dilation=2))
        h = F.avg_pool2d(h, 2, stride=1, padding=1)
        h = F.pad(h, (0, 1, 0, 1))  # what `same` adds for an even kernel
        h = conv(w, "conv3", h)
        return h.mean(dim=(2, 3)) + h.amax(dim=(2, 3))

    add("std_images", "convolutions of images: padding, strides, dilation, groups, transposed; every pool", """
model Net(x[B, 6]) -> [B, 4] {
  let h = (x |> Dense(72) |> tanh) as [B, 2, 6, 6]
    |> conv1: Conv2d(4, kernel: 3, pad: same, groups: 2) |> tanh |> maxpool2d(3, stride: 2, pad: 1)
    |> up: ConvTranspose2d(3, kernel: 3, stride: 2, pad: 1, output_pad: 1) |> tanh
    |> conv2: Conv2d(5, kernel: 3, stride: 2, pad: 2, dilation: 2) |> tanh |> avgpool2d(2, stride: 1, pad: 1)
    |> conv3: Conv2d(4, kernel: 2, pad: same, bias: false)
  global_avgpool2d(h) + global_maxpool2d(h)
}""", """
let logits = Net(x)
minimize cross_entropy(logits, label)
using    sgd(lr: 0.125, momentum: 0.5)""",
        {"dense1.weight": (72, 6), "dense1.bias": (72,), "conv1.weight": (4, 1, 3, 3), "conv1.bias": (4,), "up.weight": (4, 3, 3, 3), "up.bias": (3,),
         "conv2.weight": (5, 3, 3, 3), "conv2.bias": (5,), "conv3.weight": (4, 5, 2, 2)},
        with_loss(seen_as_images, lambda logits, d: F.cross_entropy(logits, d["label"])), sgd(0.125, 0.5))

    def seen_as_series(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"])).reshape(-1, 2, 12)
        h = torch.tanh(conv(w, "conv1", h, stride=2, padding=2))
        h = F.max_pool1d(h, 2, stride=1, padding=1)
        h = torch.tanh(F.conv_transpose1d(h, w["up.weight"], None, stride=3, padding=2, output_padding=2, dilation=2))
        h = torch.tanh(conv(w, "conv2", F.avg_pool1d(h, 2), groups=3, dilation=3))
        return h.mean(dim=2) + 2 * h.amax(dim=2)

    add("std_series", "convolutions of series: the same in one dimension", """
model Net(x[B, 6]) -> [B, 3] {
  let h = (x |> Dense(24) |> tanh) as [B, 2, 12]
    |> conv1: Conv1d(4, kernel: 4, stride: 2, pad: 2) |> tanh |> maxpool1d(2, stride: 1, pad: 1)
    |> up: ConvTranspose1d(3, kernel: 3, stride: 3, pad: 2, output_pad: 2, dilation: 2, bias: false) |> tanh |> avgpool1d(2)
    |> conv2: Conv1d(3, kernel: 2, pad: valid, groups: 3, dilation: 3) |> tanh
  global_avgpool1d(h) + 2 * global_maxpool1d(h)
}""", """
let found = Net(x)
minimize mean_squared_error(found, y)
using    sgd(lr: 0.125, momentum: 0.5)""",
        {"dense1.weight": (24, 6), "dense1.bias": (24,), "conv1.weight": (4, 2, 4), "conv1.bias": (4,), "up.weight": (4, 3, 3),
         "conv2.weight": (3, 1, 2), "conv2.bias": (3,)},
        with_loss(seen_as_series, lambda found, d: F.mse_loss(found, d["y"])), sgd(0.125, 0.5))

    def pad2d(h, above, below, left, right, **options):
        return F.pad(h, (left, right, above, below), **options)

    def seen_as_rectangles(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"])).reshape(-1, 2, 7, 5)
        h = pad2d(h, 1, 0, 2, 1, mode="reflect")
        h = torch.tanh(conv(w, "conv1", h, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2))
        h = F.interpolate(h, size=(6, 9), mode="bilinear")
        h = F.avg_pool2d(h, (2, 3), stride=(2, 2), padding=(1, 1), count_include_pad=False)
        h = torch.tanh(F.conv_transpose2d(h, w["up.weight"], w["up.bias"], stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2))
        h = F.adaptive_max_pool2d(h, (5, 4))
        h = F.max_pool2d(h, (1, 2), stride=1)
        h = pad2d(h, 1, 1, 1, 1, mode="replicate")
        h = F.interpolate(h, scale_factor=(1, 2))
        h = F.adaptive_avg_pool2d(h, (7, 5))
        h = F.interpolate(pad2d(h, 0, 1, 1, 0), scale_factor=2, mode="bilinear", align_corners=True)
        return dense(w, "fc", F.unfold(h, (2, 3), stride=(3, 2), padding=(0, 1)).mean(dim=2))

    add("std_rectangles", "two numbers for kernels, strides, padding, dilation; grouped transposed convolutions; adaptive pools, larger sizes, borders, columns", """
model Net(x[B, 6]) -> [B, 4] {
  (x |> Dense(70) |> tanh) as [B, 2, 7, 5]
    |> pad2d(((1, 0), (2, 1)), mode: reflect)
    |> conv1: Conv2d(4, kernel: (3, 2), stride: (2, 1), pad: (1, 0), dilation: (1, 2), groups: 2) |> tanh
    |> upsample2d(size: (6, 9), mode: bilinear)
    |> avgpool2d((2, 3), stride: (2, 2), pad: (1, 1), count_pad: false)
    |> up: ConvTranspose2d(6, kernel: (3, 2), stride: (2, 1), pad: (1, 0), output_pad: (1, 0), groups: 2) |> tanh
    |> adaptive_maxpool2d((5, 4)) |> maxpool2d((1, 2), stride: 1)
    |> pad2d(1, mode: edge) |> upsample2d(scale: (1, 2)) |> adaptive_avgpool2d((7, 5))
    |> pad2d(((0, 1), (1, 0))) |> upsample2d(scale: 2, mode: bilinear, align_corners: true)
    |> unfold((2, 3), stride: (3, 2), pad: (0, 1)) |> global_avgpool1d
    |> fc: Dense(4)
}""", """
let logits = Net(x)
minimize cross_entropy(logits, label)
using    sgd(lr: 0.25, momentum: 0.5)""",
        {"dense1.weight": (70, 6), "dense1.bias": (70,), "conv1.weight": (4, 1, 3, 2), "conv1.bias": (4,), "up.weight": (4, 3, 3, 2), "up.bias": (6,),
         "fc.weight": (4, 36), "fc.bias": (4,)},
        with_loss(seen_as_rectangles, lambda logits, d: F.cross_entropy(logits, d["label"])), sgd(0.25, 0.5))

    def seen_as_lengths(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"])).reshape(-1, 2, 9)
        h = F.pad(h, (2, 1), mode="reflect")
        h = torch.tanh(F.conv_transpose1d(h, w["up.weight"], w["up.bias"], stride=2, padding=1, groups=2))
        h = F.interpolate(F.adaptive_max_pool1d(h, 7), size=10)
        first, rest = torch.split(h, (1, 3), dim=1)
        a, b, c = torch.chunk(torch.sin(rest), 3, dim=1)
        h = torch.cat((a, torch.cat((first, c), dim=1), b), dim=1)
        h = F.interpolate(h, scale_factor=3, mode="linear", align_corners=True)
        h = F.avg_pool1d(h, 4, stride=3, padding=2, count_include_pad=False)
        h = F.pad(F.pad(h, (0, 2)), (1, 1), mode="replicate")
        h = F.adaptive_avg_pool1d(h, 5)[:, :, ::2]
        h = F.interpolate(h, scale_factor=2, mode="linear")
        return dense(w, "fc", F.adaptive_max_pool1d(h, 2).flatten(1))

    add("std_lengths", "the same in one dimension; joined and cut", """
layer Mixed(x[B, C, T]) -> [B, C, T] {
  let first, rest = split(x, (1, C - 1), over: C)
  let a, b, c = split(sin(rest), 3, over: C - 1)
  dim P = (C - 1) / 3, One = 1
  let middle = concat(first as [B, One, T], c as [B, P, T], over: (One, P))
  concat(a as [B, P, T], middle, b as [B, P, T], over: (P, One + P, P)) as [B, C, T]
}

layer Halved(x[B, C, T]) -> [B, C, _] {
  dim S = (T + 1) // 2
  x[T: 2 * index(S)]
}

model Net(x[B, 6]) -> [B, 3] {
  (x |> Dense(18) |> tanh) as [B, 2, 9]
    |> pad1d((2, 1), mode: reflect) |> up: ConvTranspose1d(4, kernel: 3, stride: 2, pad: 1, groups: 2) |> tanh
    |> adaptive_maxpool1d(7) |> upsample1d(size: 10) |> Mixed
    |> upsample1d(scale: 3, mode: linear, align_corners: true) |> avgpool1d(4, stride: 3, pad: 2, count_pad: false)
    |> pad1d((0, 2)) |> pad1d(1, mode: edge) |> adaptive_avgpool1d(5) |> Halved
    |> upsample1d(scale: 2, mode: linear) |> adaptive_maxpool1d(2) |> flatten |> fc: Dense(3)
}""", """
let found = Net(x)
minimize mean_squared_error(found, y)
using    sgd(lr: 0.125, momentum: 0.5)""",
        {"dense1.weight": (18, 6), "dense1.bias": (18,), "up.weight": (2, 2, 3), "up.bias": (4,), "fc.weight": (3, 8), "fc.bias": (3,)},
        with_loss(seen_as_lengths, lambda found, d: F.mse_loss(found, d["y"])), sgd(0.125, 0.5))

    shares = [1, 0.5, 2, 0.25, 1, 1.5, 0.75]  # of each kind of token

    def seen_as_tokens(w, d):
        h = F.embedding(d["token"], w["embed.weight"], padding_idx=2) + dense(w, "fc", d["x"])[:, None]
        return dense(w, "out", torch.tanh(h))

    def losses_of_tokens(logits, d):
        found, right, weight = logits.flatten(0, 1), d["token"].flatten(), torch.tensor(shares, dtype=logits.dtype)
        kinds = lambda **options: F.cross_entropy(found, right, **options)
        return (kinds(weight=weight, ignore_index=0, label_smoothing=0.125) + 0.5 * kinds(ignore_index=3, label_smoothing=0.25) + 0.25 * kinds(weight=weight)
                + 0.0625 * kinds(weight=weight, ignore_index=1, reduction="sum") + 0.5 * kinds(ignore_index=4, reduction="none").square().mean())

    def perplexity_of_tokens(logits, d):
        found, right = torch.tensor(logits).flatten(0, 1), torch.tensor(d["token"]).flatten()
        return {"perplexity": np.exp(F.cross_entropy(found, right, ignore_index=0).item())}

    add("std_tokens", "sequences: an entry of a table that does not train, classes that count with weights, one that is left out", f"""
dim Kinds = 7

model Net(token[B, T]: class(Kinds), x[B, 6]) -> [B, T, Kinds] {{
  (token |> embed: Embedding(Kinds, 8, padding: 2)) + (x |> fc: Dense(8)) |> tanh |> out: Dense(Kinds)
}}""", f"""
let logits = Net(token, x)
let shares = {shares} as [Kinds]
minimize cross_entropy(logits, token, weight: shares, ignore: 0, smoothing: 0.125), 0.5 * cross_entropy(logits, token, ignore: 3, smoothing: 0.25)
minimize 0.25 * cross_entropy(logits, token, weight: shares), 0.0625 * cross_entropy(logits, token, weight: shares, ignore: 1, reduce: sum)
minimize 0.5 * mean(cross_entropy(logits, token, ignore: 4, reduce: none)^2)
using    sgd(lr: 0.125, momentum: 0.5)
report   perplexity(logits, token, ignore: 0)""",
        {"embed.weight": (7, 8), "fc.weight": (8, 6), "fc.bias": (8,), "out.weight": (7, 8), "out.bias": (7,)},
        with_loss(seen_as_tokens, losses_of_tokens), sgd(0.125, 0.5), reports=perplexity_of_tokens)
    return found
