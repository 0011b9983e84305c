"""Sft: a small transformer tuned on the plan's answers, scored by how much it prefers the right one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.errors import BadInput
from tilth.core.records import Kind
from tilth.proofs._decoder import answer_nats, asked, require_torch, trained_on_answers

__all__ = ["Sft"]


class Sft(Proof):
    """How much dearer, in nats per byte, the right answer is than wrong ones.

    A transformer is trained from scratch on the plan's dialogues, of which only the assistants' words are learned. An
    item's loss is minus the log-likelihood per byte of its last answer, less the mean of the same over the wrong
    answers it comes with; without wrong answers it is the first part alone. Negative is good: the right answer is the
    likelier one. Wrong answers are a list under `distractors`, a column of the holdout or a key of its ``meta``. Cost:
    about a minute a trial of the default size on one core. Trap: a model this small learns formats and short
    associations, not skills; and likelihood per byte favours plans that answer in the holdout's style, which the
    wrong answers, being of one style with the right ones, take out. Source: ours; tuning on answers alone as usual.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> def talks(pairs):
    ...     rows = [[{"role": r, "content": t} for r, t in zip(["user", "assistant"], pair)] for pair in pairs]
    ...     return pa.table({"messages": rows, "tokens": [{"count": 9}] * len(rows)})
    >>> right, wrong = [("sky?", "blue"), ("grass?", "green")], [("sky?", "green"), ("grass?", "blue")]
    >>> pool = TablePool(talks(right * 400 + wrong * 400), "instruction")
    >>> held = TablePool(talks(right).append_column("distractors", pa.array([["green"], ["blue"]])), "instruction")
    >>> goal, run = Goal(held, held, Budget(1500)), Run()
    >>> start = Plan.everything(pool, goal.budget)
    >>> plans = [start.revised({"use": "half"}, "x", keep=np.arange(1600) // 800 == half) for half in (0, 1)]
    >>> proof = Sft(depth=2, tokens=10_000, vocab=300, context=32, batch=2)
    >>> [bool(proof.trial(plan, pool, goal, run).mean() < 0) for plan in plans]  # right answers, wrong answers
    [True, False]
    """

    unit: ClassVar[str] = "nats per byte of answer, less that of wrong answers"
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("instruction",)
    extra: ClassVar[str] = "torch"

    depth: int = Field(3, ge=1, le=12, description="layers; also sets width and learning rate: 3 is 0.33 M parameters")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan read in one trial")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(256, ge=16, le=4096, description="tokens of a window; longer dialogues lose their last turns")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step")
    distractors: str = Field("distractors", description="column of the holdout, or key of its meta, with wrong answers")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "messages", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        require_torch("sft")
        from tilth.models.train import threads

        before, answers = asked(goal.holdout, "sft")
        wrong = _wrong(goal.holdout, self.distractors)
        item = np.array([i for i, texts in enumerate(wrong) for _ in texts], np.int64)
        flat = [text for texts in wrong for text in texts]
        with threads(1):
            model, tokenizer = trained_on_answers(
                plan,
                pool,
                run,
                depth=self.depth,
                tokens=self.tokens,
                vocab=self.vocab,
                context=self.context,
                batch=self.batch,
            )
            nats = answer_nats(
                model, tokenizer, [*before, *(before[i] for i in item)], [*answers, *flat], self.context, run.device
            )
        size = np.maximum([len(text.encode("utf-8", "replace")) for text in (*answers, *flat)], 1)
        right, others = np.split(nats / size, [len(answers)])
        count = np.bincount(item, minlength=len(answers))
        return np.asarray(right - np.bincount(item, others, len(answers)) / np.maximum(count, 1))


def _wrong(holdout: Pool, name: str) -> list[list[str]]:
    """The wrong answers of each item, none where it has none.

    Raises:
        BadInput: when they are no list of strings.
    """
    if name in holdout.schema.names:
        found = holdout.column(name).to_pylist()
    elif "meta" in holdout.schema.names:
        found = [json.loads(meta).get(name) if meta else None for meta in holdout.column("meta").to_pylist()]
    else:
        found = [None] * holdout.count
    for i, texts in enumerate(found):
        if texts is not None and not (isinstance(texts, list) and all(isinstance(t, str) for t in texts)):
            raise BadInput(f"sft reads wrong answers from {name!r} as a list of texts; item {i} has {texts!r}.")
    return [texts or [] for texts in found]
