"""Is the matrix the protocol's, is what must be forgotten forgotten, and does a cut trial end with the same bits?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Phases, Plan, Run, TablePool
from tilth.core.errors import BadInput
from tilth.engine.prove import prove

pytest.importorskip("torch")

from tilth.models.checkpoint import Checkpoint
from tilth.proofs._text import tokenizer_for
from tilth.proofs.continual import Continual

WORDS = [a + b for a in "bdfgklmn" for b in "aeo"]
PROOF = Continual(depth=1, tokens=60_000, vocab=300, context=48)


def written(task: str, count: int, seed: int) -> list[str]:
    """Texts in one of several languages over the same words: in each, a word says which one follows."""
    follows = np.random.default_rng(ord(task)).permutation(len(WORDS))
    rng = np.random.default_rng([ord(task), seed])
    out = []
    for _ in range(count):
        word, text = int(rng.integers(len(WORDS))), []
        for _ in range(12):
            text.append(WORDS[word])
            word = int(follows[word])
        out.append(" ".join(text))
    return out


def texts(tasks: str, count: int, seed: int) -> TablePool:
    rows = [(task, text) for task in tasks for text in written(task, count, seed)]
    return TablePool(pa.table({"text": [text for _, text in rows], "source": [task for task, _ in rows]}))


def planned(pool: TablePool, order: str) -> Plan:
    """Tasks in sequence; those not named are out."""
    source = pool.column("source").to_pylist()
    start = Plan.everything(pool, Budget(pool.count, "records"))
    keep = np.array([name in order for name in source])
    return start.revised({"use": "test"}, order, keep=keep, phase=[max(0, order.find(name)) for name in source])


def joint(pool: TablePool) -> Plan:
    return Plan.everything(pool, Budget(pool.count, "records"))


@pytest.fixture(scope="module")
def world() -> tuple[TablePool, Goal]:
    pool, held = texts("ab", 500, 0), texts("ab", 15, 1)
    return pool, Goal(held, held, Budget(pool.count, "records"))


@pytest.fixture(scope="module")
def found(world: tuple[TablePool, Goal]) -> dict[str, Phases]:
    pool, goal = world
    plans = {"ab": planned(pool, "ab"), "ba": planned(pool, "ba"), "joint": joint(pool)}
    return {name: PROOF.phases(plan, pool, goal, Run()) for name, plan in plans.items()}


def test_a_sequence_forgets_its_first_task_and_a_mixture_does_not(found: dict[str, Phases]) -> None:
    for order in ("ab", "ba"):
        told = found[order]
        assert (told.tasks, told.learned, told.phases) == (tuple(order), (0, 1), (0, 1))
        assert told.marks[0, 0] > -0.8, "the first is known after its phase"
        assert told.marks[1, 1] > -0.8
        assert told.measures["forgetting"] > 1, "and forgotten after the other's, which contradicts it"
    assert found["joint"].learned == (0, 0)
    assert found["joint"].measures["forgetting"] == 0
    assert found["joint"].marks.min() > -1.2
    assert found["joint"].measures["average"] > max(found[o].measures["average"] for o in ("ab", "ba")) + 0.5


def test_the_matrix_is_made_of_the_items_and_the_measures_are_the_papers(found: dict[str, Phases]) -> None:
    for order in ("ab", "ba"):
        told = found[order]
        items = {"a": slice(0, 15), "b": slice(15, 30)}
        R = [[-told.losses[row, items[task]].mean() for task in order] for row in range(3)]  # R[0] is untrained
        assert told.before == pytest.approx(R[0])
        assert told.marks == pytest.approx(np.array(R[1:]))
        assert told.measures["average"] == pytest.approx((R[2][0] + R[2][1]) / 2)
        assert told.measures["backward transfer"] == pytest.approx(R[2][0] - R[1][0])
        assert told.measures["forward transfer"] == pytest.approx(R[1][1] - R[0][1])
        assert told.measures["forgetting"] == pytest.approx(R[1][0] - R[2][0])


def test_the_first_row_is_the_untrained_model_and_the_last_the_trial(
    world: tuple[TablePool, Goal], found: dict[str, Phases]
) -> None:
    pool, goal = world
    tokenizer = tokenizer_for(pool, PROOF.vocab)
    held = goal.holdout.column("text").to_pylist()
    uniform = np.log2(tokenizer.vocab_size) * tokenizer.count(held) / [len(text.encode()) for text in held]
    assert found["ab"].losses[0] == pytest.approx(uniform, rel=0.2), "of single items, whose tokens repeat"
    assert found["ab"].losses[0].mean() == pytest.approx(uniform.mean(), rel=0.03)
    assert (found["ab"].losses[0] == found["ba"].losses[0]).all()
    assert (PROOF.trial(planned(pool, "ab"), pool, goal, Run()) == found["ab"].losses[-1]).all()
    assert PROOF.smaller().tokens == 30_000


def test_a_task_that_no_phase_teaches(world: tuple[TablePool, Goal]) -> None:
    pool, goal = world
    told = PROOF.phases(planned(pool, "b"), pool, goal, Run())
    assert (told.tasks, told.learned) == (("b", "a"), (0, 1)), "1 is after the only phase"
    assert told.measures["forward transfer"] == pytest.approx(told.marks[0, 1] - told.before[1])
    assert told.measures["forgetting"] == told.measures["backward transfer"] == 0


def test_tasks_of_a_holdout_with_goals_are_these(world: tuple[TablePool, Goal]) -> None:
    pool, goal = world
    held = TablePool(goal.holdout.table(["text"]))  # a recipe's: its sources are files, its goals have names
    named = held.with_column("goal", goal.holdout.column("source"))
    few = PROOF.model_copy(update={"tokens": 3000})
    plan = planned(pool, "ba")
    one, two = (few.phases(plan, pool, Goal(h, h, goal.budget), Run()) for h in (named, goal.holdout))
    assert one.tasks == two.tasks == ("b", "a")
    assert np.array_equal(one.marks, two.marks)
    alone = few.phases(plan, pool, Goal(held, held, goal.budget), Run())
    assert (alone.tasks, alone.learned) == (("memory",), (2,))


def test_a_phase_without_a_record_is_said(world: tuple[TablePool, Goal]) -> None:
    pool, goal = world
    phase = (np.arange(pool.count) == 7).astype(int)
    plan = joint(pool).revised({"use": "test"}, "one apart", phase=phase)
    with pytest.raises(BadInput, match="none of them is of phase 1"):
        PROOF.model_copy(update={"tokens": 1000}).phases(plan, pool, goal, Run())


# ---- labels --------------------------------------------------------------------------------------


def labelled(count: int, seed: int) -> TablePool:
    """Two tasks with the same labels; the words that mean the one in the first mean the other in the second."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in "ab":
        for _ in range(count):
            label = int(rng.integers(2))
            kind = label if task == "a" else 1 - label
            said = [WORDS[12 * kind + int(i)] for i in rng.integers(0, 12, 8)]
            rows.append((" ".join(said), f"label {label}", task))
    columns = zip(("text", "label", "source"), zip(*rows, strict=True), strict=True)
    return TablePool(pa.table(dict(columns)), "labeled")


def test_labels_that_contradict_are_exchanged() -> None:
    """A task with the opposite labels: after it, the first is as wrong as it was right before."""
    pool, held = labelled(300, 0), labelled(40, 1)
    goal = Goal(held, held, Budget(pool.count, "records"))
    proof = Continual(depth=1, vocab=300, context=32, passes=2)
    told = proof.phases(planned(pool, "ab"), pool, goal, Run())
    assert told.score == "accuracy"
    assert told.losses[0] == pytest.approx(np.ones(80)), "two labels are a bit, before training"
    assert told.marks[0, 0] > 0.95
    assert told.marks[1].tolist() == pytest.approx([0, 1], abs=0.05)
    assert told.measures["forgetting"] > 0.9
    assert told.marks[0].sum() == pytest.approx(1, abs=0.05), "who knows the one is wrong on all of the other"
    none = TablePool(pa.table({"text": ["a"], "label": pa.array([None], pa.string())}), "labeled")
    with pytest.raises(BadInput, match="item 0 has none"):
        proof.phases(planned(pool, "ab"), pool, Goal(none, none, goal.budget), Run())
    with pytest.raises(BadInput, match="pool of kind text has none"):
        proof.phases(planned(texts("ab", 20, 0), "ab"), texts("ab", 20, 0), goal, Run())


def test_records_without_a_label_teach_nothing() -> None:
    pool, held = labelled(100, 0), labelled(10, 1)
    goal = Goal(held, held, Budget(pool.count, "records"))
    blank = pa.array([label if i % 2 else None for i, label in enumerate(pool.column("label").to_pylist())])
    half = TablePool(pool.table(["id", "text", "source"]).append_column("label", blank), "labeled")
    proof = Continual(depth=1, vocab=300, context=32)
    told = proof.phases(planned(half, "ab"), half, goal, Run())
    assert np.isfinite(told.losses).all()
    everything = TablePool(
        pool.table(["id", "text", "source"]).append_column("label", pa.nulls(pool.count, pa.string())), "labeled"
    )
    none = proof.phases(planned(everything, "ab"), everything, goal, Run())
    assert (none.losses == none.losses[0]).all(), "nothing was learned"


# ---- as a proof ----------------------------------------------------------------------------------


class Cut(BaseException):
    """The plug is pulled."""


@pytest.mark.parametrize("kind", ["text", "labeled"])
def test_a_trial_that_was_cut_in_its_second_phase_ends_with_the_same_bits(
    kind: str, world: tuple[TablePool, Goal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, goal = world
    proof = PROOF.model_copy(update={"tokens": 24_000})
    if kind == "labeled":
        pool, held = labelled(300, 0), labelled(10, 1)
        goal, proof = Goal(held, held, Budget(600, "records")), Continual(depth=1, vocab=300, context=32)
    plan = planned(pool, "ab")
    whole = proof.phases(plan, pool, goal, Run())
    real, written = Checkpoint.write, []

    def pulled(self: Checkpoint, state: dict[str, Any]) -> None:
        real(self, state)
        written.append("done" in state)
        if written.count(True) == 1 and not written[-1]:
            raise Cut  # the second phase has saved itself for the first time

    def often(self: Checkpoint, folder: Path, every: int = 7, key: str = "") -> None:
        for name, value in (("folder", folder), ("every", every), ("key", key)):
            object.__setattr__(self, name, value)

    monkeypatch.setattr(Checkpoint, "__init__", often)
    monkeypatch.setattr(Checkpoint, "write", pulled)
    with pytest.raises(Cut):
        proof.phases(plan, pool, goal, Run(scratch=tmp_path))
    assert len([*tmp_path.iterdir()]) == 2
    steps: list[int] = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, state: steps.append(state.get("step", -1)))
    again = proof.phases(plan, pool, goal, Run(scratch=tmp_path))
    assert steps[0] == 14, "it goes on where the second phase was"
    assert steps.count(-1) == 1
    assert (again.losses == whole.losses).all()
    assert again.measures == whole.measures
    assert not any(tmp_path.iterdir())


def test_trials_in_another_order_do_not_resume_from_one_another(
    world: tuple[TablePool, Goal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, goal = world
    proof, plan = PROOF.model_copy(update={"tokens": 12_000}), planned(pool, "ab")
    one, other = (Run(scratch=tmp_path).vary(init=0, order=order) for order in (0, 1))
    real = Checkpoint.write

    def pulled(self: Checkpoint, state: dict[str, Any]) -> None:
        real(self, state)
        raise Cut

    monkeypatch.setattr(Checkpoint, "write", pulled)
    with pytest.raises(Cut):
        proof.phases(plan, pool, goal, one)
    monkeypatch.setattr(Checkpoint, "write", real)
    assert len([*tmp_path.iterdir()]) == 1
    found = proof.phases(plan, pool, goal, other)
    alone = proof.phases(plan, pool, goal, Run().vary(init=0, order=1))
    assert (found.losses == alone.losses).all()


def test_a_verdict_says_what_became_of_each_task(
    world: tuple[TablePool, Goal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, goal = world
    proof = PROOF.model_copy(update={"tokens": 24_000})
    plans = {"sequence": planned(pool, "ab")}
    made = prove(proof, joint(pool), plans, pool, goal, tmp_path, seeds=2)
    assert made.headline.startswith("BETTER than the best baseline (sequence)")
    told = made.as_dict()["tasks"]
    assert told["sequence"]["measures"]["forgetting"]["mean"] > 0.3 > told["plan"]["measures"]["forgetting"]["mean"]
    assert np.shape(told["sequence"]["marks"]) == (2, 2)
    assert np.shape(told["plan"]["marks"]) == (1, 2)
    (line,) = [line for line in made.trust() if line.startswith("tasks, sequence")]
    assert "2 tasks, 2 phases: average" in line

    def never(*_: Any) -> Phases:
        raise AssertionError("a finished trial ran again")

    monkeypatch.setattr(Continual, "phases", never)
    assert prove(proof, joint(pool), plans, pool, goal, tmp_path, seeds=2).as_dict() == made.as_dict()
