"""PlantedMixture: four sources of words and a target that is a known mixture of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Budget, Goal, Plan, Probe, Run, TablePool, World

__all__ = ["PlantedMixture"]

BEST: Mapping[str, float] = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.0}
POOL: Mapping[str, float] = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}


class PlantedMixture(Probe):
    """Each source draws words from its own distribution; the target's items come from sources by fixed shares.

    The pool's own shares (.1, .2, .3, .4) are far from the planted ones (.6, .3, .1, .0). `grade` takes a plan and
    returns 1 - half its L1 distance to the planted mixture: 1 is perfect, natural shares score 0.4, equal shares 0.6.

    >>> from tilth.core import Plan, Run
    >>> probe = PlantedMixture()
    >>> world = probe.build(400, Run())
    >>> round(probe.grade(world, Plan.everything(world.pool, world.goal.budget)), 1)
    0.4
    """

    words: int = Field(400, ge=10, le=100_000, description="vocabulary shared by all sources")
    length: int = Field(60, ge=5, le=10_000, description="words of a record")
    sharpness: float = Field(0.1, gt=0, le=10, description="Dirichlet parameter of a source's words: small is distinct")
    items: int = Field(40, ge=4, description="items of the target and of the holdout, each")

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("topics")
        topics = rng.dirichlet(np.full(self.words, self.sharpness), size=len(BEST))
        names = np.array([*BEST])
        pool_sources = np.sort(run.rng("sources").permutation(np.repeat(names, _counts(POOL, size))))
        tables = {}
        for part, sources in (
            ("pool", pool_sources),
            ("target", np.repeat(names, _counts(BEST, self.items))),
            ("holdout", np.repeat(names, _counts(BEST, self.items))),
        ):
            texts = self._texts(sources, topics, run.rng(part))
            tables[part] = pa.table(
                {
                    "id": [f"{part}{i}" for i in range(len(texts))],
                    "text": pa.array(texts, pa.string()),
                    "source": pa.array(sources.tolist(), pa.string()),
                    "truth": pa.array([{"best": BEST[s]} for s in sources], pa.struct([("best", pa.float64())])),
                    "tokens": pa.array([{"count": self.length}] * len(texts), pa.struct([("count", pa.int32())])),
                }
            )
        budget = Budget(max(1, int(size * self.length * 0.15)))
        return World(TablePool(tables["pool"]), Goal(TablePool(tables["target"]), TablePool(tables["holdout"]), budget))

    def grade(self, world: World, answer: Any) -> float:
        shares = answer.mixture()
        return float(1.0 - 0.5 * sum(abs(shares[name] - share) for name, share in BEST.items()))

    @staticmethod
    def planned(plan: Plan, shares: Mapping[str, float]) -> Plan:
        """The plan filled by the given shares of the sources."""
        keys = Run().uniform(plan.ids, "key")
        return plan.mixed({"use": "planted_mixture"}, "given shares", shares, plan.sources, keys)

    def _texts(
        self, sources: np.ndarray[Any, Any], topics: np.ndarray[Any, Any], rng: np.random.Generator
    ) -> list[str]:
        place = {name: i for i, name in enumerate(BEST)}
        rows = [rng.choice(self.words, size=self.length, p=topics[place[s]]) for s in sources]
        return [" ".join(f"w{w}" for w in row) for row in rows]


def _counts(shares: Mapping[str, float], size: int) -> list[int]:
    """Whole numbers that sum to `size`, as near to the shares as can be."""
    exact = np.array([*shares.values()]) * size
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact)[: size - counts.sum()]:
        counts[i] += 1
    return [int(c) for c in counts]
