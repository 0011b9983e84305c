"""How weights move: one schedule, AdamW or Lion, gradients clipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Lion", "Options", "Precision", "optimizer", "precision_of", "schedule"]

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Options:
    """What every trainer needs to know.

    Attributes:
        rate: peak learning rate; `transformer.Config.rate` fits AdamW, Lion wants a tenth to a third of it.
        faster: how many times `rate` embeddings move at, as each of their rows is seldom touched: on a few hundred
            thousand tokens they would hardly have moved otherwise.
        batch: windows, sequences or pairs of a step.
        warmup: share of the steps over which the rate rises from 0.
        decay: how it falls after that, to `floor` times the peak at the last step.
        betas: short runs want a short memory; Lion's own are (0.9, 0.99).
        clip: largest norm of the gradient; longer ones are shortened to it.
        precision: the type in which matrices are multiplied; weights, sums, norms and updates stay float32.
    """

    rate: float = 3e-3
    faster: float = 8.0
    batch: int = 16
    optimizer: Literal["adamw", "lion"] = "adamw"
    warmup: float = 0.1
    decay: Literal["linear", "cosine", "constant"] = "linear"
    floor: float = 0.0
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.8, 0.95)
    clip: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"


def precision_of(choice: Precision, device: str = "cpu") -> Literal["float32", "bfloat16"]:
    """What "auto" stands for here: bfloat16 where the processor multiplies it itself, which is twice as fast.

    Processors that do not multiply it themselves take more than twice as long as with float32.
    """
    if choice != "auto":
        return choice
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    told: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot say
    native = told.get("avx512_bf16", False) or told.get("amx_bf16", False)
    return "bfloat16" if device == "cpu" and native else "float32"


def schedule(step: int, steps: int, options: Options) -> float:
    """The learning rate of a step, counted from 0.

    >>> [round(schedule(s, 10, Options(rate=1.0, warmup=0.2)), 3) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 0.889, 0.111]
    """
    rising = math.ceil(options.warmup * steps)
    if step < rising:
        return options.rate * (step + 1) / rising
    done = (step - rising + 1) / (steps - rising + 1)
    left = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}[options.decay]
    return options.rate * (left if options.decay == "constant" else options.floor + (1 - options.floor) * left)


def optimizer(model: nn.Module, options: Options) -> torch.optim.Optimizer:
    """The optimizer; matrices are decayed, embeddings, vectors and numbers are not."""
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": options.weight_decay, "scale": 1.0},
        {"params": [], "weight_decay": 0.0, "scale": options.faster},
        {"params": [], "weight_decay": 0.0, "scale": 1.0},
    ]
    for name, p in model.named_parameters():
        if p.requires_grad:
            groups[1 if "embedding" in name else 0 if p.ndim >= 2 else 2]["params"].append(p)
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "lion":
        return Lion(groups, options.rate, options.betas)
    return torch.optim.AdamW(groups, lr=options.rate, betas=options.betas, eps=1e-10, fused=True)


class Lion(torch.optim.Optimizer):
    """The sign of an interpolated momentum; one state per weight instead of two.

    Source: Chen et al. 2023, arXiv 2302.06675, algorithm 2: the update interpolates with the first beta, the momentum
    is kept with the second, weight decay is decoupled.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight once; `closure`, if any, is called first."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            fast, slow = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state: dict[str, Tensor] = self.state[p]
                momentum = state.setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.lerp(p.grad, momentum, fast).sign_(), alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - slow)
        return loss
