"""Does the proof see which plan teaches right answers, and does it compare what should be compared?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.exams.test_sft import halves, turns, world

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.proofs.exact_match import ExactMatch

PROOF = ExactMatch(depth=1, tokens=50_000, vocab=360, context=64, batch=2, longest=8)


def test_a_plan_of_right_answers_answers_rightly() -> None:
    pool, goal, good = world()
    right, wrong = (PROOF.trial(plan, pool, goal, Run()) for plan in halves(pool, goal, good))
    assert set(np.unique([*right, *wrong])) <= {0.0, 1.0}
    assert right.mean() < 0.1
    assert wrong.mean() > 0.8, "chance is 5 in 6"


def test_what_is_compared() -> None:
    talks = [turns("sum?", "because # 12"), turns("sum?", "so # 13"), turns("sum?", " because  # 12 ")]
    pool = TablePool(pa.table({"messages": talks[:1] * 300, "tokens": [{"count": 9}] * 300}), "instruction")
    held = TablePool(pa.table({"messages": talks}), "instruction")
    goal = Goal(held, held, Budget(3000))
    plan = Plan.everything(pool, goal.budget)
    proof = ExactMatch(depth=1, tokens=9000, vocab=300, context=32, batch=2)
    assert proof.answers(plan, pool, goal, Run()) == ["because # 12"] * 3
    assert proof.trial(plan, pool, goal, Run()).tolist() == [0, 1, 0]
    other = TablePool(pa.table({"messages": [turns("sum?", "for # 12"), turns("sum?", "12")]}), "instruction")
    after = proof.model_copy(update={"after": "#"})
    assert after.trial(plan, pool, Goal(other, other, goal.budget), Run()).tolist() == [0, 0]
    assert proof.trial(plan, pool, Goal(other, other, goal.budget), Run()).tolist() == [1, 1]
    cut = proof.model_copy(update={"longest": 1}).answers(plan, pool, goal, Run())
    assert cut[0] in "because # 12"
    assert len(cut[0]) < len("because # 12")


@pytest.mark.parametrize("tokens", [1000, 5000])
def test_smaller(tokens: int) -> None:
    assert ExactMatch(tokens=tokens).smaller().tokens == max(1000, tokens // 2)
