"""The trajectory of examples/transformer.nn (generate.py writes it), on the first characters of its play, beside the same network made of torch.nn's modules.

The program is the example's text but for its data, its sizes, its rate and its number of steps. `eps` is large, so that a gradient that is exactly zero but for roundings (that of
the keys' bias, which moves all scores of a row alike) does not become a step of Adam's full length, in another direction for each precision.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
BATCH, CONTEXT, WIDTH, HEADS, LAYERS, CHARACTERS = 4, 16, 32, 4, 2, 1500
RATE, EPS, DECAY, CLIP, WARMUP, TOTAL = 2**-7, 2**-8, 2**-3, 2, 8, 64
EPS_OF_NORM = float(np.float32(1e-5))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.project = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        rows, length, _ = x.shape
        q, k, v = (layer(x).view(rows, length, HEADS, -1).transpose(1, 2) for layer in (self.query, self.key, self.value))
        score = q @ k.transpose(2, 3) / np.sqrt(WIDTH // HEADS)
        score = score.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
        return self.project((score.softmax(3) @ v).transpose(1, 2).reshape(rows, length, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.attention, self.ln2 = nn.LayerNorm(WIDTH, EPS_OF_NORM), Attention(), nn.LayerNorm(WIDTH, EPS_OF_NORM)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        h = x + self.attention(self.ln1(x))
        return h + self.down(F.gelu(self.up(self.ln2(h))))


class Transformer(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.token, self.position = nn.Parameter(torch.empty(characters, WIDTH)), nn.Parameter(torch.empty(CONTEXT, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.final = nn.LayerNorm(WIDTH, EPS_OF_NORM)

    def forward(self, tokens):
        h = self.token[tokens] + self.position[:tokens.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.final(h) @ self.token.T


def factor(step):
    """cosine(1, warmup, total) of std.nn."""
    return (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + np.cos(np.pi * min((step - WARMUP) / (TOTAL - WARMUP), 1)))


class TransformerCase:
    def __init__(self):
        self.text = (EXAMPLES / "data/coriolanus.txt").read_text()[:CHARACTERS]
        self.vocabulary = sorted(set(self.text))

    def program(self):
        (HERE / "play.txt").write_text(self.text)
        text = re.sub(r"\A(#.*\n)+\n", "", (EXAMPLES / "transformer.nn").read_text())
        for pattern, there in ((r"dim Ctx = .*", f"dim Ctx = {CONTEXT}, Model = {WIDTH}, Heads = {HEADS}, Layers = {LAYERS}, Vocab = {len(self.vocabulary)}"),
                               ("data/coriolanus.txt", "play.txt"), (r"\n  test .*", ""), (r"batch: \d+", f"batch: {BATCH}"), (r"\n  (save|steps) .*", ""),
                               (r"using .*", f"using    adamw(lr: cosine({RATE}, warmup: {WARMUP}, total: {TOTAL}), eps: {EPS}, decay: {DECAY}), clip_norm: {CLIP}\n  steps    50")):
            text, count = re.subn(pattern, there, text)
            assert count >= 1, pattern
        return f"# 50 steps of examples/transformer.nn, smaller, on its first characters, in their order.\n\n{text}"

    def initial(self, seed):
        torch.manual_seed(seed)
        draw = np.random.RandomState(seed)
        weights = {}
        for name, value in Transformer(len(self.vocabulary)).state_dict().items():
            value = value.numpy()
            if re.search(r"(ln\d|final)\.(weight|bias)$", name):
                value = draw.uniform(-0.25, 0.25, value.shape) + name.endswith("weight")
            elif name in ("token", "position"):
                value = draw.normal(0, 0.125, value.shape)
            weights[name] = value.astype(np.float32)
        return weights

    def run(self, weights, data, steps, dtype):
        """(losses, final state, what else is recorded)."""
        network = Transformer(len(self.vocabulary)).to(dtype)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, strict=True)
        number = torch.tensor([self.vocabulary.index(c) for c in self.text])
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=tuple(float(np.float32(b)) for b in (0.9, 0.999)), eps=EPS, weight_decay=DECAY)
        losses, more, clipped = [], {"reports": {"perplexity": []}}, 0
        for step in range(steps):
            rows = torch.stack([number[r:r + CONTEXT + 1] for r in range(step * BATCH, (step + 1) * BATCH)])
            optimizer.param_groups[0]["lr"] = RATE * factor(step)
            optimizer.zero_grad()
            loss = F.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            loss.backward()
            clipped += torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP).item() > CLIP
            optimizer.step()
            losses.append(loss.item())
            more["reports"]["perplexity"].append(np.exp(loss.item()))
            if step == 1:
                changes = {name: value.numpy().astype(np.float64).ravel() - weights[name].ravel() for name, value in network.state_dict().items()}
                more["interpreted"] = {"steps": 2, "changes": {name: [float(np.linalg.norm(v)), float(v @ (np.arange(len(v)) % 7 - 3.0))] for name, v in changes.items()}}
        assert 5 < clipped < steps, f"{clipped} of {steps} steps are clipped: both ways are to be seen"
        return losses, {name: value.numpy() for name, value in network.state_dict().items()}, more


def cases():
    return {"transformer": TransformerCase()}
