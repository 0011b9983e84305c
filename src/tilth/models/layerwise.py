"""Gradients of every example of a batch from one backward pass, for networks of linear and embedding layers.

The gradient of a linear layer's weights on one example is the sum over its positions of the outer product of what
came back to the layer's output and what went in, and no other example has a part in it. So one backward pass over the
batch, down to the outputs alone, gives all examples' gradients: the numbers of `gradients.gradients`, several times
faster, and no weight's gradient is summed over the batch first.

An embedding of thousands of rows is touched by an example in a few dozen. Its rows are added up in `GROUPS` groups,
each row with a random sign, which keeps inner products in expectation; `projected` then shortens everything to the
width that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from tilth.core import Run
from tilth.models.gradients import Projection

__all__ = ["Rows", "gradients", "projected"]

GROUPS: Final = 256


@dataclass(frozen=True)
class Rows:
    """Where the rows of an embedding are added up, and with which sign; each (rows,)."""

    place: Tensor
    sign: Tensor
    count: int

    @classmethod
    def drawn(cls, rows: int, run: Run, count: int = GROUPS) -> Rows:
        """At random; with no more rows than groups, each keeps its own and the gradient is exact."""
        if rows <= count:
            return cls(torch.arange(rows), torch.ones(rows), rows)
        rng = run.rng("rows")
        place, sign = rng.integers(0, count, rows), rng.integers(0, 2, rows) * 2 - 1
        return cls(torch.from_numpy(place), torch.from_numpy(sign.astype(np.float32)), count)


def projected(module: nn.Module, values: Callable[[], Tensor], projection: Projection) -> Tensor:
    """``projection`` of the gradients of `values`, (B, width)."""
    return projection(gradients(module, values, projection.run))


def gradients(module: nn.Module, values: Callable[[], Tensor], run: Run, groups: int = GROUPS) -> list[Tensor]:
    """Of each example's value in every weight, layer by layer, (B, ...) each: weights first, then the layer's bias.

    Args:
        values: runs `module` once on the batch and gives one number per example, (B,), a function of this example only.
        run: where the groups of an embedding's rows are drawn.

    Raises:
        ValueError: when a weight lies outside linear and embedding layers, or a layer is used twice.
    """
    layers = {n: m for n, m in module.named_modules() if isinstance(m, (nn.Linear, nn.Embedding))}
    inside = {id(p) for layer in layers.values() for p in layer.parameters()}
    if strange := [name for name, p in module.named_parameters() if id(p) not in inside]:
        raise ValueError(f"{strange[0]} is not a weight of a linear or embedding layer")
    with _noted(layers) as seen:
        total = values().sum()
    back = torch.autograd.grad(total, [out for _, out in seen.values()])
    found: list[Tensor] = []
    for (name, (inward, _)), d in zip(seen.items(), back, strict=True):
        layer = layers[name]
        if isinstance(layer, nn.Embedding):
            found.append(_of_embedding(inward, d, Rows.drawn(layer.num_embeddings, run.at(name), groups)))
            continue
        d, a = (t.reshape(len(t), -1, t.shape[-1]) for t in (d, inward))
        found.append(torch.bmm(d.transpose(1, 2), a))
        if layer.bias is not None:
            found.append(d.sum(1))
    return found


def _of_embedding(ids: Tensor, d: Tensor, rows: Rows) -> Tensor:
    """(B, groups, D) from ids (B, T) and what came back, (B, T, D)."""
    place, sign = rows.place.to(d.device)[ids], rows.sign.to(d.device)[ids]
    out = d.new_zeros(len(ids), rows.count, d.shape[-1])
    return out.scatter_add_(1, place.unsqueeze(2).expand_as(d), d * sign.unsqueeze(2))


@contextmanager
def _noted(layers: dict[str, Any]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What went into each layer and what came out of it, in the order in which they ran."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str, layer: nn.Module, inward: tuple[Tensor, ...], out: Tensor) -> None:
        del layer
        if name in seen:
            raise ValueError(f"layer {name} is used twice; its gradient is not one sum")
        seen[name] = inward[0].detach(), out

    handles = [layer.register_forward_hook(partial(note, name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
