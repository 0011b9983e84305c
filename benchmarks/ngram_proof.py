"""A thousand mixtures of ten pools by the n-gram proof, and its re-weighted counts against a recount.

python benchmarks/ngram_proof.py --data DATA/A_text --mixtures 1000
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.io.detect import detect
from tilth.io.importer import chunks, sample
from tilth.models.ngram import losses
from tilth.proofs._text import tokenizer_for
from tilth.proofs.ngram import Ngram, _count, _items
from tilth.signals.quality.tokens import Tokens, tokenizer_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mixtures", type=int, default=1000)
    parser.add_argument("--pools", type=int, default=10)
    args = parser.parse_args()
    tables = []
    for path in sorted(args.data.glob("*.jsonl.zst"))[: args.pools]:
        chunk = next(islice(chunks(path, detect(sample(path)), path.name.partition(".")[0], {}, 3 << 20), 1))
        tables.append(chunk.table)
    bare = TablePool(pa.concat_tables(tables))
    tokens = Tokens()
    state = tokens.fit(bare, None, Run())
    counts = tokenizer_of(state).count([t or "" for t in bare.column("text").to_pylist()])
    kind = pa.struct([("count", pa.int32())])
    pool = bare.with_column("tokens", pa.StructArray.from_arrays([pa.array(counts)], fields=list(kind)))
    holdout = TablePool(pool.take(Run().rng("holdout").permutation(pool.count)[:100], ["id", "text"]))
    goal = Goal(holdout, holdout, Budget(1_000_000))
    plan = Plan.everything(pool, goal.budget)
    shares = Run().rng("shares").dirichlet(np.ones(len(plan.sources.names)), args.mixtures)
    proof = Ngram()
    tokenizer_for(pool, proof.vocab)
    began = time.monotonic()
    found = proof.mixtures(shares, plan.sources, plan, pool, goal, Run())
    took = time.monotonic() - began
    print(f"{len(found):,} mixtures of {len(plan.sources.names)} pools, {holdout.count} items: {took:.1f} s")

    tokenizer = tokenizer_for(pool, proof.vocab)
    items = _items(holdout, tokenizer, 3)
    rows = [np.flatnonzero(plan.sources.index == g)[:200] for g in range(len(plan.sources.names))]
    each = [_count(items, pool, r, tokenizer, np.ones(r.size, np.int32)) for r in rows]
    times = Run().rng("copies").integers(0, 4, len(rows))
    copied = np.concatenate([np.tile(r, t) for r, t in zip(rows, times, strict=True)])
    whole = _count(items, pool, copied, tokenizer, np.ones(copied.size, np.int32))
    one = losses(items, [whole], np.ones((1, 1)))[0]
    two = losses(items, each, times[None].astype(float))[0]
    print(f"re-weighted counts against recounted mixed text: at most {np.abs(one - two).max():.1e} bits per byte apart")


if __name__ == "__main__":
    main()
