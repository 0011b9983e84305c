"""SkillIt: its closed form, and a chain of skills that only the right graph speeds up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.exams.test_steered import PROOF, plan_of, world

from tilth.core import Plan, Run
from tilth.core.errors import UsageError
from tilth.models.influence import Known
from tilth.policies.mix.skill_it import SkillIt, State
from tilth.probes.lego import Lego

Floats = npt.NDArray[np.float64]
SKILLS = 5


def told(step: int, nats: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> dict[str, object]:
    losses = np.asarray(nats, float)
    aims = {f"t{i}": [0.0] for i in range(losses.size)}
    return {"step": step, "influence": Known.of({"": [0.0]}, aims, weights, losses)}


def softmax(x: npt.ArrayLike) -> Floats:
    e = np.exp(np.asarray(x, float))
    return np.asarray(e / e.sum())


def test_closed_form() -> None:
    """A window of two rounds, a graph of two skills and three targets; equal shares are where each round begins."""
    graph = ((1.0, 0.5, 0.0), (0.25, 0.0, 1.0))
    policy, state = SkillIt(eta=0.8, window=2, relative=False), State(("a", "b"), graph)
    shares, state = policy.step(state, told(0, [9, 9, 9]), Run())
    assert list(shares.values()) == pytest.approx(softmax([0.8 * 1.5, 0.8 * 1.25]))
    for step, losses, window in [
        (1, [2, 1, 3], [2, 1, 3]),
        (2, [1, 1, 2], [3, 2, 5]),
        (3, [1, 0, 2], [2, 1, 4]),  # the first round has left the window
    ]:
        shares, state = policy.step(state, told(step, losses), Run())
        pull = [window[0] + 0.5 * window[1], 0.25 * window[0] + window[2]]
        assert list(shares.values()) == pytest.approx(softmax(0.8 * np.array(pull)))
    shares, _ = SkillIt(eta=1, window=1).step(state, told(4, [4.5, 9, 0], [2, 1, 1]), Run())  # .5 and 1 of the first
    assert list(shares.values()) == pytest.approx(softmax([1.5 * 0.5 + 0.75 * 0.5, 1.5 * 0.125]))
    mean, _ = SkillIt(eta=0.8, window=2, relative=False, average=True).step(state, told(5, [1, 0, 2]), Run())
    assert list(mean.values()) == pytest.approx(softmax(0.4 * np.array([2.0, 0.5 + 4])))


def learned(graph: Floats | None, rounds: int) -> float:
    """What a model of a chain knows of skills 3 to 5, its rounds read by a graph, or evenly without one.

    A skill is learned by reading it, at a pace that its prerequisites set: what is known of all before it, multiplied.
    """
    known = np.zeros(SKILLS)
    names = tuple(f"skill{i + 1}" for i in range(SKILLS))
    rows = () if graph is None else tuple(tuple(row) for row in graph.tolist())
    state, shares = State(names, rows), np.full(SKILLS, 1 / SKILLS)
    for step in range(rounds):
        if graph is not None:
            given, state = SkillIt(graph=rows).step(state, told(step, 1 - known), Run())
            shares = np.array([given[name] for name in names])
        ready = np.array([known[:j].prod() for j in range(SKILLS)])
        known = known + 0.6 * shares * (0.02 + ready) * (1 - known)
    return float(known[2:].mean())


def test_the_planted_graph_speeds_up_a_chain_and_no_other_does() -> None:
    """Lego's graph, edges of 1/2 as in the paper, after a third of the rounds that stratified shares need."""
    planted = np.eye(SKILLS) + 0.5 * Lego().graph()
    even = learned(None, 20)
    assert learned(planted, 20) > even + 0.1
    assert learned(planted.T, 20) < even, "turned over, it reads the leaves first"
    assert learned(np.eye(SKILLS), 20) < even + 0.02, "an empty graph"
    assert learned(np.eye(SKILLS) / 2 + 0.5, 20) < even + 0.02, "a full graph"
    shuffled = [
        learned(planted[:, Run(seed=seed).rng("columns").permutation(SKILLS)], 20) for seed in range(20)
    ]  # fmt: skip
    assert np.mean(shuffled) - even < (learned(planted, 20) - even) / 3, "some permutations keep the order"


def test_the_graph_is_learned_at_the_start_and_steers() -> None:
    made = world()
    assert made.goal is not None
    learns = SkillIt(steps=30, eta=2)
    state = learns.start(plan_of(made, policy=learns), made.pool, made.goal.blind(), Run())
    graph = np.array(state.graph)
    plan = plan_of(made, policy=learns.model_copy(update={"graph": state.graph}))
    assert graph.shape == (4, 3), "four sources, and a target with items of three"
    assert graph.max() == 1
    assert (graph[:3].argmax(0) == np.arange(3)).all(), "each target is helped most by its own source"
    equal = plan.replaying([(0, dict.fromkeys("abcd", 0.25))])
    ends: dict[str, list[float]] = {"it": [], "equal": []}
    for seed in range(3):
        for name, each in {"it": plan, "equal": equal}.items():
            curve = PROOF.curve(each, made.pool, made.goal, Run(seed=seed))
            ends[name].append(float(curve.losses[-1].mean()))
            if name == "it":
                assert curve.shares[-1][1]["d"] == min(curve.shares[-1][1].values()), "nobody's target"
    assert np.mean(ends["it"]) < np.mean(ends["equal"])


def test_wrong_graphs_are_refused() -> None:
    made = world()
    assert made.goal is not None
    plan = plan_of(made)
    with pytest.raises(UsageError, match="4 by 3"):
        SkillIt(graph=((1.0,),)).start(plan, made.pool, made.goal.blind(), Run())
    with pytest.raises(UsageError, match="targets of the groups' names"):
        SkillIt(learn="preceded", steps=2).start(plan, made.pool, made.goal.blind(), Run())
    with pytest.raises(UsageError, match="steers"):
        SkillIt().start(Plan.everything(made.pool, made.goal.budget), made.pool, made.goal.blind(), Run())
