"""Interference in context: facts told one after the other, updates among them, and a question after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._stories import GIVES, GOES, PEOPLE, PLACES, TAKES, THINGS
from tilth.probes._tasks import Task, answers_of, exact, table, world

__all__ = ["Interference", "curve", "outcomes"]

FILLING: Final = (
    ("The",),
    ("old", "cold", "low", "loud", "pale", "small"),
    ("wind", "rain", "clock", "river", "bell", "fire", "storm", "rooster"),
    ("hummed", "paused", "murmured", "faded", "stirred", "sang"),
    ("softly", "slowly", "briefly", "afar", "nearby", "again"),
    ("today", "somewhere", "anew"),
)
"""Words of sentences that tell nothing of anybody; a sentence of 4 words has no adjective and no end."""

TRUTH: Final = pa.struct(
    [
        ("stream", pa.int32()),
        ("kind", pa.string()),
        ("facts", pa.int32()),
        ("fact", pa.int32()),
        ("later", pa.int32()),
        ("age", pa.int32()),
        ("updates", pa.int32()),
        ("stale", pa.list_(pa.string())),
        ("wrong", pa.int32()),
        ("padded", pa.bool_()),
    ]
)


class Interference(Probe):
    """A stream of facts flows through the context; is an early one still answered, and with its newest value?

    People move to places, take things and give them away; each fact says of one person where they are, or of one thing
    who has it, and overrides what was said of that before. A record is a stream so far and one question. Target and
    holdout ask after each fact of their streams, about old facts as often as new ones; the pool asks at the end of
    streams of all lengths about everything told of, a record each. ``more["padded"]`` is the holdout with each sentence
    after the fact that answers replaced by one of as many words that tells nothing: answers and distances in words
    stay, the later facts are gone. So it parts what later facts do from what distance does. A share `padded` of the
    pool's streams is padded after a random sentence, so that such streams are nothing new.

    Takes answers to the holdout, a list of strings; the mark is exact match. **Chance**: the commonest answer gets less
    than 0.1, one of the places or people told of 0.4, the one told of last 0.55. `curve` is accuracy by the number of
    later facts: the forgetting curve is what it has at 0 less that; `outcomes` says which wrong answers are stale. The
    truth: ``truth.answer``, ``truth.stream``, ``truth.kind`` (where, who), ``truth.facts`` (how many are told),
    ``truth.fact`` (the number of the sentence that answers, from 0), ``truth.later`` (facts after it), ``truth.age``
    (words after it), ``truth.updates`` (facts about the same before it), ``truth.stale`` (what they said that is now
    wrong, oldest first), ``truth.wrong`` (how many other places, or people, the stream names: a guess would take one of
    these or the answer), ``truth.padded``. Cost: 0.15 ms a record.

    Traps: after few facts there is little to mistake, so compare at equal ``truth.facts``, and padding leaves fewer;
    most facts have no stale value, so look at updated ones apart. Source: Coleman et al. 2023 (arXiv 2309.12727) after
    bAbI (Weston et al. 2015); the simulator and its wording are our own, and giver and taker need not be at one place.

    >>> from tilth.core import Run
    >>> built = Interference(facts=4, items=2).build(20, Run())
    >>> print(built.goal.holdout.column("messages").to_pylist()[6][0]["content"])
    Daniel moved to the garden. Fred walked to the garden. Emma took the milk.
    Where is Daniel?
    >>> print(built.more["padded"].column("messages").to_pylist()[6][0]["content"])
    Daniel moved to the garden. The pale river hummed again. The fire paused briefly.
    Where is Daniel?
    >>> truth = built.goal.holdout.column("truth").to_pylist()[6]
    >>> truth["answer"], truth["later"], truth["age"], truth["stale"]
    ('garden', 2, 9, [])
    """

    paper: ClassVar[str] = "incontext_interference_in_chatbased_large_language"

    facts: int = Field(12, ge=1, le=100, description="facts of a stream; the pool's streams have from 1 to so many")
    people: int = Field(4, ge=2, le=len(PEOPLE), description="people of a stream")
    things: int = Field(3, ge=0, le=len(THINGS), description="things of a stream")
    padded: float = Field(
        0.5, ge=0, le=1, description="share of the pool's streams cut at a random sentence and padded"
    )
    items: int = Field(20, ge=1, description="streams of target and holdout each; each has `facts` records")

    def build(self, size: int, run: Run) -> World:
        parts: dict[str, list[Task]] = {"pool": self._pool(size, run.rng("pool"))}
        blank: list[Task] = []
        for name in ("target", "holdout"):
            rng, parts[name] = run.rng(name), []
            fill = run.rng(name, "padded")
            for number in range(self.items):
                stream = self._stream(rng)
                for _ in range(self.facts):
                    stream.happen()
                    subject = stream.spread()
                    parts[name].append(stream.task(subject, number))
                    if name == "holdout":
                        blank.append(stream.cut(stream.told[subject][-1].sentence, fill).task(subject, number))
        return world(parts, TRUTH, more={"padded": table("padded", blank, TRUTH)})

    def _pool(self, size: int, rng: np.random.Generator) -> list[Task]:
        tasks: list[Task] = []
        number = 0
        while len(tasks) < size:
            stream = self._stream(rng)
            for _ in range(int(rng.integers(1, self.facts + 1))):
                stream.happen()
            if rng.random() < self.padded:
                stream = stream.cut(int(rng.integers(len(stream.sentences))), rng)
            subjects = rng.permutation(sorted(stream.told)).tolist()
            tasks += [stream.task(subject, number) for subject in subjects]
            number += 1
        return tasks[:size]

    def _stream(self, rng: np.random.Generator) -> _Stream:
        cast, things = rng.permutation([*PEOPLE])[: self.people], rng.permutation(THINGS)[: self.things]
        return _Stream(rng, cast.tolist(), things.tolist())

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("interference grades answers to the holdout of its own world; this world has none.")
        return exact(world.goal.holdout, answer, self.name())


def outcomes(pool: Any, answer: Any) -> npt.NDArray[np.str_]:
    """Of each record ``right``, ``stale`` (what was told of the same before and no longer holds) or ``other``.

    Args:
        pool: questions of `Interference`: target, holdout or padded.
        answer: one string per record.
    """
    given = [" ".join(text.split()) for text in answers_of(answer, pool, "interference")]
    truth = pool.column("truth").to_pylist()
    made = ["right" if a == t["answer"] else "stale" if a in t["stale"] else "other"
            for a, t in zip(given, truth, strict=True)]  # fmt: skip
    return np.array(made, np.str_)


def curve(pool: Any, answer: Any, by: Sequence[int] | None = None) -> dict[int, float]:
    """The share of right answers by the number of later facts.

    Args:
        by: of each record the number to group by; ``truth.later`` of the pool when None (of a padded pool this is 0
            everywhere, so give the holdout's).
    """
    later = np.asarray(pool.column("truth.later").to_pylist() if by is None else by)
    right = outcomes(pool, answer) == "right"
    return {int(k): float(right[later == k].mean()) for k in np.unique(later)}


@dataclass(frozen=True)
class _Fact:
    sentence: int
    value: str


@dataclass
class _Stream:
    """Sentences so far, and of each person and thing all that was told."""

    rng: np.random.Generator
    cast: Sequence[str]
    things: Sequence[str]
    sentences: list[str] = field(default_factory=list)
    told: dict[str, list[_Fact]] = field(default_factory=dict)
    facts: int = 0

    def one(self, words: Sequence[str]) -> str:
        return words[int(self.rng.integers(len(words)))]

    def happen(self) -> None:
        """Tell one more fact, of any person or thing of the cast."""
        subject = self.one([*self.cast, *self.things])
        before = self.told[subject][-1].value if subject in self.told else None
        if subject in self.cast:
            value = self.one([place for place in PLACES if place != before])
            said = f"{subject} {self.one(GOES)} the {value}."
        else:
            value = self.one([person for person in self.cast if person != before])
            said = (f"{value} {self.one(TAKES)} the {subject}." if before is None
                    else f"{before} {self.one(GIVES)} the {subject} to {value}.")  # fmt: skip
        self.told.setdefault(subject, []).append(_Fact(len(self.sentences), value))
        self.sentences.append(said)
        self.facts += 1

    def spread(self) -> str:
        """Someone or something that was told of, drawn so that old facts are about as often asked for as new ones.

        Of the facts that hold, it is the one before a sentence drawn at random, or the oldest.
        """
        place = int(self.rng.integers(len(self.sentences)))
        holding = sorted((facts[-1].sentence, subject) for subject, facts in self.told.items())
        return max((found for found in holding if found[0] <= place), default=holding[0])[1]

    def cut(self, last: int, rng: np.random.Generator) -> _Stream:
        """The stream with all sentences after one of them replaced by as many words that tell nothing."""
        told = {subject: kept for subject, facts in self.told.items()
                if (kept := [fact for fact in facts if fact.sentence <= last])}  # fmt: skip
        filled = [_filling(len(text.split()), rng) for text in self.sentences[last + 1 :]]
        return _Stream(self.rng, self.cast, self.things, [*self.sentences[: last + 1], *filled], told, last + 1)

    def task(self, subject: str, number: int) -> Task:
        """The stream so far and a question about someone or something that was told of.

        Args:
            number: of the stream.
        """
        who = subject in self.things
        asked = f"Who has the {subject}?" if who else f"Where is {subject}?"
        told = self.told[subject]
        answer, at = told[-1].value, told[-1].sentence
        stale = [fact.value for fact in told if fact.value != answer]
        held = {fact.value for thing in self.things for fact in self.told.get(thing, [])}
        places = {fact.value for person in self.cast for fact in self.told.get(person, [])}
        named = held | {person for person in self.cast if person in self.told}
        kind = "who" if who else "where"
        truth = {
            "stream": number,
            "kind": kind,
            "facts": self.facts,
            "fact": at,
            "later": self.facts - 1 - at,
            "age": sum(len(text.split()) for text in self.sentences[at + 1 :]),
            "updates": len(told) - 1,
            "stale": list(dict.fromkeys(stale)),
            "wrong": len((named if who else places) - {answer}),
            "padded": self.facts < len(self.sentences),
        }
        return Task(f"{' '.join(self.sentences)}\n{asked}", answer, kind, truth)


def _filling(words: int, rng: np.random.Generator) -> str:
    """A sentence of 4 to 6 words that tells nothing of anybody."""
    used = (0, 2, 3, 4) if words == 4 else range(words)
    return " ".join(FILLING[i][int(rng.integers(len(FILLING[i])))] for i in used) + "."
