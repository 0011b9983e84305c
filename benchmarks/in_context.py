"""Seconds, peak memory and likeness inside windows of `in_context`, on made embeddings or on real texts.

    python benchmarks/in_context.py --records 200000 --threads 2
    python benchmarks/in_context.py --texts FOLDER/A_text/*.jsonl.zst --longest 2000

Made embeddings lie around random directions, a hundred records to each; every record has 400 tokens. Real texts are
embedded by `--vectors` (static unless said otherwise) and counted by words. The order is checked: every record is there
once. Likeness is also measured in windows cut without regard to documents, as a model cuts them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--exact", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", nargs="+", type=Path, default=[])
    parser.add_argument("--longest", type=int, default=2000, help="characters of a text")
    parser.add_argument("--vectors", default="static")
    args = parser.parse_args()
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):  # before numpy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    measure(args)


def measure(args: argparse.Namespace) -> None:
    """Order a pool and print one line."""
    import numpy as np
    import orjson
    import pyarrow as pa

    from tilth.core import Budget, Goal, Plan, Run, TablePool
    from tilth.io.streams import blocks, lines
    from tilth.policies import _vectors
    from tilth.policies.order.in_context import InContext

    if args.texts:
        texts = [orjson.loads(row)["text"][: args.longest] for file in args.texts for _, row, _ in lines(blocks(file))]
        counts = pa.array([len(text.split()) for text in texts], pa.int64())
        columns = {"text": pa.array(texts)}
        vectors = args.vectors
    else:
        rng = np.random.default_rng(0)
        shape = (max(1, args.records // 100), args.dimensions)
        centres = rng.standard_normal(shape, dtype=np.float32)
        values = centres[rng.integers(0, len(centres), args.records)]
        values += rng.standard_normal((args.records, args.dimensions), dtype=np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), args.dimensions)
        del values
        columns = {"text": pa.array(["x"] * args.records), "embedding": column}
        counts = pa.array(np.full(args.records, 400))
        vectors = "embedding"
    pool = TablePool(pa.table({**columns, "tokens": pa.StructArray.from_arrays([counts], ["count"])}))
    goal = Goal(pool, pool, Budget(max(1, int(counts.to_numpy().sum()))))
    plan = Plan.everything(pool, goal.budget)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.monotonic(), time.process_time()
    made = InContext(vectors=vectors, exact=args.exact, window=args.window).revise(plan, pool, goal, Run())
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows, copies = made.reading_order(Run())
    assert np.array_equal(np.sort(rows), np.arange(pool.count)), "a document is lost or repeated"
    assert not copies.any()
    assert np.unique(made.rank).size == pool.count
    print(
        f"{pool.count:,} records: {seconds:.1f} s ({cpu:.1f} s of processor), peak {peak:,.0f} MB "
        f"({before:,.0f} MB before, pool included)"
    )
    print(made.decisions[-1].note, dict(made.decisions[-1].details))
    if args.texts:
        found = _vectors.read(vectors, plan, pool, Run(), "benchmark")
        place = np.full(pool.count, -1)
        place[found.rows] = np.arange(found.rows.size)
        some = rows[place[rows] >= 0]
        for name, order in (("path", some), ("random order", np.random.default_rng(1).permutation(some))):
            sizes = counts.to_numpy()[order]
            number = (np.cumsum(sizes) - sizes // 2) // args.window  # the window its middle lies in
            starts = np.flatnonzero(np.diff(number, prepend=-1))
            sums = np.add.reduceat(found.values[place[order]].astype(float), starts, axis=0)
            many = np.diff(np.append(starts, order.size))
            mean = ((sums**2).sum() - order.size) / (many * (many - 1)).sum()
            print(f"windows cut anywhere, {name}: mean cosine of two documents {mean:.3f}")


if __name__ == "__main__":
    main()
