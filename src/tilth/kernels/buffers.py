"""The bytes behind an Arrow string column, without copying text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["string_buffers"]


def string_buffers(
    texts: pa.Array | pa.ChunkedArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Offsets (int64, n + 1) and bytes (uint8) such that text i is ``data[offsets[i]:offsets[i + 1]]``.

    Nulls read as empty texts. Slices, 32- and 64-bit offsets and chunked columns are handled.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    if not (wide or pa.types.is_string(texts.type) or pa.types.is_binary(texts.type)):
        raise TypeError(f"expected a string column, got {texts.type}")
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint8)
    stored = np.frombuffer(offsets, np.int64) if wide else np.frombuffer(offsets, np.int32)
    starts: npt.NDArray[np.int64] = stored[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return starts, raw
