"""One small network under every optimiser of std.nn (generate.py writes the trajectories): the rule as .nn has it, and as PyTorch has it.

Of lion and lamb, which PyTorch lacks, the papers' rules are written out here. All numbers are exact in single precision, since that is how a hyperparameter reaches
the step. Rules that go up the gradient (`maximise`) are given the negative loss.
"""

import torch


class Written(torch.optim.Optimizer):
    """A rule written out: `update(value, gradient, state, count)` gives the new value; the count begins with 1."""

    def __init__(self, parameters, update, maximise=False):
        super().__init__(parameters, {})
        self.update, self.sign = update, -1 if maximise else 1

    @torch.no_grad()
    def step(self):
        for value in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            state = self.state[value]
            state["count"] = state.get("count", 0) + 1
            value.copy_(self.update(value, self.sign * value.grad, state, state["count"]))


def lion(lr, beta1, beta2, decay):
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023, program 1."""
    def update(value, g, state, count):
        mean = state.get("mean", torch.zeros_like(value))
        direction = torch.sign(beta1 * mean + (1 - beta1) * g)
        state["mean"] = beta2 * mean + (1 - beta2) * g
        return value - lr * (direction + decay * value)
    return update


def lamb(lr, beta1, beta2, eps, decay):
    """You et al., "Large batch optimization for deep learning", 2020, algorithm 2; the ratio is 1 where a norm is 0."""
    def update(value, g, state, count):
        state["mean"] = beta1 * state.get("mean", torch.zeros_like(value)) + (1 - beta1) * g
        state["square"] = beta2 * state.get("square", torch.zeros_like(value)) + (1 - beta2) * g * g
        direction = state["mean"] / (1 - beta1**count) / (torch.sqrt(state["square"] / (1 - beta2**count)) + eps) + decay * value
        own, way = value.norm(), direction.norm()
        return value - lr * (own / way if own > 0 and way > 0 else 1.0) * direction
    return update


# name -> (title, the rule in .nn, the same rule in PyTorch)
RULES = {
    "sgd": ("plain gradient descent", "sgd(lr: 0.25)", lambda p: torch.optim.SGD(p, lr=0.25)),
    "sgd_momentum": ("momentum", "sgd(lr: 0.125, momentum: 0.75)", lambda p: torch.optim.SGD(p, lr=0.125, momentum=0.75)),
    "sgd_dampening": ("dampened momentum", "sgd(lr: 0.25, momentum: 0.75, dampening: 0.5)",
                      lambda p: torch.optim.SGD(p, lr=0.25, momentum=0.75, dampening=0.5)),
    "sgd_nesterov": ("Nesterov momentum and decay", "sgd(lr: 0.125, momentum: 0.625, nesterov: true, decay: 0.0078125)",
                     lambda p: torch.optim.SGD(p, lr=0.125, momentum=0.625, nesterov=True, weight_decay=2**-7)),
    "adam": ("adam", f"adam(lr: 0.015625, beta1: 0.8125, beta2: 0.984375, eps: {2**-20}, decay: 0.00390625)",
             lambda p: torch.optim.Adam(p, lr=2**-6, betas=(0.8125, 0.984375), eps=2**-20, weight_decay=2**-8)),
    "adamw": ("adamw", f"adamw(lr: 0.01171875, beta1: 0.875, beta2: 0.96875, eps: {2**-22}, decay: 0.125)",
              lambda p: torch.optim.AdamW(p, lr=0.01171875, betas=(0.875, 0.96875), eps=2**-22, weight_decay=0.125)),
    "rmsprop": ("rmsprop", f"rmsprop(lr: 0.0078125, alpha: 0.90625, eps: {2**-20}, decay: 0.00390625)",
                lambda p: torch.optim.RMSprop(p, lr=2**-7, alpha=0.90625, eps=2**-20, weight_decay=2**-8)),
    "rmsprop_centered": ("rmsprop, centred, with momentum", "rmsprop(lr: 0.00390625, alpha: 0.875, momentum: 0.5, centered: true)",
                         lambda p: torch.optim.RMSprop(p, lr=2**-8, alpha=0.875, momentum=0.5, centered=True)),
    "adagrad_decay": ("adagrad with a falling rate", "adagrad(lr: 0.125, lr_decay: 0.03125, start: 0.0625)",
                      lambda p: torch.optim.Adagrad(p, lr=2**-3, lr_decay=2**-5, initial_accumulator_value=2**-4)),
    "adagrad": ("adagrad", f"adagrad(lr: 0.0625, eps: {2**-26}, decay: 0.001953125)",
                lambda p: torch.optim.Adagrad(p, lr=2**-4, eps=2**-26, weight_decay=2**-9)),
    "sgd_up": ("momentum and decay, up the gradient", "sgd(lr: 0.125, momentum: 0.5, decay: 0.0078125, maximise: true)",
               lambda p: torch.optim.SGD(p, lr=0.125, momentum=0.5, weight_decay=2**-7, maximize=True)),
    "adam_amsgrad": ("adam with the largest mean square, up the gradient",
                     f"adam(lr: 0.015625, beta1: 0.75, beta2: 0.875, eps: {2**-20}, decay: 0.00390625, amsgrad: true, maximise: true)",
                     lambda p: torch.optim.Adam(p, lr=2**-6, betas=(0.75, 0.875), eps=2**-20, weight_decay=2**-8, amsgrad=True, maximize=True)),
    "adamw_amsgrad": ("adamw with the largest mean square, up the gradient",
                      f"adamw(lr: 0.01171875, beta1: 0.875, beta2: 0.9375, eps: {2**-22}, decay: 0.125, amsgrad: true, maximise: true)",
                      lambda p: torch.optim.AdamW(p, lr=0.01171875, betas=(0.875, 0.9375), eps=2**-22, weight_decay=0.125, amsgrad=True, maximize=True)),
    "rmsprop_up": ("rmsprop up the gradient", f"rmsprop(lr: 0.0078125, alpha: 0.90625, eps: {2**-20}, decay: 0.00390625, maximise: true)",
                   lambda p: torch.optim.RMSprop(p, lr=2**-7, alpha=0.90625, eps=2**-20, weight_decay=2**-8, maximize=True)),
    "adagrad_up": ("adagrad up the gradient", "adagrad(lr: 0.0625, decay: 0.001953125, start: 0.0625, maximise: true)",
                   lambda p: torch.optim.Adagrad(p, lr=2**-4, weight_decay=2**-9, initial_accumulator_value=2**-4, maximize=True)),
    "nadam": ("nadam", f"nadam(lr: 0.015625, beta1: 0.8125, beta2: 0.984375, eps: {2**-20}, decay: 0.00390625, momentum_decay: 0.03125)",
              lambda p: torch.optim.NAdam(p, lr=2**-6, betas=(0.8125, 0.984375), eps=2**-20, weight_decay=2**-8, momentum_decay=2**-5)),
    "nadam_decoupled": ("nadam with the decay of adamw, up the gradient", f"nadam(lr: 0.01171875, beta1: 0.875, beta2: 0.96875, eps: {2**-22}, decay: 0.125, decoupled: true, maximise: true)",
                        lambda p: torch.optim.NAdam(p, lr=0.01171875, betas=(0.875, 0.96875), eps=2**-22, weight_decay=0.125, decoupled_weight_decay=True, maximize=True)),
    "radam": ("radam", f"radam(lr: 0.015625, beta1: 0.8125, beta2: 0.984375, eps: {2**-20}, decay: 0.00390625)",
              lambda p: torch.optim.RAdam(p, lr=2**-6, betas=(0.8125, 0.984375), eps=2**-20, weight_decay=2**-8)),
    "radam_decoupled": ("radam with the decay of adamw, up the gradient", f"radam(lr: 0.0234375, beta1: 0.875, beta2: 0.96875, eps: {2**-22}, decay: 0.125, decoupled: true, maximise: true)",
                        lambda p: torch.optim.RAdam(p, lr=0.0234375, betas=(0.875, 0.96875), eps=2**-22, weight_decay=0.125, decoupled_weight_decay=True, maximize=True)),
    "rprop": ("rprop", f"rprop(lr: 0.00390625, eta_minus: 0.625, eta_plus: 1.125, step_min: {2**-14}, step_max: 0.015625)",
              lambda p: torch.optim.Rprop(p, lr=2**-8, etas=(0.625, 1.125), step_sizes=(2**-14, 2**-6))),
    "rprop_up": ("rprop up the gradient", "rprop(lr: 0.00390625, eta_plus: 1.25, step_max: 0.03125, maximise: true)",
                 lambda p: torch.optim.Rprop(p, lr=2**-8, etas=(0.5, 1.25), step_sizes=(1e-6, 2**-5), maximize=True)),
    "adadelta": ("adadelta", f"adadelta(lr: 4, rho: 0.875, eps: {2**-16}, decay: 0.00390625)",
                 lambda p: torch.optim.Adadelta(p, lr=4, rho=0.875, eps=2**-16, weight_decay=2**-8)),
    "adadelta_up": ("adadelta up the gradient", f"adadelta(rho: 0.75, eps: {2**-14}, maximise: true)",
                    lambda p: torch.optim.Adadelta(p, rho=0.75, eps=2**-14, maximize=True)),
    "lion": ("lion", "lion(lr: 0.00390625, beta1: 0.875, beta2: 0.96875, decay: 0.125)",
             lambda p: Written(p, lion(2**-8, 0.875, 0.96875, 0.125))),
    "lion_up": ("lion up the gradient", "lion(lr: 0.0078125, beta1: 0.75, beta2: 0.9375, maximise: true)",
                lambda p: Written(p, lion(2**-7, 0.75, 0.9375, 0), maximise=True)),
    "lamb": ("lamb", f"lamb(lr: 0.03125, beta1: 0.8125, beta2: 0.984375, eps: {2**-18}, decay: 0.0625)",
             lambda p: Written(p, lamb(2**-5, 0.8125, 0.984375, 2**-18, 0.0625))),
    "lamb_up": ("lamb up the gradient", "lamb(lr: 0.015625, beta1: 0.875, beta2: 0.96875, decay: 0.0, maximise: true)",
                lambda p: Written(p, lamb(2**-6, 0.875, 0.96875, 1e-6, 0), maximise=True)),
    "adafactor": ("adafactor", f"adafactor(lr: 0.125, beta2_decay: -0.75, eps1: {2**-12}, eps2: 0.25, d: 1.125, decay: 0.0625)",
                  lambda p: torch.optim.Adafactor(p, lr=2**-3, beta2_decay=-0.75, eps=(2**-12, 0.25), d=1.125, weight_decay=0.0625)),
    "adafactor_up": ("adafactor up the gradient", f"adafactor(lr: 0.25, beta2_decay: -0.5, eps1: {2**-20}, d: 2, maximise: true)",
                     lambda p: torch.optim.Adafactor(p, lr=2**-2, beta2_decay=-0.5, eps=(2**-20, 1e-3), d=2, maximize=True)),
}
