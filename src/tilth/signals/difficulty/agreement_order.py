"""AgreementOrder: when do models learn a record, and do they agree on it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.agreement import first_pass, majority
from tilth.models.learner import Learner
from tilth.signals._by_id import ById, over_seeds

__all__ = ["AgreementOrder"]


class AgreementOrder(Signal[ById]):
    """The order in which models that are trained alike learn the records, and how far they agree on it.

    ``by_pass`` is the share of the learner's seeds that have the record right after each pass (the paper's
    true-positive agreement), ``score`` its mean over passes (accessibility, which is also `cartography`'s correctness):
    high is learnt early by all. ``first`` is the pass, counted from 1, from which on the record stays right, the mean
    over seeds (one more than there are passes where it is wrong in the end), ``spread`` its standard deviation, null
    for one seed. ``agreement`` is the share of seeds of one mind, right or wrong, the mean over passes: 1 where all
    models always agree, near 1/2 where it is by chance who has it right.

    With ``learner: {model: lm}`` right is who predicts more than half of a text's tokens. Records without a label (or
    text) get nulls. Cost: that of training the learner, shared with `cartography`, `el2n` and the others. Trap: a
    shared order does not show that the data make sense: the paper finds none where labels are random, the claim
    `hacohen2019_agreement_order` here finds nearly as much, as the words alone say which labels are easy to learn by
    heart. Records that all models have right, or none, agree whatever the order, so lower the learner's `rate` when the
    first pass learns nearly all, and take five seeds or more. Source: Hacohen et al. 2019, arXiv 1905.10854.

    >>> import numpy as np
    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1, words=12)
    >>> world, signal = probe.build(600, Run()), AgreementOrder(learner=Learner(rate=0.1))
    >>> one, two = (score_in_memory(signal, world.pool, run=Run(seed=seed)) for seed in (1, 2))
    >>> first = [made.column("agreement_order.first").to_numpy() for made in (one, two)]
    >>> bool(np.corrcoef(*first)[0, 1] > 0.9), probe.grade(world, first[0]) > 0.95  # two collections, one order
    (True, True)
    """

    paper: ClassVar[str] = "lets_agree_to_agree"

    learner: Learner = Field(default_factory=Learner, description="the models that are compared, one a seed")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        numbers = ("score", "first", "spread", "agreement")
        return {**{name: pa.float32() for name in numbers}, "by_pass": pa.list_(pa.float32())}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        seen = self.learner.record(pool, run)
        right = seen.right > 0.5
        when = over_seeds(first_pass(right))
        return ById.of(
            pool,
            seen.rows,
            {
                "score": right.mean((0, 1)),
                "first": when["score"],
                "spread": when["spread"],
                "agreement": majority(right),
                "by_pass": right.mean(0).T.astype(np.float32),
            },
        )

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
