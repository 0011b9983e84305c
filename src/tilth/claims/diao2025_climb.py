"""CLIMB (Diao et al. 2025, arXiv 2504.13161): domains that nobody named, and a mixture of them searched in rounds.

The pool is text of ten real sources whose names the policy `climb` never sees; the goal is pieces of other documents of
three of them, in shares of .6, .3 and .1. Its domains are compared with the sources. Then rounds of 4:2:1 race one
shot, the policy `regmix` with as many trials on the same domains: on a simulated response with noise, whose least is
known; with n-gram models as trials; and with tiny transformers as trials. What a race with real trials chose is judged
by a transformer that reads several times as much, on pieces that no trial was scored on.

The paper's trials are models of 62 M or 350 M parameters, its pool 1.2 trillion tokens in 1,000 clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Groups, Losses, MixtureProof, Plan, Policy, Pool, Proof, Run, TablePool
from tilth.models import surface
from tilth.models.domains import purity
from tilth.policies.mix.climb import Climb
from tilth.policies.mix.regmix import RegMix
from tilth.proofs.ngram import Ngram
from tilth.proofs.tiny_lm import TinyLm

__all__ = ["PAPER", "run"]

PAPER = "climb"
SOURCES = (
    "chat_irc_ubuntu",
    "dialogue_sgd",
    "encyclopedia_factbook",
    "encyclopedia_simplewiki",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
    "science_arxiv_2025",
    "techdocs_peps",
)
GOAL = (0.6, 0.3, 0.1)
SEEDS, SIMULATED = 4, 10
TRIAL = TinyLm(depth=1, tokens=24_000, vocab=1024, context=64, batch=8, points=1, precision="float32")
JUDGE = TRIAL.model_copy(update={"tokens": 120_000})
ROUNDS = (64, 32, 16)
WORSE = 0.01
"""Bits per byte that a race may be lost by and still count as not worse; set before the run."""
Floats = npt.NDArray[np.float64]
Marks = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """Texts, trials and models.

    Attributes:
        records: of a source, in the pool.
        items: pieces of the target, and as many of the holdout.
        longest: characters of a record or a piece.
        fine: clusters that are merged into domains.
        trials: of each round with transformers as trials.
        rounds: of each round with n-gram models and the simulated response as trials.
        trial, judge: the transformers that trials are, and the one that judges the mixtures chosen.
    """

    records: int = 300
    items: int = 40
    longest: int = 800
    fine: int = 60
    trials: tuple[int, ...] = (24, 12, 6)
    rounds: tuple[int, ...] = ROUNDS
    trial: TinyLm = TRIAL
    judge: TinyLm = JUDGE
    draws: int = 20_000
    regressor: surface.Kind = "auto"


@dataclass(frozen=True)
class World:
    """A seed's pool, with the column ``hidden`` that tells the sources apart, and its goal."""

    pool: TablePool
    goal: Goal
    shares: Mapping[str, float]

    @property
    def start(self) -> Plan:
        """Everything there is."""
        return Plan.everything(self.pool, self.goal.budget)


class Simulated(MixtureProof):
    """A response that is known: the loss of a mixture against wanted shares, and noise."""

    wanted: tuple[float, ...]
    noise: float = 0.02

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def smaller(self) -> Self:
        """The same: it has no scale."""
        return self

    def truth(self, shares: Floats) -> Floats:
        """(mixtures,) the cross entropy of the wanted shares under the mixture's, each share raised a little."""
        return np.asarray(-(np.array(self.wanted) * np.log(shares + 0.02)).sum(1))

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """The response to the plan's own mixture."""
        mixture = np.array([[*plan.mixture().values()]])
        losses: Losses = self.mixtures(mixture, plan.sources, plan, pool, goal, run)[0]
        return losses

    def mixtures(self, shares: Floats, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """The response and its noise, the same for every item."""
        noise = run.rng("noise").normal(0, self.noise, len(shares))
        return np.repeat((self.truth(shares) + noise)[:, None], goal.holdout.count, 1)


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what is wanted, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    files = lab.records(data, *(f"A_text/{name}" for name in SOURCES))
    texts = {name: [r["text"] for r in rows] for name, rows in zip(SOURCES, files, strict=True)}
    scale = Scale()
    simulated = [race_simulated(Run(seed=seed), scale) for seed in range(SIMULATED)]
    real = [marks(texts, Run(seed=seed), scale) for seed in range(SEEDS)]
    return statements(simulated, real)


def statements(simulated: Sequence[Sequence[float]], real: Sequence[Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `race_simulated` and `marks` give of each seed."""
    of = {name: np.array([one[name] for one in real]) for name in real[0]}
    rounds, once, single = np.array(simulated).T
    won = (rounds < once).astype(float)

    def race(name: str, what: str) -> list[dict[str, Any]]:
        rounds, once = of[f"{name}: rounds"], of[f"{name}: once"]
        less, natural = rounds - once, of[f"{name}: natural"]
        return [
            lab.row(f"{what}: rounds less one shot, bits per byte", f"at most {WORSE}", less, less.mean() <= WORSE),
            lab.row("... share of seeds in which rounds are better", "", less < 0, None),
            lab.row("... rounds less natural shares", "below 0", rounds - natural,
                    lab.mean(rounds - natural)[2] < 0),
            lab.row("... rounds", "", rounds, None),
            lab.row("... rank agreement of the last surface", "", of[f"{name}: agreement"], None),
            lab.row("... median of the first round's trials less the last's", "above 0", of[f"{name}: gained"],
                    lab.mean(of[f"{name}: gained"])[1] > 0),
            lab.row("... spread of the last round's trials by the first's", "below 1", of[f"{name}: narrowed"],
                    lab.mean(of[f"{name}: narrowed"])[2] < 1),
        ]  # fmt: skip

    control = of["n-gram: worst"] - of["n-gram: rounds"]
    return [
        lab.row("purity of ten domains against the ten sources", "at least 0.8", of["purity"],
                of["purity"].mean() >= 0.8),
        lab.row("control: the same domains dealt to other records", "below 0.3", of["dealt"], of["dealt"].max() < 0.3),
        lab.row("sources that are the most of some domain", "", of["sources"], None),
        lab.row("purity of twenty domains, the default", "", of["purity of 20"], None),
        lab.row("simulated response: share of seeds in which rounds end lower", "at least 0.8", won, won.mean() >= 0.8),
        lab.row("... above its least, rounds", "", rounds, None),
        lab.row("... above its least, one shot", "", once, None),
        lab.row("... above its least, rounds that are one round of as many trials", "", single, None),
        *race("n-gram", f"n-gram trials ({sum(ROUNDS)}), judged by a transformer"),
        lab.row("... n-gram loss itself, rounds less one shot", "", of["n-gram: own rounds"] - of["n-gram: own once"],
                None),
        lab.row("... rounds less those that are one round of as many trials", "", of["n-gram: rounds"]
                - of["n-gram: single"], None),
        lab.row("... with the sources' names, rounds less those on domains found", "", of["n-gram: named"]
                - of["n-gram: rounds"], None),
        lab.row("... the goal's own shares of the sources less rounds", "", of["planted"] - of["n-gram: rounds"], None),
        lab.row("control: the search turned round less rounds", "above 0", control, lab.mean(control)[1] > 0),
        *race("tiny_lm", "transformers as trials (42), judged by a larger run"),
    ]  # fmt: skip


def race_simulated(run: Run, scale: Scale) -> tuple[float, float, float]:
    """How far above a simulated response's least the rounds end, one shot of as many trials, and a single round."""
    wanted = run.rng("wanted").dirichlet(np.ones(len(SOURCES)))
    names = [*map(str, range(len(SOURCES)))]
    pool = TablePool(pa.table({"id": [f"{s}{i}" for s in names for i in range(40)], "text": ["x"] * 40 * len(names),
                               "source": [s for s in names for _ in range(40)]}))  # fmt: skip
    goal = Goal(pool, pool, Budget(40, "records"))
    proof, start = Simulated(wanted=tuple(wanted.tolist())), Plan.everything(pool, goal.budget)
    ends = [
        proof.truth(np.array([[*shares_of(policy, start, pool, goal, run).values()]]))[0]
        for policy in (*rivals(proof, "source", scale.rounds, scale), single(proof, "source", scale))
    ]
    least = proof.truth(wanted[None])[0]
    return float(ends[0] - least), float(ends[1] - least), float(ends[2] - least)


def marks(texts: Mapping[str, Sequence[str]], run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed."""
    world = built(texts, run, scale)
    hidden = world.pool.column("hidden").to_pylist()
    by, finer = (Climb(domains=n, fine=scale.fine).domains_of(world.start, world.pool, run) for n in (10, 20))
    dealt = run.rng("dealt").permutation(by.index)
    most = {max(set(mine), key=mine.count) for g in range(len(by.names))
            if (mine := [h for h, i in zip(hidden, by.index, strict=True) if i == g])}  # fmt: skip
    out = {
        "purity": purity(by.index, hidden),
        "dealt": purity(dealt, hidden),
        "purity of 20": purity(finer.index, hidden),
        "sources": float(len(most)),
    }
    pool = world.pool.with_column("domain", pa.array([by.names[i] for i in by.index]))
    start = Plan.everything(pool, world.goal.budget)

    def judged(plan: Plan) -> float:
        return float(scale.judge.trial(plan, pool, world.goal, run.at("judge")).mean())

    natural = judged(start)
    for name, proof, trials in (
        ("n-gram", Ngram(vocab=scale.trial.vocab), scale.rounds),
        ("tiny_lm", scale.trial, scale.trials),
    ):
        policies = rivals(proof, "domain", trials, scale)
        plans = [p.revise(start, pool, world.goal.blind(), run.at(name)) for p in policies]
        out |= {f"{name}: {arm}": judged(plan) for arm, plan in zip(("rounds", "once"), plans, strict=True)}
        told = plans[0].decisions[-1].details
        first, last = told["rounds"][0], told["rounds"][-1]
        out |= {
            f"{name}: natural": natural,
            f"{name}: agreement": told["rank_agreement"],
            f"{name}: gained": first["median"] - last["median"],
            f"{name}: narrowed": (last["max"] - last["min"]) / (first["max"] - first["min"]),
        }
        if isinstance(proof, Ngram):
            own = [float(proof.trial(plan, pool, world.goal, run.at("own")).mean()) for plan in plans]
            out |= {f"{name}: own {arm}": loss for arm, loss in zip(("rounds", "once"), own, strict=True)}
            out[f"{name}: worst"] = judged(policies[0].worst().revise(start, pool, world.goal.blind(), run.at(name)))
            once = single(proof, "domain", scale)
            out[f"{name}: single"] = judged(once.revise(start, pool, world.goal.blind(), run.at(name)))
            named = rivals(proof, "hidden", trials, scale)[0]
            out[f"{name}: named"] = judged(named.revise(start, pool, world.goal.blind(), run.at(name)))
    sources = {name: np.flatnonzero(np.array(hidden) == name) for name in SOURCES}
    index = np.zeros(pool.count, np.int32)
    for i, rows in enumerate(sources.values()):
        index[rows] = i
    keys = run.uniform(start.ids, "key")
    out["planted"] = judged(
        start.mixed({"use": "claim"}, "planted", world.shares, Groups("hidden", SOURCES, index), keys)
    )
    return out


def rivals(proof: Proof, by: str, trials: Sequence[int], scale: Scale) -> tuple[Climb, RegMix]:
    """Rounds, and one shot of as many trials."""
    return (
        Climb(by=by, proof=proof, trials=tuple(trials), draws=scale.draws, regressor=scale.regressor),
        RegMix(by=by, proof=proof, trials=sum(trials), draws=scale.draws, regressor=scale.regressor),
    )


def single(proof: Proof, by: str, scale: Scale) -> Climb:
    """The search of the rounds with all its trials in the first: what rounds alone are worth."""
    return rivals(proof, by, scale.rounds, scale)[0].model_copy(update={"trials": (sum(scale.rounds),)})


def shares_of(policy: Policy, start: Plan, pool: Pool, goal: Goal, run: Run) -> dict[str, float]:
    """The mixture that a search chose, before records are taken."""
    told: dict[str, float] = policy.revise(start, pool, goal.blind(), run).decisions[-1].details["shares"]
    return told


def built(texts: Mapping[str, Sequence[str]], run: Run, scale: Scale) -> World:
    """A pool of equally many records of each source, all said to be of one, and a goal of other documents' pieces."""
    pool: list[tuple[str, str]] = []
    rest: dict[str, list[str]] = {}
    for name, some in texts.items():
        long = list(dict.fromkeys(t[: scale.longest] for t in some if len(t) >= scale.longest // 2))
        order = run.rng("texts", name).permutation(len(long))
        pool += [(name, long[i]) for i in order[: scale.records]]
        rest[name] = [long[i] for i in order[scale.records :]]
    chosen = [[*texts][i] for i in run.rng("goal").permutation(len(texts))[: len(GOAL)]]
    counts = [round(share * scale.items) for share in GOAL]
    sides = [
        [(n, rest[n][side * c + k]) for n, c in zip(chosen, counts, strict=True) for k in range(c)] for side in (0, 1)
    ]
    target, holdout = (_table(side) for side in sides)
    whole = _table(pool)
    amount = sum(len(t.encode()) // 4 for _, t in pool) // 4
    goal = Goal(target, holdout, Budget(amount))
    return World(whole, goal, dict(zip(chosen, GOAL, strict=True)))


def _table(rows: Sequence[tuple[str, str]]) -> TablePool:
    """Records of one named source; where they are from is in ``hidden``."""
    sizes = [{"count": max(1, len(text.encode()) // 4)} for _, text in rows]
    columns = {
        "id": [f"{name}:{i}" for i, (name, _) in enumerate(rows)],
        "text": [text for _, text in rows],
        "source": ["web"] * len(rows),
        "hidden": [name for name, _ in rows],
        "tokens": pa.array(sizes, pa.struct([("count", pa.int32())])),
    }
    return TablePool(pa.table(columns))
