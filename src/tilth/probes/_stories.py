"""A small world of people, places and things: what happens in it, what is then known, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

__all__ = ["EVENTS", "QUESTIONS", "Asked", "Story"]

PEOPLE: Final = {"Mary": "she", "John": "he", "Sandra": "she", "Daniel": "he", "Emma": "she", "Fred": "he"}
PLACES: Final = ("kitchen", "garden", "office", "hallway", "bathroom", "bedroom", "park", "cellar")
THINGS: Final = ("apple", "football", "milk", "lamp", "book", "key")
EVENTS: Final = ("move", "take", "drop", "give", "conjunction", "coreference", "negation", "indefinite")
QUESTIONS: Final = ("where_person", "where_object", "yes_no", "count", "list", "who_gave")
GOES: Final = ("went to", "moved to", "walked to", "travelled to")
TAKES: Final = ("took", "picked up", "grabbed", "got")
DROPS: Final = ("dropped", "put down", "left", "discarded")
GIVES: Final = ("gave", "handed", "passed")
THEN: Final = ("Then", "After that", "Afterwards")
NUMBERS: Final = ("none", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Whereabouts:
    """What is known of where someone is: one of `places`, or none of them; and the sentences that say so."""

    places: frozenset[str]
    excluded: bool
    because: tuple[int, ...]

    @property
    def sure(self) -> str | None:
        return next(iter(self.places)) if len(self.places) == 1 and not self.excluded else None


@dataclass(frozen=True)
class Asked:
    """A question, its answer and the numbers of the sentences from which it follows."""

    text: str
    answer: str
    support: tuple[int, ...]


@dataclass
class Story:
    """A story in the making: its sentences and all that follows from them."""

    rng: np.random.Generator
    number: int
    """How many things whoever is asked about shall have."""
    cast: list[str] = field(init=False)
    sentences: list[str] = field(default_factory=list)
    at: dict[str, Whereabouts] = field(default_factory=dict)
    holder: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Thing -> who has it, and the sentence that says how."""
    lies: dict[str, tuple[str | None, tuple[int, ...]]] = field(default_factory=dict)
    """Thing -> where it was dropped, if that is known, and the sentences that say so."""
    carried: set[str] = field(default_factory=set)
    """Who has had a thing, whether or not they still have it."""
    given: dict[tuple[str, str], tuple[str, int] | None] = field(default_factory=dict)
    """Thing and receiver -> who gave it, and the sentence; None when it was given twice."""
    last: tuple[tuple[str, ...], int] | None = None
    """Whom the last sentence moved, and the last sentence that called them by name."""

    def __post_init__(self) -> None:
        self.cast = sorted(str(p) for p in self.rng.choice([*PEOPLE], 4, replace=False))

    def one(self, words: Sequence[str]) -> str:
        return words[int(self.rng.integers(len(words)))]

    def happen(self, event: str) -> bool:
        """Add a sentence of this kind, if one can be true now."""
        done: bool = getattr(self, f"_{event}")()
        return done

    def _say(self, sentence: str) -> int:
        self.sentences.append(sentence)
        self.last = None
        return len(self.sentences) - 1

    def _arrive(self, people: Sequence[str], place: str, because: tuple[int, ...]) -> None:
        for person in people:
            self.at[person] = Whereabouts(frozenset({place}), False, because)

    def _elsewhere(self, people: Sequence[str]) -> str:
        """A place where none of them is: whoever moves, arrives somewhere else."""
        here = {self._sure(person) for person in people}
        return self.one([place for place in PLACES if place not in here])

    def _move(self) -> bool:
        person = self.one(self.cast)
        place = self._elsewhere([person])
        said = self._say(f"{person} {self.one(GOES)} the {place}.")
        self._arrive([person], place, (said,))
        self.last = (person,), said
        return True

    def _conjunction(self) -> bool:
        first, second = (str(p) for p in self.rng.choice(self.cast, 2, replace=False))
        place = self._elsewhere([first, second])
        said = self._say(f"{first} and {second} {self.one(GOES)} the {place}.")
        self._arrive([first, second], place, (said,))
        self.last = (first, second), said
        return True

    def _coreference(self) -> bool:
        """Only right after its antecedent moved, so that no other reading is possible."""
        if self.last is None:
            return False
        people, named = self.last
        pronoun = PEOPLE[people[0]] if len(people) == 1 else "they"
        place = self._elsewhere(people)
        said = self._say(f"{self.one(THEN)} {pronoun} {self.one(GOES)} the {place}.")
        self._arrive(people, place, (named, said))
        self.last = people, named
        return True

    def _negation(self) -> bool:
        person, place = self.one(self.cast), self.one(PLACES)
        said = self._say(f"{person} is not in the {place}.")
        self.at[person] = Whereabouts(frozenset({place}), True, (said,))
        return True

    def _indefinite(self) -> bool:
        person = self.one(self.cast)
        first, second = (str(p) for p in self.rng.choice(PLACES, 2, replace=False))
        said = self._say(f"{person} is either in the {first} or in the {second}.")
        self.at[person] = Whereabouts(frozenset({first, second}), False, (said,))
        return True

    def _sure(self, person: str) -> str | None:
        return self.at[person].sure if person in self.at else None

    def _take(self) -> bool:
        """A thing lies where it was dropped; taking it must not tell where anyone is."""
        person = self.one(self.cast)
        free = [
            t for t in THINGS if t not in self.holder and self.lies.get(t, (None, ()))[0] in (None, self._sure(person))
        ]
        free = [t for t in free if t not in self.lies or self.lies[t][0] is not None]
        if not free:
            return False
        thing = self.one(free)
        said = self._say(f"{person} {self.one(TAKES)} the {thing}.")
        self.lies.pop(thing, None)
        self.holder[thing] = person, said
        self.carried.add(person)
        return True

    def _drop(self) -> bool:
        if not self.holder:
            return False
        thing = self.one(sorted(self.holder))
        person, _ = self.holder.pop(thing)
        said = self._say(f"{person} {self.one(DROPS)} the {thing}.")
        place = self._sure(person)
        self.lies[thing] = place, (*self.at[person].because, said) if place else ()
        return True

    def _together(self, one: str, other: str) -> bool:
        if one not in self.at and other not in self.at:
            return True
        return self._sure(one) is not None and self._sure(one) == self._sure(other)

    def _give(self) -> bool:
        """Both are known to be at the same place, or nothing is known of either."""
        pairs = [
            (thing, giver, taker)
            for thing, (giver, _) in sorted(self.holder.items())
            for taker in self.cast
            if taker != giver and self._together(giver, taker)
        ]
        if not pairs:
            return False
        thing, giver, taker = pairs[int(self.rng.integers(len(pairs)))]
        said = self._say(f"{giver} {self.one(GIVES)} the {thing} to {taker}.")
        self.holder[thing] = taker, said
        self.carried.add(taker)
        self.given[thing, taker] = None if (thing, taker) in self.given else (giver, said)
        return True

    # ---- questions ---------------------------------------------------------------------------

    def ask(self, question: str) -> Asked | None:
        """A question of this kind that the story answers, or None."""
        found: Asked | None = getattr(self, f"_ask_{question}")()
        return found

    def _ask_where_person(self) -> Asked | None:
        known = [p for p in sorted(self.at) if self.at[p].sure]
        if not known:
            return None
        person = self.one(known)
        return Asked(f"Where is {person}?", str(self.at[person].sure), self.at[person].because)

    def _ask_where_object(self) -> Asked | None:
        known = {}
        for thing, (person, said) in self.holder.items():
            if place := self._sure(person):
                known[thing] = place, (*self.at[person].because, said)
        known |= {thing: (place, because) for thing, (place, because) in self.lies.items() if place}
        if not known:
            return None
        thing = self.one(sorted(known))
        return Asked(f"Where is the {thing}?", known[thing][0], tuple(sorted(set(known[thing][1]))))

    def _ask_yes_no(self) -> Asked | None:
        """All of yes, no and maybe that the story answers are equally likely."""
        options: dict[str, list[tuple[str, str]]] = {}
        for person, where in sorted(self.at.items()):
            for place in PLACES:
                if where.excluded:
                    answer = "no" if place in where.places else ""
                elif place not in where.places:
                    answer = "no"
                else:
                    answer = "yes" if where.sure else "maybe"
                options.setdefault(answer, []).append((person, place))
        options.pop("", None)
        if not options:
            return None
        answer = self.one(sorted(options))
        person, place = options[answer][int(self.rng.integers(len(options[answer])))]
        return Asked(f"Is {person} in the {place}?", answer, self.at[person].because)

    def _held(self, person: str) -> list[tuple[int, str]]:
        return sorted((said, thing) for thing, (who, said) in self.holder.items() if who == person)

    def _carrier(self) -> str | None:
        """Someone who has had something and now has as many things as are asked for."""
        fitting = [person for person in sorted(self.carried) if len(self._held(person)) == self.number]
        return self.one(fitting) if fitting else None

    def _ask_count(self) -> Asked | None:
        person = self._carrier()
        if person is None:
            return None
        held = self._held(person)
        return Asked(f"How many objects does {person} have?", NUMBERS[len(held)], tuple(said for said, _ in held))

    def _ask_list(self) -> Asked | None:
        person = self._carrier()
        if person is None:
            return None
        held = self._held(person)
        answer = ", ".join(sorted(thing for _, thing in held)) or "nothing"
        return Asked(f"What does {person} have?", answer, tuple(said for said, _ in held))

    def _ask_who_gave(self) -> Asked | None:
        known = sorted((key, value) for key, value in self.given.items() if value)
        if not known:
            return None
        (thing, taker), (giver, said) = known[int(self.rng.integers(len(known)))]
        return Asked(f"Who gave the {thing} to {taker}?", giver, (said,))
