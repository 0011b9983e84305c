"""Influence: what a step on each group would do for each target, from gradients of the last layer.

To first order, a step of plain descent on group i lowers target j's loss by the rate times the inner product of their
gradients. The last layer's part stands for the whole: it needs a forward pass and no backward pass through the model.

>>> import numpy as np
>>> known = Known.of({"a": [1.0, 0.0], "b": [0.0, 2.0]}, {"goal": [1.0, 1.0]})
>>> known.aligned().ravel().tolist(), known.aligned(cosine=True).ravel().round(2).tolist()
([1.0, 2.0], [0.71, 0.71])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.core import Run
from tilth.models.batches import Windows
from tilth.models.feeds import Batch
from tilth.models.transformer import CHUNK, Decoder, token_losses

__all__ = ["Known", "LastLayer", "Measured", "influence"]

Floats = npt.NDArray[np.float64]
HELD = 8
"""A target's loss is taken on this many times the windows of a mini-batch, always the same ones."""


@dataclass(frozen=True)
class Known:
    """An `Influence` of numbers that are known already: from another trainer, or planted.

    Attributes:
        products: (domains, targets) inner products.
        between: (domains, domains) inner products.
        lengths: (targets,) lengths of the targets' gradients.
    """

    domains: Sequence[str]
    targets: Sequence[str]
    weights: Floats
    products: Floats
    between: Floats
    lengths: Floats
    nats: Floats

    @classmethod
    def of(
        cls,
        domains: Mapping[str, npt.ArrayLike],
        targets: Mapping[str, npt.ArrayLike],
        weights: npt.ArrayLike | None = None,
        nats: npt.ArrayLike | None = None,
    ) -> Self:
        """From gradients; targets weigh the same and lose nothing unless told."""
        lost = np.zeros(len(targets)) if nats is None else np.asarray(nats, float)
        w = np.ones(len(targets)) if weights is None else np.asarray(weights, float)
        ours, theirs = (np.array([np.asarray(g, float) for g in side.values()]) for side in (domains, targets))
        lengths = np.linalg.norm(theirs, axis=1)
        return cls([*domains], [*targets], w / w.sum(), ours @ theirs.T, ours @ ours.T, lengths, lost)

    def aligned(self, domains: Sequence[str] | None = None, *, cosine: bool = False) -> Floats:
        """See `Influence`."""
        rows = [self.domains.index(name) for name in (self.domains if domains is None else domains)]
        lengths = np.sqrt(np.diag(self.between))[rows, None] * self.lengths
        return self.products[rows] / np.maximum(lengths, 1e-30) if cosine else self.products[rows]

    def gram(self, *, cosine: bool = False) -> Floats:
        """See `Influence`."""
        lengths = np.sqrt(np.diag(self.between))
        return self.between / np.maximum(np.outer(lengths, lengths), 1e-30) if cosine else self.between

    def losses(self) -> Floats:
        """See `Influence`."""
        return self.nats


@dataclass(frozen=True)
class Measured:
    """An `Influence` that asks a model for what is wanted, and once.

    Of domains only numbers are kept; their gradients exist one at a time, but for `gram`, which holds them all.

    Attributes:
        gradient: the gradient of a domain (or, when True, of a target) as one vector.
        loss: nats per token of a target.
    """

    domains: Sequence[str]
    targets: Sequence[str]
    weights: Floats
    gradient: Callable[[str, bool], Tensor]
    loss: Callable[[str], float]
    _rows: dict[str, Floats] = field(default_factory=dict, repr=False)

    def aligned(self, domains: Sequence[str] | None = None, *, cosine: bool = False) -> Floats:
        """See `Influence`."""
        names = self.domains if domains is None else domains
        return np.stack([self._row(name, cosine) for name in names]) if names else np.zeros((0, len(self.targets)))

    def gram(self, *, cosine: bool = False) -> Floats:
        """See `Influence`."""
        rows = torch.stack([self.gradient(name, False) for name in self.domains])
        if cosine:
            rows = torch.nn.functional.normalize(rows, dim=1)
        return np.asarray((rows @ rows.T).double().cpu().numpy())

    def losses(self) -> Floats:
        """See `Influence`."""
        return np.array([self.loss(name) for name in self.targets])

    @cached_property
    def _aims(self) -> Tensor:
        return torch.stack([self.gradient(name, True) for name in self.targets])

    def _row(self, name: str, cosine: bool) -> Floats:
        if name not in self._rows:
            mine = self.gradient(name, False)
            long = self._aims.norm(dim=1) * mine.norm()
            found = torch.stack([self._aims @ mine, long.clamp(min=1e-30)])
            self._rows[name] = found.double().cpu().numpy()
        inner, whole = self._rows[name]
        return np.asarray(inner / whole if cosine else inner)


@dataclass(frozen=True)
class LastLayer:
    """The last layer's gradients of a decoder, and its losses, on windows of each group.

    Attributes:
        domains, targets: the windows of each group.
        size: windows of a mini-batch; which ones is a function of `run`, the group and the step.
        apart, precision: as in training.
    """

    model: Decoder
    domains: Mapping[str, Windows]
    targets: Mapping[str, Windows]
    size: int
    run: Run
    apart: bool = True
    precision: str = "float32"

    def gradient(self, step: int, name: str, target: bool) -> Tensor:
        """The mean gradient over the targets of a mini-batch in the output matrix, as one vector."""
        windows = (self.targets if target else self.domains)[name]
        rng = self.run.rng("influence", "target" if target else "domain", name, step)
        some = windows.take(rng.permutation(len(windows))[: self.size])
        weight = self.model.embedding.weight.detach()
        total = torch.zeros_like(weight)
        with torch.no_grad(), self._as_trained():
            hidden, wanted = self._hidden(some)
            for h, y in zip(torch.split(hidden, CHUNK), torch.split(wanted, CHUNK), strict=True):
                error = (h @ weight.T).softmax(-1)
                error[torch.arange(len(y), device=y.device), y] -= 1.0
                total += error.T @ h
        return total.flatten() / max(1, len(wanted))

    def loss(self, name: str) -> float:
        """Nats per token on the first windows of a target."""
        windows = self.targets[name]
        some = windows.take(np.arange(min(len(windows), HELD * self.size)))
        with torch.no_grad(), self._as_trained():
            hidden, wanted = self._hidden(some)
            return float(token_losses(hidden, self.model.embedding.weight, wanted).mean())

    def _hidden(self, windows: Windows) -> tuple[Tensor, Tensor]:
        batch = Batch.of(windows, self.run.device)
        with torch.no_grad():
            hidden = self.model(batch.inputs, batch.documents if self.apart else None).flatten(0, 1)
        wanted = batch.targets.flatten()
        return hidden[wanted >= 0], wanted[wanted >= 0]

    def _as_trained(self) -> torch.autocast:
        return torch.autocast(
            torch.device(self.run.device).type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )  # fmt: skip


def influence(source: LastLayer, weights: Mapping[str, float] | None = None) -> Callable[[int], Measured]:
    """What may be asked at each step, from a model and the windows of domains and targets.

    Args:
        weights: of the targets; all alike unless told.
    """
    told = np.array([1.0 if weights is None else weights[name] for name in source.targets])

    def at(step: int) -> Measured:
        def gradient(name: str, target: bool) -> Tensor:
            return source.gradient(step, name, target)

        return Measured([*source.domains], [*source.targets], told / told.sum(), gradient, source.loss)

    return at
