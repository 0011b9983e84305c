"""FLAD (Albalak et al. 2023, arXiv 2302.00674): bandits choose among 20 auxiliary sources for a target of few texts.

A text is nine words, each of them good or bad, and its label is what most of them are. Three sources agree with the
target on every word, three disagree on every word, fourteen know nothing of it. A small network learns from batches of
one source at a time, which is chosen by `flad_exp3` or `flad_ucb1` from cosines of gradients with those of 64 target
texts, in equal shares, or in shares that stay as the first alignment was. Nobody learns from the target's texts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims._lab import row
from tilth.core import Run
from tilth.models.feeds import Decks
from tilth.models.optim import Options
from tilth.models.steer import Head, Steer
from tilth.models.train import descend, generator, threads

__all__ = ["PAPER", "Setting", "run"]

PAPER = "improving_fewshot_generalization_by_exploring_and"
WORDS, LENGTH = 200, 9
HELPFUL, HARMFUL = 3, 3
ARMS: Mapping[str, Mapping[str, Any]] = {
    "flad_exp3": {"use": "flad_exp3"},
    "flad_ucb1": {"use": "flad_ucb1"},
    "flad_ucb1, explore 0.3": {"use": "flad_ucb1", "explore": 0.3},
}
STILL = ("equal", "alignment")

Floats = npt.NDArray[np.float64]
Texts = tuple[Tensor, Tensor]
"""(n, LENGTH) words and (n,) labels."""


@dataclass(frozen=True)
class Setting:
    """Sizes.

    Attributes:
        few: texts of the target that rewards are taken on.
        texts: of each source.
        timed: steps whose time is taken, with 20 sources and with ten times as many.
    """

    sources: int = 20
    seeds: int = 10
    steps: int = 1200
    batch: int = 32
    few: int = 64
    texts: int = 2000
    timed: int = 200


class Network(nn.Module):
    """The mean of the words' vectors, a hidden layer, and the scores of both labels."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.words, self.hidden, self.head = nn.Embedding(WORDS, 32), nn.Linear(32, 32), nn.Linear(32, 2)
        drawn = generator(run.rng("init"))
        with torch.no_grad():
            for layer in (self.words, self.hidden, self.head):
                layer.weight.normal_(0.0, layer.weight.shape[1] ** -0.5, generator=drawn)
            self.hidden.bias.zero_()
            self.head.bias.zero_()

    def forward(self, words: Tensor) -> Tensor:
        """(B, LENGTH) to (B, 2)."""
        scores: Tensor = self.head(torch.relu(self.hidden(self.words(words).sum(1) / LENGTH**0.5)))
        return scores


class Shop:
    """Sources, the target's few texts and its test, and a network that is to learn."""

    def __init__(self, setting: Setting, run: Run) -> None:
        self.setting, self.run = setting, run
        rng = run.rng("words")
        good = rng.integers(0, 2, WORDS) * 2 - 1
        unrelated = [rng.permutation(good) for _ in range(setting.sources - HELPFUL - HARMFUL)]
        kinds = [good] * HELPFUL + [-good] * HARMFUL + unrelated
        self.names = tuple(f"s{i:03d}" for i in range(setting.sources))
        self.data = {n: _texts(k, setting.texts, rng) for n, k in zip(self.names, kinds, strict=True)}
        self.few, self.test = _texts(good, setting.few, rng), _texts(good, 4000, rng)
        self.model = Network(run)
        self.head = Head(self.model, self.model.head, self._look, _loss)
        self.looks = 0

    def _look(self, name: str, target: bool, step: int) -> Texts:
        self.looks += 1
        if target:
            return self.few
        return _some(self.data[name], self.run.rng("look", name, step).permutation(self.setting.texts), self.setting)

    def alignment(self) -> dict[str, float]:
        """Shares in proportion to the cosines of the untrained network's gradients, negative ones counted 0."""
        aim = self.head.gradient("few", True, 0)
        found = [float(F.cosine_similarity(aim, self.head.gradient(name, False, 0), dim=0)) for name in self.names]
        above = np.maximum(found, 0) + 1e-9
        return dict(zip(self.names, (above / above.sum()).tolist(), strict=True))

    def learn(self, policy: Mapping[str, Any] | None, shares: Mapping[str, float], steps: int) -> Steer | None:
        """Train the network; the policy's decisions where there is one."""
        sizes = dict.fromkeys(self.names, self.setting.texts)
        steer = Steer(policy, sizes, {"few": 1.0}, head=self.head, every=1, run=self.run) if policy else None
        decks = Decks(sizes, self.run)

        def loss_of(step: int) -> Tensor:
            del step
            drawn = [steer.draw() if steer else decks.draw(shares)[::2] for _ in range(self.setting.batch)]
            words = torch.stack([self.data[name][0][place] for name, place in drawn])
            return _loss(self.model, (words, torch.stack([self.data[name][1][place] for name, place in drawn])))

        def after(step: int) -> None:
            if steer is not None:
                steer.update(step + 1)

        options = Options(rate=3e-3, faster=1.0, batch=self.setting.batch, decay="constant")
        descend(self.model, loss_of, steps, options, after=after)
        return steer

    @torch.no_grad()
    def accuracy(self) -> float:
        """On the target's test."""
        return float((self.model.eval()(self.test[0]).argmax(1) == self.test[1]).float().mean())


def run(data: Path | None, setting: Setting | None = None) -> list[dict[str, Any]]:
    """One row per statement; intervals are of the seeds. Needs no data."""
    del data
    setting = setting or Setting()
    right: dict[str, list[float]] = {name: [] for name in (*ARMS, *STILL)}
    picks: dict[str, list[float]] = {name: [] for name in ARMS}
    with threads(1):
        for seed in range(setting.seeds):
            for name, told in right.items():
                shop = Shop(setting, Run(seed=seed))
                shares = shop.alignment() if name == "alignment" else dict.fromkeys(shop.names, 1 / setting.sources)
                steer = shop.learn(ARMS.get(name), shares, setting.steps)
                told.append(shop.accuracy())
                if steer is not None:
                    late = [held for step, held in steer.log if step >= setting.steps // 2]
                    picks[name].append(float(np.mean([sum(held[n] for n in shop.names[:HELPFUL]) for held in late])))
        dearer = {name: _dearer(setting, ARMS[name]) for name in ("flad_exp3", "flad_ucb1")}
    return _rows({name: np.array(v) for name, v in right.items()}, {n: np.array(v) for n, v in picks.items()}, dearer)


def _rows(
    right: Mapping[str, Floats], picks: Mapping[str, Floats], dearer: Mapping[str, tuple[Floats, Floats]]
) -> list[dict[str, Any]]:
    rows = []
    for name, told in picks.items():
        rows.append(row(f"{name}: later picks that help", "at least 0.4", told, bool(told.mean() >= 0.4)))
        for other, said in zip(STILL, ("equal shares", "shares by the first alignment"), strict=True):
            gain = right[name] - right[other]
            rows.append(row(f"{name}: accuracy less {said}", "at least 0.03", gain, bool(gain.mean() >= 0.03)))
    for name, (times, looks) in dearer.items():
        more = f"{name}, ten times the sources over as few"
        rows.append(row(f"{more}: gradients taken at a step", "1", looks, bool((looks == 1).all())))
        rows.append(row(f"{more}: time of a step", "at most 1.1", times, bool(np.median(times) <= 1.1)))
    return rows + [row(f"accuracy, {name}", "-", told, None) for name, told in right.items()]


def _dearer(setting: Setting, policy: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Processor time, and gradients taken, of later steps with ten times the sources over those with as few."""
    times, looks = [], []
    for seed in range(3):
        taken = []
        for count in (setting.sources, 10 * setting.sources):
            few, ends = replace(setting, sources=count, texts=200), []
            for steps in (1, 1 + setting.timed):  # what precedes the first step is in both, and so taken out
                shop = Shop(few, Run(seed=seed))
                began = time.process_time()
                shop.learn(policy, {}, steps)
                ends.append((time.process_time() - began, shop.looks))
            taken.append((ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]))
        times.append(taken[1][0] / taken[0][0])
        looks.append(taken[1][1] / taken[0][1])
    return np.array(times), np.array(looks)


def _texts(good: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Texts:
    words = rng.integers(0, WORDS, (count, LENGTH))
    return torch.from_numpy(words), torch.from_numpy((good[words].sum(1) > 0).astype(np.int64))


def _some(texts: Texts, places: npt.NDArray[np.int64], setting: Setting) -> Texts:
    rows = torch.from_numpy(places[: setting.batch])
    return texts[0][rows], texts[1][rows]


def _loss(model: nn.Module, given: Texts) -> Tensor:
    return F.cross_entropy(model(given[0]), given[1])
