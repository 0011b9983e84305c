"""Glicko-2 on attempts: how hard is a record, from who tried it, when, and who succeeded?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models.glicko2 import Ratings, play
from tilth.signals._by_id import ById
from tilth.signals.difficulty import _outcomes

__all__ = ["Glicko2"]


class Glicko2(Signal[ById]):
    """Rating of each record as if an attempt were a match: the record wins when the player fails.

    For attempts that come in over time from players who learn: `rating` is difficulty on the scale of chess (1500 is
    average), `deviation` how uncertain it is, `quantile` its place among the rated records, from 0 to 1, which makes
    difficulties of several data sets comparable (`by: source`). Players may change from period to period; records do
    not, unless `drift` is set. For one table of answers by systems that do not change, `irt` is the better tool.

    Each record brings its attempts in a field, a list of objects: `player`, `right` (1 or 0) and `period`, a number or
    a date, in whose order they are taken; without one all is one period. Lists of outcomes, or one field per player,
    are read as `irt` reads them, as one period. Records without attempts get nulls.

    Cost: a few seconds for a million attempts. Trap: an update is one step from the ratings before the period, so with
    everything in one period all opponents count as equal; and after few attempts a rating is mostly the start, so leave
    out records of large `deviation` before binning. Sources: Glickman's note on Glicko-2; for training data,
    "Easy2Hard-Bench: Standardized Difficulty Labels for Profiling LLM Performance and Generalization".

    >>> import orjson
    >>> from scipy.stats import spearmanr
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = Run().rng("world")
    >>> able, hard = rng.normal(size=60), rng.normal(size=200)
    >>> def attempt(item, period):  # the able seek what is hard
    ...     liked = np.exp(2 * able * hard[item])
    ...     player = rng.choice(60, p=liked / liked.sum())
    ...     right = rng.random() < 1 / (1 + np.exp(hard[item] - able[player]))
    ...     return {"player": f"p{player}", "right": int(right), "period": period}
    >>> rows = [[attempt(item, n // 4) for n in range(60)] for item in range(200)]
    >>> meta = [orjson.dumps({"attempts": row}).decode() for row in rows]
    >>> scored = score_in_memory(Glicko2(), TablePool(pa.table({"text": ["..."] * 200, "meta": meta})))
    >>> by_share = [-sum(a["right"] for a in row) for row in rows]
    >>> found, naive = spearmanr(scored.column("glicko2.rating"), hard)[0], spearmanr(by_share, hard)[0]
    >>> bool(found > 0.8), bool(naive < 0.6)
    (True, True)
    """

    paper: ClassVar[str] = "easy2hardbench"

    column: str = Field("meta", description="where attempts are: `meta`, or a column of lists or structs")
    systems: tuple[str, ...] = Field(
        ("attempts",), min_length=1, description="fields with attempts or outcomes; `model_*` for one per player"
    )
    by: str = Field("", description="column whose values get quantiles of their own, such as source; empty: none")
    tau: float = Field(0.5, ge=0.1, le=2, description="how far volatility may change in a period")
    deviation: float = Field(350.0, gt=0, le=1000, description="deviation of who has not played yet")
    volatility: float = Field(0.06, gt=0, le=1, description="volatility of who has not played yet")
    drift: bool = Field(False, description="whether records may become harder or easier from period to period")

    @property
    def needs(self) -> Sequence[str]:
        return (*dict.fromkeys(("id", self.column, *([self.by] if self.by else []))),)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {
            "rating": pa.float32(),
            "deviation": pa.float32(),
            "volatility": pa.float32(),
            "attempts": pa.int32(),
            "quantile": pa.float32(),
        }

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        found = [v for batch in pool.batches([self.column]) for v in _outcomes.values(batch.column(0), self.systems)]
        tried = [
            (row, player, period, right)
            for row, value in enumerate(found)
            for player, period, right in _outcomes.attempts(value, "glicko2")
            if right != _outcomes.MISSING
        ]
        if found and not tried:
            raise UsageError(
                f"glicko2 found no attempts in {self.column}. It looks for fields named {', '.join(self.systems)}: a "
                f"list of objects with player, right (1 or 0) and period, or outcomes. State `systems`."
            )
        try:
            periods = sorted({period for _, _, period, _ in tried})
        except TypeError:
            raise UsageError("glicko2 expected periods that are all numbers or all text; got both.") from None
        players = {name: i for i, name in enumerate(sorted({player for _, player, _, _ in tried}), len(found))}
        place = {period: n for n, period in enumerate(periods)}
        when = np.array([place[period] for _, _, period, _ in tried], np.int64)
        one = np.array([players[name] for _, name, _, _ in tried], np.int64)
        other = np.array([row for row, _, _, _ in tried], np.int64)
        score = np.array([right for _, _, _, right in tried], np.float64)
        still = np.arange(len(found) + len(players)) < (0 if self.drift else len(found))
        now = Ratings.fresh(still.size, self.deviation, self.volatility)
        order = np.argsort(when, kind="stable")
        for at in run.track(np.split(order, np.searchsorted(when[order], np.arange(1, len(periods)))), "periods"):
            now = play(now, one[at], other[at], score[at], self.tau, still)
        count = np.bincount(other, minlength=len(found))
        rows = np.flatnonzero(count)
        group = pool.column(self.by).to_pylist() if self.by else [None] * len(found)
        columns = {"rating": now.rating, "deviation": now.deviation, "volatility": now.volatility}
        return ById.of(
            pool,
            rows,
            {
                **{name: values[rows].astype(np.float32) for name, values in columns.items()},
                "attempts": count[rows].astype(np.int32),
                "quantile": _quantiles(now.rating[rows], [str(group[row]) for row in rows]).astype(np.float32),
            },
        )

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))


def _quantiles(values: npt.NDArray[np.float64], groups: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean rank of each value in its group, from 0 to 1; 0.5 for one alone."""
    from scipy.stats import rankdata

    out, of = np.zeros(values.size), np.array(groups, object)
    for group in sorted(set(groups)):
        at = of == group
        out[at] = (rankdata(values[at]) - 0.5) / at.sum()
    return out
