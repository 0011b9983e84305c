"""Constraints on a text that code can check: their wording, whether they hold, and how to break one of them only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["CONFLICTS", "KINDS", "TOPICS", "Constraint", "Draft", "broken", "constrain", "holds", "write"]

KINDS: Final = (
    *("words_most", "words_least", "sentences", "paragraphs", "bullets", "keyword", "keyword_times", "without"),
    *("lowercase", "uppercase", "starts", "ends", "quotes", "no_commas", "title"),
)
CONFLICTS: Final = tuple(
    frozenset(pair.split())
    for pair in (
        *("lowercase uppercase", "sentences bullets", "sentences paragraphs", "paragraphs bullets", "quotes starts"),
        *("quotes ends", "quotes title", "quotes bullets", "starts title", "starts bullets", "ends bullets"),
    )
)
"""Pairs that no text, or none that is written here, can satisfy together."""

TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "a lake": ("lake", "boat", "heron", "reed", "pike", "shore"),
    "a farm": ("barn", "tractor", "field", "goat", "fence", "harvest"),
    "a kitchen": ("oven", "kettle", "spoon", "bread", "table", "apron"),
    "a train": ("train", "station", "whistle", "tunnel", "carriage", "ticket"),
    "a library": ("library", "shelf", "reader", "novel", "lamp", "catalogue"),
    "a market": ("market", "stall", "basket", "trader", "melon", "crowd"),
    "a harbour": ("harbour", "crane", "sailor", "anchor", "gull", "cargo"),
    "a garden": ("garden", "rose", "spade", "hedge", "bee", "pond"),
    "a school": ("school", "teacher", "pupil", "chalk", "bell", "yard"),
    "a mountain": ("mountain", "glacier", "climber", "rope", "hut", "summit"),
}
ADJECTIVES: Final = ("old", "quiet", "bright", "heavy", "small", "famous", "empty", "busy")
DOES: Final = ("stands behind", "belongs to", "is older than", "can be seen from", "depends on", "matters more than")
STARTS: Final = ("Honestly", "Today", "Often", "Nowadays", "Sometimes", "Here")
ENDS: Final = ("That is all.", "This is enough.", "Nothing else matters.", "Time will tell.", "So it goes.")
FILLERS: Final = ("on most days", "in many ways", "without any doubt", "in the end")
WORDING: Final[Mapping[str, tuple[str, ...]]] = {
    "words_most": ("Use at most {n} words.", "Do not write more than {n} words.", "Keep it to {n} words or fewer."),
    "words_least": ("Use at least {n} words.", "Write no fewer than {n} words.", "It must have {n} words or more."),
    "sentences": (
        "Write exactly {n} sentences.",
        "The text has {n} sentences.",
        "Use {n} sentences, no more, no fewer.",
    ),
    "paragraphs": (
        "Write {n} paragraphs with a blank line between them.",
        "Split it into {n} paragraphs by blank lines.",
    ),
    "bullets": ("Answer with a list of {n} lines that begin with a hyphen.", "Give exactly {n} bullet points (- ...)."),
    "keyword": ('Use the word "{word}".', 'Mention "{word}".', 'The word "{word}" must occur.'),
    "keyword_times": ('Use the word "{word}" exactly {n} times.', 'The word "{word}" occurs {n} times in all.'),
    "without": ('Do not use the word "{word}".', 'Avoid the word "{word}".', 'Never mention "{word}".'),
    "lowercase": ("Use no capital letters.", "Write everything in lowercase."),
    "uppercase": ("Write in capital letters only.", "Everything must be in uppercase."),
    "starts": ('Begin with the word "{word}".', 'The first word must be "{word}".'),
    "ends": ('End with the sentence "{word}"', 'The last sentence reads "{word}"'),
    "quotes": ("Put the whole answer in double quotes.", "Wrap the text in double quotation marks."),
    "no_commas": ("Use no commas.", "Do without commas."),
    "title": (
        "Begin with a title in double angle brackets, <<like this>>, on a line of its own.",
        "Put a <<title>> first.",
    ),
}


@dataclass(frozen=True)
class Constraint:
    """A kind with its number or word, as far as it has one."""

    kind: str
    n: int = 0
    word: str = ""

    def said(self, rng: np.random.Generator) -> str:
        """One of its wordings."""
        ways = WORDING[self.kind]
        return ways[int(rng.integers(len(ways)))].format(n=self.n, word=self.word)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", text)


def _times(text: str, word: str) -> int:
    return [w.lower() for w in words(text)].count(word)


def _sentences(text: str) -> int:
    return len(re.findall(r'[.!?](?=\s|"|$)', text))


def _listed(text: str) -> int:
    lines = [line for line in text.split("\n") if not line.startswith("<<")]
    return len(lines) if all(line.startswith("- ") for line in lines) else 0


CHECKS: Final[Mapping[str, Callable[[Constraint, str], bool]]] = {
    "words_most": lambda c, t: len(words(t)) <= c.n,
    "words_least": lambda c, t: len(words(t)) >= c.n,
    "sentences": lambda c, t: _sentences(t) == c.n,
    "paragraphs": lambda c, t: len([p for p in t.split("\n\n") if p.strip()]) == c.n,
    "bullets": lambda c, t: _listed(t) == c.n,
    "keyword": lambda c, t: _times(t, c.word) > 0,
    "keyword_times": lambda c, t: _times(t, c.word) == c.n,
    "without": lambda c, t: _times(t, c.word) == 0,
    "lowercase": lambda c, t: t == t.lower(),
    "uppercase": lambda c, t: t == t.upper(),
    "starts": lambda c, t: [w.lower() for w in words(t)[:1]] == [c.word.lower()],
    "ends": lambda c, t: t.lower().endswith(c.word.lower()),
    "quotes": lambda c, t: len(t) > 2 and t[0] == t[-1] == '"',
    "no_commas": lambda c, t: "," not in t,
    "title": lambda c, t: re.match(r"<<[^<>\n]+>>\n", t) is not None,
}


def holds(constraint: Constraint, text: str) -> bool:
    """Whether the text, blanks around it aside, satisfies the constraint; nothing satisfies none."""
    text = text.strip()
    return bool(text) and CHECKS[constraint.kind](constraint, text)


@dataclass(frozen=True)
class Draft:
    """A text made to satisfy certain kinds of constraint, and the words that were put into it on purpose."""

    text: str
    start: str
    end: str


def write(kinds: Sequence[str], topic: str, rng: np.random.Generator) -> Draft:
    """A text about the topic that has the form these kinds need; their numbers are read off it afterwards."""

    def one(values: Sequence[str]) -> str:
        return values[int(rng.integers(len(values)))]

    body = [_sentence(topic, "no_commas" not in kinds, one, rng) for _ in range(int(rng.integers(3, 6)))]
    start, end = one(STARTS), one(ENDS)
    if "starts" in kinds:
        body[0] = f"{start} {body[0][0].lower()}{body[0][1:]}"
    if "ends" in kinds:
        body.append(end)
    if "bullets" in kinds:
        text = "\n".join(f"- {s}" for s in body)
    elif "paragraphs" in kinds:
        cuts = sorted(rng.choice(np.arange(1, len(body)), int(rng.integers(1, 3)), replace=False).tolist())
        text = "\n\n".join(" ".join(body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))
    else:
        text = " ".join(body)
    if "title" in kinds:
        text = f"<<{topic.capitalize()}>>\n{text}"
    if "quotes" in kinds:
        text = f'"{text}"'
    text = text.lower() if "lowercase" in kinds else text.upper() if "uppercase" in kinds else text
    return Draft(text, start, end)


def _sentence(topic: str, commas: bool, one: Callable[[Sequence[str]], str], rng: np.random.Generator) -> str:
    first, second = (str(n) for n in rng.choice(TOPICS[topic], 2, replace=False))
    tail = f", as every {one(TOPICS[topic])} shows" if commas and rng.random() < 0.4 else ""
    return f"The {one(ADJECTIVES)} {first} {one(DOES)} the {one(ADJECTIVES)} {second}{tail}."


def constrain(kinds: Sequence[str], draft: Draft, topic: str, rng: np.random.Generator) -> list[Constraint] | None:
    """Constraints of these kinds that the draft satisfies; None when it has no word to ask for or to avoid."""
    there = [n for n in TOPICS[topic] if _times(draft.text, n)]
    missing = [n for n in TOPICS[topic] if n not in there]
    there = [there[i] for i in rng.permutation(len(there))]
    slack = rng.integers(0, 4, 2)
    made = []
    for kind in kinds:
        n, word = 0, ""
        if kind.startswith("words_"):
            n = len(words(draft.text)) + int(slack[0] if kind == "words_most" else -slack[1])
        elif kind == "sentences":
            n = _sentences(draft.text)
        elif kind == "paragraphs":
            n = draft.text.count("\n\n") + 1
        elif kind == "bullets":
            n = _listed(draft.text)
        elif kind.startswith("keyword"):
            if not there:
                return None
            word = there.pop()
            n = _times(draft.text, word) if kind == "keyword_times" else 0
        elif kind == "without":
            if not missing:
                return None
            word = missing[int(rng.integers(len(missing)))]
        elif kind in ("starts", "ends"):
            word = draft.start if kind == "starts" else draft.end
        made.append(Constraint(kind, n, word))
    return made


def broken(
    constraints: Sequence[Constraint], index: int, text: str, topic: str, rng: np.random.Generator
) -> str | None:
    """The text with a few words changed so that this constraint alone no longer holds; None if no try succeeds."""
    for _ in range(20):
        edited = text
        for _ in range(8):  # a limit on words may need several edits
            edited = _edit(constraints[index], edited, topic, rng)
            if not holds(constraints[index], edited):
                break
        if [holds(c, edited) for c in constraints] == [i != index for i in range(len(constraints))]:
            return edited
    return None


def _edit(constraint: Constraint, text: str, topic: str, rng: np.random.Generator) -> str:
    """One edit in the direction that breaks the constraint."""

    def at(pattern: str, new: Callable[[re.Match[str]], str]) -> str:
        found = [*re.finditer(pattern, text)]
        if not found:
            return text
        match = found[int(rng.integers(len(found)))]
        return text[: match.start()] + new(match) + text[match.end() :]

    def other(values: Sequence[str], than: str) -> str:
        rest = [v for v in values if v.lower() != than.lower()]
        return rest[int(rng.integers(len(rest)))]

    noun = rf"(?i)\b({'|'.join(TOPICS[topic])})\b"
    kind, word = constraint.kind, constraint.word
    edits: Mapping[str, Callable[[], str]] = {
        "words_most": lambda: at(r"\.", lambda _: f" {_like(text, other(FILLERS, ''))}."),
        "words_least": lambda: at(r" [A-Za-z]+(?= [A-Za-z])", lambda _: ""),
        "sentences": lambda: at(r"\. (\w)", lambda m: f"; {m[1] if text.isupper() else m[1].lower()}"),
        "paragraphs": lambda: at(r"\n\n", lambda _: " "),
        "bullets": lambda: at(r"(?<!>)\n- ", lambda _: " "),
        "keyword": lambda: re.sub(rf"(?i)\b{word}\b", lambda m: _like(m[0], other(TOPICS[topic], word)), text),
        "keyword_times": lambda: at(rf"(?i)\b{word}\b", lambda m: _like(m[0], other(TOPICS[topic], word))),
        "without": lambda: at(noun, lambda m: _like(m[0], word)),
        "lowercase": lambda: at(r"\b[a-z]+", lambda m: m[0].capitalize()),
        "uppercase": lambda: at(r"\b[A-Z]{2,}\b", lambda m: m[0].lower()),
        "starts": lambda: re.sub(r"^\w+", lambda m: _like(m[0], other(STARTS, word), capital=True), text),
        "ends": lambda: text[: -len(word)] + _like(text[-len(word) :], other(ENDS, word), capital=True),
        "quotes": lambda: text[:-1] if rng.random() < 0.5 else text[1:],
        "no_commas": lambda: at(r"(?<=[A-Za-z]) (?=[A-Za-z])", lambda _: ", "),
        "title": lambda: re.sub(r"^<<(.*)>>", r"\1", text),
    }
    return edits[kind]()


def _like(model: str, new: str, capital: bool = False) -> str:
    """The new words in the case of the model."""
    if model.isupper():
        return new.upper()
    return new if capital and not model.islower() else new.lower()
