"""Does the proof tell plans whose pairs are right from plans whose pairs are swapped, and is its loss DPO's?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadInput
from tilth.models.metrics import pair_accuracy
from tilth.models.tokenizer import Tokenizer
from tilth.proofs.preference import Preference, _pairs

PROOF = Preference(depth=1, tokens=25_000, vocab=400, context=48, batch=8)
KIND = ["gladly", "with pleasure", "of course", "right away"]
CURT = ["find it yourself", "not now", "why ask me", "go away"]
ASKED = ["open the {}?", "mend the {}?", "bring the {}?", "paint the {}?"]
THINGS = ["gate", "roof", "cart", "fence", "boat", "well", "barn", "plough"]


def pairs(n: int, seed: int, swapped: np.ndarray | None = None) -> pa.Table:
    """Kind answers are preferred to curt ones; where `swapped`, the other way round."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        asked = str(rng.choice(ASKED)).format(rng.choice(THINGS))
        kind, curt = (f"{rng.choice(some)}, {rng.choice(some)}" for some in (KIND, CURT))
        both = (curt, kind) if swapped is not None and swapped[i] else (kind, curt)
        rows.append({"prompt": asked, "chosen": both[0], "rejected": both[1]})
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def world() -> tuple[TablePool, Goal, np.ndarray]:
    swapped = np.arange(800) % 2 == 1
    held = TablePool(pairs(60, 2), "preference")
    return TablePool(pairs(800, 1, swapped), "preference"), Goal(held, held, Budget(400, "records")), swapped


def kept(pool: TablePool, goal: Goal, keep: np.ndarray) -> Plan:
    return Plan.everything(pool, goal.budget).revised({"use": "test"}, "some", keep=keep)


def test_right_pairs_beat_mixed_and_swapped_ones(world: tuple[TablePool, Goal, np.ndarray]) -> None:
    pool, goal, swapped = world
    mixed = np.random.default_rng(0).permutation(800) < 400
    plans = [kept(pool, goal, keep) for keep in (~swapped, mixed, swapped)]
    right, both, wrong = (PROOF.trial(plan, pool, goal, Run()) for plan in plans)
    assert right.mean() < 0.4
    assert right.mean() < both.mean() - 0.2
    assert both.mean() < wrong.mean() - 0.2
    assert wrong.mean() > np.log(2)


def test_margins_are_the_losses_and_the_accuracy(world: tuple[TablePool, Goal, np.ndarray]) -> None:
    pool, goal, swapped = world
    plan = kept(pool, goal, ~swapped)
    margins = PROOF.margins(plan, pool, goal, Run())
    assert PROOF.trial(plan, pool, goal, Run()) == pytest.approx(np.log1p(np.exp(-margins)))
    assert pair_accuracy(margins) > 0.95
    assert margins.mean() > 0.5
    turned = TablePool(
        goal.holdout.table(["prompt", "chosen", "rejected"]).rename_columns(["prompt", "rejected", "chosen"]),
        "preference",
    )
    assert PROOF.margins(plan, pool, Goal(turned, turned, goal.budget), Run()) == pytest.approx(-margins, abs=1e-4)


def test_without_tuning_every_pair_costs_log_2(world: tuple[TablePool, Goal, np.ndarray]) -> None:
    pool, goal, swapped = world
    still = PROOF.model_copy(update={"slower": 1e-12, "tokens": 4000})
    losses = still.trial(kept(pool, goal, ~swapped), pool, goal, Run())
    assert losses == pytest.approx(np.full(60, np.log(2)), abs=1e-4)


def test_pairs_that_do_not_fit_are_left_out_whole() -> None:
    pool = TablePool(
        pa.table(
            {
                "prompt": ["a?", "b?", None, "c?"],
                "chosen": ["yes", "yes " * 60, "yes", "yes"],
                "rejected": ["no", "no", "no " * 60, "no"],
            }
        ),
        "preference",
    )
    tokenizer = Tokenizer.train(["user: a? assistant: yes no"] * 9, 280)
    chosen, rejected = _pairs(tokenizer, pool, np.arange(4), 40)
    for side in (chosen, rejected):
        assert (np.diff(side.offsets) > 0).tolist() == [True, False, False, True]
    goal = Goal(pool, pool, Budget(4, "records"))
    only = Plan.everything(pool, goal.budget).revised({"use": "test"}, "long", keep=[False, True, True, False])
    with pytest.raises(BadInput, match="fits the context"):
        Preference(depth=1, tokens=1000, vocab=280, context=16).trial(only, pool, goal, Run())
    assert Preference(tokens=5000).smaller().tokens == 2500
