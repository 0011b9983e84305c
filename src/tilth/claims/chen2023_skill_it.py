"""Skill-It (Chen et al. 2023, arXiv 2307.14430): on a chain of skills, a graph of them says what to read when.

Chains of boolean variables as in the probe `lego`, told in random order, one variable asked for; skill i is the i-th
place of the chain. A text tells two chains, whose given values differ, so that nothing in it tells an answer but going
back along the chain. The paper goes on from a trained model, which can look things up: here small transformers first
learn to say what stands after a letter, and nothing of chains or of ``not``. Then they learn the answers alone, reading
the skills in equal shares or as `skill_it` says: by the graph that short runs gave, by the planted one, and by the
planted one with every edge turned round, as a control.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims._lab import decoder, row
from tilth.core import Run
from tilth.models.batches import IGNORED, Windows
from tilth.models.feeds import Fixed, Mixed
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
"""Texts by the last digit of their number."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """The world, the model and how long it learns.

    Attributes:
        variables: of a chain, and so skills.
        chains: told in each text, all of one length; the same place of each is asked for.
        before: steps of looking up letters, which every model has taken before it reads a chain.
        graph_steps: steps of each short run that the graph is learned from.
        every: steps of a round of `skill_it`.
        points: times at which accuracy is taken.
        batch: texts of a step.
    """

    variables: int = 3
    chains: int = 2
    letters: int = 10
    negations: float = 0.2
    seeds: int = 3
    depth: int = 5
    width: int = 64
    heads: int = 4
    rate: float = 1e-3
    batch: int = 32
    before: int = 400
    steps: int = 700
    every: int = 50
    points: int = 10
    eta: float = 0.8
    texts: int = 8000
    graph_steps: int = 300
    arms: tuple[str, ...] = ("stratified", "learned", "turned", "planted")

    @property
    def names(self) -> tuple[str, ...]:
        """The skills."""
        return tuple(f"skill{i + 1}" for i in range(self.variables))

    @property
    def clauses(self) -> int:
        """How many a text has."""
        return self.chains * self.variables

    @property
    def options(self) -> Options:
        """As every model here learns."""
        return Options(self.rate, faster=1.0, batch=self.batch, warmup=0.1, decay="constant", betas=(0.9, 0.98))


def told(setting: Setting, count: int, skill: int, part: str, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Texts of several chains: clauses in random order, then the variable at one place of each chain.

    Args:
        skill: the place, counted from 0.
        part: of `PARTS`; no text is in two of them.

    Returns:
        (count, 3 clauses + chains) ids, and (count, chains) values of the variables asked for.
    """
    c, k, found, values = setting.chains, setting.variables, [], []
    have = 0
    while have < count:
        names = np.argsort(rng.random((2 * count, setting.letters)), 1)[:, : c * k].reshape(-1, c, k)
        opposite = (rng.random((2 * count, c, k)) < setting.negations).astype(np.int64)
        first = rng.integers(0, 2, (2 * count, 1))
        opposite[..., 0] = (first + np.arange(c)) % 2  # of the first variable: its value
        number = (names @ (7 ** np.arange(k)) + opposite @ (3 ** np.arange(k))).sum(1)  # whatever chain is the first
        some = np.isin(number % 10, PARTS[part])
        names, opposite = names[some], opposite[some]
        value = np.cumsum(opposite, 2) % 2
        clauses = np.empty((len(names), c, k, 3), np.int64)
        clauses[..., 0] = LETTER + names
        clauses[..., 0, 1], clauses[..., 0, 2] = VAL, ZERO + value[..., 0]
        clauses[..., 1:, 1], clauses[..., 1:, 2] = VAL + opposite[..., 1:], LETTER + names[..., :-1]
        order = np.argsort(rng.random((len(names), c * k)), 1)
        shuffled = np.take_along_axis(clauses.reshape(-1, c * k, 3), order[:, :, None], 1).reshape(len(names), -1)
        found.append(np.concatenate([shuffled, LETTER + names[:, :, skill]], 1))
        values.append(value[:, :, skill])
        have += len(names)
    return np.concatenate(found)[:count], np.concatenate(values)[:count]


def _windows(inputs: Ints, targets: Ints) -> Windows:
    """One record a row."""
    places = np.arange(len(inputs))
    documents = np.repeat(places[:, None], inputs.shape[1], 1).astype(np.int32)
    return Windows(inputs.astype(np.int32), targets.astype(np.int32), documents, places)


def windows_of(setting: Setting, count: int, part: str, run: Run) -> dict[str, Windows]:
    """Skill -> windows of one text each, of which the answers alone are learned."""
    made = {}
    for skill, name in enumerate(setting.names):
        inputs, values = told(setting, count, skill, part, run.rng(part, name))
        targets = np.full_like(inputs, IGNORED)
        targets[:, -setting.chains :] = ZERO + values
        made[name] = _windows(inputs, targets)
    return made


def lookups(count: int, letters: int, clauses: int, rng: np.random.Generator) -> Windows:
    """Texts of clauses ``val``, then each name in it and what was said of it, which alone is learned.

    Names and what is said of them are letters or values: here these mean nothing more than a letter. There is no
    ``not``, and nothing is asked that two clauses tell.
    """
    names = ZERO + np.argsort(rng.random((count, 2 + letters)), 1)[:, :clauses]
    said = rng.integers(ZERO, LETTER + letters, (count, clauses))
    order = np.argsort(rng.random((count, clauses)), 1)[:, :, None]
    told = np.take_along_axis(np.stack([names, np.full_like(names, VAL), said], 2), order, 1).reshape(count, -1)
    questions = np.stack([names, said], 2).reshape(count, -1)
    inputs = np.concatenate([told, questions[:, :-1]], 1)
    targets = np.full_like(inputs, IGNORED)
    targets[:, 3 * clauses :: 2] = said
    return _windows(inputs, targets)


@torch.no_grad()
def looked_up(model: Decoder, held: Windows) -> float:
    """The share of answers that are the likeliest of all ids."""
    wanted = held.targets >= 0
    hidden = model(torch.from_numpy(held.inputs.astype(np.int64)))[torch.from_numpy(wanted)]
    return float((model.logits(hidden).argmax(1).numpy() == held.targets[wanted]).mean())


def schooled(setting: Setting, run: Run) -> tuple[Decoder, float]:
    """A model that looks up what is said of a letter and knows nothing of chains; the share that it looks up right.

    Four clauses first, `before` steps and then a quarter of that again, at most ten times, until nine answers in ten
    are right; at last an eighth of that in texts of as many clauses as the chains have.
    """
    shape = {"width": setting.width, "heads": setting.heads, "hidden": 8 * (setting.width // 3), "rate": setting.rate}
    model = decoder(setting.depth, LETTER + setting.letters, 5 * setting.clauses, run, **shape)

    def more(clauses: int, steps: int, place: int) -> float:
        data, held = (lookups(n, setting.letters, clauses, run.rng("lookups", part, place))
                      for part, n in (("learn", steps * setting.batch), ("test", 200)))  # fmt: skip
        train_lm(model, Fixed(data, setting.batch), setting.options, apart=False)
        return looked_up(model.eval(), held)

    right = more(4, setting.before, 0)
    for place in range(1, 11):
        if right >= 0.9:
            break
        right = more(4, setting.before // 4, place)
    return model, more(setting.clauses, setting.before // 8, 11)


@torch.no_grad()
def accuracy(model: Decoder, test: Mapping[str, Windows]) -> Floats:
    """(skills,) share of the questions whose right value is the likelier one."""
    found = []
    for held in test.values():
        wanted = held.targets >= 0
        hidden = model(torch.from_numpy(held.inputs.astype(np.int64)))[torch.from_numpy(wanted)]
        said = model.logits(hidden)[:, ZERO : ZERO + 2].argmax(1).numpy() + ZERO
        found.append(float((said == held.targets[wanted]).mean()))
    return np.array(found)


def learned(setting: Setting, graph: Floats | None, start: Decoder, run: Run) -> tuple[Floats, Floats]:
    """(points, skills) accuracy on the way of a model that goes on from `start`; (rounds, skills) shares.

    Without a graph the shares are equal, and there is one round.
    """
    groups, valid, test = (windows_of(setting, n, part, run) for part, n in
                           (("learn", setting.texts), ("validate", 256), ("test", 250)))  # fmt: skip
    model = deepcopy(start)
    more: dict[str, Any] = {}
    if graph is not None:
        rows = tuple(tuple(each) for each in graph.tolist())
        asked = influence(LastLayer(model, groups, valid, 32, run, apart=False))
        more = {"online": (SkillIt(eta=setting.eta, relative=False), State(setting.names, rows)), "influence": asked}
    equal = dict.fromkeys(setting.names, 1 / setting.variables)
    feed = Mixed(groups, equal, setting.batch, setting.steps, run.at("feed"), every=setting.every, **more)
    measured = train_lm(model, feed, setting.options, apart=False, points=setting.points,
                        measure=lambda now: accuracy(now, test))  # fmt: skip
    assert measured.curve is not None
    return measured.curve.losses, np.array([[shares[name] for name in setting.names] for _, shares in feed.log])


def planted(setting: Setting) -> Floats:
    """1 on the diagonal, 1/2 where the row is needed for the column."""
    return np.asarray(np.eye(setting.variables) + 0.5 * np.triu(np.ones((setting.variables,) * 2), 1))


def graph_of(setting: Setting, start: Decoder, run: Run) -> Floats:
    """The graph that short runs give: an edge where half of a skill's questions are better spent on another."""
    groups, valid = (windows_of(setting, n, part, run) for part, n in (("learn", setting.texts), ("validate", 256)))
    return preceded(groups, valid, lambda: deepcopy(start), setting.options, setting.graph_steps, run.at("graph"))


def turned(setting: Setting) -> Floats:
    """The planted graph with its skills named from the last to the first, so that every edge points the other way."""
    return planted(setting)[::-1, ::-1].copy()


def run(data: Path | None, setting: Setting | None = None) -> list[dict[str, Any]]:
    """One row per statement; intervals are of the seeds. Needs no data."""
    del data
    setting = setting or Setting()
    with threads(1):
        starts, knows = zip(*(schooled(setting, Run(seed=seed)) for seed in range(setting.seeds)), strict=True)
        found = graph_of(setting, starts[0], Run(seed=setting.seeds))
        graphs = {"stratified": None, "learned": found, "planted": planted(setting), "turned": turned(setting)}
        paths: dict[str, Floats] = {}
        shares: dict[str, Floats] = {}
        done: dict[bytes, str] = {}  # a run is a function of its graph
        for arm in setting.arms:
            graph = graphs[arm]
            first = done.setdefault(b"" if graph is None else graph.tobytes(), arm)
            if first == arm:
                made = [learned(setting, graph, start, Run(seed=seed)) for seed, start in enumerate(starts)]
                paths[arm], shares[arm] = (np.stack(part) for part in zip(*made, strict=True))
            paths[arm], shares[arm] = paths[first], shares[first]
    return _rows(setting, found, paths, shares, np.array(knows))


def _rows(
    setting: Setting, found: Floats, paths: Mapping[str, Floats], shares: Mapping[str, Floats], knows: Floats
) -> list[dict[str, Any]]:
    """From the learned graph and, of each arm, (seeds, points, skills) accuracy and (seeds, rounds, skills) shares."""
    later, k = f"skills 2 to {setting.variables}", setting.variables
    way = {arm: path[:, :, 1:].mean((1, 2)) for arm, path in paths.items()}
    end = {arm: path[:, -1, 1:].mean(1) for arm, path in paths.items()}
    chain = found[np.arange(k - 1), np.arange(1, k)] > 0
    above, below = np.triu_indices(k, 1), np.tril_indices(k, -1)
    rows = [row("learned graph: edges of the chain that are in it", "all", [chain.mean()], bool(chain.all()))]
    for arm in paths:
        if arm == "stratified":
            continue
        for where, reached in (("at the end", end), ("mean of the way", way)):
            gain = reached[arm] - reached["stratified"]
            what = f"{arm} graph: accuracy on {later} less stratified, {where}"
            if arm == "turned":
                rows.append(row(what, "below 0.03", gain, bool(gain.mean() < 0.03)))
            else:
                rows.append(row(what, "at least 0.1", gain, bool(gain.mean() >= 0.1)))
    rows.append(row("learned graph: planted edges that are in it", "-", [(found[above] > 0).mean()], None))
    rows.append(row("learned graph: other edges that are in it", "-", [(found[below] > 0).mean()], None))
    rows.append(row("look-ups right before the first chain", "-", knows, None))
    for arm, path in paths.items():
        rows.append(row(f"{arm}: accuracy on {later}, mean of the way", "-", way[arm], None))
        rows += [row(f"{arm}: accuracy on {name} at the end", "-", path[:, -1, i], None)
                 for i, name in enumerate(setting.names)]  # fmt: skip
    for arm, each in shares.items():
        if arm != "stratified":
            rows += [row(f"{arm}: share of {name}, mean of the rounds", "-", each[:, :, i].mean(1), None)
                     for i, name in enumerate(setting.names)]  # fmt: skip
    return rows
