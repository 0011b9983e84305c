"""ExactNgramMix against the best of 1,000 random mixtures improved by local search, on 20 real pools.

    python benchmarks/exact_ngram_mix.py --data DATA/A_text DATA/A_text_more

The peer is a derivative-free search on the same n-gram proof: 1,000 mixtures drawn like RegMix's trials, then the best
one moved at random (a log-normal factor on every share, its spread halved after 20 failures) for 3,000 more. Both keep
to 4 epochs of a source. The goal is held-out records of a planted mixture of three pools. Where there are fewer files
than pools, the next part of a file is a pool of its own. Printed: losses, how far apart they are, seconds, and both
distances to the planted mixture.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Room, Run, TablePool
from tilth.io.detect import detect
from tilth.io.importer import chunks, sample
from tilth.models.ngram import losses
from tilth.policies.mix._draw import draw
from tilth.policies.mix.exact_ngram_mix import ExactNgramMix
from tilth.proofs._text import tokenizer_for
from tilth.proofs.ngram import Ngram
from tilth.signals.quality.tokens import Tokens, tokenizer_of

Floats = npt.NDArray[np.float64]
PLANTED = (0.6, 0.3, 0.1)


def world(files: list[Path], pools: int, bytes_of_each: int, run: Run) -> tuple[TablePool, Goal, Floats]:
    """The pools, the goal and the planted shares."""
    tables = []
    for pool_number in range(pools):
        part, number = divmod(pool_number, len(files))
        path = files[number]
        name = path.name.partition(".")[0] + f" {part + 1}" * (part > 0)
        found = chunks(path, detect(sample(path)), name, {}, bytes_of_each)
        tables.append(next(islice(found, part, part + 1)).table)
    bare = TablePool(pa.concat_tables(tables))
    tokens = Tokens()
    counts = tokenizer_of(tokens.fit(bare, None, run)).count([t or "" for t in bare.column("text").to_pylist()])
    kind = pa.struct([("count", pa.int32())])
    pool = bare.with_column("tokens", pa.StructArray.from_arrays([pa.array(counts)], fields=list(kind)))
    source = np.array(pool.column("source").to_pylist())
    names = sorted(set(source))
    planted = np.zeros(len(names))
    rows = []
    for place, share in zip(run.rng("planted").permutation(len(names))[:3], PLANTED, strict=True):
        planted[place] = share
        mine = run.rng("held", int(place)).permutation(np.flatnonzero(source == names[place]))
        size = np.cumsum(np.asarray(counts)[mine])
        rows.append(mine[: 1 + int(np.searchsorted(size, share * 60_000))])
    held = np.concatenate(rows)
    rest = np.setdiff1d(np.arange(pool.count), held)
    holdout = TablePool(pool.take(held, ["id", "text", "source"]))
    pool = TablePool(pool.table(pool.schema.names).take(pa.array(rest)))
    return pool, Goal(holdout, holdout, Budget(1_000_000)), planted


def searched(
    proof: Ngram, room: Room, plan: Plan, pool: TablePool, goal: Goal, run: Run, moves: int
) -> tuple[Floats, float]:
    """The best of random mixtures, improved by random moves."""
    items, counts, scale, most = proof.counted(plan.sources, plan, pool, goal, run)
    weights = goal.weights(goal.holdout).to_numpy()
    weights = weights / weights.sum()

    def loss(shares: Floats) -> Floats:
        return np.asarray(losses(items, counts, np.minimum(shares, most) * scale) @ weights)

    tried = draw(room, 1000, run.rng("random"))
    found = loss(tried)
    best, value = tried[int(found.argmin())], float(found.min())
    rng, spread, failures = run.rng("moves"), 0.5, 0
    for _ in range(moves):
        moved = room.nearest(np.maximum(best, 1e-6) * np.exp(spread * rng.standard_normal(best.size)))
        here = float(loss(moved[None])[0])
        failures = 0 if here < value else failures + 1
        if here < value:
            best, value = moved, here
        if failures >= 20:
            spread, failures = max(spread / 2, 0.01), 0
    return best, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pools", type=int, default=20)
    parser.add_argument("--moves", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    files = [f for folder in args.data for f in sorted(folder.glob("*.jsonl.zst")) if detect(sample(f)).kind == "text"]
    for seed in range(args.seeds):
        run = Run(seed=seed)
        pool, goal, planted = world(files, args.pools, 3 << 20, run)
        plan = Plan.everything(pool, goal.budget)
        room = plan.room(4.0)
        policy = ExactNgramMix()
        tokenizer_for(pool, policy.proof.vocab)
        began = time.monotonic()
        made = policy.revise(plan, pool, goal, run)
        ours = time.monotonic() - began
        told = made.decisions[-1].details
        began = time.monotonic()
        best, value = searched(policy.proof, room, plan, pool, goal, run.at("count"), args.moves)
        theirs = time.monotonic() - began
        shares = np.array([told["shares"][name] for name in plan.sources.names])
        sys.stdout.write(
            f"seed {seed}, {len(plan.sources.names)} pools, {goal.holdout.count} items: exact {told['loss']:.5f} bits "
            f"per byte in {ours:.1f} s (4 starts {told['spread']:.5f} apart), search {value:.5f} in {theirs:.1f} s: "
            f"{(told['loss'] / value - 1):+.3%}; natural {told['loss_natural']:.4f}; L1 to the planted mixture "
            f"{np.abs(shares - planted).sum():.2f} and {np.abs(best - planted).sum():.2f}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
