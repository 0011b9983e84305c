"""The quality signal against datatrove's Gopher filters and against Polars expressions: MB/s on two processes.

    python benchmarks/quality.py --data DATA/A_text/*.jsonl.zst --mb 20 --peer-python PEER/bin/python

PEER is an environment with `datatrove`, `nltk`, `polars` and `pyarrow`. Everyone reads the same Parquet file and is
timed after start-up and a first small piece, so that neither imports nor compilation count; the best of three rounds
for all but datatrove, which gets one. datatrove gets words split at white space, as its own splitter is several times
slower, and is run twice: as shipped, where a document is done with at the first rule it breaks, and with bounds that
nothing breaks, so that every number is computed, as ours are. Polars computes fewer numbers than our light signals (no
entropy, capitals, digits or paragraphs), which flatters it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PIECES = 16
PROCESSES = 2
STOP = ["the", "be", "to", "of", "and", "that", "have", "with", "a", "in", "is", "it", "for", "on", "as", "at", "by"]


def prepare(files: Sequence[Path], mb: float, to: Path) -> tuple[int, float]:
    """The first texts of each file in turn, `mb` in all, as one Parquet file; how many, and their megabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    texts: list[str] = []
    for path in files:
        size = 0
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                texts.append(json.loads(line)["text"])
                size += len(texts[-1].encode())
                if size > mb * 1e6 / len(files):
                    break
    table = pa.table({"text": [texts[i] for piece in range(PIECES) for i in range(piece, len(texts), PIECES)]})
    pq.write_table(table, to, row_group_size=-(-len(texts) // PIECES))
    return len(texts), sum(len(t.encode()) for t in texts) / 1e6


def ours(file: str, repetition: bool, piece: int) -> int:
    """Our numbers for one piece of the file."""
    import pyarrow.parquet as pq

    from tilth.core import Run
    from tilth.signals.quality.quality import Quality

    signal = Quality(repetition=repetition)
    table = pq.ParquetFile(file, memory_map=True).read_row_group(piece, use_threads=False)  # the processes are two
    for batch in table.to_batches():
        signal.map(batch, Run())
    return len(table)


def datatrove(file: str, complete: bool, piece: int) -> int:
    """Both of datatrove's Gopher filters for one piece of the file; `complete`: with bounds that nothing breaks."""
    import pyarrow.parquet as pq
    from datatrove.data import Document  # type: ignore[import-not-found,unused-ignore]
    from datatrove.pipeline.filters import (  # type: ignore[import-not-found,unused-ignore]
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    for module in (gopher_quality_filter, gopher_repetition_filter):
        module.split_into_words = lambda text, language=None: text.split()
    quality: dict[str, Any] = {}
    repeated: dict[str, Any] = {}
    if complete:
        far = 1e9
        quality = {
            "min_doc_words": -1, "max_doc_words": far, "min_avg_word_length": -1, "max_avg_word_length": far,
            "max_symbol_word_ratio": far, "max_bullet_lines_ratio": far, "max_ellipsis_lines_ratio": far,
            "max_non_alpha_words_ratio": -1, "min_stop_words": -1,
        }  # fmt: skip
        repeated = dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"), far)
        repeated["top_n_grams"] = tuple((n, far) for n in range(2, 5))
        repeated["dup_n_grams"] = tuple((n, far) for n in range(5, 11))
    filters = [
        gopher_quality_filter.GopherQualityFilter(**quality),
        gopher_repetition_filter.GopherRepetitionFilter(**repeated),
    ]
    texts = pq.ParquetFile(file).read_row_group(piece).column("text").to_pylist()
    for i, text in enumerate(texts):
        for rules in filters:
            rules.filter(Document(text=text, id=str(i)))
    return len(texts)


def polars(file: str) -> int:
    """The light numbers Polars can express, over the whole file, on two threads."""
    import polars as pl  # type: ignore[import-not-found,unused-ignore]

    each, text = pl.element(), pl.col("text")
    lowered = text.str.to_lowercase().str.replace_all(r"\p{P}|[$+<=>^`|~]", "")
    cut = text.str.split("\n").list.eval(each.str.strip_chars())
    frame = pl.scan_parquet(file).select(
        text,
        text.str.extract_all(r"\S+").alias("raw"),
        lowered.str.extract_all(r"\S+").alias("words"),
        cut.list.eval(each.filter(each.str.len_bytes() > 0)).alias("lines"),
    )
    raw, words, lines = pl.col("raw"), pl.col("words"), pl.col("lines")
    made = frame.select(
        words.list.len().alias("word_count"),
        lines.list.len().alias("line_count"),
        words.list.eval(each.str.len_chars()).list.mean().alias("mean_word_length"),
        (text.str.count_matches(r"#|\.\.\.|…") / raw.list.len()).alias("symbols"),
        (text.str.count_matches(r"[{}]") / text.str.len_chars()).alias("curly_bracket"),
        text.str.count_matches(r"[^.!?]*[\p{L}\p{N}][^.!?]*").alias("sentences"),
        text.str.count_matches("(?i)javascript").alias("javascript"),
        raw.list.eval(~each.str.contains(r"\p{L}")).list.mean().alias("no_alph"),
        raw.list.eval(each.str.contains(r"\p{Lu}") & ~each.str.contains(r"\p{Ll}")).list.mean().alias("all_caps"),
        words.list.eval(each.is_in(STOP)).list.mean().alias("stop_words"),
        (words.list.n_unique() / words.list.len()).alias("unique"),
        lines.list.eval(each.str.ends_with("...") | each.str.ends_with("…")).list.mean().alias("ellipsis"),
        lines.list.eval(each.str.contains(r'[.!?"”]$')).list.mean().alias("terminal"),
        lines.list.eval(each.str.contains(r"^[-*–•‣■□▪▫▶◀◦]")).list.mean().alias("bullets"),
        (1 - lines.list.n_unique() / lines.list.len()).alias("dupe_lines"),
    )
    return int(made.collect().height)


ENGINES: dict[str, tuple[Callable[..., int], tuple[bool, ...], int]] = {  # what, with what, rounds
    "tilth, full": (ours, (True,), 3),
    "tilth, light": (ours, (False,), 3),
    "datatrove, every number": (datatrove, (True,), 1),
    "datatrove, as shipped": (datatrove, (False,), 1),
    "Polars, light": (polars, (), 3),
}
RIVALS = {
    "datatrove, every number": "tilth, full",
    "datatrove, as shipped": "tilth, full",
    "Polars, light": "tilth, light",
}


def timed(engine: str, file: str) -> float:
    """Seconds of the best round, in this environment."""
    work, settings, rounds = ENGINES[engine]
    task = partial(work, file, *settings)
    if work is polars:
        return best(task, rounds)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for _ in range(2):  # both processes import and compile
            list(pool.map(task, range(PROCESSES)))
        return best(lambda: sum(pool.map(task, range(PIECES))), rounds)


def best(task: Callable[[], int], rounds: int) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measured(python: str, engine: str, file: Path) -> float:
    """Seconds of an engine in the environment of that interpreter."""
    command = [python, __file__, "--engine", engine, "--file", str(file)]
    threads = {"POLARS_MAX_THREADS": str(PROCESSES), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads})
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", help=".jsonl.zst files with a text field")
    parser.add_argument("--mb", type=float, default=20.0, help="megabytes of text")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has datatrove and polars")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    asked: Any = parser.parse_args()
    if asked.engine:
        print(timed(asked.engine, asked.file))
        return
    if not asked.data:
        parser.error("--data names no file")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.parquet"
        count, mb = prepare(asked.data, asked.mb, file)
        speeds = {
            engine: mb / measured(sys.executable if engine.startswith("tilth") else asked.peer_python, engine, file)
            for engine in ENGINES
        }
    print(f"{count:,} texts, {mb:.1f} MB, {PROCESSES} processes, from Parquet\n")
    print("| engine | MB/s | tilth is faster by |\n|---|---:|---:|")
    for engine, speed in speeds.items():
        rival = RIVALS.get(engine)
        ratio = f"{speeds[rival] / speed:.1f}x ({rival.partition(', ')[2]})" if rival else ""
        print(f"| {engine} | {speed:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
