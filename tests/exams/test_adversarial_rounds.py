"""AdversarialRounds must collect the rare hard cases, not wrong labels, and teach a model more than random records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner, labelled
from tilth.policies.mix.random import Random
from tilth.policies.select.adversarial_rounds import AdversarialRounds
from tilth.signals.labels.label_issues import LabelIssues

LEARNER = Learner(seeds=1)


def records(n: int, hard: float, wrong: float, rng: np.random.Generator) -> dict[str, list[Any]]:
    """A frequent cue tells the label, but in hard records it misleads and one of many rare words tells it."""
    rows: dict[str, list[Any]] = {"text": [], "label": [], "hard": [], "wrong": []}
    for _ in range(n):
        truth, is_hard, is_wrong = int(rng.integers(2)), bool(rng.random() < hard), bool(rng.random() < wrong)
        words = [f"w{w}" for w in rng.integers(0, 200, 8)] + [f"cue{int(truth != is_hard)}{rng.integers(4)}"]
        if is_hard:
            words += [f"turn{truth}{rng.integers(15)}"] * 2
        rows["text"].append(" ".join(rng.permutation(words)))
        rows["label"].append(["no", "yes"][truth != is_wrong])
        rows["hard"].append(is_hard)
        rows["wrong"].append(is_wrong)
    return rows


def pool_of(seed: int, n: int = 2400) -> TablePool:
    made = records(n, 0.12, 0.08, np.random.default_rng(seed))
    return score_in_memory(LabelIssues(), TablePool(pa.table(made), "labeled"), run=Run(seed=seed))


def accuracy(plan: Plan, pool: TablePool, test: dict[str, list[Any]], run: Run) -> float:
    taught = TablePool(pool.take(np.flatnonzero(plan.kept), ["id", "text", "label"]), "labeled")
    found = LEARNER.probabilities(LEARNER.passes - 1, taught, pa.chunked_array([test["text"]]), run)
    return float((np.array(labelled(taught)[2])[found.argmax(1)] == np.array(test["label"])).mean())


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    """Plans for 400 records by each way, and what they teach, of three pools."""
    out = []
    for seed in range(3):
        pool, run = pool_of(seed), Run(seed=seed)
        goal = Goal(pool, pool, Budget(400, "records"))
        start = Plan.everything(pool, goal.budget)
        policy = AdversarialRounds()
        ways = {
            "rounds": policy,
            "unverified": AdversarialRounds(verifier=""),
            "worst": policy.worst(),
            "random": Random(),
        }
        plans = {name: way.revise(start, pool, goal, run) for name, way in ways.items()}
        rng = np.random.default_rng(seed + 100)
        hard, plain = records(800, 1.0, 0.0, rng), records(800, 0.12, 0.0, rng)
        out.append(
            {
                "pool": pool,
                "plans": plans,
                "hard": {name: accuracy(plan, pool, hard, run) for name, plan in plans.items()},
                "plain": {name: accuracy(plan, pool, plain, run) for name, plan in plans.items()},
            }
        )
    return out


def share(world: dict[str, Any], way: str, of: str) -> float:
    return float(np.array(world["pool"].column(of).to_pylist())[world["plans"][way].kept].mean())


def test_collects_the_hard_and_not_the_wrong(made: list[dict[str, Any]]) -> None:
    for world in made:
        assert share(world, "rounds", "hard") > 1.5 * share(world, "random", "hard")
        assert share(world, "worst", "hard") < share(world, "random", "hard")
        assert share(world, "rounds", "wrong") < share(world, "random", "wrong")
        assert share(world, "unverified", "wrong") > 1.5 * share(world, "random", "wrong"), "the trap"


def test_teaches_more_than_random_records(made: list[dict[str, Any]]) -> None:
    hard, plain = ({k: np.mean([world[on][k] for world in made]) for k in made[0][on]} for on in ("hard", "plain"))
    assert hard["rounds"] > hard["random"] + 0.1
    assert hard["worst"] < hard["random"]
    assert plain["rounds"] >= plain["random"]
    assert plain["unverified"] < plain["rounds"]


def test_later_models_recover_and_are_harder_to_fool(made: list[dict[str, Any]]) -> None:
    told = [world["plans"]["rounds"].decisions[0].details["rounds"] for world in made]
    verified = np.array([[r["verified"] / r["judged"] for r in rounds] for rounds in told]).mean(0)
    assert verified[0] > verified[-1]
    assert np.mean([r["recovered"] for rounds in told for r in rounds]) > 0.5
    assert all(world["plans"]["rounds"].kept.sum() == 400 for world in made)


def test_says_what_is_wrong() -> None:
    pool = TablePool(pa.table({"text": ["x"] * 9, "label": ["a"] * 9}), "labeled")
    goal = Goal(pool, pool, Budget(8, "records"))
    start = Plan.everything(pool, goal.budget)
    with pytest.raises(DataError, match=r"one label|two or more labels"):
        AdversarialRounds(verifier="").revise(start, pool, goal, Run())
    with pytest.raises(BadField, match="classifier"):
        AdversarialRounds(learner=Learner(model="lm")).revise(start, pool, goal, Run())
