"""Samples a second from tokens on disk: tilth's stream, mosaicml-streaming, litdata and datasets, and how they resume.

    python benchmarks/stream.py --data ../shared/data --peers FOLDER

FOLDER is where ``pip install --target FOLDER mosaicml-streaming litdata`` put them, if they are not installed here;
peers that cannot be imported are left out and named. The same windows of `--context` tokens of ten real pools lie on
disk in each one's own format, one shard set per pool for those that mix; each reads one epoch, shuffled and with the
pools' shares, in one process, windows as NumPy arrays or tensors. tilth also makes labels, positions and segments of
them, and knows which records they are. *Cold*: the files' pages are dropped first, and opening counts; *warm*: once
more. *Resume*: seconds from a new object and a state saved in the middle to the next sample. Memory is the process's
peak, less what it had before opening. `--copies` repeats the pools, to see whether memory grows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from keep_thirty import read

from tilth.core import Budget, Plan, TablePool
from tilth.engine.stream import Stream
from tilth.models.tokenizer import Tokenizer

POOLS = ("chat_irc_ubuntu", "dialogue_sgd", "encyclopedia_simplewiki", "fiction_novels", "health_medquad", "law_german",
         "math_stacks", "newsletter_twir", "science_arxiv_2025", "techdocs_peps")  # fmt: skip
BATCH = 8


def pool_of(data: Path, size: int, copies: int) -> TablePool:
    """Texts of ten pools, `size` bytes of each at most."""
    rows: dict[str, list[Any]] = {"text": [], "source": []}
    for name in POOLS:
        total = 0
        for row in read(data / "A_text" / f"{name}.jsonl.zst"):
            total += len(row["text"])
            if total > size:
                break
            rows["text"].append(row["text"])
            rows["source"].append(name)
    table = pa.table({name: column * copies for name, column in rows.items()})
    return TablePool(
        table.append_column("tokens", pa.array([{"count": len(t) // 4 + 1} for t in table["text"].to_pylist()]))
    )


class Ours:
    """tilth's stream, from a pickled one: what a worker process would open."""

    def __init__(self, folder: Path) -> None:
        import pickle

        self.stream: Stream = pickle.loads((folder / "stream.pkl").read_bytes())

    def samples(self) -> Iterator[Any]:
        rows = (row for step in self.stream for row in step.input_ids)
        yield from islice(rows, int(self.stream.facts["windows"]))  # the last step is filled up

    def state(self) -> Any:
        return self.stream.state_dict()

    def resume(self, state: Any) -> None:
        self.stream.load_state_dict(state)


class Mosaic:
    """One `Stream` per pool, shuffled as it does by default."""

    def __init__(self, folder: Path) -> None:
        streaming = importlib.import_module("streaming")
        importlib.import_module("streaming.base.util").clean_stale_shared_memory()
        streams = [streaming.Stream(local=str(folder / "mosaic" / name)) for name in POOLS]
        self.made = streaming.StreamingDataset(streams=streams, shuffle=True, batch_size=BATCH)
        self.read = 0

    def samples(self) -> Iterator[Any]:
        for sample in self.made:
            self.read += 1
            yield sample["tokens"]

    def state(self) -> Any:
        return self.made.state_dict(self.read, True)

    def resume(self, state: Any) -> None:
        self.made.load_state_dict(state)


class Lit:
    """A `CombinedStreamingDataset` of one dataset per pool."""

    def __init__(self, folder: Path) -> None:
        litdata = importlib.import_module("litdata")
        sets = [litdata.StreamingDataset(str(folder / "litdata" / name), shuffle=True, seed=1) for name in POOLS]
        self.made = litdata.CombinedStreamingDataset(sets, seed=1, iterate_over_all=True)
        self.loader = litdata.StreamingDataLoader(self.made, batch_size=BATCH, num_workers=0)

    def samples(self) -> Iterator[Any]:
        for batch in self.loader:
            yield from batch

    def state(self) -> Any:
        return self.loader.state_dict()

    def resume(self, state: Any) -> None:
        self.loader.load_state_dict(state)


class Hugging:
    """`interleave_datasets` of shuffled iterable datasets, by size."""

    def __init__(self, folder: Path) -> None:
        import datasets

        sets = [datasets.load_from_disk(str(folder / "datasets" / name)) for name in POOLS]
        sizes = np.array([len(part) for part in sets], float)
        parts = [part.to_iterable_dataset().with_format("numpy").shuffle(seed=1, buffer_size=1000) for part in sets]
        self.made = datasets.interleave_datasets(
            parts, probabilities=(sizes / sizes.sum()).tolist(), seed=1, stopping_strategy="all_exhausted"
        )
        self.wanted = int(sizes.sum())

    def samples(self) -> Iterator[Any]:
        for number, sample in enumerate(self.made):
            if number >= self.wanted:  # all_exhausted reads small sets again
                return
            yield sample["tokens"]

    def state(self) -> Any:
        return self.made.state_dict()

    def resume(self, state: Any) -> None:
        self.made.load_state_dict(state)


KINDS: dict[str, Callable[[Path], Any]] = {
    "tilth": Ours,
    "mosaicml-streaming": Mosaic,
    "litdata": Lit,
    "datasets": Hugging,
}


def windows_of(stream: Stream, pool: TablePool) -> Iterator[tuple[str, npt.NDArray[np.uint16]]]:
    """The stream's windows, each under the pool that most of it is from."""
    index = {row: name for row, name in enumerate(pool.column("source").to_pylist())}
    for step in stream:
        first = np.searchsorted(step.windows, np.arange(len(step.input_ids)))
        for row, ids in enumerate(step.input_ids):
            if (step.segment_ids[row] >= 0).any():
                yield index[int(step.records[first[row]])], ids.astype(np.uint16)


def prepare(folder: Path, args: argparse.Namespace) -> int:
    """Write the windows in every format; how many."""
    pool = pool_of(args.data, args.size, args.copies)
    tokenizer = Tokenizer.train(pool.column("text").to_pylist()[:2000], vocab=8192)
    plan = Plan.everything(pool, Budget(1 << 40))
    stream = Stream(
        plan, pool, tokenizer, batch=BATCH, context=args.context, packing="chunk", grouped=False,
        cache=folder / "tilth", prefetch=args.prefetch,
    )  # fmt: skip
    import pickle

    (folder / "stream.pkl").write_bytes(pickle.dumps(stream))
    parts: dict[str, list[npt.NDArray[np.uint16]]] = {name: [] for name in POOLS}
    for name, ids in windows_of(stream, pool):
        parts[name].append(ids)
    for name, rows in parts.items():
        if "mosaicml-streaming" in args.kinds:
            writer = importlib.import_module("streaming").MDSWriter
            with writer(out=str(folder / "mosaic" / name), columns={"tokens": f"ndarray:uint16:{args.context}"}) as out:
                for row in rows:
                    out.write({"tokens": row})
        if "litdata" in args.kinds:
            cache = importlib.import_module("litdata.streaming.cache").Cache(
                str(folder / "litdata" / name), chunk_bytes="64MB"
            )
            for number, row in enumerate(rows):
                cache[number] = row
            cache.done()
            cache.merge()
        if "datasets" in args.kinds:
            import datasets

            datasets.disable_progress_bars()
            made = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows)), args.context)
            datasets.Dataset(pa.table({"tokens": made})).save_to_disk(str(folder / "datasets" / name))
    return sum(map(len, parts.values()))


def drop(folder: Path) -> None:
    """Ask the kernel to forget the files' pages."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak() -> float:
    """Most megabytes this process has held; `ru_maxrss` would count the one that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measured(name: str, folder: Path) -> dict[str, float]:
    """In a process of its own."""
    drop(folder)
    before = peak()
    told: dict[str, float] = {}
    state = None
    for turn in ("cold", "warm"):
        began = time.perf_counter()
        made, count = KINDS[name](folder), 0
        for sample in made.samples():
            count += 1
            assert len(sample)
        told[turn] = count / (time.perf_counter() - began)
        told["samples"] = count
    told["peak_mb"] = peak() - before
    made = KINDS[name](folder)
    reader = made.samples()
    for _ in range(int(told["samples"]) // 2):
        next(reader)
    state = made.state()
    del reader
    began = time.perf_counter()
    made = KINDS[name](folder)
    made.resume(state)
    next(iter(made.samples()))
    return told | {"resume": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, help="folder the peers are installed in")
    parser.add_argument("--size", type=int, default=8_000_000, help="bytes of each pool at most")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--prefetch", type=int, default=0, help="of tilth; 0 is one thread")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peers:
        sys.path.append(str(args.peers))
    if args.measure:
        print(json.dumps(measured(args.measure[0], Path(args.measure[1]))))
        return
    for name, module in (("mosaicml-streaming", "streaming"), ("litdata", "litdata"), ("datasets", "datasets")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            args.kinds = [kind for kind in args.kinds if kind != name]
            print(f"{name} is left out: {error}")
    with tempfile.TemporaryDirectory() as place:
        count = prepare(Path(place), args)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in args.kinds}
        for _ in range(args.rounds):
            for name in args.kinds:
                command = [sys.executable, __file__, "--data", str(args.data), "--measure", name, place]
                command += ["--peers", str(args.peers)] if args.peers else []
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
                    continue
                found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    print(
        f"{count:,} windows of {args.context} tokens, {count * args.context / 1e6:.0f} M tokens, {args.rounds} rounds"
    )
    print("| | samples | cold, samples/s | warm, samples/s | tilth warm is | resume, s | peak, MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    best = {n: {k: float(np.median([r[k] for r in rows])) for k in rows[0]} for n, rows in found.items() if rows}
    for name, told in best.items():
        print(
            f"| {name} | {told['samples']:,.0f} | {told['cold']:,.0f} | {told['warm']:,.0f} | "
            f"{best['tilth']['warm'] / told['warm']:.1f}x | {told['resume']:.3f} | {told['peak_mb']:,.0f} |"
        )


if __name__ == "__main__":
    main()
