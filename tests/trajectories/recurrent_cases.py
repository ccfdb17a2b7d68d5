"""Trajectories of recurrent layers (generate.py writes them), from PyTorch's nn.RNN, nn.GRU and nn.LSTM.

As in norm_cases.py the state_dicts are the initial and the final weights as they are: weight_ih_l0, bias_hh_l1_reverse and so on. Each network uses the sequence of
one layer and, of another one, the states in which it ended.
"""

import torch
from torch import nn

from norm_cases import Named, NormCase, View


def sequence_of(kind):
    """The layer of PyTorch without its final states."""

    class Sequence(kind):
        def forward(self, x):
            return super().forward(x)[0]

    return Sequence


Rnn, Gru, Lstm = sequence_of(nn.RNN), sequence_of(nn.GRU), sequence_of(nn.LSTM)


class Ends(nn.Module):
    """The sum of a layer's sequence over its steps, and how each direction of each layer ended, side by side."""

    def __init__(self, **layer):
        super().__init__()
        (self.name, made), = layer.items()
        self.add_module(self.name, made)

    def forward(self, x):
        y, ended = self.get_submodule(self.name)(x)
        ended = ended if isinstance(ended, tuple) else (ended,)
        return torch.cat([y.sum(dim=1)] + [e.transpose(0, 1).reshape(len(x), -1) for e in ended], dim=1)


def program(layers, ends):
    return f"""
dim T = 5, C = 4

model Net(x[B, 6]) -> [B, 4] {{
  (x |> Dense(20)) as [B, T, C] {layers} |> ends: Ends |> Dense(4)
}}

layer Ends(x[B, T, ...]) -> [B, _] {{
{ends}
}}"""


def cases():
    start = lambda: {"dense1": nn.Linear(6, 20), "view": View(5, 4)}
    return {
        "std_rnn": NormCase("recurrent layers of tanh and relu, forwards and in reverse", program(
            "|> rnn: Rnn(5, layers: 2, bidirectional: true) |> rect: Rnn(6, nonlinearity: relu)", """  let y, h = x |> plain: Rnn(3, layers: 2, bias: false, states: true)
  dim Own = 3, Ended = 6
  concat(sum(y, over: T) as [B, Own], h as [B, Ended], over: (Own, Ended))"""), lambda: Named(
                **start(), rnn=Rnn(4, 5, num_layers=2, bidirectional=True, batch_first=True), rect=Rnn(10, 6, nonlinearity="relu", batch_first=True),
                ends=Ends(plain=nn.RNN(6, 3, num_layers=2, bias=False, batch_first=True)), dense2=nn.Linear(9, 4)), 0.0625),
        "std_gru": NormCase("gated recurrent units, forwards and in reverse", program(
            "|> gru: Gru(5, layers: 2, bidirectional: true, dropout: 0)", """  let y, h = x |> plain: Gru(3, bidirectional: true, bias: false, states: true)
  dim Own = 6, Ended = 6
  concat(sum(y, over: T) as [B, Own], h as [B, Ended], over: (Own, Ended))"""), lambda: Named(
                **start(), gru=Gru(4, 5, num_layers=2, bidirectional=True, batch_first=True),
                ends=Ends(plain=nn.GRU(10, 3, bidirectional=True, bias=False, batch_first=True)), dense2=nn.Linear(12, 4)), 0.25),
        "std_lstm": NormCase("long short-term memory, forwards and in reverse, with projections", program(
            "|> lstm: Lstm(5, layers: 2, bidirectional: true)", """  let y, h, c = x |> narrow: Lstm(4, layers: 2, bidirectional: true, projection: 2, states: true)
  dim Own = 4, Hidden = 8, Cells = 16
  concat(sum(y, over: T) as [B, Own], h as [B, Hidden], c as [B, Cells], over: (Own, Hidden, Cells))"""), lambda: Named(
                **start(), lstm=Lstm(4, 5, num_layers=2, bidirectional=True, batch_first=True),
                ends=Ends(narrow=nn.LSTM(10, 4, num_layers=2, bidirectional=True, proj_size=2, batch_first=True)), dense2=nn.Linear(28, 4)), 0.25),
    }
