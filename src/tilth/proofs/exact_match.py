"""ExactMatch: a small transformer tuned on the plan's answers, and how often it answers wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.records import Kind
from tilth.models.metrics import exact_match
from tilth.proofs._decoder import END, asked, require_torch, trained_on_answers

__all__ = ["ExactMatch"]


class ExactMatch(Proof):
    """0 where the model's own answer is the holdout's last answer, 1 where it is not.

    Trained as in `sft`; then it answers by itself, the likeliest token at a time. For tasks whose answers can be
    checked: sums, labels, short facts. With `after` only what follows the last such mark is compared, so a derivation
    may differ: ``after="####"`` for GSM8K. White space aside, answers must be equal. Cost: a little more than `sft`.
    Trap: right or wrong tells less than a likelihood does, so it needs many more items to find the same difference;
    decide on `sft`, report this. Source: ours.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> turns = lambda asked, said: [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    >>> rows = [turns("sky?", "blue"), turns("grass?", "green")]
    >>> pool = TablePool(pa.table({"messages": rows * 300, "tokens": [{"count": 9}] * 600}), "instruction")
    >>> held = TablePool(pa.table({"messages": [*rows, turns("sky?", "green")]}), "instruction")
    >>> goal = Goal(held, held, Budget(6000))
    >>> proof = ExactMatch(depth=1, tokens=9000, vocab=300, context=32, batch=2)
    >>> proof.trial(Plan.everything(pool, goal.budget), pool, goal, Run()).tolist()
    [0.0, 0.0, 1.0]
    """

    unit: ClassVar[str] = "wrong answers per question"
    kinds: ClassVar[tuple[Kind, ...]] = ("instruction",)
    extra: ClassVar[str] = "torch"

    depth: int = Field(3, ge=1, le=12, description="layers; also sets width and learning rate: 3 is 0.33 M parameters")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan read in one trial")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(256, ge=16, le=4096, description="tokens of a window; longer dialogues lose their last turns")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step")
    longest: int = Field(64, ge=1, le=4096, description="tokens of an answer before it is cut off")
    after: str = Field("", description="compare only what follows the last of these marks")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "messages", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        _, wanted = asked(goal.holdout, "exact_match")
        said = self.answers(plan, pool, goal, run)
        right = [exact_match(_after(a, self.after), _after(b, self.after)) for a, b in zip(said, wanted, strict=True)]
        return 1.0 - np.array(right, np.float64)

    def answers(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> list[str]:
        """What the trained model answers to each holdout item."""
        require_torch("exact_match")
        from tilth.models.train import threads
        from tilth.models.transformer import generate

        before, _ = asked(goal.holdout, "exact_match")
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
            prompts = []
            for turns in before:
                texts = [f"{chr(10) * 2 * (n > 0)}{m['role']}: {m['content'] or ''}" for n, m in enumerate(turns)]
                texts.append(f"{chr(10) * 2 * bool(turns)}assistant:")  # the space belongs to the answer's first token
                _, ids = tokenizer.encode_batch(texts)
                room = max(1, self.context - min(self.longest, self.context // 2))
                prompts.append(np.concatenate([[END], ids])[-room:])
            made = generate(model, prompts, self.longest, END)
        return [tokenizer.decode(ids).strip() for ids in made]


def _after(text: str, mark: str) -> str:
    return text.rsplit(mark, 1)[-1] if mark else text
