"""Packing into windows: seconds, peak memory and filling on real lengths, and TRL's `pack_dataset` in the same run.

    python benchmarks/packing.py --data DATA/A_text --lengths 10000000

Lengths are tokens of real records (a tokenizer of 4,096 ids, trained on a tenth of them), cut to pieces of one window
and drawn with replacement up to `--lengths`. Each line is a process of its own; its peak is what resident memory grew
by, the lengths themselves not counted. The peer needs tokens: it is given `--few` of the same pieces with tokens of
one byte, which cost next to nothing to move. Then both pack `--rows` whole records with their tokens, of four bytes,
and cut what is too long: the peer makes one array, `windows_of_documents` makes inputs, targets and document numbers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PACKERS = ("best_fit_decreasing", "first_fit_decreasing", "next_fit", "trl")
PEERS = ("tilth", "trl, 1,000 rows at a time", "trl, all rows at once")


def real_lengths(data: Path, each: int) -> npt.NDArray[np.int64]:
    """Tokens of up to `each` records of every file of a folder."""
    from tilth.io.importer import sample
    from tilth.models.tokenizer import Tokenizer

    texts = [str(row["text"]) for path in sorted(data.glob("*.jsonl.zst")) for row in sample(path, each)]
    return Tokenizer.train(texts[::10], 4096).count(texts).astype(np.int64)


def drawn(lengths: npt.NDArray[np.int64], count: int, longest: int = 0) -> npt.NDArray[np.int64]:
    """Lengths drawn with replacement, of pieces of at most `longest` tokens where that is given."""
    from tilth.kernels.packing import cut

    pieces = cut(lengths, longest).length if longest else lengths[lengths > 0]
    return pieces[np.random.Generator(np.random.PCG64(0)).integers(0, pieces.size, count)]


def resident(field: str) -> float:
    """Resident memory in MB: now (``VmRSS``), or at its highest since it was last forgotten (``VmHWM``); Linux."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def forget() -> float:
    """Forget the highest resident memory so far; returns what is resident now, in MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident("VmRSS")


def pack(name: str, lengths: npt.NDArray[np.int64], capacity: int) -> None:
    """Pack lengths alone and print a line of the table."""
    from tilth.kernels import packing

    if name == "trl":
        given = listed(lengths, np.zeros(int(lengths.sum()), np.uint8))
        before, began, cpu = forget(), time.monotonic(), time.process_time()
        windows = len(by_trl(given, capacity, lengths.size))
    else:
        packer = getattr(packing, name)
        packer(lengths[:1000], capacity)  # compiled or read from the cache
        before, began, cpu = forget(), time.monotonic(), time.process_time()
        windows = int(packer(lengths, capacity).max()) + 1
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    grown, per = resident("VmHWM") - before, 1e9 * cpu / lengths.size
    padding = 100 * packing.Fill(windows, capacity, int(lengths.sum())).padding
    what = f"| {name} | {capacity} | {lengths.size:,} |"
    print(f"{what} {seconds:.2f} | {cpu:.2f} | {per:,.0f} | {grown:.0f} | {padding:.3f} |", flush=True)


def listed(lengths: npt.NDArray[np.int64], ids: npt.NDArray[Any]) -> Any:
    """A dataset of token lists; the peer is imported and called once, so that neither is measured."""
    import datasets
    import pyarrow as pa
    from trl import pack_dataset

    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    made = datasets.Dataset(pa.table({"input_ids": pa.ListArray.from_arrays(offsets, ids)}))
    pack_dataset(made.select(range(4)), int(lengths.max()), "bfd_split", {"keep_in_memory": True})
    return made


def by_trl(given: Any, capacity: int, rows: int) -> Any:
    """The peer's best fit decreasing, so many rows at a time (it takes 1,000 unless told otherwise)."""
    from trl import pack_dataset

    return pack_dataset(given, capacity, "bfd_split", {"keep_in_memory": True, "batch_size": rows})


def against(name: str, lengths: npt.NDArray[np.int64], capacity: int) -> None:
    """Pack records with their tokens and print a line of the table."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.Generator(np.random.PCG64(1)).integers(1, 4096, offsets[-1]).astype(np.uint32)
    if name == "tilth":
        from tilth.models.batches import windows_of_documents

        rng = np.random.Generator(np.random.PCG64(2))
        windows_of_documents(offsets[:9], ids[: offsets[8]], np.arange(8), capacity, 0, rng=rng)
        before, cpu = forget(), time.process_time()
        made = windows_of_documents(offsets, ids, np.arange(lengths.size), capacity, 0, rng=rng)
        cpu, grown, padding = time.process_time() - cpu, resident("VmHWM") - before, made.padding
    else:
        given, rows = (
            listed(lengths, ids.astype(np.int32)),
            1000 if name == "trl, 1,000 rows at a time" else lengths.size,
        )
        before, cpu = forget(), time.process_time()
        out = by_trl(given, capacity, rows)
        cpu, grown = time.process_time() - cpu, resident("VmHWM") - before
        padding = 1 - int(lengths.sum()) / (len(out) * capacity)
    per = 1e6 * cpu / lengths.size
    print(f"| {name} | {capacity} | {cpu:.2f} | {per:.1f} | {grown:.0f} | {100 * padding:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of *.jsonl.zst with texts")
    parser.add_argument("--each", type=int, default=500, help="records of each file whose tokens are counted")
    parser.add_argument("--lengths", type=int, default=10_000_000)
    parser.add_argument("--few", type=int, default=50_000, help="lengths for the peer")
    parser.add_argument("--rows", type=int, default=20_000, help="records that are packed with their tokens")
    parser.add_argument("--capacity", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--here", nargs=3, metavar=("FILE", "WHAT", "CAPACITY"), help="one line, in this process")
    args = parser.parse_args()
    if args.here:
        lengths, name, capacity = np.load(args.here[0]), args.here[1], int(args.here[2])
        if name in PACKERS:
            pack(name, drawn(lengths, args.few if name == "trl" else args.lengths, capacity), capacity)
        else:
            against(name, drawn(lengths, args.rows), capacity)
        return
    if args.data is None:
        parser.error("give --data")
    lengths = real_lengths(args.data, args.each)
    print(f"{lengths.size:,} real records: {lengths.mean():.0f} tokens in the mean, median {np.median(lengths):.0f}")
    for capacity in args.capacity:
        print(f"longer than {capacity}: {100 * (lengths > capacity).mean():.1f} %")
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "lengths.npy")
        np.save(file, lengths)
        command = [sys.executable, __file__, "--lengths", str(args.lengths), "--rows", str(args.rows)]
        command += ["--few", str(args.few), "--here", file]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        print("\n| packer | capacity | lengths | s | s of processor | ns a length | MB | % filling |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for capacity in args.capacity:
            for name in PACKERS:
                subprocess.run([*command, name, str(capacity)], check=True, env=env)
        print(f"\n{args.rows:,} records\n| with tokens | capacity | s of processor | us a record | MB | % filling |")
        print("|---|---:|---:|---:|---:|---:|", flush=True)
        for capacity in args.capacity:
            for name in PEERS:
                subprocess.run([*command, name, str(capacity)], check=True, env=env)


if __name__ == "__main__":
    main()
