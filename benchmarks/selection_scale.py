"""Seconds and peak memory of the selection policies on any number of records and dimensions.

    python benchmarks/selection_scale.py --records 1000000 --dimensions 384 --threads 2

Embeddings lie around random directions, a hundred records to each on average, and are made while they are read, as
from disk: memory is the policy's own, its copy of the embeddings included. Each policy runs in a process of its own;
its peak is that of resident memory, the interpreter's part is printed first. `--keep` is the share of records that the
budget has room for. The peer of every policy is `sample`, a random draw with one sort.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

POLICIES = (
    "sample", "facility_location", "k_center", "kshot", "gio", "mig", "mig_tags",
    "diversify_and_conquer", "small_to_large",
)  # fmt: skip
BATCH = 4096


def measure(name: str, records: int, dimensions: int, keep: float) -> None:
    """Run one policy here and print its line."""
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from tilth import catalog
    from tilth.core import Budget, Goal, Plan, Pool, Run, TablePool
    from tilth.core.pool import Fragment

    groups = max(1, records // 100)
    centres = np.random.default_rng(0).standard_normal((min(groups, 2000), dimensions), dtype=np.float32)

    def column(values: npt.NDArray[np.float32]) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dimensions)

    def vectors(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
        return centres[rng.integers(0, len(centres), count)] + rng.standard_normal((count, dimensions), np.float32)

    class Piece(Fragment):
        def __init__(self, offset: int) -> None:
            self.offset, self.count, self.key = offset, min(BATCH, records - offset), str(offset)

        def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            rng = np.random.default_rng(self.offset)
            ids = pa.array([f"r{i}" for i in range(self.offset, self.offset + self.count)])
            tags = rng.zipf(1.4, (self.count, 3)) % 5000
            made = {
                "id": lambda: ids,
                "text": lambda: ids,
                "source": lambda: pa.array(["made"] * self.count),
                "embedding": lambda: column(vectors(rng, self.count)),
                "score": lambda: pa.array(rng.random(self.count)),
                "tags": lambda: pa.array([[f"t{t}" for t in row] for row in tags]),
            }
            yield pa.RecordBatch.from_arrays([made[name]() for name in columns], names=list(columns))

    class Made(Pool):
        kind = "text"
        schema = pa.schema(
            [("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("score", pa.float64()),
             ("embedding", pa.list_(pa.float32(), dimensions)), ("tags", pa.list_(pa.string()))]
        )  # fmt: skip
        fingerprint = "made"

        def fragments(self) -> Sequence[Fragment]:
            return [Piece(offset) for offset in range(0, records, BATCH)]

        def take(self, rows: npt.ArrayLike, columns: Sequence[str]) -> pa.Table:
            return self.table(columns).take(pa.array(np.asarray(rows, np.int64)))

    pool = Made()
    some = vectors(np.random.default_rng(1), 500)
    target = TablePool(pa.table({"text": ["x"] * 500, "embedding": column(some)}))
    fields: dict[str, dict[str, object]] = {
        "mig": {"use": "mig"},
        "mig_tags": {"use": "mig", "tags": "tags"},
        "diversify_and_conquer": {"use": "diversify_and_conquer", "rounds": 1},
        "small_to_large": {"use": "small_to_large", "by": "score"},
    }
    policy = catalog.build(fields.get(name, {"use": name}))
    goal = Goal(target, target, Budget(max(1, int(records * keep)), "records"))
    plan = Plan.everything(pool, goal.budget)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.monotonic(), time.process_time()
    made = policy.revise(plan, pool, goal, Run())
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:22} {records:>10,} x {dimensions}: {int(made.kept.sum()):,} kept in {seconds:7.1f} s "
        f"({cpu:.1f} s of processor), peak {peak:,.0f} MB ({before:,.0f} MB before)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--keep", type=float, default=0.05, help="share of the records that the budget has room for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--here", action="store_true", help="measure the one policy named in this process")
    args = parser.parse_args()
    if args.here:
        measure(args.policies[0], args.records, args.dimensions, args.keep)
        return
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    for name in args.policies:
        command = [sys.executable, __file__, "--here", "--policies", name, "--keep", str(args.keep)]
        command += ["--records", str(args.records), "--dimensions", str(args.dimensions)]
        subprocess.run(command, check=True, env={**os.environ, **threads})


if __name__ == "__main__":
    main()
