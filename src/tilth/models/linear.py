"""Linear: softmax regression on hashed n-grams, the text classifier that is fitted a thousand times.

With ``x`` the row of a text, ``W`` and ``b`` the weights and ``w`` the examples' weights, it minimises

    sum_i w_i -log softmax(x_i W + b)[y_i] / sum_i w_i + l2 / 2 |W|^2          (the bias is free)

in one of two ways. `epochs` makes one pass after another over the examples (AdaGrad with one step size per feature)
and yields the model after each: early models, for what is measured while a model still learns, cost no more than late
ones. `solve` goes to the optimum (L-BFGS). Both start from zero weights and see randomness only in the order of
examples, so a model is a function of the data and the generator given.

Cost: features about 60 MB of text a second; a pass over 10,000 sentences 7 ms with 2 classes and 15 ms with 77.
Trap: the bag knows no order beyond its n-grams, and a pass with a high rate is not the optimum: probabilities are
calibrated when it has converged, or stopped early enough, not in between. Sources: Duchi et al. 2011 for AdaGrad, with
one accumulator per feature instead of one per weight; Weinberger et al. 2009 for hashing.

>>> import numpy as np
>>> from tilth.core import Run
>>> texts = ["warm rain on soil", "rain and soil", "stocks fell on monday", "bonds and stocks rose"]
>>> rows, labels = Rows.of(texts), np.array([0, 0, 1, 1])
>>> model = solve(rows, labels, classes=2, l2=0.01)
>>> model.probabilities(Rows.of(["soil", "stocks"])).argmax(1).tolist()
[0, 1]
>>> early, late = [m.gold(rows, labels).mean() for m in epochs(rows, labels, 2, 9, Run().rng("order"))][::8]
>>> bool(0.5 < early < late < 1)
True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.kernels import softmax
from tilth.kernels.features import hashed_rows

__all__ = ["Linear", "Rows", "encode_labels", "epochs", "pieces", "solve"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Sparse rows of features (CSR).

    Attributes:
        width: number of columns.
    """

    indptr: Ints
    indices: Places
    values: Reals
    width: int

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray | Sequence[str], ngrams: int = 2, buckets: int = 1 << 18) -> Rows:
        """Hashed n-grams of lower-cased words: logarithm of one plus the count, each row of length one.

        Args:
            ngrams: longest n-gram.
            buckets: columns; n-grams that fall into one share a weight.
        """
        column = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.string())
        indptr, indices, counts = hashed_rows(column, ngrams, buckets)
        values = np.log1p(counts)
        squares = np.add.reduceat(np.append(values * values, np.float32(0)), indptr[:-1]) if indptr.size > 1 else counts
        length = np.diff(indptr)
        norm = np.sqrt(np.where(length > 0, squares, 1.0)).astype(np.float32)
        return cls(indptr, indices, (values / np.repeat(norm, length)).astype(np.float32, copy=False), buckets)

    def __len__(self) -> int:
        return self.indptr.size - 1

    def take(self, rows: npt.ArrayLike) -> Rows:
        """These rows, in this order, repeats allowed."""
        rows = np.asarray(rows, np.int64)
        length = np.diff(self.indptr)[rows]
        indptr = np.zeros(rows.size + 1, np.int64)
        np.cumsum(length, out=indptr[1:])
        place = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], length)
        return Rows(indptr, self.indices[place], self.values[place], self.width)


@dataclass(frozen=True)
class Linear:
    """A fitted softmax regression.

    Attributes:
        place: (width,) position in `weights` of each column, -1 for those no training row has.
        weights: (seen columns, classes).
        bias: (classes,).
        squares: (seen columns,) what AdaGrad had added up of squared gradients of each column; None after `solve`.
    """

    place: Places
    weights: Reals
    bias: Reals
    squares: Reals | None = None

    def logits(self, rows: Rows) -> Floats:
        """(n, classes)."""
        out = np.empty((len(rows), self.bias.size))
        softmax.logits(rows.indptr, rows.indices, rows.values, self.place, self.weights, self.bias, out)
        return out

    def inputs(self, rows: Rows) -> Any:
        """A scipy matrix (n, seen columns + 1): the columns that the model knows, and a constant 1 for the bias."""
        from scipy.sparse import csr_array, hstack

        place = self.place[rows.indices]
        known = place >= 0
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))[known]
        shape = (len(rows), len(self.weights))
        body = csr_array((rows.values[known].astype(np.float64), (owner, place[known])), shape=shape)
        return csr_array(hstack([body, np.ones((len(rows), 1))]))

    def log_probabilities(self, rows: Rows) -> Floats:
        """(n, classes), natural logarithm."""
        z = self.logits(rows)
        z -= z.max(1, keepdims=True)
        return np.asarray(z - np.log(np.exp(z).sum(1, keepdims=True)))

    def probabilities(self, rows: Rows) -> Floats:
        """(n, classes), rows sum to 1."""
        return np.asarray(np.exp(self.log_probabilities(rows)))

    def gold(self, rows: Rows, labels: npt.ArrayLike) -> Floats:
        """The probability of each row's own label."""
        return np.asarray(self.probabilities(rows)[np.arange(len(rows)), np.asarray(labels, np.int64)])

    def errors(self, rows: Rows, labels: npt.ArrayLike) -> Floats:
        """(n, classes): probabilities minus one-hot labels; their length is EL2N."""
        out = self.probabilities(rows)
        out[np.arange(len(rows)), np.asarray(labels, np.int64)] -= 1.0
        return out


def encode_labels(labels: Sequence[str | None], names: Sequence[str] | None = None) -> tuple[Ints, tuple[str, ...]]:
    """Labels as numbers, and the classes' names, sorted; -1 for a label that is missing or not among `names`."""
    found = tuple(sorted({v for v in labels if v is not None})) if names is None else tuple(names)
    place = {name: i for i, name in enumerate(found)}
    return np.array([-1 if v is None else place.get(v, -1) for v in labels], np.int64), found


def epochs(
    rows: Rows,
    labels: npt.ArrayLike,
    classes: int,
    passes: int,
    rng: np.random.Generator,
    *,
    weights: npt.ArrayLike | None = None,
    l2: float = 1e-5,
    rate: float = 1.0,
) -> Iterator[Linear]:
    """The model after each of `passes` passes over the examples, in a new order each.

    Args:
        labels: class numbers, 0 to ``classes - 1``.
        weights: how much each example counts; 0 leaves it out.
        rate: step size of a feature's first step; AdaGrad lowers it from there.
    """
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    order = np.flatnonzero(w > 0)
    orders = (rng.permutation(order) for _ in range(passes))
    return pieces(rows, labels, classes, orders, weights=weights, l2=l2, rate=rate)


def pieces(
    rows: Rows,
    labels: npt.ArrayLike,
    classes: int,
    orders: Iterable[Ints],
    *,
    weights: npt.ArrayLike | None = None,
    l2: float = 1e-5,
    rate: float = 1.0,
) -> Iterator[Linear]:
    """The model after each of some pieces of a reading order, one training from the first to the last; see `epochs`."""
    y, w, mine, place = _prepared(rows, labels, weights, classes)
    seen = int(place.max(initial=-1)) + 1
    table, bias = np.zeros((seen, classes), np.float32), np.zeros(classes, np.float32)
    squares, last = np.zeros(seen + 1), np.zeros(seen, np.int64)
    scale = w / w[w > 0].mean()
    step = 0
    for order in orders:
        step = softmax.epoch(
            order, rows.indptr, mine, rows.values, y, scale, table, bias, squares, last, step, l2, rate
        )
        yield Linear(place, table.copy(), bias.copy(), squares[:-1].astype(np.float32))


def solve(
    rows: Rows,
    labels: npt.ArrayLike,
    classes: int,
    *,
    weights: npt.ArrayLike | None = None,
    l2: float = 1e-5,
    tolerance: float = 1e-5,
    steps: int = 1000,
) -> Linear:
    """The optimum, or the best of `steps` steps of L-BFGS.

    Args:
        tolerance: largest entry of the objective's gradient at which it stops.
    """
    from scipy.optimize import minimize

    y, w, mine, place = _prepared(rows, labels, weights, classes)
    seen = int(place.max(initial=-1)) + 1
    share = w / w.sum()

    def objective(flat: Floats) -> tuple[float, Floats]:
        table = flat.reshape(seen + 1, classes)
        gradient = np.zeros_like(table)
        loss = softmax.objective(rows.indptr, mine, rows.values, y, share, table, gradient)
        gradient[:seen] += l2 * table[:seen]
        return loss + 0.5 * l2 * float((table[:seen] ** 2).sum()), gradient.ravel()

    options = {"maxiter": steps, "maxfun": 2 * steps, "gtol": tolerance, "ftol": 0.0, "maxcor": 10}
    found = minimize(objective, np.zeros((seen + 1) * classes), jac=True, method="L-BFGS-B", options=options)
    table = found.x.reshape(seen + 1, classes).astype(np.float32)
    return Linear(place, table[:seen], table[seen])


def _prepared(
    rows: Rows, labels: npt.ArrayLike, weights: npt.ArrayLike | None, classes: int
) -> tuple[Ints, Floats, Places, Places]:
    """Labels, weights, the rows' columns renumbered to those that occur, and the renumbering."""
    y = np.asarray(labels, np.int64)
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if y.size != len(rows) or w.size != len(rows):
        raise ValueError(f"{len(rows)} rows have {y.size} labels and {w.size} weights")
    if not (w >= 0).all() or w.sum() <= 0:
        raise ValueError("weights must not be negative, and some must be positive")
    if ((y < 0) | (y >= classes))[w > 0].any():
        raise ValueError(f"labels must be 0 to {classes - 1}")
    occurs = np.zeros(rows.width, np.bool_)
    occurs[rows.indices] = True
    place = np.where(occurs, np.cumsum(occurs) - 1, -1).astype(np.int32)
    return y, w, place[rows.indices], place
