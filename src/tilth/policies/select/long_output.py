"""LongOutput: the few long answers that have the length they were asked for, among ordinary ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import DataError
from tilth.models.answer_length import FAULTS, fault, requested
from tilth.policies.select._ranked import fill, one_group

__all__ = ["LongOutput"]

WRONG_LENGTH = "wrong length"


class LongOutput(Policy):
    """Keeps instructions to write at length whose answers do so and are sound, and as many ordinary ones by lot.

    The length asked for is parsed from the last user turn (words, characters, sentences, paragraphs, items; a number,
    a range or a bound); the answer after it is measured in that unit. Out goes what misses the length by more than
    `tolerance`, ends abruptly, refuses, talks about its own length, repeats paragraphs, or slips into another script.
    What remains fills its part of the budget, the nearest to the length asked for first, equals by lot. Records that
    ask for no length, or for less than `least` words, are the ordinary ones: they get the part `ordinary` of what is
    read. A chat model learns long answers from few good ones, and truncated ones teach it to stop early
    (arXiv 2410.10210, whose exact rules we do not know; these and their thresholds are ours).

    Where there are fewer good long answers than their part of the budget holds, no more ordinary ones are read to
    make up for it: the set is small on purpose. `details` counts each fault.

    Cost: 9 MB of answers a second, in one process. Trap: the wordings are English, with the commonest Chinese and
    Japanese ones; a request in another language counts as ordinary. Soundness is form only: nonsense of the right
    length passes. A trainer that cuts answers at its context length undoes all of this.

    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> import pyarrow as pa
    >>> def talk(asked, said):
    ...     return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    >>> whole, half = ("Rain falls. " * 300).strip(), ("Rain falls. " * 90).strip()
    >>> talks = [talk("Write 600 words.", whole), talk("Write 600 words.", half), talk("Does it rain?", "Yes.")]
    >>> pool = TablePool(pa.table({"id": ["a", "b", "c"], "messages": talks}), "instruction")
    >>> goal = Goal(pool, pool, Budget(3, "records"))
    >>> LongOutput().revise(Plan.everything(pool, goal.budget), pool, goal, Run()).kept.tolist()
    [True, False, True]
    """

    paper: ClassVar[str] = "minimum_tuning_to_unlock_long_output"

    tolerance: float = Field(0.2, ge=0, lt=1, description="how far from the length asked for, relatively")
    least: float = Field(500, gt=0, description="words asked for, about, from which a record is a long one")
    ordinary: float = Field(0.5, ge=0, lt=1, description="part of what is read that is ordinary records")
    seek: Literal["sound", "faulty"] = Field("sound", description="faulty takes those with a fault, as a control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "messages")

    def worst(self) -> Self:
        """The long ones with faults, and as many ordinary ones."""
        return self.model_copy(update={"seek": "faulty" if self.seek == "sound" else "sound"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(["messages"], "long_output (for pools of instructions)")
        ratio, faults = np.full(len(plan), np.nan), np.full(len(plan), "", object)
        row = 0
        for batch in run.track(pool.batches(["messages"]), "long_output"):
            for turns in batch.column(0).to_pylist():
                if plan.kept[row]:
                    ratio[row], faults[row] = self._judged(turns)
                row += 1
        long = plan.kept & np.isfinite(ratio)
        wanted = long & ((faults == "") == (self.seek == "sound"))
        counts = Counter(faults[long].tolist())
        told = {name: counts[name] for name in (WRONG_LENGTH, *FAULTS)}
        if not wanted.any():
            raise DataError(
                f"long_output: {int(long.sum()):,} of {int(plan.kept.sum()):,} records ask for {self.least:g} words or "
                f"more, and none of their answers is {self.seek} ({told}). Lower `least` or raise `tolerance`."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            keys = -np.abs(np.log(ratio)).astype(np.float32)
        lot, one, budget = run.uniform(plan.ids, "lot"), one_group(plan), float(plan.budget.amount)
        first, threshold = fill(plan, wanted, keys, lot, one, np.array([budget * (1 - self.ordinary)]))
        read = float((plan.sizes * plan.repeats * first).sum())
        part = min(read * self.ordinary / (1 - self.ordinary), budget - read)
        others = plan.kept & ~long
        keep = first | fill(plan, others, lot.astype(np.float32), lot, one, np.array([part]))[0]
        return plan.revised(
            self.describe(),
            f"{int(first.sum()):,} {self.seek} long answers of {int(long.sum()):,} asked for, and "
            f"{int((keep & ~first).sum()):,} ordinary ones",
            keep=keep,
            threshold=threshold,
            values={"ratio": ratio, "key": np.where(wanted, keys, np.nan)},
            reason=f"a long answer that is not {self.seek}, or not drawn",
            details={"long": int(long.sum()), "of_use": int(wanted.sum()), "first": int(first.sum()), "faults": told},
        )

    def _judged(self, turns: Sequence[Mapping[str, Any]] | None) -> tuple[float, str]:
        """The ratio of real to requested length, NaN where no long answer was asked for; and the fault."""
        places = [i for i, turn in enumerate(turns or ()) if turn["role"] == "assistant"]
        if not turns or not places:
            return math.nan, ""
        answer = turns[places[-1]]["content"] or ""
        before = [turn["content"] or "" for turn in turns[: places[-1]] if turn["role"] == "user"]
        asked = requested(before[-1]) if before else None
        if asked is None or asked.words < self.least:
            return math.nan, ""
        ratio = asked.ratio(answer)
        off = abs(ratio - 1) > self.tolerance
        return ratio, fault(before[-1], answer) or (WRONG_LENGTH if off else "")
