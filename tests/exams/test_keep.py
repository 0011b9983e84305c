"""keep against a plain Python reading of the same rule, on a thousand records with holes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.select.keep import Keep


def test_matches_three_valued_logic_in_python() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    words = [None if rng.random() < 0.2 else int(rng.integers(0, 100)) for _ in range(1000)]
    dup = [None if rng.random() < 0.2 else bool(rng.random() < 0.5) for _ in range(1000)]
    table = pa.table(
        {
            "text": [f"t{i}" for i in range(1000)],
            "q": pa.StructArray.from_arrays([pa.array(words), pa.array(dup)], ["words", "dup"]),
        }
    )
    pool = TablePool(table, fragment=97)
    budget = Budget(1000, "records")

    def truth(w: int | None, d: bool | None) -> bool | None:
        a = None if w is None else w >= 30
        b = None if d is None else not d
        if a is False or b is False:
            return False
        return None if a is None or b is None else True

    want = [truth(w, d) for w, d in zip(words, dup, strict=True)]
    keep = Keep(where="q.words >= 30 and not q.dup")
    plan = keep.revise(Plan.everything(pool, budget), pool, Goal(pool, pool, budget), Run())
    assert plan.kept.tolist() == [w is True for w in want]
    lax = keep.model_copy(update={"unknown": "keep"})
    plan = lax.revise(Plan.everything(pool, budget), pool, Goal(pool, pool, budget), Run())
    assert plan.kept.tolist() == [w is not False for w in want]
    # The naive reading, null counts as false inside NOT, would keep records whose duplicate flag is missing.
    naive = [(w or 0) >= 30 and not d for w, d in zip(words, dup, strict=True)]
    assert naive != [w is True for w in want]
