"""Biographies told a known number of times amid junk: how many bits does a model take from them?"""

from __future__ import annotations

from collections.abc import Mapping
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
from tilth.models.knowledge import bits, ceiling
from tilth.probes._biography import ATTRIBUTES, TEMPLATES, People, draw, tell, truth_type

__all__ = ["KNOWN", "TAG", "KnowledgeBits", "spans"]

KNOWN: Final = ("pronoun", "birth_date", "birth_city", "university", "major", "employer")
"""What there is to know of a person; the work city is not counted, since the employer decides it."""
TAG: Final = "<|almanac|> "
"""The mark of the useful source, put before each of its texts when `tag` is set."""


class KnowledgeBits(Probe):
    """Useful people, each told `exposures` times in ever new words, and junk people told once or a few times.

    The share of the pool's texts that is junk is `junk_ratio`; junk is drawn from `junk_people` people whom nobody
    asks about, or from new ones each time. All is shuffled. Target and holdout tell every useful person once more, in
    words the pool need not have; their losses on the name and on the values give the bits held
    (`tilth.models.knowledge`): `spans` says which characters count, and what stands before a value there leaves
    nothing but the value to guess. Texts are in one order, with a pronoun from the second sentence on. Sources are
    ``almanac`` and ``junk``. The size is rounded to whole people.

    Truth: as in biographies, and ``useful``.

    The mark takes the pair (p1, p2) of a model: the mean over people of the loss of the name, and of the summed losses
    of the values, in nats. It is the bits held as a share of all there are: by heart is 1, and **chance**, even
    guesses, is 0; so is anything worse.

    Cost: about 25 microseconds a text. Trap: sum the losses of a value's tokens. And measure trials of a proof
    directly: the comparison with rivals first takes from the pool what the holdout repeats, the whole point here.
    Source: Physics of Language Models, part 3.3 (arXiv 2404.05405), whose runs have 100 or 1000 exposures and 7/8 junk.

    >>> from math import log
    >>> from tilth.core import Run
    >>> from tilth.models.knowledge import NAMES, VALUES
    >>> probe = KnowledgeBits(exposures=10, junk_ratio=0.5)
    >>> world = probe.build(100, Run())
    >>> world.goal.holdout.count, world.pool.shares("source")
    (5, {'almanac': 0.5, 'junk': 0.5})
    >>> by_heart, guesses = (log(5), 0.0), (log(NAMES), log(VALUES))
    >>> [round(probe.grade(world, losses), 6) for losses in (by_heart, guesses)]
    [1.0, 0.0]
    """

    paper: ClassVar[str] = "physics_of_language_models_2"

    exposures: int = Field(100, ge=1, le=10_000, description="texts of a useful person")
    junk_ratio: float = Field(0.0, ge=0, lt=1, description="share of texts that are junk (7/8 in the paper)")
    junk_people: int = Field(0, ge=0, description="people the junk is about; 0: a new one for each text")
    tag: bool = Field(False, description="put a mark before each text of the useful source")

    def build(self, size: int, run: Run) -> World:
        count = max(1, round(size * (1 - self.junk_ratio) / self.exposures))
        junk = round(count * self.exposures * self.junk_ratio / (1 - self.junk_ratio))
        others = min(self.junk_people or junk, junk)
        people = draw(count + others, run.rng("people"))
        rng = run.rng("pool")
        who = [*np.repeat(np.arange(count), self.exposures), *(count + np.arange(junk) % max(1, others))]
        rows = [self._text(people, int(p), int(p) < count, rng) for p in rng.permutation(np.array(who))]
        target, holdout = (
            _table([self._text(people, p, True, words, asked=True) for p in range(count)], part)
            for part in ("target", "holdout")
            for words in [run.rng(part)]
        )
        return World(_table(rows, "text"), Goal(target, holdout, Budget(len(rows), "records")))

    def _text(self, people: People, person: int, useful: bool, rng: np.random.Generator, asked: bool = False) -> Record:
        wording = {a: int(rng.integers(len(TEMPLATES[a]))) for a in ATTRIBUTES}
        if asked:  # the first pronoun must follow "that", where nothing else can stand
            second = ATTRIBUTES[1]
            fit = [i for i, text in enumerate(TEMPLATES[second]) if " that {who}" in text]
            wording[second] = fit[wording[second] % len(fit)]
        told = tell(people, person, wording, full_name=False)
        lead = TAG if self.tag and useful else ""
        places = {f"at_{name}": at + len(lead) for name, at in told.places.items()}
        truth = {**people.facts(person), **places, "useful": useful}
        return {"text": lead + told.text, "source": "almanac" if useful else "junk", "truth": truth}

    def grade(self, world: World, answer: Any) -> float:
        p1, p2 = (float(value) for value in answer)
        count = world.goal.holdout.count if world.goal else 0
        if not count or not np.isfinite([p1, p2]).all():
            raise DataError(f"knowledge_bits grades two finite losses on a world with a holdout. Got {answer!r}.")
        return float(np.clip(bits(p1, p2, count).total / ceiling(count), 0.0, 1.0))


def spans(truth: Mapping[str, Any]) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The characters of a holdout text that count, begin and end: those of the name; of the pronoun and each value."""
    found = {name: (truth[f"at_{name}"], truth[f"at_{name}"] + len(truth[name])) for name in ("name", *KNOWN)}
    return found.pop("name"), [*found.values()]


def _table(rows: list[Record], name: str) -> TablePool:
    truth = truth_type(useful=pa.bool_())
    types = [("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("truth", truth)]
    numbered = [{"id": f"{name}{i:08d}", **row} for i, row in enumerate(rows)]
    return TablePool(pa.Table.from_pylist(numbered, pa.schema(types)))
