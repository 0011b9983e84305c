"""Dataset decomposition: documents cut into sequences of 2^k + 1 tokens, and batches of one length and equal tokens.

Each sequence is of one document, so nothing has to be masked, and attention costs what its own length costs. A sequence
of 2^k + 1 tokens has 2^k inputs and 2^k targets; sequences of a document do not overlap. Source: Dataset Decomposition,
arXiv 2405.13226.

>>> sequences = cut([1100, 30, 5], least=3, most=9)
>>> sequences.power.tolist(), sequences.document.tolist(), sequences.dropped.tolist()
([9, 9, 6, 3, 4, 3], [0, 0, 0, 0, 1, 1], [0, 4, 5])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput
from tilth.kernels import buckets as kernel

__all__ = ["CURRICULA", "Schedule", "Sequences", "cut", "schedule"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Small = npt.NDArray[np.int8]

CURRICULA: Final = {"uniform": 1.0, "grow-p2": 0.5, "shrink-p2": 2.0}
"""By what the odds of a bucket are multiplied from one length to the next."""


@dataclass(frozen=True)
class Sequences:
    """Where the sequences lie in their documents.

    Attributes:
        document: (n,) the document of each.
        start: (n,) the token of the document at which it begins.
        power: (n,) k: it has 2^k + 1 tokens.
        dropped: (documents,) tokens at the end of each that are in no sequence.
        least, most: of the powers that were allowed.
    """

    document: Ints
    start: Ints
    power: Small
    dropped: Ints
    least: int
    most: int

    def __len__(self) -> int:
        return len(self.power)

    @property
    def sizes(self) -> Ints:
        """Tokens of each sequence, 2^k + 1."""
        return np.asarray(2 ** self.power.astype(np.int64) + 1)

    @property
    def context(self) -> float:
        """The mean length at which a target is predicted, sum of share_k x 2^k: what attention costs per token.

        Against documents one after another cut every 2^most tokens, attention is cheaper by 2^most over this.
        """
        targets = (self.sizes - 1).astype(np.float64)
        return float((targets**2).sum() / max(targets.sum(), 1.0))

    def lost(self, lengths: npt.ArrayLike) -> float:
        """The share of these documents' tokens that is in no sequence."""
        return float(self.dropped.sum() / max(np.asarray(lengths, np.int64).sum(), 1))

    def taken(self, offsets: Ints, ids: npt.NDArray[np.uint32], rows: Ints) -> npt.NDArray[np.uint32]:
        """The tokens of some sequences of one power, (rows, 2^k + 1); inputs lack the last, targets the first.

        Args:
            offsets, ids: the documents that were cut, as `Tokenizer.encode_batch` returns them.

        Raises:
            BadInput: when the sequences are not all of one length.
        """
        powers = np.unique(self.power[rows])
        if powers.size != 1:
            raise BadInput(f"A batch has sequences of one length; these have powers {powers.tolist()}.")
        begins = offsets[:-1][self.document[rows]] + self.start[rows]
        out: npt.NDArray[np.uint32] = ids[begins[:, None] + np.arange(2 ** int(powers[0]) + 1)]
        return out


@dataclass(frozen=True)
class Schedule:
    """Which sequences are read at each step.

    Attributes:
        power: (steps,) that of all sequences of a step.
        rows: the sequences, step after step.
        starts: (steps + 1,) where each step begins in `rows`.
        tokens: targets of every step.
        unread: sequences that are in no step, as a bucket's last batch was not full.
    """

    power: Small
    rows: Ints
    starts: Ints
    tokens: int
    unread: Ints

    def __len__(self) -> int:
        return len(self.power)

    def __iter__(self) -> Iterator[tuple[int, Ints]]:
        for step, power in enumerate(self.power.tolist()):
            yield power, self.rows[self.starts[step] : self.starts[step + 1]]


def cut(lengths: npt.ArrayLike, least: int = 8, most: int = 13, rng: np.random.Generator | None = None) -> Sequences:
    """Cut each document into the longest sequences of 2^k + 1 tokens that fit, from its beginning on.

    What is left when not even 2^least + 1 tokens are is dropped: short documents lose most, so the share of each source
    changes; look at `dropped`.

    Args:
        lengths: tokens of each document.
        least, most: of k; 1 to 30.
        rng: where more than the longest sequence fits, k is drawn, the longest being the rarest: with chances of 1, 2,
            4, ... from the longest to the shortest, so that all lengths get as many tokens. None: the longest is taken.

    Raises:
        BadInput: when `least` and `most` are none.
    """
    if not 0 <= least <= most <= 30:
        raise BadInput(f"Sequences have 2^k + 1 tokens with 0 <= least <= most <= 30. Got {least} and {most}.")
    many = np.asarray(lengths, np.int64)
    if rng is None:
        odds = np.zeros(most - least + 1)
        lots = np.zeros(int((many // (2**least + 1)).sum()))
    else:
        chances = 2.0 ** np.arange(most - least, -1, -1)
        odds = np.cumsum(chances / chances.sum())
        lots = rng.random(int((many // (2**least + 1)).sum()))
    odds[-1] = 1.0
    document, start, power, dropped = kernel.cut(many, least, most, odds, lots)
    return Sequences(document, start, power, dropped, least, most)


def schedule(
    sequences: Sequences,
    tokens: int,
    rng: np.random.Generator,
    curriculum: str | Sequence[float] = "grow-p2",
    cycles: int = 8,
) -> Schedule:
    """One epoch in batches of one length and equal tokens, every sequence at most once.

    Each bucket's batches are split evenly among the cycles. In a cycle the bucket of a step is drawn with chances in
    proportion to its odds times the batches it has left, until none are left. With ``grow-p2`` odds halve from each
    length to the next, so a cycle mostly begins with the short and ends with the long ones, without being sorted;
    ``uniform`` has all alike, ``shrink-p2`` begins with the long ones. Learning rates go on over all cycles.

    Args:
        tokens: targets of a step, a multiple of 2^most; a step has tokens / 2^k sequences.
        curriculum: one of `CURRICULA`, or the odds of each power from `least` to `most`, all above 0.
        cycles: how often the lengths begin anew.

    Raises:
        BadInput: when tokens, odds or cycles are not such.
    """
    if tokens < 1 or tokens % 2**sequences.most:
        raise BadInput(f"A step has a multiple of 2^{sequences.most} = {2**sequences.most} tokens. Got {tokens}.")
    if cycles < 1:
        raise BadInput(f"There is at least one cycle. Got {cycles}.")
    powers = np.arange(sequences.least, sequences.most + 1)
    odds = _odds(curriculum, powers.size)
    waiting, edges = [], []
    for k in powers.tolist():
        mine = rng.permutation(np.flatnonzero(sequences.power == k))
        size = tokens >> k
        whole = mine.size // size
        waiting.append(mine)
        edges.append(np.round(np.arange(cycles + 1) * whole / cycles).astype(np.int64))
    batches = np.diff(np.array(edges), axis=1).T
    bucket = kernel.schedule(np.ascontiguousarray(batches), odds, rng.random(int(batches.sum())))
    at = np.zeros(powers.size, np.int64)
    rows = []
    for b in bucket.tolist():
        size = tokens >> int(powers[b])
        rows.append(waiting[b][at[b] : at[b] + size])
        at[b] += size
    nothing = np.zeros(0, np.int64)
    unread = np.concatenate([nothing, *(mine[used:] for mine, used in zip(waiting, at.tolist(), strict=True))])
    starts = np.cumsum([0, *(len(some) for some in rows)])
    return Schedule(
        (bucket + sequences.least).astype(np.int8), np.concatenate([nothing, *rows]), starts, tokens, unread
    )


def _odds(curriculum: str | Sequence[float], count: int) -> Floats:
    if isinstance(curriculum, str):
        if curriculum not in CURRICULA:
            raise BadInput(f"A curriculum is one of {', '.join(CURRICULA)}, or odds. Got {curriculum!r}.")
        return np.asarray(CURRICULA[curriculum] ** np.arange(count), np.float64)
    odds = np.asarray(curriculum, np.float64)
    if odds.shape != (count,) or not (np.isfinite(odds) & (odds > 0)).all():
        raise BadInput(f"There are {count} lengths, each with odds above 0. Got {list(curriculum)}.")
    return odds
