"""Discrete functions in context (Bhattamishra et al. 2023, arXiv 2310.03016): conjunctions, parities, teaching.

A decoder of 2 layers reads points of a Boolean function of 12 bits, each with the label of the one before, and tells
the label of each. One model is trained on conjunctions, half of whose prompts begin with a teaching sequence (after
which only one conjunction is left), another on parities. Test functions are in no training prompt. Beside them stand
the learners of `tilth.models.boolean` on the same prompts. In the control the labels of each test prompt are dealt
anew, so that only their balance is left to learn. The paper has 28 bits, 12 layers and 15,000 updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.batches import reading_order
from tilth.models.boolean import Bits, elimination, gf2, majority, nearest
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.discrete_functions import DiscreteFunctions, points_of

__all__ = ["PAPER", "run"]

PAPER = "understanding_incontext_learning_in_transformers_and"
SEEDS = 3
Floats = npt.NDArray[np.float64]
Points = list[tuple[Bits, Bits]]


@dataclass(frozen=True)
class Scale:
    """The functions, how many prompts there are to train on, and the training."""

    bits: int = 12
    points: int = 40
    prompts: int = 10_000
    depth: int = 2
    steps: int = 2500
    batch: int = 32


@dataclass(frozen=True)
class Found:
    """Shares of right labels in the last quarter of test prompts without teaching, and at points that follow teaching.

    Attributes:
        late: of the model; `exact` of the algorithm that is made for the class, `simple` of nearest neighbours, and
            `frequent` of the more frequent label so far.
        taught: after the teaching sequence, in prompts that begin with one, five points; `random` at as late points
            of prompts without.
        dealt: late, with labels dealt anew in each prompt; `balance` is what the more frequent label gets of these.
    """

    late: float
    exact: float
    simple: float
    frequent: float
    taught: float
    random: float
    dealt: float
    balance: float


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    shape = {"bits": scale.bits, "points": scale.points}
    conjunctions, parities = DiscreteFunctions(teaching=0.5, **shape), DiscreteFunctions(family="parity", **shape)
    return statements(
        [measured(conjunctions, Run(seed=seed), scale) for seed in seeds],
        [measured(parities, Run(seed=seed), scale) for seed in seeds],
    )


def statements(conjunctions: Sequence[Found], parities: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed for both classes."""

    def of(found: Sequence[Found], field: str) -> Floats:
        return np.array([getattr(f, field) for f in found])

    late, parity, best = of(conjunctions, "late"), of(parities, "late"), of(parities, "exact")
    taught, random = of(conjunctions, "taught"), of(conjunctions, "random")
    more, sooner = late - of(conjunctions, "frequent"), taught - random
    many = taught - late
    dealt = of(conjunctions, "dealt") - of(conjunctions, "balance")
    return [
        lab.row("conjunctions without teaching, last quarter", "at least 0.95", late, late.mean() >= 0.95),
        lab.row("conjunctions less the more frequent label so far", "above 0", more, lab.mean(more)[1] > 0),
        lab.row("parities, last quarter", "about 0.5 (here: within 0.03)", parity, abs(parity.mean() - 0.5) <= 0.03),
        lab.row("Gaussian elimination on the same parities", "1", best, best.mean() >= 0.99),
        lab.row("conjunctions, the five points after teaching", "error near 0 (here: at least 0.98)", taught,
                taught.mean() >= 0.98),
        lab.row("the same places of prompts without teaching", "at most 0.9", random, random.mean() <= 0.9),
        lab.row("after teaching less without", "above 0", sooner, lab.mean(sooner)[1] > 0),
        lab.row("after teaching less the last quarter without, several times as many points", "above 0", many,
                lab.mean(many)[1] > 0),
        lab.row("control: labels dealt anew, less the more frequent label so far", "0 (here: at most 0.05)", dealt,
                dealt.mean() <= 0.05),
        *(lab.row(f"{name}: {what}, last quarter", "", of(found, field), None)
          for name, found, rule in (("conjunctions", conjunctions, "elimination"),
                                    ("parities", parities, "Gaussian elimination"))
          for what, field in ((rule, "exact"), ("nearest neighbour", "simple"), ("more frequent label", "frequent"))),
    ]  # fmt: skip


def measured(probe: DiscreteFunctions, run: Run, scale: Scale) -> Found:
    """Train on the pool and be tested on functions that it does not have."""
    world = probe.build(scale.prompts, run)
    train, test = (_points(pool) for pool in (world.pool, world.more["test"]))
    taught = np.array(world.more["test"].column("truth.taught").to_pylist())
    rng = run.rng("control")
    dealt = [(x, rng.permutation(y)) for x, y in test]
    with threads(1):
        model = lab.Reader(scale.depth, scale.bits + 2, 2, scale.points, run)
        options = Options(rate=model.decoder.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.learn(model, _batches(train, scale, run), scale.steps, options)
        hits, wrong = (lab.labels(model, seen(some)) == np.stack([y for _, y in some]) for some in (test, dealt))
    algorithm = gf2 if "parity" in probe.family else elimination
    exact, simple, frequent = (
        np.stack([learner(x, y) == y for x, y in test]) for learner in (algorithm, nearest, majority)
    )
    balance = np.stack([majority(x, y) == y for x, y in dealt])
    after, same = _after(hits, taught)
    quarter = slice(-max(1, scale.points // 4), None)
    late, best, near, often, lost, even = (
        float(some[taught == 0, quarter].mean()) for some in (hits, exact, simple, frequent, wrong, balance)
    )
    return Found(late, best, near, often, after, same, lost, even)


def seen(points: Points) -> npt.NDArray[np.float32]:
    """What the model reads: the bits of a point as -1 and 1, and which label the point before it has."""
    x = np.stack([2.0 * bits - 1 for bits, _ in points])
    y = np.stack([labels for _, labels in points]).astype(np.int64)
    before = np.zeros((*y.shape, 2))
    before[:, 1:] = np.eye(2)[y[:, :-1]]
    return np.concatenate([x, before], 2).astype(np.float32)


def _after(hits: npt.NDArray[np.bool_], taught: npt.NDArray[np.int64], window: int = 5) -> tuple[float, float]:
    """Right at the points after teaching, and as late in prompts without; nan where there is no teaching."""
    if not taught.any():
        return float("nan"), float("nan")
    rows = np.flatnonzero(taught)
    after = np.mean([hits[i, taught[i] : taught[i] + window].mean() for i in rows])
    without = hits[taught == 0]
    same = np.mean([without[:, taught[i] : taught[i] + window].mean() for i in rows])
    return float(after), float(same)


def _points(pool: Pool) -> Points:
    return [points_of(text) for text in pool.column("text").to_pylist()]


def _batches(points: Points, scale: Scale, run: Run) -> lab.Batches:
    x, y = seen(points), np.stack([labels for _, labels in points]).astype(np.int64)
    times = -(-scale.steps * scale.batch // len(points))
    order = reading_order(np.full(len(points), times), run.rng("order"))
    for step in range(scale.steps):
        rows = order[step * scale.batch : (step + 1) * scale.batch]
        yield x[rows], y[rows]
