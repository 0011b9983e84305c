"""Mixtures that change on the way: what policies that plan phases share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core import Groups, Plan, Run
from tilth.core.errors import UsageError

__all__ = ["parted", "phased"]

Floats = npt.NDArray[np.float64]
OFF = 0.05  # a share that misses what was asked by more is worth a warning


def parted(plan: Plan, by: Groups, names: Sequence[str], who: str) -> tuple[Floats, Floats, float]:
    """Natural shares inside the named groups, those inside all others, and the named ones' share of everything.

    Raises:
        UsageError: when a name is none of the groups', or the plan has records of one side alone.
    """
    missing = [name for name in names if name not in by.names]
    if missing:
        raise UsageError(f"{who}: no record has {missing[0]!r} in {by.by}. It has {', '.join(by.names[:8])}.")
    natural = by.sums(plan.sizes * plan.kept)
    ours = np.isin(by.names, names)
    if not natural[ours].sum() or not natural[~ours].sum():
        raise UsageError(f"{who} needs records of {', '.join(names)} and of others in {by.by}; the plan has but one.")
    inside, outside = (np.where(mask, natural, 0) / natural[mask].sum() for mask in (ours, ~ours))
    return inside, outside, float(natural[ours].sum() / natural.sum())


def phased(
    plan: Plan,
    policy: Mapping[str, Any],
    note: str,
    shares: Floats,
    lengths: Floats,
    by: Groups,
    cap: float,
    run: Run,
) -> Plan:
    """A plan filled by the shares of all phases together, each group's records then split among the phases by lot.

    A record is read in one phase, with all its repeats. Limits hold over the whole plan, not in each phase.

    Args:
        shares: (phases, groups), rows sum to 1.
        lengths: (phases,) parts of the budget, summing to 1.
    """
    parts = shares * lengths[:, None]
    whole = dict(zip(by.names, parts.sum(0).tolist(), strict=True))
    made = plan.mixed(policy, note, whole, by, run.uniform(plan.ids, "key"), cap)
    ends = np.cumsum(parts / np.maximum(parts.sum(0), 1e-300), axis=0)  # (phases, groups)
    read = (made.sizes * made.repeats).astype(np.float64)
    order = np.lexsort((run.uniform(plan.ids, "phase"), by.index))
    total = by.sums(read)
    ahead = np.concatenate([[0.0], np.cumsum(total)[:-1]])[by.index[order]]
    place = np.empty(len(plan))
    place[order] = (np.cumsum(read[order]) - read[order] / 2 - ahead) / np.maximum(total, 1.0)[by.index[order]]
    phase = (place[None] > ends[:-1][:, by.index]).sum(0)
    found = np.array([by.sums(read * (phase == p)) for p in range(len(lengths))])
    found /= np.maximum(found.sum(1, keepdims=True), 1.0)
    told = [dict(zip(by.names, row.tolist(), strict=True)) for row in found]
    last = made.decisions[-1]
    last = replace(last, details={**last.details, "phases": told})
    made = replace(made, phase=phase.astype(np.int16), decisions=(*made.decisions[:-1], last))
    if np.abs(found - shares).max() > OFF:
        g = int(np.abs(found - shares).max(0).argmax())
        asked, got = (", ".join(f"{row[g]:.0%}" for row in rows) for rows in (shares, found))
        made = made.warned(f"{by.names[g]!r} has {got} of the phases, {asked} were asked: too little of something")
    return made
