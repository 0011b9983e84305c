"""Dataset decomposition (Pouransari et al. 2024, arXiv 2405.13226): windows of many lengths, of one document each.

A decoder of 2 layers reads text of three real sources on one thread: joined and cut every 512 tokens, where documents
that share a window attend to one another, as is usually done; or cut into sequences of 2^k + 1 tokens of one document,
all of a step of one length, as many tokens a step. The curriculum of the paper (short ones are likelier first, and the
lengths begin anew eight times) stands against uniform chances, long ones first, and one cycle. All arms start from the
same weights. Every arm reads as many tokens; those of sequences read the same ones in other orders.

The paper trains up to 2.7 B parameters with up to 8,192 tokens a window. Not run: benchmarks, contexts above 512.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import Windows, windows, windows_to_score
from tilth.models.buckets import Sequences, cut, schedule
from tilth.models.feeds import Bucketed, Feed, Fixed
from tilth.models.optim import Options, precision_of
from tilth.models.timed import at_equal_time, timed
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import bits_per_byte, record_losses, threads
from tilth.models.transformer import Decoder

__all__ = ["PAPER", "run"]

PAPER = "dataset_decomposition"
SEEDS = 3
SOURCES = ("dialogue_sgd", "encyclopedia_simplewiki", "science_arxiv_2025")
"""Whose documents are mostly shorter than a window, as those of the paper's corpus are."""
ARMS: Mapping[str, tuple[str, int]] = {
    "grow-p2": ("grow-p2", 8),
    "uniform": ("uniform", 8),
    "long first": ("shrink-p2", 8),
    "one cycle": ("grow-p2", 1),
}
"""Curriculum and cycles of each way to read sequences; the first is the paper's."""
STEP = 0.6  # of the time of a step of joined text
WORSE = 0.01  # bits per byte by which two runs may differ and count as equal
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Encoded = tuple[Ints, npt.NDArray[np.uint32]]


@dataclass(frozen=True)
class Scale:
    """What is read, and the model.

    Attributes:
        size: characters of each source to train on at most.
        held: held-out documents of each source, and as many more of those with at least `far` characters.
        longest: characters of a held-out document.
        least, most: of k; windows of joined text have 2^most tokens.
        batch: windows of joined text in a step.
    """

    size: int = 240_000
    held: int = 16
    far: int = 2000
    longest: int = 3000
    vocab: int = 1024
    least: int = 5
    most: int = 9
    batch: int = 8
    depth: int = 2
    points: int = 4


@dataclass(frozen=True)
class World:
    """Documents as tokens, each between two ends, and held-out ones.

    Attributes:
        source: of each document.
        size: bytes of each held-out document.
        long: further held-out documents, all long.
    """

    texts: Encoded
    source: Ints
    held: Encoded
    size: Ints
    long: Encoded


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, *SOURCES)
    return statements([measured(texts, Run(seed=seed).at(PAPER), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    grow, chunk = of["loss, grow-p2"], of["loss, joined"]

    def below(statement: str, paper: str, less: Floats) -> dict[str, Any]:
        return lab.row(statement, paper, less, lab.mean(less)[2] < 0)

    def no_worse(statement: str, less: Floats) -> dict[str, Any]:
        return lab.row(statement, f"not above 0 (here: at most {WORSE})", less, less.mean() <= WORSE)

    step, crossing, lost = of["seconds, grow-p2"] / of["seconds, joined"], of["crossing"], of["unaccounted"]
    return [
        lab.row("sequences that are of two documents", "0", crossing, not crossing.any()),
        lab.row("tokens neither in one sequence nor in a tail too short for any", "0", lost, not lost.any()),
        lab.row("time of a step, of that of joined text", f"less (here: at most {STEP})", step, step.mean() <= STEP),
        no_worse("bits per byte at equal tokens, less joined text", grow - chunk),
        below("bits per byte at equal time, less joined text", "below 0", -of["gain at equal time"]),
        no_worse("curriculum: grow-p2 less uniform", grow - of["loss, uniform"]),
        no_worse("curriculum: grow-p2 less long first", grow - of["loss, long first"]),
        no_worse("curriculum: eight cycles less one", grow - of["loss, one cycle"]),
        no_worse("bits per token in the second half of a window, less joined text", of["late, grow-p2"]
                 - of["late, joined"]),
        *(lab.row(f"{arm}: bits per byte", "", of[f"loss, {arm}"], None) for arm in ("joined", *ARMS)),
        *(lab.row(f"{arm}: seconds of processor time a step", "", of[f"seconds, {arm}"], None)
          for arm in ("joined", *ARMS)),
        *(lab.row(f"{arm}: bits per token in the second half of a window", "", of[f"late, {arm}"], None)
          for arm in ("joined", "grow-p2")),
        *(lab.row(name, "", of[name], None)
          for name in ("steps", "tokens of a step", "mean length at which a token is predicted",
                       "share of tokens in no sequence", "most that a source's share of tokens changes")),
    ]  # fmt: skip


def measured(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed."""
    world = read(texts, run, scale)
    lengths = np.diff(world.texts[0])
    sequences = cut(lengths, scale.least, scale.most)
    tokens = scale.batch << scale.most
    feeds: dict[str, Feed] = {}
    for arm, (curriculum, cycles) in ARMS.items():
        plan = schedule(sequences, tokens, run.rng("schedule"), curriculum, cycles)
        feeds[arm] = Bucketed(*world.texts, sequences, plan)
    steps = feeds["grow-p2"].steps
    feeds = {"joined": Fixed(joined(world, run, scale, steps * scale.batch), scale.batch), **feeds}
    crossing, unaccounted = checked(lengths, sequences, scale)
    out: dict[str, float] = {
        "crossing": crossing, "unaccounted": unaccounted, "steps": steps, "tokens of a step": tokens,
        "mean length at which a token is predicted": sequences.context,
        "share of tokens in no sequence": sequences.lost(lengths),
        "most that a source's share of tokens changes": moved(world, sequences),
    }  # fmt: skip
    data = windows_to_score(*world.held, 2**scale.most, lab.END)
    late = _late(world.long, scale)
    curves = {}
    with threads(1):
        for arm, feed in feeds.items():
            model = lab.decoder(scale.depth, scale.vocab, 2**scale.most, run)
            options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))

            def look(looked: Decoder) -> Floats:
                return bits_per_byte(looked, data, world.size)

            curve = timed(model, feed, options, look, points=scale.points, apart=False)
            nats, count = record_losses(model, late)
            out[f"loss, {arm}"], out[f"seconds, {arm}"] = float(curve[-1, 1]), float(curve[-1, 0] / feed.steps)
            out[f"late, {arm}"] = float(nats.sum() / count.sum() / np.log(2))
            curves[arm] = curve
    out["gain at equal time"] = at_equal_time(curves["grow-p2"], curves["joined"])
    return out


def read(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> World:
    """Documents of each source, drawn by lot, others held out, and further long ones."""
    mine: list[str] = []
    held: list[str] = []
    long: list[str] = []
    source: list[int] = []
    for number, some in enumerate(texts):
        order = run.rng("texts", number).permutation(len(some))
        chosen = [some[i] for i in order]
        held += [text[: scale.longest] for text in chosen[: scale.held]]
        rest = chosen[scale.held :]
        far = [i for i, text in enumerate(rest) if len(text) >= scale.far][: scale.held]
        long += [rest[i][: scale.longest] for i in far]
        rest = [text for i, text in enumerate(rest) if i not in {*far}]
        room = int((np.cumsum([len(text) for text in rest]) <= scale.size).sum())
        mine += rest[:room]
        source += [number] * room
    tokenizer = Tokenizer.train(mine, scale.vocab)
    offsets, ids = tokenizer.encode_batch(mine)
    ends = offsets + 2 * np.arange(offsets.size)  # every document begins and ends with an end, as joined text has it
    made = np.full(ends[-1], lab.END, np.uint32)
    made[np.arange(ids.size) + 2 * np.repeat(np.arange(len(mine)), np.diff(offsets)) + 1] = ids
    size = np.array([len(text.encode()) for text in held])
    return World((ends, made), np.array(source), tokenizer.encode_batch(held), size, tokenizer.encode_batch(long))


def joined(world: World, run: Run, scale: Scale, count: int) -> Windows:
    """The same documents one after another, in random order, in so many windows; they are read again if too few."""
    offsets, ids = world.texts
    inner = np.ones(ids.size, np.bool_)
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
    bare = (offsets - 2 * np.arange(offsets.size), ids[inner])  # `windows` puts ends between documents itself
    tokens = count << scale.most
    lengths = np.diff(bare[0]) + 1
    order = lab.order(lengths.size, lengths.size * -(-tokens // int(lengths.sum())), run)
    return windows(*bare, order, 2**scale.most, lab.END, tokens)


def checked(lengths: Ints, sequences: Sequences, scale: Scale) -> tuple[int, int]:
    """How many sequences end behind their document, and how many tokens are lost that should not be, or read twice.

    Counted place by place, without `Sequences.dropped`.
    """
    behind = sequences.start + sequences.sizes > lengths[sequences.document]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    change = np.zeros(starts[-1] + 1, np.int64)
    first = starts[sequences.document] + sequences.start
    np.add.at(change, first, 1)
    np.add.at(change, np.minimum(first + sequences.sizes, starts[-1]), -1)
    times = np.cumsum(change[:-1])
    unread = np.concatenate([[0], np.cumsum(times == 0)])
    missing = np.diff(unread[starts])
    at_end = unread[starts[1:]] - unread[starts[1:] - missing] == missing
    excused = at_end & (missing <= 2**scale.least)  # a tail that no sequence fits
    return int(behind.sum()), int((times > 1).sum()) + int(missing[~excused].sum())


def moved(world: World, sequences: Sequences) -> float:
    """The largest change of a source's share of the tokens, as tails of short documents are dropped."""
    lengths = np.diff(world.texts[0])
    before, after = (np.bincount(world.source, weights) for weights in (lengths, lengths - sequences.dropped))
    return float(np.abs(after / after.sum() - before / before.sum()).max())


def _late(long: Encoded, scale: Scale) -> Windows:
    """Long documents, of which those tokens count that have at least half a window before them."""
    offsets, ids = long
    place = np.arange(ids.size) - np.repeat(offsets[:-1], np.diff(offsets))
    return windows_to_score(offsets, ids, 2**scale.most, lab.END, place % 2**scale.most >= 2 ** (scale.most - 1))
