"""Trajectories of the losses of std.nn that compare areas, embeddings and distributions (std_cases.py has the others): the same network and data as there.

Focal and dice losses and the contrastive one, which PyTorch lacks, are written out from their definitions.
"""

import torch
from torch.nn import functional as F

from std_cases import Case, chain, dense, dense_shapes, sgd, with_loss


def focal(logits, label, gamma=2.0, alpha=None):
    loss = F.cross_entropy(logits, label, reduction="none")
    loss = (1 - torch.exp(-loss))**gamma * loss
    return loss if alpha is None else torch.tensor(alpha, dtype=logits.dtype)[label] * loss


def binary_focal(logits, target, gamma=2.0, alpha=None):
    share = torch.sigmoid(logits)
    right = share * target + (1 - share) * (1 - target)
    loss = (1 - right)**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss if alpha is None else (alpha * target + (1 - alpha) * (1 - target)) * loss


def dice(found, right, smooth=1.0):
    """Of [B, C, ...]: one number for each row and class."""
    found, right = found.flatten(2), right.flatten(2)
    return 1 - (2 * (found * right).sum(2) + smooth) / (found.sum(2) + right.sum(2) + smooth)


def contrastive(a, b, temperature, symmetric=False):
    """Of [..., N, C]: one number for each of the N."""
    score = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).transpose(-1, -2) / temperature
    own = torch.arange(score.shape[-1]).expand(score.shape[:-1])
    find = lambda s: F.cross_entropy(s.flatten(0, -2), own.flatten(), reduction="none").reshape(own.shape)
    return (find(score) + find(score.transpose(-1, -2))) / 2 if symmetric else find(score)


def cases():
    found = {}

    def add(name, *arguments, **options):
        found[name] = Case(*arguments, **options)

    weights = [0.5, 2, 1, 0.75]  # of the classes

    def focal_losses(both, d):
        logits, one, label = both[:, :4], both[:, 4], d["label"]
        flag = d["flag"].to(one.dtype)
        return (focal(logits, label).mean() + 0.5 * focal(logits, label, 1.5, weights).mean() + 0.0625 * focal(logits, label, 0.5, weights).sum() + focal(logits, label, 0.0).square().mean()
                + binary_focal(one, flag, alpha=0.25).mean() + binary_focal(one, d["part"], 1.25, 0.75).mean() + 0.0625 * binary_focal(one, d["part"], 3.0).sum()
                + binary_focal(one, flag).square().mean())

    def two_results(w, d):
        return torch.cat([chain(torch.tanh)(w, d), dense(w, "score", d["x"])], 1)

    add("std_focal", "the focal losses of classes and of two classes", """
model Net(x[B, 6]) -> [B, 4], [B] {
  let logits = x |> Dense(12) |> tanh |> Dense(4)
  let one = x |> score: Dense(1)
  logits, one as [B]
}""", f"""
let logits, one = Net(x)
let weights = {weights}
minimize focal_loss(logits, label), 0.5 * focal_loss(logits, label, gamma: 1.5, alpha: weights)
minimize 0.0625 * focal_loss(logits, label, gamma: 0.5, alpha: weights, reduce: sum), mean(focal_loss(logits, label, gamma: 0, reduce: none)^2)
minimize binary_focal_loss(one, flag, alpha: 0.25), binary_focal_loss(one, part, gamma: 1.25, alpha: 0.75), 0.0625 * binary_focal_loss(one, part, gamma: 3, reduce: sum)
minimize mean(binary_focal_loss(one, flag, reduce: none)^2)
using    sgd(lr: 0.25, momentum: 0.5)""",
        {**dense_shapes([6, 12, 4]), "score.weight": (1, 6), "score.bias": (1,)}, with_loss(two_results, focal_losses), sgd(0.25, 0.5))

    def embeddings(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"]))
        return torch.stack([dense(w, name, h).reshape(-1, 3, 4) for name in ("a", "b", "c")])

    def embedding_losses(abc, d):
        a, b, c = abc
        side = d["side"]
        return (F.triplet_margin_loss(a, b, c) + 0.5 * F.triplet_margin_loss(a, c, b, margin=0.5, eps=2**-10, swap=True, reduction="none").square().mean()
                + 0.0625 * F.triplet_margin_loss(b, a, c, margin=2.0, reduction="sum")
                + F.cosine_embedding_loss(a[:, 0], b[:, 1], side) + 0.5 * F.cosine_embedding_loss(a[:, 1], c[:, 2], side, margin=0.25, reduction="none").square().mean()
                + 0.0625 * F.cosine_embedding_loss(b[:, 0], c[:, 0], side, margin=-0.25, reduction="sum")
                + contrastive(a, b, 0.5).mean() + 0.5 * contrastive(a, c, 0.25, symmetric=True).square().mean() + 0.0078125 * contrastive(b, c, 0.0703125).sum())

    def cosines(abc, d):
        a, b, c = torch.tensor(abc)
        return {"cosine": F.cosine_similarity(a, b, dim=-1).mean().item(), "guarded": F.cosine_similarity(a, c, dim=-1, eps=2.0).mean().item()}

    add("std_embeddings", "triplet, cosine and contrastive losses; cosine similarity", """
model Net(x[B, 6]) -> [B, 3, 4], [B, 3, 4], [B, 3, 4] {
  let h = x |> Dense(10) |> tanh
  let a = h |> a: Dense(12)
  let b = h |> b: Dense(12)
  let c = h |> c: Dense(12)
  a as [B, 3, 4], b as [B, 3, 4], c as [B, 3, 4]
}""", """
dim T = 3, C = 4
let u, v, w = Net(x)
let a, b, c = u as [B, T, C], v as [B, T, C], w as [B, T, C]
minimize triplet_loss(a, b, c), 0.5 * mean(triplet_loss(a, c, b, margin: 0.5, eps: 0.0009765625, swap: true, reduce: none)^2), 0.0625 * triplet_loss(b, a, c, margin: 2, reduce: sum)
minimize cosine_loss(a[T: 0], b[T: 1], side), 0.5 * mean(cosine_loss(a[T: 1], c[T: 2], side, margin: 0.25, reduce: none)^2)
minimize 0.0625 * cosine_loss(b[T: 0], c[T: 0], side, margin: -0.25, reduce: sum)
minimize contrastive_loss(a, b, temperature: 0.5), 0.5 * mean(contrastive_loss(a, c, temperature: 0.25, symmetric: true, reduce: none)^2)
minimize 0.0078125 * contrastive_loss(b, c, temperature: 0.0703125, reduce: sum)
using    sgd(lr: 0.015625, momentum: 0.5)
report   cosine: mean(cosine_similarity(a, b))
report   guarded: mean(cosine_similarity(a, c, eps: 2))""",
        {"dense1.weight": (10, 6), "dense1.bias": (10,), **{f"{n}.{k}": s for n in "abc" for k, s in (("weight", (12, 10)), ("bias", (12,)))}},
        with_loss(embeddings, embedding_losses), sgd(0.015625, 0.5), reports=cosines)

    def areas(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"]))
        return torch.cat([dense(w, "many", h), dense(w, "two", h)], 1)

    def area_losses(both, d):
        many, two = F.softmax(both[:, :21].reshape(-1, 7, 3), dim=1), torch.sigmoid(both[:, 21:])[:, None]
        right, share = F.one_hot(d["token"], 7).transpose(1, 2).to(many.dtype), d["share"][:, None]
        flag = d["flag"].to(many.dtype)[:, None, None].expand(-1, 1, 4)
        return (dice(many, right).mean() + dice(many, right, 0.25).square().mean() + 0.015625 * dice(many, right, 0.0).sum() + dice(two, share, 0.5).mean()
                + 0.0625 * dice(two, share).sum() + dice(two, flag, 0.0).square().mean())

    add("std_areas", "the dice losses of classes and of two classes", """
model Net(x[B, 6]) -> [B, 21], [B, 4] {
  let h = x |> Dense(10) |> tanh
  let many = h |> many: Dense(21)
  let two = h |> two: Dense(4)
  many, two
}""", """
dim Kinds = 7, T = 3, P = 4
let u, v = Net(x)
let many = u as [B, Kinds, T], two = v as [B, P]
let area = share as [B, P]
minimize dice_loss(many, token as [B, T]), mean(dice_loss(many, token as [B, T], smooth: 0.25, reduce: none)^2), 0.015625 * dice_loss(many, token as [B, T], smooth: 0, reduce: sum)
minimize binary_dice_loss(two, area, smooth: 0.5), 0.0625 * binary_dice_loss(two, area, reduce: sum), mean(binary_dice_loss(two, spread(flag, over: P), smooth: 0, reduce: none)^2)
using    sgd(lr: 0.25, momentum: 0.5)""",
        {"dense1.weight": (10, 6), "dense1.bias": (10,), "many.weight": (21, 10), "many.bias": (21,), "two.weight": (4, 10), "two.bias": (4,)},
        with_loss(areas, area_losses), sgd(0.25, 0.5))

    def likelihoods(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"]))
        return torch.stack([dense(w, name, h) for name in ("centre", "spread", "count")])

    def likelihood_losses(all_three, d):
        centre, spread, count = all_three
        y, counts = d["y"], d["token"].to(centre.dtype)
        variance, mean = F.softplus(spread), F.softplus(count)
        return (F.gaussian_nll_loss(centre, y, variance) + 0.5 * F.gaussian_nll_loss(centre, y, variance, full=True, eps=0.5, reduction="none").square().mean()
                + 0.0625 * F.gaussian_nll_loss(centre, y, variance, eps=0.25, reduction="sum")
                + 0.5 * F.poisson_nll_loss(count, counts, full=True) + 0.25 * F.poisson_nll_loss(mean, counts, log_input=False, eps=2**-6)
                + 0.0078125 * F.poisson_nll_loss(count, counts, reduction="sum") + 0.0625 * F.poisson_nll_loss(mean, counts, log_input=False, full=True, reduction="none").square().mean())

    add("std_likelihood", "negative log-likelihoods: normal numbers, some of whose variances are raised, and counts", """
model Net(x[B, 6]) -> [B, 3], [B, 3], [B, 3] {
  let h = x |> Dense(10) |> tanh
  let centre = h |> centre: Dense(3)
  let wide = h |> spread: Dense(3)
  let count = h |> count: Dense(3)
  centre, wide, count
}""", """
let centre, wide, count = Net(x)
let variance = softplus(wide), average = softplus(count), counts = f32(token)
minimize gaussian_nll(centre, y, variance), 0.5 * mean(gaussian_nll(centre, y, variance, full: true, eps: 0.5, reduce: none)^2), 0.0625 * gaussian_nll(centre, y, variance, eps: 0.25, reduce: sum)
minimize 0.5 * poisson_nll(count, counts, full: true), 0.25 * poisson_nll(average, counts, log_input: false, eps: 0.015625), 0.0078125 * poisson_nll(count, counts, reduce: sum)
minimize 0.0625 * mean(poisson_nll(average, counts, log_input: false, full: true, reduce: none)^2)
using    sgd(lr: 0.03125, momentum: 0.5)""",
        {"dense1.weight": (10, 6), "dense1.bias": (10,), **{f"{n}.{k}": s for n in ("centre", "spread", "count") for k, s in (("weight", (3, 10)), ("bias", (3,)))}},
        with_loss(likelihoods, likelihood_losses), sgd(0.03125, 0.5))

    def filtered(w, d):
        h = torch.tanh(dense(w, "dense1", d["x"])).reshape(-1, 2, 6, 6)
        h = torch.tanh(F.conv2d(h, w["conv1.weight"], w["conv1.bias"], stride=(1, 2)))
        return dense(w, "dense2", h.flatten(1))

    add("std_factored", "adafactor over the weights of a convolution", """
model Net(x[B, 6]) -> [B, 4] { (x |> Dense(72) |> tanh) as [B, 2, 6, 6] |> conv1: Conv2d(3, kernel: (3, 2), stride: (1, 2)) |> tanh |> flatten |> dense2: Dense(4) }""", """
minimize cross_entropy(Net(x), label)
using    adafactor(lr: 0.125, eps1: 0.0009765625, eps2: 0.0625)""",
        {"dense1.weight": (72, 6), "dense1.bias": (72,), "conv1.weight": (3, 2, 3, 2), "conv1.bias": (3,), "dense2.weight": (4, 36), "dense2.bias": (4,)},
        with_loss(filtered, lambda logits, d: F.cross_entropy(logits, d["label"])), lambda p: torch.optim.Adafactor(p, lr=0.125, eps=(2**-10, 0.0625)))
    return found
