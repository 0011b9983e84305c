"""Sums written in several ways: the same arithmetic, easy or hard to learn by how the answer is spelt."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.probes._questions import question, questions, right

__all__ = ["Addition"]

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
TRUTH: Final = pa.struct(
    [
        ("a", pa.string()),
        ("b", pa.string()),
        ("answer", pa.string()),
        ("digits", pa.int32()),
        ("carries", pa.int32()),
    ]
)
Pair = tuple[int, int]


class Addition(Probe):
    """Sums of two numbers, asked as ``12+39=``; the reply is spelt in one of four ways.

    * ``plain``: ``51``.
    * ``reversed``: ``$12+39=`` and ``15$``, the units first, as carrying goes.
    * ``scratchpad``: ``1C1 5C0 51``, digit and carry of each place from the units up, then the sum.
    * ``detailed``: ``12+39:2+9+0=1C1 1+3:1+3+1=5C0 51``, which also says what is left to add at each place.

    With `hints`, a letter for its place goes before every digit, the same for equal places of a question and its reply
    (``p1q2+p3q9=``, ``p5q1``), from a random start. The first number or the second, whichever is longer, has from `low`
    to `digits` digits. No pair of numbers comes twice in pool, target and holdout together, in either order. The source
    is the length, ``digits2``. Balanced, lengths are equally frequent as far as there are pairs (a third of all pairs
    of a length is taken at most, longer ones fill up), and so are the numbers of carries within a length; else pairs
    are uniform, and nearly all are long. ``more["left_out"]`` asks about sums with the number `left_out`, which nothing
    else contains.

    Truth: ``a``, ``b``, ``answer`` (the plain sum), ``digits``, ``carries``.

    The mark takes the replies to the holdout's questions, a list of strings in the spelling asked for: the share whose
    last word spells the right sum; hints are not marked, but the order of the digits is. **Chance**: a random number of
    the right length is right about once in 10 ** digits.

    Cost: some 40 microseconds a record. Trap: compare spellings at equal examples and at equal tokens, since
    scratchpads are several times longer; and decode freely, never with the right digits given. Source: Teaching
    arithmetic to small transformers (arXiv 2307.03381); the exact spellings are our own.

    >>> from tilth.core import Run
    >>> for spelling in ("plain", "reversed", "scratchpad", "detailed"):
    ...     world = Addition(spelling=spelling, hints=spelling == "reversed").build(50, Run())
    ...     print([turn["content"] for turn in world.pool.table(["messages"]).to_pylist()[0]["messages"]])
    ['210+859=', '1069']
    ['$g2h1i0+g8h5i9=', 'i9h6g0f1$']
    ['210+859=', '9C0 6C0 0C1 1069']
    ['210+859=', '210+859:0+9+0=9C0 21+85:1+5+0=6C0 2+8:2+8+0=0C1 1069']
    """

    paper: ClassVar[str] = "teaching_arithmetic_to_small_transformers"

    spelling: Literal["plain", "reversed", "scratchpad", "detailed"] = Field(
        "plain", description="how the reply is spelt"
    )
    low: int = Field(1, ge=1, le=20, description="fewest digits of the longer number")
    digits: int = Field(3, ge=1, le=20, description="most digits of the longer number")
    hints: bool = Field(False, description="a letter for its place before every digit")
    balanced: bool = Field(True, description="lengths and numbers of carries equally frequent; else uniform pairs")
    left_out: int = Field(-1, ge=-1, description="a number that only the left-out questions contain; -1: none")
    items: int = Field(100, ge=1, description="questions in the target, in the holdout and in the left-out pool, each")

    @model_validator(mode="after")
    def _in_order(self) -> Addition:
        if self.low > self.digits:
            raise ValueError(f"low ({self.low}) is above digits ({self.digits})")
        if self.left_out >= 10**self.digits:
            raise ValueError(f"left_out ({self.left_out}) has more than {self.digits} digits")
        return self

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("addition")
        pairs = self._pairs(size + 2 * self.items, rng)
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
        rows = [self._row(a, b, rng) for a, b in pairs]
        names, ends = ("target", "holdout", "pool"), (0, self.items, 2 * self.items, len(rows))
        target, holdout, pool = (
            questions(rows[begin:end], TRUTH, name) for name, begin, end in zip(names, ends, ends[1:], strict=False)
        )
        return World(pool, Goal(target, holdout, Budget(size, "records")), self._left_out(rng))

    def _left_out(self, rng: np.random.Generator) -> dict[str, TablePool]:
        if self.left_out < 0:
            return {}
        others = rng.integers(0, 10**self.digits, self.items).tolist()
        pairs = [(self.left_out, other) if rng.random() < 0.5 else (other, self.left_out) for other in others]
        return {"left_out": questions([self._row(a, b, rng) for a, b in pairs], TRUTH, "left_out")}

    def _pairs(self, count: int, rng: np.random.Generator) -> list[Pair]:
        """Pairs of numbers, none twice in either order."""
        lengths = range(self.low, self.digits + 1)
        seen: set[Pair] = set()
        there_are = {n: _pairs_of(n) // 3 for n in lengths}
        if count > sum(there_are.values()):
            raise DataError(
                f"addition asks no sum twice, and takes at most {sum(there_are.values())} of those with {self.low} to "
                f"{self.digits} digits. Got {count}; ask for fewer records or more digits."
            )
        if not self.balanced:
            while len(seen) < count:
                self._add(seen, int(rng.integers(10**self.digits)), int(rng.integers(10**self.digits)))
            return _turned(sorted(seen), rng)
        left = count
        for n in lengths:
            quota = min(there_are[n], -(-left // (self.digits + 1 - n)))
            left -= quota
            for i in range(quota):
                before = len(seen)
                while len(seen) == before:
                    self._add(seen, *_with_carries(n, i % (n + 1), rng))
        return _turned(sorted(seen), rng)

    def _add(self, seen: set[Pair], a: int, b: int) -> None:
        if self.left_out not in (a, b) and len(str(max(a, b))) >= self.low:
            seen.add((min(a, b), max(a, b)))

    def _row(self, a: int, b: int, rng: np.random.Generator) -> Record:
        n = len(str(max(a, b)))
        start = int(rng.integers(len(LETTERS) - n)) if self.hints else -1

        def spelt(digits: str, places: range | None = None) -> str:
            if not self.hints:
                return digits
            at = places or range(len(digits) - 1, -1, -1)
            return "".join(LETTERS[start + n - place] + digit for place, digit in zip(at, digits, strict=True))

        total, carry, steps = str(a + b), 0, []
        for place in range(n):
            x, y = (number // 10**place % 10 for number in (a, b))
            done = f"{spelt(str((x + y + carry) % 10), range(place, place + 1))}C{(x + y + carry) // 10}"
            if self.spelling == "detailed":
                rest = "+".join(spelt(str(number // 10**place), _down(number // 10**place, place)) for number in (a, b))
                done = f"{rest}:{x}+{y}+{carry}={done}"
            steps.append(done)
            carry = (x + y + carry) // 10
        asked = f"{spelt(str(a))}+{spelt(str(b))}="
        if self.spelling == "reversed":
            asked, reply = f"${asked}", f"{spelt(total[::-1], range(len(total)))}$"
        else:
            reply = " ".join([*(steps if self.spelling != "plain" else ()), spelt(total)])
        truth = {"a": str(a), "b": str(b), "answer": total, "digits": n, "carries": _carries(a, b)}
        return question(asked, reply, f"digits{n}", truth)

    def final(self, reply: str) -> str:
        """The sum a reply ends in, spelt plainly."""
        words = re.sub(r"[a-z$]", "", reply).split()
        last = words[-1] if words else ""
        return last[::-1] if self.spelling == "reversed" else last

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("addition grades the replies to a holdout, and this world has none. Build it with `build`.")
        return float(right(world.goal.holdout, [self.final(reply or "") for reply in answer], "addition").mean())


def _down(number: int, lowest: int) -> range:
    """The places of a number's digits, highest first, when its units stand at place `lowest`."""
    return range(lowest + len(str(number)) - 1, lowest - 1, -1)


def _pairs_of(digits: int) -> int:
    """Unordered pairs whose longer number has so many digits."""
    high, low = int(10**digits), int(10 ** (digits - 1)) if digits > 1 else 0
    return (high * (high + 1) - low * (low + 1)) // 2


def _carries(a: int, b: int) -> int:
    count, carry = 0, 0
    while a or b:
        carry = int(a % 10 + b % 10 + carry > 9)
        count, a, b = count + carry, a // 10, b // 10
    return count


def _with_carries(digits: int, carries: int, rng: np.random.Generator) -> Pair:
    """A pair whose first number has so many digits, adding which carries so often, the places drawn evenly."""
    wanted = np.isin(np.arange(digits), rng.permutation(digits)[:carries])
    a = b = carry = 0
    for place, carried in enumerate(wanted.tolist()):
        lowest = int(place == digits - 1 and digits > 1)
        fit = [(x, y) for x in range(lowest, 10) for y in range(10) if (x + y + carry > 9) == carried]
        x, y = fit[int(rng.integers(len(fit)))]
        a, b, carry = a + x * 10**place, b + y * 10**place, int(carried)
    return a, b


def _turned(pairs: list[Pair], rng: np.random.Generator) -> list[Pair]:
    """The pairs, each in its order or the other with equal chances."""
    return [(b, a) if turn else (a, b) for (a, b), turn in zip(pairs, rng.random(len(pairs)) < 0.5, strict=True)]
