"""MixtureLaw: try some mixtures, fit a law of the loss, go down its slope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import spearmanr

from tilth.core import Goal, Plan, Policy, Pool, Proof, Run, groups
from tilth.models import mixture_law
from tilth.policies.mix._draw import draw, goal_losses
from tilth.policies.mix.exact_ngram_mix import descend
from tilth.proofs.ngram import Ngram

__all__ = ["MixtureLaw"]

Floats = npt.NDArray[np.float64]
STEPS = 500


class MixtureLaw(Policy):
    """Shares of the sources that a law of the loss, fitted to small trials, says are best.

    Trials as in `regmix`; in place of a regression that only interpolates, a law with a few parameters per source
    (`models/mixture_law`: power, exponential or bilinear), which can be minimised under all limits by its slope and
    says how unsure it is: `interval` in the details is that of the predicted loss, over resampled trials. The default
    is the form that knows that the first percents of a source teach most; on planted mixtures it found better ones
    from few trials than the other forms and than `auto`, which can be led astray by them.

    Cost: the trials, then a second or a few. Trap: the interval knows the trials' noise, not whether the form is right:
    compare it with `error`, what held-out trials were missed by. The minimum may lie where nothing was tried; when it
    does, and the law promises more than three errors below the best trial, the decision warns. `regmix` is the surer
    choice with hundreds of trials. Sources: Ye et al. 2024 (arXiv 2403.16952) for exponential laws, fitted there on
    several sizes of model to extrapolate, which this does not; Ge et al. 2024 (arXiv 2405.14908) for powers.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> plan = MixtureLaw(trials=32).revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start)  # nearer to the planted mixture than natural shares
    True
    """

    trials: int = Field(64, ge=8, le=100_000, description="mixtures tried; five per source are few, ten are good")
    proof: Proof = Field(default_factory=Ngram, description="what is run on each mixture")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of a source, in trials and in the plan")
    temperature: float = Field(2.0, ge=1, description="flattens natural shares before drawing, share^(1/T)")
    law: mixture_law.Kind = Field("power", description="the form; auto takes what fits held-out trials best")
    resamples: int = Field(50, ge=10, le=10_000, description="fits to resampled trials, for the interval")
    starts: int = Field(4, ge=1, le=1000, description="descents: natural shares, equal ones, then the best trials")
    seek: Literal["best", "worst"] = Field("best", description="worst climbs instead, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by, *self.proof.needs)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        room = plan.room(self.cap, by)
        tried = draw(room, self.trials, run.rng("trials"), self.temperature)
        losses = goal_losses(self.proof, tried, by, plan, pool, goal, run.at("trials"), "mixture_law: trials")
        law = mixture_law.fit(tried, losses, self.law, resamples=self.resamples, run=run.at("law"))
        sign = 1.0 if self.seek == "best" else -1.0

        def objective(shares: Floats) -> tuple[float, Floats]:
            loss, slope = law.slope(shares)
            return sign * loss, sign * slope

        equal = (room.high > 0) / (room.high > 0).sum()
        order = np.argsort(sign * losses, kind="stable")
        starts = [room.nearest(room.natural), room.nearest(equal), *tried[order]][: self.starts]
        ends = [descend(objective, start, room, STEPS) for start in run.track(starts, "mixture_law: descents")]
        chosen = ends[int(np.argmin([value for _, value in ends]))][0]
        shares = dict(zip(by.names, chosen.tolist(), strict=True))
        best = int(losses.argmin())
        low, high = law.interval(chosen[None])[:, 0]
        details: dict[str, Any] = {
            "law": law.kind,
            "terms": law.terms,
            "error": law.error,
            "rank_agreement": _agreement(law.held_out, losses),
            "predicted": float(law.predict(chosen[None])[0]),
            "interval": [float(low), float(high)],
            "predicted_natural": float(law.predict(room.natural[None])[0]),
            "best_trial": {
                "loss": float(losses[best]),
                "shares": dict(zip(by.names, tried[best].tolist(), strict=True)),
            },
            "nearest_trial": float(np.abs(tried - chosen).sum(1).min()),
            "shares": shares,
        }
        details["warnings"] = self._warnings(details)
        note = (
            f"{self.seek} mixture of {self.by} by a law ({law.kind}) of {self.trials} trials: "
            f"{details['predicted']:.4f} predicted, {low:.4f} to {high:.4f} over resampled trials"
        )
        return plan.mixed(self.describe(), note, shares, by, run.uniform(plan.ids, "key"), self.cap, details=details)

    def _warnings(self, told: Mapping[str, Any]) -> list[str]:
        """Why the law should not be trusted."""
        warnings = []
        if (agreement := told["rank_agreement"]) < 0.5:
            warnings.append(
                f"rank agreement {agreement:.2f}: the law hardly tells mixtures apart; do not trust this mix"
            )
        promised = told["best_trial"]["loss"] - told["predicted"]
        if self.seek == "best" and promised > 3 * told["error"] and told["nearest_trial"] > 0.2:
            warnings.append(
                f"the law promises {promised:.3f} less than the best trial, at a mixture unlike any tried; confirm it"
            )
        return warnings


def _agreement(held: Floats, losses: Floats) -> float:
    """Rank correlation of held-out predictions and losses; 0 where either is constant."""
    return float(spearmanr(held, losses).statistic) if np.ptp(held) > 0 and np.ptp(losses) > 0 else 0.0
