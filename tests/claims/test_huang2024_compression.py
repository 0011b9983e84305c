"""The claim about compression at a toy size: what members read, what is asked, and how the law is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import huang2024_compression as claim
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.proofs.compression import bits_per_character

TOY = claim.Scale(vocab=300, context=32, longest=200, scored=4, score_longest=80, questions=6, passage=20, batch=2)


def _texts(words: str, count: int, run: Run) -> list[str]:
    rng = run.rng("texts", words)
    some = words.split()
    return [" ".join(some[i] for i in rng.integers(len(some), size=40)) + " ." for _ in range(count)]


def test_a_member_reads_its_share_and_no_more() -> None:
    domain, other = ["a" * 30] * 50, ["b" * 30] * 50
    read = "".join(claim.read_by(claim.Member(1, 500, 0.2), domain, other, 25))
    assert (read.count("a"), read.count("b")) == (100, 400)
    assert max(map(len, claim.read_by(claim.Member(1, 500), domain, other, 25))) == 25


def test_a_question_is_the_passage_before_a_word_and_words_as_frequent() -> None:
    rng = Run().rng("q")
    words = [f"word{c}" for c in "abcdefghijklmnopqrstuvwxyz"] + [f"{c}rare" for c in "abcdefghijklmnopqrst"]
    often = np.array([20.0] * 26 + [1.0] * 20)
    texts = [" ".join(rng.choice(words, 60, p=often / often.sum())) for _ in range(60)]
    asked = claim.questions(texts, rng, claim.Scale(questions=40, passage=50, candidates=3))
    assert len(asked) == 40
    for i, (passage, some) in enumerate(asked):
        assert len(passage) == 50
        assert f"{passage}{some[0]}" in texts[i]
        assert len(set(some)) == 3
    wrong_rare = [sum(w.endswith("rare") for w in some[1:]) for _, some in asked]
    right_rare = [some[0].endswith("rare") for _, some in asked]
    assert np.mean(wrong_rare) < 0.5
    assert np.mean(right_rare) < 0.3


def test_a_model_that_knows_the_text_gets_marks_and_few_bits() -> None:
    texts = ["the soil drank warm rain all night", "the seed broke open under the frost"]
    tokenizer = Tokenizer.train(texts, 300)
    model = lab.decoder(1, tokenizer.vocab_size, 32, Run())
    ids = tokenizer.encode_batch(texts)
    asked = [
        ("the soil drank warm ", ("rain", "frost", "seed")),
        ("the seed broke open under the ", ("frost", "rain", "soil")),
    ]
    lab.read(model, ids, 6000, Run(), Options(rate=1e-2, batch=2))
    assert claim.right(model.eval(), tokenizer, asked, TOY) == 1
    turned = [(passage, words[::-1]) for passage, words in asked]
    assert claim.right(model, tokenizer, turned, TOY) == 0


def test_exam_and_scored_text_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = [f"{i:03d} {t}" for i, t in enumerate(_texts("soil rain seed frost night warm", 60, Run()))]
    other = [f"{i:03d} {t}" for i, t in enumerate(_texts("recht satz gesetz absatz artikel", 30, Run()))]
    read: list[str] = []
    reading = claim.read_by

    def seen(*given: object) -> list[str]:
        read.extend(reading(*given))  # type: ignore[arg-type]
        return reading(*given)  # type: ignore[arg-type]

    scored: list[str] = []
    bits = bits_per_character

    def measured(model: object, tokenizer: object, texts: list[str], *more: int) -> object:
        scored.extend(texts)
        return bits(model, tokenizer, texts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(claim, "read_by", seen)
    monkeypatch.setattr(claim, "bits_per_character", measured)
    family = (claim.Member(1, 3000, 0.5), claim.Member(1, 500, 1.0, bytes=True))
    out = claim.marks(domain, other, Run(), TOY, family)
    assert out.shape == (2, 3)
    assert (out[:, 1:] > 0.5).all()
    assert len(scored) == 16
    assert not {t[:40] for t in read} & {t[:40] for t in scored}


def test_statements_hold_where_they_should() -> None:
    family = [claim.Member(1, 1)] * 5 + [claim.Member(1, 1, 0.5)] * 2 + [claim.Member(1, 1, bytes=True)]
    bits = np.array([3.0, 2.8, 2.5, 2.2, 2.0, 2.6, 2.9, 2.4])
    good = np.stack([np.stack([1.2 - 0.3 * bits, bits, np.array([5, 4, 5, 4, 5, 4.5, 4, 5])], 1)] * 3)
    good += 0.001 * Run().rng("jitter").random(good.shape)
    rows = claim.statements(good, family, 4)
    assert [r["holds"] for r in rows[:4]] == ["yes"] * 4
    bad = good[:, :, [0, 2, 1]].copy()
    bad[:, -1, 0] += 0.3
    assert [r["holds"] for r in claim.statements(bad, family, 4)[:4]] == ["no"] * 4


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="law_german"):
            claim.run(data)
