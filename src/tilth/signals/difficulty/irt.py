"""Item response theory: how hard is a record, from which systems answered it right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models import irt as model
from tilth.signals.difficulty import _outcomes

__all__ = ["Irt", "Rated"]

ENOUGH = 200
"""Systems from which on items get a discrimination of their own when nothing is said."""


@dataclass(frozen=True)
class Rated:
    """The systems, by name, and their abilities."""

    systems: tuple[str, ...]
    abilities: model.Abilities


class Irt(Signal[Rated]):
    """Difficulty of each record for a population of systems: those that do better elsewhere count for more.

    ``P(right) = sigmoid(discrimination (ability - difficulty))``; abilities have mean 0 and standard deviation 1, so a
    record of difficulty 1 is answered by a system one standard deviation above the average half of the time. The share
    of right answers says the same when all systems were asked everything; when weak systems were asked the easy
    questions, only this does. `difficulty_error` is its standard error and decides how finely records can be binned:
    with twelve systems it is about as large as the differences. Records that all systems got right, or all wrong,
    are `extreme`: how easy or hard they are, the prior says.

    Outcomes come with the records: a field with a list (one place per system; 1 right, 0 wrong, null not asked), or one
    field per system, as any input file may have them beside the text; ``systems`` names the fields. Not asked is not
    wrong: it counts for nothing. Records without outcomes get nulls. The model, and why items and not systems are
    integrated out, is in `tilth.models.irt`.

    Cost: under a second for 2,000 records and 200 systems. Trap: relatives (checkpoints of one model) are not
    independent, and errors are then too small; difficulty is for these systems and need not be what people find hard;
    guessing is not modelled, so multiple choice looks easier than it is. Sources: Rasch 1960; Birnbaum 1968; for
    training data, Kordi et al. 2025, arXiv 2511.21692.

    >>> import orjson
    >>> from scipy.stats import spearmanr
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = Run().rng("world")
    >>> able, hard = rng.normal(size=100), rng.normal(size=400)
    >>> right = rng.random((400, 100)) < 1 / (1 + np.exp(hard[:, None] - able))
    >>> asked = rng.random((400, 100)) < 1 / (1 + np.exp(-3 * hard[:, None] * able))  # the strong get the hard ones
    >>> rows = [[int(r) if a else None for r, a in zip(*row)] for row in zip(right, asked)]
    >>> meta = [orjson.dumps({"outcomes": row}).decode() for row in rows]
    >>> pool = TablePool(pa.table({"text": ["..."] * 400, "meta": meta}))
    >>> scored = score_in_memory(Irt(), pool)
    >>> by_irt, by_share = scored.column("irt.difficulty"), scored.column("irt.share_right")
    >>> bool(spearmanr(by_irt, hard).statistic > 0.9), bool(spearmanr(by_share, -hard).statistic < 0.75)
    (True, True)
    """

    paper: ClassVar[str] = "revisiting_generalization_across_difficulty_levels"

    parameters: Literal["auto", 1, 2] = Field(
        "auto", description="per record: difficulty, or discrimination too; auto: 2 from 200 systems on"
    )
    column: str = Field("meta", description="where outcomes are: `meta`, or a column of lists or structs")
    systems: tuple[str, ...] = Field(
        ("outcomes",), min_length=1, description="fields with outcomes: a list, or one per system; `model_*` for many"
    )

    @property
    def needs(self) -> Sequence[str]:
        return (self.column,)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {
            "difficulty": pa.float32(),
            "difficulty_error": pa.float32(),
            "discrimination": pa.float32(),
            "discrimination_error": pa.float32(),
            "answers": pa.int32(),
            "share_right": pa.float32(),
            "extreme": pa.bool_(),
        }

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Rated:
        found = [v for batch in pool.batches(self.needs) for v in _outcomes.values(batch.column(0), self.systems)]
        names = sorted({name for value in found for name in _outcomes.named(value)}, key=lambda n: (len(n), n))
        answers = _outcomes.matrix(found, names, "irt")
        if found and not (answers >= 0).any():
            raise UsageError(
                f"irt found no outcomes in {self.column}. It looks for fields named {', '.join(self.systems)}, with "
                f"1 (right), 0 (wrong) or null (not asked): a list, or one field per system. State `systems`."
            )
        parameters = self.parameters if self.parameters != "auto" else 2 if len(names) >= ENOUGH else 1
        return Rated(tuple(names), model.fit(answers, parameters))

    def score(self, batch: pa.RecordBatch, state: Rated, run: Run) -> Columns:
        found = [*_outcomes.values(batch.column(self.column), self.systems)]
        answers = _outcomes.matrix(found, state.systems, "irt")
        items, right = state.abilities.rate(answers), (answers == 1).sum(1)
        asked, none = np.maximum(items.answers, 1), items.answers == 0
        columns = {
            "difficulty": items.b,
            "difficulty_error": items.b_error,
            "discrimination": items.a,
            "discrimination_error": items.a_error,
            "share_right": right / asked,
        }
        return {
            **{name: pa.array(v.astype(np.float32), mask=none) for name, v in columns.items()},
            "answers": items.answers,
            "extreme": pa.array((right == 0) | (right == items.answers), mask=none),
        }
