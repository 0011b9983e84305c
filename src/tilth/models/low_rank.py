"""Low-rank updates: weights stay as they are, and a product of two thin matrices is learned beside each.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685). (For models of the
Hugging Face hub there is `peft`; this is for the small ones here, which it does not know.)

>>> from tilth.models.transformer import Config, build
>>> model = build(Config(vocab=50, context=8, layers=1, width=32, heads=1, hidden=64), torch.Generator().manual_seed(0))
>>> adapted(model, 2, torch.Generator().manual_seed(1))
>>> sum(p.numel() for p in model.parameters() if p.requires_grad), sum(p.numel() for p in merged(model).parameters())
(896, 11840)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["adapted", "merged"]

Model = TypeVar("Model", bound=nn.Module)


class _LowRank(nn.Module):
    """``weight + scale * up @ down``; `up` starts at 0, so nothing is changed before training."""

    def __init__(self, weight: Tensor, rank: int, scale: float, rng: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = scale
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        drawn = torch.empty(rank, columns).normal_(0.0, columns**-0.5, generator=rng)  # on the CPU, wherever it goes
        self.down = nn.Parameter(drawn.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):  # the sum in full precision, as weights are elsewhere
            return weight + self.scale * (self.up @ self.down)


def adapted(
    model: nn.Module, rank: int, rng: torch.Generator, scale: float = 1.0, only: Callable[[str], bool] | None = None
) -> None:
    """Freeze a model, and give its linear layers low-rank updates that are learned instead. Changes the model.

    Args:
        rank: columns of `up` and rows of `down`; an update has at most this rank.
        scale: what the product is multiplied by; the paper's alpha over the rank.
        only: which linear layers, by the module's name; all where not given. Embeddings stay as they are.

    Raises:
        ValueError: when the rank is below 1, or no layer is chosen.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and (only is None or only(n))}
    if rank < 1 or not layers:
        raise ValueError(f"a low-rank update needs a rank of at least 1 and a linear layer; got {rank} and none chosen")
    model.requires_grad_(False)
    for layer in layers.values():
        parametrize.register_parametrization(layer, "weight", _LowRank(layer.weight.detach(), rank, scale, rng))


def merged(model: Model) -> Model:
    """The model with the updates added to its weights, of the shape that it had before `adapted`. Changes the model."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model.requires_grad_(True)
