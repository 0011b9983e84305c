"""Records as token ids, for the exports that hold tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core.errors import BadField
from tilth.core.records import Kind, render

__all__ = ["Tokenizer", "documents", "token_type"]

Ids = npt.NDArray[Any]


class Tokenizer(Protocol):
    """What an export needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    def encode_batch(self, texts: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Offsets (n + 1) and ids, such that text i is ``ids[offsets[i]:offsets[i + 1]]``."""


def token_type(tokenizer: Tokenizer) -> np.dtype[Any]:
    """The type Megatron-LM picks for a vocabulary: uint16 below 65,500 ids, else int32."""
    return np.dtype(np.uint16 if tokenizer.vocab_size < 65_500 else np.int32)


def documents(
    records: Iterable[pa.RecordBatch], kind: Kind, tokenizer: Tokenizer, eod: int | None
) -> Iterator[tuple[npt.NDArray[np.int64], Ids]]:
    """Per batch, the lengths of its documents and their ids, one after another, each closed by `eod` if given.

    Documents without a single token are left out: no trainer reads them.

    Raises:
        BadField: when an id, or `eod`, is outside the vocabulary.
    """
    _inside(np.array([] if eod is None else [eod]), tokenizer, "eod")
    for batch in records:
        texts = [text or "" for text in render(kind, batch).to_pylist()]
        offsets, ids = tokenizer.encode_batch(texts)
        _inside(ids, tokenizer, "tokenizer")
        if eod is not None:
            ids = np.insert(ids, offsets[1:], eod)
            offsets = offsets + np.arange(offsets.size)
        lengths = np.diff(offsets)
        yield lengths[lengths > 0], ids[: offsets[-1]].astype(token_type(tokenizer))


def _inside(ids: Ids, tokenizer: Tokenizer, who: str) -> None:
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < tokenizer.vocab_size:
        raise BadField(
            f"The {who} of an export gives ids from {ids.min()} to {ids.max()}; the vocabulary ends at "
            f"{tokenizer.vocab_size - 1}."
        )
