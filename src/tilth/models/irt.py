"""Item response theory: how hard is each item, how able is each model, from who answered what right?

    P(model m is right on item i) = sigmoid(a_i (theta_m - b_i))

`theta` is the ability of a model, `b` the difficulty of an item and `a` its discrimination. With one parameter all
items share `a`; with two each has its own. An answer that was not asked for takes no part: it is not a wrong one.

Data for language models have few models and many items, so items are what is drawn at random here, from
b ~ N(mean, spread^2) and log a ~ N(mean, `SPREAD`^2), means and spread of b estimated. Items are integrated out, and
abilities maximise the marginal likelihood with theta ~ N(0, 1) before them (EM, Bock and Aitkin 1981, with the two
sides exchanged). That stays right with ten models, where maximising over both sides at once does not (Neyman and Scott
1948). After every round abilities have mean 0 and variance 1, their uncertainty included, or b and theta would drift.

An item's difficulty is its posterior mean and its error the posterior standard deviation, given the abilities. So items
that all got right, or all wrong, are finite, with wide errors, and a new item can be judged by the same abilities.

Cost: 5 to 50 rounds, each some 10 ns times answers times quadrature points (3 to 25). Equal rows are done once, so
twelve models that were asked everything cost at most 4,096 rows. Trap: errors take abilities as known, which they are
with hundreds of items, and models as independent, which relatives are not. Difficulty is for these models, not people.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> able, hard = rng.normal(size=30), rng.normal(size=300)
>>> right = rng.random((300, 30)) < 1 / (1 + np.exp(hard[:, None] - able))
>>> model = fit(right.astype(np.int8))
>>> float(np.corrcoef(model.theta, able)[0, 1].round(2)), float(np.corrcoef(model.rate(right).b, hard)[0, 1].round(2))
(0.98, 0.92)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tilth.kernels import irt as kernel

__all__ = ["Abilities", "Items", "fit", "split_half"]

Floats = npt.NDArray[np.float64]
Answers = npt.NDArray[np.int8]
MISSING: Final = -1
SPREAD: Final = 0.3
"""Standard deviation of log discrimination."""
SIDES: Final = (5, 3)
"""Quadrature points per parameter: with few models, and with more, when posteriors are close to normal."""
FEW: Final = 50
LIMIT: Final = 3.0
"""Largest absolute logarithm of the common discrimination, where the data set no limit."""


@dataclass(frozen=True)
class Items:
    """What is known about items: posterior means and standard deviations.

    Attributes:
        b: difficulty.
        b_error: its standard error.
        a: discrimination.
        a_error: its standard error; 0 where it is common to all.
        log_likelihood: of each item's answers, its parameters integrated out.
        answers: how many models were asked.
    """

    b: Floats
    b_error: Floats
    a: Floats
    a_error: Floats
    log_likelihood: Floats
    answers: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Abilities:
    """Models, and the distribution of items.

    Attributes:
        theta: ability of each model; mean 0, and variance 1 with the square of the errors added.
        error: its standard error, from the expected information.
        prior: mean and standard deviation of difficulty; mean and standard deviation of log discrimination.
        two: whether each item has its own discrimination.
        rounds: rounds until abilities moved by less than the tolerance.
    """

    theta: Floats
    error: Floats
    prior: Floats
    two: bool
    rounds: int

    def rate(self, answers: npt.ArrayLike) -> Items:
        """Each item by its own answers alone, (items, models): 1 right, 0 wrong, -1 not asked."""
        rows = np.ascontiguousarray(answers, np.int8)
        modes = np.tile(self.prior[[0, 2]], (len(rows), 1))
        moments, _ = _round(rows, np.ones(len(rows)), self.theta, self.prior, self.two, modes)
        a = np.exp(moments[:, 2])
        error = np.sqrt(moments[:, 3]) * a if self.two else np.zeros(len(rows))
        return Items(moments[:, 0], np.sqrt(moments[:, 1]), a, error, moments[:, 4], moments[:, 5].astype(np.int64))


def fit(answers: npt.ArrayLike, parameters: int = 1, rounds: int = 300, tolerance: float = 1e-4) -> Abilities:
    """Abilities of the models, and the distribution of the items.

    Args:
        answers: (items, models): 1 right, 0 wrong, -1 not asked.
        parameters: 1 or 2 per item.
        rounds: at most.
        tolerance: largest change of an ability, or of the items' distribution, at which to stop.
    """
    two = parameters == 2
    rows, counts = _distinct(np.ascontiguousarray(answers, np.int8))
    asked, right = (rows >= 0) * counts[:, None], (rows == 1) * counts[:, None]
    share = (right.sum(0) + 0.5) / (asked.sum(0) + 1.0)
    theta = np.log(share / (1 - share))
    prior = np.array([-float(theta.mean()) if theta.size else 0.0, 1.5, 0.0, SPREAD])
    error = np.zeros(theta.size)
    theta, error, prior, _ = _anchored(theta, error, prior)
    modes = np.tile(prior[[0, 2]], (len(rows), 1))
    done = 0
    while done < rounds and rows.size:
        done += 1
        before = np.concatenate([theta, prior])
        moments, scores = _round(rows, counts, theta, prior, two, modes)
        information = scores[1, :-1] + 1.0
        theta = theta + np.clip((scores[0, :-1] - theta) / information, -1, 1)
        prior = _items(moments, counts, prior, scores, two)
        theta, error, prior, shift = _anchored(theta, 1 / np.sqrt(information), prior)
        modes = (modes - [shift[0], 0.0]) / [shift[1], 1.0] + [0.0, np.log(shift[1])]
        if np.abs(np.concatenate([theta, prior]) - before).max() < tolerance:
            break
    return Abilities(theta, error, prior, two, done)


def split_half(answers: npt.ArrayLike, rng: np.random.Generator, parameters: int = 1, splits: int = 5) -> float:
    """Reliability of difficulty: rank correlation between halves of the models, stepped up to all of them.

    Each of `splits` random halvings gives difficulties from either half, fitted apart; their mean Spearman correlation
    r becomes 2 r / (1 + r), the correlation to expect from twice as many models (Spearman and Brown 1910). Items that a
    half was not asked for at all are left out.
    """
    from scipy.stats import spearmanr

    rows = np.ascontiguousarray(answers, np.int8)
    found = []
    for _ in range(splits):
        order = rng.permutation(rows.shape[1])
        halves = [rows[:, np.sort(part)] for part in np.array_split(order, 2)]
        one, two = (fit(half, parameters).rate(half) for half in halves)
        both = (one.answers > 0) & (two.answers > 0)
        found.append(float(spearmanr(one.b[both], two.b[both]).statistic))
    r = float(np.mean(found))
    return 2 * r / (1 + r)


def _distinct(rows: Answers) -> tuple[Answers, Floats]:
    """Distinct rows with any answer, and how many there are of each."""
    rows = np.where(rows < 0, np.int8(MISSING), rows)
    rows = np.ascontiguousarray(rows[(rows >= 0).any(1)]) if rows.size else rows[:0]
    if not len(rows):
        return rows, np.zeros(0)
    whole = rows.view(np.dtype((np.void, rows.shape[1])))[:, 0]
    _, first, counts = np.unique(whole, return_index=True, return_counts=True)
    return rows[first], counts.astype(np.float64)


def _round(
    rows: Answers, counts: Floats, theta: Floats, prior: Floats, two: bool, modes: Floats
) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(SIDES[theta.size >= FEW])
    moments, scores = np.zeros((len(rows), kernel.MOMENTS)), np.zeros((2, theta.size + 1))
    kernel.items(rows, counts, theta, prior, two, nodes, weights / weights.sum(), modes, moments, scores)
    return moments, scores


def _items(moments: Floats, counts: Floats, prior: Floats, scores: Floats, two: bool) -> Floats:
    """The distribution of items that their posteriors add up to."""
    share = counts / counts.sum()
    mean = float(share @ moments[:, 0])
    spread = float(share @ (moments[:, 1] + (moments[:, 0] - mean) ** 2)) ** 0.5
    step = scores[0, -1] / max(scores[1, -1], 1e-9)  # what lies below is the common one: all items' own, or none's
    log_a = float(share @ moments[:, 2]) if two else float(prior[2] + np.clip(step, -0.5, 0.5))
    return np.array([mean, max(spread, 0.05), np.clip(log_a, -LIMIT, LIMIT), prior[3]])


def _anchored(theta: Floats, error: Floats, prior: Floats) -> tuple[Floats, Floats, Floats, tuple[float, float]]:
    """The same model on the scale where abilities have mean 0 and variance 1."""
    mean = float(theta.mean()) if theta.size else 0.0
    scale = float(np.mean((theta - mean) ** 2 + error**2)) ** 0.5 if theta.size else 1.0
    if scale < 1e-6:  # models that cannot be told apart set no scale
        scale = 1.0
    moved = np.array([(prior[0] - mean) / scale, prior[1] / scale, prior[2] + np.log(scale), prior[3]])
    return (theta - mean) / scale, error / scale, moved, (mean, scale)
