"""Export for Megatron-LM and its kin: ``.bin`` holds token ids, ``.idx`` where documents begin (MMIDIDX, version 1)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from tilth.core.records import Kind
from tilth.io.files import replacing
from tilth.io.tokens import Tokenizer, documents, token_type

__all__ = ["write"]

_CODES: Final = {"uint16": 8, "int32": 4}


def write(
    records: Iterable[pa.RecordBatch],
    folder: Path,
    kind: Kind,
    *,
    tokenizer: Tokenizer,
    eod: int | None = None,
    name: str = "train_text_document",
) -> list[Path]:
    """Write ``name.bin`` and, last, ``name.idx``; ``folder/name`` is the prefix Megatron's ``--data-path`` takes.

    Args:
        eod: id put after every document; trainers that pack documents need one.
    """
    dtype = token_type(tokenizer)
    lengths = array("i")
    with replacing(folder / f"{name}.bin") as file:
        for sizes, ids in documents(records, kind, tokenizer, eod):
            lengths.extend(sizes.tolist())
            file.write(ids.astype(dtype.newbyteorder("<")).tobytes())
    with replacing(folder / f"{name}.idx") as file:
        sizes = np.frombuffer(lengths, np.int32) if lengths else np.zeros(0, np.int32)
        ends = np.cumsum(sizes, dtype=np.int64) * dtype.itemsize
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QB", 1, _CODES[dtype.name]))
        file.write(struct.pack("<QQ", sizes.size, sizes.size + 1))
        file.write(sizes.astype("<i4").tobytes())
        file.write((ends - sizes * np.int64(dtype.itemsize)).astype("<i8").tobytes())
        file.write(np.arange(sizes.size + 1, dtype="<i8").tobytes())  # every sequence is one document
    return [folder / f"{name}.bin", folder / f"{name}.idx"]
