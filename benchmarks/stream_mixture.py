"""Does a stream keep the mixture that was asked for, and read nothing twice? Counted over one epoch of ten real pools.

    python benchmarks/stream_mixture.py --data ../shared/data

A plan asks for other shares than the pools have (`temperature_mix`), so that small pools are repeated and large ones
read in part. Every step of an epoch is read, for each packing, and counted from the ids themselves:

*mixture*: the largest distance of a pool's share from the one asked for, in percentage points, in total and in every
stretch of 10,000 records. Stretches slide by a piece of a record, so all there are count, not only those side by side.
A piece counts for as much of a record as it has of its tokens; and once more stretches of 10,000 pieces are measured,
which are shorter. Tokens are those of the records, as the plan counts them, without the one that ends each.

*repeats*: of each record the number of tokens read, and a checksum of which they are, are compared with its text
encoded anew, as many times as the plan says. `none` is compared with the beginnings of records, as it cuts off the
rest. Of buckets, which leave out ends, no record is read more than that, and as much is missing as the stream tells.
Those two cannot keep a mixture of tokens, and are counted to show by how much. Ends with 1 if a record is read
otherwise than planned.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from stream import pool_of

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.engine.stream import PACKINGS, Buckets, Packing, Step, Stream
from tilth.models.tokenizer import Tokenizer
from tilth.policies.mix.temperature_mix import TemperatureMix

RECORDS = 10_000
STRETCH, TOTAL = 0.5, 0.05
"""Most points that a share may be off, in a stretch and in total."""
Ints = npt.NDArray[np.int64]
Sums = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]


def mixed(ids: npt.NDArray[np.unsignedinteger]) -> Sums:
    """A number for each id whose sums tell multisets of ids apart (splitmix64)."""
    x = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: Sums = x ^ (x >> np.uint64(31))
    return out


def summed(values: npt.NDArray[np.uint64], counts: Ints) -> Sums:
    """The sum of each of so many values one after another, modulo 2^64."""
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    ends = np.cumsum(counts)
    out: Sums = running[ends] - running[ends - counts]
    return out


class Count:
    """What was read, piece after piece, from the ids of steps alone.

    Attributes:
        tokens, sums: of each record of the pool; `sums` are checksums of which tokens they are.
        pieces, sizes: the record of each piece in the order read, and its tokens, ends of documents not counted.
    """

    def __init__(self, records: int, end: int) -> None:
        self.tokens, self.sums, self.end = np.zeros(records, np.int64), np.zeros(records, np.uint64), end
        self._pieces: list[Ints] = []
        self._sizes: list[Ints] = []

    def add(self, step: Step) -> None:
        """Count one step."""
        per_window = np.bincount(step.windows, minlength=len(step.input_ids))
        first = np.cumsum(per_window) - per_window
        piece = np.where(step.segment_ids >= 0, first[:, None] + step.segment_ids, -1)
        real = (piece >= 0) & (step.input_ids != self.end)
        assert (np.diff(piece[piece >= 0]) >= 0).all(), "pieces lie in the order in which the step names them"
        sizes = np.bincount(piece[real], minlength=step.records.size)
        np.add.at(self.tokens, step.records, sizes)
        np.add.at(self.sums, step.records, summed(mixed(step.input_ids[real].astype(np.uint32)), sizes))
        self._pieces.append(step.records)
        self._sizes.append(sizes)

    @property
    def pieces(self) -> Ints:
        return np.concatenate(self._pieces)

    @property
    def sizes(self) -> Ints:
        return np.concatenate(self._sizes)

    def wrong(self, tokens: Ints, sums: Sums, repeats: Ints) -> Ints:
        """The records that were not read exactly so many times.

        Args:
            tokens, sums: of each record's text, encoded.
        """
        good = (self.tokens == tokens * repeats) & (self.sums == sums * repeats.astype(np.uint64))
        return np.flatnonzero(~good)


def largest_deviation(group: Ints, sizes: Ints, shares: Floats, records: float, weights: Floats | None = None) -> float:
    """The largest distance of a group's share of tokens from its own in any stretch of so many records.

    Args:
        group, sizes: of each piece in the order read.
        shares: wanted of each group.
        weights: how much of a record each piece is; 1 when None. All are one stretch if they are less than `records`.

    >>> group, sizes, even = np.array([0, 1, 0, 1, 1, 0]), np.ones(6, int), np.array([0.5, 0.5])
    >>> largest_deviation(group, sizes, even, 2), largest_deviation(group, sizes, even, 6)
    (0.5, 0.0)
    """
    reach = np.append(0.0, np.cumsum(np.ones(group.size) if weights is None else weights))
    starts = np.arange(max(1, int(np.searchsorted(reach, reach[-1] - records + 1e-6, side="right"))))
    ends = np.minimum(np.searchsorted(reach, reach[starts] + records - 1e-6), group.size)
    whole = np.append(0, np.cumsum(sizes))
    total = whole[ends] - whole[starts]
    worst = 0.0
    for number, share in enumerate(shares.tolist()):
        mine = np.append(0, np.cumsum(np.where(group == number, sizes, 0)))
        part = (mine[ends] - mine[starts]) / np.maximum(total, 1)
        worst = max(worst, float(np.abs(part - share).max()))
    return worst


class Encoded(NamedTuple):
    """Texts encoded anew: how many tokens each has, and the checksum."""

    tokens: Ints
    sums: Sums


def encoded(texts: Sequence[str], tokenizer: Tokenizer, longest: int) -> tuple[Encoded, Encoded]:
    """Of each text, and of its first `longest` tokens."""
    parts: list[tuple[Ints, Sums, Ints, Sums]] = []
    for start in range(0, len(texts), 1000):
        offsets, ids = tokenizer.encode_batch(list(texts[start : start + 1000]))
        lengths = np.diff(offsets)
        values = mixed(ids)
        short = np.minimum(lengths, longest)
        begun = np.arange(ids.size) - np.repeat(offsets[:-1], lengths) < longest
        parts.append((lengths, summed(values, lengths), short, summed(values[begun], short)))
    whole, sums, short, begun_sums = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Encoded(whole, sums), Encoded(short, begun_sums)


def planned(raw: TablePool, counts: Ints, temperature: float) -> tuple[TablePool, Plan]:
    """The pools, counted by the tokenizer that reads them, and a plan of as many tokens with flattened shares."""
    tokens = pa.StructArray.from_arrays([pa.array(counts)], ["count"])
    pool = TablePool(pa.table({"text": raw.column("text"), "source": raw.column("source"), "tokens": tokens}))
    start = Plan.everything(pool, Budget(int(counts.sum())))
    policy = TemperatureMix(temperature=temperature)
    return pool, policy.revise(start, pool, Goal(pool, pool, start.budget), Run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=8_000_000, help="bytes of each pool at most")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--temperature", type=float, default=5.0, help="of the shares asked for; 1 is as the pools are")
    parser.add_argument("--records", type=int, default=RECORDS, help="of a stretch")
    args = parser.parse_args()
    raw = pool_of(args.data, args.size, 1)
    texts = raw.column("text").to_pylist()
    tokenizer = Tokenizer.train(texts[:: max(1, len(texts) // 3000)], vocab=args.vocab)
    assert tokenizer.eod is not None
    whole, cut = encoded(texts, tokenizer, args.context)
    pool, plan = planned(raw, whole.tokens, args.temperature)
    repeats = plan.repeats.astype(np.int64)
    shares = np.array([plan.requested[name] for name in plan.sources.names])
    readings = np.bincount(repeats)
    print(
        f"{pool.count:,} records of {len(shares)} pools; planned are {int(repeats.sum()):,} readings of "
        f"{int((plan.sizes * repeats).sum()):,} tokens: "
        + ", ".join(f"{count:,} records {times} times" for times, count in enumerate(readings.tolist()) if count)
    )
    ways: Mapping[str, Packing | Buckets] = {**{name: name for name in PACKINGS}, "buckets": Buckets()}
    failed = False
    print(
        f"| packing | pieces | most points off in {args.records:,} records | in {args.records:,} pieces | in total | "
        f"read otherwise than planned |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as cache:
        for name, packing in ways.items():
            stream = Stream(
                plan, pool, tokenizer, batch=args.batch, context=args.context, packing=packing, cache=cache, prefetch=0
            )
            count = Count(pool.count, tokenizer.eod)
            for step in stream:
                count.add(step)
            sizes, group = count.sizes, plan.sources.index[count.pieces].astype(np.int64)
            weights = sizes / np.maximum((cut if name == "none" else whole).tokens[count.pieces], 1)
            off = 100 * largest_deviation(group, sizes, shares, args.records, weights)
            pieces = 100 * largest_deviation(group, sizes, shares, args.records)
            total = 100 * largest_deviation(group, sizes, shares, group.size)
            if name == "buckets":
                missing = int(((whole.tokens + 1) * repeats).sum()) - int(stream.facts["tokens"])
                wrong = int((count.tokens > whole.tokens * repeats).sum())
                wrong += missing != stream.facts["tokens_left_out"]
            else:
                wrong = count.wrong(*(cut if name == "none" else whole), repeats).size
            failed |= bool(wrong)
            print(
                f"| {name} | {group.size:,} | {off:.3f} ({'yes' if off <= STRETCH else 'no'}) | {pieces:.3f} | "
                f"{total:.4f} ({'yes' if total <= TOTAL else 'no'}) | {wrong:,} |",
                flush=True,
            )
    print(f"yes: at most {STRETCH} points in every stretch of records, {TOTAL} in total")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
