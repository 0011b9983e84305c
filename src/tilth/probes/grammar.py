"""A fragment of English whose training data fits two rules, one about words in a row and one about structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Pool, Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._tasks import Task, answers_of, world

__all__ = ["Grammar", "rules"]

NOUNS: Final = ("newt", "yak", "walrus", "zebra", "raven", "salamander", "orangutan", "quail", "vulture", "xylophone")
PLURALS: Final = {"walrus": "walruses"}
TRANSITIVE: Final = ("admire", "amuse", "annoy", "applaud", "comfort", "confuse", "entertain", "impress", "remember")
INTRANSITIVE: Final = ("giggle", "laugh", "smile", "wait", "yell", "dance", "listen", "mumble")
PLACES: Final = ("near", "behind", "by", "above", "below", "with")
ADJECTIVES: Final = ("old", "shy", "tall", "quiet", "clever", "green")
DETERMINERS: Final = ("the", "some", "my", "your", "our", "her")
AUXILIARIES: Final = {True: ("do", "don't"), False: ("does", "doesn't")}
TRUTH: Final = pa.struct(
    [
        ("rule", pa.string()),
        ("main", pa.string()),
        ("linear", pa.string()),
        ("place", pa.int32()),
        ("center", pa.bool_()),
        ("tree", pa.string()),
        ("copy", pa.int32()),
    ]
)

Tree = tuple[Any, ...]
"""A sentence is (subject, rest). A noun phrase is (adjective?,) or (adjective?, kind, inner): ``pp``, a place inside;
``who``, a clause whose subject is the noun, its rest inside; ``whom``, one whose object is the noun, its subject
inside. A rest is () after an intransitive verb, ("pp", place) or ("np", object)."""
Shape = Callable[[np.random.Generator], Tree]


@dataclass(frozen=True)
class _Word:
    """A word in a sentence; of nouns the number, of verbs and auxiliaries that of their subject."""

    text: str
    role: Literal["noun", "verb", "auxiliary", ""] = ""
    plural: bool = False
    main: bool = False


class Grammar(Probe):
    """Training that fits two rules, and a holdout that only one of them gets right: which did the learner take?

    The task ``question`` turns a statement into a question: the auxiliary that goes to the front is the main clause's
    (the rule about structure) or the first one (the rule about words). In training no question has a clause inside
    its subject, so both rules agree; in the holdout every one does, and the two auxiliaries differ. The other half of
    the training only repeats statements; `p_center` of these have a clause inside the subject, which is the indirect
    evidence for structure whose share and variety decide how learners generalise. The task ``tense`` puts past into
    present: the verb agrees with its subject or with the nearest noun before it, and in training all of these agree.

    Takes answers to the holdout, a list of sentences; the mark is the share in which the decisive word is the one of
    the rule about structure. **Chance**: 0.25 for a random auxiliary (``question``), 0.5 for a random form
    (``tense``); the rule about words gets 0. `rules` gives the shares of both. The truth: ``truth.rule`` (``both``
    agree, ``main`` only, or ``copy``), ``truth.main`` and ``truth.linear``, the decisive word by either rule,
    ``truth.place``, where it stands in the answer, ``truth.center`` (something stands inside the subject),
    ``truth.tree``, ``truth.copy``. Cost: 0.1 ms a record; depth 2 has some thousand trees, depth 3 ten times as many.
    Traps: learners differ from seed to seed most where the evidence is mixed, so one seed says nothing; too few steps
    look like the rule about words. Source: Qin et al. 2024 (arXiv 2412.04619) and, for the tasks, McCoy et al. 2020
    (arXiv 2001.03632); vocabulary and trees are our own.

    >>> from tilth.core import Run
    >>> probe = Grammar(p_center=0.5)
    >>> world = probe.build(200, Run())
    >>> [(r["main"], r["linear"]) for r in world.goal.holdout.column("truth").to_pylist()][:2]
    [('does', 'do'), ("don't", 'do')]
    >>> sentences = [m[0]["content"] for m in world.goal.holdout.column("messages").to_pylist()]
    >>> first = [next(w for w in s.split() if w in ("do", "does", "don't", "doesn't")) for s in sentences]
    >>> probe.grade(world, first), probe.grade(world, world.goal.holdout.column("truth.answer"))
    (0.0, 1.0)
    """

    paper: ClassVar[str] = "sometimes_i_am_a_tree"

    task: Literal["question", "tense"] = Field("question", description="form questions, or inflect for tense")
    p_center: float = Field(
        0.2, ge=0, le=1, description="share of the copied sentences with something inside the subject"
    )
    copied: float = Field(0.5, ge=0, lt=1, description="share of the records that only repeat the sentence")
    trees: int = Field(0, ge=0, description="distinct trees of either shape in training; 0: no limit")
    unique: float = Field(1.0, gt=0, le=1, description="distinct records per record; below 1 records repeat")
    depth: int = Field(2, ge=1, le=4, description="how deep modifiers nest")
    items: int = Field(100, ge=1, description="sentences of target and holdout each")

    def build(self, size: int, run: Run) -> World:
        seen: set[str] = set()
        rng = run.rng("holdout")
        holdout = [self._new(partial(self._tree, True), "main", seen, rng) for _ in range(self.items)]
        rng = run.rng("trees")
        shapes = {center: self._shapes(center, rng) for center in (False, True)}
        target = self._mixed(self.items, 1.0, shapes, seen, run.rng("target"))
        pool = self._mixed(size, self.unique, shapes, seen, run.rng("pool"))
        return world({"pool": pool, "target": target, "holdout": holdout}, TRUTH)

    def _mixed(
        self,
        count: int,
        unique: float,
        shapes: dict[bool, Shape],
        seen: set[str],
        rng: np.random.Generator,
    ) -> list[Task]:
        """Copies and ambiguous sentences as training has them, in random order."""
        copies = round(self.copied * count)
        inside = round(self.p_center * copies)
        rest = count - copies
        # Both rules agree on a question only where nothing is inside the subject; on tense, also where numbers agree.
        split = rest // 2 if self.task == "tense" else 0
        groups = [("copy", True, inside), ("copy", False, copies - inside), ("both", True, split)]
        tasks: list[Task] = []
        for rule, center, number in [*groups, ("both", False, rest - split)]:
            distinct = min(number, max(1, round(unique * number)))
            made = [self._new(shapes[center], rule, seen, rng) for _ in range(distinct)]
            tasks += [
                Task(t.prompt, t.answer, t.source, {**t.truth, "copy": i // distinct})
                for i, t in ((i, made[i % distinct]) for i in range(number))
            ]
        return [tasks[i] for i in rng.permutation(len(tasks))]

    def _shapes(self, center: bool, rng: np.random.Generator) -> Shape:
        """A way to draw trees: any there are, or one of `trees` that were drawn once."""
        if not self.trees:
            return partial(self._tree, center)
        found: dict[Tree, None] = {}
        known = 0
        while known < 2000:  # so many trees in a row that were there already: there are hardly any more
            tree = self._tree(center, rng)
            known = known + 1 if tree in found else 0
            found[tree] = None
            if len(found) == self.trees:
                turns = cycle(found)  # in turn, so that every tree is used as often as any other
                return lambda _: next(turns)
        raise DataError(
            f"grammar found {len(found)} of the {self.trees} distinct trees asked for at depth {self.depth}: "
            f"raise `depth` or lower `trees`."
        )

    def _tree(self, center: bool, rng: np.random.Generator) -> Tree:
        """A sentence with something inside the subject, or not; a mere place counts only where tense is asked for."""
        adjective = _coin(rng, 0.3)
        if center:
            kinds = ("who", "whom") if self.task == "question" else ("pp", "who", "whom")
            return self._modified(adjective, str(rng.choice(kinds)), self.depth, rng), self._rest(self.depth, rng)
        near = self.task == "question" and _coin(rng, 0.4)
        subject = (adjective, "pp", (_coin(rng, 0.3),)) if near else (adjective,)
        return subject, self._rest(self.depth, rng)

    def _noun(self, depth: int, rng: np.random.Generator) -> Tree:
        if depth == 0 or _coin(rng, 0.4):
            return (_coin(rng, 0.3),)
        return self._modified(_coin(rng, 0.3), str(rng.choice(["pp", "who", "whom"])), depth, rng)

    def _modified(self, adjective: bool, kind: str, depth: int, rng: np.random.Generator) -> Tree:
        inner = self._rest(depth - 1, rng) if kind == "who" else self._noun(depth - 1, rng)
        return adjective, kind, inner

    def _rest(self, depth: int, rng: np.random.Generator) -> Tree:
        kind = str(rng.choice(["", "pp", "np"], p=[0.25, 0.15, 0.6]))
        return (kind, self._noun(depth, rng)) if kind else ()

    def _new(self, shape: Shape, rule: str, seen: set[str], rng: np.random.Generator) -> Task:
        """A sentence of this shape that no one has seen and that the rules agree on, or do not, as asked."""
        for _ in range(2000):
            tree = shape(rng)
            words = self._words(tree, rng)
            sentence = " ".join(w.text for w in words)
            if sentence not in seen and (rule == "copy" or self._fits(words, rule)):
                seen.add(sentence)
                return self._task(tree, words, rule)
        raise DataError(
            f"grammar found no new sentence after {len(seen)}: raise `depth` or `trees`, or lower `unique` or the size."
        )

    def _words(self, tree: Tree, rng: np.random.Generator) -> list[_Word]:
        subject, rest = tree
        plural = _coin(rng)
        return [*self._phrase(subject, plural, rng), *self._predicate(rest, plural, rng, main=True)]

    def _phrase(self, tree: Tree, plural: bool, rng: np.random.Generator) -> list[_Word]:
        noun = str(rng.choice(NOUNS))
        words = [_Word(str(rng.choice(DETERMINERS))), *([_Word(str(rng.choice(ADJECTIVES)))] if tree[0] else [])]
        words.append(_Word(PLURALS.get(noun, noun + "s") if plural else noun, "noun", plural))
        if len(tree) == 1:
            return words
        _, kind, inner = tree
        if kind == "pp":
            return [*words, _Word(str(rng.choice(PLACES))), *self._phrase(inner, _coin(rng), rng)]
        if kind == "who":
            return [*words, _Word("that"), *self._predicate(inner, plural, rng)]
        other = _coin(rng)
        return [*words, _Word("that"), *self._phrase(inner, other, rng), *self._verb(TRANSITIVE, other, rng)]

    def _predicate(self, rest: Tree, plural: bool, rng: np.random.Generator, main: bool = False) -> list[_Word]:
        words = self._verb(TRANSITIVE if rest and rest[0] == "np" else INTRANSITIVE, plural, rng, main)
        if not rest:
            return words
        place = [_Word(str(rng.choice(PLACES)))] if rest[0] == "pp" else []
        return [*words, *place, *self._phrase(rest[1], _coin(rng), rng)]

    def _verb(self, verbs: Sequence[str], plural: bool, rng: np.random.Generator, main: bool = False) -> list[_Word]:
        verb = str(rng.choice(verbs))
        if self.task == "tense":
            return [_Word(verb + ("d" if verb.endswith("e") else "ed"), "verb", plural, main)]
        auxiliary = AUXILIARIES[plural][int(rng.integers(2))]
        return [_Word(auxiliary, "auxiliary", plural, main), _Word(verb)]

    def _fits(self, words: Sequence[_Word], rule: str) -> bool:
        main = next(i for i, w in enumerate(words) if w.main)
        if self.task == "question":
            first = next(w for w in words if w.role == "auxiliary")
            return (first is words[main]) if rule == "both" else first.text != words[main].text
        apart = [i for i, w in enumerate(words) if w.role == "verb" and _nearest(words, i) != w.plural]
        return apart == ([] if rule == "both" else [main])

    def _task(self, tree: Tree, words: Sequence[_Word], rule: str) -> Task:
        main = next(i for i, w in enumerate(words) if w.main)
        sentence = [w.text for w in words]
        if self.task == "question":
            mark = "DECL" if rule == "copy" else "QUEST"
            moved = [sentence[main], *sentence[:main], *sentence[main + 1 :], "?"]
            answer, place = ([*sentence, "."], main) if rule == "copy" else (moved, 0)
            decisive = sentence[main], next(w.text for w in words if w.role == "auxiliary")
        else:
            mark = "PAST" if rule == "copy" else "PRESENT"
            inflected = [_present(w.text, w.plural) if w.role == "verb" else w.text for w in words]
            answer, place = [*(sentence if rule == "copy" else inflected), "."], main
            decisive = inflected[main], _present(sentence[main], _nearest(words, main))
        if rule == "copy":
            decisive = sentence[main], sentence[main]
        truth = {"rule": rule, "main": decisive[0], "linear": decisive[1], "place": place, "copy": 0}
        inside = tree[0][1:2]
        truth |= {"center": bool(inside) and (self.task == "tense" or inside != ("pp",)), "tree": repr(tree)}
        return Task(" ".join([*sentence, ".", mark]), " ".join(answer), "copy" if rule == "copy" else self.task, truth)

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("grammar grades answers to the holdout of its own world; this world has none.")
        return rules(world.goal.holdout, answer)["main"]


def rules(pool: Pool, answer: Any) -> dict[str, float]:
    """Share of the answers whose decisive word follows the rule about structure, the one about words, and neither."""
    counts = {"main": 0, "linear": 0, "neither": 0}
    rows = pool.column("truth").to_pylist()
    for row, given in zip(rows, answers_of(answer, pool, "grammar"), strict=True):
        words = given.split()
        word = words[row["place"]] if row["place"] < len(words) else ""
        counts["main" if word == row["main"] else "linear" if word == row["linear"] else "neither"] += 1
    return {name: count / max(1, len(rows)) for name, count in counts.items()}


def _coin(rng: np.random.Generator, share: float = 0.5) -> bool:
    return bool(rng.random() < share)


def _nearest(words: Sequence[_Word], place: int) -> bool:
    """Whether the nearest noun before this place is plural."""
    return next(w.plural for w in reversed(words[:place]) if w.role == "noun")


def _present(past: str, plural: bool) -> str:
    base = next(v for v in (*TRANSITIVE, *INTRANSITIVE) if past in (v + "d", v + "ed"))
    ending = "es" if base.endswith("ss") else "s"
    return base if plural else base + ending
