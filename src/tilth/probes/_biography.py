"""Invented people and the sentences that tell of them, for the probes about knowledge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pyarrow as pa

__all__ = ["ATTRIBUTES", "QUESTIONS", "TEMPLATES", "VALUES", "People", "Told", "draw", "tell", "truth_type"]

ATTRIBUTES: Final = ("birth_date", "birth_city", "university", "major", "employer", "work_city")
"""The six attributes in the order of a text that is not permuted."""


def _joined(*parts: str, join: str = "") -> list[str]:
    return [join.join(words) for words in product(*(part.split() for part in parts))]


_MONTHS: Final = _joined("January February March April May June July August September October November December")
_FIRST: Final = _joined(
    "Al Bren Cor Dar El Fen Gar Hal Is Jor Kel Lor Mar Nor Or Pel Quin Ros Tam Ver",
    "a an bert da dine el eth ia ic ine is lan len mund na o ren son ta wyn",
)
_MIDDLE: Final = _joined(
    "Ab Bar Cath Dun Ed Far Gil Hob Ing Jas Kit Lav Mil Ned Ox Pim Rud Sel Tul Wil",
    "ard by den ette fred gar hart ian kin low mere ney ola per rick sey ton ula wen yra",
)
_LAST: Final = _joined(
    "Ash Beck Birch Black Brook Clay Cold Crow Dale Elm Fair Fox Glen Gold Green Hawk Hazel Heath High Holm "
    "Iron Lake Lang Long Marsh Moor North Oak Pike Raven Reed Rock Sand Silver Stone Swan Thorn West White Wood",
    "bourne burn cliff combe cote croft den ers field ford gate ham house hurst ing leigh lock man mont shaw stead "
    "ton ward well worth",
)
_CITIES: Final = _joined(
    "Amber Bay Cedar Dove Eagle Falcon Grand Harbor Ivory Juniper Kings Lime Maple Otter Pine Quarry River Spring "
    "Timber Willow",
    "bridge bury crest dam fort grove mouth port vale ville",
)
_SCHOOLS: Final = _joined(
    "Aldric Bertram Calla Dorian Edda Fulbert Gisela Hadrian Imogen Jolanda Konrad Lucan Melchior Nestor Odette "
    "Prosper Quentin Rowena Severin Tiberia",
    "Barton Coventry Dexter Everett Fairfax",
    join=" ",
)
_UNIVERSITIES: Final = [f"{name} {kind}" for name in _SCHOOLS for kind in ("University", "College", "Institute")]
_MAJORS: Final = _joined(
    "Applied Classical Comparative Computational Theoretical",
    "Acoustics Anatomy Archaeology Astronomy Biology Botany Chemistry Dance Ecology Economics Geology Geometry History "
    "Hydraulics Law Linguistics Literature Logic Mechanics Music",
    join=" ",
)
_EMPLOYERS: Final = _joined(
    "Acro Beta Cirro Delta Ergo Ferro Giga Helio Indi Jovi Kilo Luma Micro Nova Omni Pyro Quanta Rhodo Strato Terra "
    "Ultra Vita",
    "Foods Freight Glass Labs Mills Motors Optics Paper Press Steel Tools Works",
    join=" ",
)[:263]
VALUES: Final[Mapping[str, Sequence[str]]] = {
    "birth_date": [f"{m} {d}, {y}" for m in _MONTHS for d in range(1, 29) for y in range(1900, 2100)],
    "birth_city": _CITIES,
    "university": _UNIVERSITIES,
    "major": _MAJORS,
    "employer": _EMPLOYERS,
    "work_city": _CITIES,
}
"""Every value an attribute may have: 12 * 28 * 200 dates, 200 cities, 300 universities, 100 majors, 263 employers."""

QUESTIONS: Final[Mapping[str, str]] = {
    "birth_date": "On which day was {name} born?",
    "birth_city": "In which city was {name} born?",
    "university": "At which university did {name} study?",
    "major": "Which subject did {name} study?",
    "employer": "Which company does {name} work for?",
    "work_city": "In which city does {name} work?",
}

# {Who}, {who}, {whom}, {Whose} and {whose} are the name or a pronoun, {x} the value; [a|b] is a or b. The person comes
# before the value, and what stands before a value stands before nothing else: so a reader who knows all templates and
# the person has nothing left to guess but the value.
_GRAMMAR: Final[Mapping[str, Sequence[str]]] = {
    "birth_date": (
        "{Who} [was born|came into the world|first saw daylight|entered this life] on {x}[| at dawn| before noon].",
        "{Whose} [birthday|date of birth|day of birth|first day] [is always|is recorded as|is given as] {x}.",
        "[Records show|Family papers say|It is known|The register states] that {who} [was born|arrived|came] on {x}.",
        "[Every|Each] year {who} [turns a year older|has a cake baked|gets cards] in memory of {x}.",
        "[The calendar|A certificate|An old letter] [gives|names|lists] {whose} first day as {x}.",
    ),
    "birth_city": (
        "{Who} [was born|came into the world|first saw daylight|entered this life] in {x}[| long ago| one cold day].",
        "{Whose} [birthplace|native city|place of birth|first home] [was|is called|is said to be] {x}.",
        "[Records show|Family papers say|It is known|The register states] that {who} [comes from|hails from] {x}.",
        "[Relatives|Friends|Old letters] [agree|confirm] that {who} [began life|took a first breath] in {x}.",
        "[A plaque|A family tree|A parish book] [notes|lists|records] {whose} birth in {x}.",
    ),
    "university": (
        "{Who} [was educated|took a degree|was a student|spent some years] at {x}[| with pleasure| with success].",
        "{Whose} [university|alma mater|place of study|school] [was|is called|is known to be] {x}.",
        "[Records show|Old classmates say|It is known|The yearbook states] that {who} [graduated from|attended] {x}.",
        "[Teachers|Professors|Lecturers] [guided|instructed|mentored] {whom} at {x}.",
        "[After school|Later] {who} [enrolled at|went to] {x}.",
        "[A diploma|A certificate|A photograph] [shows|proves] that {who} studied at {x}.",
    ),
    "major": (
        "{Who} [majored in|took courses in|specialised in|wrote a thesis in] {x}[| with pleasure| with success].",
        "{Whose} [subject|field of study|major|discipline] [was|is called|is known to be] {x}.",
        "[Records show|Old classmates say|It is known|The yearbook states] that {who} [chose|read] {x}.",
        "[Lectures|Seminars|Books] [interested|fascinated|occupied] {whom} when the topic was {x}.",
        "[As a student|Later] {who} [concentrated on|was devoted to] {x}.",
        "[A diploma|A certificate|A transcript] [shows|proves] that {who} studied the subject {x}.",
    ),
    "employer": (
        "{Who} [works for|is employed by|has a post with|earns a living with] {x}[| these days| full time].",
        "{Whose} [employer|company|place of work|firm] [is called|has long been|is known to be] {x}.",
        "[Records show|Colleagues say|It is known|The payroll states] that {who} [joined|serves] {x}.",
        "[Managers|Directors|Engineers] [rely on|work beside|speak well of] {whom} at {x}.",
        "[After the degree|Later] {who} [signed with|moved to] {x}.",
        "[A contract|A badge|A pay slip] [shows|proves] that {who} belongs to {x}.",
    ),
    "work_city": (
        "{Who} [works|has an office|earns a living|goes to work] in {x}[| these days| all week].",
        "{Whose} [office|workplace|desk|daily work] [is found|is located|has long been] in {x}.",
        "[Records show|Colleagues say|It is known|The payroll states] that {who} [is based in|commutes to] {x}.",
        "[Colleagues|Clients|Visitors] [meet|greet|find] {whom} on weekdays in {x}.",
        "[Each morning|Every weekday] {who} [takes the train to|drives to] {x}.",
        "[A map|A badge|A pay slip] [shows|proves] that {who} has a job in {x}.",
    ),
}
_PRONOUNS: Final = {
    "he": {"Who": "He", "who": "he", "whom": "him", "Whose": "His", "whose": "his"},
    "she": {"Who": "She", "who": "she", "whom": "her", "Whose": "Her", "whose": "her"},
}


def _expand(pattern: str) -> Iterator[str]:
    pieces = re.split(r"\[(.*?)\]", pattern)  # every second piece is a list of alternatives
    for words in product(*(piece.split("|") if i % 2 else [piece] for i, piece in enumerate(pieces))):
        yield "".join(words)


TEMPLATES: Final[Mapping[str, Sequence[str]]] = {
    attribute: [text for pattern in patterns for text in _expand(pattern)] for attribute, patterns in _GRAMMAR.items()
}
"""Sentences per attribute, each with one {x}."""


@dataclass(frozen=True)
class People:
    """Invented people: unique full names, pronouns, and the value of each attribute."""

    names: Sequence[str]
    pronouns: Sequence[str]
    values: Mapping[str, Sequence[str]]

    def facts(self, person: int) -> dict[str, object]:
        """One person's part of a truth column."""
        return {
            "person": person,
            "name": self.names[person],
            "pronoun": self.pronouns[person],
            **{a: self.values[a][person] for a in ATTRIBUTES},
        }


@dataclass(frozen=True)
class Told:
    """A biography, and the characters at which the name, the first pronoun and each attribute's value begin."""

    text: str
    places: Mapping[str, int]


def draw(count: int, rng: np.random.Generator) -> People:
    """So many people; attributes are uniform and independent, but the employer says the city of work."""
    codes = rng.choice(len(_FIRST) * len(_MIDDLE) * len(_LAST), count, replace=False)
    first, middle, last = np.unravel_index(codes, (len(_FIRST), len(_MIDDLE), len(_LAST)))
    names = [f"{_FIRST[f]} {_MIDDLE[m]} {_LAST[s]}" for f, m, s in zip(first, middle, last, strict=True)]
    seats = rng.integers(0, len(_CITIES), len(_EMPLOYERS))
    numbers = {a: rng.integers(0, len(VALUES[a]), count) for a in ATTRIBUTES if a != "work_city"}
    numbers["work_city"] = seats[numbers["employer"]]
    pronouns = [("he", "she")[i] for i in rng.integers(0, 2, count)]
    return People(names, pronouns, {a: [VALUES[a][i] for i in numbers[a]] for a in ATTRIBUTES})


def tell(
    people: People, person: int, wording: Mapping[str, int], order: Iterable[str] = ATTRIBUTES, full_name: bool = True
) -> Told:
    """The biography of one person: one sentence per attribute, in the wordings and the order given.

    Args:
        full_name: name the person in every sentence; else a pronoun stands in all but the first.
    """
    name, pronoun = people.names[person], people.pronouns[person]
    full = {"Who": name, "who": name, "whom": name, "Whose": f"{name}'s", "whose": f"{name}'s"}
    text, places = "", dict[str, int]()
    for attribute in order:
        named = full_name or not text
        text += " " if text else ""
        before, after = TEMPLATES[attribute][wording[attribute]].split("{x}")
        places.setdefault("name" if named else "pronoun", len(text) + before.index("{"))
        given = full if named else _PRONOUNS[pronoun]
        value = people.values[attribute][person]
        text += before.format(**given)
        places[attribute] = len(text)
        text += value + after.format(**given)
    return Told(text, places)


def truth_type(**more: pa.DataType) -> pa.DataType:
    """The Arrow type of a biography's truth: who, the values, where all that begins in the text; and further fields."""
    return pa.struct(
        [
            ("person", pa.int32()),
            ("name", pa.string()),
            ("pronoun", pa.string()),
            *((a, pa.string()) for a in ATTRIBUTES),
            *((f"at_{a}", pa.int32()) for a in ("name", "pronoun", *ATTRIBUTES)),
            *more.items(),
        ]
    )
