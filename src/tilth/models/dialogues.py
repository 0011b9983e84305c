"""Dialogues as tokens: what is read, and which tokens are an assistant's words and may be learned or scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.models.tokenizer import Tokenizer

__all__ = ["Dialogues", "encode_dialogues"]

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Dialogues:
    """Encoded dialogues.

    Attributes:
        offsets, ids: dialogue i is ``ids[offsets[i]:offsets[i + 1]]``; empty where nothing of it could be kept.
        learned: which ids are an assistant's.
        size: bytes of the assistant's words that were kept, per dialogue.
    """

    offsets: npt.NDArray[np.int64]
    ids: npt.NDArray[np.uint32]
    learned: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]


def encode_dialogues(
    tokenizer: Tokenizer, dialogues: Sequence[Messages | None], *, context: int | None = None, end: int | None = None
) -> Dialogues:
    """Encode dialogues the way `records.render` writes them: ``role: content``, a blank line between turns.

    Args:
        context: the longest a dialogue may be. Whole turns that no longer fit are left out from the first of them on,
            never half a turn; a dialogue without an answer left is empty.
        end: an id set after each of the assistant's turns and learned with it; None sets none.

    >>> tokenizer = Tokenizer.train(["user: the seed? assistant: the soil"] * 9, vocab=300)
    >>> talk = [{"role": "user", "content": "the seed?"}, {"role": "assistant", "content": "the soil"}]
    >>> made = encode_dialogues(tokenizer, [talk], end=0)
    >>> tokenizer.decode(made.ids[made.learned]), made.size.tolist()
    (' the soil', [8])
    """
    texts, heads, owners, speaks = [], [], [], []
    for i, messages in enumerate(dialogues):
        for n, message in enumerate(messages or ()):
            head = f"{chr(10) * 2 * (n > 0)}{message['role']}: "
            heads.append(_bytes(head))
            texts.append(head + (message["content"] or ""))
            owners.append(i)
            speaks.append(message["role"] == "assistant")
    offsets, ids = tokenizer.encode_batch(texts)
    reach = np.cumsum(tokenizer.byte_lengths[ids]) if ids.size else np.zeros(0, np.int64)
    parts: list[list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_], int]]] = [[] for _ in dialogues]
    full = [False] * len(dialogues)
    for k, owner in enumerate(owners):
        some = slice(int(offsets[k]), int(offsets[k + 1]))
        before = int(reach[some.start - 1]) if some.start else 0
        turn, said = ids[some], (reach[some] - before > heads[k]) & speaks[k]
        if end is not None and speaks[k]:
            turn, said = np.append(turn, np.uint32(end)), np.append(said, True)
        used = sum(part[0].size for part in parts[owner])
        full[owner] |= context is not None and used + turn.size > context
        if not full[owner]:
            parts[owner].append((turn, said, (_bytes(texts[k]) - heads[k]) * speaks[k]))
    for i, turns in enumerate(parts):
        if not any(said.any() for _, said, _ in turns):
            parts[i] = []
    flat = [part for turns in parts for part in turns]
    lengths = [sum(part[0].size for part in turns) for turns in parts]
    return Dialogues(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part[0] for part in flat]) if flat else np.zeros(0, np.uint32),
        np.concatenate([part[1] for part in flat]) if flat else np.zeros(0, np.bool_),
        np.array([sum(part[2] for part in turns) for turns in parts], np.int64),
    )


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
