"""Trajectories of attention and of transformer layers (generate.py writes them), from PyTorch's MultiheadAttention, TransformerEncoderLayer and TransformerDecoderLayer.

As in norm_cases.py the state_dicts are the initial and the final weights as they are: in_proj_weight, q_proj_weight, out_proj.bias and so on. Masks come from the numbers of
a row, so that some rows have none of their keys: without weights among its results PyTorch gives such a query zeros and no gradient, as nnc does. What PyTorch has no
module of, fewer heads of keys than of queries and positions, is written here around its scaled_dot_product_attention. Heads are 1 or 4 wide: by the root of 2 or 8 scores would be divided in single precision, which it is not exact in.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from norm_cases import NormCase
from program_cases import Draws, Dropped

STEPS, WIDTH = 5, 8
torch.backends.mha.set_fastpath_enabled(False)  # outside of training it would give NaN where no key is left


def later(length):
    """True where a query must not look."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def is_there(x):
    """Of the STEPS positions of each row."""
    return x[:, :STEPS] > 0.25


class Attentive(nn.Module):
    """To itself with both masks; to another sequence with values of a third, all of other widths; to another one of the same width, without a bias."""

    def __init__(self):
        super().__init__()
        self.dense1, self.dense2, self.dense3, self.dense4 = nn.Linear(6, 40), nn.Linear(6, 18), nn.Linear(6, 15), nn.Linear(40, 4)
        self.position = nn.Embedding(7, WIDTH)
        self.own = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.other = nn.MultiheadAttention(WIDTH, 8, kdim=6, vdim=5, batch_first=True)
        self.back = nn.MultiheadAttention(WIDTH, 2, bias=False, batch_first=True)

    def forward(self, x):
        h = self.dense1(x).view(-1, STEPS, WIDTH) + self.position(torch.arange(STEPS))
        h = h + self.own(h, h, h, key_padding_mask=~is_there(x), attn_mask=later(STEPS), need_weights=False)[0]
        key, value = self.dense2(x).view(-1, 3, 6), self.dense3(x).view(-1, 3, 5)
        g = h + self.other(h, key, value, key_padding_mask=x[:, 3:] <= 0, need_weights=False)[0]
        y = g + self.back(g, h, h, need_weights=False)[0]
        return self.dense4(y.flatten(1))


def sinusoidal(x, base=10000):
    _, length, width = x.shape
    position, channel = torch.arange(length, dtype=x.dtype)[:, None], torch.arange(width)
    angle = position / base ** ((channel - channel % 2).to(x.dtype) / width)
    return x + torch.where(channel % 2 == 0, torch.sin(angle), torch.cos(angle))


def turned(x, base, interleaved):
    """[B, T, heads, D], by complex numbers: each pair times e^(i t base^(-2 p / D))."""
    length, depth = x.shape[1], x.shape[3]
    angle = torch.arange(length, dtype=x.dtype)[:, None] * base ** (-2 * torch.arange(depth // 2, dtype=x.dtype) / depth)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None, :]
    pairs = x.unflatten(3, (-1, 2)) if interleaved else x.unflatten(3, (2, -1)).transpose(3, 4)
    result = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    return (result if interleaved else result.transpose(3, 4)).flatten(3)


class Grouped(nn.Module):
    """Two heads of queries, one of keys and values, turned by their positions; names as in MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.q_proj_weight, self.k_proj_weight, self.v_proj_weight = (nn.Parameter(torch.empty(n, WIDTH)) for n in (8, 4, 4))
        self.in_proj_bias, self.out_proj = nn.Parameter(torch.empty(16)), nn.Linear(8, WIDTH)

    def forward(self, x):
        bias = self.in_proj_bias.split((8, 4, 4))
        q, k, v = (F.linear(x, w, b).unflatten(2, (-1, 4)) for w, b in zip((self.q_proj_weight, self.k_proj_weight, self.v_proj_weight), bias))
        q, k = turned(q, 10000, True), turned(k, 10000, True)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Near(nn.Module):
    """One projection of each; a query sees the positions there are that are next to it."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x, there):
        q, k, v = (layer(x).unflatten(2, (2, 4)) for layer in (self.query, self.key, self.value))
        q, k = turned(q, 50, False), turned(k, 50, False)
        place = torch.arange(STEPS)
        near = (place[:, None] - place).abs() <= 1
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=(near & there[:, None, :])[:, None])
        return y.transpose(1, 2).flatten(2)


class Positioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense1, self.grouped, self.near, self.dense2 = nn.Linear(6, 40), Grouped(), Near(), nn.Linear(40, 4)

    def forward(self, x):
        h = sinusoidal(self.dense1(x).view(-1, STEPS, WIDTH), 100)
        h = h + self.grouped(h)
        h = h + self.near(h, is_there(x))
        return self.dense2(h.flatten(1))


class Transformer(nn.Module):
    """Two layers that normalise what they add up and two that normalise what they are given, encoders and decoders."""

    def __init__(self):
        super().__init__()
        self.dense1, self.dense2, self.dense3 = nn.Linear(6, 24), nn.Linear(6, 40), nn.Linear(40, 4)
        more = {"dropout": 0, "batch_first": True, "layer_norm_eps": 2**-10}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, 2, 12, **more) for _ in range(2))
        self.first = nn.TransformerEncoderLayer(WIDTH, 8, 10, activation=F.silu, norm_first=True, bias=False, **more)
        self.decoder = nn.TransformerDecoderLayer(WIDTH, 2, 12, **more)
        self.last = nn.TransformerDecoderLayer(WIDTH, 8, 10, activation=F.silu, norm_first=True, **more)

    def forward(self, x):
        memory = self.dense1(x).view(-1, 3, WIDTH)
        absent = x[:, 3:] <= 0
        for layer in self.layers:
            memory = layer(memory, src_key_padding_mask=absent)
        memory = self.first(memory, src_mask=later(3))
        h = self.dense2(x).view(-1, STEPS, WIDTH)
        h = self.decoder(h, memory, tgt_mask=later(STEPS), tgt_key_padding_mask=~is_there(x), memory_key_padding_mask=absent)
        h = self.last(h, memory)
        return self.dense3(h.flatten(1))


class DroppedShares(nn.MultiheadAttention):
    """Of whose shares, [B, T, heads, S], some are left out, as nnc draws them."""

    def __init__(self, heads, dropped):
        super().__init__(WIDTH, heads, batch_first=True)
        self.dropped = dropped

    def forward(self, x):
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in F.linear(x, self.in_proj_weight, self.in_proj_bias).split(WIDTH, 2))
        score = (q @ k.transpose(2, 3) / np.sqrt(q.shape[3])).masked_fill(later(x.shape[1]), -torch.inf)
        share = self.dropped(score.softmax(3).transpose(1, 2)).transpose(1, 2)
        return self.out_proj((share @ v).transpose(1, 2).flatten(2))


class DroppedLayer(nn.TransformerEncoderLayer):
    def __init__(self, draws, name):
        super().__init__(WIDTH, 2, 12, dropout=0.5, batch_first=True, layer_norm_eps=2**-10)
        self.self_attn = DroppedShares(2, Dropped(0.5, draws, f"{name}.self_attn#0"))
        self.dropout1, self.dropout, self.dropout2 = (Dropped(0.5, draws, f"{name}.dropout{i}#0") for i in (1, 2, 3))

    def forward(self, x):
        a = x + self.dropout1(self.self_attn(self.norm1(x)))
        return a + self.dropout2(self.linear2(self.dropout(F.relu(self.linear1(self.norm2(a))))))


class DroppedNet(nn.Module):
    def __init__(self, draws):
        super().__init__()
        self.draws, self.dense1, self.dense2 = draws, nn.Linear(6, 40), nn.Linear(40, 4)
        self.own = DroppedShares(8, Dropped(0.5, draws, "own#0"))
        self.layer = DroppedLayer(draws, "layer")

    def forward(self, x):
        h = self.dense1(x).view(-1, STEPS, WIDTH)
        return self.dense2(self.layer(h + self.own(h)).flatten(1))


class DroppedCase(NormCase):
    """A step's draws are those of its number: each run counts its batches anew."""

    def __init__(self, title, model, rate):
        self.draws = Draws(1)
        super().__init__(title, model, self.counted, rate)

    def counted(self):
        network = DroppedNet(self.draws)

        def count(module, _):
            if module.training:
                self.draws.update = network.batches
                network.batches += 1

        network.batches = 0
        network.register_forward_pre_hook(count)
        return network


def cases():
    return {
        "std_attention": NormCase("attention of a sequence to itself and to others, with masks", """
dim In = 6, T = 5, C = 8, S = 3, K = 6, V = 5

model Net(x[B, In]) -> [B, 4] {
  let there = x[In: 0..T] as [B, T] > 0.25, known = x[In: 3..In] as [B, S] > 0
  let h = (x |> Dense(40)) as [B, T, C] |> position: Positions(7)
  let key = (x |> Dense(18)) as [B, S, K], value = (x |> Dense(15)) as [B, S, V]
  let a = h + (h |> own: MultiHeadAttention(2, causal: true)(mask: there))
  let g = a + (a |> other: MultiHeadAttention(8)(key: key, value: value, mask: known))
  g + (g |> back: MultiHeadAttention(2, bias: false)(key: a as [B, T, C])) |> flatten |> Dense(4)
}""", Attentive, 0.0625),
        "std_positions": NormCase("positions; attention with fewer heads of keys, and to neighbours alone", """
dim In = 6, T = 5, C = 8

layer Near(x[B, T, C], there[B, T]: bool) -> [B, T, C] {
  dim S = T, Heads = 2, D = 4
  let q = (x |> query: Dense(C)) as [B, T, Heads, D]
  let k = (x |> key: Dense(C)) as [B, T, Heads, D]
  let v = (x |> value: Dense(C)) as [B, S, Heads, D]
  let near = abs(index(T) - index(S)) <= 1
  let turned = rotary(k, base: 50, interleaved: false) as [B, S, Heads, D]
  attention(rotary(q, base: 50, interleaved: false), turned, v, mask: spread(there as [B, S], over: T) as [B, T, S] and near) as [B, T, C]
}

model Net(x[B, In]) -> [B, 4] {
  let h = (x |> Dense(40)) as [B, T, C] |> SinusoidalPositions(100)
  let g = h + (h |> grouped: MultiHeadAttention(2, kv_heads: 1, causal: true, rotary: true))
  let there = x[In: 0..T] as [B, T] > 0.25
  g + (g |> near: Near(there)) |> flatten |> Dense(4)
}""", Positioned, 0.0625),
        "std_transformer": NormCase("transformer layers", """
dim In = 6, T = 5, C = 8, S = 3

model Net(x[B, In]) -> [B, 4] {
  let there = x[In: 0..T] as [B, T] > 0.25, known = x[In: 3..In] as [B, S] > 0
  let memory = (x |> Dense(24)) as [B, S, C] |> layers: stack(2, TransformerEncoderLayer(2, hidden: 12, dropout: 0, eps: 0.0009765625))(mask: known)
    |> first: TransformerEncoderLayer(8, hidden: 10, dropout: 0, activation: silu, norm_first: true, causal: true, eps: 0.0009765625, bias: false)
  (x |> Dense(40)) as [B, T, C]
    |> decoder: TransformerDecoderLayer(2, hidden: 12, dropout: 0, eps: 0.0009765625)(memory, mask: there, memory_mask: known)
    |> last: TransformerDecoderLayer(8, hidden: 10, dropout: 0, activation: silu, norm_first: true, causal: false, eps: 0.0009765625)(memory)
    |> flatten |> Dense(4)
}""", Transformer, 0.03125),
        "std_dropped": DroppedCase("attention and a transformer layer some of whose shares and channels are left out", """
dim T = 5, C = 8

model Net(x[B, 6]) -> [B, 4] {
  let h = (x |> Dense(40)) as [B, T, C]
  h + (h |> own: MultiHeadAttention(8, causal: true, dropout: 0.5))
    |> layer: TransformerEncoderLayer(2, hidden: 12, dropout: 0.5, norm_first: true, causal: true, eps: 0.0009765625) |> flatten |> Dense(4)
}""", 0.0625),
    }
