"""Stories of a simulated world and questions about them, in combinations that training has or has not."""

from __future__ import annotations

from itertools import combinations
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._stories import EVENTS, QUESTIONS, Asked, Story
from tilth.probes._tasks import Task, exact, world

__all__ = ["HELD_OUT", "TRAIN", "DynaBabi"]

Combination = tuple[tuple[str, ...], str]
"""The kinds of event in a story, and the kind of question asked about it."""

TRAIN: Final[tuple[Combination, ...]] = (
    (("move",), "where_person"),
    (("move", "take", "drop"), "where_object"),
    (("move", "take", "give"), "who_gave"),
    (("move",), "yes_no"),
    (("move", "take", "drop", "give"), "count"),
    (("move", "take", "drop"), "list"),
    (("move", "negation"), "yes_no"),
    (("move", "indefinite"), "yes_no"),
    (("move", "coreference"), "where_person"),
    (("conjunction",), "where_person"),
    (("conjunction", "coreference"), "where_person"),
)
"""Combinations of the original tasks: each isolates one difficulty."""

HELD_OUT: Final[tuple[Combination, ...]] = (
    (("move", "take", "drop", "coreference"), "where_object"),
    (("move", "take", "drop", "conjunction"), "where_object"),
    (("move", "take", "give"), "where_object"),
    (("move", "take", "drop", "give", "conjunction"), "where_object"),
    (("move", "conjunction", "coreference"), "yes_no"),
    (("move", "negation", "indefinite"), "yes_no"),
    (("move", "take", "give", "conjunction"), "list"),
    (("move", "take", "drop", "negation"), "where_object"),
    (EVENTS, "where_person"),
    (EVENTS, "where_object"),
    (EVENTS, "yes_no"),
    (EVENTS, "count"),
    (EVENTS, "list"),
    (EVENTS, "who_gave"),
)
"""Combinations of the same events and questions that training never shows together."""

THINGS_HELD: Final = (0.3, 0.3, 0.25, 0.15)
"""How often whoever is asked about has no thing, one, two or three."""

TRUTH: Final = pa.struct(
    [
        ("events", pa.string()),
        ("question", pa.string()),
        ("support", pa.list_(pa.int32())),
        ("facts", pa.int32()),
        ("diverse", pa.bool_()),
    ]
)


class DynaBabi(Probe):
    """Stories and questions; does who answers them for known combinations of events answer for new ones?

    People move, take, drop and give; sentences name two people, refer back (``Then she went``), deny, or leave open. A
    story shows every kind of event of its combination and is asked one question. The pool has the combinations of the
    classical tasks, equally often; the holdout has others of the same events and questions, up to everything at once.
    Larger worlds are more of the same; `diverse` instead turns a share of the pool into random further combinations
    (none of the holdout's), which is the comparison the paper makes. The target is like the pool without these.

    Takes answers to the holdout, a list of strings; the mark is exact match. **Chance**: the commonest answer to each
    kind of question gets 0.25, and so does the place mentioned last. The truth: ``truth.answer``, ``truth.events``,
    ``truth.question``, ``truth.support`` (numbers of the sentences, from 0, from which the answer follows; empty for
    nothing and none), ``truth.facts`` (sentences of the story) and ``truth.diverse``. Cost: 0.3 to 1 ms a record.
    Traps: a later sentence overrides an earlier one about the same person; without a place for both, nothing is said
    about where a gift happened. Source: Tamari et al. 2022 (Dyna-bAbI) after Weston et al. 2015 (arXiv 1502.05698);
    the simulator, its wording and the choice of combinations are our own.

    >>> from tilth.core import Run
    >>> probe = DynaBabi()
    >>> world = probe.build(110, Run())
    >>> print(str(world.pool.column("messages")[0][0]["content"]).replace(". ", ".\\n"))
    Daniel moved to the office.
    Fred grabbed the key.
    Fred travelled to the park.
    John travelled to the bathroom.
    Mary walked to the kitchen.
    Mary went to the hallway.
    Mary moved to the garden.
    Fred left the key.
    Mary grabbed the book.
    Where is the book?
    >>> asked = world.goal.holdout
    >>> known = set(world.pool.column("source").to_pylist())
    >>> probe.grade(world, asked.column("truth.answer")), known & set(asked.column("source").to_pylist())
    (1.0, set())
    """

    paper: ClassVar[str] = "dynababi"

    facts: int = Field(
        6, ge=2, le=60, description="sentences of a story, at least; one per kind of event where it has more"
    )
    spread: int = Field(4, ge=0, le=60, description="stories have up to this many sentences more")
    diverse: float = Field(0.0, ge=0, le=1, description="share of the pool that shows random further combinations")
    items: int = Field(140, ge=1, description="stories of target and holdout each")

    def build(self, size: int, run: Run) -> World:
        seen: set[str] = set()
        more = [c for c in _every() if c not in HELD_OUT]
        parts = {}
        for name, count, share in (
            ("holdout", self.items, 0.0),
            ("target", self.items, 0.0),
            ("pool", size, self.diverse),
        ):
            rng = run.rng(name)
            base = HELD_OUT if name == "holdout" else TRAIN
            further = round(share * count)
            tasks = [self._task(base[i % len(base)], False, seen, rng) for i in range(count - further)]
            tasks += [self._task(more[int(rng.integers(len(more)))], True, seen, rng) for _ in range(further)]
            parts[name] = [tasks[i] for i in rng.permutation(len(tasks))]
        return world(parts, TRUTH)

    def _task(self, combination: Combination, diverse: bool, seen: set[str], rng: np.random.Generator) -> Task:
        events, question = combination
        number = 0
        for attempt in range(2000):
            if attempt % 50 == 0:  # drawn before the story: left to chance it would nearly always be none or one
                number = int(rng.choice(len(THINGS_HELD), p=THINGS_HELD))
            story, asked = self._story(events, question, number, rng)
            text = " ".join(story.sentences)
            if asked is None or text in seen:
                continue
            seen.add(text)
            truth: dict[str, Any] = {"events": "+".join(events), "question": question, "support": list(asked.support)}
            truth |= {"facts": len(story.sentences), "diverse": diverse}
            return Task(f"{text}\n{asked.text}", asked.answer, f"{question}:{'+'.join(events)}", truth)
        raise DataError(
            f"dyna_babi found no new story with {', '.join(events)} that answers {question}: raise `facts` or `spread`."
        )

    def _story(
        self, events: tuple[str, ...], question: str, number: int, rng: np.random.Generator
    ) -> tuple[Story, Asked | None]:
        """A story in which everything happens that should, in an order in which it can; no question if none fits."""
        story = Story(rng, number)
        count = max(self.facts, len(events) + 1) + int(rng.integers(self.spread + 1))
        often = [*events, *(["take"] * len(events) if question in ("count", "list") else [])]
        missing = [*events]
        for _ in range(50 * count):
            left = count - len(story.sentences)
            if left == 0:
                return story, story.ask(question)
            choice = missing if left <= len(missing) else often
            event = choice[int(rng.integers(len(choice)))]
            if story.happen(event) and event in missing:
                missing.remove(event)
        return story, None

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("dyna_babi grades answers to the holdout of its own world; this world has none.")
        return exact(world.goal.holdout, answer, self.name())


def _every() -> list[Combination]:
    """All combinations there can be: people must get to places; what is dropped or given must have been taken."""
    found = []
    for count in range(1, len(EVENTS) + 1):
        for events in combinations(EVENTS, count):
            have = set(events)
            if not have & {"move", "conjunction"} or (have & {"drop", "give"} and "take" not in have):
                continue
            for question in QUESTIONS:
                needs = {"where_person": set(), "yes_no": set(), "who_gave": {"give"}}.get(question, {"take"})
                if needs <= have:
                    found.append((events, question))
    return found
