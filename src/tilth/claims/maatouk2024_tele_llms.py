"""Tele-LLMs (Maatouk et al. 2024, arXiv 2409.05314): going on with a domain's text, with replay, and by adapters.

A decoder of 3 layers reads a simple encyclopedia, then goes on with a domain: Python's enhancement proposals, which are
standards with code, as the paper's domain is telecommunications. A share of what it then reads, 0, 10 or 20 %, is the
encyclopedia again, read before or not, all else being domain text; all arms read equally many tokens. All weights move,
or the linear layers get low-rank updates alone, whose learning rate is the one that is best for the domain with another
seed. What is judged is the loss on held-out texts of both kinds, relative to what it was before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import Windows, joined, windows
from tilth.models.feeds import Fixed
from tilth.models.low_rank import adapted, merged
from tilth.models.optim import Options, precision_of
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator, threads, train_lm
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts

__all__ = ["PAPER", "run"]

PAPER = "telellms"
SOURCES = ("encyclopedia_simplewiki", "techdocs_peps")
SEEDS = 3
TUNING = 100
"""The seed that the adapters' learning rate is chosen with."""
RATES = (1e-3, 3e-3, 1e-2)
REPLAY = (0.0, 0.1, 0.2)
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The texts, the models and their training.

    Attributes:
        depth, small: of the model, and of a smaller one to compare with.
        tokens, later: read at first, and after it.
        rate: peak learning rate of what is read later, all weights moving.
        rank: of the updates.
        held: texts of each kind to judge by.
    """

    longest: int = 1000
    vocab: int = 1024
    depth: int = 3
    small: int = 2
    context: int = 128
    tokens: int = 300_000
    later: int = 60_000
    batch: int = 8
    rate: float = 5e-4
    rank: int = 4
    held: int = 100


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a file is missing.
    """
    texts, scale = lab.texts(data, *SOURCES), Scale()
    best = chosen(World(texts, Run(seed=TUNING), scale))
    return statements([measured(World(texts, Run(seed=seed), scale), best) for seed in range(SEEDS)], best)


def statements(found: Sequence[Mapping[str, Found]], rate: float) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> Floats:
        return np.array([f[arm][name] for f in found])

    fall, rise = "fall of the domain's loss", "rise of the general loss"
    full = {share: _arm("full", share) for share in REPLAY}
    low = {share: _arm("low-rank", share) for share in REPLAY}
    rows = []
    for share in REPLAY[1:]:
        gain, cost = of(full[share], fall), of(full[share], rise)
        less = of(full[0.0], rise) - cost
        rows += [
            lab.row(f"replay {share:.0%}: {fall}", "at least 0.2", gain, gain.mean() >= 0.2),
            lab.row(f"replay {share:.0%}: {rise}", "at most 0.03", cost, cost.mean() <= 0.03),
            lab.row(f"{rise}, without replay less {share:.0%}", "above 0", less, lab.mean(less)[1] > 0),
        ]
    alone = of(full[0.0], rise)
    rows.append(lab.row(f"without replay: {rise}", "more than 0.03", alone, alone.mean() > 0.03))
    for share in REPLAY:
        less = of(full[share], fall) - of(low[share], fall)
        rows.append(lab.row(f"replay {share:.0%}: {fall}, full less low-rank", "above 0", less, lab.mean(less)[1] > 0))
    kept = of(full[0.0], rise) - of(low[0.0], rise)
    size = of("a smaller model, full, replay 10%", fall) - of(full[0.1], fall)
    return [
        *rows,
        lab.row(f"without replay: {rise}, full less low-rank", "above 0", kept, lab.mean(kept)[1] > 0),
        lab.row(f"{fall}, smaller less larger model", "above 0", size, lab.mean(size)[1] > 0),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0][full[0.0]] for arm in found[0]),
        lab.row("learning rate of the low-rank updates", "", [rate], None),
    ]


def chosen(world: World) -> float:
    """The adapters' learning rate with the lowest loss on the domain, without replay."""
    start = world.started(world.scale.depth)
    losses = [world.losses(world.continued(start, 0.0, rate))[1] for rate in RATES]
    return RATES[int(np.argmin(losses))]


def measured(world: World, rate: float) -> dict[str, dict[str, float]]:
    """Of each arm, relative to the losses before: the fall of the domain's and the rise of the general one.

    Args:
        rate: the adapters' learning rate.
    """
    found = {}
    for depth in (world.scale.depth, world.scale.small):
        start = world.started(depth)
        general, domain = world.losses(start)
        small = depth != world.scale.depth
        for share in (0.1,) if small else REPLAY:
            for how in ("full",) if small else ("full", "low-rank"):
                model = world.continued(start, share, rate if how == "low-rank" else None)
                after = world.losses(model)
                found["a smaller model, " * small + _arm(how, share)] = {
                    "fall of the domain's loss": 1 - after[1] / domain,
                    "rise of the general loss": after[0] / general - 1,
                    "domain's loss before, nats per token": domain,
                    "general loss before, nats per token": general,
                }
    return found


class World:
    """Texts of a general kind and of a domain, held-out ones apart, and models that read them.

    Args:
        texts: general ones, and the domain's.
    """

    def __init__(self, texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> None:
        self.run, self.scale = run, scale
        drawn = [[part[i][: scale.longest] for i in run.rng("texts", k).permutation(len(part))]
                 for k, part in enumerate(texts)]  # fmt: skip
        tokenizer = Tokenizer.train([text for part in drawn for text in part[scale.held :]], scale.vocab)
        self.vocab = tokenizer.vocab_size
        self.held: list[Texts] = [tokenizer.encode_batch(part[: scale.held]) for part in drawn]
        self.general, self.domain = (tokenizer.encode_batch(part[scale.held :]) for part in drawn)

    def started(self, depth: int) -> Decoder:
        """A model that has read general texts."""
        with threads(1):
            model = lab.decoder(depth, self.vocab, self.scale.context, self.run.at("depth", depth))
            options = Options(rate=model.config.rate, batch=16, precision=precision_of("auto"))
            lab.read(model, self.general, self.scale.tokens, self.run.at("read"), options)
        return model

    def reading(self, share: float) -> Windows:
        """What is read later: windows of the domain and, for this share of them, of general texts, shuffled."""
        count = self.scale.later // self.scale.context
        again = round(share * count)
        parts = []
        for name, texts, size in (("domain", self.domain, count - again), ("general", self.general, again)):
            order = lab.order(len(texts[0]) - 1, 3 * (len(texts[0]) - 1), self.run.at("later", name))
            made = windows(*texts, order, self.scale.context, lab.END, max(1, size) * self.scale.context)
            parts.append(made.take(np.arange(size)))
        return joined(parts).take(self.run.rng("later").permutation(count))

    def continued(self, start: Decoder, share: float, adapters: float | None = None) -> Decoder:
        """A copy of the model after reading on.

        Args:
            adapters: learning rate of low-rank updates, learned instead of the weights.
        """
        model, scale = copy.deepcopy(start), self.scale
        if adapters is not None:
            adapted(model, scale.rank, generator(self.run.rng("adapters")))
        rate = scale.rate if adapters is None else adapters
        options = Options(rate=rate, batch=scale.batch, faster=1.0, precision=precision_of("auto"))
        with threads(1):
            train_lm(model, Fixed(self.reading(share), scale.batch), options)
        return merged(model)

    def losses(self, model: Decoder) -> tuple[float, float]:
        """Nats per token of held-out texts, general and the domain's."""
        with threads(1):
            general, domain = (float(lab.losses(model.eval(), part).mean()) for part in self.held)
        return general, domain


def _arm(how: str, share: float) -> str:
    return f"{how}, replay {share:.0%}"
