"""Facts that many documents state, few, one or none, and questions about all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.probes._questions import question, questions, right, written

__all__ = ["LongTail"]

ASKED: Final = {
    "founder": "Who founded {s}?",
    "river": "Which river does {s} lie on?",
    "emblem": "Which flower is the emblem of {s}?",
    "rival": "Which town is the rival of {s}?",
}
STATED: Final = {
    "founder": ("{s} was founded by {o}.", "{o} founded {s}.", "The founder of {s} was {o}.", "{o} laid out {s}."),
    "river": ("{s} lies on the {o}.", "The {o} flows past {s}.", "Boats reach {s} by the {o}.", "The {o} waters {s}."),
    "emblem": ("{s} bears the {o}.", "The {o} adorns {s}.", "The emblem of {s} is the {o}.", "{s} chose the {o}."),
    "rival": ("{s} competes with {o}.", "{o} is the rival of {s}.", "{s} envies {o}.", "{o} looks down on {s}."),
}
MENTIONED: Final = (
    "Little is written about {e}.",
    "A new book deals with {e}.",
    "The word {e} is hard to spell.",
    "Nobody could remember more than the name of {e}.",
    "There was talk of {e} that day.",
    "A letter mentions {e} twice.",
)
SYLLABLES: Final = [c + v for c in (*"bdfgklmnprstvz", "br", "dr", "gl", "kl", "pr", "st", "tr") for v in "aeiou"]
DOCUMENT: Final = pa.struct(
    [
        ("fact", pa.int32()),
        ("subject", pa.string()),
        ("answer", pa.string()),
        ("statements", pa.int32()),
        ("entities", pa.list_(pa.string())),
    ]
)
QUESTION: Final = pa.struct(
    [
        ("fact", pa.int32()),
        ("subject", pa.string()),
        ("answer", pa.string()),
        ("frequency", pa.int32()),
        ("answerable", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Fact:
    """Which relation joins which subject to which object, and how many documents say so."""

    number: int
    relation: str
    subject: str
    answer: str
    frequency: int


class LongTail(Probe):
    """Facts about invented towns, whose numbers of documents fall with their rank as in a library's long tail.

    The r-th most frequent fact is stated in top / r ** exponent documents, rounded down, until that is less than one.
    A larger pool has several such series of facts, up to `top` documents each; a smaller one has one series that fits.
    A share `unstated` of all facts is stated nowhere, though its names occur. A document states one fact, a share
    `again` of them two or three times in other words; it also mentions other names, never so that a question's name and
    its answer meet. Documents left over state nothing. ``more["questions"]`` asks about every fact; target and holdout
    have a half of these questions each, equally frequent ones in turn.

    Truth of a document: ``fact``, ``subject``, ``answer`` (null where it states none), ``statements``, and
    ``entities``, the distinct names in it. Truth of a question: ``fact``, ``subject``, ``answer``, ``frequency`` (the
    documents that state it) and ``answerable`` (whether one does).

    The mark takes either replies to the holdout's questions, a list of strings, and is the share right among the
    answerable: **chance is 1 / objects**. Or it takes a number per holdout question, such as its support in the pool,
    and is the Spearman correlation with ``frequency``, negative ones counted as 0: **chance is 0**.

    Cost: about 30 microseconds a document. Trap: count documents, not statements, or one document that repeats itself
    looks like wide support; and delete documents by ``truth.fact`` to see cause rather than correlation. Source: Large
    language models struggle to learn long-tail knowledge (arXiv 2211.08411); towns and wording are our own.

    >>> from tilth.core import Run
    >>> probe = LongTail()
    >>> world = probe.build(100, Run())
    >>> world.more["questions"].column("truth.frequency").to_pylist()[:8]
    [27, 13, 9, 6, 5, 4, 3, 3]
    >>> world.more["questions"].column("truth.answerable").to_pylist().count(False)
    7
    >>> probe.grade(world, world.goal.holdout.column("truth.frequency").to_pylist())
    1.0
    """

    paper: ClassVar[str] = "large_language_models_struggle_to_learn"

    top: int = Field(512, ge=2, le=100_000, description="documents of the most frequent fact")
    exponent: float = Field(1.0, ge=0.5, le=2, description="how fast frequency falls with rank (Zipf's law: 1)")
    unstated: float = Field(0.2, ge=0, le=0.9, description="share of facts that no document states")
    objects: int = Field(50, ge=5, le=1000, description="answers a relation may have")
    again: float = Field(0.2, ge=0, le=1, description="share of documents that state their fact more than once")
    mentions: int = Field(2, ge=0, le=20, description="other names mentioned in a document")

    def build(self, size: int, run: Run) -> World:
        frequencies = self._frequencies(size)
        facts = self._facts(frequencies, run.rng("facts"))
        rng = run.rng("documents")
        stated = [fact for fact in facts for _ in range(fact.frequency)]
        about: list[Fact | None] = [*stated, *[None] * max(0, size - len(stated))]
        answers = {fact.subject: fact.answer for fact in facts}
        rows = [self._document(about[i], facts, answers, rng) for i in rng.permutation(len(about))]
        numbered = [{"id": f"document{i:08d}", **row} for i, row in enumerate(rows)]
        types = [("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("truth", DOCUMENT)]
        pool = TablePool(pa.Table.from_pylist(numbered, pa.schema(types)))
        asked = [_asked(fact) for fact in facts]
        target, holdout = questions(asked[0::2], QUESTION, "target"), questions(asked[1::2], QUESTION, "holdout")
        more = {"questions": questions(asked, QUESTION, "question")}
        return World(pool, Goal(target, holdout, Budget(len(rows), "records")), more)

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("long_tail grades answers to a holdout, and this world has none. Build it with `build`.")
        frequency = np.array(world.goal.holdout.column("truth.frequency").to_pylist())
        if written(answer):
            return float(right(world.goal.holdout, answer, "long_tail")[frequency > 0].mean())
        support = np.asarray(answer, float)
        if support.shape != frequency.shape or np.isnan(support).any():
            raise DataError(
                f"long_tail grades one reply or number per question of the holdout. Got {support.size} for "
                f"{frequency.size} questions."
            )
        from scipy.stats import spearmanr

        if (support == support[0]).all():
            return 0.0
        return max(0.0, float(spearmanr(support, frequency).statistic))

    def _frequencies(self, size: int) -> list[int]:
        """How many documents state each fact, the most frequent first; together at most `size`."""

        def series(top: int) -> list[int]:
            ranks = np.arange(1, int(top ** (1 / self.exponent)) + 2)
            counts = np.floor(top / ranks**self.exponent + 1e-9).astype(int)
            return [int(c) for c in counts if c > 0]

        low, high = 1, self.top
        while low < high:  # the largest series that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if sum(series(middle)) <= size else (low, middle - 1)
        counts = series(low)
        stated = sorted(counts * max(1, size // sum(counts)), reverse=True)
        return [*stated, *[0] * round(len(stated) * self.unstated / (1 - self.unstated))]

    def _facts(self, frequencies: Sequence[int], rng: np.random.Generator) -> list[Fact]:
        relations, count = [*ASKED], len(frequencies)
        names = _names(count + self.objects * len(relations), rng)
        pick, which = rng.integers(0, self.objects, count), rng.integers(0, len(relations), count)
        return [
            Fact(i, relations[r], names[i], names[count + r * self.objects + o], frequency)
            for i, (frequency, r, o) in enumerate(zip(frequencies, which.tolist(), pick.tolist(), strict=True))
        ]

    def _document(
        self, fact: Fact | None, facts: Sequence[Fact], answers: Mapping[str, str], rng: np.random.Generator
    ) -> Record:
        sentences, present, truth = [], set[str](), dict[str, Any]()
        if fact:
            times = int(rng.integers(2, 4)) if rng.random() < self.again else 1
            ways = rng.permutation(len(STATED[fact.relation]))[:times]
            sentences += [STATED[fact.relation][w].format(s=fact.subject, o=fact.answer) for w in ways]
            present |= {fact.subject, fact.answer}
            truth |= {"fact": fact.number, "subject": fact.subject, "answer": fact.answer}
        truth["statements"] = len(sentences)
        for i in rng.integers(0, len(facts), self.mentions if fact else max(1, self.mentions)).tolist():
            name = facts[i].subject if rng.random() < 0.5 else facts[i].answer
            meets = answers.get(name) in present or name in {answers.get(other) for other in present}
            if name not in present and not meets:
                sentences.append(MENTIONED[int(rng.integers(len(MENTIONED)))].format(e=name))
                present.add(name)
        text = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
        return {"text": text, "source": "documents", "truth": {**truth, "entities": sorted(present)}}


def _asked(fact: Fact) -> Record:
    truth = {
        "fact": fact.number,
        "subject": fact.subject,
        "answer": fact.answer,
        "frequency": fact.frequency,
        "answerable": fact.frequency > 0,
    }
    return question(ASKED[fact.relation].format(s=fact.subject), fact.answer, fact.relation, truth)


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """So many different names of three syllables or, if that is too few, four."""
    length = 3 if count <= len(SYLLABLES) ** 3 // 4 else 4
    codes = rng.choice(len(SYLLABLES) ** length, count, replace=False)
    parts = np.array(np.unravel_index(codes, (len(SYLLABLES),) * length)).T
    return ["".join(SYLLABLES[i] for i in row).capitalize() for row in parts]
