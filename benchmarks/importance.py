"""The importance signal against the `data-selection` package (DSIR's own code): same order of records, and MB/s.

    python benchmarks/importance.py --data DATA/A_text/*.jsonl.zst --mb 10 --peer-python PEER/bin/python

PEER is an environment with `data-selection` and `pyarrow`. The first `--mb` megabytes of the files, in equal parts, are
the pool; the next of the last file, a quarter as much, are the target. Both count the pool and the target and then
weigh every record of the pool, from the same Parquet files, reading included; imports and compilation are not counted.
Both run on two processes and on one, and are compared at equal numbers and ours on two with theirs on one; the best of
three rounds for ours, one round for theirs. Both suffer when the machine does other work; start with none. Records
of fewer than a hundred tokens are left out of the comparison of weights, as that package leaves them out of its
selection; a second number has them all. With 10,000 buckets, which n-grams share one moves ranks by itself; how far,
that package shows against itself with other hashes. So the weights are compared again where hardly any two share a
bucket: 2^18 buckets, and ours with the target's counts smoothed as that package's probabilities are, by 1e-8.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from tilth.core import Budget, Fragment, Goal, Pool, Run
from tilth.engine.local import Workers
from tilth.kernels.bags import bag_counts
from tilth.signals.target.importance import Importance

PROCESSES = 2
PIECES = 8
TARGET = 0.25
ROUNDS = 3
SALTS = ("a", "b")
PLAIN = Importance()
SHORTEST = 100
PEER = """
import sys, time
from pathlib import Path
import numpy as np
from data_selection import HashedNgramDSIR

def load(file):
    import pyarrow.parquet as pq
    for batch in pq.ParquetFile(file).iter_batches():
        yield from batch.to_pylist()

pool, target, cache, processes, buckets, salt = sys.argv[1:]
start = time.perf_counter()
dsir = HashedNgramDSIR([pool], [target], cache, load, num_proc=int(processes), target_load_dataset_fn=load,
                        num_buckets=int(buckets))
if salt:
    plain = dsir.tokenizer
    dsir.tokenizer = lambda text: [salt + token for token in plain(text)]
dsir.fit_importance_estimator(num_tokens_to_fit="all")
dsir.compute_importance_weights()
seconds = time.perf_counter() - start
parts = [np.load(Path(cache) / "log_importance_weights" / f"{i}.npy") for i in range(int(processes))]
weights = np.empty(sum(map(len, parts)))
for i, part in enumerate(parts):
    weights[i :: len(parts)] = part
np.save(Path(cache) / "weights.npy", weights)
print(seconds)
"""


def texts_of(path: Path) -> Iterator[str]:
    import zstandard

    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def prepare(files: Sequence[Path], mb: float, folder: Path) -> tuple[int, float]:
    """Pool and target as Parquet; records and megabytes of the pool."""
    pool: list[str] = []
    target: list[str] = []
    for path in files:
        size, last = 0.0, path == files[-1]
        for text in texts_of(path):
            size += len(text.encode()) / 1e6
            if size <= mb / len(files):
                pool.append(text)
            elif last and size <= mb / len(files) + mb * TARGET:
                target.append(text)
            else:
                break
    if not target:
        raise SystemExit("The last file is too small: nothing of it is left for the target.")
    order = np.random.default_rng(0).permutation(len(pool))
    table = pa.table({"text": [pool[i] for i in order]})
    pq.write_table(table, folder / "pool.parquet", row_group_size=-(-len(pool) // PIECES))
    pq.write_table(pa.table({"text": target}), folder / "target.parquet")
    return len(pool), sum(len(text.encode()) for text in pool) / 1e6


class RowGroup(Fragment):
    """One row group of a Parquet file."""

    def __init__(self, file: str, number: int, count: int) -> None:
        self.file, self.number, self.count, self.offset, self.key = file, number, count, 0, str(number)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(self.file, memory_map=True)  # one thread: the processes are as many as stated
        yield from file.read_row_group(self.number, list(columns), use_threads=False).to_batches()


class ParquetPool(Pool):
    """A Parquet file as it is."""

    kind = "text"

    def __init__(self, path: Path) -> None:
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self.stored = file.schema_arrow
        self.parts = [RowGroup(str(path), i, size) for i, size in enumerate(sizes)]

    @property
    def schema(self) -> pa.Schema:
        return self.stored

    @property
    def fingerprint(self) -> str:
        return self.parts[0].file

    def fragments(self) -> Sequence[Fragment]:
        return self.parts

    def take(self, rows: npt.ArrayLike, columns: Sequence[str]) -> pa.Table:
        return self.table(columns).take(pa.array(np.asarray(rows)))


def weigh(signal: Importance, state: npt.NDArray[np.float64], fragment: Fragment) -> list[Any]:
    return [signal.score(batch, state, Run()) for batch in fragment.batches(["text"])]


def ours(folder: Path, processes: int, signal: Importance = PLAIN) -> tuple[float, npt.NDArray[Any], npt.NDArray[Any]]:
    """Seconds of the best round, weights and numbers of n-grams."""
    with Workers(processes, Run().progress) as workers:

        def once() -> tuple[float, list[Any]]:
            start = time.perf_counter()
            pool, target = ParquetPool(folder / "pool.parquet"), ParquetPool(folder / "target.parquet")
            state = signal.fit(pool, Goal(target, target, Budget(1)), Run(mapper=workers.map))
            found = workers.map(partial(weigh, signal, state), pool.fragments(), "score")
            return time.perf_counter() - start, [columns for piece in found for columns in piece]

        once()  # every process imports and compiles
        rounds = [once() for _ in range(ROUNDS)]
    weights, ngrams = (np.concatenate([columns[name] for columns in rounds[0][1]]) for name in ("weight", "ngrams"))
    return min(seconds for seconds, _ in rounds), weights, ngrams


def theirs(
    python: str, folder: Path, processes: int, signal: Importance = PLAIN, salt: str = ""
) -> tuple[float, npt.NDArray[Any]]:
    """Seconds of one round, and the weights; a salt before every token makes their hash another one."""
    cache = folder / f"peer{processes}-{signal.buckets}{salt}"
    files = [str(folder / f"{name}.parquet") for name in ("pool", "target")]
    command = [python, "-c", PEER, *files, str(cache), str(processes), str(signal.buckets), salt]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]), np.load(cache / "weights.npy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help=".jsonl.zst files with a text field")
    parser.add_argument("--mb", type=float, default=10.0, help="megabytes of the pool")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has data-selection and pyarrow")
    asked: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records, mb = prepare(asked.data, asked.mb, folder)
        quick = {processes: ours(folder, processes) for processes in (PROCESSES, 1)}
        slow = {processes: theirs(asked.peer_python, folder, processes) for processes in (PROCESSES, 1)}
        others = [theirs(asked.peer_python, folder, PROCESSES, salt=salt)[1] for salt in SALTS]
        target = pq.read_table(folder / "target.parquet").column("text")
        signal = Importance(buckets=1 << 18, smoothing=1e-8 * float(bag_counts(target, 2, 1).sum()))
        wide = ours(folder, PROCESSES, signal)[1], theirs(asked.peer_python, folder, PROCESSES, signal)[1]
    _, weights, ngrams = quick[1]
    long = (ngrams + 1) // 2 >= SHORTEST
    print(f"{records:,} records, {mb:.1f} MB; {int(long.sum()):,} of {SHORTEST} tokens or more\n")
    print("| processes, tilth | processes, data-selection | tilth, MB/s | data-selection, MB/s | faster by |")
    print("|---:|---:|---:|---:|---:|")
    for mine, other in ((PROCESSES, PROCESSES), (1, 1), (PROCESSES, 1)):
        a, b = quick[mine][0], slow[other][0]
        print(f"| {mine} | {other} | {mb / a:.1f} | {mb / b:.3f} | {b / a:.0f}x |")
    same = [spearmanr(weights[rows], slow[1][1][rows]).statistic for rows in (long, slice(None))]
    print(f"\nSpearman of the weights: {same[0]:.4f}; with the short records {same[1]:.4f}")
    apart = [spearmanr(wide[0][rows], wide[1][rows]).statistic for rows in (long, slice(None))]
    print(f"With 2^18 buckets: {apart[0]:.4f}; with the short records {apart[1]:.4f}")
    if all(np.array_equal(other, slow[1][1]) for other in others):
        raise SystemExit("The salts did not reach data-selection's processes, so its own agreement is unknown.")
    agree = [spearmanr(a[long], b[long]).statistic for a, b in combinations([slow[1][1], *others], 2)]
    print(
        f"\nThe hash alone moves ranks this far: data-selection against itself with {len(others)} other hashes has "
        f"Spearman {min(agree):.4f} to {max(agree):.4f}, median {np.median(agree):.4f}."
    )


if __name__ == "__main__":
    main()
