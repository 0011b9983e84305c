"""What trials tell beside the comparison itself: signal to noise, agreement of scales, tokens to reach, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.pool import Pool
from tilth.core.proof import Curve
from tilth.engine.evidence.agreement import DecisionAccuracy, decision_accuracy
from tilth.engine.evidence.reach import Reach, reach
from tilth.engine.evidence.signal import SignalToNoise, by_goal

__all__ = ["Evidence", "gather", "goal_masks"]

Floats = npt.NDArray[np.float64]
CONTROL = "worst"  # meant to be bad, so its distance from the others says nothing about telling choices apart


@dataclass(frozen=True)
class Evidence:
    """Beside the comparison.

    Attributes:
        metrics: goal (``all`` for all items) -> signal to noise of its loss.
        accuracy: how often half the scale orders two plans as the full scale does.
        reach: rival -> tokens to reach its final loss; only from proofs that measure on the way.
        curves: plan -> one curve per seed; only from such proofs.
        weights: weight of each item in a curve's mean.
    """

    metrics: Mapping[str, SignalToNoise] = field(default_factory=dict)
    accuracy: DecisionAccuracy | None = None
    reach: Mapping[str, Reach] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    weights: Floats = field(default_factory=lambda: np.zeros(0))

    def lines(self) -> list[str]:
        """Sentences for a trust statement."""
        out = []
        for goal, found in self.metrics.items():
            of = "" if goal == "all" else f" on goal {goal}"
            out.append(
                f"signal to noise{of}: plans spread over {found.ratio:.1f} x the noise between seeds; "
                f"{found.reliability:.0%} of the variance between them is real"
            )
        if self.accuracy is not None:
            a = self.accuracy
            out.append(
                f"half the scale orders {a.alike:g} of {a.pairs} pairs of plans as the full scale does "
                f"({a.share:.0%}, 95 % interval [{a.low:.0%}, {a.high:.0%}])"
            )
        return out

    def mean_curves(self) -> dict[str, tuple[Floats, Floats]]:
        """Plan -> tokens and mean loss, averaged over seeds measurement by measurement."""
        w = self.weights / self.weights.sum() if self.weights.size else self.weights
        out = {}
        for name, curves in self.curves.items():
            points = min(c.tokens.size for c in curves)
            tokens = np.mean([c.tokens[:points] for c in curves], 0)
            out[name] = (tokens, np.mean([c.losses[:points] @ w for c in curves], 0))
        return out

    def _training(self, name: str, points: int) -> list[float | None]:
        """Mean training loss over seeds at each measurement, in nats per token."""
        return [_finite(v) for v in np.mean([c.training[:points] for c in self.curves[name]], 0)]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; what is infinite or unknown is None."""
        return {
            "signal_to_noise": {
                goal: {
                    "spread": f.spread,
                    "noise": f.noise,
                    "ratio": _finite(f.ratio),
                    "reliability": f.reliability,
                }
                for goal, f in self.metrics.items()
            },
            "decision_accuracy": vars(self.accuracy) if self.accuracy else None,
            "tokens_to_reach": {
                name: {key: _finite(value) for key, value in vars(r).items()} | {"told": str(r)}
                for name, r in self.reach.items()
            },
            "curves": {
                name: {"tokens": tokens.tolist(), "loss": loss.tolist(), "training": self._training(name, tokens.size)}
                for name, (tokens, loss) in self.mean_curves().items()
            },
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def gather(
    losses: Mapping[str, Floats],
    small: Mapping[str, Floats],
    curves: Mapping[str, Sequence[Curve]],
    weights: Floats,
    holdout: Pool,
    pairs: Mapping[str, tuple[str, str]],
) -> Evidence:
    """From the trials' losses at full and half scale.

    Args:
        losses, small: plan -> (seeds, items).
        curves: plan -> one curve per seed, where the proof has them.
        pairs: label -> (plan, rival) whose tokens to reach are wanted.
    """
    w = weights / weights.sum()
    choices = {n: t for n, t in losses.items() if n != CONTROL}
    metrics = by_goal(choices, w, goal_masks(holdout)) if len(choices) > 1 else {}
    both = [n for n in losses if n in small]
    accuracy = None
    if len(both) > 2:
        half, full = ([float((side[n] @ w).mean()) for n in both] for side in (small, losses))
        accuracy = decision_accuracy(half, full)
    reached = {}
    for label, (plan, rival) in pairs.items():
        if plan in curves and rival in curves and min(c.tokens.size for c in curves[plan]) > 1:
            reached[label] = reach(curves[plan], curves[rival], w)
    return Evidence(metrics, accuracy, reached, dict(curves), w)


def goal_masks(holdout: Pool) -> dict[str, npt.NDArray[np.bool_]]:
    """Goal -> which items are its; a holdout without a ``goal`` column has one, called ``goal``."""
    if "goal" not in holdout.schema.names:
        return {"goal": np.ones(holdout.count, bool)}
    names = np.array([name or "" for name in holdout.column("goal").to_pylist()], object)
    return {name: names == name for name in sorted({*names.tolist()})}
