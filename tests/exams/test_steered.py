"""Steered: what an online policy decided is kept, obeyed, repeated to the bit, and inside every limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth import catalog
from tilth.core import Budget, Curve, Goal, Limits, OnlinePolicy, Plan, Run, TablePool, World
from tilth.core.errors import UsageError
from tilth.engine.local import Workers
from tilth.engine.prove import prove
from tilth.models.checkpoint import Checkpoint
from tilth.models.feeds import Batch, Mixed
from tilth.policies.mix.natural import Natural
from tilth.policies.mix.steered import Steered
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs._steered import allowed
from tilth.proofs.ngram import Ngram
from tilth.proofs.tiny_lm import TinyLm

PROBE = PlantedMixture()
PROOF = TinyLm(depth=1, tokens=40_000, vocab=500, context=64, batch=8, points=2)
POLICIES = [name for name, module in catalog.names().items() if module.startswith("tilth.policies.")]
ONLINE = [name for name in POLICIES if issubclass(catalog.find(name), OnlinePolicy)]


def world(seed: int = 0) -> World:
    return PROBE.build(2400, Run(seed=seed))


def plan_of(made: World, limits: Limits | None = None, **fields: Any) -> Plan:
    assert made.goal is not None
    start = Plan.everything(made.pool, made.goal.budget, limits)
    policy = Steered(**{"policy": "dga", "every": 8, **fields})
    return policy.revise(start, made.pool, made.goal.blind(), Run())


def trial(plan: Plan, made: World, run: Run | None = None) -> Curve:
    assert made.goal is not None
    return PROOF.curve(plan, made.pool, made.goal, run or Run(seed=3))


def same(a: Curve, b: Curve) -> bool:
    return bool((a.losses == b.losses).all() and (a.training == b.training).all() and a.shares == b.shares)


def test_a_steered_plan_is_read_in_chunks() -> None:
    made = world()
    assert made.goal is not None
    proof = PROOF.model_copy(update={"packing": "best_fit"})
    with pytest.raises(UsageError, match="packing"):
        proof.curve(plan_of(made), made.pool, made.goal, Run())


def test_a_steered_plan_reads_by_what_was_decided_and_its_log_replays_it(tmp_path: Path) -> None:
    made = world()
    plan = plan_of(made)
    first = trial(plan, made)
    assert first.shares[0] == (0, dict.fromkeys("abcd", 0.25))
    assert len(first.shares) > 5
    assert first.shares[-1][1]["a"] > 0.3, "the target's main source is read more"
    assert abs(int(first.tokens[-1]) - 40_000) < 512 * 2, "as much is read as the proof says"
    assert same(first, trial(plan, made)), "the same seed decides otherwise"

    plan.save(tmp_path)
    loaded = Plan.load(tmp_path)
    assert loaded.fingerprint == plan.fingerprint
    assert loaded.moving == plan.moving
    assert same(first, trial(loaded, made))

    log = json.loads(json.dumps(first.shares))
    again = plan.replaying(log)
    again.save(tmp_path / "again")
    replayed = Plan.load(tmp_path / "again")
    assert replayed.steering is not None
    policy = {"use": "rb"}  # nobody asks it
    replayed = replace(replayed, steering=replace(replayed.steering, policy=policy))
    assert same(first, trial(replayed, made)), "the log does not give the same run"
    other = [(step, shares if step < 40 else {"d": 1.0}) for step, shares in log]
    assert not (trial(plan.replaying(other), made).losses == first.losses).all()


@pytest.mark.parametrize("name", ONLINE)
def test_every_online_policys_log_gives_the_same_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log as JSON keeps it, under another policy that nobody asks, in a process that has decided nothing."""
    made = world(2)
    plan = plan_of(made, policy={"use": name, "steps": 5} if name == "skill_it" else name, every=5)
    read: list[tuple[Any, ...]] = []
    drawn = Mixed.batch

    def noted(self: Mixed, step: int) -> Batch:
        batch = drawn(self, step)
        if self.policy is not None or self._replay:  # not those that a graph or a reference is learned from
            read.append((step, batch.groups, batch.inputs.tolist(), batch.targets.tolist(), batch.readings.tolist()))
        return batch

    monkeypatch.setattr(Mixed, "batch", noted)
    first = trial(plan, made)
    batches = read[:]
    read.clear()
    again = plan.replaying(json.loads(json.dumps(first.shares)))
    assert again.steering is not None
    other = {"use": "rb" if name == "dga" else "dga"}
    replayed = trial(replace(again, steering=replace(again.steering, policy=other)), made)
    assert len(batches) == 79
    assert read == batches
    assert same(first, replayed)
    assert len({json.dumps(shares) for _, shares in first.shares}) > 2, "it never decided anything"


def test_killed_and_resumed_it_decides_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(1)
    plan = plan_of(made)
    whole = trial(plan, made)

    class Cut(BaseException):
        pass

    written = Checkpoint.write
    times = 0

    def write_and_die(self: Checkpoint, state: dict[str, Any]) -> None:
        nonlocal times
        written(self, state)
        times += 1
        raise Cut

    monkeypatch.setattr(Checkpoint, "write", write_and_die)
    with pytest.raises(Cut):
        trial(plan, made, Run(seed=3, scratch=tmp_path))
    assert times == 1
    assert any(tmp_path.iterdir())
    monkeypatch.setattr(Checkpoint, "write", written)
    assert same(whole, trial(plan, made, Run(seed=3, scratch=tmp_path)))
    assert not any(tmp_path.iterdir())


def test_every_decision_keeps_to_the_limits() -> None:
    made = world()
    limits = Limits(ceiling={"a": 0.3}, floor={"d": 0.2})
    plan = plan_of(made, limits, policy={"use": "dga", "eta": 20, "beta": 1})
    log = trial(plan, made).shares
    assert all(shares["a"] <= 0.3 + 1e-6 and shares["d"] >= 0.2 - 1e-6 for _, shares in log)
    assert max(shares["a"] for _, shares in log) == pytest.approx(0.3, abs=1e-4), "the policy wanted more"
    with pytest.raises(UsageError, match="limits are on sources"):
        plan_of(made, limits, clusters=(4,))
    assert plan_of(made, Limits(repeats=1), cap=4).amount == plan_of(made).amount


def test_the_cap_holds_at_the_proofs_own_scale() -> None:
    """A source with a twentieth of the budget may not exceed two epochs, at full scale and in a trial of a part."""
    texts = [f"w{i % 50} x{i % 7} y{i % 11}" for i in range(4000)]
    table = pa.table({"text": texts, "source": ["rare"] * 100 + ["often"] * 3900})
    table = table.append_column("tokens", pa.array([{"count": 3}] * 4000, pa.struct([("count", pa.int32())])))
    pool = TablePool(table)
    goal = Goal(pool.__class__(table.slice(0, 20)), pool.__class__(table.slice(100, 20)), Budget(6000))
    plan = Steered(policy="dga", cap=2).revise(Plan.everything(pool, goal.budget), pool, goal.blind(), Run())
    assert plan.moving["rare"] == pytest.approx(0.1, abs=1e-6)
    part = plan.part(0, 2, Run())
    small = TinyLm(depth=1, tokens=2000, vocab=300, context=32, batch=4, points=1)
    log = small.curve(part, pool, goal, Run()).shares
    assert all(shares["rare"] < 0.13 for _, shares in log)


def test_worst_turns_decisions_round() -> None:
    made = world()
    plan = plan_of(made)
    room = plan.room()
    within = allowed(room, dict.fromkeys("abcd", 0.25))
    turned = within({"a": 0.4, "b": 0.2, "c": 0.2, "d": 0.2})
    assert turned == pytest.approx({"a": 1 / 7, "b": 2 / 7, "c": 2 / 7, "d": 2 / 7})
    assert within({"a": 1.0})["a"] < 1e-5
    worst = trial(plan_of(made, seek="worst"), made)
    assert worst.shares[-1][1]["a"] < 0.22
    assert worst.losses[-1].mean() > trial(plan, made).losses[-1].mean()


def test_proofs_without_steps_refuse_and_what_is_written_out_must_be_fixed(tmp_path: Path) -> None:
    made = world()
    assert made.goal is not None
    plan = plan_of(made)
    start = Plan.everything(made.pool, made.goal.budget)
    rivals = {"natural": Natural().revise(start, made.pool, made.goal.blind(), Run())}
    with pytest.raises(UsageError, match=r"ngram does not train step by step.* Prove it with tiny_lm"):
        prove(Ngram(), plan, rivals, made.pool, made.goal, tmp_path, seeds=2)
    with pytest.raises(UsageError, match="no order to write out"):
        plan.reading_order(Run())
    fixed = Stratified().revise(plan, made.pool, made.goal.blind(), Run())
    assert fixed.steering is None, "a later policy decides the shares"
    two = replace(start, phase=(np.arange(len(start)) % 2).astype(np.int16))
    with pytest.raises(UsageError, match="phases"):
        Steered(policy="dga").revise(two, made.pool, made.goal.blind(), Run())
    with pytest.raises(UsageError, match="Only a plan that an online policy steers"):
        start.replaying([])


def test_a_proof_writes_the_logs_beside_its_trials_whatever_the_workers(tmp_path: Path) -> None:
    made = world()
    assert made.goal is not None
    plan = plan_of(made)
    start = Plan.everything(made.pool, made.goal.budget)
    rivals = {"natural": Natural().revise(start, made.pool, made.goal.blind(), Run())}
    small = PROOF.model_copy(update={"tokens": 8000})
    for count in (1, 2):
        workers = Workers(count, Run().progress)
        prove(small, plan, rivals, made.pool, made.goal, tmp_path / str(count), seeds=2, workers=workers)
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / n / "shares").iterdir()} for n in "12")
    assert one == two
    told = [json.loads(text) for text in one.values()]
    assert sorted((t["seed"], t["scale"]) for t in told) == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]
    assert all(t["plan"] == "plan" and t["shares"][0] == [0, plan.moving] for t in told)
