"""GPTfluence (Chai et al. 2024, arXiv 2404.07840): curves of target losses, told from who is in which batch.

A decoder of two layers is first trained on six real sources, then goes on from there in 36 runs of 60 batches of 8
texts; in each half of a run the sources are mixed in other proportions. Losses of 48 other texts are written down after
every batch. A simulator is fitted to 24 of the runs and 36 of the texts. It then tells, from the losses at the start
alone, six other runs over the same records, and six runs over records that none has read for the 12 texts that it has
not seen.

TracIn's rival curve adds up inner products of full gradients, at the start, the middle and the end of one recorded run,
the nearest of the three at each step; one factor, fitted by least squares to the same 24 runs, turns them into losses.
"No change" repeats the start. The mean curve adds the recorded runs' mean change: the item's own, or for unseen items
that of all. In the control the records' vectors are dealt to other records. Three seeds.
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
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.encoder import StaticEncoder
from tilth.models.gptfluence import Curves, fit
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads, train_examples
from tilth.models.transformer import Decoder

__all__ = ["PAPER", "run"]

PAPER = "on_training_data_influence_of_gpt"
SOURCES = (
    "chat_irc_ubuntu",
    "encyclopedia_factbook",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
)
SEEDS = 3
SETTINGS = {"curricula": "unseen curricula", "texts": "unseen curricula, records and items"}
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Texts of each source, runs and the model.

    Attributes:
        pretrain, seen, unseen, items, new: texts of a source: for the common start, for runs that are recorded, for
            runs that are only told; items whose curves are recorded, and those that are only told.
        slower: learning rate of the runs, as a share of the usual one.
    """

    pretrain: int = 200
    seen: int = 80
    unseen: int = 40
    items: int = 6
    new: int = 2
    longest: int = 220
    context: int = 64
    vocab: int = 512
    depth: int = 2
    start: int = 150
    runs: int = 24
    told: int = 6
    steps: int = 60
    batch: int = 8
    slower: float = 0.1
    passes: int = 30


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, *SOURCES)
    return statements([marks(texts, Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    rows = []
    for key, said in SETTINGS.items():

        def of(name: str, key: str = key) -> Floats:
            return np.array([one[f"{key}: {name}"] for one in found])

        for rival in ("tracin", "no change", "mean curve", "dealt"):
            ratio = of("error") / of(f"{rival} error")
            name = {"tracin": "that of TracIn", "dealt": "that of dealt records"}.get(rival, f"that of {rival}")
            rows.append(lab.row(f"{said}: squared error over {name}", "below 1", ratio, lab.mean(ratio)[2] < 1))
        rank, above = of("rank"), of("rank") - of("tracin rank")
        rows += [
            lab.row(f"{said}: rank correlation of final losses", "at least 0.7", rank, rank.mean() >= 0.7),
            lab.row(f"{said}: the same less TracIn's", "above 0", above, lab.mean(above)[1] > 0),
        ]
        better = of("change rank") - of("tracin change rank")
        rows.append(
            lab.row(f"{said}: rank correlation of changes, less TracIn's", "above 0", better, lab.mean(better)[1] > 0)
        )
        context = {
            "no change rank": "rank correlation of final losses, no change",
            "change rank": "rank correlation of changes",
            "mean curve change rank": "rank correlation of changes, mean curve",
            "error": "squared error",
            "tracin error": "squared error, TracIn",
        }
        rows += [lab.row(f"{said}: {what}", "", of(name), None) for name, what in context.items()]
    return rows


@dataclass(frozen=True)
class World:
    """Token arrays of all texts, and which rows of them are what."""

    inputs: Tensor
    targets: Tensor
    vectors: Floats
    source: Ints
    rows: Mapping[str, Ints]

    def losses(self, model: Decoder, rows: Ints) -> Tensor:
        """Mean nats per token of some texts, (B,)."""
        which = torch.from_numpy(rows)
        targets = self.targets[which]
        return model.losses(self.inputs[which], targets).sum(1) / (targets >= 0).sum(1).clamp(min=1)


def world_of(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> tuple[World, int]:
    """Texts drawn from each source, cut to their first characters; and the size of the vocabulary."""
    counts = {name: getattr(scale, name) for name in ("pretrain", "seen", "unseen", "items", "new")}
    chosen: dict[str, list[tuple[str, int]]] = {name: [] for name in counts}
    for s, some in enumerate(texts):
        long = [text for text in some if len(text) >= scale.longest // 2]
        drawn = iter(run.rng("texts", s).permutation(len(long)).tolist())
        for name, count in counts.items():
            chosen[name] += [(long[next(drawn)][: scale.longest], s) for _ in range(count)]
    flat = [pair for part in chosen.values() for pair in part]
    ends = np.cumsum([len(part) for part in chosen.values()])
    rows = {n: np.arange(end - len(chosen[n]), end) for n, end in zip(chosen, ends, strict=True)}
    tokenizer = Tokenizer.train([text for text, _ in chosen["pretrain"]], scale.vocab)
    offsets, ids = tokenizer.encode_batch([text for text, _ in flat])
    inputs = np.zeros((len(flat), scale.context), np.int64)
    targets = np.full((len(flat), scale.context), -1, np.int64)
    for i in range(len(flat)):
        own = ids[offsets[i] : offsets[i + 1]][: scale.context].astype(np.int64)
        inputs[i, 1 : own.size], targets[i, : own.size] = own[:-1], own
    encoder = StaticEncoder.train([text for text, _ in chosen["pretrain"] + chosen["seen"]], run, width=32)
    vectors = encoder.encode([text for text, _ in flat]).astype(np.float64)
    vectors = np.concatenate([vectors, np.ones((len(flat), 1))], 1)
    source = np.array([s for _, s in flat])
    return World(torch.from_numpy(inputs), torch.from_numpy(targets), vectors, source, rows), tokenizer.vocab_size


def marks(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed."""
    world, vocab = world_of(texts, run, scale)
    items = np.concatenate([world.rows["items"], world.rows["new"]])
    known = np.arange(items.size) < world.rows["items"].size
    with threads(1):
        model = lab.decoder(scale.depth, vocab, scale.context, run)
        order = lab.order(world.rows["pretrain"].size, scale.start * 16, run.at("start"))
        options = Options(rate=model.config.rate, batch=16)
        train_examples(model, lambda rows: (world.losses(model, world.rows["pretrain"][rows]), None), order, options)
        first = {name: value.clone() for name, value in model.state_dict().items()}
        recorded, weights = record(model, first, world, "seen", scale.runs, items, run.at("recorded"), scale)
        told = {
            "curricula": record(model, first, world, "seen", scale.told, items, run.at("told"), scale)[0],
            "texts": record(model, first, world, "unseen", scale.told, items, run.at("unseen"), scale)[0],
        }
        every = np.concatenate([world.rows["seen"], world.rows["unseen"]])
        products = [inner(model, state, world, every, items) for state in weights]
    seen = Curves(recorded.batches, recorded.losses[..., known])
    simulator = fit(seen, world.vectors, world.vectors[items[known]], run.rng("fit"), passes=scale.passes)
    steps = tracin_steps(recorded.batches, products, every)[..., known]
    change = np.diff(seen.losses, axis=1)
    factor = float((steps * change).sum() / (steps**2).sum())
    dealt = world.vectors.copy()
    dealt[every] = run.rng("dealt").permutation(world.vectors[every])
    out: dict[str, float] = {}
    for key, curves in told.items():
        which = known if key == "curricula" else ~known
        truth = curves.losses[..., which]
        begin, own = truth[:, :1], world.vectors[items[which]]
        mean = (recorded.losses - recorded.losses[:, :1])[..., known].mean(0)
        rival = factor * tracin_steps(curves.batches, products, every)[..., which]
        guesses = {
            "": simulator.roll_out(curves.batches, begin, world.vectors, own),
            "dealt ": simulator.roll_out(curves.batches, begin, dealt, own),
            "tracin ": np.concatenate([begin, begin + np.cumsum(rival, 1)], 1),
            "no change ": np.broadcast_to(begin, truth.shape),
            "mean curve ": begin + (mean if key == "curricula" else mean.mean(1, keepdims=True)),
        }
        for name, guess in guesses.items():
            out |= {f"{key}: {name}{what}": value for what, value in judged(guess, truth).items()}
    return out


def judged(guess: Floats, truth: Floats) -> dict[str, float]:
    """Squared error over all steps after the start; rank correlation over items of final losses and of their changes.

    Of changes that are guessed to be all alike the correlation is 0: nothing was said.
    """
    changes = [(g[-1] - g[0], t[-1] - t[0]) for g, t in zip(guess, truth, strict=True)]
    return {
        "error": float(((guess - truth)[:, 1:] ** 2).mean()),
        "rank": float(np.mean([spearmanr(g[-1], t[-1]).statistic for g, t in zip(guess, truth, strict=True)])),
        "change rank": float(np.mean([spearmanr(g, t).statistic if np.ptp(g) > 1e-9 else 0.0 for g, t in changes])),
    }


def record(
    model: Decoder, first: Mapping[str, Tensor], world: World, part: str, runs: int, items: Ints, run: Run, scale: Scale
) -> tuple[Curves, list[Mapping[str, Tensor]]]:
    """Runs from the common start; and the weights at the start, the middle and the end of the first of them."""
    rows, places, curves = world.rows[part], [], []
    weights: list[Mapping[str, Tensor]] = [first]
    options = Options(
        rate=model.config.rate * scale.slower, batch=scale.batch, warmup=0.0, decay="constant", weight_decay=0.0
    )
    for number in range(runs):
        order = curriculum(rows, world.source[rows], run.rng("curriculum", number), scale)
        model.load_state_dict(first)
        curve = [_measured(model, world, items)]

        def look(curve: list[Floats] = curve, number: int = number) -> Floats:
            curve.append(_measured(model, world, items))
            if number == 0 and len(curve) - 1 in (scale.steps // 2, scale.steps):
                weights.append({name: value.clone() for name, value in model.state_dict().items()})
            return curve[-1]

        train_examples(
            model, lambda some: (world.losses(model, some), None), order, options, measure=look, points=scale.steps
        )
        places.append(order.reshape(scale.steps, scale.batch))
        curves.append(np.stack(curve))
    return Curves(np.stack(places), np.stack(curves)), weights


def curriculum(rows: Ints, source: Ints, rng: np.random.Generator, scale: Scale) -> Ints:
    """Records of a run in order: each half draws from the sources in proportions of its own."""
    kinds, parts = np.unique(source), []
    for half in np.array_split(np.arange(scale.steps * scale.batch), 2):
        share = rng.dirichlet(np.full(kinds.size, 0.5))
        which = rng.choice(kinds, half.size, p=share)
        parts.append(np.array([rng.choice(rows[source == kind]) for kind in which]))
    return np.concatenate(parts)


@torch.no_grad()
def _measured(model: Decoder, world: World, items: Ints) -> Floats:
    return np.asarray(world.losses(model, items).numpy(), np.float64)


def inner(model: Decoder, state: Mapping[str, Tensor], world: World, rows: Ints, items: Ints) -> Floats:
    """Inner products of the full gradients of records and items under some weights, (records, items)."""
    model.load_state_dict(state)
    model.eval()
    weights = list(model.parameters())

    def gradient(row: int) -> Tensor:
        parts = torch.autograd.grad(world.losses(model, np.array([row])).sum(), weights)
        return torch.cat([part.flatten() for part in parts])

    theirs = torch.stack([gradient(row) for row in items.tolist()])
    return np.stack([(theirs @ gradient(row)).numpy() for row in rows.tolist()]).astype(np.float64)


def tracin_steps(batches: Ints, products: Sequence[Floats], rows: Ints) -> Floats:
    """Minus the mean inner product of each batch, by the nearest of the checkpoints, (runs, steps, items)."""
    place = np.full(int(rows.max()) + 1, -1)
    place[rows] = np.arange(rows.size)
    steps = batches.shape[1]
    nearest = np.round(np.arange(steps) / max(1, steps - 1) * (len(products) - 1)).astype(int)
    return -np.stack([products[nearest[t]][place[batches[:, t]]].mean(1) for t in range(steps)], 1)
