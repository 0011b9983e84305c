from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.core.errors import BadInput
from tilth.models.tokenizer import Tokenizer

CORPUS = ["The soil is warm, the seed is small.", "Wir säen im Frühling; 12 Reihen.", "x = [1, 2]\n\treturn x  \n"] * 20
TRAINED = Tokenizer.train(CORPUS, 400)


def slow(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids according to the `tokenizers` library itself."""
    clean = text.encode("utf-8", "replace").decode()
    return list(tokenizer._backend.encode(clean, add_special_tokens=False).ids)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_the_fast_encoder_gives_the_same_ids(text: str) -> None:
    assert TRAINED._fast is not None
    offsets, ids = TRAINED.encode_batch([text])
    assert ids.tolist() == slow(TRAINED, text)
    assert offsets.tolist() == [0, len(ids)]


@pytest.mark.parametrize(
    "text", ["", "\x00", "a" * 200_000, " " * 5000, "\ud800 lone", "<|endoftext|>", "e\u0301 👩‍👩‍👧 漢字", "\r\n\r\n"]
)
def test_torture(text: str) -> None:
    _, ids = TRAINED.encode_batch([text])
    if text != "<|endoftext|>":  # in text these are letters, never the id that ends a document
        assert ids.tolist() == slow(TRAINED, text)
    assert 0 not in ids.tolist()
    assert TRAINED.decode(ids) == text.encode("utf-8", "replace").decode()


def test_batches_and_counts_agree() -> None:
    texts = [*CORPUS[:3], ""]
    offsets, ids = TRAINED.encode_batch(texts)
    assert np.diff(offsets).tolist() == TRAINED.count(texts).tolist()
    assert ids[offsets[1] : offsets[2]].tolist() == slow(TRAINED, texts[1])
    assert int(ids.max()) < TRAINED.vocab_size
    assert TRAINED.eod == 0


def test_saved_and_pickled_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(TRAINED.to_json())
    for other in (Tokenizer.load(path), pickle.loads(pickle.dumps(TRAINED)), Tokenizer.train(CORPUS, 400)):
        assert other.fingerprint == TRAINED.fingerprint
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        Tokenizer("{}")
    with pytest.raises(BadInput, match="Cannot read"):
        Tokenizer.load(tmp_path / "none.json")


def test_other_tokenizers_are_left_to_their_library() -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    backend = Backend(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(
        CORPUS, trainers.WordLevelTrainer(special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    )
    other = Tokenizer(backend.to_str())
    assert other._fast is None
    assert other.count(["soil seed nothing"]).tolist() == [3]
    assert other.eod == backend.token_to_id("[SEP]")
