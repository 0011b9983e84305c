"""Tokenizer: a byte-level BPE, trained here or given as a ``tokenizer.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput

__all__ = ["Tokenizer"]

END = "<|endoftext|>"
# How GPT-2 cuts text into pieces before merging; `tokenizers` calls it ByteLevel with use_regex.
PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Tokenizer:
    """Texts to ids and back, from the JSON of a Hugging Face tokenizer.

    A byte-level BPE as trained by `train` is encoded by tiktoken from the same merges: the same ids, several
    times faster (`benchmarks/tokenizer.py`). Any other tokenizer is encoded by `tokenizers` itself.

    Args:
        text: the contents of a ``tokenizer.json``.

    >>> tokenizer = Tokenizer.train(["the soil, the seed, the field"] * 20, vocab=270)
    >>> offsets, ids = tokenizer.encode_batch(["the seed", ""])
    >>> offsets.tolist(), tokenizer.decode(ids)
    ([0, 2, 2], 'the seed')
    """

    def __init__(self, text: str) -> None:
        from tokenizers import Tokenizer as Backend

        self._json = text
        try:
            self._backend = Backend.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise BadInput(f"Not a tokenizer.json: {error}. Save one with `tokenizers` or leave it to tilth.") from None

    @classmethod
    def train(cls, texts: Iterable[str], vocab: int = 4096) -> Self:
        """A byte-level BPE of at most `vocab` ids; every text can be encoded, id 0 ends a document."""
        from tokenizers import Tokenizer as Backend
        from tokenizers import decoders, models, pre_tokenizers, trainers

        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab, show_progress=False, initial_alphabet=alphabet, special_tokens=[END]
        )
        backend.train_from_iterator((_clean(text) for text in texts), trainer)
        return cls(backend.to_str())

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a ``tokenizer.json``.

        Raises:
            BadInput: when the file cannot be read or is none.
        """
        try:
            return cls(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"Cannot read the tokenizer {path}: {error}.") from None

    def to_json(self) -> str:
        """The contents of its ``tokenizer.json``."""
        return self._json

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._json,)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the JSON."""
        return hashlib.sha256(self._json.encode()).hexdigest()[:16]

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """How many bytes of text each id stands for, 0 for special tokens.

        Raises:
            BadInput: when this is no byte-level tokenizer, whose ids stand for no fixed bytes.
        """
        made = json.loads(self._json)
        kinds = [step.get("type") for step in (made.get("pre_tokenizer") or {}).get("pretokenizers", [])]
        if "ByteLevel" not in (*kinds, (made.get("pre_tokenizer") or {}).get("type")):
            raise BadInput("Bytes per token are known of byte-level tokenizers only; this is another kind.")
        lengths = np.zeros(self.vocab_size, np.int64)
        special = {token["content"] for token in made.get("added_tokens", [])}
        for token, i in self._backend.get_vocab(with_added_tokens=True).items():
            lengths[i] = 0 if token in special else len(token)
        return lengths

    @property
    def eod(self) -> int | None:
        """The id that ends a document, if the tokenizer has one."""
        for name in (END, "</s>", "<eos>", "[SEP]"):
            if (found := self._backend.token_to_id(name)) is not None:
                return int(found)
        return None

    def encode_batch(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Offsets (n + 1) and ids such that text i is ``ids[offsets[i]:offsets[i + 1]]``."""
        parts = self._encode(texts)
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([p.size for p in parts], out=offsets[1:])
        return offsets, np.concatenate(parts) if parts else np.zeros(0, np.uint32)

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Number of tokens of each text."""
        return np.array([p.size for p in self._encode(texts)], np.int32)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids."""
        return str(self._backend.decode(np.asarray(ids).tolist()))

    def _encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.uint32]]:
        if self._fast is not None:
            encoding, shift = self._fast
            return [encoding.encode_to_numpy(_clean(t), disallowed_special=()) + shift for t in texts]
        out = []
        for start in range(0, len(texts), 256):  # Encoding objects are a hundred times the size of the ids
            batch = [_clean(t) for t in texts[start : start + 256]]
            found = self._backend.encode_batch_fast(batch, add_special_tokens=False)
            out += [np.array(e.ids, np.uint32) for e in found]
        return out

    @cached_property
    def _fast(self) -> tuple[Any, np.uint32] | None:
        """The same merges in tiktoken, and what to add to its ids; None when this is another kind of tokenizer."""
        made = json.loads(self._json)
        model, before = made["model"], made.get("pre_tokenizer") or {}
        plain = model["type"] == "BPE" and not made.get("normalizer") and not made.get("post_processor")
        bytelevel = before.get("type") == "ByteLevel" and not before["add_prefix_space"] and before["use_regex"]
        specials = [token["content"] for token in made.get("added_tokens", [])]
        if not (plain and bytelevel and specials == [END] and model["vocab"].get(END) == 0):
            return None
        import tiktoken

        letters = _byte_letters()
        ranks = {bytes(letters[c] for c in token): n - 1 for token, n in model["vocab"].items() if token != END}
        encoding = tiktoken.Encoding("tilth", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={})
        return encoding, np.uint32(1)


def _clean(text: str) -> str:
    """Lone surrogates cannot be encoded; they become the replacement character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _byte_letters() -> dict[str, int]:
    """The printable letter that stands for each byte in a byte-level vocabulary, inverted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}
