"""Latent learning: what was learned for one use, asked for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, TablePool, World
from tilth.core.errors import DataError
from tilth.core.records import MESSAGES

__all__ = ["TESTS", "LatentLearning", "right"]

TESTS: Final = ("explicit", "latent", "in_context", "retrieval")
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
NAMES: Final = (len(CONSONANTS) * len(VOWELS)) ** 3
VOCABULARY: Final = 200
CODES: Final = 260


@dataclass(frozen=True)
class _Fact:
    """One fact, or one book of facts: documents (start, end), and questions about them, each with those it needs."""

    key: str
    task: str
    documents: tuple[tuple[str, str], ...]
    trained: tuple[tuple[str, str, tuple[int, ...]], ...]
    held: tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass
class _Names:
    """New names, none twice."""

    order: np.ndarray[Any, Any]
    used: int = field(default=0)

    def take(self) -> str:
        if self.used == self.order.size:
            raise DataError(f"latent_learning has {NAMES:,} names, and this world needs more; lower the size.")
        number, name = int(self.order[self.used]), ""
        self.used += 1
        for _ in range(3):
            number, syllable = divmod(number, len(CONSONANTS) * len(VOWELS))
            name += CONSONANTS[syllable // len(VOWELS)] + VOWELS[syllable % len(VOWELS)]
        return name


class LatentLearning(Probe):
    """Is a fact that was learned in one form there when another form of question needs it?

    Two tasks. *Reversals*: that a is taught by b is trained for every pair; the question whom b teaches is trained for
    a share of the pairs and tested on the others. *Codebooks*: what each word of a book is written as is trained; the
    task of writing three words in a row is trained on some of a book's words and tested on the others. Names and books
    occur in one fact each, so nothing of a tested answer is seen but its document.

    The pool (kind ``instruction``; mask the loss to the assistant's turn) also has records whose prompt holds notes
    with facts of their own, never trained elsewhere, and a question that only the notes answer. With
    ``in_context=False`` the same sentences and questions are records of their own instead, three times as many, so a
    model never needs its context: the ablation after which retrieval must fail. ``more`` has four tests of the same
    held-out facts: ``explicit`` (the documents as trained), ``latent`` (the question alone), ``in_context`` (with the
    documents it needs as notes) and ``retrieval`` (these among distracting documents of the pool). The truth is
    ``truth.task``, ``truth.form``, ``truth.fact`` and ``truth.answer``.

    `grade` takes {test: answers in that pool's order} and returns the share of exactly right answers, averaged over the
    tests given. **Chance** is 0: one in thousands of names, one in 260 for each of three codes. Trap: documents must be
    trained until ``explicit`` is solved, or ``latent`` measures nothing; and a small model learns a few hundred records
    with notes by heart instead of reading them, so take thousands. Cost: about 50,000 records a second.
    Source: arXiv 2509.16189 (reversals, codebooks and the ablation; wording and sizes are ours).

    >>> from tilth.core import Run
    >>> world = LatentLearning(task="reversal", distractors=1).build(100, Run())
    >>> for name in ("explicit", "latent", "retrieval"):
    ...     user, assistant = world.more[name].column("messages")[0].as_py()
    ...     print(user["content"], "->", assistant["content"])
    bivola is taught by -> numobe
    Whom does numobe teach? -> bivola
    Notes:
    kekoga is taught by migase.
    bivola is taught by numobe.
    <BLANKLINE>
    Whom does numobe teach? -> bivola
    >>> answers = [t["answer"] for t in world.more["latent"].column("truth").to_pylist()]
    >>> probe = LatentLearning()
    >>> probe.grade(world, {"latent": answers}), probe.grade(world, {"latent": [""] * len(answers)})
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "latent_learning"

    task: Literal["both", "reversal", "codebook"] = Field("both", description="reversals, codebooks, or half of each")
    trained: float = Field(0.5, ge=0.1, le=0.9, description="share of pairs, and of a book's words, with questions")
    context: float = Field(
        2.0, ge=0, le=100, description="records with notes, per pair; as many per question of a book"
    )
    in_context: bool = Field(True, description="notes stand before their question; else each is a record by itself")
    distractors: int = Field(
        4, ge=0, le=100, description="notes that the question does not need: in tests, and at most in training"
    )
    words: int = Field(8, ge=2, le=100, description="words of a book")
    row: int = Field(3, ge=1, le=50, description="words to be written in one answer")

    def build(self, size: int, run: Run) -> World:
        names = _Names(run.rng("latent_learning", "names").permutation(NAMES))
        facts: list[_Fact] = []
        rows: list[dict[str, Any]] = []
        tasks = ("reversal", "codebook") if self.task == "both" else (self.task,)
        for task in tasks:
            rng = run.rng("latent_learning", task)
            pairs = max(2, round(size / len(tasks) / self._rows(task)))
            mine = [self._fact(task, i, names, rng, trained=self._is_trained(task, i, pairs)) for i in range(pairs)]
            facts += mine
            rows += [r for fact in mine for r in self._plain(fact)]
            questions = sum(len(f.trained) + len(f.held) for f in mine) if task == "codebook" else len(mine)
            rows += self._noted(task, round(self.context * questions), names, rng)
        order = run.rng("latent_learning", "order").permutation(len(rows))
        tests = self._tests(facts, run.rng("latent_learning", "tests"))
        pool = _pool([rows[i] for i in order], "train")
        return World(pool, more={name: _pool(tests[name], name) for name in TESTS})

    def grade(self, world: World, answer: Any) -> float:
        if not isinstance(answer, Mapping) or not answer or not set(answer) <= set(TESTS):
            raise DataError(f"latent_learning grades {{test: answers}} for tests of {', '.join(TESTS)}.")
        marks = []
        for name, given in answer.items():
            truth = [t["answer"] for t in world.more[name].column("truth").to_pylist()]
            if len(given) != len(truth) or not truth:
                raise DataError(f"latent_learning needs {len(truth)} answers to the test {name}. Got {len(given)}.")
            marks.append(float(np.mean(right(truth, given))))
        return float(np.mean(marks))

    def _rows(self, task: str) -> float:
        """Records of the pool for one pair or book."""
        if task == "reversal":
            return 1 + self.trained + self.context
        return self.words + self._known() + self.context * (self._known() + 1)

    def _known(self) -> int:
        """Words of a book whose use is trained; as many questions about them."""
        return min(self.words - 1, max(1, round(self.trained * self.words)))

    def _is_trained(self, task: str, number: int, count: int) -> bool:
        return number < round(self.trained * count) if task == "reversal" else True

    def _fact(self, task: str, number: int, names: _Names, rng: np.random.Generator, *, trained: bool) -> _Fact:
        if task == "reversal":
            one, two = names.take(), names.take()
            question = (f"Whom does {two} teach?", one, (0,))
            taught = ((f"{one} is taught by", two),)
            return _Fact(f"pair{number}", task, taught, (question,) * trained, () if trained else (question,))
        book = names.take()
        words, codes = (rng.permutation(n)[: self.words] for n in (VOCABULARY, CODES))
        pairs = zip(words.tolist(), codes.tolist(), strict=True)
        written = [(f"w{word}", f"{chr(97 + code % 26)}{code // 26}") for word, code in pairs]
        documents = tuple((f"In book {book} the word {word} is written", code) for word, code in written)

        def question_of(places: np.ndarray[Any, Any]) -> tuple[str, str, tuple[int, ...]]:
            drawn = rng.permutation(places)[: self.row].tolist()
            asked, codes = (" ".join(written[i][k] for i in drawn) for k in (0, 1))
            return f"In book {book}, write {asked}.", codes, tuple(drawn)

        known = np.arange(self._known())
        held = np.arange(self._known(), self.words)
        many = tuple(dict.fromkeys(question_of(known) for _ in known))
        return _Fact(f"book{number}", task, documents, many, (question_of(held),))

    def _plain(self, fact: _Fact) -> Iterator[dict[str, Any]]:
        for start, end in fact.documents:
            yield _row(start, end, fact.task, "document", fact.key)
        for question, answer, _ in fact.trained:
            yield _row(question, answer, fact.task, "question", fact.key)

    def _noted(self, task: str, count: int, names: _Names, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Questions about facts of their own with notes before them, or the same sentences one by one."""
        rows = []
        for i in range(count):
            fact = self._fact(task, i, names, rng, trained=False)
            spared = int(rng.integers(self.distractors + 1))  # so that notes with few and with many are both trained
            others = [self._fact(task, i, names, rng, trained=False) for _ in range(spared)]
            question, answer, needed = fact.held[0]
            spare = [other.documents[int(rng.integers(len(other.documents)))] for other in others]
            notes = _mixed([fact.documents[n] for n in needed], spare, rng)
            key = f"fresh {fact.key}"
            if self.in_context:
                rows.append(_row(_prompt(notes, question), answer, task, "context", key))
            else:
                rows += [_row(start, end, task, "document", key) for start, end in notes]
                rows.append(_row(question, answer, task, "question", key))
        return rows

    def _tests(self, facts: Sequence[_Fact], rng: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
        tests: dict[str, list[dict[str, Any]]] = {name: [] for name in TESTS}
        library = {task: [f for f in facts if f.task == task] for task in {f.task for f in facts}}
        for fact in facts:
            for question, answer, needed in fact.held:
                documents = [fact.documents[n] for n in needed]
                spare: list[tuple[str, str]] = []
                while len(spare) < self.distractors:
                    other = library[fact.task][int(rng.integers(len(library[fact.task])))]
                    if other is not fact:
                        spare.append(other.documents[int(rng.integers(len(other.documents)))])
                said = {
                    "explicit": documents,
                    "latent": [(question, answer)],
                    "in_context": [(_prompt(_mixed(documents, [], rng), question), answer)],
                    "retrieval": [(_prompt(_mixed(documents, spare, rng), question), answer)],
                }
                for name in TESTS:
                    tests[name] += [_row(prompt, end, fact.task, name, fact.key) for prompt, end in said[name]]
        return tests


def _mixed(
    needed: Sequence[tuple[str, str]], spare: Sequence[tuple[str, str]], rng: np.random.Generator
) -> list[tuple[str, str]]:
    together = [*needed, *spare]
    return [together[i] for i in rng.permutation(len(together)).tolist()]


def _prompt(notes: Sequence[tuple[str, str]], question: str) -> str:
    lines = "\n".join(f"{start} {end}." for start, end in notes)
    return f"Notes:\n{lines}\n\n{question}"


def _row(prompt: str, answer: str, task: str, form: str, fact: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "truth": {"task": task, "form": form, "fact": fact, "answer": answer}}


def _pool(rows: Sequence[Mapping[str, Any]], name: str) -> TablePool:
    truth = pa.struct([(key, pa.string()) for key in ("task", "form", "fact", "answer")])
    table = {
        "id": pa.array([f"{name}{i}" for i in range(len(rows))], pa.string()),
        "messages": pa.array([r["messages"] for r in rows], MESSAGES),
        "truth": pa.array([r["truth"] for r in rows], truth),
    }
    return TablePool(pa.table(table), "instruction")


def right(truth: Sequence[str], given: Sequence[str | None]) -> list[bool]:
    """Which answers are exactly right, white space apart.

    >>> right(["a1 b2", "tomo"], [" a1  b2", None])
    [True, False]
    """
    return [a is not None and a.split() == t.split() for t, a in zip(truth, given, strict=True)]
