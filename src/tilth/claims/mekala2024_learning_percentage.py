"""Learning percentage (Mekala et al. 2024, arXiv 2402.10430): a small model's order of learning serves a larger one.

Two decoders of different sizes learn the same instructions: greetings that follow templates, words to copy, letters to
sort, and sums of two numbers. A tenth of the replies is garbage, the reply to another instruction of its kind. The
learning percentage is the share of the drop in a reply's perplexity, over all passes, that the first pass brings. The
kinds stand for the paper's clusters. Then the garbage is left out, and the larger model learns, in equally many
updates, from all instructions, from the third of each kind with the lowest percentages of the small model, from a
random third and from the highest; the loss is that of replies to unseen instructions. In the control the small model's
replies are dealt within their kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.models.transformer import Decoder
from tilth.models.tune import answer_log_probs
from tilth.signals.difficulty.learning_percentage import percentages

__all__ = ["PAPER", "run"]

PAPER = "smaller_language_models_are_capable_of"
SEEDS = 4
KINDS = ("greet", "copy", "sort", "add")
NAMES = ("anna", "ben", "cara", "dan", "eve", "finn")
WISHES = ("day", "night", "luck", "trip")
THIRDS = ("low", "random", "high")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """The instructions and the two models.

    Attributes:
        garbage: share of replies that belong to another instruction.
        small, large: layers, which also set the width.
    """

    size: int = 1200
    unseen: int = 400
    garbage: float = 0.1
    small: int = 1
    large: int = 2
    passes: int = 16
    batch: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    close, gain = of["loss: low"] / of["loss: all"], of["loss: random"] - of["loss: low"]
    return [
        lab.row("rank correlation of the percentages of the small and the larger model", "at least 0.6", of["rank"],
                of["rank"].mean() >= 0.6),
        lab.row("the same within kinds, mean of the kinds", "above 0", of["within"], lab.mean(of["within"])[1] > 0),
        lab.row("lowest third of each kind: share that both models choose", "above 1/3", of["common"],
                lab.mean(of["common"])[1] > 1 / 3),
        lab.row("control, replies dealt to the small model: within kinds", "near 0 (here: at most 0.2)", of["dealt"],
                abs(of["dealt"].mean()) <= 0.2),
        lab.row("garbage in the larger model's lowest third of each kind: share", "above 0.1", of["garbage large"],
                lab.mean(of["garbage large"])[1] > 0.1),
        lab.row("garbage in the small model's lowest third of each kind: share", "above 0.1", of["garbage small"],
                lab.mean(of["garbage small"])[1] > 0.1),
        lab.row("unseen replies, larger model: loss from the lowest third over that from all", "at most 1.02", close,
                close.mean() <= 1.02),
        lab.row("unseen replies, larger model: loss from a random third less that from the lowest", "above 0", gain,
                lab.mean(gain)[1] > 0),
        *(lab.row(f"unseen replies, larger model: loss from {name}", "", of[f"loss: {name}"], None)
          for name in ("all", *THIRDS)),
        lab.row("two small models from other weights: rank correlation within kinds", "", of["again"], None),
        *(lab.row(f"rank correlation within {kind}", "", of[f"within {kind}"], None) for kind in KINDS),
        *(lab.row(f"{size} model: mean percentage of {kind}", "", of[f"{size} {kind}"], None)
          for size in ("small", "larger") for kind in KINDS),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, float]:
    """Everything of one seed."""
    asks, says, kinds = instructions(scale.size + scale.unseen, run)
    held = np.arange(len(kinds)) >= scale.size
    bad = ~held & (run.rng("garbage").random(len(kinds)) < scale.garbage)
    dirty, wrong = dealt(says, kinds, bad, run), dealt(says, kinds, ~held, run)
    kind = kinds[~held]
    small, large, again, control = (
        percentages(_losses(depth, asks, replies, ~held, run.at(place), scale)[None])["score"]
        for depth, replies, place in (
            (scale.small, dirty, "small"),
            (scale.large, dirty, "large"),
            (scale.small, dirty, "again"),
            (scale.small, wrong, "dealt"),
        )
    )
    clean = ~bad[: scale.size]
    within = {name: _rank(small[on], large[on]) for name, on in _parts(kind, clean)}
    chosen = [lowest(values, kind, clean) for values in (small, large)]
    out = {
        "rank": _rank(small[clean], large[clean]),
        "within": float(np.mean([*within.values()])),
        "common": float((chosen[0] & chosen[1]).sum() / chosen[0].sum()),
        "again": float(np.mean([_rank(small[on], again[on]) for _, on in _parts(kind, clean)])),
        "dealt": float(np.mean([_rank(control[on], large[on]) for _, on in _parts(kind, clean)])),
        **{f"within {name}": value for name, value in within.items()},
    }
    everyone = np.ones(scale.size, np.bool_)
    for size, values in (("small", small), ("large", large)):
        out[f"garbage {size}"] = float(bad[: scale.size][lowest(values, kind, everyone)].mean())
    for size, values in (("small", small), ("larger", large)):
        out |= {f"{size} {name}": float(np.nanmean(values[on])) for name, on in _parts(kind, clean)}
    shuffled = run.rng("random").random(scale.size)
    thirds = [lowest(values, kind, clean) for values in (small, shuffled, -small)]
    for name, train in zip(("all", *THIRDS), (clean, *thirds), strict=True):
        rows = np.concatenate([train, np.zeros(scale.unseen, np.bool_)])
        # The same weights for all: what differs is the instructions.
        out[f"loss: {name}"] = _unseen(asks, says, rows, held, run.at("chosen"), scale)
    return out


def instructions(count: int, run: Run) -> tuple[list[str], list[str], Ints]:
    """Prompts, right replies and kinds, all kinds equally often."""
    rng = run.rng("instructions")
    asks, says = [], []
    for i in range(count):
        word = "".join("abcdefgh"[j] for j in rng.integers(8, size=int(rng.integers(3, 7))))
        a, b = rng.integers(100, size=2).tolist()
        wish = WISHES[int(rng.integers(len(WISHES)))]
        ask, reply = {
            "greet": (f"good {wish} {NAMES[int(rng.integers(len(NAMES)))]}!", f"good {wish}"),
            "copy": (f"copy {word}=", word),
            "sort": (f"sort {word}=", "".join(sorted(word))),
            "add": (f"{a}+{b}=", str(a + b)[::-1]),
        }[KINDS[i % len(KINDS)]]
        asks.append(ask)
        says.append(reply)
    return asks, says, np.arange(count) % len(KINDS)


def dealt(says: Sequence[str], kinds: Ints, which: Flags, run: Run) -> list[str]:
    """The replies, those named given to another instruction of their kind."""
    out = list(says)
    rng = run.rng("dealt")
    for kind in range(len(KINDS)):
        rows = rng.permutation(np.flatnonzero(which & (kinds == kind)))
        for i, j in zip(rows.tolist(), np.roll(rows, 1).tolist(), strict=True):
            out[i] = says[j]
    return out


def lowest(values: Floats, kinds: Ints, among: Flags) -> Flags:
    """The third of each kind with the lowest values; those without a value come last."""
    out = np.zeros(len(kinds), np.bool_)
    for _, rows in _parts(kinds, among):
        order = rows[np.argsort(np.where(np.isnan(values[rows]), np.inf, values[rows]), kind="stable")]
        out[order[: len(rows) // 3]] = True
    return out


def _parts(kinds: Ints, among: Flags) -> list[tuple[str, Ints]]:
    return [(name, np.flatnonzero(among & (kinds == k))) for k, name in enumerate(KINDS)]


def _losses(depth: int, asks: Sequence[str], says: Sequence[str], train: Flags, run: Run, scale: Scale) -> Floats:
    """Nats per token of each reply before training and after each pass, (1 + passes, trained)."""
    vocab, data = _encoded(asks, says)
    rows = np.flatnonzero(train)
    own = lab.talks(vocab, [asks[i] for i in rows.tolist()], [says[i] for i in rows.tolist()])
    with threads(1):
        model = lab.decoder(depth, len(vocab), 64, run)
        found = [_told(model, data, rows)]

        def look() -> Floats:
            found.append(_told(model, data, rows))
            return np.zeros(1)

        steps = -(-len(rows) * scale.passes // scale.batch)
        lab.tune(model, own, steps, run, Options(rate=model.config.rate, batch=scale.batch), measure=look,
                 points=scale.passes)  # fmt: skip
    return np.stack(found)


def _unseen(asks: Sequence[str], says: Sequence[str], train: Flags, held: Flags, run: Run, scale: Scale) -> float:
    """Mean nats per token of unseen replies after the larger model has learned from some instructions."""
    vocab, data = _encoded(asks, says)
    rows = np.flatnonzero(train)
    own = lab.talks(vocab, [asks[i] for i in rows.tolist()], [says[i] for i in rows.tolist()])
    with threads(1):
        model = lab.decoder(scale.large, len(vocab), 64, run)
        steps = -(-scale.size * scale.passes // scale.batch)
        lab.tune(model, own, steps, run, Options(rate=model.config.rate, batch=scale.batch))
        return float(_told(model, data, np.flatnonzero(held)).mean())


def _encoded(asks: Sequence[str], says: Sequence[str]) -> tuple[lab.Vocab, Dialogues]:
    vocab = lab.Vocab.of([*asks, *says], lab.CHARACTERS)
    return vocab, lab.talks(vocab, asks, says)


@torch.no_grad()
def _told(model: Decoder, data: Dialogues, rows: Ints, batch: int = 256) -> Floats:
    """Nats per token of these replies."""
    model.eval()
    counts = np.add.reduceat(data.learned, data.offsets[:-1])[rows]
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    nats = np.concatenate([-answer_log_probs(model, data, part).numpy() for part in parts])
    return np.asarray(nats / counts, np.float64)


def _rank(a: Floats, b: Floats) -> float:
    known = ~np.isnan(a) & ~np.isnan(b)
    return float(spearmanr(a[known], b[known]).statistic)
