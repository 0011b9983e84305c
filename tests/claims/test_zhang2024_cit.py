"""The claim about corpus-invariant tuning: its world by an independent reader, its arms, how its statements judge."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import zhang2024_cit as claim

TOY = claim.Scale(people=12, values=6, depth=1, heads=1, stories=60, epochs=12, tuned=2)


def read_off(prompt: str) -> str:
    """The answer to a prompt by pattern alone."""
    told, ask = prompt.split("?")
    found = re.findall(rf"{re.escape(ask)}( \w+)\.", told)
    assert len(found) == 1, "one sentence of the context answers the question"
    return str(found[0])


def test_v2_changes_the_stated_share_and_each_context_answers_for_its_own_version() -> None:
    scale = claim.Scale()
    old, new, others = claim.world(Run(seed=1), scale)
    assert np.array_equal(old.people, new.people)
    assert (old.values != new.values).mean() == pytest.approx(scale.changed, abs=1e-9)
    assert not set(old.people.tolist()) & set(others.people.tolist())
    assert len({*old.questions, *others.questions}) == 2 * scale.people
    found = claim.retrieved(scale, Run(seed=1))
    assert all(len(set(row)) == scale.given and row[0] == i for i, row in enumerate(found.tolist()))
    for corpus in (old, new):
        asked = claim.prompts(corpus, found, Run(seed=1))
        assert [read_off(prompt) for prompt in asked] == corpus.answers
        places = [prompt.split("?")[0].split(".").index(ask + answer)
                  for prompt, ask, answer in zip(asked, corpus.questions, corpus.answers, strict=True)]  # fmt: skip
        assert set(places) == set(range(scale.given)), "the answer stands at every place"


def test_stories_can_be_read_but_not_recalled() -> None:
    told = claim.stories(Run(), TOY)
    assert len(told) == TOY.stories
    values: dict[str, set[str]] = {}
    for text in told:
        context, again = text.split("?")
        assert context.count(".") == TOY.given
        assert sorted(context.split(".")) == sorted(again.split("."))
        for sentence in again.split(".")[:-1]:
            ask, value = sentence.rsplit(" ", 1)
            assert read_off(f"{context}?{ask}") == f" {value}"
            values.setdefault(ask, set()).add(value)
    assert len(values) == 2 * TOY.people
    assert min(len(some) for some in values.values()) > 1


def test_arms_are_measured_and_alpha_0_is_standard_to_the_bit() -> None:
    found = claim.measured(Run(), TOY)
    assert set(found) == {"before", "alpha 0", *claim.ARMS}
    assert found["alpha 0"] == {"largest difference of a weight": 0.0}
    assert abs(found["before"]["rise"]) < 1e-6
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    kept = [found[arm]["rise"] for arm in ("standard", "CIT, 10")]
    assert kept[1] <= kept[0]
    assert len({found[arm]["gap"] for arm in claim.ARMS}) == len(claim.ARMS), "arms differ"
    assert claim.world(Run(), replace(TOY, changed=0.0))[1].answers == claim.world(Run(), TOY)[0].answers


def test_statements_hold_where_they_should() -> None:
    def holds(
        old: tuple[float, float],
        v2: tuple[float, float],
        v1: tuple[float, float],
        gap: tuple[float, float],
        zero: float,
    ) -> list[str]:
        def marks(i: int, j: int) -> dict[str, float]:
            told = {name: 0.5 for name in claim.LABELS}
            return {**told, "old value": old[i], "v2": v2[i], "v1": v1[i], "gap": gap[i] + j / 1e4 * (1 - i)}

        cit = f"CIT, {claim.CHOSEN:g}"
        found = [
            {**{arm: marks(0, j) for arm in ("before", *claim.ARMS)}, cit: marks(1, j),
             "alpha 0": {"largest difference of a weight": zero}}
            for j in range(3)
        ]  # fmt: skip
        return [row["holds"] for row in claim.statements(found)[:6]]

    assert holds((0.4, 0.1), (0.6, 0.75), (0.99, 0.985), (1.0, 0.2), 0.0) == ["yes"] * 6
    assert holds((0.05, 0.04), (0.6, 0.65), (0.99, 0.9), (0.2, 0.3), 1e-7) == ["no"] * 6
