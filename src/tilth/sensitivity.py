"""How much a mixture depends on what should not matter: the seed, the proxy's size, the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tilth.core import Policy, Proof
from tilth.core.errors import UsageError

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["Shift", "describe", "sensitivity"]

SEEDS = 3
LEAST_VOCAB = 257


@dataclass(frozen=True)
class Shift:
    """What a policy asks for when one thing is changed.

    Attributes:
        policy: its name.
        changed: what was changed, in words; empty for the plan itself.
        distance: L1 distance of the shares from the plan's, from 0 to 2.
        shares: group -> share.
    """

    policy: str
    changed: str
    distance: float
    shares: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def sensitivity(job: Build) -> list[Shift]:
    """Every mixing policy of the recipe, run again with other seeds, half the proxy and half the tokenizer.

    Raises:
        UsageError: when no policy of the recipe mixes by a preference.
    """
    found = []
    plan, goal = job.start, job.needed_goal().blind()
    for number, policy in enumerate(job.policies):
        here = job.run.at("plan", number)
        made = policy.revise(plan, job.pool, goal, here)
        if made.requested != plan.requested and policy.worst() != policy:
            found.append(Shift(policy.name(), "", 0.0, dict(made.requested)))
            for changed, other, seed in _variants(policy, job.recipe.seed):
                run = replace(job.run, seed=seed).at("plan", number)
                shares = dict(other.revise(plan, job.pool, goal, run).requested)
                found.append(Shift(policy.name(), changed, _distance(made.requested, shares), shares))
        plan = made
    if not found:
        raise UsageError("No policy of the recipe chooses a mixture; sensitivity is that of shares that were chosen.")
    return found


def describe(shifts: list[Shift]) -> str:
    """For people: one line per change, and whether the mixture can be trusted."""
    lines = []
    for shift in shifts:
        top = sorted(shift.shares.items(), key=lambda pair: -pair[1])[:4]
        told = ", ".join(f"{name} {share:.0%}" for name, share in top)
        lines.append(f"{shift.changed or shift.policy:32} L1 {shift.distance:.2f}  {told}")
    far = max(shift.distance for shift in shifts)
    advice = "it hardly matters" if far < 0.2 else "look at both mixtures" if far < 0.5 else "do not trust the mixture"
    return "\n".join([*lines, f"largest change of shares {far:.2f} (2 is a different mixture altogether): {advice}"])


def _variants(policy: Policy, seed: int) -> Iterator[tuple[str, Policy, int]]:
    for more in range(1, SEEDS + 1):
        yield f"  seed {seed + more}", policy, seed + more
    proof = getattr(policy, "proof", None)
    if not isinstance(proof, Proof):
        return
    if (half := proof.smaller()) != proof:
        yield "  half the proxy", policy.model_copy(update={"proof": half}), seed
    vocab = proof.describe().get("vocab")
    if isinstance(vocab, int) and vocab // 2 >= LEAST_VOCAB:
        other = proof.model_copy(update={"vocab": vocab // 2})
        yield f"  tokenizer of {vocab // 2} ids", policy.model_copy(update={"proof": other}), seed


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in {*one, *other})
