"""Skill graph: which skill's records help which skill, learned from short runs of a small model.

Rows are skills trained on, columns skills helped. Source: Skill-it (arXiv 2307.14430); the cheap form, the share of the
loss that a run takes away, is the one of its authors' later work (Aioli, arXiv 2411.05735).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tilth.core import Run
from tilth.models.batches import Windows
from tilth.models.feeds import Mixed
from tilth.models.optim import Options
from tilth.models.train import record_losses, train_lm
from tilth.models.transformer import Decoder

__all__ = ["helped", "preceded"]

Floats = npt.NDArray[np.float64]


def helped(
    groups: Mapping[str, Windows],
    targets: Mapping[str, Windows],
    fresh: Callable[[], Decoder],
    options: Options,
    steps: int,
    run: Run,
) -> Floats:
    """(groups, targets): the share of the target's loss that `steps` on the group alone take away, at least 0.

    One run per group, all from the weights that `fresh` gives.
    """
    before = _nats(fresh(), targets, run)
    after = np.stack([_nats(_trained([name], groups, fresh, options, steps, run), targets, run) for name in groups])
    return np.asarray(np.maximum(0.0, (before - after) / np.maximum(before, 1e-300)))


def preceded(
    groups: Mapping[str, Windows],
    targets: Mapping[str, Windows],
    fresh: Callable[[], Decoder],
    options: Options,
    steps: int,
    run: Run,
) -> Floats:
    """(groups, groups): 1 on the diagonal, 1/2 where an even mix with i leaves less loss on j than j alone, else 0.

    Both read as much, so an edge says that half of j's records are better spent on i. A run per skill and per pair.
    Targets bear the groups' names.
    """
    graph = np.eye(len(groups))
    alone = {name: _nats(_trained([name], groups, fresh, options, steps, run), targets, run) for name in groups}
    place = {name: i for i, name in enumerate(targets)}
    for i, first in enumerate(groups):
        for j, second in enumerate(groups):
            if i < j:
                both = _nats(_trained([first, second], groups, fresh, options, steps, run), targets, run)
                graph[i, j] = 0.5 * (both[place[second]] < alone[second][place[second]])
                graph[j, i] = 0.5 * (both[place[first]] < alone[first][place[first]])
    return graph


def _trained(
    names: list[str],
    groups: Mapping[str, Windows],
    fresh: Callable[[], Decoder],
    options: Options,
    steps: int,
    run: Run,
) -> Decoder:
    model = fresh()
    some = {name: groups[name] for name in names}
    train_lm(model, Mixed(some, dict.fromkeys(names, 1 / len(names)), options.batch, steps, run.at(*names)), options)
    return model


def _nats(model: Decoder, targets: Mapping[str, Windows], run: Run) -> Floats:
    """Nats per token of each target."""
    found = [record_losses(model.eval(), held, device=run.device) for held in targets.values()]
    return np.array([nats.sum() / max(1, tokens.sum()) for nats, tokens in found])
