"""Skill-It (Chen et al. 2023, arXiv 2307.14430): on a chain of skills, a graph of them says what to read when.

Chains of boolean variables as in the probe `lego`, told in random order, one variable asked for; skill i is the i-th
place of the chain. The world is smaller than the probe's, or transformers of this size learn nothing within minutes:
few variables, named by few letters, each an id of its own. A tenth of the chains is kept for the test. Small
transformers learn the answers alone, reading the skills in equal shares or as `skill_it` says: by the graph that short
runs gave, by the planted one, and by none, as a control.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims._lab import decoder, row
from tilth.core import Run
from tilth.models.batches import IGNORED, Windows
from tilth.models.feeds import Mixed
from tilth.models.influence import LastLayer, influence
from tilth.models.optim import Options
from tilth.models.skill_graph import preceded
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder
from tilth.policies.mix.skill_it import SkillIt, State

__all__ = ["PAPER", "Setting", "run", "told", "windows_of"]

PAPER = "skillit_a_datadriven_skills_framework_for"
VAL, NOT, ZERO, LETTER = 1, 2, 3, 5
"""Ids: 0 ends, then ``val`` and ``not``, the values 0 and 1, the letters."""
PARTS = {"learn": range(8), "validate": (8,), "test": (9,)}
"""Chains by the last digit of their number."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """The world, the model and how long it learns.

    Attributes:
        graph_steps: steps of each short run that the graph is learned from.
        every: steps of a round of `skill_it`.
        points: times at which accuracy is taken.
    """

    variables: int = 3
    letters: int = 5
    seeds: int = 3
    depth: int = 3
    width: int = 64
    heads: int = 4
    rate: float = 1e-3
    batch: int = 64
    steps: int = 1200
    every: int = 100
    points: int = 10
    eta: float = 0.5
    texts: int = 8000
    graph_steps: int = 600
    arms: tuple[str, ...] = ("stratified", "learned", "planted", "empty")

    @property
    def names(self) -> tuple[str, ...]:
        """The skills."""
        return tuple(f"skill{i + 1}" for i in range(self.variables))

    @property
    def options(self) -> Options:
        """As every model here learns."""
        return Options(self.rate, faster=1.0, batch=self.batch, warmup=0.05, decay="constant", betas=(0.9, 0.98))


def told(setting: Setting, count: int, skill: int, part: str, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """(count, 3 variables + 1) ids of the clauses in random order and of the variable asked for; (count,) values.

    Args:
        skill: counted from 0.
        part: of `PARTS`; no chain is in two of them.
    """
    k, found, values = setting.variables, [], []
    have = 0
    while have < count:
        names = np.argsort(rng.random((2 * count, setting.letters)), 1)[:, :k]
        opposite = rng.integers(0, 2, (2 * count, k))  # of the first variable: its value
        number = names @ (7 ** np.arange(k)) + opposite @ (3 ** np.arange(k))
        some = np.isin(number % 10, PARTS[part])
        names, opposite = names[some], opposite[some]
        value = np.cumsum(opposite, 1) % 2
        clauses = np.empty((len(names), k, 3), np.int64)
        clauses[:, :, 0] = LETTER + names
        clauses[:, 0, 1], clauses[:, 0, 2] = VAL, ZERO + value[:, 0]
        clauses[:, 1:, 1], clauses[:, 1:, 2] = VAL + opposite[:, 1:], LETTER + names[:, :-1]
        order = np.argsort(rng.random((len(names), k)), 1)
        shuffled = np.take_along_axis(clauses, order[:, :, None], 1).reshape(len(names), -1)
        found.append(np.concatenate([shuffled, LETTER + names[:, skill : skill + 1]], 1))
        values.append(value[:, skill])
        have += len(names)
    return np.concatenate(found)[:count], np.concatenate(values)[:count]


def windows_of(setting: Setting, count: int, part: str, run: Run) -> dict[str, Windows]:
    """Skill -> windows of one question each, of which the answer alone is learned."""
    made = {}
    for skill, name in enumerate(setting.names):
        inputs, values = told(setting, count, skill, part, run.rng(part, name))
        targets = np.full_like(inputs, IGNORED)
        targets[:, -1] = ZERO + values
        places = np.arange(count)
        documents = np.repeat(places[:, None], inputs.shape[1], 1).astype(np.int32)
        made[name] = Windows(inputs.astype(np.int32), targets.astype(np.int32), documents, places)
    return made


def fresh(setting: Setting, run: Run) -> Decoder:
    """An untrained model."""
    shape = {"width": setting.width, "heads": setting.heads, "hidden": 8 * (setting.width // 3), "rate": setting.rate}
    return decoder(setting.depth, LETTER + setting.letters, 3 * setting.variables + 1, run, **shape)


@torch.no_grad()
def accuracy(model: Decoder, test: Mapping[str, Windows]) -> Floats:
    """(skills,) share of the questions whose right value is the likelier one."""
    found = []
    for held in test.values():
        last = model(torch.from_numpy(held.inputs.astype(np.int64)))[:, -1]
        said = model.logits(last)[:, ZERO : ZERO + 2].argmax(1).numpy() + ZERO
        found.append(float((said == held.targets[:, -1]).mean()))
    return np.array(found)


def learned(setting: Setting, graph: Floats | None, run: Run) -> tuple[Floats, list[dict[str, float]]]:
    """(points, skills) accuracy on the way, and the shares of each round."""
    groups, valid, test = (windows_of(setting, n, part, run) for part, n in
                           (("learn", setting.texts), ("validate", 256), ("test", 500)))  # fmt: skip
    model = fresh(setting, run)
    more: dict[str, Any] = {}
    if graph is not None:
        rows = tuple(tuple(each) for each in graph.tolist())
        asked = influence(LastLayer(model, groups, valid, 32, run, apart=False))
        more = {"online": (SkillIt(eta=setting.eta), State(setting.names, rows)), "influence": asked}
    equal = dict.fromkeys(setting.names, 1 / setting.variables)
    feed = Mixed(groups, equal, setting.batch, setting.steps, run.at("feed"), every=setting.every, **more)
    measured = train_lm(model, feed, setting.options, apart=False, points=setting.points,
                        measure=lambda now: accuracy(now, test))  # fmt: skip
    assert measured.curve is not None
    return measured.curve.losses, [dict(shares) for _, shares in feed.log]


def planted(setting: Setting) -> Floats:
    """1 on the diagonal, 1/2 where the row is needed for the column."""
    return np.asarray(np.eye(setting.variables) + 0.5 * np.triu(np.ones((setting.variables,) * 2), 1))


def graph_of(setting: Setting, run: Run) -> Floats:
    """The graph that short runs give: an edge where half of a skill's questions are better spent on another."""
    groups, valid = (windows_of(setting, n, part, run) for part, n in (("learn", setting.texts), ("validate", 256)))
    return preceded(groups, valid, lambda: fresh(setting, run), setting.options, setting.graph_steps, run.at("graph"))


def run(data: Path | None, setting: Setting | None = None) -> list[dict[str, Any]]:
    """One row per statement; intervals are of the seeds. Needs no data."""
    del data
    setting = setting or Setting()
    with threads(1):
        found = graph_of(setting, Run(seed=setting.seeds))
        graphs = {"stratified": None, "learned": found, "planted": planted(setting), "empty": np.eye(setting.variables)}
        paths = {
            arm: np.stack([learned(setting, graphs[arm], Run(seed=seed))[0] for seed in range(setting.seeds)])
            for arm in setting.arms
        }
    return _rows(setting, found, paths)


def _rows(setting: Setting, found: Floats, paths: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """From the learned graph and, of each arm, (seeds, points, skills) accuracy."""
    later = f"skills 2 to {setting.variables}"
    way = {arm: path[:, :, 1:].mean((1, 2)) for arm, path in paths.items()}
    above, below = np.triu_indices(setting.variables, 1), np.tril_indices(setting.variables, -1)
    right, wrong = float((found[above] > 0).mean()), float((found[below] > 0).mean())
    rows = [row("learned graph: planted edges that are in it, less others that are", "1", [right - wrong],
                right - wrong == 1)]  # fmt: skip
    for arm in paths:
        if arm == "stratified":
            continue
        gain = way[arm] - way["stratified"]
        what = f"{arm} graph: accuracy on {later} less stratified, mean of the way"
        if arm == "empty":
            rows.append(row(what, "below 0.03", gain, bool(gain.mean() < 0.03)))
        else:
            rows.append(row(what, "at least 0.1", gain, bool(gain.mean() >= 0.1)))
    rows.append(row("learned graph: planted edges that are in it", "-", [right], None))
    rows.append(row("learned graph: other edges that are in it", "-", [wrong], None))
    for arm, path in paths.items():
        rows.append(row(f"{arm}: accuracy on {later}, mean of the way", "-", way[arm], None))
        rows += [row(f"{arm}: accuracy on {name} at the end", "-", path[:, -1, i], None)
                 for i, name in enumerate(setting.names)]  # fmt: skip
    return rows
