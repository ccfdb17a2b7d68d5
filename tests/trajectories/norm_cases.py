"""Trajectories of networks with normalisation layers and convolutions (generate.py writes them), from modules of PyTorch.

The modules carry the names that nnc gives to its layers, so that their state_dicts are the initial and the final weights as they are: names, shapes and types,
running statistics and counts of batches included. Outside of training each network is evaluated once more, with its running statistics.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from std_cases import BATCH, DATA, ROWS


class View(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


class Named(nn.Sequential):
    """nn.Sequential whose layers are attributes of those names."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class NormCase:
    def __init__(self, title, model, make, rate):
        self.title, self.model, self.make, self.rate = title, model, make, rate

    def program(self):
        return (f"# 50 steps: {self.title}; the last batch of an epoch has 8 rows.\n\n{DATA}\n{self.model.strip()}\n\n"
                f"train {{\n  data     rows, batch: {BATCH}\n  let logits = Net(x)\n  minimize cross_entropy(logits, label)\n"
                f"  using    sgd(lr: {self.rate})\n  epochs   10\n  seed     1\n}}\n")

    def initial(self, seed):
        """Weights away from the ones and zeros they usually begin with, running statistics likewise."""
        draw = np.random.RandomState(seed)
        weights = {}
        for name, value in self.make().state_dict().items():
            value = value.numpy()
            if name.endswith("num_batches_tracked"):
                weights[name] = value
            elif value.ndim > 1 or ".bias" in name:
                weights[name] = draw.uniform(-0.5, 0.5, value.shape).astype(np.float32)
            else:
                weights[name] = draw.uniform(0.5, 1.5, value.shape).astype(np.float32)
        return weights

    def run(self, weights, data, steps, dtype):
        """(losses, final state, logits of all rows outside of training)."""
        network = self.make().to(dtype)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, strict=True)
        x, label = torch.tensor(data["x"], dtype=dtype), torch.tensor(data["label"])
        optimizer = torch.optim.SGD(network.parameters(), lr=self.rate)
        losses = []
        while len(losses) < steps:
            losses += self.steps(network, x, label, optimizer)
        network.eval()
        with torch.no_grad():
            logits = network(x).numpy()
        return losses, {name: value.numpy() for name, value in network.state_dict().items()}, logits.tolist()

    def steps(self, network, x, label, optimizer):
        """An epoch, step by step: the loss of each."""
        for start in range(0, ROWS, BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x[start:start + BATCH]), label[start:start + BATCH])
            loss.backward()
            optimizer.step()
            yield loss.item()


class MadeUpCase(NormCase):
    """Batches that make up a whole one: each is normalised by itself, in its turn, and counts as many times as it has rows."""

    batch, accumulate = 7, 6  # 42 rows; the second step of an epoch has 30, its last batch 2

    def program(self):
        return (f"# 50 steps: {self.title}; the last step of an epoch has 30 rows, its last batch 2.\n\n{DATA}\n{self.model.strip()}\n\n"
                f"train {{\n  data     rows, batch: {self.batch}, accumulate: {self.accumulate}\n  let logits = Net(x)\n  minimize cross_entropy(logits, label)\n"
                f"  using    sgd(lr: {self.rate})\n  epochs   25\n  seed     1\n}}\n")

    def steps(self, network, x, label, optimizer):
        whole = self.batch * self.accumulate
        for first in range(0, ROWS, whole):
            end = min(first + whole, ROWS)
            optimizer.zero_grad()
            total = 0
            for start in range(first, end, self.batch):
                stop = min(start + self.batch, end)
                loss = F.cross_entropy(network(x[start:stop]), label[start:stop]) * ((stop - start) / (end - first))
                loss.backward()
                total += loss.item()
            optimizer.step()
            yield total


def cases():
    return {
        "std_batch_norm": NormCase("batch normalisation of rows, sequences and images; running averages, a plain average, none", """
dim C = 3, L = 4, H = 2, W = 3

model Net(x[B, 6]) -> [B, 4] {
  x |> Dense(10) |> BatchNorm1d(momentum: 0.125, eps: 0.0009765625) |> tanh
    |> seq: Sequences |> pix: Images |> Dense(4)
}

layer Sequences(x[B, ...]) -> [B, _] {
  let y = (x |> dense: Dense(12)) as [B, C, L]
  y |> norm: BatchNorm1d(momentum: none, eps: 0.001953125) |> relu |> flatten
}

layer Images(x[B, ...]) -> [B, _] {
  let y = (x |> dense: Dense(18)) as [B, C, H, W]
  y |> norm: BatchNorm2d(momentum: 0.25, eps: 0.0078125) |> tanh
    |> plain: BatchNorm2d(affine: false, eps: 0.015625, momentum: 0.5) |> alone: BatchNorm2d(track: false, eps: 0.03125) |> flatten
}""", lambda: Named(
            dense1=nn.Linear(6, 10), batchnorm1d1=nn.BatchNorm1d(10, momentum=0.125, eps=2**-10), act=nn.Tanh(),
            seq=Named(dense=nn.Linear(10, 12), view=View(3, 4), norm=nn.BatchNorm1d(3, momentum=None, eps=2**-9), act=nn.ReLU(), flat=nn.Flatten()),
            pix=Named(dense=nn.Linear(12, 18), view=View(3, 2, 3), norm=nn.BatchNorm2d(3, momentum=0.25, eps=2**-7), act=nn.Tanh(),
                          plain=nn.BatchNorm2d(3, affine=False, eps=2**-6, momentum=0.5), alone=nn.BatchNorm2d(3, track_running_stats=False, eps=2**-5),
                          flat=nn.Flatten()),
            dense2=nn.Linear(18, 4)), 0.25),
        "std_group_norm": NormCase("normalisation by groups, by instances and by the root of the mean square", """
dim C = 4, L = 5, H = 2, W = 3

model Net(x[B, 6]) -> [B, 4] {
  x |> Dense(12) |> RmsNorm(eps: 0.0009765625) |> tanh |> GroupNorm(3, eps: 0.001953125) |> RmsNorm(affine: false, eps: 0.00390625)
    |> seq: Sequences |> pix: Images |> Dense(4)
}

layer Sequences(x[B, ...]) -> [B, _] {
  let y = (x |> dense: Dense(20)) as [B, C, L]
  y |> norm: GroupNorm(2, eps: 0.0078125) |> tanh |> inst: InstanceNorm1d(eps: 0.015625)
    |> tracked: InstanceNorm1d(momentum: 0.125, eps: 0.0078125, affine: true, track: true) |> flatten
}

layer Images(x[B, ...]) -> [B, _] {
  let y = (x |> dense: Dense(24)) as [B, C, H, W]
  y |> norm: GroupNorm(4, eps: 0.0078125) |> tanh |> inst: InstanceNorm2d(eps: 0.015625, affine: true)
    |> tracked: InstanceNorm2d(momentum: 0.25, eps: 0.0078125, track: true)
    |> still: InstanceNorm2d(momentum: none, eps: 0.03125, track: true) |> last: GroupNorm(2, affine: false, eps: 0.0625) |> flatten
}""", lambda: Named(
            dense1=nn.Linear(6, 12), rmsnorm1=nn.RMSNorm(12, eps=2**-10), act=nn.Tanh(), groupnorm1=nn.GroupNorm(3, 12, eps=2**-9),
            rmsnorm2=nn.RMSNorm(12, eps=2**-8, elementwise_affine=False),
            seq=Named(dense=nn.Linear(12, 20), view=View(4, 5), norm=nn.GroupNorm(2, 4, eps=2**-7), act=nn.Tanh(),
                          inst=nn.InstanceNorm1d(4, eps=2**-6),
                          tracked=nn.InstanceNorm1d(4, momentum=0.125, eps=2**-7, affine=True, track_running_stats=True), flat=nn.Flatten()),
            pix=Named(dense=nn.Linear(20, 24), view=View(4, 2, 3), norm=nn.GroupNorm(4, 4, eps=2**-7), act=nn.Tanh(),
                          inst=nn.InstanceNorm2d(4, eps=2**-6, affine=True),
                          tracked=nn.InstanceNorm2d(4, momentum=0.25, eps=2**-7, track_running_stats=True),
                          still=nn.InstanceNorm2d(4, momentum=None, eps=2**-5, track_running_stats=True),
                          last=nn.GroupNorm(2, 4, affine=False, eps=2**-4), flat=nn.Flatten()),
            dense2=nn.Linear(24, 4)), 0.03125),
        "std_layers": NormCase("convolutions in groups, transposed ones too, with rectangular kernels", """
model Net(x[B, 6]) -> [B, 4] {
  (x |> Dense(24) |> tanh) as [B, 2, 3, 4]
    |> conv: Conv2d(4, kernel: (3, 2), pad: (1, 0), groups: 2) |> tanh
    |> up: ConvTranspose2d(6, kernel: (2, 3), stride: (1, 2), groups: 2) |> norm: BatchNorm2d(momentum: 0.125, eps: 0.0009765625) |> tanh
    |> adaptive_avgpool2d((2, 3)) |> lines: Lines |> Dense(4)
}

layer Lines(x[B, C, H, W]) -> [B, _] {
  x as [B, C, H * W] |> conv: Conv1d(4, kernel: 3, stride: 2, groups: 2) |> tanh
    |> up: ConvTranspose1d(6, kernel: 2, stride: 3, output_pad: 1, groups: 2, bias: false) |> flatten
}""", lambda: Named(
            dense1=nn.Linear(6, 24), first=nn.Tanh(), view=View(2, 3, 4), conv=nn.Conv2d(2, 4, (3, 2), padding=(1, 0), groups=2), second=nn.Tanh(),
            up=nn.ConvTranspose2d(4, 6, (2, 3), stride=(1, 2), groups=2), norm=nn.BatchNorm2d(6, momentum=0.125, eps=2**-10), third=nn.Tanh(),
            pool=nn.AdaptiveAvgPool2d((2, 3)),
            lines=Named(view=View(6, 6), conv=nn.Conv1d(6, 4, 3, stride=2, groups=2), act=nn.Tanh(),
                        up=nn.ConvTranspose1d(4, 6, 2, stride=3, output_padding=1, groups=2, bias=False), flat=nn.Flatten()),
            dense2=nn.Linear(36, 4)), 0.25),
        "std_depthwise": NormCase("depthwise convolutions: several filters a channel, strides, transposed, along lines", """
model Net(x[B, 6]) -> [B, 4] {
  (x |> Dense(72) |> tanh) as [B, 8, 3, 3]
    |> conv: Conv2d(8, kernel: 3, pad: 1, groups: 8) |> tanh
    |> wide: Conv2d(16, kernel: (3, 2), stride: 2, pad: 2, groups: 8, bias: false) |> tanh
    |> up: ConvTranspose2d(16, kernel: 3, stride: 2, groups: 16) |> tanh
    |> lines: Lines |> Dense(4)
}

layer Lines(x[B, C, H, W]) -> [B, _] {
  x as [B, C, H * W] |> conv: Conv1d(16, kernel: 3, stride: 3, pad: 1, groups: 16) |> tanh |> flatten
}""", lambda: Named(
            dense1=nn.Linear(6, 72), first=nn.Tanh(), view=View(8, 3, 3), conv=nn.Conv2d(8, 8, 3, padding=1, groups=8), second=nn.Tanh(),
            wide=nn.Conv2d(8, 16, (3, 2), stride=2, padding=2, groups=8, bias=False), third=nn.Tanh(),
            up=nn.ConvTranspose2d(16, 16, 3, stride=2, groups=16), fourth=nn.Tanh(),
            lines=Named(view=View(16, 49), conv=nn.Conv1d(16, 16, 3, stride=3, padding=1, groups=16), act=nn.Tanh(), flat=nn.Flatten()),
            dense2=nn.Linear(272, 4)), 0.25),
        "std_slopes": NormCase("slopes that are learned, of rows and of images", """
model Net(x[B, 6]) -> [B, 4] {
  let y = (x |> Dense(12) |> rows: PRelu) as [B, 3, 2, 2]
  y |> pixels: PRelu(start: 0.125) |> flatten |> Dense(4)
}""", lambda: Named(
            dense1=nn.Linear(6, 12), rows=nn.PReLU(12), view=View(3, 2, 2), pixels=nn.PReLU(3, init=0.125), flat=nn.Flatten(), dense2=nn.Linear(12, 4)), 0.25),
        "std_batch_norm_made_up": MadeUpCase("batch normalisation in batches that make up a whole one", """
dim C = 4, L = 3

model Net(x[B, 6]) -> [B, 4] {
  x |> Dense(10) |> BatchNorm1d(momentum: 0.125, eps: 0.0625) |> tanh |> seq: Sequences |> Dense(4)
}

layer Sequences(x[B, ...]) -> [B, _] {
  let y = (x |> dense: Dense(12)) as [B, C, L]
  y |> norm: BatchNorm1d(momentum: none, eps: 0.03125) |> relu |> flatten
}""", lambda: Named(
            dense1=nn.Linear(6, 10), batchnorm1d1=nn.BatchNorm1d(10, momentum=0.125, eps=2**-4), act=nn.Tanh(),
            seq=Named(dense=nn.Linear(10, 12), view=View(4, 3), norm=nn.BatchNorm1d(4, momentum=None, eps=2**-5), act=nn.ReLU(), flat=nn.Flatten()),
            dense2=nn.Linear(12, 4)), 0.25),
    }
