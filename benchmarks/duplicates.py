"""minhash and exact_duplicate against rensa, Daft, datatrove and DuckDB: MB/s, recall and precision on planted
copies.

    python benchmarks/duplicates.py --data DATA/A_text/*.jsonl.zst --mb 20 --peer-python PEER/bin/python

PEER is an environment with `rensa`, `daft`, `datatrove[processing]`, `spacy`, `duckdb` and `pyarrow`. A fifth of
the records are planted copies, behind their originals, with 0, 5, 15 and 30 % of their words replaced. Everyone
reads the same Parquet files on two processes or threads and is timed after start-up and, where there is anything
to compile or import, a first small piece; ours, Daft and DuckDB take the best of three rounds, the others run
once. All signatures have 128 minima of 5-grams and 32 bands of 4 rows; ours counts pairs whose estimated
similarity is at least 0.5, the peers whatever shares a band. Daft computes signatures only: to its time ours for
bands and comparing is added, and so its recall is ours as well.

Recall is the share of planted copies that end in the same cluster as their original; precision is the share of
records to be dropped whose 5-gram Jaccard similarity to the record that stays is at least 0.5, counted with plain
Python sets.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

PROCESSES, PIECES = 2, 8  # pieces: row groups per file, one file per process
PERMUTATIONS, BANDS, ROWS, NGRAM, THRESHOLD = 128, 32, 4, 5, 0.5
Keepers = npt.NDArray[np.int64]


def prepare(files: Sequence[Path], mb: float, to: Path) -> tuple[list[str], Keepers, npt.NDArray[np.float64], float]:
    """Texts with copies planted, written as Parquet; the texts, their originals (-1: is one), edits, and megabytes."""
    import zstandard

    from tilth.probes.planted_duplicates import plant, shuffled

    texts: list[str] = []
    for path in files:
        size = 0
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                texts.append(json.loads(line)["text"])
                size += len(texts[-1].encode())
                if size > 0.8 * mb * 1e6 / len(files):
                    break
    rng = np.random.default_rng(0)
    texts, base, edit = plant(texts, len(texts) // 4, rng)
    order = shuffled(base, rng)
    place = np.argsort(order)
    base = np.where(base[order] >= 0, place[base[order]], -1)
    texts = [texts[i] for i in order]
    table = pa.table({"id": [str(i) for i in range(len(texts))], "text": texts})
    half = -(-len(texts) // PROCESSES)
    for part in range(PROCESSES):
        piece = table.slice(part * half, half)
        pq.write_table(piece, to / f"{part}.parquet", row_group_size=-(-len(piece) // PIECES))
    return texts, base, edit[order], sum(len(t.encode()) for t in texts) / 1e6


def best(task: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Seconds of the fastest of some rounds, and what the last one returned."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        made = task()
        seconds.append(time.perf_counter() - start)
    return min(seconds), made


# Ours.


def ours(folder: Path) -> dict[str, Any]:
    """Seconds and keepers of minhash, seconds and count of exact_duplicate, seconds for others' signatures."""
    from tilth.core import Fragment, Run, TablePool
    from tilth.engine.local import Workers
    from tilth.signals.duplicates.exact_duplicate import ExactDuplicate
    from tilth.signals.duplicates.minhash import MinHash

    class ParquetPool(TablePool):
        def fragments(self) -> Sequence[Fragment]:
            return pieces(folder)

    pool = ParquetPool(pa.table({"text": pa.array([], pa.string())}))
    ids = pa.array([str(i) for i in range(pool.count)])
    near = MinHash(ngram=NGRAM, permutations=PERMUTATIONS, threshold=THRESHOLD, bands=BANDS, rows=ROWS)
    with Workers(PROCESSES, Run().progress) as workers:
        run = Run(mapper=lambda func, items, label: workers.map(func, items, label))

        def scored(signal: Any) -> Any:
            return signal.score(pa.record_batch({"id": ids}), signal.fit(pool, None, run), run)

        for signal in (near, ExactDuplicate()):
            scored(signal)
        seconds, found = best(lambda: scored(near), 3)
        exact, same = best(lambda: scored(ExactDuplicate()), 3)
    cluster = found["cluster"].fill_null(-1).to_numpy()
    first = np.full(cluster.max() + 1, -1)
    kept = np.flatnonzero((cluster >= 0) & ~found["duplicate"].to_numpy(zero_copy_only=False))
    first[cluster[kept]] = kept
    keepers = np.where(cluster >= 0, first[cluster], np.arange(cluster.size))
    return {"seconds": seconds, "keepers": keepers, "exact": exact, "duplicates": sum(same["duplicate"].to_pylist())}


def pieces(folder: Path) -> list[Any]:
    """The row groups of the Parquet files, as fragments of a pool."""
    made: list[Any] = []
    offset = 0
    for file in sorted(folder.glob("*.parquet")):
        about = pq.read_metadata(file)
        for group in range(about.num_row_groups):
            made.append(Piece(file, group, offset, about.row_group(group).num_rows))
            offset += made[-1].count
    return made


class Piece:
    """One row group: what a signal needs of a fragment."""

    def __init__(self, file: Path, group: int, offset: int, count: int) -> None:
        self.file, self.group, self.offset, self.count = file, group, offset, count
        self.key = f"{file.stem}-{group}"

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(self.file, memory_map=True)  # one thread: the processes are two
        yield from file.read_row_group(self.group, [*columns], use_threads=False).combine_chunks().to_batches()


def bands_of(signed: npt.NDArray[np.uint32]) -> tuple[float, Keepers]:
    """Seconds our bands and comparing take for given signatures, and the keepers."""
    from tilth.kernels.minhash import band_hashes, star
    from tilth.signals.duplicates.minhash import MOST

    def task() -> Keepers:
        found = []
        start = 0
        for hashes in band_hashes(signed, BANDS, ROWS):
            _, bucket, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
            shared = np.flatnonzero(sizes[bucket] > 1)
            found.append((shared, bucket[shared] + start))
            start += sizes.size
        members, buckets = (np.concatenate([f[i] for f in found]).astype(np.int32) for i in (0, 1))
        keeper, _ = star(members, buckets, np.arange(len(signed)), signed, int(THRESHOLD * PERMUTATIONS), MOST)
        return np.asarray(keeper, np.int64)

    task()
    return best(task, 3)


# Peers: each runs in the peers' interpreter, writes what it found into a folder and prints its seconds.


def rensa_part(file: Path) -> list[Any]:
    import rensa  # type: ignore[import-not-found,unused-ignore]

    made: list[Any] = []
    for batch in pq.ParquetFile(file).iter_batches(1024, columns=["text"]):
        sets = []
        for text in batch.column(0).to_pylist():
            words = text.lower().split()
            sets.append([" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))])
        made += rensa.RMinHash.from_token_sets(sets, PERMUTATIONS, 42)
    return made


def rensa(folder: Path, to: Path) -> float:
    """Signatures on two processes by rensa's batch interface, then its index; the lowest candidate is the keeper."""
    import rensa as library  # type: ignore[import-not-found,unused-ignore]

    os.environ["RAYON_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(PROCESSES)))
        start = time.perf_counter()
        signed = [s for part in pool.map(rensa_part, sorted(folder.glob("*.parquet"))) for s in part]
        index = library.RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS)
        keepers = np.arange(len(signed))
        for i, signature in enumerate(signed):
            if near := index.query(signature):
                keepers[i] = keepers[min(near)]
            index.insert(i, signature)
        seconds = time.perf_counter() - start
    np.save(to / "keepers.npy", keepers)
    return seconds


def daft(folder: Path, to: Path) -> float:
    """Signatures by Daft's own engine on two threads."""
    import daft as library  # type: ignore[import-not-found,unused-ignore]
    from daft.functions import minhash  # type: ignore[import-not-found,unused-ignore]

    def task() -> Any:
        frame = library.read_parquet(str(folder / "*.parquet"))
        text = library.col("text")
        made = minhash(text, num_hashes=PERMUTATIONS, ngram_size=NGRAM, hash_function="xxhash")
        return frame.select(library.col("id"), made.alias("m")).to_arrow()

    seconds, table = best(task, 3)
    signed = np.array(table.column("m").combine_chunks().flatten().to_numpy(zero_copy_only=False), np.uint32)
    ids = np.array(table.column("id").to_pylist(), np.int64)
    np.save(to / "signed.npy", signed.reshape(-1, PERMUTATIONS)[np.argsort(ids)])
    return seconds


def datatrove(folder: Path, to: Path) -> float:
    """Its four stages, each on two processes but the clustering, which has one."""
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found,unused-ignore]
    from datatrove.pipeline.dedup import minhash as stages  # type: ignore[import-not-found,unused-ignore]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found,unused-ignore]
    from datatrove.pipeline.writers.jsonl import JsonlWriter  # type: ignore[import-not-found,unused-ignore]

    settings = stages.MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    reader = ParquetReader(str(folder), glob_pattern="*.parquet")
    a, b, c, kept, gone = (str(to / name) for name in ("signatures", "buckets", "remove", "kept", "gone"))
    pipelines: list[tuple[list[Any], int]] = [
        ([reader, stages.MinhashDedupSignature(a, config=settings)], PROCESSES),
        ([stages.MinhashDedupBuckets(a, b, config=settings)], BANDS),
        ([stages.MinhashDedupCluster(b, c, config=settings, save_cluster_id=True)], 1),
        (
            [
                reader,
                stages.MinhashDedupFilter(
                    c, exclusion_writer=JsonlWriter(gone, compression=None), load_cluster_ids=True
                ),
                JsonlWriter(kept, compression=None),
            ],
            PROCESSES,
        ),
    ]
    start = time.perf_counter()
    for i, (steps, tasks) in enumerate(pipelines):
        LocalPipelineExecutor(
            pipeline=steps, tasks=tasks, workers=min(tasks, PROCESSES), logging_dir=str(to / f"logs{i}")
        ).run()
    seconds = time.perf_counter() - start
    clusters = {}
    for name in (kept, gone):  # what is kept comes first
        for file in sorted(Path(name).glob("*.jsonl")):
            for line in file.open():
                row = json.loads(line)
                number = row["metadata"].get("minhash_cluster_id", -1)
                clusters[int(row["id"])] = (name == gone, number if number is not None else -1)
    first = {number: i for i, (dropped, number) in clusters.items() if not dropped and number >= 0}
    np.save(to / "keepers.npy", [first.get(clusters[i][1], i) for i in range(len(clusters))])
    return seconds


def duckdb(folder: Path, to: Path, function: str) -> float:
    """Equal texts by a hash of them; the lowest id of each group stays."""
    import duckdb as library  # type: ignore[import-not-found,unused-ignore]

    connection = library.connect(config={"threads": PROCESSES})
    query = (
        f"SELECT min(id), count(*) FROM read_parquet('{folder}/*.parquet') "
        f"WHERE text <> '' GROUP BY {function}(text) HAVING count(*) > 1"
    )
    seconds, rows = best(lambda: connection.execute(query).fetchall(), 3)
    np.save(to / "duplicates.npy", sum(count - 1 for _, count in rows))
    return seconds


PEERS: dict[str, Callable[[Path, Path], float]] = {
    "rensa": rensa,
    "daft": daft,
    "datatrove": datatrove,
    "duckdb md5": lambda folder, to: duckdb(folder, to, "md5"),
    "duckdb hash": lambda folder, to: duckdb(folder, to, "hash"),
}


def measured(python: str, peer: str, folder: Path, to: Path) -> float:
    """Seconds of a peer in its own interpreter."""
    to.mkdir()
    command = [python, __file__, "--peer", peer, "--folder", str(folder), "--to", str(to)]
    threads = {"DAFT_RUNNER": "native", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.split()[-1])


def shingles(text: str) -> set[tuple[str, ...]]:
    """The 5-grams of a text, cut as by `tilth.kernels.minhash` but for other alphabets' punctuation."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))}


def quality(keepers: Keepers, texts: Sequence[str], base: Keepers, edit: npt.NDArray[np.float64]) -> str:
    """Recall by edit and precision against the keeper, as cells of the table."""
    copies = base >= 0
    together = keepers == keepers[base]
    recall = " / ".join(f"{together[copies & (edit == e)].mean():.3f}" for e in (0, 0.05, 0.15, 0.3))
    dropped = np.flatnonzero(keepers != np.arange(keepers.size))
    sample = np.random.default_rng(1).permutation(dropped)[:1000]
    right = [jaccard(texts[i], texts[keepers[i]]) >= THRESHOLD for i in sample]
    return f"{recall} | {np.mean(right):.3f}"


def jaccard(one: str, two: str) -> float:
    """The true similarity."""
    a, b = shingles(one), shingles(two)
    return len(a & b) / len(a | b)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", help=".jsonl.zst files with a text field")
    parser.add_argument("--mb", type=float, default=20.0, help="megabytes of text")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=[*PEERS], help="all unless named; some are slow")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    asked: Any = parser.parse_args()
    if asked.peer:
        print(PEERS[asked.peer](asked.folder, asked.to))
        return
    if not asked.data:
        parser.error("--data names no file")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = work / "data"
        folder.mkdir()
        texts, base, edit, mb = prepare(asked.data, asked.mb, folder)
        own = ours(folder)
        took = {peer: measured(asked.peer_python, peer, folder, work / peer) for peer in asked.peers}
        results = {peer: np.load(file) for peer in took if (file := work / peer / "keepers.npy").exists()}
        if "daft" in took:
            bands, results["daft"] = bands_of(np.load(work / "daft" / "signed.npy"))
            took["daft"] += bands
        counts = {peer: int(np.load(work / peer / "duplicates.npy")) for peer in took if peer.startswith("duckdb")}
    print(f"{len(texts):,} texts, {mb:.1f} MB, {PROCESSES} processes, from Parquet\n")
    print("| engine | MB/s | recall at 0 / 5 / 15 / 30 % edits | precision | tilth is faster by |")
    print("|---|---:|---|---:|---:|")
    print(f"| tilth minhash | {mb / own['seconds']:.1f} | {quality(own['keepers'], texts, base, edit)} | |")
    for peer, label in (("daft", "Daft signatures, our bands"), ("rensa", "rensa"), ("datatrove", "datatrove")):
        if peer not in took:
            continue
        ratio = took[peer] / own["seconds"]
        print(f"| {label} | {mb / took[peer]:.2f} | {quality(results[peer], texts, base, edit)} | {ratio:.1f}x |")
    print(f"| tilth exact_duplicate | {mb / own['exact']:.0f} | {own['duplicates']} duplicates | | |")
    for peer, count in counts.items():
        print(f"| {peer} | {mb / took[peer]:.0f} | {count} duplicates | | {took[peer] / own['exact']:.2f}x |")


if __name__ == "__main__":
    main()
