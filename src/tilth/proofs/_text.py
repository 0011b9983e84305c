"""What the proofs on text share: their tokenizer, which records a trial reads, and what it scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tilth.core import Plan, Pool, Run
from tilth.models.batches import Windows, prefixed, reading_order, windows, windows_of_documents
from tilth.models.dialogues import encode_dialogues
from tilth.models.tokenizer import Tokenizer
from tilth.signals.quality.tokens import sample_texts

__all__ = [
    "Scored",
    "conditioned",
    "encoded_sample",
    "read_windows",
    "sampled_rows",
    "scored_items",
    "texts_of",
    "tokenizer_for",
]

Ints = npt.NDArray[np.int64]

_tokenizers: dict[tuple[str, int], Tokenizer] = {}


def tokenizer_for(pool: Pool, vocab: int) -> Tokenizer:
    """The proof's own tokenizer, the same for every plan and seed over this pool; trained once per process."""
    key = (pool.fingerprint, vocab)
    if key not in _tokenizers:
        _tokenizers.clear()
        _tokenizers[key] = Tokenizer.train(sample_texts(pool, 1_500_000, Run().at("ngram")), vocab)
    return _tokenizers[key]


def texts_of(pool: Pool, rows: npt.ArrayLike) -> list[str]:
    """The texts of some records, nulls as empty."""
    texts: list[str] = pc.fill_null(pool.take(rows, ["text"]).column(0), "").to_pylist()
    return texts


def sampled_rows(
    plan: Plan, among: npt.NDArray[np.bool_], repeats: npt.NDArray[np.int32], tokens: int, run: Run
) -> npt.NDArray[np.int64]:
    """Random records, by id, that make up about this many tokens; all of them where there are fewer."""
    rows = np.flatnonzero(among)
    sizes = (plan.sizes * repeats)[rows]
    if sizes.sum() <= tokens:
        return rows
    order = np.argsort(run.uniform(plan.ids, "sample")[rows], kind="stable")
    enough = int(np.searchsorted(np.cumsum(sizes[order]), tokens)) + 1
    return np.sort(rows[order[:enough]])


def encoded_sample(
    plan: Plan, pool: Pool, tokenizer: Tokenizer, tokens: int, run: Run
) -> tuple[Ints, Ints, npt.NDArray[np.uint32]]:
    """Random records of the plan, by id, encoded: whole, with their repeats about `tokens` tokens by this tokenizer.

    Returns:
        rows (ascending), offsets and ids.
    """
    rows = np.flatnonzero(plan.kept)
    rows = rows[np.argsort(run.uniform(plan.ids, "sample")[rows], kind="stable")]
    encoded: list[npt.NDArray[np.uint32]] = []
    read, block = 0, 256
    while len(encoded) < rows.size and read < tokens:
        some = rows[len(encoded) : len(encoded) + block]
        offsets, ids = tokenizer.encode_batch(texts_of(pool, some))
        parts = np.split(ids, offsets[1:-1])
        sizes = np.cumsum((np.diff(offsets) + 1) * plan.repeats[some])
        enough = int(np.searchsorted(sizes, tokens - read)) + 1
        encoded += parts[:enough]
        read += int(sizes[min(enough, len(parts)) - 1])
        block = max(256, int((tokens - read) / max(read / len(encoded), 1)) + 1)
    order = np.argsort(rows[: len(encoded)])
    lengths = np.array([encoded[i].size for i in order], np.int64)
    ids = np.concatenate([encoded[i] for i in order]) if encoded else np.zeros(0, np.uint32)
    return rows[: len(encoded)][order], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), ids


def conditioned(
    plan: Plan, tokenizer: Tokenizer, rows: Ints, offsets: Ints, ids: npt.NDArray[np.uint32]
) -> tuple[Ints, npt.NDArray[np.uint32], npt.NDArray[np.bool_] | None]:
    """Encoded records of the plan after what it puts before them, and which ids are learned; None: all."""
    if plan.conditioning is None:
        return offsets, ids, None
    before = tokenizer.encode_batch(list(plan.conditioning.prefixes))
    return prefixed(offsets, ids, before, plan.conditioning.tags.index[rows])


def read_windows(
    plan: Plan,
    pool: Pool,
    tokenizer: Tokenizer,
    tokens: int,
    context: int,
    run: Run,
    packing: Literal["chunk", "best_fit", "first_fit"] = "chunk",
) -> Windows:
    """The windows of a trial that learns at most `tokens` tokens of the plan, in the plan's order.

    What a conditioned plan puts before records is read besides, in chunks; it is not learned and not counted.

    Raises:
        UsageError: when a conditioned plan is packed otherwise, or the plan weights losses.
    """
    plan.require_plain("A proof on text", prefixes=True)
    rows, offsets, ids = encoded_sample(plan, pool, tokenizer, tokens, run)
    order = reading_order(plan.repeats[rows], run.rng("order"), plan.phase[rows], plan.rank[rows])
    if packing != "chunk":
        plan.require_plain(f"A proof that packs by {packing}")
        stage, rng = plan.phase[rows][order], run.rng("packing")
        return windows_of_documents(
            offsets, ids, order, context, 0, packing=packing, rng=rng, stage=stage, tokens=tokens
        )
    offsets, ids, learned = conditioned(plan, tokenizer, rows, offsets, ids)
    return windows(offsets, ids, order, context, 0, tokens, learned)


@dataclass(frozen=True)
class Scored:
    """The items of a holdout: token streams, which tokens count, and the bytes these stand for."""

    offsets: Ints
    ids: npt.NDArray[np.uint32]
    counted: npt.NDArray[np.bool_]
    size: Ints


def scored_items(holdout: Pool, tokenizer: Tokenizer, longest: int, context: int) -> Scored:
    """Text is scored, of an instruction the assistant's answers given what precedes them, else what `render` gives.

    Args:
        longest: characters of a text, or of a turn, that are looked at.
        context: a dialogue longer than this loses its beginning, but what precedes the first answer keeps half of it.
    """
    if holdout.kind != "instruction":
        texts = [text[:longest] for text in pc.fill_null(holdout.column("text"), "").to_pylist()]
        offsets, ids = tokenizer.encode_batch(texts)
        size = np.array([len(t.encode("utf-8", "replace")) for t in texts], np.int64)
        return Scored(offsets, ids, np.ones(ids.size, np.bool_), size)
    talks = holdout.column("messages").to_pylist()
    cut = [[{**m, "content": (m["content"] or "")[:longest]} for m in talk or ()] for talk in talks]
    made = encode_dialogues(tokenizer, cut)
    kept = np.ones(made.ids.size, np.bool_)
    for start, stop in zip(made.offsets[:-1], made.offsets[1:], strict=True):
        if stop > start:
            first = int(np.argmax(made.learned[start:stop]))
            kept[start : start + min(max(0, stop - start - context), max(0, first - context // 2))] = False
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return Scored(before[made.offsets], made.ids[kept], made.learned[kept], made.size)
