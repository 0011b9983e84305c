"""Gradients of single examples: whole, of the last layer in closed form, and projected to few numbers.

A loss is a function ``loss(call, *example) -> scalar`` where ``call`` is the module, and every tensor of the example
keeps a first dimension of one. So a loss is written as for a batch and nothing need be said about batches:

    def cross_entropy(call, x, y):
        return torch.nn.functional.cross_entropy(call(x), y)

Three ways to the same numbers, each for its use:

* `gradients_loop` calls autograd once per example: the reference, and the way for modules that vmap cannot trace.
* `gradients` is ``torch.func``'s ``vmap(grad)``: the same numbers, several times faster for small modules.
* `LastLayer` needs no autograd. The gradient of a softmax head is the outer product of the error ``softmax - onehot``
  and the hidden state; inner products between examples follow from the factors without forming it.

Full gradients are as long as the module is large. `Projection` shortens them and keeps inner products within the bound
of Johnson and Lindenstrauss (`distortion`); `projected` does it parameter by parameter, some examples at a time, so
that neither the gradients nor the projection ever exist whole.

Dropout is off while gradients are taken and the module's mode is restored. Trap: batch normalisation in training mode
has no gradient of a single example; the running statistics are used.

Sources: Achlioptas 2003 (random signs); Kane and Nelson 2014 (sparse); Pruthi et al. 2020 and Park et al. 2023
(projected gradients for influence); Paul et al. 2021 (last-layer norms).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tilth.core.run import Run

__all__ = [
    "LastLayer",
    "Loss",
    "Projection",
    "distortion",
    "gradients",
    "gradients_loop",
    "names",
    "projected",
]

Loss = Callable[..., Tensor]
ROWS: Final = 1024  # coordinates per block of the projection; part of its definition


def names(module: nn.Module, only: Callable[[str], bool] | None = None) -> list[str]:
    """The trainable parameters whose gradients are taken, in the order in which they are laid side by side."""
    found = [name for name, p in module.named_parameters() if p.requires_grad and (only is None or only(name))]
    if not found:
        raise ValueError("no trainable parameter is left; `only` must accept at least one name")
    return found


def gradients_loop(
    module: nn.Module, loss: Loss, example: Sequence[Tensor], only: Callable[[str], bool] | None = None
) -> Tensor:
    """One row per example, (n, parameters): a backward pass for each.

    Args:
        example: tensors whose first dimension is the examples.
        only: which parameters, by name; all trainable ones where not given.
    """
    chosen = [dict(module.named_parameters())[name] for name in names(module, only)]
    rows = []
    with _evaluating(module):
        for i in range(len(example[0])):
            value = loss(module, *(t[i : i + 1] for t in example))
            parts = torch.autograd.grad(value, chosen, allow_unused=True)
            rows.append(_flat([torch.zeros_like(p) if g is None else g for p, g in zip(chosen, parts, strict=True)]))
    return torch.stack(rows)


def gradients(
    module: nn.Module,
    loss: Loss,
    example: Sequence[Tensor],
    only: Callable[[str], bool] | None = None,
    chunk: int | None = None,
) -> Tensor:
    """The same as `gradients_loop`, many examples at once.

    Args:
        chunk: examples at a time; the memory of a chunk is about ``chunk`` times that of one backward pass.
    """
    parts = _parts(module, loss, example, only, chunk)
    return torch.cat([torch.cat([g.flatten(1) for g in part], 1) for part in parts])


def projected(
    module: nn.Module,
    loss: Loss,
    example: Sequence[Tensor],
    projection: Projection,
    only: Callable[[str], bool] | None = None,
    chunk: int | None = 32,
) -> Tensor:
    """``projection(gradients(...))``, holding the gradients of `chunk` examples at a time."""
    return torch.cat([projection(part) for part in _parts(module, loss, example, only, chunk)])


def _parts(
    module: nn.Module, loss: Loss, example: Sequence[Tensor], only: Callable[[str], bool] | None, chunk: int | None
) -> Iterator[list[Tensor]]:
    """Per chunk of examples, the gradient of each chosen parameter with a first dimension of examples."""
    chosen = names(module, only)
    state: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    fixed = {name: t.detach() for name, t in state.items() if name not in chosen}
    moving = {name: state[name].detach() for name in chosen}

    def one(parameters: dict[str, Tensor], *tensors: Tensor) -> Tensor:
        def call(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(module, {**fixed, **parameters}, args, kwargs)

        return loss(call, *(t.unsqueeze(0) for t in tensors))

    each = torch.func.vmap(torch.func.grad(one), in_dims=(None, *(0 for _ in example)))
    size = chunk or max(1, len(example[0]))
    with _evaluating(module):
        for start in range(0, len(example[0]), size):
            found = each(moving, *(t[start : start + size] for t in example))
            yield [found[name] for name in chosen]


# ---- the last layer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LastLayer:
    """Gradients of the mean cross-entropy in the weights of a softmax head ``logits = hidden @ W.T (+ b)``.

    Attributes:
        error: (n, t, classes), softmax minus one-hot, divided by the number of the example's positions that count.
        hidden: (n, t, width), what the head reads; positions that do not count are zero.

    A classifier has one position per example (t = 1), a language model's head one per predicted token.
    """

    error: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, hidden: Tensor, logits: Tensor, labels: Tensor, ignore: int = -100) -> LastLayer:
        """From a forward pass.

        Args:
            hidden: (n, width) or (n, t, width).
            logits: (n, classes) or (n, t, classes).
            labels: (n,) or (n, t), already shifted for a language model; `ignore` marks positions without loss.
        """
        if hidden.dim() == 2:
            hidden, logits, labels = hidden.unsqueeze(1), logits.unsqueeze(1), labels.unsqueeze(1)
        counted = labels != ignore
        error = torch.softmax(logits.detach(), -1)
        place = torch.where(counted, labels, 0).unsqueeze(-1)
        error = error.scatter_add(-1, place, torch.full_like(error[..., :1], -1.0).expand_as(place))
        share = counted / counted.sum(1, keepdim=True).clamp(min=1)
        return cls(error * share.unsqueeze(-1), hidden.detach() * counted.unsqueeze(-1))

    def dense(self, bias: bool = False) -> Tensor:
        """The gradients, (n, classes * width), in the layout of ``W.flatten()``; the bias's behind them if asked."""
        weights = torch.einsum("ntc,nth->nch", self.error, self.hidden).flatten(1)
        return torch.cat([weights, self.error.sum(1)], 1) if bias else weights

    def inner(self, other: LastLayer, bias: bool = False) -> Tensor:
        """Inner products (n, m) with another set's gradients: ``sum (error . error') (hidden . hidden')``.

        Exact, and no gradient is formed: memory is the positions of one set times those of the other.
        """
        products = torch.einsum("ntc,msc->ntms", self.error, other.error)
        weights = (products * torch.einsum("nth,msh->ntms", self.hidden, other.hidden)).sum((1, 3))
        return weights + self.error.sum(1) @ other.error.sum(1).T if bias else weights

    def norms(self, bias: bool = False) -> Tensor:
        """The gradients' Euclidean norms, (n,)."""
        errors = torch.einsum("ntc,nsc->nts", self.error, self.error)
        squares = (errors * torch.einsum("nth,nsh->nts", self.hidden, self.hidden)).sum((1, 2))
        if bias:
            squares = squares + self.error.sum(1).square().sum(-1)
        return squares.clamp(min=0).sqrt()


# ---- random projection -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Projection:
    """A random linear map from any number of coordinates to `width`, a function of seed and place only.

    ``signs``: every entry is +1 or -1 over the square root of `width`. ``sparse``: each coordinate is added, with a
    random sign, to one output in each of `nonzeros` blocks of outputs, over the square root of `nonzeros`: `width` /
    `nonzeros` times cheaper, and as exact for gradients, whose weight is spread over many coordinates. The map is made
    `ROWS` coordinates at a time and forgotten, so memory is ``ROWS * width`` numbers; it costs as much as multiplying.

    Args:
        run: where in the run the map is drawn; equal runs give equal maps, so projections made at different times or
            in different processes can be compared.

    >>> import torch
    >>> x = torch.eye(5000)[:2]
    >>> Projection(Run(), 256)(x).square().sum(1)  # norms are kept
    tensor([1., 1.])
    """

    run: Run
    width: int
    kind: Literal["signs", "sparse"] = "signs"
    nonzeros: int = 8

    def __post_init__(self) -> None:
        if self.width < 1 or (self.kind == "sparse" and self.width % self.nonzeros):
            raise ValueError(f"width must be a positive multiple of nonzeros ({self.nonzeros}); got {self.width}")

    def __call__(self, vectors: Tensor | Sequence[Tensor]) -> Tensor:
        """Project vectors (n, any) or a list of tensors that lie side by side, each (n, ...); gives (n, width)."""
        pieces = [vectors] if isinstance(vectors, Tensor) else list(vectors)
        n = len(pieces[0])
        out = pieces[0].new_zeros((self.width, n), dtype=torch.float32)
        for block, rows in enumerate(_blocks(pieces)):
            if self.kind == "signs":
                out += self._signs(block)[:, : rows.shape[1]].to(rows.device) @ rows.T
            else:
                self._scatter(block, rows, out)
        return out.T * (1.0 / math.sqrt(self.width if self.kind == "signs" else self.nonzeros))

    def _signs(self, block: int) -> Tensor:
        """(width, ROWS) of +1 and -1."""
        bits = self.run.rng("projection", block).bytes(self.width * ROWS // 8)
        drawn = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(self.width, ROWS)
        return torch.from_numpy(drawn).to(torch.float32).mul_(2.0).sub_(1.0)

    def _scatter(self, block: int, rows: Tensor, out: Tensor) -> None:
        rng, each = self.run.rng("projection", block), self.width // self.nonzeros
        places = rng.integers(0, each, (self.nonzeros, ROWS))
        signs = rng.integers(0, 2, (self.nonzeros, ROWS), np.int8) * 2.0 - 1.0
        for i in range(self.nonzeros):
            place = torch.from_numpy(places[i, : rows.shape[1]] + i * each).to(rows.device)
            sign = torch.from_numpy(signs[i, : rows.shape[1]].astype(np.float32)).to(rows.device)
            out.index_add_(0, place, rows.T * sign.unsqueeze(1))


def distortion(width: int, failure: float) -> float:
    """The error e of inner products that one pair exceeds with probability at most `failure`.

    For vectors x and y and a projection R of random signs, ``|<Rx, Ry> - <x, y>| <= e (|x|^2 + |y|^2) / 2`` but with
    probability ``4 exp(-width (e^2 / 4 - e^3 / 6))``: the bound on squared norms of Achlioptas 2003, both tails, for
    x + y and x - y. It is loose: the standard deviation of the error is about ``|x| |y| / sqrt(width)``.

    Raises:
        ValueError: when so few numbers give no bound below 1.
    """
    need = math.log(4 / failure) / width
    if need > 1 / 4 - 1 / 6:
        raise ValueError(f"{width} numbers give no bound at failure probability {failure}; use more")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle**2 / 4 - middle**3 / 6 < need else (low, middle)
    return high


def _blocks(pieces: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pieces side by side, cut into (n, ROWS) blocks; the last one may be shorter."""
    waiting: list[Tensor] = []
    have = 0
    for piece in pieces:
        flat = piece.detach().flatten(1).to(torch.float32)
        start = 0
        while start < flat.shape[1]:
            taken = flat[:, start : start + ROWS - have]
            waiting.append(taken)
            have += taken.shape[1]
            start += taken.shape[1]
            if have == ROWS:
                yield waiting[0] if len(waiting) == 1 else torch.cat(waiting, 1)
                waiting, have = [], 0
    if waiting:
        yield torch.cat(waiting, 1)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off, and the mode of every submodule as it was afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
