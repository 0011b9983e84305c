"""Biographies of invented people, and questions about them: when can a fact that was read be asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core.goal import Budget, Goal
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.probes._biography import ATTRIBUTES, QUESTIONS, TEMPLATES, People, draw, tell, truth_type
from tilth.probes._questions import question, questions, right

__all__ = ["Biographies", "marks"]

QA_TRUTH = pa.struct(
    [("person", pa.int32()), ("attribute", pa.string()), ("answer", pa.string()), ("celebrity", pa.bool_())]
)


class Biographies(Probe):
    """Texts about people and, by people, the questions of a training half and of a test half.

    Every person has a unique name and six attributes (the work city follows from the employer). The pool's texts tell
    them in `rewrites` wordings, in one global random order, so that the texts of a person rarely share a training
    window: of the windows of 512 tokens about 0.5 % do with 4,000 people, and the fewer the more there are.
    ``more["qa_train"]`` (also the goal's target) and ``more["qa_test"]`` (also the holdout) are instruction records,
    six questions a person. With `qa_share`, the training half's questions are in the pool as texts too, each as often
    as that takes. `size` counts biographies; questions in the pool come on top.

    Truth of a biography: ``person``, ``name``, ``pronoun``, the attributes' values, ``rewrite``, ``celebrity``, and
    per attribute ``at_<attribute>``, the character at which its value begins (also ``at_name`` and ``at_pronoun``, the
    first of each). A linear probe that predicts the value reads the token just before that place; one that asks what a
    name alone brings back reads ``name``. In the pool's question texts the rewrite and the places are null. Truth of a
    question: ``person``, ``attribute``, ``answer``, ``celebrity``.

    The mark takes the answers to the holdout's questions, a list of strings in their order: the share that is exactly
    right. **Chance**: guessing any value that there is gets 0.45 %; leaving all blank gets 0. `marks` gives it per
    attribute: birth date comes first in every text that is not permuted, so look at it apart.

    Cost: about 35 microseconds a text. Trap: compare settings at equal tokens, not equal epochs, since five rewrites
    are five times the text; and leave the order shuffled when packing, or the training loss looks perfect and no
    question is answered. Source: Physics of Language Models, part 3.1 (arXiv 2309.14316); the words are our own.

    >>> from tilth.core import Run
    >>> world = Biographies().build(50, Run())
    >>> world.pool.count, world.more["qa_train"].count, world.more["qa_test"].count
    (50, 30, 30)
    >>> row = world.pool.table(["text", "truth"]).to_pylist()[0]
    >>> row["text"][row["truth"]["at_major"] :].startswith(row["truth"]["major"])
    True
    >>> right = world.more["qa_test"].column("truth.answer").to_pylist()
    >>> Biographies().grade(world, right), Biographies().grade(world, [""] * 30)
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "physics_of_language_models"

    rewrites: int = Field(5, ge=1, le=40, description="texts of a person, each in other words; 1 is the paper's single")
    permute: bool = Field(True, description="each text has its sentences in an order of its own")
    full_name: bool = Field(True, description="the name in every sentence; else a pronoun in all but the first")
    celebrity: float = Field(0.0, ge=0, le=1, description="share of people who are celebrities")
    celebrity_rewrites: int = Field(5, ge=1, le=40, description="texts of a celebrity")
    qa_share: float = Field(
        0.0, ge=0, le=0.95, description="share of the pool's words in training questions (0.8 there)"
    )

    def build(self, size: int, run: Run) -> World:
        mean = self.celebrity * self.celebrity_rewrites + (1 - self.celebrity) * self.rewrites
        count = max(4, round(size / mean))
        people = draw(count, run.rng("people"))
        rank = run.rng("roles").permutation(count)
        famous, train = rank < round(self.celebrity * count), rank % 2 == 0
        texts = self._biographies(people, famous, run.rng("texts"))
        more = {}
        for half, chosen in (("qa_train", train), ("qa_test", ~train)):
            rows = [row for p in np.flatnonzero(chosen).tolist() for row in _questions(people, p, bool(famous[p]))]
            more[half] = questions(rows, QA_TRUTH, half)
        texts += self._mixed_in(people, texts, more["qa_train"], run.rng("mixed"))
        texts = [texts[i] for i in run.rng("order").permutation(len(texts))]
        for i, row in enumerate(texts):
            row["id"] = f"text{i:08d}"
        truth = truth_type(rewrite=pa.int32(), celebrity=pa.bool_())
        types = [("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("truth", truth)]
        pool = TablePool(pa.Table.from_pylist(texts, pa.schema(types)))
        return World(pool, Goal(more["qa_train"], more["qa_test"], Budget(len(texts), "records")), more)

    def _biographies(self, people: People, famous: npt.NDArray[np.bool_], rng: np.random.Generator) -> list[Record]:
        rows = []
        for person, name in enumerate(people.names):
            times = self.celebrity_rewrites if famous[person] else self.rewrites
            wordings = {a: rng.permutation(len(TEMPLATES[a]))[:times] for a in ATTRIBUTES}
            facts = {**people.facts(person), "name": name, "celebrity": bool(famous[person])}
            for i in range(times):
                order = [ATTRIBUTES[j] for j in rng.permutation(len(ATTRIBUTES))] if self.permute else ATTRIBUTES
                wording = {a: int(w[i]) for a, w in wordings.items()}
                told = tell(people, person, wording, order, self.full_name)
                truth = {**facts, **{f"at_{a}": at for a, at in told.places.items()}, "rewrite": i}
                rows.append({"text": told.text, "source": "biography", "truth": truth})
        return rows

    def _mixed_in(
        self, people: People, texts: Sequence[Record], asked_of: TablePool, rng: np.random.Generator
    ) -> list[Record]:
        """Training questions as texts until they are `qa_share` of all words, each about equally often."""
        made: list[Record] = []
        wanted = sum(len(row["text"].split()) for row in texts) * self.qa_share / (1 - self.qa_share)
        rows = asked_of.table(["messages", "truth"]).to_pylist() if wanted else []
        while wanted > 0:
            for i in rng.permutation(len(rows)).tolist():
                asked, value = (turn["content"] for turn in rows[i]["messages"])
                text = f"Question: {asked} Answer: {value}"
                wanted -= len(text.split())
                truth = {**people.facts(rows[i]["truth"]["person"]), "celebrity": rows[i]["truth"]["celebrity"]}
                made.append({"text": text, "source": "qa", "truth": truth})
                if wanted <= 0:
                    break
        return made

    def grade(self, world: World, answer: Any) -> float:
        return marks(world, answer)["all"]


def marks(world: World, answers: Sequence[str | None]) -> dict[str, float]:
    """The share of the holdout's questions answered exactly, per attribute and for ``all``."""
    asked = world.more["qa_test"]
    hits = right(asked, answers, "biographies")
    about = np.array(asked.column("truth.attribute").to_pylist())
    return {"all": float(hits.mean()), **{a: float(hits[about == a].mean()) for a in ATTRIBUTES}}


def _questions(people: People, person: int, famous: bool) -> list[Record]:
    rows = []
    for attribute in ATTRIBUTES:
        asked, value = QUESTIONS[attribute].format(name=people.names[person]), people.values[attribute][person]
        truth = {"person": person, "attribute": attribute, "answer": value, "celebrity": famous}
        rows.append(question(asked, value, "qa", truth))
    return rows
