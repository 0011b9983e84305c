"""Export as NumPy arrays of token ids, each with the places where its documents begin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from tilth.core.records import Kind
from tilth.io.files import file_bytes, replacing
from tilth.io.tokens import Tokenizer, documents, token_type

__all__ = ["write"]


def write(
    records: Iterable[pa.RecordBatch],
    folder: Path,
    kind: Kind,
    *,
    tokenizer: Tokenizer,
    eod: int | None = None,
    shard_tokens: int = 1 << 25,
    name: str = "tokens",
) -> list[Path]:
    """Write ``name-00000.npy`` with ``name-00000.json`` beside it, and so on; returns the files.

    The JSON holds `documents`: the position where each document begins, and at last the number of tokens. A
    document lies in one shard; only a document larger than `shard_tokens` makes a larger shard.
    """
    files: list[Path] = []
    held: list[npt.NDArray[Any]] = []
    starts = [0]

    def close() -> None:
        stem = f"{name}-{len(files) // 2:05d}"
        tokens = np.concatenate(held) if held else np.zeros(0, token_type(tokenizer))
        path = folder / f"{stem}.npy"
        with replacing(path) as file:
            np.lib.format.write_array(file, tokens.astype(tokens.dtype.newbyteorder("<")), (1, 0))
        about = {"file": path.name, "dtype": tokens.dtype.name, "eod": eod, "documents": starts}
        files.extend([path, file_bytes(folder / f"{stem}.json", orjson.dumps(about))])

    for lengths, ids in documents(records, kind, tokenizer, eod):
        at = 0
        for length in lengths.tolist():
            if starts[-1] and starts[-1] + length > shard_tokens:
                close()
                held, starts = [], [0]
            held.append(ids[at : at + length])
            starts.append(starts[-1] + length)
            at += length
    if held or not files:
        close()
    return files
