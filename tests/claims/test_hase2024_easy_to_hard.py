"""The claim about easy supervision at a toy size: who is easy, how labels are dealt, and what the statements say."""

from __future__ import annotations

import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import hase2024_easy_to_hard as claim
from tilth.models.optim import Options
from tilth.probes.addition import Addition

TOY = claim.Scale(pretrain=600, digits=2, depth=1, steps=1, batch=4, shown=12, tuning=1, noise=(0.0, 0.5), items=40)


def of(easy: float, noisy: float, none: float = 0.0, scratch: float = 0.0) -> dict[str, float]:
    """Marks of one seed, alike for both ways of supervising."""
    hard = {"hard 0.0": 1.0, "hard 0.2": noisy, "hard 0.4": noisy - 0.1}
    ways = {f"{way}: {name}": value for way in claim.WAYS for name, value in {"easy": easy, **hard}.items()}
    return {"none": none, "form": 1.0, "skill": 1.0, "scratch": scratch, **ways}


def test_pairs_are_split_by_their_longer_number() -> None:
    easy, hard = claim.split(Addition(low=1, digits=2).build(300, Run()).pool, 2)
    assert len(easy) + len(hard) == 300
    assert max(map(max, easy)) <= 9 < min(map(max, hard))
    assert claim.asks("q", [(7, 12)], 2) == ["q07+12="]
    assert claim.sums([(7, 12)], 2) == ["910"]
    assert claim.largest([(7, 12)], 2) == ["210"]


def test_a_share_of_the_labels_is_dealt_and_none_is_lost() -> None:
    labels = [str(i) for i in range(40)]
    got = claim.dealt(labels, 0.3, Run().rng("noise"))
    assert sum(a != b for a, b in zip(got, labels, strict=True)) == 12
    assert sorted(got) == sorted(labels)
    assert claim.dealt(labels, 0.0, Run().rng("noise")) == labels


def test_supervision_is_new_and_the_exam_is_hard_and_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[list[str], list[str]]] = []
    asked: list[str] = []
    talks = lab.talks

    def told(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> object:
        learned.append((prompts, replies))
        return talks(vocab, prompts, replies)

    def answered(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        asked.extend(prompts)
        return [f"{sum(map(int, p[1:-1].split('+'))):03d}"[::-1] for p in prompts]

    monkeypatch.setattr(lab, "talks", told)
    monkeypatch.setattr(lab, "answers", answered)
    found = claim.marks(Run(), TOY)
    assert {value for name, value in found.items()} == {1.0}
    pairs = [{p[1:] for p in prompts} for prompts, _ in learned]
    before, exam = pairs[0], {p[1:] for p in asked}
    assert {p[0] for p in learned[0][0]} == {"s", "m"}
    assert not exam & set().union(*pairs)
    assert all(not before & shown for shown in pairs[1:])
    numbers = [[max(map(int, p[:-1].split("+"))) for p in some] for some in (*pairs[1:], exam)]
    easy = [True, True, False, False, True, False, False]  # from scratch; for each way easy, hard, hard with noise
    assert [max(n) <= 9 for n in numbers] == [*easy, False]
    assert all(min(n) >= 10 for n, is_easy in zip(numbers, easy, strict=False) if not is_easy)
    wrong = [sum(a != b for a, b in zip(r, claim.sums([_pair(q) for q in p], 2), strict=True)) for p, r in learned[1:]]
    assert [w > 0 for w in wrong] == [False, False, False, True, False, False, True]
    assert 3 <= wrong[3] == wrong[6] <= 6


def test_the_mark_alone_moves_when_nothing_else_may() -> None:
    vocab = lab.Vocab.of(["smq0123456789+="], lab.CHARACTERS)
    model = lab.decoder(1, len(vocab), 24, Run())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    claim.freeze_but(model, vocab.ids["q"])
    lab.tune(model, lab.talks(vocab, ["q1+2="] * 4, ["3"] * 4), 5, Run(), Options(rate=1e-2, batch=4))
    moved = {
        name: sorted(set((p.detach() != before[name]).nonzero()[:, 0].tolist())) for name, p in model.named_parameters()
    }
    assert moved.pop("embedding.weight") == [vocab.ids["q"]]
    assert set(map(len, moved.values())) == {0}


def test_statements_hold_where_they_should() -> None:
    shares = (0.0, 0.2, 0.4)
    assert [r["holds"] for r in claim.statements([of(0.8, 0.5)] * 3, shares)[:9]] == ["yes"] * 9
    rows = claim.statements([of(0.3, 1.2, scratch=0.3)] * 3, shares)
    assert [r["holds"] for r in rows[:9]] == ["yes", "no", "no", "no"] * 2 + ["no"]
    rows = claim.statements([of(0.8, 0.5, none=1.0)] * 3, shares)
    assert [r["holds"] for r in rows[:2]] == ["no", "no"]


def _pair(prompt: str) -> tuple[int, int]:
    a, b = map(int, prompt[1:-1].split("+"))
    return a, b
