"""Lengths asked for must be read from many wordings, and faults found where they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tilth.models.answer_length import Requested, fault, requested
from tilth.probes._requests import TOPICS, Constraint, holds, write


@pytest.mark.parametrize(
    ("instruction", "unit", "low", "high"),
    [
        ("Write a 2,000-word essay on tea.", "words", 2000, 2000),
        ("Write an essay (around 3000 words) on tea.", "words", 3000, 3000),
        ("I need 2k words on tea.", "words", 2000, 2000),
        ("Write between 800 and 1,200 words.", "words", 800, 1200),
        ("Write 800-1200 words.", "words", 800, 1200),
        ("Answer in no more than 50 words.", "words", 0, 50),
        ("Your text must not exceed 50 words.", "words", 0, 50),
        ("Over 900 words, please.", "words", 900, math.inf),
        ("A minimum of 900 words.", "words", 900, math.inf),
        ("900 words minimum.", "words", 900, math.inf),
        ("写一篇至少2000字的文章", "characters", 2000, math.inf),
        ("List twelve reasons.", "items", 12, 12),
        ("Two paragraphs of 400 words in all.", "words", 400, 400),
    ],
)
def test_reads_what_is_asked(instruction: str, unit: str, low: float, high: float) -> None:
    assert requested(instruction) == Requested(unit, low, high)


@pytest.mark.parametrize(
    "instruction",
    ["Explain these words.", "Five sections, 300 words each.", "Tell me of 3 lakes.", ""],
)
def test_reads_nothing_where_nothing_is_asked(instruction: str) -> None:
    assert requested(instruction) is None


@pytest.mark.parametrize("kind", ["words_most", "words_least", "sentences", "paragraphs", "bullets"])
def test_agrees_with_the_probe_of_constraints(kind: str) -> None:
    """Wordings and checks that were written for something else."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        topic = str(rng.choice([*TOPICS]))
        answer = write([kind], topic, rng).text
        for n in range(1, 60):
            constraint = Constraint(kind, n)
            asked = requested(f"Write about {topic}. {constraint.said(rng)}")
            assert asked is not None
            met = holds(constraint, answer)
            seen.add(met)
            assert (asked.ratio(answer) == 1) == met, (constraint, answer)
    assert seen == {True, False}


SOUND = (
    "Rain falls on warm soil in spring.\n\nThe rivers rise and the fields are green again.\n\nThen comes the summer."
)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (SOUND, ""),
        (SOUND.replace("summer.", "summer, and the"), "cut off"),
        (f"{SOUND}\n\n```python\nprint(1)", "cut off"),
        ("- Rain falls.\n- Rivers rise.\n- And then", "cut off"),
        ("- rain\n- rivers\n- summer", ""),
        ("I'm sorry, but I cannot write that much.", "refusal"),
        (f"{SOUND} (Word count: 2000)", "meta text"),
        (f"{SOUND} [Continue with the other seasons.]", "meta text"),
        (f"{SOUND}\n\n{SOUND}", "repeats itself"),
        (f"{SOUND} Потом приходит осень, и листья падают.", "mixes scripts"),
        ("  ", "empty"),
    ],
)
def test_finds_faults(answer: str, found: str) -> None:
    assert fault("Write about the seasons.", answer) == found


def test_a_script_that_the_instruction_has_is_no_fault() -> None:
    assert fault("Translate 'осень' and use it.", f"{SOUND} Потом приходит осень.") == ""
