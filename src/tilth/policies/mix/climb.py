"""Climb: find domains in the texts, then search their mixture in rounds, each nearer to the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.stats import spearmanr

from tilth.core import Goal, Groups, Plan, Policy, Pool, Proof, Room, Run, groups
from tilth.core.errors import EmptyPlan
from tilth.models import surface
from tilth.models.domains import found
from tilth.policies import _vectors
from tilth.policies.mix._draw import draw, goal_losses
from tilth.proofs.ngram import Ngram

__all__ = ["Climb", "Search", "search"]

Floats = npt.NDArray[np.float64]
POOL = 128
"""Fewest of the best predicted mixtures that a later round's trials are drawn from."""
MEAN = 50
"""Records of a domain, on average; of fewer, whole records could not fill a share."""
SAME = 1e-3
"""Mixtures nearer than this, in L1, are not tried twice."""


class Climb(Policy):
    """Makes domains where none are named, and shares of them by rounds of trials (CLIMB, arXiv 2504.13161).

    1. Embed the texts, find `fine` clusters, merge them into `domains` (`models/domains`). With `by`, a column is taken
       instead and nothing is clustered. With `quality`, domains whose mean of that column is below `least` are left
       out.
    2. Try ``trials[0]`` mixtures drawn around natural shares and fit a response surface, as `regmix` does.
    3. In each further round predict `draws` fresh mixtures, half of them drawn around the best of the other half, take
       the best, draw the round's trials from these at random, and fit again on all.
    4. The mean of the `keep` best predicted.

    Cost: embedding (the default learns word vectors from the pool: 40 MB a second) and the trials. A million
    records of 384 numbers are held in memory: 1.5 GB. Trap: domains are what the encoder sees, topics for most, so a
    difference of quality inside a topic is invisible; and dropping domains by quality can drop the rare one that the
    goal needs. Ours: Ward's merging to a stated number where the paper cuts at a distance, a loss for its accuracy,
    fresh mixtures around the best, and the mean of some best where it takes the one best.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> policy = Climb(domains=6, fine=20, trials=(32, 16, 8))
    >>> plan = policy.revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start)  # it never saw the sources' names
    True
    """

    paper: ClassVar[str] = "climb"

    trials: tuple[int, ...] = Field((64, 32, 16), min_length=1, description="mixtures tried in each round")
    proof: Proof = Field(default_factory=Ngram, description="what is run on each mixture")
    by: str = Field("", description="the column whose values are mixed; empty makes domains from the texts")
    domains: int = Field(
        20, ge=2, le=1000, description="domains made; fewer where they would have fewer than 50 records"
    )
    fine: int = Field(100, ge=2, le=1000, description="clusters that are merged into domains; the paper's is 1000")
    vectors: str = Field("auto", description=_vectors.VECTORS)
    quality: str = Field("", description="column of numbers; domains of low mean are left out; empty: none are")
    least: float = Field(0.0, description="mean quality below which a domain is left out")
    cap: float = Field(4.0, ge=1, description="most epochs of a domain, in trials and in the plan")
    temperature: float = Field(2.0, ge=1, description="flattens natural shares before drawing, share^(1/T)")
    draws: int = Field(30_000, ge=128, description="mixtures predicted in each round; the paper's is 100,000")
    keep: int = Field(16, ge=1, description="best predicted mixtures that are averaged; the paper's is 1")
    regressor: surface.Kind = Field("auto", description="response surface; auto goes by the number of trials")
    seek: Literal["best", "worst"] = Field("best", description="worst turns the choice round, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        own = (self.by,) if self.by else _vectors.needed(self.vectors)
        return tuple(dict.fromkeys(("id", *own, *((self.quality,) if self.quality else ()), *self.proof.needs)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by) if self.by else self.domains_of(plan, pool, run)
        used, dropped = self._good(plan, pool, by)
        room = used.room(self.cap, by)
        sign = 1.0 if self.seek == "best" else -1.0

        def tried(shares: Floats, number: int) -> Floats:
            label = f"climb: trials, round {number + 1}"
            here = run.at("round", number)
            return np.asarray(sign * goal_losses(self.proof, shares, by, used, pool, goal, here, label))

        end = search(tried, room, self.trials, run, self.draws, self.keep, self.temperature, self.regressor)
        details = self._details(end, sign, by, room, plan, dropped)
        shares = dict(zip(by.names, end.chosen.tolist(), strict=True))
        what = self.by or f"{len(by.names)} domains found in the texts"
        note = (
            f"{self.seek} predicted mixture of {what}, from {'+'.join(map(str, self.trials))} trials "
            f"(rank agreement {details['rank_agreement']:.2f})"
        )
        values = {} if self.by else {"domain": np.where(plan.kept, by.index, np.nan)}
        keys = run.uniform(plan.ids, "key")
        return plan.mixed(self.describe(), note, shares, by, keys, self.cap, details, values)

    def domains_of(self, plan: Plan, pool: Pool, run: Run) -> Groups:
        """The kept records, grouped by what their texts are about; those without an embedding are in ``(none)``."""
        read = _vectors.read(self.vectors, plan, pool, run, "climb")
        labels = found(read.values, min(self.domains, max(2, read.rows.size // MEAN)), self.fine, run)
        number = int(labels.max()) + 1
        width = len(str(max(number - 1, 1)))
        names = tuple(f"d{i:0{width}d}" for i in range(number))
        if read.rows.size == len(plan):
            return Groups("domain", names, labels)
        index = np.zeros(len(plan), np.int32)  # "(none)" sorts first
        index[read.rows] = labels + 1
        return Groups("domain", ("(none)", *names), index)

    def _good(self, plan: Plan, pool: Pool, by: Groups) -> tuple[Plan, dict[str, float]]:
        """The plan without domains of low quality, and the mean quality of these."""
        if not self.quality:
            return plan, {}
        pool.require([self.quality], "climb")
        value = pc.cast(pool.column(self.quality), pa.float64()).to_numpy().astype(np.float64)
        known = plan.kept & np.isfinite(value)
        mean = by.sums(np.where(known, value, 0.0)) / np.maximum(by.sums(known), 1)
        bad = (by.sums(known) > 0) & (mean < self.least)
        if not (plan.kept & ~bad[by.index]).any():
            raise EmptyPlan(
                f"climb: every domain's mean {self.quality} is below {self.least:g}; the best has {mean.max():.3g}. "
                f"Lower `least`."
            )
        rest = replace(plan, repeats=np.where(bad[by.index], 0, plan.repeats).astype(np.int32))
        return rest, {by.names[g]: float(mean[g]) for g in np.flatnonzero(bad)}

    def _details(
        self, end: Search, sign: float, by: Groups, room: Room, plan: Plan, dropped: dict[str, float]
    ) -> dict[str, Any]:
        """How well the surface ranks, what each round tried, what the domains are made of."""
        losses = sign * end.losses
        best = int(end.losses.argmin())
        warnings = []
        if end.agreement < 0.5:
            warnings.append(
                f"rank agreement {end.agreement:.2f}: the trials hardly tell mixtures apart; do not trust this mix"
            )
        rounds = [losses[end.number == n] for n in range(int(end.number.max()) + 1)]
        told: dict[str, Any] = {
            "rank_agreement": end.agreement,
            "predicted": float(sign * end.predicted),
            "rounds": [{"min": float(r.min()), "median": float(np.median(r)), "max": float(r.max())} for r in rounds],
            "best_trial": {"loss": float(losses[best]), "shares": _named(by, end.tried[best])},
            "shares": _named(by, end.chosen),
            "natural": _named(by, room.natural),
            "warnings": warnings,
        }
        if self.quality:
            told["left_out"] = dropped
        if not self.by:
            told["domains"] = _made_of(by, plan)
        return told


@dataclass(frozen=True)
class Search:
    """What a search in rounds found.

    Attributes:
        chosen: (groups,) the mixture.
        predicted: its loss, by the last surface.
        tried: (trials, groups).
        losses: (trials,).
        number: (trials,) the round of each trial.
        agreement: rank correlation of losses and what surfaces that had not seen them predicted.
    """

    chosen: Floats
    predicted: float
    tried: Floats
    losses: Floats
    number: npt.NDArray[np.int64]
    agreement: float


def search(
    evaluate: Callable[[Floats, int], Floats],
    room: Room,
    trials: Sequence[int],
    run: Run,
    draws: int = 100_000,
    keep: int = 16,
    temperature: float = 2.0,
    regressor: surface.Kind = "auto",
) -> Search:
    """Trials in rounds, each drawn from the mixtures that a surface fitted to all before predicts to be best.

    Args:
        evaluate: losses (n,) of mixtures (n, groups) tried in a round, given its number.
        room: the mixtures that are allowed.
        trials: of each round.
    """
    tried = draw(room, trials[0], run.rng("round", 0), temperature)
    losses = np.asarray(evaluate(tried, 0), float)
    number = np.zeros(len(tried), np.int64)
    for i, more in enumerate(trials[1:], 1):
        predict = surface.fit(tried, losses, regressor)
        rng = run.rng("round", i)
        best = _predicted(predict, room, draws, rng, temperature, keep)
        chosen: list[Floats] = []
        some = best[: max(more**2, POOL)]
        for row in some[rng.permutation(len(some))]:
            if len(chosen) < more and np.abs(np.vstack([tried, *chosen]) - row).sum(1).min() > SAME:
                chosen.append(row)
        if not chosen:  # nothing new in a room that is all but a point
            break
        losses = np.concatenate([losses, evaluate(np.array(chosen), i)])
        tried = np.vstack([tried, *chosen])
        number = np.concatenate([number, np.full(len(chosen), i)])
    predict = surface.fit(tried, losses, regressor)
    best = _predicted(predict, room, draws, run.rng("last"), temperature, keep)[:keep].mean(0)
    order = run.rng("folds").permutation(len(tried))  # rounds must not be folds
    held = surface.cross_validated(tried[order], losses[order], regressor)
    constant = np.ptp(held) == 0 or np.ptp(losses) == 0
    agreement = 0.0 if constant else float(spearmanr(held, losses[order]).statistic)
    return Search(best, float(predict(best[None])[0]), tried, losses, number, agreement)


def _predicted(
    predict: Callable[[Floats], Floats], room: Room, n: int, rng: np.random.Generator, temperature: float, keep: int
) -> Floats:
    """`n` mixtures, the best predicted first: half drawn as in the first round, half around the best of these."""
    wide = draw(room, n - n // 2, rng, temperature)
    centre = wide[np.argsort(predict(wide), kind="stable")[:keep]].mean(0)
    near = draw(replace(room, natural=centre, kl=np.inf), n // 2, rng, 1.0)
    both = np.vstack([wide, room.nearest(near) if np.isfinite(room.kl) else near])
    return np.asarray(both[np.argsort(predict(both), kind="stable")])


def _named(by: Groups, shares: Floats) -> dict[str, float]:
    return dict(zip(by.names, shares.tolist(), strict=True))


def _made_of(by: Groups, plan: Plan) -> dict[str, Any]:
    """Records of each domain and its three largest sources."""
    told = {}
    for g, name in enumerate(by.names):
        mine = plan.kept & (by.index == g)
        counts = np.bincount(plan.sources.index[mine], minlength=len(plan.sources.names))
        most = [i for i in np.argsort(-counts, kind="stable")[:3] if counts[i]]
        told[name] = {
            "records": int(mine.sum()),
            "sources": {plan.sources.names[i]: float(counts[i] / counts.sum()) for i in most},
        }
    return told
