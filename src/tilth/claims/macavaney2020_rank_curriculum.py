"""Training curricula for answer re-ranking (MacAvaney et al. 2020, arXiv 2004.14269): easy pairs count fully first.

Passages name three things each among words that mean nothing; a query asks for one by its things. In easy queries they
have the names that passages use; in hard ones two of three have another name, which passages never use, so that a
ranker of words finds many passages as good as the right one. Which name is whose is the rule to be learned. The signal
`rank_easiness` tells easy from hard by BM25, the policy `rank_curriculum` makes weights of it, and a bi-encoder of one
layer is trained on the pairs, each with a wrong passage that BM25 ranks high: with weights that rise to 1, without
weights, and with those of 1 - easiness. The measure is the reciprocal rank of the right passage among all, for new
queries about new passages.

The paper tunes BERT as a cross-encoder on three collections. Not run: real text, and a model that knows words before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.bm25 import BM25
from tilth.models.optim import Options
from tilth.models.train import Examples, rising, threads
from tilth.models.tune import Texts, embed, train_contrastive
from tilth.policies.order.rank_curriculum import RankCurriculum
from tilth.signals.difficulty.rank_easiness import RankEasiness

__all__ = ["PAPER", "run"]

PAPER = "training_curricula_for_open_domain_answer"
SEEDS = 5
ARMS = ("none", "curriculum", "anti")
MORE = 0.02  # of the reciprocal rank, which the ledger asks for
REACHED = 0.9  # part of what training without weights ends at
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The world and the training.

    Attributes:
        things: what can be asked for; each has two names.
        passages, held: with a query to train on each, and others whose queries are held out.
        hard: share of the queries with other names.
        end: epoch from which all pairs count alike.
    """

    things: int = 300
    fillers: int = 30
    passages: int = 1200
    held: int = 300
    hard: float = 0.5
    epochs: int = 12
    end: float = 6.0
    batch: int = 32
    width: int = 64
    rate: float = 3e-3


@dataclass(frozen=True)
class World:
    """Pairs with a wrong passage each, and held-out queries.

    Attributes:
        pool: to learn from, kind retrieval.
        hard: which queries have other names; of the pool's, and of the held-out ones.
        passages: of the pool, in its order, then of the held-out queries.
        asked: the held-out queries.
        vocab: of all.
    """

    pool: TablePool
    hard: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
    passages: Sequence[str]
    asked: Sequence[str]
    vocab: lab.Vocab


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str = "end") -> Floats:
        return np.array([one[arm][name] for one in found])

    gain = of("curriculum") / of("none") - 1
    sooner = of("curriculum", "steps") / of("none", "steps") - 1
    behind = of("anti") - np.minimum(of("none"), of("curriculum"))
    right = of("curriculum", "weights as they should be")
    return [
        lab.row("reciprocal rank at the end, curriculum over none", f"at least {MORE:+.0%}", gain,
                gain.mean() >= MORE and lab.mean(gain)[1] > 0),
        lab.row(f"or steps to {REACHED:.0%} of none's end, curriculum over none", "below 0", sooner,
                lab.mean(sooner)[2] < 0),
        lab.row("anti-curriculum less the lower of the two", "below 0", behind, lab.mean(behind)[2] < 0),
        lab.row("weights rise, lie in [D, 1] and are 1 from the end on", "1", right, bool((right == 1).all())),
        *(lab.row(f"{arm}: reciprocal rank, {name}", "", of(arm, name), None)
          for name in ("end", "easy", "hard", "half way") for arm in ARMS),
        *(lab.row(f"{arm}: steps to {REACHED:.0%} of none's end", "", of(arm, "steps"), None) for arm in ARMS),
        *(lab.row(f"easiness D of {name} pairs", "", of("none", f"easiness, {name}"), None)
          for name in ("easy", "hard")),
        lab.row("BM25: reciprocal rank", "", of("none", "BM25"), None),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """What each arm reaches, and when; for ``none`` also what easiness and BM25 are."""
    made = world(run, scale)
    scored = score_in_memory(RankEasiness(), made.pool)
    goal = Goal(made.pool, made.pool, Budget(made.pool.count, "pairs"))
    start, policy = Plan.everything(scored, goal.budget), RankCurriculum(end=scale.end)
    plans = {
        "none": start,
        "curriculum": policy.revise(start, scored, goal, run),
        "anti": policy.worst().revise(start, scored, goal, run),
    }
    found: dict[str, dict[str, float]] = {}
    curves = {arm: trained(plan, made, run, scale) for arm, plan in plans.items()}
    aim = REACHED * curves["none"][1][-1].mean()
    hard = made.hard[1]
    for arm, (steps, ranks, right) in curves.items():
        found[arm] = {
            "end": float(ranks[-1].mean()),
            "easy": float(ranks[-1][~hard].mean()),
            "hard": float(ranks[-1][hard].mean()),
            "half way": float(ranks[len(ranks) // 2 - 1].mean()),
            "steps": when(steps, ranks.mean(1), float(aim)),
            "weights as they should be": float(right),
        }
    easiness = scored.column("rank_easiness.easiness").to_numpy()
    for name, which in (("easy", ~made.hard[0]), ("hard", made.hard[0])):
        found["none"][f"easiness, {name}"] = float(easiness[which].mean())
    found["none"]["BM25"] = by_words(made)
    return found


def when(steps: Ints, values: Floats, aim: float) -> float:
    """The step at which values first reach the aim, on straight lines from 0; the last one where they never do.

    >>> when(np.array([10, 20, 30]), np.array([0.2, 0.6, 0.7]), 0.4)
    15.0
    """
    above = np.flatnonzero(values >= aim)
    if not above.size:
        return float(steps[-1])
    i = int(above[0])
    before, low = (float(steps[i - 1]), float(values[i - 1])) if i else (0.0, 0.0)
    return before + (float(steps[i]) - before) * (aim - low) / (float(values[i]) - low)


def trained(plan: Plan, made: World, run: Run, scale: Scale) -> tuple[Ints, Floats, bool]:
    """Steps after each epoch, the reciprocal ranks of held-out queries then, (epochs, queries), and whether the weights
    that the losses were counted by kept to the formula; True without weights."""
    texts = made.vocab.encode_batch(list(made.passages))
    queries, wrong = (made.pool.column(name).to_pylist() for name in ("query", "negatives"))
    place = {passage: i for i, passage in enumerate(made.passages)}
    negatives = [[place[one] for one in some] for some in wrong]
    asked = made.vocab.encode_batch(list(made.asked))
    count = len(queries)
    order = np.concatenate([run.rng("order", epoch).permutation(count) for epoch in range(scale.epochs)])
    used: list[tuple[Ints, Floats]] = []
    hooks: dict[str, Any] = {}
    if plan.weights is not None:
        weigh = rising(plan.weights, np.arange(count), scale.batch)

        def watched(seen: Examples) -> Tensor:
            out = weigh(seen)
            used.append((seen.records, out.numpy().astype(np.float64)))
            return out

        hooks = {"weigh": watched, "over": "examples"}
    options = Options(rate=scale.rate, batch=scale.batch)
    with threads(1):
        body = lab.decoder(
            1, len(made.vocab), 16, run, causal=False, width=scale.width, heads=2, hidden=2 * scale.width
        )
        done = train_contrastive(
            body, made.vocab.encode_batch(queries), texts, np.arange(count), negatives, order, options,
            measure=lambda: ranks(body, asked, texts, count), points=scale.epochs, **hooks,
        )  # fmt: skip
    assert done.curve is not None
    right = plan.weights is None or as_told(plan.weights.first, used, scale.end, count, scale.batch)
    return np.ceil(done.curve.tokens / scale.batch).astype(np.int64), done.curve.losses, right


def as_told(first: Floats, used: Sequence[tuple[Ints, Floats]], end: float, count: int, batch: int) -> bool:
    """Whether weights that were used, (records, weights) of each step, rise, lie in [D, 1] and are 1 from `end` on."""
    last, tight = first.copy(), 1e-6
    for step, (records, weights) in enumerate(used):
        if (weights < last[records] - tight).any() or (weights > 1 + tight).any():
            return False
        if step * batch // count >= end and (weights != 1).any():
            return False
        last[records] = weights
    return bool((last >= first).all()) and len(used) > 0


@torch.no_grad()
def ranks(body: Any, asked: Texts, texts: Texts, first: int) -> Floats:
    """Reciprocal rank of each held-out query's passage, which are those from `first` on, among all passages."""
    ours, theirs = embed(body, asked), embed(body, texts)
    scores = ours @ theirs.T
    own = scores[np.arange(len(ours)), first + np.arange(len(ours))]
    return np.asarray(1 / (1 + (scores > own[:, None]).sum(1)), np.float64)


def by_words(made: World) -> float:
    """Mean reciprocal rank of BM25 on the held-out queries; 0 where the passage is not found."""
    rows, _ = BM25.of(list(made.passages)).search(list(made.asked), len(made.passages))
    first = made.pool.count
    hit = rows == (first + np.arange(len(made.asked)))[:, None]
    return float(np.where(hit.any(1), 1 / (hit.argmax(1) + 1), 0.0).mean())


def world(run: Run, scale: Scale) -> World:
    """Passages of three things among fillers, no two of the same three; one query for each."""
    rng = run.rng("world")
    total = scale.passages + scale.held
    seen: set[tuple[int, ...]] = set()
    things: list[Ints] = []
    while len(things) < total:
        some = rng.choice(scale.things, 3, replace=False)
        if tuple(sorted(some.tolist())) not in seen:
            seen.add(tuple(sorted(some.tolist())))
            things.append(some)
    hard = rng.random(total) < scale.hard
    passages, queries = [], []
    for some, other in zip(things, hard, strict=True):
        words = [f"a{thing}" for thing in some] + [f"f{i}" for i in rng.integers(0, scale.fillers, 5)]
        passages.append(" ".join(rng.permutation(words)))
        kept = int(rng.integers(0, 3))
        named = [f"a{t}" if not other or i == kept else f"b{t}" for i, t in enumerate(some.tolist())]
        asking = [f"q{i}" for i in rng.integers(0, 5, 2)]
        queries.append(" ".join([*asking, *rng.permutation(named)]))
    vocab = lab.Vocab.of([*passages, *queries], r"\w+")
    mine = passages[: scale.passages]
    found, _ = BM25.of(mine).search(queries[: scale.passages], 10)
    wrong = []
    for i, row in enumerate(found):
        others = row[(row >= 0) & (row != i)]
        others = others if others.size else np.array([(i + 1) % scale.passages])
        wrong.append([mine[int(rng.choice(others))]])
    table = {"query": queries[: scale.passages], "positive": mine, "negatives": pa.array(wrong, pa.list_(pa.string()))}
    pool = TablePool(pa.table(table), "retrieval")
    parts = hard[: scale.passages], hard[scale.passages :]
    return World(pool, parts, passages, queries[scale.passages :], vocab)
