"""Climb must find hidden domains, and search their mixture better than trials drawn all at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Room, Run, TablePool, groups
from tilth.core.errors import EmptyPlan
from tilth.models import surface
from tilth.models.domains import purity
from tilth.policies.mix._draw import draw
from tilth.policies.mix.climb import Climb, search
from tilth.policies.mix.regmix import RegMix
from tilth.policies.mix.stratified import Stratified
from tilth.proofs.ngram import Ngram

Floats = npt.NDArray[np.float64]
NATURAL = np.array([0.05, 0.05, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
WANTED = np.array([0.35, 0.25, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0])
LENGTH = 60


def table(n: int, shares: Floats, topics: Floats, rng: np.random.Generator, name: str) -> pa.Table:
    """Records of eight topics whose names only the exam knows: all are of one source."""
    topic = rng.choice(len(shares), size=n, p=shares)
    texts = [" ".join(f"w{w}" for w in rng.choice(topics.shape[1], size=LENGTH, p=topics[t])) for t in topic]
    columns = {"id": [f"{name}{i}" for i in range(n)], "text": texts, "source": ["web"] * n}
    sizes = pa.array([{"count": LENGTH}] * n, pa.struct([("count", pa.int32())]))
    quality = [float(t) for t in topic]
    return pa.table({**columns, "tokens": sizes, "hidden": [f"h{t}" for t in topic], "quality": quality})


def world(seed: int, n: int = 1600) -> tuple[TablePool, Goal, Plan, Run]:
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(600, 0.1), len(NATURAL))
    pool = TablePool(table(n, NATURAL, topics, rng, "pool"))
    target, holdout = (TablePool(table(40, WANTED, topics, rng, side)) for side in ("target", "holdout"))
    goal = Goal(target, holdout, Budget(int(n * LENGTH * 0.15)))
    return pool, goal, Plan.everything(pool, goal.budget), Run(seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_finds_hidden_domains_and_a_better_mixture_of_them(seed: int) -> None:
    pool, goal, start, run = world(seed)
    hidden = pool.column("hidden").to_pylist()
    by = Climb(domains=8, fine=40).domains_of(start, pool, run)
    assert purity(by.index, hidden) >= 0.8
    assert len(by.names) == 8, "purity is easy with many domains"
    shuffled = run.rng("shuffle").permutation(by.index)
    assert purity(shuffled, hidden) < 0.4
    policy = Climb(domains=8, fine=40, trials=(24, 12, 6), cap=8, draws=20_000)
    plan, even = (p.revise(start, pool, goal.blind(), run) for p in (policy, Stratified(by="hidden", cap=8)))
    proof = Ngram()
    ours, natural, equal = (proof.trial(p, pool, goal, run).mean() for p in (plan, start, even))
    assert ours < min(natural, equal)
    told = plan.decisions[-1].details
    assert told["rank_agreement"] > 0.5
    assert plan.values["0.domain"].max() == 7
    assert sum(d["records"] for d in told["domains"].values()) == pool.count


def distance_to_least(seed: int) -> tuple[float, float]:
    """On a concave response with noise, how far above its least the rounds end, and one round of as many trials."""
    rng = np.random.default_rng(seed)
    wanted = rng.dirichlet(np.ones(8))

    def truth(x: Floats) -> Floats:
        return np.asarray(-(wanted * np.log(x + 0.02)).sum(1))

    def noisy(x: Floats, number: int) -> Floats:
        return truth(x) + np.random.default_rng([seed, number]).normal(0, 0.02, len(x))

    room, run = Room([*"abcdefgh"], NATURAL, np.zeros(8), np.ones(8)), Run(seed=seed)
    rounds = search(noisy, room, (64, 32, 16), run, draws=20_000)
    tried = draw(room, 112, run.rng("once"))
    fresh = draw(room, 20_000, run.rng("fresh"))
    once = fresh[np.argsort(surface.fit(tried, noisy(tried, 0))(fresh))[:128]].mean(0)  # what RegMix does
    best = truth(wanted[None])[0]
    return float(truth(rounds.chosen[None])[0] - best), float(truth(once[None])[0] - best)


def test_rounds_beat_one_shot_on_a_simulated_response() -> None:
    found = np.array([distance_to_least(seed) for seed in range(5)])
    assert (found[:, 0] < found[:, 1]).sum() >= 4


def test_rounds_are_not_worse_than_one_shot_with_a_real_proof() -> None:
    """The same domains and as many trials; the loss of the target by the proof itself."""
    found = []
    for seed in range(3):
        pool, goal, start, run = world(seed)
        by = groups(pool, "hidden")
        policies = (
            Climb(by="hidden", trials=(24, 12, 6), cap=8, draws=20_000),
            RegMix(by="hidden", trials=42, cap=8, draws=20_000),
        )
        told = [p.revise(start, pool, goal.blind(), run).decisions[-1].details["shares"] for p in policies]
        shares = np.array([[t[name] for name in by.names] for t in told])
        found.append(Ngram().mixtures(shares, by, start, pool, goal.blind(), run).mean(1))
    assert np.mean([rounds - once for rounds, once in found]) <= 0


def test_later_rounds_try_better_mixtures_and_none_twice() -> None:
    room = Room([*"abcdefgh"], NATURAL, np.zeros(8), np.ones(8))
    end = search(lambda x, number: ((x - WANTED) ** 2).sum(1), room, (32, 16, 8), Run(), draws=5000)
    medians = [np.median(end.losses[end.number == n]) for n in range(3)]
    spreads = [end.losses[end.number == n].std() for n in range(3)]
    assert medians[0] > medians[1] > medians[2] * 0.99
    assert spreads[0] > spreads[1] > spreads[2] * 0.99
    apart = np.abs(end.tried[:, None] - end.tried[None]).sum(-1) + np.eye(len(end.tried))
    assert apart.min() > 1e-3


def test_leaves_out_domains_of_low_quality() -> None:
    pool, goal, start, run = world(0, 400)
    policy = Climb(by="hidden", quality="quality", least=4.5, trials=(16, 8), draws=2000)
    plan = policy.revise(start, pool, goal.blind(), run)
    assert {name for name, share in plan.mixture(groups(pool, "hidden")).items() if share} <= {"h5", "h6", "h7"}
    assert set(plan.decisions[-1].details["left_out"]) == {"h0", "h1", "h2", "h3", "h4"}
    with pytest.raises(EmptyPlan, match="Lower `least`"):
        policy.model_copy(update={"least": 8.0}).revise(start, pool, goal.blind(), run)


def test_clusters_only_what_is_kept_and_keeps_to_limits_of_sources() -> None:
    pool, goal, _, run = world(0, 400)
    halves = pool.table(["id", "text", "tokens"])
    pool = TablePool(halves.append_column("source", pa.array(["one", "two"] * 200)))
    start = Plan.everything(pool, goal.budget, Limits(ceiling={"one": 0.3}))
    start = start.revised({"use": "exam"}, "every third", keep=np.arange(400) % 3 > 0)
    plan = Climb(domains=4, fine=16, trials=(16, 8), draws=2000).revise(start, pool, goal.blind(), run)
    assert plan.mixture()["one"] <= 0.31
    assert not (plan.kept & ~start.kept).any()
    assert np.isnan(plan.values["1.domain"][~start.kept]).all()


def test_a_text_of_unknown_words_is_in_no_domain() -> None:
    pool, goal, _, run = world(0, 400)
    columns = pool.table(["id", "source", "tokens"])
    texts = ["qqq" if i == 7 else text for i, text in enumerate(pool.column("text").to_pylist())]
    pool = TablePool(columns.append_column("text", pa.array(texts)))
    by = Climb(domains=4, fine=16).domains_of(Plan.everything(pool, goal.budget), pool, run)
    assert by.names[0] == "(none)"
    assert np.flatnonzero(by.index == 0).tolist() == [7]


def test_worst_is_worse() -> None:
    pool, goal, start, run = world(0, 800)
    policy = Climb(by="hidden", trials=(24, 12), cap=8, draws=5000)
    best, worst = (p.revise(start, pool, goal.blind(), run) for p in (policy, policy.worst()))
    proof = Ngram()
    assert proof.trial(best, pool, goal, run).mean() < proof.trial(worst, pool, goal, run).mean() - 0.1
