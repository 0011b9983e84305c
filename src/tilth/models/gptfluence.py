"""A simulator of training: from which records are in each batch to the loss of each target item after it.

Training runs are recorded once: the records of every batch and the items' losses before the first and after each. The
loss of item z' after step t is then told from the losses before and the batch c,

    y_t(z') = sum_j alpha_j(c, z') y_{t-j}(z') + beta(c, z'),      j = 1 to `order`

where alpha_1 is 1 plus, and the other coefficients are, the mean over the batch of an inner product of what two small
networks (two layers, ReLU) make of the record's and the item's vectors. Networks start where all products are 0: at
"nothing changes", which is a strong guess. They are fitted to one step at a time, from true losses; the answer is a
roll-out, which sees a true loss at the start only. As records and items are vectors, not numbers, runs over records and
items that no recorded run had can be simulated.

Cost: records and items of a step times the networks' sizes; thousands of steps a second. Trap: a fit to single steps
says nothing of how errors add up over a run: judge it by roll-outs of runs that it has not seen. Source: GPTfluence,
Chai et al. 2024, arXiv 2404.07840; the official networks differ in detail.

>>> rng = np.random.default_rng(0)
>>> records, items = rng.normal(size=(60, 4)), rng.normal(size=(5, 4))
>>> batches = rng.integers(0, 60, (8, 25, 4))
>>> losses = np.ones((8, 26, 5))
>>> for t in range(25):  # records that point an item's way lower its loss
...     losses[:, t + 1] = 0.99 * losses[:, t] - 0.01 * (records[batches[:, t]].mean(1) @ items.T)
>>> simulator = fit(Curves(batches[:6], losses[:6]), records, items, rng, passes=100)
>>> told = simulator.roll_out(batches[6:], losses[6:, :1], records, items)
>>> bool(((told - losses[6:]) ** 2).mean() < 0.3 * ((losses[6:, :1] - losses[6:]) ** 2).mean())
True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Curves", "Simulator", "fit"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Recorded runs.

    Attributes:
        batches: (runs, steps, batch) row numbers of the records of each step.
        losses: (runs, steps + 1, items) before the first step and after each.
    """

    batches: Ints
    losses: Floats


@dataclass(frozen=True)
class Network:
    """Two layers: vectors (n, d) to `heads` vectors each, (n, heads, rank)."""

    first: Floats
    bias: Floats
    second: Floats
    heads: int

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """What comes out, and the hidden layer."""
        hidden = np.maximum(x @ self.first + self.bias, 0)
        return (hidden @ self.second).reshape(len(x), self.heads, -1), hidden

    def back(self, x: Floats, hidden: Floats, d: Floats) -> list[Floats]:
        """Gradients of the three weights."""
        flat = d.reshape(len(x), -1)
        inside = (flat @ self.second.T) * (hidden > 0)
        return [x.T @ inside, inside.sum(0), hidden.T @ flat]


@dataclass(frozen=True)
class Simulator:
    """Networks of records and of items; the last head is beta's, the others are the alphas'."""

    ours: Network
    theirs: Network
    order: int
    scale: float

    def factors(self, records: Floats, items: Floats) -> Floats:
        """(n, items, order + 1): what each record adds to alphas and beta of an item, when it is the whole batch."""
        u, v = self.ours(records)[0], self.theirs(items)[0]
        out = np.einsum("nhr,mhr->nmh", u, v)
        out[..., -1] *= self.scale
        return np.asarray(out)

    def roll_out(self, batches: Ints, start: Floats, records: Floats, items: Floats) -> Floats:
        """Losses (runs, steps + 1, items) from those at the start, (runs, 1, items): no other is seen."""
        u, v = self.ours(records)[0], self.theirs(items)[0]
        losses = [start[:, 0]]
        for t in range(batches.shape[1]):
            f = np.einsum("bhr,mhr->bmh", u[batches[:, t]].mean(1), v)
            past = [losses[max(0, t - j)] for j in range(self.order)]
            step = sum((f[..., j] * y for j, y in enumerate(past)), f[..., -1] * self.scale)
            losses.append(losses[-1] + step)
        return np.stack(losses, 1)

    def influence(self, curves: Curves, records: Floats, items: Floats, others: Floats) -> Floats:
        """Change of each item's simulated final loss, (n, items), for a record's whole weight in one batch.

        To first order, and in the mean over the steps of the recorded runs at which it might be read: what it adds at
        its step, times the alphas of all later steps. With an order above 1, later losses feel it through the first
        alpha alone.

        Args:
            records: vectors of the records that the runs read.
            others: vectors of those that are asked about.
        """
        u, v = self.ours(records)[0], self.theirs(items)[0]
        runs, steps = curves.batches.shape[:2]
        keep = np.ones((runs, len(items)))
        weights = np.zeros((len(items), self.order + 1))
        for t in range(steps - 1, -1, -1):
            for j in range(self.order):
                weights[:, j] += (keep * curves.losses[:, max(0, t - j)]).sum(0)
            weights[:, -1] += keep.sum(0)
            keep = keep * (1 + np.einsum("br,mr->bm", u[curves.batches[:, t], 0].mean(1), v[:, 0]))
        return np.asarray((self.factors(others, items) * weights).sum(2) / (runs * steps))


def fit(
    curves: Curves,
    records: Floats,
    items: Floats,
    rng: np.random.Generator,
    *,
    order: int = 1,
    hidden: int = 64,
    rank: int = 16,
    passes: int = 30,
    rate: float = 3e-3,
    decay: float = 1e-3,
    group: int = 32,
) -> Simulator:
    """Fit to recorded runs, one step at a time (AdamW, the rate falling linearly).

    Args:
        records, items: vectors, (n, d) and (items, d).
        passes: how often each recorded step is seen.
        group: recorded steps that are looked at together.
    """
    change = np.diff(curves.losses, axis=1)
    scale = float(change.std()) or 1.0
    level = float(np.abs(curves.losses).mean()) or 1.0

    def network(d: int, last: float) -> Network:
        draw = (
            rng.normal(size=(d, hidden)) / np.sqrt(d),
            rng.normal(size=(hidden, rank * (order + 1))) / np.sqrt(hidden),
        )
        return Network(draw[0] * np.sqrt(2), np.zeros(hidden), draw[1] * last, order + 1)

    ours, theirs = network(records.shape[1], 0.0), network(items.shape[1], 1.0)
    weights = [ours.first, ours.bias, ours.second, theirs.first, theirs.bias, theirs.second]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    runs, steps, batch = curves.batches.shape
    places = np.array([(run, t) for run in range(runs) for t in range(steps)])
    total, done = passes * -(-len(places) // group), 0
    for _ in range(passes):
        for some in np.array_split(rng.permutation(places), -(-len(places) // group)):
            run, t = some.T
            who = curves.batches[run, t]  # (S, batch)
            x = records[who.ravel()]
            (u, mine), (v, other) = ours(x), theirs(items)
            mean = u.reshape(len(some), batch, order + 1, rank).mean(1)
            past = [curves.losses[run, np.maximum(0, t - j)] / level for j in range(order)]
            inputs = np.stack([*past, np.ones_like(past[0])], 2)  # (S, items, order + 1)
            error = (np.einsum("shr,mhr->smh", mean, v) * inputs).sum(2) - change[run, t] / scale
            d = error[..., None] * inputs * (2 / error.size)
            to_u = np.repeat(np.einsum("smh,mhr->shr", d, v) / batch, batch, 0)
            to_v = np.einsum("smh,shr->mhr", d, mean)
            grads = [*ours.back(x, mine, to_u), *theirs.back(items, other, to_v)]
            done += 1
            speed = rate * (1 - (done - 1) / total)
            for w, g, (m, s) in zip(weights, grads, moments, strict=True):
                m += 0.1 * (g - m)
                s += 0.01 * (g * g - s)
                w *= 1 - speed * decay
                w -= speed * (m / (1 - 0.9**done)) / (np.sqrt(s / (1 - 0.99**done)) + 1e-8)
    second = ours.second.reshape(hidden, order + 1, rank).copy()
    second[:, :-1] *= scale / level  # the alphas were fitted to losses and changes in units of their own
    found = Network(ours.first, ours.bias, second.reshape(hidden, -1), order + 1)
    return Simulator(found, theirs, order, scale)
