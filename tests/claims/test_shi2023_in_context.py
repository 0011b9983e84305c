"""The claim about alike documents at a toy size: what the world says, what is judged, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")
import torch

from tilth.claims import _lab as lab
from tilth.claims import shi2023_in_context as claim

TOY = claim.Scale(topics=60, held=5, words=100, keys=40, values=40, passes=1, batch=4, copies=0.1)
Facts = list[tuple[str, str, str]]


def facts_of(text: str) -> Facts:
    words = text.split()
    return [(words[i], words[i + 1], words[i + 2]) for i in range(0, len(words), 3)]


@pytest.mark.parametrize("again", [0.0, 0.5])
def test_a_topic_has_one_table_of_facts_and_words_of_its_own(again: float) -> None:
    made = claim.world(Run(), replace(TOY, again=again))
    for topic in range(TOY.topics):
        facts = [
            fact for text, of in zip(made.texts, made.topic, strict=True) if of == topic for fact in facts_of(text)
        ]
        table = {key: value for _, key, value in facts}
        assert all(table[key] == value for _, key, value in facts), "a topic says one thing of a key"
        assert len(table) <= TOY.facts
        assert len({word for word, _, _ in facts}) <= TOY.own
    for text in made.texts:
        keys = [key for _, key, _ in facts_of(text)]
        assert len(set(keys)) == TOY.told
        assert len(keys) == TOY.told + round(again * TOY.told)
    twice = np.flatnonzero(made.copy >= 0)
    assert 10 < twice.size < 70
    for i in twice.tolist():
        assert sorted(facts_of(made.texts[i])) == sorted(facts_of(made.texts[made.copy[i]]))
        assert made.topic[i] == made.topic[made.copy[i]]
    assert len(made.held) == TOY.held * TOY.documents


def test_what_is_judged_was_stated_by_an_earlier_document_of_the_topic() -> None:
    scale = replace(TOY, again=0.5)
    made = claim.world(Run(), scale)
    judged = 0
    for number, (text, flags) in enumerate(zip(made.held, claim.told_before(made, scale), strict=True)):
        before = made.held[number - number % TOY.documents : number]
        known = {(key, value) for other in before for _, key, value in facts_of(other)}
        seen: set[str] = set()
        wanted = []
        for _, key, value in facts_of(text):
            wanted += [False, False, (key, value) in known and key not in seen]
            seen.add(key)
        assert flags.tolist() == wanted
        judged += sum(wanted)
    assert judged > TOY.held * TOY.documents


def test_the_policy_puts_topics_together_and_copies_apart() -> None:
    scale = replace(TOY, topics=200)
    made = claim.world(Run(), scale)
    plan = claim.ordered(made.pool(Run()), Run(), scale)
    order = plan.reading_order(Run())[0]
    assert np.bincount(order).tolist() == [1] * len(made.texts)
    same, copies = claim.together(made, order, scale)
    lot = claim.together(made, lab.order(len(made.texts), len(made.texts), Run()), scale)
    assert same > 0.2
    assert lot[0] < 0.05
    assert copies < 0.1
    by_topic = np.argsort(made.topic, kind="stable")
    assert same < claim.together(made, by_topic, scale)[0] < 1, "windows are cut anywhere"
    assert claim.together(made, by_topic, scale)[1] > 0.5, "a count that sees copies side by side"


def test_marks_are_those_of_a_model_that_looks_back() -> None:
    """A model that answers with what was last said of a key knows all facts of its own topic and hardly another's."""
    scale = TOY
    made = claim.world(Run(), scale)

    class Looks(torch.nn.Module):
        """Hidden states that are one-hot of the last value after the same key."""

        def forward(self, tokens: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(*tokens.shape, len(made.vocab))
            for row, (ids, of) in enumerate(zip(tokens.tolist(), documents.tolist(), strict=True)):
                for i in range(len(ids)):
                    said = [ids[j + 1] for j in range(i) if ids[j] == ids[i] and of[j] == of[i]]
                    if said:
                        out[row, i, said[-1]] = 1.0
            return out

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    own = np.arange(len(made.held)).reshape(-1, scale.documents)
    facts = claim.told_before(made, scale)
    model: Any = Looks()
    assert claim.right(model, made, own, facts, scale) == 1.0
    assert claim.right(model, made, own, claim.told_twice(made), scale) == 1.0
    assert sum(flags.sum() for flags in claim.told_twice(made)) == len(made.held) * round(scale.again * scale.told)
    other = np.stack([np.roll(column, place) for place, column in enumerate(own.T)], 1)
    assert sorted(other.ravel().tolist()) == own.ravel().tolist()
    assert claim.right(model, made, other, facts, scale) < 0.3


def test_a_toy_run_gives_all_marks() -> None:
    found = claim.measured(Run(), TOY)
    assert all(np.isfinite(value) for value in found.values())
    assert found["read otherwise"] == 0
    assert found["alike"] > claim.LIKE * found["alike, by lot"]
    assert claim.statements([found])


def test_statements_hold_where_they_should() -> None:
    names = ("facts", "facts of other topics", "twice", "first", "later")

    def seeds(gain: float, alike: float) -> list[dict[str, float]]:
        return [
            {
                **{f"{name}, random": 0.5 for name in names}, **{f"{name}, in_context": 0.5 for name in names},
                "facts, in_context": 0.5 + gain + 0.001 * i, "later, in_context": 0.5 - gain + 0.001 * i,
                "alike": alike, "alike, by lot": 0.1, "one topic": 0.7, "one topic, by lot": 0.0, "chance": 0.1,
                "copies together": 0.1 - gain, "read otherwise": float(gain < 0),
            }
            for i in range(3)
        ]  # fmt: skip

    assert {row["holds"] for row in claim.statements(seeds(0.3, 0.5))} == {"yes", "-"}
    assert {row["holds"] for row in claim.statements(seeds(-0.3, 0.1))} == {"no", "-"}
