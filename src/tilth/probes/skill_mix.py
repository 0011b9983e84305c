"""Sentences that show several skills at once, each of which code can recognise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core import Pool, Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._tasks import Task, answers_of, table, world

__all__ = ["CATEGORIES", "SkillMix", "full_marks", "shown"]

CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "modality": ("negation", "condition", "doubt"),
    "figure": ("simile", "rhyme", "alliteration"),
    "form": ("exclamation", "quotation", "repetition"),
    "content": ("number", "place", "time"),
}
SKILLS: Final = tuple(skill for skills in CATEGORIES.values() for skill in skills)
TOPICS: Final[Mapping[str, tuple[str, str]]] = {
    "boat": ("drift", "brave blue broken"),
    "river": ("flow", "rapid restless rough"),
    "tiger": ("hunt", "timid tired tough"),
    "cloud": ("move", "cold calm curious"),
    "piano": ("sound", "plain proud precious"),
    "garden": ("bloom", "green gentle golden"),
    "wagon": ("roll", "wide weary wooden"),
    "lamp": ("glow", "little lonely lively"),
    "horse": ("gallop", "hungry happy huge"),
    "falcon": ("circle", "fierce famous fast"),
}
SAID: Final[Mapping[str, tuple[str, ...]]] = {
    "negation": ("never", "hardly ever", "no longer"),
    "condition": ("if it rains,", "if nobody looks,", "if we ask,", "unless it snows,"),
    "doubt": ("perhaps", "maybe", "possibly"),
    "simile": ("like a feather", "like an arrow", "like a whisper", "like an echo"),
    "rhyme": ("slow and low", "bright and light", "dim and grim", "old and cold"),
    "repetition": ("again and again", "on and on", "over and over", "round and round"),
    "number": ("two", "three", "seven", "twelve"),
    "place": ("near the bridge", "behind the mill", "under the moon", "beyond the village"),
    "time": ("at dawn", "at noon", "in winter", "every evening"),
}
QUOTED: Final = ("child", "miller", "poet", "judge")
NUMBERS: Final = {"two", "three", "seven", "twelve"}

CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "negation": lambda t: re.search(r"\b(never|not|no longer|hardly ever)\b", t) is not None,
    "condition": lambda t: re.search(r"\b(if|unless) \w+ \w+,", t) is not None,
    "doubt": lambda t: re.search(r"\b(perhaps|maybe|possibly)\b", t) is not None,
    "simile": lambda t: re.search(r"\blike an? \w+", t) is not None,
    "rhyme": lambda t: any(a != b and a[-2:] == b[-2:] for a, b in re.findall(r"\b(\w{3,}) and (\w{3,})\b", t)),
    "alliteration": lambda t: any(a[0] == b[0] and len(a) > 3 < len(b) for a, b in pairwise(re.findall(r"\w+", t))),
    "exclamation": lambda t: t.rstrip('"').endswith("!"),
    "quotation": lambda t: re.fullmatch(r'the \w+ says: ".+"', t) is not None,
    "repetition": lambda t: re.search(r"\b(\w+) and \1\b", t) is not None,
    "number": lambda t: not NUMBERS.isdisjoint(re.findall(r"\w+", t)),
    "place": lambda t: re.search(r"\b(near|behind|under|beyond) the \w+", t) is not None,
    "time": lambda t: re.search(r"\b(at (dawn|noon)|in winter|every evening)\b", t) is not None,
}
TRUTH: Final = pa.struct(
    [("topic", pa.string()), ("skills", pa.list_(pa.string())), ("count", pa.int32()), ("most", pa.int32())]
)


class SkillMix(Probe):
    """A topic and some skills, to be shown together in one sentence: who was trained on few at once, can do more?

    Twelve skills in four categories, such as a negation, a simile, a number or a rhyme, each with a place of its own
    in the sentence. Training shows `least` to `most` skills at once, the holdout `test_least` to `test_most`, in sets
    that training never shows together. The skills of the category `hidden` are in training alone, never composed, and
    are not asked for in the holdout; ``more["hidden"]`` asks for sets that contain at least one of them. The target
    is like training.

    Takes answers to the holdout, a list of strings; the mark is the share of full marks: every skill is shown, the
    topic is named, and no more than three words a skill and three on top are used. `full_marks` gives it by number of
    skills, for any pool of the world. **Chance**: answers to other prompts with as many skills get less than 0.01,
    and no single text passes, as it would be too long. The truth: ``truth.topic``, ``truth.skills``, ``truth.count``
    and ``truth.most``, the words allowed; what a text shows is told by `shown`, which knows nothing of how it was
    written. Cost: 50 us a record. Trap: answers grow with the number of skills, so compare arms at equal tokens, not
    records. Source: Zhao et al. 2024 (arXiv 2409.19808); skills that code can check take the place of its judge, the
    rest of the miniature is our own.

    >>> from tilth.core import Run
    >>> probe = SkillMix(most=2)
    >>> world = probe.build(100, Run())
    >>> turns = world.goal.holdout.column("messages").to_pylist()[0]
    >>> print(turns[0]["content"], "/", turns[1]["content"])
    topic: falcon
    skills: place, condition, exclamation, doubt, number / if we ask, maybe seven falcons circle behind the mill!
    >>> right = world.goal.holdout.column("truth.answer").to_pylist()
    >>> probe.grade(world, right), probe.grade(world, right[1:] + right[:1])
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "can_models_learn_skill_composition_from"

    least: int = Field(1, ge=1, le=6, description="skills of a sentence in training, at least")
    most: int = Field(3, ge=1, le=6, description="skills of a sentence in training, at most")
    test_least: int = Field(2, ge=1, le=6, description="skills of a sentence in the holdout, at least")
    test_most: int = Field(5, ge=1, le=6, description="skills of a sentence in the holdout, at most")
    hidden: Literal["modality", "figure", "form", "content"] = Field(
        "figure", description="category whose skills training shows only alone"
    )
    alone: float = Field(0.1, ge=0, le=0.9, description="share of the pool that shows one hidden skill alone")
    unseen: float = Field(0.25, gt=0, lt=1, description="share of the sets of skills that training leaves out")
    items: int = Field(100, ge=1, description="sentences of target, holdout and hidden each")

    @model_validator(mode="after")
    def _in_order(self) -> SkillMix:
        if self.least > self.most or self.test_least > self.test_most:
            raise ValueError("`least` must not be more than `most`, nor `test_least` more than `test_most`")
        return self

    def build(self, size: int, run: Run) -> World:
        open_skills = [s for s in SKILLS if s not in CATEGORIES[self.hidden]]
        alone = round(self.alone * size)
        parts: dict[str, list[Task]] = {}
        for name, count in (
            ("pool", size - alone),
            ("target", self.items),
            ("holdout", self.items),
            ("more", self.items),
        ):
            rng = run.rng(name)
            test = name in ("holdout", "more")
            parts[name] = []
            for i in range(count):
                low, high = (self.test_least, self.test_most) if test else (self.least, self.most)
                number = low + i % (high - low + 1)
                skills = self._set(number, [*SKILLS] if name == "more" else open_skills, test, run, rng)
                parts[name].append(_task(skills, rng))
            if name == "pool":
                hidden = CATEGORIES[self.hidden]
                parts[name] += [_task([hidden[i % len(hidden)]], rng) for i in range(alone)]
            parts[name] = [parts[name][i] for i in rng.permutation(len(parts[name]))]
        return world(parts, TRUTH, more={"hidden": table("hidden", parts.pop("more"), TRUTH)})

    def _set(self, number: int, skills: Sequence[str], test: bool, run: Run, rng: np.random.Generator) -> list[str]:
        """So many skills in random order, from a set that training may show, or may not."""
        for _ in range(10_000):
            drawn = [skills[i] for i in rng.permutation(len(skills))[:number].tolist()]
            hidden = not set(drawn).isdisjoint(CATEGORIES[self.hidden])
            if len(skills) == len(SKILLS) and not hidden:
                continue
            apart = number == 1 or hidden or run.rng("unseen", *sorted(drawn)).random() < self.unseen
            if number == 1 or apart == test:
                return drawn
        raise DataError(
            f"skill_mix found no set of {number} skills for {'test' if test else 'training'}: change `unseen`."
        )

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("skill_mix grades answers to the holdout of its own world; this world has none.")
        return full_marks(world.goal.holdout, answer)["all"]


def shown(text: str) -> set[str]:
    """The skills that a text shows."""
    return {skill for skill, check in CHECKS.items() if check(text.strip())}


def full_marks(pool: Pool, answer: Any) -> Mapping[str, float]:
    """Share of the answers that show all their skills, name the topic and are short enough; by number of skills."""
    results: dict[str, list[bool]] = {}
    rows = pool.column("truth").to_pylist()
    for row, text in zip(rows, answers_of(answer, pool, "skill_mix"), strict=True):
        named = re.search(rf"\b{row['topic']}s?\b", text) is not None
        full = named and len(text.split()) <= row["most"] and set(row["skills"]) <= shown(text)
        for key in ("all", str(row["count"])):
            results.setdefault(key, []).append(full)
    return {key: sum(values) / len(values) for key, values in sorted(results.items())}


def _task(skills: Sequence[str], rng: np.random.Generator) -> Task:
    topic = [*TOPICS][int(rng.integers(len(TOPICS)))]
    text = _sentence(set(skills), topic, rng)
    while shown(text) != set(skills):  # two words side by side can begin alike by chance
        text = _sentence(set(skills), topic, rng)
    truth = {"topic": topic, "skills": [*skills], "count": len(skills), "most": 3 + 3 * len(skills)}
    return Task(f"topic: {topic}\nskills: {', '.join(skills)}", text, f"{len(skills)} skills", truth)


def _sentence(skills: set[str], topic: str, rng: np.random.Generator) -> str:
    """One sentence in which every skill has its place."""

    def said(skill: str) -> list[str]:
        ways = SAID[skill]
        return [ways[int(rng.integers(len(ways)))]] if skill in skills else []

    verb, adjectives = TOPICS[topic]
    many = "number" in skills
    matching = [str(rng.choice(adjectives.split()))] if "alliteration" in skills else []
    subject = [*(said("number") or ["the"]), *matching, topic + "s" * many]
    does = [*said("negation"), verb if many else verb + "s"]
    inside = [*said("repetition"), *said("place"), *said("time"), *said("rhyme"), *said("simile")]
    text = " ".join([*said("condition"), *said("doubt"), *subject, *does, *inside])
    text += "!" if "exclamation" in skills else "."
    if "quotation" in skills:
        text = f'the {QUOTED[int(rng.integers(len(QUOTED)))]} says: "{text}"'
    return text
