"""Trajectories of the examples with convolutions, normalisation by batches and draws (generate.py writes them): whole networks, on the rows of mnist-images.gz.

Each program is the example's text but for its data, its batch and its number of steps. Beside it stands the same network made of torch.nn's modules, whose state_dict is
the initial and the final file as it is: names, shapes and types, running statistics and counts of batches included. What PyTorch would draw itself is drawn by
tests/oracle/draws.py. Numbers that are no numbers of single precision are rounded to it first, as they are in a step.
"""

import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from norm_cases import Named
from std_cases import share_in_top, share_right

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "oracle"))
from draws import draw  # noqa: E402

BATCH = 16
PREDICTED = 24  # rows
EXAMPLES = HERE.parent.parent / "examples"


def single(x):
    return float(np.float32(x))


class Draws:
    """Numbers in [0, 1) of the update that is being computed; each is computed once, for both precisions."""

    def __init__(self, seed):
        self.seed, self.update, self.known = seed, 0, {}

    def like(self, site, x):
        """Of the shape of x: rows first."""
        key = site, self.update, tuple(x.shape)
        if key not in self.known:
            elements = x[0].numel()
            self.known[key] = np.reshape([draw(self.seed, site, self.update, row, e) for row in range(len(x)) for e in range(elements)], x.shape)
        return torch.tensor(self.known[key], dtype=x.dtype)


class Dropped(nn.Module):
    def __init__(self, rate, draws, site):
        super().__init__()
        self.rate, self.draws, self.site = rate, draws, site

    def forward(self, x):
        if not self.training:
            return x
        return torch.where(self.draws.like(self.site, x) < self.rate, 0, x * single(1 / (1 - self.rate)))


def batch_norm(channels):
    return nn.BatchNorm2d(channels, eps=single(1e-5), momentum=single(0.1))


def conv_net(draws):
    def block(inputs, outputs):
        return Named(conv=nn.Conv2d(inputs, outputs, 3, padding="same"), norm=batch_norm(outputs), act=nn.ReLU())
    return Named(convblock1=block(1, 16), pool1=nn.MaxPool2d(2), convblock2=block(16, 32), pool2=nn.MaxPool2d(2), flat=nn.Flatten(),
                 dropout1=Dropped(0.25, draws, "dropout1#0"), fc=nn.Linear(1568, 10))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), batch_norm(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), batch_norm(outputs)
        self.projected = stride != 1 or inputs != outputs
        if self.projected:
            self.proj, self.projbn = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), batch_norm(outputs)

    def forward(self, x):
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(found + (self.projbn(self.proj(x)) if self.projected else x))


def residual_net(draws):
    return Named(stem=nn.Conv2d(1, 16, 3, padding=1, bias=False), norm=batch_norm(16), act=nn.ReLU(), block1=Block(16, 16), block2=Block(16, 32, 2),
                 block3=Block(32, 64, 2), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(64, 10))


class Autoencoder(nn.Module):
    def __init__(self, draws):
        super().__init__()
        self.draws = draws
        self.encoder = nn.ModuleDict({"fc": nn.Linear(784, 128), "mu": nn.Linear(128, 8), "logvar": nn.Linear(128, 8)})
        self.decoder = nn.ModuleDict({"fc1": nn.Linear(8, 128), "fc2": nn.Linear(128, 784)})

    def forward(self, x):
        h = F.relu(self.encoder["fc"](x.flatten(1)))
        mu, logvar = self.encoder["mu"](h), self.encoder["logvar"](h)
        z = mu
        if self.training:
            distance = torch.sqrt(-2 * torch.log(1 - self.draws.like("#0", mu)))
            z = mu + torch.exp(0.5 * logvar) * distance * torch.cos(single(2 * np.pi) * self.draws.like("#1", mu))
        return self.decoder["fc2"](F.relu(self.decoder["fc1"](z))), mu, logvar


def variational_loss(result, images, labels):
    pixels, mu, logvar = result
    rebuild = F.binary_cross_entropy_with_logits(pixels, images.flatten(1), reduction="none").sum(1).mean()
    spread = (-0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(1)).mean()
    return rebuild + spread, {"rebuild": rebuild.item(), "spread": spread.item()}


def classes_loss(smoothing, *tops):
    def loss(logits, images, labels):
        found, right = logits.detach().numpy(), labels.numpy()
        reports = {"accuracy": share_right(found, right), **({"top_k": share_in_top(found, right, 3)} if tops else {})}
        return F.cross_entropy(logits, labels, label_smoothing=single(smoothing)), reports
    return loss


class ProgramCase:
    def __init__(self, example, network, loss, optimizer, seed, interpreted, factor=None, calmer=None):
        self.example, self.network, self.loss, self.optimizer, self.factor = example, network, loss, optimizer, factor
        self.draws, self.interpreted, self.calmer = Draws(seed), interpreted, calmer

    def program(self):
        text = re.sub(r"\A(#.*\n)+\n", "", (EXAMPLES / f"{self.example}.nn").read_text())
        for pattern, there in ((r"data/t10k-(images|labels)-idx\d-ubyte\.gz", r"mnist-\1.gz"), (r"\n  test .*", ""), (r"batch: \d+", f"batch: {BATCH}"),
                               (r"\n  (epochs|steps) .*", "\n  steps    50")):
            text, count = re.subn(pattern, there, text)
            assert count >= 1, pattern
        title = f"# 50 steps of examples/{self.example}.nn on its first 320 rows, in file order"
        if self.calmer:
            assert self.calmer[0] in text
            text, title = text.replace(*self.calmer), f"{title}, at a lower rate"
        return f"{title}.\n\n{text}"

    def initial(self, seed):
        """As PyTorch draws them, but those of normalisation away from their ones and zeros."""
        torch.manual_seed(seed)
        draw = np.random.RandomState(seed)
        weights = {}
        for name, value in self.network(self.draws).state_dict().items():
            value = value.numpy()
            if re.search(r"(norm|bn\d?)\.(weight|running_var)$", name):
                value = draw.uniform(0.75, 1.25, value.shape)
            elif re.search(r"(norm|bn\d?)\.(bias|running_mean)$", name):
                value = draw.uniform(-0.25, 0.25, value.shape)
            elif self.calmer and value.ndim == 4:
                value = 4 * value  # what normalises takes it out again; a step is smaller beside it
            weights[name] = value if name.endswith("num_batches_tracked") else value.astype(np.float32)
        return weights

    def run(self, weights, data, steps, dtype):
        """(losses, final state, what else is recorded)."""
        network = self.network(self.draws).to(dtype)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, strict=True)
        images, labels = torch.tensor(data["image"], dtype=dtype) / 255, torch.tensor(data["digit"])
        optimizer = self.optimizer(network.parameters())
        base = optimizer.param_groups[0]["lr"]
        losses, more = [], {"reports": {}}
        for step in range(steps):
            begin = step * BATCH % len(images)
            self.draws.update = step
            if self.factor:
                optimizer.param_groups[0]["lr"] = base * self.factor(step)
            optimizer.zero_grad()
            x, y = images[begin:begin + BATCH], labels[begin:begin + BATCH]
            loss, reports = self.loss(network(x), x, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            for name, value in reports.items():
                more["reports"].setdefault(name, []).append(value)
            if self.interpreted and step + 1 == self.interpreted:
                changes = {name: value.numpy().astype(np.float64).ravel() - weights[name].ravel() for name, value in network.state_dict().items()}
                more["interpreted"] = {"steps": step + 1, "changes": {name: [float(np.linalg.norm(v)), float(v @ (np.arange(len(v)) % 7 - 3.0))]
                                                                      for name, v in changes.items()}}
        if self.calmer:
            more["weight_tolerance"] = 5e-4  # PyTorch's own single precision is off by half of it
        if self.loss is not variational_loss:
            network.eval()
            more |= {"input": "image={0}/mnist-images.gz", "rows": len(images)}
            with torch.no_grad():
                more["predictions"] = network(images[:PREDICTED]).numpy().round(9).tolist()
        return losses, {name: value.numpy() for name, value in network.state_dict().items()}, more


def cases():
    return {
        "cnn": ProgramCase("cnn", conv_net, classes_loss(0, 3), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4), 3, 3),
        # Up in a straight line for 30 steps, then down along a cosine. At the example's own rate, 0.1, the loss in single precision leaves that in double by 0.08 within 50
        # steps in PyTorch itself: a training so lively cannot be followed.
        "residual": ProgramCase("residual", residual_net, classes_loss(0.1), lambda p: torch.optim.SGD(p, lr=0.003, momentum=0.9, nesterov=True, weight_decay=5e-4), 5, 2,
                                lambda step: (step + 1) / 30 if step < 30 else 0.5 * (1 + np.cos(np.pi * (step - 30) / 270)), ("cosine(0.1,", "cosine(0.003,")),
        "autoencoder": ProgramCase("autoencoder", Autoencoder, variational_loss, lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.9, 0.999), eps=1e-8), 17, 10),
    }
