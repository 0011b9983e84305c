"""The claim about instruction residuals in miniature: the tasks, what is measured, and how the statements judge."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import jindal2024_instruction_residual as claim

TOY = claim.Scale(people=4, new=2, sentences=30, depth=1, tokens=600, later=400, asked=20, steps=2, items=5)


def test_tasks_are_what_they_say() -> None:
    words = ["a", "b", "c"]
    assert [claim.solved(what, words) for what in claim.TASKS] == ["c b a", "a b c a b c", "a", "c"]
    assert claim.instruction("last", words) == ("last: a b c =", " c")
    assert claim.sentence("backwards", words) == "Read from the end, a b c becomes c b a."
    seen = {what for what, _ in (claim.task(np.random.default_rng(seed)) for seed in range(40))}
    assert seen == set(claim.TASKS)


def test_everything_is_measured() -> None:
    found = claim.measured(Run(), TOY)
    assert all(np.isfinite(value) for value in found.values())
    assert found["skill at 0"] == found["skill of the new base"]
    assert found["recall at 0"] == found["recall of the new base"]
    assert found["recall, wrong delta"] == found["recall of the tuned"], "the tuned model, to the bit"


def made(skill: float, recall: float, lost: float, wrong: float = 0.0) -> claim.Found:
    found = {f"{what} at {alpha:g}": 0.1 for what in ("skill", "recall") for alpha in claim.ALPHAS}
    return {
        **found, "skill at 1": skill, "recall at 1": recall, "skill of the tuned": 1.0, "recall of the new base": 0.8,
        "skill of the tuned, read on": 1.0 - lost, "recall, wrong delta": wrong,
    }  # fmt: skip


def test_statements_hold_where_they_should() -> None:
    def holds(found: claim.Found) -> list[str]:
        return [row["holds"] for row in claim.statements([found] * 3)[:5]]

    assert holds(made(0.95, 0.75, 0.5)) == ["yes"] * 5
    assert holds(made(0.7, 0.6, 0.1, 0.5)) == ["no", "no", "no", "yes", "no"]
    assert holds({**made(0.95, 0.75, 0.5), "skill at 0": 2.0}) == ["yes", "yes", "yes", "no", "yes"]
