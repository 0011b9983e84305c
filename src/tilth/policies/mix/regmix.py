"""RegMix: try many mixtures cheaply, regress the target's loss on the mixture, take the best predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import spearmanr

from tilth.core import Goal, Groups, Plan, Policy, Pool, Proof, Run, groups
from tilth.models import surface
from tilth.policies.mix._draw import draw, goal_losses
from tilth.proofs.ngram import Ngram

__all__ = ["RegMix"]

Floats = npt.NDArray[np.float64]


class RegMix(Policy):
    """Shares of the sources from many small trials and one regression (Liu et al. 2024, arXiv 2407.01492).

    1. Draw `trials` mixtures: a strength from a grid of 15 between 0.1 and 5, then a Dirichlet around the natural
       shares flattened by `temperature`; those that would read a source more than `cap` times are drawn again.
    2. Run `proof` on each, against the target.
    3. Fit a response surface, predict `draws` fresh mixtures and average the `keep` best.

    Any proof can be the trial. The default counts n-grams, where 64 trials take seconds; the paper trained 512 models
    of 1 M parameters, and 64 trials already give most of its ranking (`tilth claim liu2024_regmix`).
    Cost: the trials. Trap: look at `rank_agreement`, the correlation between trials and what surfaces that had not
    seen them predicted: near 0 the choice is noise. The paper's notebook stops its regression early on the test rows;
    this one does not.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> plan = RegMix(trials=48).revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start)  # nearer to the planted mixture than natural shares
    True
    """

    paper: ClassVar[str] = "regmix"

    trials: int = Field(64, ge=8, le=100_000, description="mixtures tried; the paper's 512 is worth it for dear proofs")
    proof: Proof = Field(default_factory=Ngram, description="what is run on each mixture")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of a source, in trials and in the plan")
    temperature: float = Field(2.0, ge=1, description="flattens natural shares before drawing, share^(1/T)")
    draws: int = Field(100_000, ge=128, description="mixtures predicted")
    keep: int = Field(128, ge=1, description="best predicted mixtures that are averaged")
    regressor: surface.Kind = Field("auto", description="response surface; auto goes by the number of trials")
    seek: Literal["best", "worst"] = Field("best", description="worst turns the choice round, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by, *self.proof.needs)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        room = plan.room(self.cap, by)
        tried = draw(room, self.trials, run.rng("trials"), self.temperature)
        losses = goal_losses(self.proof, tried, by, plan, pool, goal, run.at("trials"), "regmix: trials")
        predict = surface.fit(tried, losses, self.regressor)
        fresh = draw(room, self.draws, run.rng("draws"), self.temperature)
        order = np.argsort(predict(fresh), kind="stable")
        chosen = fresh[order[: self.keep] if self.seek == "best" else order[-self.keep :]].mean(0)
        details = self._details(tried, losses, predict, chosen, room.natural, by)
        named = dict(zip(by.names, chosen.tolist(), strict=True))
        note = (
            f"{self.seek} of {self.draws:,} predicted mixtures of {self.by}, from {self.trials} trials "
            f"(rank agreement {details['rank_agreement']:.2f})"
        )
        keys = run.uniform(plan.ids, "key")
        return plan.mixed(self.describe(), note, named, by, keys, self.cap, details=details)

    def _details(
        self, tried: Floats, losses: Floats, predict: Any, chosen: Floats, natural: Floats, by: Groups
    ) -> dict[str, Any]:
        """What a reader needs to judge the choice: how well the surface ranks, what was tried, what it expects."""
        held = surface.cross_validated(tried, losses, self.regressor)
        agreement = float(spearmanr(held, losses).statistic) if np.ptp(held) > 0 and np.ptp(losses) > 0 else 0.0
        best = int(np.argmin(losses))
        warnings = []
        if agreement < 0.5:
            warnings.append(
                f"rank agreement {agreement:.2f}: the trials hardly tell mixtures apart; do not trust this mix"
            )
        return {
            "rank_agreement": agreement,
            "predicted": float(predict(chosen[None])[0]),
            "predicted_natural": float(predict(natural[None])[0]),
            "best_trial": {"loss": float(losses[best]), "shares": _named(by, tried[best])},
            "trials": {"min": float(losses.min()), "median": float(np.median(losses)), "max": float(losses.max())},
            "shares": _named(by, chosen),
            "warnings": warnings,
        }


def _named(by: Groups, shares: Floats) -> dict[str, float]:
    return dict(zip(by.names, shares.tolist(), strict=True))
