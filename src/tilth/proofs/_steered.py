"""Training on a plan whose shares an online policy moves: the windows of each group, and what the policy may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilth import catalog
from tilth.core import Budget, Goal, OnlinePolicy, Plan, Pool, Room, Run
from tilth.core.errors import BadInput, UsageError
from tilth.models.batches import Windows, reading_order, windows, windows_to_score
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._text import Scored, encoded_sample, scored_items

if TYPE_CHECKING:
    from tilth.models.feeds import Mixed
    from tilth.models.optim import Options
    from tilth.models.transformer import Decoder

__all__ = ["Reading", "allowed", "reading"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What there is to read in a trial, and how much of it is read.

    Attributes:
        plan: the part of the plan that the trial's scale leaves, its budget in proportion.
        groups: the windows of each group; records are numbered as in `rows`.
        targets, weights: the goal's target, by what the plan says of its items.
        tokens: read in all.
        rows: rows of the plan.
    """

    plan: Plan
    groups: Mapping[str, Windows]
    targets: Mapping[str, Windows]
    weights: Mapping[str, float]
    tokens: int
    rows: npt.NDArray[np.int64]

    @property
    def arrays(self) -> list[npt.NDArray[np.int32]]:
        """What a checkpoint must be keyed by."""
        return [w.inputs for w in (*self.groups.values(), *self.targets.values())]

    def feed(
        self, pool: Pool, goal: Goal, run: Run, model: Decoder, options: Options, *, apart: bool
    ) -> tuple[Mixed, OnlinePolicy[Any]]:
        """Batches by the policy's shares, or by the log that the plan brings; and the policy."""
        from tilth.models.feeds import Mixed
        from tilth.models.influence import LastLayer, influence

        steering, first, size = self.plan.steering, self.plan.moving, options.batch
        assert steering is not None
        policy: OnlinePolicy[Any] = catalog.build(steering.policy)
        mixed = partial(Mixed, self.groups, first, size, self.steps(size), run.at("steered"))
        if steering.log:
            return mixed(replay=steering.log), policy
        look = max(1, size // 2)  # windows of a mini-batch; half a step's keep the cost of asking low
        asked = LastLayer(model, self.groups, self.targets, look, run, apart, options.precision)
        within = allowed(self.plan.room(steering.cap, steering.groups), first if steering.mirrored else None)
        online = policy, policy.start(self.plan, pool, goal.blind(), run.at("online", "start"))
        told = influence(asked, self.weights)
        return mixed(online=online, influence=told, within=within, every=steering.every), policy

    def fixed(self, run: Run, batch: int) -> Mixed:
        """Batches by the shares before the first decision, for a reference model."""
        from tilth.models.feeds import Mixed

        return Mixed(self.groups, self.plan.moving, batch, self.steps(batch), run.at("steered"))

    def steps(self, batch: int) -> int:
        """Steps of `batch` windows in which the tokens are read."""
        context = int(next(iter(self.groups.values())).inputs.shape[1])
        return -(-self.tokens // (batch * context))


def reading(
    plan: Plan, pool: Pool, goal: Goal, run: Run, tokenizer: Tokenizer, *, tokens: int, context: int, longest: int
) -> Reading:
    """The windows of a steered plan at the scale of a proof that reads `tokens`.

    Candidates are left out in proportion to what is read, so a group lasts as many epochs as at full scale.

    Raises:
        UsageError: when the plan has phases or prefixes, or was made for another target.
        BadInput: when nothing is left at this scale.
    """
    steering = plan.steering
    assert steering is not None
    plan.require_plain("A proof of a plan that an online policy steers")
    if np.unique(plan.phase[plan.kept]).size > 1:
        raise UsageError("The plan has phases, and an online policy says anew at every step what is read.")
    if len(steering.aims) != goal.target.count:
        raise UsageError("The plan was steered towards a target of another size. Make it anew.")
    there = int((plan.sizes * plan.repeats).sum())
    times = there / max(1, plan.amount)
    rows, offsets, ids = encoded_sample(plan, pool, tokenizer, round(tokens * times), run)
    if ids.size == 0:
        raise BadInput("The plan's records hold no text to train on.")
    mine = np.zeros(len(plan), np.int32)
    mine[rows] = plan.repeats[rows]
    amount = max(1, round(plan.amount * int((plan.sizes * mine).sum()) / max(1, there)))
    small = replace(plan, repeats=mine, budget=Budget(amount, plan.budget.unit))
    made = int(((np.diff(offsets) + 1) * plan.repeats[rows]).sum())
    groups = {}
    for name in small.moving:
        places = np.flatnonzero(steering.groups.index[rows] == steering.groups.names.index(name))
        some = rows[places]
        order = reading_order(plan.repeats[some], run.rng("order", name), None, plan.rank[some])
        groups[name] = windows(offsets, ids, places[order], context, 0)
    items = scored_items(goal.target, tokenizer, longest, context)
    weight = goal.weights(goal.target).to_numpy()
    aims = np.array(steering.aims)
    targets = {str(name): _held(items, np.flatnonzero(aims == name), context) for name in np.unique(aims)}
    targets = {name: held for name, held in targets.items() if held.tokens.sum()}
    weights = {name: float(weight[aims == name].sum()) for name in targets}
    return Reading(small, groups, targets, weights, max(1, min(tokens, round(made / times))), rows)


def allowed(room: Room, turned: Mapping[str, float] | None) -> Callable[[Mapping[str, float]], Mapping[str, float]]:
    """Moves shares to the nearest allowed ones.

    Args:
        turned: where given, shares are first turned round about these: a group given twice as much gets half.
    """

    def within(shares: Mapping[str, float]) -> Mapping[str, float]:
        wanted = np.array([float(shares.get(name, 0.0)) for name in room.names])
        if turned is not None:
            about = np.array([turned.get(name, 0.0) for name in room.names])
            wanted = about**2 / np.maximum(wanted / wanted.sum(), 1e-6)
        return dict(zip(room.names, room.nearest(wanted).tolist(), strict=True))

    return within


def _held(items: Scored, which: npt.NDArray[np.int64], context: int) -> Windows:
    lengths = np.diff(items.offsets)[which]
    chosen = np.repeat(items.offsets[:-1][which] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return windows_to_score(offsets, items.ids[chosen], context, 0, items.counted[chosen])
