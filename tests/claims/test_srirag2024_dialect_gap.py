"""The claim about dialects at a toy size: the pair says the same, who is asked, and what is made of the marks."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import srirag2024_dialect_gap as claim

TOY = claim.Scale(words=12, values=3, conversations=40, depth=1, steps=1, batch=4, exam=20)


def test_a_dialect_changes_its_words_and_phrases_and_nothing_else() -> None:
    game = claim.Game((("so", "place3"), ("guess", "word1"), ("no", ""), ("and", "use2")), "word4")
    assert game.text(False, False) == " it has place3 is it word1 no try again think of use2 so what is it"
    assert game.text(True, False) == " it has localplace3 is it word1 no try again think of localuse2 so what is it"
    phrases = game.text(False, True)
    assert phrases.startswith(" it is having place3 it is word1 no yaar again you try")
    assert "local" not in phrases
    assert game.text(True, True) == phrases.replace("place3", "localplace3").replace("use2", "localuse2")


def test_conversations_differ_and_their_clues_tell_the_word() -> None:
    games = claim._games(200, Run().rng("games"), TOY)
    assert len(set(games)) == 200
    sheets: dict[frozenset[str], set[str]] = {}
    for game in games:
        clues = frozenset(what for _, what in game.turns if what.startswith(claim.KINDS))
        assert len(clues) == 3
        assert game.word not in {what for _, what in game.turns}
        sheets.setdefault(clues, set()).add(game.word)
    assert len(sheets) == TOY.words
    assert {len(words) for words in sheets.values()} == {1}


def test_one_candidate_is_right_and_none_was_guessed() -> None:
    games = claim._games(60, Run().rng("games"), claim.Scale(words=12, values=3))
    for game, words in zip(games, claim.candidates(games, claim.Scale(words=12), Run().rng("c")), strict=True):
        assert len(set(words)) == 4
        assert game.word in words
        assert not set(words) & {what for _, what in game.turns}


@pytest.mark.parametrize("dealt", [False, True])
def test_the_share_of_dialect_is_as_asked_and_only_the_control_deals(
    dealt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[list[str], list[str]]] = []
    talks = lab.talks

    def told(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> object:
        learned.append((prompts, replies))
        return talks(vocab, prompts, replies)

    def answered(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        return ["" if "local" in p else replies_of(p) for p in prompts]

    games = claim._games(60, Run().rng("games"), TOY)
    key = {frozenset(w for _, w in g.turns if w.startswith(claim.KINDS)): g.word for g in games}

    def replies_of(prompt: str) -> str:
        clues = frozenset(w.removeprefix("local") for w in prompt.split() if "local" in w or w.startswith(claim.KINDS))
        return f" {key[clues]}"

    monkeypatch.setattr(lab, "talks", told)
    monkeypatch.setattr(lab, "answers", answered)
    found = claim.marks(0.25, Run(), TOY, dealt)
    prompts, replies = learned[0]
    assert sum("local" in p for p in prompts) == 10
    right = np.mean([replies_of(p) == r for p, r in zip(prompts, replies, strict=True)])
    assert right < 0.5 if dealt else right == 1
    assert (found["standard"], found["phrases in dialect"]) == (1.0, 1.0)
    assert (found["dialect"], found["words in dialect"]) == (0.0, 0.0)


def test_statements_hold_where_they_should() -> None:
    def of(gap: float) -> list[dict[str, float]]:
        return [{"standard": 0.9, "dialect": 0.9 - gap, "standard chosen": 1.0, "dialect chosen": 1.0 - gap}] * 3

    good = {0.01: of(0.6), 0.02: of(0.4), 0.5: of(0.01)}
    chance = [{"standard": 0.03, "dialect": 0.02}] * 3
    rows = claim.statements(good, chance, claim.Scale())
    assert [r["holds"] for r in rows[:7]] == ["yes"] * 7
    bad = {0.01: of(0.0), 0.02: of(0.0), 0.5: of(0.2)}
    rows = claim.statements(bad, [{"standard": 0.9, "dialect": 0.3}] * 3, claim.Scale())
    assert [r["holds"] for r in rows[:7]] == ["no"] * 7
