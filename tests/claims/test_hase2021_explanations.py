"""The claim about explanations at a toy size: they tell what the arm says, never the asked record's own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import hase2021_explanations as claim
from tilth.models.tune import Texts

TOY = claim.Scale(records=300, per_task=5, tests=4, steps=1, batch=4, depth=1)
ARMS = (claim.ALONE, claim.FOUND, claim.WRONG, claim.LOST, claim.DEALT)


def told(question: str) -> int:
    """The label by one who counts what the explanation tells, and says 0 without one."""
    record, _, explanation = question.strip().partition(" : ")
    if not explanation:
        return 0
    numbers, (_, m, n, _, _) = record.split(), explanation.split()
    return int(numbers.count(m) > numbers.count(n))


Learned = list[tuple[str, int]]


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> Learned:
    """What is trained on; questions are answered by counting."""
    seen: Learned = []
    vocabs: list[lab.Vocab] = []
    encode = lab.Vocab.encode_batch

    def kept(vocab: lab.Vocab, texts: list[str]) -> Texts:
        vocabs.append(vocab)
        return encode(vocab, texts)

    def read(texts: Texts) -> list[str]:
        offsets, ids = texts
        return [vocabs[-1].decode(ids[a:b]) for a, b in pairwise(offsets)]

    def train(model: Any, texts: Texts, labels: claim.Ints, order: claim.Ints, options: Any) -> None:
        assert set(order.tolist()) <= set(range(labels.size))
        seen.extend(zip(read(texts), labels.tolist(), strict=True))

    monkeypatch.setattr(lab.Vocab, "encode_batch", kept)
    monkeypatch.setattr(claim, "train_classifier", train)
    monkeypatch.setattr(claim, "classify", lambda model, texts: np.eye(2)[[told(text) for text in read(texts)]])
    return seen


@pytest.mark.parametrize("arm", ARMS)
def test_counting_what_is_told_is_right_where_the_explanation_is(arm: str, learned: Learned) -> None:
    mark = claim.right(arm, Run(), TOY)
    # Numbers that are not in the record make its counts equal, hence 0; half of the labels are.
    assert mark == 1.0 if arm in (claim.FOUND, claim.DEALT) else 0.4 <= mark <= 0.7


@pytest.mark.parametrize("arm", ARMS)
def test_arms_learn_what_they_say(arm: str, learned: Learned) -> None:
    claim.right(arm, Run(), TOY)
    assert len(learned) == TOY.records
    agree = float(np.mean([told(text) == label for text, label in learned]))
    assert agree == 1 if arm == claim.FOUND else 0.4 <= agree <= 0.7
    assert all((" : " in text) == (arm != claim.ALONE) for text, _ in learned)
    tasks = [text.split() for text, _ in learned]
    if arm in (claim.FOUND, claim.WRONG):
        assert all(words[0] == words[words.index(":") + 1] for words in tasks)
    if arm == claim.LOST:  # one explanation for all would not be any task's
        assert len({words[words.index(":") + 1] for words in tasks}) > 30
        assert {words[0] for words in tasks} == {"1"}


def test_a_record_never_gets_its_own_explanation() -> None:
    texts = ["200 1 7", "200 2 8", "300 1 9", "300 2 9", "300 1 4"]
    for seed in range(20):
        given = [text.split()[-1] for text in claim.explained(texts, list("abcde"), texts, Run(seed=seed))]
        assert given[:2] == ["b", "a"]
        assert all(own != other and other in "cde" for own, other in zip("cde", given[2:], strict=True))


def test_statements_hold_where_they_should() -> None:
    def marks(*values: float) -> dict[str, claim.Floats]:
        return {arm: value + np.array([-0.01, 0.0, 0.01]) for arm, value in zip(ARMS, values, strict=True)}

    good, bad = marks(0.6, 0.95, 0.61, 0.6, 0.5), marks(0.8, 0.8, 0.9, 0.8, 0.8)
    assert [r["holds"] for r in claim.statements(good)[:6]] == ["yes"] * 6
    assert [r["holds"] for r in claim.statements(bad)[:6]] == ["no"] * 6
