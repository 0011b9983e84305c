"""Curricula for small models (Diehl Martinez et al. 2023, arXiv 2311.08886): no consistent gain over random order.

A pool of six real sources holds three times what a small decoder reads. How hard a text is, is its mean unigram loss in
the pool, as in the paper's data curriculum. `Curriculum` draws what is read, with linear or logarithmic pacing, and the
same number of tokens is drawn at random; models start alike and take equal steps. What counts is the loss on other
texts at the end. Controls: hard texts first, and plain sorting, which the kit is often mistaken for.

The paper trains RoBERTa-like models on 10 million words for 400,000 steps, drawing anew at each. Not run: its curricula
of vocabulary and objective, and its benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.batches import windows
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.pacing import Pacing, Shape
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads, train_lm
from tilth.policies.order.curriculum import EASY, Curriculum
from tilth.policies.select.sample import Sample

__all__ = ["PAPER", "run"]

PAPER = "climb_2"
SOURCES = (
    "chat_irc_ubuntu",
    "encyclopedia_factbook",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
)
SEEDS = 5
SAME = 0.05
"""Nats per token that are taken for no difference, as in `schoenegger2025_influence_curriculum`; set before the run."""
POLICIES = {
    "random": Sample(),
    "linear": Curriculum(by="hard"),
    "log": Curriculum(by="hard", pacing="log"),
    "hard first": Curriculum(by="hard", direction="down"),
    "sorted": Curriculum(by="hard", pacing="sort"),
}
PACED: dict[str, Shape] = {"linear": "linear", "log": "log"}
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Texts of each source, and the model.

    Attributes:
        texts, held: texts of a source in the pool, and others on which the loss is measured.
        longest: characters of a text.
        part: of the pool's tokens that is read.
    """

    texts: int = 450
    held: int = 30
    longest: int = 250
    part: float = 1 / 3
    depth: int = 2
    vocab: int = 512
    context: int = 64
    batch: int = 8


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, *SOURCES)
    return statements([marks(texts, Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}

    less = {arm: of[arm] - of["random"] for arm in PACED}

    def same(values: Floats) -> bool:
        _, low, high = lab.mean(values)
        return low > -SAME and high < SAME

    wrong = of["sorted"] - of["linear"]
    return [
        *(lab.row(f"final loss, {arm} pacing less random order", "no gain: not below 0", less[arm],
                  lab.mean(less[arm])[2] >= 0) for arm in PACED),
        *(lab.row(f"the same, {arm} pacing", f"no difference (here: interval within {SAME})", less[arm],
                  same(less[arm])) for arm in PACED),
        lab.row("control: hard texts first less random order", "above 0", of["hard first"] - of["random"],
                lab.mean(of["hard first"] - of["random"])[1] > 0),
        lab.row("control: sorted less linear pacing", "above 0", wrong, lab.mean(wrong)[1] > 0),
        lab.row("percentile of a text less the limit where it was read, largest", "at most 0", of["over"],
                bool((of["over"] <= 0).all())),
        *(lab.row(f"final loss, {arm}, nats per token", "", of[arm], None) for arm in POLICIES),
        *(lab.row(f"easiest quarter in the last tenth of the reading, {arm}", "", of[f"late, {arm}"], None)
          for arm in ("linear", "log", "sorted")),
    ]  # fmt: skip


def marks(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed: the final loss of each arm, and how its reading went."""
    pooled, held = drawn(texts, run, scale)
    tokenizer = Tokenizer.train(pooled, scale.vocab)
    train, test = tokenizer.encode_batch(pooled), tokenizer.encode_batch(held)
    pool = scored(pooled, *train)
    sizes = pool.column("tokens.count").to_numpy()
    goal = Goal(pool, pool, Budget(int(sizes.sum() * scale.part)))
    hard = pool.column("hard").to_numpy()
    percentile = (np.argsort(np.argsort(hard, kind="stable")) + 1) / hard.size
    out: dict[str, float] = {"over": -1.0}
    for arm, policy in POLICIES.items():
        plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, run.at("plan"))
        order, _ = plan.reading_order(run.at("plan"))
        if arm in PACED:
            progress = (np.cumsum(sizes[order]) - sizes[order]) / goal.budget.amount
            out["over"] = max(out["over"], float((percentile[order] - Pacing(PACED[arm]).limit(progress)).max()))
        late = order[-(order.size // 10) :]
        out[f"late, {arm}"] = float((percentile[late] <= EASY).mean())
        with threads(1):
            model = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
            read = windows(*train, order, scale.context, lab.END, int(goal.budget.amount * 0.98))  # equal steps
            train_lm(model, Fixed(read, scale.batch), Options(rate=model.config.rate, batch=scale.batch))
            out[arm] = float(lab.losses(model, test).mean())
    return out


def drawn(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> tuple[list[str], list[str]]:
    """Texts of the pool, and others to measure on, cut to their first characters."""
    pooled: list[str] = []
    held: list[str] = []
    for s, some in enumerate(texts):
        long = list(dict.fromkeys(text[: scale.longest] for text in some if len(text) >= scale.longest // 2))
        order = run.rng("texts", s).permutation(len(long))[: scale.texts + scale.held]
        pooled += [long[i] for i in order[: scale.texts]]
        held += [long[i] for i in order[scale.texts :]]
    return pooled, held


def scored(texts: Sequence[str], offsets: Ints, ids: npt.NDArray[np.uint32]) -> TablePool:
    """A pool with each text's mean unigram loss, ``hard``, and its tokens with the one that ends it."""
    counts = np.bincount(ids)
    nats = -np.log(np.maximum(counts, 1) / ids.size)
    lengths = np.diff(offsets)
    total = np.add.reduceat(nats[ids], offsets[:-1])
    tokens = pa.StructArray.from_arrays([pa.array(lengths + 1)], ["count"])
    columns = {"id": [f"r{i}" for i in range(len(texts))], "text": list(texts), "hard": total / lengths}
    return TablePool(pa.table({**columns, "tokens": tokens}))
