"""Does cutting documents into windows of many lengths save time, and is the model as good? Against concat-and-chunk.

    python benchmarks/length_buckets.py --data ../shared/data

One transformer reads the same ten real pools twice, on one thread: joined and cut every `--context` tokens, and by
dataset decomposition (`Buckets`: windows of 2^k + 1 tokens of one document, short ones first in every cycle), with as
many tokens a step and in all. Printed, for several seeds of weights and order, with 95 % intervals (t): seconds of
processor time a step, held-out bits per byte at equal tokens, and at equal time, where the curve of the slower run is
read at the end of the quicker one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import t
from stream import pool_of

from tilth.core import Budget, Plan, Run
from tilth.engine.stream import Buckets, Packing, Stream
from tilth.models.batches import windows_to_score
from tilth.models.feeds import Batch, Seen
from tilth.models.optim import Options, precision_of
from tilth.models.timed import at_equal_time, timed
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import bits_per_byte, generator, threads
from tilth.models.transformer import Config, build

Floats = npt.NDArray[np.float64]


class Steps:
    """The first steps of a stream, for a trainer of language models."""

    def __init__(self, stream: Stream, most: int) -> None:
        self.stream, self.steps = stream, min(stream.steps, most)

    def batch(self, step: int) -> Batch:
        read = self.stream.at(step)
        inputs, targets, documents = (
            torch.from_numpy(part) for part in (read.input_ids[:, :-1], read.labels[:, 1:], read.segment_ids[:, :-1])
        )
        rows = np.broadcast_to(np.arange(len(inputs))[:, None], inputs.shape)
        return Batch(inputs, targets, documents, rows, rows)

    def learn(self, seen: Seen) -> None:
        """Nothing to learn."""


def run_of(args: argparse.Namespace, stream: Stream, config: Config, held: tuple[list[str], Tokenizer]) -> Floats:
    """(points, 2): processor seconds of training and held-out bits per byte at each of ten looks."""
    options = Options(rate=config.rate, batch=args.batch, precision=precision_of("auto"))
    model = build(config, generator(Run(seed=stream.state_dict()["seed"]).rng("init")))
    offsets, ids = held[1].encode_batch(held[0])
    data = windows_to_score(offsets, ids, args.context, 0)
    size = np.array([len(text.encode()) for text in held[0]])
    feed = Steps(stream, args.steps)
    return timed(model, feed, options, lambda looked: bits_per_byte(looked, data, size), apart=False)


def told(name: str, values: npt.ArrayLike) -> None:
    x = np.asarray(values, float)
    half = t.ppf(0.975, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size)
    print(f"{name}: {x.mean():.4f} [{x.mean() - half:.4f}, {x.mean() + half:.4f}]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=500_000, help="bytes of each pool")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=150, help="at most; as many for both")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    pool = pool_of(args.data, args.size, 1)
    texts = pool.column("text").to_pylist()
    tokenizer = Tokenizer.train(texts[:1000], vocab=2048)
    rows = Run().rng("held").permutation(len(texts))
    held = ([texts[i][:4000] for i in rows[:80]], tokenizer)
    rest = ~np.isin(np.arange(len(texts)), rows[:80])
    plan = Plan.everything(pool, Budget(1 << 40)).revised({"use": "rest"}, "not held out", keep=rest)
    config = Config.of_depth(args.depth, 2048, args.context)
    saved, equal, even = [], [], []
    ways: dict[str, Packing | Buckets] = {"chunk": "chunk", "buckets": Buckets(shortest=64, cycles=4)}
    with tempfile.TemporaryDirectory() as cache, threads(1):
        for seed in range(args.seeds):
            curve = {}
            for name, packing in ways.items():
                stream = Stream(
                    plan, pool, tokenizer, batch=args.batch, context=args.context, packing=packing, across=True,
                    seed=seed, cache=cache, prefetch=0,
                )  # fmt: skip
                curve[name] = run_of(args, stream, config, held)
                if not seed:
                    print(name, stream.steps, "steps", stream.facts)
            (slow, loss), (quick, other) = curve["chunk"][-1], curve["buckets"][-1]
            saved.append(1 - quick / slow)
            equal.append(loss - other)
            even.append(at_equal_time(curve["buckets"], curve["chunk"]))
            print(f"seed {seed}: chunk {slow:.1f} s {loss:.4f}, buckets {quick:.1f} s {other:.4f}", flush=True)
    told("share of the time of a step saved", saved)
    told("bits per byte gained at equal tokens", equal)
    told("bits per byte gained at equal time", even)


if __name__ == "__main__":
    main()
