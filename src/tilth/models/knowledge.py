"""How many bits of knowledge a language model holds, from its losses on texts whose facts were drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2

__all__ = ["NAMES", "VALUES", "Bits", "bits", "ceiling", "chunk_bits", "chunk_ceiling"]

NAMES = 400 * 400 * 1000
"""Full names that a person of the biographies may have."""
VALUES = 2 * (12 * 28 * 200) * 200 * 300 * 100 * 263
"""Combinations of pronoun, birth date, birth city, university, major and employer; the employer says the work city."""


@dataclass(frozen=True)
class Bits:
    """Bits held about which names there are, and about the values of the named."""

    name: float
    value: float

    @property
    def total(self) -> float:
        """Both together; divided by the number of parameters, the R of the paper."""
        return self.name + self.value


def bits(p1: float, p2: float, people: int, names: int = NAMES, values: int = VALUES) -> Bits:
    """The bits of knowledge about so many people that losses this low prove.

    A model that guesses evenly holds 0, one with every fact by heart `ceiling`, which even it cannot pass: it does not
    know which of the people comes next, so its p1 is ln(people). A model worse than even guesses gets less than 0.
    Trap: sum the losses of a value's tokens, do not average them, and count no token of the wording around. Source:
    Physics of Language Models, part 3.3 (arXiv 2404.05405).

    Args:
        p1: mean over people of -ln P(name | start), in nats, summed over the name's tokens.
        p2: mean over people of the sum over attributes of -ln P(value | name, attribute), in nats.
        names: names a person may have.
        values: combinations of values a person may have.

    >>> from math import log
    >>> abs(round(bits(log(NAMES), log(VALUES), people=1000).total, 6))
    0.0
    >>> round(bits(log(1000), 0.0, people=1000).total), round(ceiling(1000))
    (64879, 64879)
    """
    return Bits(people * (log2(names) - p1 / log(2)), people * (log2(values) - p2 / log(2)))


def ceiling(people: int, names: int = NAMES, values: int = VALUES) -> float:
    """The most bits there are to know about so many people: `bits` of a model that has every fact by heart."""
    return people * (log2(names) - log2(people) + log2(values))


def chunk_bits(
    p1: float,
    p2: float,
    p3: float,
    people: int,
    attributes: int,
    chunks: int,
    distinct: int,
    length: int,
    alphabet: int,
    names: int = NAMES,
) -> float:
    """The same for synthetic people, each of whose attributes is a row of chunks out of a list of its own.

    Args:
        p1: as in `bits`.
        p2: mean over people and attributes of -ln P(value | name, attribute), in nats.
        p3: the same of the value's first chunk only.
        attributes: attributes of a person (the paper's K).
        chunks: chunks of a value (C).
        distinct: chunks in an attribute's list (D).
        length: tokens of a chunk (L).
        alphabet: tokens there are (T).
    """
    nats = log(2)
    of_names = people * (log2(names) - p1 / nats)
    of_values = people * attributes * (chunks * log2(distinct) - p2 / nats)
    of_lists = attributes * distinct * (length * log2(alphabet) - log2(distinct) - p3 / nats)
    return of_names + of_values + of_lists


def chunk_ceiling(
    people: int, attributes: int, chunks: int, distinct: int, length: int, alphabet: int, names: int = NAMES
) -> float:
    """The most `chunk_bits` can be: every name, value and list by heart."""
    return chunk_bits(log(people), 0.0, 0.0, people, attributes, chunks, distinct, length, alphabet, names)
