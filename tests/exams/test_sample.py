"""sample against the distribution it claims to draw from, and against plain top-k and uniform."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import chisquare

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.select.sample import Sample
from tilth.proofs.ngram import Ngram


def test_inclusion_frequencies_match_successive_softmax_sampling() -> None:
    """Six records, three drawn: each record's inclusion frequency against the enumerated truth."""
    scores = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
    pool = TablePool(pa.table({"text": [str(i) for i in range(6)], "s": scores}))
    budget, goal = Budget(3, "records"), Goal(pool, pool, Budget(3, "records"))
    tau, draws = 0.8, 4000
    weight = np.exp((scores - scores.mean()) / scores.std() / tau)
    pair = np.zeros((6, 6))  # how often two records are drawn together: sees dependence, not only the margins
    for order in permutations(range(6), 3):
        left, p = weight.sum(), 1.0
        for i in order:
            p *= weight[i] / left
            left -= weight[i]
        for a in order:
            for b in order:
                if a < b:
                    pair[a, b] += p
    counts = np.zeros((6, 6))
    plan, policy = Plan.everything(pool, budget), Sample(by="s", temperature=tau)
    for seed in range(draws):
        drawn = np.flatnonzero(policy.revise(plan, pool, goal, Run(seed=seed)).kept)
        assert drawn.size == 3
        for a in range(3):
            for b in range(a + 1, 3):
                counts[drawn[a], drawn[b]] += 1
    upper = np.triu_indices(6, 1)
    # Three pairs per draw are dependent; a third of the counts keeps the test conservative.
    fit = chisquare(counts[upper] / 3, pair[upper] / pair.sum() * counts.sum() / 3)
    assert fit.pvalue > 0.01
    inclusion = (pair.sum(0) + pair.sum(1)) / 2
    assert np.abs((counts.sum(0) + counts.sum(1)) / 2 / draws - inclusion).max() < 0.03
    assert np.abs(inclusion - 0.5).max() > 0.25  # a uniform draw would fail the line above


def test_top_k_is_exact_and_worst_is_the_other_end() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    scores = rng.normal(size=500)
    pool = TablePool(pa.table({"text": ["x"] * 500, "s": scores}), fragment=64)
    goal = Goal(pool, pool, Budget(50, "records"))
    best = Sample(by="s").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert set(np.flatnonzero(best.kept)) == set(np.argsort(-scores)[:50])
    worst = Sample(by="s").worst().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert set(np.flatnonzero(worst.kept)) == set(np.argsort(scores)[:50])
    key = best.values["0.key"]
    assert best.kept.tolist() == (key >= np.float32(best.decisions[0].threshold["key"])).tolist()


def test_strata_keep_their_shares_to_one_record() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    group = rng.choice(["a", "b", "c"], 1000, p=[0.7, 0.25, 0.05])
    pool = TablePool(pa.table({"text": ["x"] * 1000, "g": group, "s": rng.normal(size=1000) + (group == "a")}))
    goal = Goal(pool, pool, Budget(100, "records"))
    for temperature in (0.0, 1.0):
        policy = Sample(by="s", temperature=temperature, stratify="g", fraction=0.1)
        plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
        for name in "abc":
            assert abs((plan.kept & (group == name)).sum() - 0.1 * (group == name).sum()) <= 1
    plain = Sample(by="s", fraction=0.1).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert (plain.kept & (group == "c")).sum() < 5  # without strata the favoured group takes over


def rated(seed: int) -> tuple[TablePool, Goal, npt.NDArray[np.int64]]:
    """Eight topics with words of their own; quality is the share of a text that is no noise, and the rating likes
    some topics better than others besides, as raters do. The target wants all topics."""
    rng = np.random.Generator(np.random.PCG64(seed))
    topic, quality = rng.integers(0, 8, 1600), rng.beta(2, 2, 1600)

    def text(t: int, q: float) -> str:
        own, noise = np.floor(60 ** rng.random(40)).astype(int), rng.integers(0, 5000, 40)
        return " ".join(f"t{t}w{o}" if m else f"n{z}" for o, z, m in zip(own, noise, rng.random(40) < q, strict=True))

    texts = [text(int(t), float(q)) for t, q in zip(topic, quality, strict=True)]
    rating = quality + 0.8 * topic / 7 + rng.normal(0, 0.1, 1600)
    table = {"text": texts, "rating": rating, "topic": [f"t{t}" for t in topic]}
    target = TablePool(pa.table({"text": [text(t, 1.0) for t in range(8) for _ in range(5)]}))
    return TablePool(pa.table(table)), Goal(target, target, Budget(160, "records")), topic


def entropy(topic: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> float:
    share = np.bincount(topic[kept], minlength=8) / kept.sum()
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


def test_sampling_beats_top_k_where_the_rating_likes_some_topics() -> None:
    """QuRating's finding: taking the top-rated loses topics and with them the target; drawing by rating does not.

    The least that sampling must do is to beat a uniform draw as well.
    """
    proof = Ngram(order=1, epochs=100)
    losses: dict[str, list[float]] = {}
    kept_entropy: dict[str, list[float]] = {}
    for seed in range(3):
        pool, goal, topic = rated(seed)
        start = Plan.everything(pool, goal.budget)
        for name, policy in {
            "top": Sample(by="rating"),
            "drawn": Sample(by="rating", temperature=1),
            "within": Sample(by="rating", temperature=0.25, stratify="topic", within="topic"),
            "uniform": Sample(),
        }.items():
            plan = policy.revise(start, pool, goal, Run(seed=seed))
            losses.setdefault(name, []).append(float(proof.trial(plan, pool, goal, Run()).mean()))
            kept_entropy.setdefault(name, []).append(entropy(topic, plan.kept))
    mean = {name: np.mean(values) for name, values in losses.items()}
    assert mean["drawn"] < mean["uniform"]
    assert mean["drawn"] < mean["top"]
    assert mean["within"] < mean["drawn"]
    assert np.mean(kept_entropy["top"]) < 0.7 * np.mean(kept_entropy["drawn"])


def test_scores_compared_within_their_group() -> None:
    """A group that scores high throughout fills the plan unless scores are compared inside groups."""
    rng = np.random.Generator(np.random.PCG64(3))
    group = np.repeat(["a", "b"], 500)
    scores = rng.normal(size=1000) * np.where(group == "a", 1.0, 10.0) + np.where(group == "a", 50.0, 0.0)
    pool = TablePool(pa.table({"text": ["x"] * 1000, "g": group, "s": scores}))
    goal = Goal(pool, pool, Budget(100, "records"))
    share = {
        within: (Sample(by="s", within=within).revise(Plan.everything(pool, goal.budget), pool, goal, Run()).kept)
        for within in ("", "g")
    }
    assert (share[""] & (group == "a")).sum() == 100
    assert abs((share["g"] & (group == "a")).sum() - 50) < 12
