"""MetaRater: learn how to weigh many quality scores, from small proofs of what each weighting selects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from scipy.stats import rankdata, spearmanr

from tilth.core import Goal, Losses, Plan, Policy, Pool, Proof, Run
from tilth.core.errors import DataError
from tilth.core.files import write_atomic
from tilth.core.method import digest
from tilth.models import surface
from tilth.policies.select._ranked import fill, numbers, one_group
from tilth.proofs.ngram import Ngram

__all__ = ["MetaRater"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class MetaRater(Policy):
    """Weighs quality columns against each other by what the weighting selects (Zhuang et al. 2025, arXiv 2504.14194).

    1. Every column becomes ranks among the plan's records, from 0 to 1, so that no scale wins by its spread.
    2. Each column alone, all equally, and `trials` weightings at random each select the best that fill the budget, and
       `proof` is run on what they select, against the target.
    3. A response surface is fitted to losses over weightings, `draws` fresh ones are predicted, and the `keep` best are
       averaged. The records are chosen by that average.

    With ``signed: true`` a column may count against a record; without it a harmful column can only get no weight. The
    paper trained 256 proxies of 18 M parameters for 25 scores; the default counts n-grams, seconds for 32 trials.

    Cost: the trials, and one more on the choice. Trap: look at `rank_agreement` and at `measured`: near 0, or above the
    loss of a column alone, the weights are noise. The budget must be well below the pool, or every weighting selects
    the same. A target that stands in the pool is found by any score that recognises it. Ranks, the trials of single
    columns and signs are ours.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> texts = ["rain on the field"] * 40 + ["zq xv kk"] * 40
    >>> columns = {"good": [*range(80, 0, -1)], "bad": [*range(80)]}
    >>> pool, target = TablePool(pa.table({"text": texts, **columns})), TablePool(pa.table({"text": texts[:4]}))
    >>> goal = Goal(target, target, Budget(30, "records"))
    >>> policy = MetaRater(columns=("good", "bad"), trials=8)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> bool(plan.kept[:40].sum() == 30), plan.decisions[0].details["weights"]["good"] > 0.6
    (True, True)
    """

    paper: ClassVar[str] = "metarater"

    columns: tuple[str, ...] = Field(
        min_length=2,
        description="the quality columns, high preferred; with signs either way",
        examples=[("quality.word_count", "perplexity.bits_per_byte")],
    )
    trials: int = Field(32, ge=8, le=100_000, description="weightings at random that are tried")
    proof: Proof = Field(default_factory=Ngram, description="what is run on each selection")
    signed: bool = Field(False, description="whether a column may count against a record")
    draws: int = Field(20_000, ge=128, description="weightings predicted")
    keep: int = Field(64, ge=1, description="best predicted weightings that are averaged")
    regressor: surface.Kind = Field("auto", description="response surface; auto goes by the number of trials")
    seek: Literal["best", "worst"] = Field("best", description="worst turns the choice round, as a negative control")

    @field_validator("columns")
    @classmethod
    def _distinct(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("the columns are different ones")
        return columns

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*self.columns, *self.proof.needs)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "meta_rater")
        ranks, missing = self._ranks(plan, pool)
        ties = run.uniform(plan.ids, "ties")
        m = len(self.columns)
        tried = np.vstack([np.eye(m), np.full((1, m), 1 / m), self._drawn(self.trials, run.at("trials"))])
        items = goal.weights(goal.holdout).to_numpy()
        made = [self.proof.fingerprint(), plan.fingerprint, goal.fingerprint, run.number("proof"), run.device]
        made.append(hashlib.sha256(np.ascontiguousarray(ranks).tobytes()).hexdigest())

        def losses_of(weightings: Floats, label: str) -> Floats:
            work = [_Weighting(digest([*made, row.tolist()]), row) for row in weightings]
            tell = partial(_tried, self.proof, ranks, ties, plan, pool, goal, run.alone())
            return np.asarray(np.stack(run.map(tell, work, label)) @ (items / items.sum()), np.float64)

        losses = losses_of(tried, "meta_rater: trials")
        predict = surface.fit(self._sides(tried), losses, self.regressor)
        fresh = self._drawn(self.draws, run.at("draws"))
        order = np.argsort(predict(self._sides(fresh)), kind="stable")
        chosen = fresh[order[: self.keep] if self.seek == "best" else order[-self.keep :]].mean(0)
        measured = float(losses_of(chosen[None], "meta_rater: check")[0])
        keep, keys, threshold = _selected(ranks @ chosen, plan, ties)
        details = self._details(tried, losses, chosen, measured, missing)
        told = ", ".join(f"{name} {w:.2f}" for name, w in details["weights"].items())
        return plan.revised(
            self.describe(),
            f"the best {int(keep.sum()):,} by {told} (rank agreement of {len(tried)} trials "
            f"{details['rank_agreement']:.2f})",
            keep=keep,
            threshold=threshold,
            values={"key": keys},
            reason="its weighted ranks are below the cut",
            details=details,
        )

    def _ranks(self, plan: Plan, pool: Pool) -> tuple[Floats, dict[str, int]]:
        """(records, columns) places from 0 to 1 among the plan's records; the middle where there is no value."""
        out, missing = np.full((len(plan), len(self.columns)), 0.5), {}
        for j, name in enumerate(self.columns):
            raw = numbers(pool, name, "meta_rater")
            known = plan.kept & np.isfinite(raw)
            if not known.any():
                raise DataError(f"meta_rater: no record of the plan has {name}. Score it, or leave it out.")
            out[known, j] = (rankdata(raw[known]) - 0.5) / known.sum()
            missing[name] = int((plan.kept & ~known).sum())
        return out, {name: count for name, count in missing.items() if count}

    def _drawn(self, n: int, run: Run) -> Floats:
        """(n, columns) weightings at random whose absolute values sum to 1."""
        rng = run.rng("weightings")
        weights = rng.dirichlet(np.ones(len(self.columns)), n)
        return weights * rng.choice([-1.0, 1.0], weights.shape) if self.signed else weights

    def _sides(self, weights: Floats) -> Floats:
        """What counts for a record and what against it, so that all are positive and sum to 1."""
        return np.hstack([np.maximum(weights, 0), np.maximum(-weights, 0)]) if self.signed else weights

    def _details(
        self, tried: Floats, losses: Floats, chosen: Floats, measured: float, missing: dict[str, int]
    ) -> dict[str, Any]:
        m = len(self.columns)
        held = surface.cross_validated(self._sides(tried), losses, self.regressor)
        flat = np.ptp(held) == 0 or np.ptp(losses) == 0
        agreement = 0.0 if flat else float(spearmanr(held, losses).statistic)
        single = dict(zip(self.columns, losses[:m].tolist(), strict=True))
        warnings = []
        if agreement < 0.5:
            warnings.append(f"rank agreement {agreement:.2f}: the trials hardly tell weightings apart")
        best = min(single, key=single.__getitem__)
        if self.seek == "best" and measured > single[best]:
            warnings.append(f"{best} alone selects better ({single[best]:.4f}) than the weights do ({measured:.4f})")
        return {
            "weights": dict(zip(self.columns, chosen.tolist(), strict=True)),
            "rank_agreement": agreement,
            "measured": measured,
            "alone": single,
            "equal": float(losses[m]),
            "trials": {"min": float(losses.min()), "median": float(np.median(losses)), "max": float(losses.max())},
            "unknown": missing,
            "warnings": warnings,
        }


@dataclass(frozen=True)
class _Weighting:
    """Weights to be tried; `key` is made of everything their losses depend on."""

    key: str
    weights: Floats


def _tried(
    proof: Proof, ranks: Floats, ties: Floats, plan: Plan, pool: Pool, goal: Goal, run: Run, trial: _Weighting
) -> Losses:
    """The proof's losses on what one weighting selects; all trials have the same randomness, so they pair."""
    file = run.scratch / f"{trial.key}.losses" if run.scratch is not None else None
    if file is not None and file.exists():
        return np.frombuffer(file.read_bytes())
    keep, _, _ = _selected(ranks @ trial.weights, plan, ties)
    chosen = plan.revised(proof.describe(), "trial weighting", keep=keep)
    losses = np.asarray(proof.trial(chosen, pool, goal, run.at("proof")), np.float64)
    if file is not None:
        write_atomic(file, losses.tobytes())
    return losses


def _selected(score: Floats, plan: Plan, ties: Floats) -> tuple[Bools, npt.NDArray[np.float32], dict[str, float]]:
    """The highest scores that fill the budget, the keys they were cut on, and the cut."""
    keys = score.astype(np.float32)
    keep, cut = fill(plan, plan.kept, keys, ties, one_group(plan), np.array([float(plan.budget.amount)]))
    return keep, keys, cut
