"""Ngram: an n-gram model of the planned text; the cheapest proof there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Groups, Losses, MixtureProof, Plan, Pool, Run
from tilth.models.ngram import Counts, Items, count, losses
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._text import sampled_rows, texts_of, tokenizer_for

__all__ = ["Ngram"]


class Ngram(MixtureProof):
    """Bits per byte of the holdout under a smoothed n-gram model counted on the plan.

    Each trial counts at most `tokens` tokens of the plan, whole records with their repeats, so the plan's epochs are
    kept. A mixture's counts are the weighted sum of its sources' counts, exactly, so a thousand mixtures cost
    seconds: policies search with it. Cost: a second a trial, most of it tokenizing. Trap: it sees words and what
    follows them, no meaning and no long range; it ranks mixtures of text well (`docs/proofs`), instruction and
    reasoning data badly, and near-copies of the holdout flatter it, so the engine removes them first.
    Source: ours, from the hierarchical Dirichlet model of MacKay and Peto 1995.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture().build(400, Run())
    >>> start, (right, wrong) = Plan.everything(world.pool, world.goal.budget), ("abcd", "dcba")
    >>> plans = [PlantedMixture.planned(start, dict(zip(names, [0.6, 0.3, 0.1, 0.0]))) for names in (right, wrong)]
    >>> losses = [Ngram().trial(plan, world.pool, world.goal, Run()).mean() for plan in plans]
    >>> bool(losses[0] < losses[1])  # the target is mostly of source a
    True
    """

    order: int = Field(2, ge=1, le=3, description="tokens looked at: 2 ranks mixtures best at small sizes")
    tokens: int = Field(300_000, ge=1000, description="tokens of the plan counted in one trial")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    concentration: float = Field(10.0, gt=0, description="how strongly a level leans on the one below it")
    offset: float = Field(0.5, gt=0, description="added to every count of the lowest level")
    epochs: float = Field(4.0, ge=1, description="readings of a source beyond which it teaches nothing new")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        plan.require_plain("ngram")
        tokenizer = tokenizer_for(pool, self.vocab)
        items = _items(goal.holdout, tokenizer, self.order)
        rows = sampled_rows(plan, plan.kept, plan.repeats, self.tokens, run)
        counts = _count(items, pool, rows, tokenizer, plan.repeats[rows])
        found: Losses = losses(items, [counts], np.ones((1, 1)), self.concentration, self.offset)[0]
        return found

    def mixtures(
        self, shares: npt.NDArray[np.float64], by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run
    ) -> Losses:
        """Each source is counted once, on at most `tokens` of its tokens; the counts stand for its whole text."""
        items, counts, scale, most = self.counted(by, plan, pool, goal, run)
        weights = np.minimum(np.asarray(shares, np.float64), most) * scale
        return losses(items, counts, weights, self.concentration, self.offset)

    def counted(
        self, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run
    ) -> tuple[Items, list[Counts], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """What every mixture's loss is made of.

        Returns:
            The holdout's items, the counts of each group, what a share is multiplied by to give the factor of its
            group's counts, (groups,), and the share beyond which a group teaches nothing new, (groups,).
        """
        plan.require_plain("ngram")
        tokenizer = tokenizer_for(pool, self.vocab)
        items = _items(goal.holdout, tokenizer, self.order)
        once = np.ones(len(plan), np.int32)
        counts = []
        for group in range(len(by.names)):
            rows = sampled_rows(plan, plan.kept & (by.index == group), once, self.tokens, run.at("group", group))
            counts.append(_count(items, pool, rows, tokenizer, once[rows]))
        most = by.sums(plan.sizes * plan.kept) * self.epochs / plan.budget.amount
        return items, counts, self.tokens / np.array([max(c.tokens, 1.0) for c in counts]), most


def _count(
    items: Items, pool: Pool, rows: npt.NDArray[np.int64], tokenizer: Tokenizer, repeats: npt.NDArray[np.int32]
) -> Counts:
    offsets, ids = tokenizer.encode_batch(texts_of(pool, rows))
    return count(items, offsets, ids, repeats)


def _items(holdout: Pool, tokenizer: Tokenizer, order: int) -> Items:
    texts = pc.fill_null(holdout.column("text"), "").to_pylist()
    offsets, ids = tokenizer.encode_batch(texts)
    return Items.of(offsets, ids, [len(t.encode("utf-8", "replace")) for t in texts], tokenizer.vocab_size, order)
