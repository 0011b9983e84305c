"""Preference: a small transformer tuned by DPO on the plan's pairs, scored by how clearly it prefers the holdout's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.records import Kind
from tilth.models.dialogues import Dialogues, encode_dialogues
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._decoder import END, answer_nats, packed_as, planned_talks, require_torch
from tilth.proofs._text import tokenizer_for

__all__ = ["Preference"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Preference(Proof):
    """Minus the log-sigmoid of the reward's margin of each holdout pair: log 2 is a coin, less is a preference.

    A transformer is trained from scratch on the plan's chosen answers, then tuned by direct preference optimisation on
    its pairs and held to what it was before. The reward of an answer is `beta` times how much likelier tuning made it;
    the margin is the chosen answer's reward less the rejected one's. `margins` gives the margins themselves, whose
    mean and `metrics.pair_accuracy` are what papers report. Cost: one to two minutes a trial of the default size on one
    core. Trap: a loss above log 2 is a second stage that has memorised its pairs: lower `slower`. The loss sees the
    margin alone: a model can prefer rightly and write badly, and a plan whose chosen answers are merely longer teaches
    length, so hold the holdout's lengths alike. Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; beta 0.1
    is theirs.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> def pairs(n, good, bad):
    ...     asked = [f"name {i % 7}?" for i in range(n)]
    ...     return pa.table({"prompt": asked, "chosen": [good] * n, "rejected": [bad] * n})
    >>> kind, curt = "yes, gladly", "no, never"
    >>> pool = TablePool(pa.concat_tables([pairs(90, kind, curt), pairs(90, curt, kind)]), "preference")
    >>> held = TablePool(pairs(7, kind, curt), "preference")
    >>> goal, run = Goal(held, held, Budget(90, "records")), Run()
    >>> start = Plan.everything(pool, goal.budget)
    >>> plans = [start.revised({"use": "half"}, "x", keep=np.arange(180) // 90 == half) for half in (0, 1)]
    >>> proof = Preference(depth=1, tokens=6000, vocab=300, context=32, slower=0.1)
    >>> right, wrong = (proof.trial(plan, pool, goal, run).mean() for plan in plans)
    >>> bool(right < np.log(2) < wrong)
    True
    """

    unit: ClassVar[str] = "nats per pair"
    kinds: ClassVar[tuple[Kind, ...]] = ("preference",)
    extra: ClassVar[str] = "torch"

    depth: int = Field(3, ge=1, le=12, description="layers; also sets width and learning rate: 3 is 0.33 M parameters")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan, both answers, read in one trial and stage")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(256, ge=16, le=4096, description="tokens of prompt and answer; longer pairs are left out")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step of the first stage, pairs of one of the second")
    beta: float = Field(0.1, gt=0, le=10, description="how dear it is to move away from the first stage's model")
    slower: float = Field(0.02, gt=0, le=1, description="learning rate of the second stage, relative to the first")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "prompt", "chosen", "rejected", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        return np.asarray(np.logaddexp(0.0, -self.margins(plan, pool, goal, run)))

    def margins(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Floats:
        """The reward of each holdout pair's chosen answer, less that of its rejected one."""
        require_torch("preference")
        from copy import deepcopy

        from tilth.models.batches import reading_order
        from tilth.models.checkpoint import Checkpoint
        from tilth.models.optim import Options
        from tilth.models.train import generator, threads
        from tilth.models.transformer import Config, build
        from tilth.models.tune import train_dpo, train_sft

        tokenizer = tokenizer_for(pool, self.vocab)

        def encode(rows: Ints) -> tuple[Dialogues, Dialogues]:
            return _pairs(tokenizer, pool, rows, self.context)

        rows, (chosen, rejected) = planned_talks(plan, self.tokens, run, encode)
        order = reading_order(plan.repeats[rows], run.rng("order"), plan.phase[rows], plan.rank[rows])
        order = order[np.diff(chosen.offsets)[order] > 0]
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context)
        first = Options(rate=config.rate, batch=self.batch)
        second = Options(rate=config.rate * self.slower, batch=self.batch)
        packed = packed_as(plan, rows, order, run)
        with threads(1):
            model = build(config, generator(run.rng("init"))).to(run.device)
            save = None
            if run.scratch is not None:
                made = (self.fingerprint(), model, first, second, chosen.ids, rejected.ids, chosen.offsets, order)
                save = Checkpoint(run.scratch).keyed(*made, packed.get("packing", "next_fit"), plan.phase[rows])
            train_sft(model, chosen, order, first, end=END, save=save and save.keyed("chosen"), **packed)
            reference = deepcopy(model).eval()
            train_dpo(
                model, chosen, rejected, order, second, beta=self.beta, end=END, save=save and save.keyed("pairs")
            )  # fmt: skip
            table = goal.holdout.table(["prompt", "chosen", "rejected"])
            prompts, better, worse = (table.column(i).to_pylist() for i in range(3))
            before = [[{"role": "user", "content": p or ""}] for p in prompts]
            sides = [
                answer_nats(net, tokenizer, before, [a or "" for a in answers], self.context, run.device)
                for answers in (better, worse)
                for net in (reference, model.eval())
            ]
        return np.asarray(self.beta * ((sides[0] - sides[1]) - (sides[2] - sides[3])))


def _pairs(tokenizer: Tokenizer, pool: Pool, rows: Ints, context: int) -> tuple[Dialogues, Dialogues]:
    """Chosen and rejected answers as dialogues; both are empty where one of them does not fit the context."""
    table = pool.take(rows, ["prompt", "chosen", "rejected"])
    prompts, *sides = (table.column(i).to_pylist() for i in range(3))

    def talks(answers: Sequence[str | None], fits: npt.NDArray[np.bool_]) -> Dialogues:
        spoken = [
            [{"role": "user", "content": p or ""}, {"role": "assistant", "content": a or ""}] if fit else []
            for p, a, fit in zip(prompts, answers, fits, strict=True)
        ]
        return encode_dialogues(tokenizer, spoken, context=context, end=END)

    every = np.ones(len(prompts), np.bool_)
    fits = np.logical_and(*(np.diff(talks(answers, every).offsets) > 0 for answers in sides))
    return talks(sides[0], fits), talks(sides[1], fits)
