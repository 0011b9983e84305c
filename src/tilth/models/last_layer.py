"""Gradients of a model's last layer on many records, for what needs only their directions, lengths and inner products.

A softmax layer's gradient on a record is its error, ``probabilities - onehot``, times its input, so a classifier's are
kept as these two factors and inner products are exact (`Factored`). The bias is left out: its gradient is the error
alone, the same for all texts of a class, and next to inputs of length 1 it would drown what the texts say. A language
model's record has one such product for every token; their sum is shortened to a few thousand numbers that keep inner
products nearly (`Sketched`): both factors are multiplied by random signs first, which keeps the inner product of each
pair of tokens in expectation. `Stepped` divides a classifier's by
the roots of second moments.

>>> import numpy as np
>>> inputs, errors = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.5, -0.5], [0.1, -0.1]])
>>> found = Factored(inputs, errors)
>>> found.lengths.round(3).tolist()  # length of the error times that of the input
[0.707, 0.283]
>>> found.along(found.mean([1.0, 0.0])).round(3).tolist()  # inner products with the first one's gradient
[0.5, 0.0]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tilth.kernels import softmax
from tilth.models.linear import Linear, Rows

__all__ = ["Factored", "Gradients", "Predicted", "Sketched", "Stepped"]

Floats = npt.NDArray[np.float64]


class Gradients(Protocol):
    """Gradients of n records under one model."""

    @property
    def lengths(self) -> Floats:
        """(n,) their lengths."""
        ...

    def mean(self, weights: npt.ArrayLike) -> Any:
        """Their weighted mean, in whatever form `along` takes; weights need not sum to 1 and may be negative."""
        ...

    def along(self, direction: Any) -> Floats:
        """(n,) inner products with such a mean, of gradients under the same model."""
        ...


@dataclass(frozen=True)
class Factored:
    """A classifier's: inputs of the last layer, sparse or (n, width), and errors (n, classes)."""

    inputs: Rows | npt.NDArray[Any]
    errors: npt.NDArray[Any]

    @property
    def lengths(self) -> Floats:
        """See `Gradients`."""
        if isinstance(self.inputs, Rows):
            squares = np.bincount(_owners(self.inputs), self.inputs.values.astype(float) ** 2, len(self.inputs))
        else:
            squares = (self.inputs.astype(float) ** 2).sum(1)
        return np.asarray(np.linalg.norm(self.errors.astype(np.float64), axis=1) * np.sqrt(squares))

    def mean(self, weights: npt.ArrayLike) -> Linear | Floats:
        """See `Gradients`."""
        share = _shares(weights)
        errors = np.asarray(self.errors * share[:, None], np.float64)
        if not isinstance(self.inputs, Rows):
            return np.asarray(self.inputs.T.astype(float) @ errors)
        found = _nothing(self.inputs, self.errors.shape[1])
        _add(found, self.inputs, errors)
        return found

    def along(self, direction: Linear | Floats) -> Floats:
        """See `Gradients`."""
        if isinstance(direction, Linear):
            assert isinstance(self.inputs, Rows)
            return np.asarray((self.errors * direction.logits(self.inputs)).sum(1))
        assert not isinstance(self.inputs, Rows)
        return np.asarray((self.errors * (self.inputs @ direction)).sum(1))


@dataclass(frozen=True)
class Predicted:
    """As `Factored`, of more records than there is room for errors of: these are made some at a time, when asked for.

    Attributes:
        inputs: features of the records, scaled where a gradient's are.
        rows: features that the model predicts from.
    """

    model: Linear
    inputs: Rows
    rows: Rows
    labels: npt.NDArray[np.int64]
    block: int = 1 << 14

    @property
    def lengths(self) -> Floats:
        """See `Gradients`."""
        return np.concatenate([np.zeros(0), *(part.lengths for _, part in self._blocks())])

    def mean(self, weights: npt.ArrayLike) -> Linear:
        """See `Gradients`."""
        share = _shares(weights)
        found = _nothing(self.inputs, self.model.bias.size)
        for start, part in self._blocks():
            assert isinstance(part.inputs, Rows)
            _add(found, part.inputs, part.errors * share[start : start + len(part.inputs), None])
        return found

    def along(self, direction: Linear) -> Floats:
        """See `Gradients`."""
        return np.concatenate([np.zeros(0), *(part.along(direction) for _, part in self._blocks())])

    def _blocks(self) -> Iterator[tuple[int, Factored]]:
        for start in range(0, len(self.rows), self.block):
            some = np.arange(start, min(start + self.block, len(self.rows)))
            errors = self.model.errors(self.rows.take(some), self.labels[some]).astype(np.float32)
            yield start, Factored(self.inputs.take(some), errors)


@dataclass(frozen=True)
class Sketched:
    """(n, numbers): a language model's, shortened; or a classifier's that are no longer a product of two factors."""

    values: npt.NDArray[Any]

    @property
    def lengths(self) -> Floats:
        """See `Gradients`."""
        return np.asarray(np.linalg.norm(self.values.astype(np.float64), axis=1))

    def mean(self, weights: npt.ArrayLike) -> Floats:
        """See `Gradients`."""
        return np.asarray(_shares(weights) @ self.values.astype(np.float64))

    def along(self, direction: Floats) -> Floats:
        """See `Gradients`."""
        return np.asarray(self.values.astype(np.float64) @ np.ravel(direction))


@dataclass(frozen=True)
class Stepped:
    """Gradients over the roots of the optimizer's second moments: the step it would make of each, but for its size.

    They are made some at a time, as they are no products of two factors any more.

    Attributes:
        inputs, errors: the factors of the gradients, (n, width) and (n, classes).
        second: the moments, (width, classes).
    """

    inputs: npt.NDArray[Any]
    errors: npt.NDArray[Any]
    second: npt.NDArray[Any]

    @property
    def lengths(self) -> Floats:
        """See `Gradients`."""
        return np.concatenate([np.zeros(0), *(np.linalg.norm(steps, axis=1) for steps in self._blocks())])

    def mean(self, weights: npt.ArrayLike) -> Floats:
        """See `Gradients`."""
        share, total, start = _shares(weights), np.zeros(self.second.size), 0
        for steps in self._blocks():
            total += share[start : start + len(steps)] @ steps
            start += len(steps)
        return total

    def along(self, direction: Floats) -> Floats:
        """See `Gradients`."""
        return np.concatenate([np.zeros(0), *(steps @ np.ravel(direction) for steps in self._blocks())])

    def _blocks(self, numbers: int = 1 << 22) -> Iterator[Floats]:
        size = numbers // self.second.size + 1
        scale = 1 / np.sqrt(np.maximum(self.second.astype(np.float64), 1e-30))
        for start in range(0, len(self.inputs), size):
            part = slice(start, start + size)
            inputs, errors = (f[part].astype(np.float64) for f in (self.inputs, self.errors))
            yield (inputs[:, :, None] * errors[:, None] * scale).reshape(len(inputs), -1)


def _nothing(rows: Rows, classes: int) -> Linear:
    """Weights of 0 for every column that occurs."""
    occurs = np.zeros(rows.width, np.bool_)
    occurs[rows.indices] = True
    place = np.where(occurs, np.cumsum(occurs) - 1, -1).astype(np.int32)
    return Linear(place, np.zeros((int(occurs.sum()), classes), np.float32), np.zeros(classes, np.float32))


def _add(total: Linear, rows: Rows, errors: Floats) -> None:
    """Add the product of the two factors to the weights."""
    softmax.products(rows.indptr, rows.indices, rows.values, total.place, errors, total.weights)


def _shares(weights: npt.ArrayLike) -> Floats:
    w = np.asarray(weights, np.float64)
    total = float(np.abs(w).sum())
    return w / total if total else w


def _owners(rows: Rows) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
