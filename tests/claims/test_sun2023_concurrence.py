"""The claim about benchmarks at a toy size: what is held out, what a copy is, and how agreement is judged."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import kendalltau

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import sun2023_concurrence as claim
from tilth.probes.scan import interpret

TOY = claim.Scale(records=60, steps=1, batch=4, exam=10)
Make = Callable[[claim.Scale, np.random.Generator], tuple[claim.Exam, claim.Exam, claim.Exam]]


def _copied(text: str) -> bool:
    return all(re.fullmatch(r"w\d+", word) for word in text.split())


def _meant(asked: str) -> str:
    return " ".join(interpret(asked.strip()))


def _parts(asked: str) -> set[str]:
    """What a question must not have in common with training, if it is new: phrases, or a function and a letter."""
    if ":" in asked:
        return {" ".join(asked.split()[:3])}
    (joint,) = (joint for joint in (" and ", " after ") if joint in asked)
    return set(asked.split(joint))


@pytest.mark.parametrize("make", [claim.commands, claim.lists])
def test_what_is_new_was_never_trained_on(make: Make) -> None:
    train, like, new = make(claim.Scale(records=600, exam=50), Run().rng("world"))
    assert [len(asks) for asks, _ in (train, like, new)] == [600, 50, 50]
    assert len({*train[0], *like[0], *new[0]}) == 700
    seen = set().union(*map(_parts, train[0]))
    assert all(_parts(asked) <= seen for asked in like[0])
    assert all(_parts(asked) - seen for asked in new[0])
    answer = claim.applied if make is claim.lists else lambda asked: " ".join(interpret(asked))
    assert [answer(asked) for asked in new[0]] == new[1]


def test_functions_of_lists() -> None:
    assert claim.applied("turn : a b c d") == "b c d a"
    assert claim.applied("first : a b c d") == "a a c d"


def test_marks_come_per_split_and_the_copy_has_other_words_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[dict[str, str]] = []
    talks = lab.talks

    def told(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> object:
        learned.append(dict(zip(prompts, replies, strict=True)))
        return talks(vocab, prompts, replies)

    def answered(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        return [f" {claim.applied(p.strip())}" if ":" in p else " " if _copied(p) else f" {_meant(p)}" for p in prompts]

    monkeypatch.setattr(lab, "talks", told)
    monkeypatch.setattr(lab, "answers", answered)
    assert claim.marks(claim.Model(depth=1), Run(), TOY) == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    scan, _, copy = learned
    assert all(_meant(asked) == said.strip() for asked, said in scan.items())
    assert all(_copied(asked) and _copied(said) for asked, said in copy.items())
    names = dict(zip(" ".join(scan).split(), " ".join(copy).split(), strict=True))  # the order of the records is kept
    words = dict(zip(" ".join(scan.values()).split(), " ".join(copy.values()).split(), strict=False))
    assert len(set(names.values())) == len(names)
    assert set(names.values()).isdisjoint(words.values())
    lengths = [len(a.split()) == len(b.split()) for a, b in zip(scan.values(), copy.values(), strict=True)]
    assert 0.9 <= np.mean(lengths) < 1 or len({len(v.split()) for v in scan.values()}) == 1


def test_statements_hold_where_they_should() -> None:
    rank = np.arange(6) / 10
    other = rank[[3, 0, 5, 1, 4, 2]]
    good = np.stack([np.stack([rank, rank, other, other, rank, rank], 1)] * 3)
    good += 0.001 * Run().rng("jitter").random(good.shape)
    rows = claim.statements(good)
    assert [r["holds"] for r in rows[:3]] == ["yes"] * 3
    assert rows[0]["here"].startswith("1.000")
    bad = np.stack([np.stack([rank, other, rank, other, other, rank], 1)] * 3)
    assert [r["holds"] for r in claim.statements(bad)[:3]] == ["no"] * 3


def test_chance_is_the_share_of_orders_that_agree_as_well() -> None:
    values = np.repeat((np.arange(6.0) / 10)[None, :, None], 2, 2)
    assert claim.chance(values, 0, 1) == pytest.approx(1 / 720)
    assert claim.concurrence(values, 0, 1) == pytest.approx(1.0)
    assert claim.concurrence(np.stack([values[0], np.zeros((6, 2))]), 0, 1) == pytest.approx(1.0)
    assert claim.concurrence(np.zeros((1, 6, 2)), 0, 1) == 0
    tied = np.array([[1, 2, 2, 3, 5, 4.0], [2, 2, 1, 7, 5, 5.0]]).T[None]
    assert claim.concurrence(tied, 0, 1) == pytest.approx(float(kendalltau(*tied[0].T).statistic))


def test_pairs_of_splits_are_of_one_kind_each() -> None:
    kinds = {kind: {(claim.SPLITS[a], claim.SPLITS[b]) for a, b in some} for kind, some in claim.pairs().items()}
    assert kinds["copy"] == {("scan like", "copy like"), ("scan new", "copy new")}
    assert kinds["source"] == {(f"{s} like", f"{s} new") for s in ("scan", "lists", "copy")}
    assert ("scan new", "lists new") in kinds["notion"] <= kinds["across"]
    assert not kinds["across"] & (kinds["copy"] | kinds["source"])
