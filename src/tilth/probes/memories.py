"""Memories: items to study once or a few times, a matched foil for each, and new items that wash them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, TablePool, World
from tilth.core.errors import DataError

__all__ = ["UPDATES", "Memories", "half_life", "recall", "recognised", "rouge"]

UPDATES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Updates on new items after which retention is measured, as the paper spaces them."""
CUE: Final = 5
"""Words of the cue; the rest of the item is to be recalled."""
TEMPLATE: Final = "{name} the {mood} {who} {did} {some} {look} {thing} near the {place} on {day}"
WORDS: Final[Mapping[str, str]] = {
    "name": "Anna Emma Lena Mara Nora Olga Rosa Vera Alan Boris Clara Diego Elena Felix Irene James Karin Lucas Maria "
    "Oscar Peter Sofia Tomas Vanja Agatha Bertha Carlos Denise Edmund Esther Gloria Harold Ingrid Joseph Konrad Martin "
    "Olivia Robert Sandra Victor",
    "mood": "calm kind loud rude warm wise bold glum angry brave happy noisy proud quick quiet silly tired weary "
    "cheery clever gentle greedy lonely patient polite sleepy stern timid jolly grave",
    "who": "cook monk poet tutor baker clerk guard miner nurse pilot tailor singer hunter farmer doctor potter weaver "
    "lawyer sailor driver barber joiner artist editor judge mason mayor chef bard maid",
    "did": "drew held kept lent lost made sent sold took bought burned carved dropped fetched hidden lifted mended "
    "moved found stole traded washed opened broke buried copied",
    "some": "that this some",
    "look": "blue gold grey huge neat pale pink tiny wide black broad brown clean cheap faded fresh green heavy large "
    "round sharp short solid white yellow golden marble narrow purple rustic shabby silver square wooden woolen",
    "thing": "bell boat book coat drum lamp plow ring rope shoe anvil bench chair clock crown flute knife medal spoon "
    "tools barrel basket bottle candle carpet hammer kettle ladder pillow saddle violin wagon",
    "place": "cave cove dock farm lake mill park pier barn canal creek ferry field hotel manor plaza ridge shore tower "
    "abbey bridge castle church garden harbor market museum school stable tavern valley",
    "day": "Monday Sunday Friday Tuesday Thursday Saturday",
}
SLOTS: Final = tuple(WORDS)
LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    slot: tuple(w for w in words.split() if sum(len(w) == len(v) for v in words.split()) > 1)
    for slot, words in WORDS.items()
}
"""Words of each slot; each has another one of its length, so that a foil can be as long as its item."""
CUES: Final = int(np.prod([len(LISTS[slot]) for slot in ("name", "mood", "who", "did")]))


class Memories(Probe):
    """What does a model remember of items it saw a few times: can it recognise them, recall them, and for how long?

    The pool is the study set. ``more["foils"]`` holds for each item, in the same order, one that was never studied:
    same template, and in every place another word of the same number of letters, drawn so that item and foil could
    change places. Without study a loss therefore prefers the item in half of the pairs, whatever else the model knows.
    ``more["stream"]`` are new items of the same kind to train on afterwards; no two items of the world share their
    first five words. The truth is ``truth.pair`` (id of the item or foil it goes with), ``truth.cue`` (the first five
    words) and ``truth.rest``. With the same seed the three kinds have the same shapes: sentences, their words in
    random order (the same for item and foil, cue and rest apart), and random letters in words of the same lengths.

    `grade` takes the pair (losses of the pool's records, losses of the foils), mean loss per token without padding, and
    returns the share of pairs in which the item's loss is strictly lower: **chance is 0.5**, equal losses count as
    wrong. `recall` and `rouge` mark what a model generates from the cues; the rest of another item gets 0 and, for the
    template's own words, about 0.46 (sentences), 0.28 (words) or 0 (strings). `half_life` reads a retention curve.
    Trap: say at which learning rate retention was measured; a rate that is warmed up again forgets faster.
    Cost: about 30,000 items a second. Source: arXiv 2303.17557; sentences and foils are ours.

    >>> from tilth.core import Run
    >>> world = Memories().build(100, Run())
    >>> for pool in (world.pool, world.more["foils"]):
    ...     print(pool.column("text")[0])
    Lucas the tired poet held that pink bench near the tower on Sunday
    Diego the jolly chef sent some blue spoon near the manor on Friday
    >>> probe, study, foils = Memories(), [0.4] * 100, [2.0] * 100
    >>> probe.grade(world, (study, foils)), probe.grade(world, (foils, study))
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "recognition_recall_and_retention_of_fewshot"

    kind: Literal["sentences", "words", "strings"] = Field(
        "sentences", description="sentences, their words shuffled, or random letters"
    )
    stream: float = Field(2.0, ge=0, le=100, description="new items to train on afterwards, per item studied")

    def build(self, size: int, run: Run) -> World:
        rest = round(size * self.stream)
        if 2 * size + rest > CUES // 4:
            most = int(CUES / 4 / (2 + self.stream))
            raise DataError(
                f"memories has {most:,} different items to study with stream={self.stream:g}, not {size:,}."
            )
        items = _items(size, rest, run)
        texts = {name: self._rendered(rows, name, run) for name, rows in items.items()}
        ids = {name: [f"{name}{i}" for i in range(len(rows))] for name, rows in texts.items()}
        pairs: dict[str, Sequence[str | None]] = {"study": ids["foils"], "foils": ids["study"], "stream": [None] * rest}
        pools = {name: _pool(texts[name], ids[name], pairs[name]) for name in texts}
        return World(pools["study"], more={"foils": pools["foils"], "stream": pools["stream"]})

    def grade(self, world: World, answer: Any) -> float:
        try:
            study, foils = (np.asarray([*side], float) for side in answer)
        except (TypeError, ValueError):
            raise DataError(
                "memories grades a pair: losses of the pool's records, losses of the foils; one number each."
            ) from None
        count = world.pool.count
        if study.shape != (count,) or foils.shape != (count,) or count == 0:
            raise DataError(
                f"memories grades one loss per record of the pool and per foil, {count} each. Got {study.size} and "
                f"{foils.size}."
            )
        return float(recognised(study, foils).mean())

    def _rendered(self, rows: Sequence[Sequence[str]], name: str, run: Run) -> list[str]:
        texts = [TEMPLATE.format(**dict(zip(SLOTS, row, strict=True))).split() for row in rows]
        if self.kind == "words":
            # Item and foil are shuffled alike, so that they stay as likely as each other.
            rng = run.rng("memories", "order", "stream" if name == "stream" else "pairs")
            orders = [(rng.permutation(CUE), CUE + rng.permutation(len(text) - CUE)) for text in texts]
            texts = [[text[i] for i in np.concatenate(o)] for text, o in zip(texts, orders, strict=True)]
        elif self.kind == "strings":
            rng = run.rng("memories", "letters", name)
            texts = [["".join(map(chr, rng.integers(97, 123, len(word)))) for word in text] for text in texts]
        return [" ".join(text) for text in texts]


def _items(size: int, rest: int, run: Run) -> dict[str, list[list[str]]]:
    """The words of the items: studied, foils and stream, no two with the same cue."""
    rng = run.rng("memories", "items")
    alike = {
        slot: [[w for w in words if len(w) == len(word) and w != word] for word in words]
        for slot, words in LISTS.items()
    }
    seen: set[tuple[str, ...]] = set()
    found: dict[str, list[list[str]]] = {"study": [], "foils": [], "stream": []}
    while len(found["study"]) < size or len(found["stream"]) < rest:
        row = {slot: int(rng.integers(len(words))) for slot, words in LISTS.items()}
        item = [LISTS[slot][i] for slot, i in row.items()]
        foil = [alike[slot][i][int(rng.integers(len(alike[slot][i])))] for slot, i in row.items()]
        # A set of words, not a sequence: shuffled items must not share a cue either.
        cues = [tuple(sorted(words[:4])) for words in (item, foil)]
        if seen.intersection(cues):
            continue
        if len(found["study"]) < size:
            found["study"].append(item)
            found["foils"].append(foil)
            seen.update(cues)
        else:
            found["stream"].append(item)
            seen.add(cues[0])
    return found


def _pool(texts: Sequence[str], ids: Sequence[str], pairs: Sequence[str | None]) -> TablePool:
    cut = [(" ".join(words[:CUE]), " ".join(words[CUE:])) for words in (text.split() for text in texts)]
    truth = [{"pair": p, "cue": cue, "rest": rest} for p, (cue, rest) in zip(pairs, cut, strict=True)]
    kind = pa.struct([("pair", pa.string()), ("cue", pa.string()), ("rest", pa.string())])
    table = {"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string()), "truth": pa.array(truth, kind)}
    return TablePool(pa.table(table))


def recognised(study: npt.ArrayLike, foils: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which pairs are told apart: the item's loss is strictly lower than its foil's; a NaN is not.

    >>> recognised([1.0, 2.0, 3.0], [1.5, 2.0, 2.5]).tolist()
    [True, False, False]
    """
    lower: npt.NDArray[np.bool_] = np.asarray(study, float) < np.asarray(foils, float)
    return lower


def recall(rests: Sequence[str], generated: Sequence[str]) -> list[bool]:
    """Which items were recalled word for word: what was generated begins with the words of the rest.

    >>> recall(["on the hill", "in May"], ["on  the hill and", "in June"])
    [True, False]
    """
    pairs = [(rest.split(), made.split()) for rest, made in zip(rests, generated, strict=True)]
    return [bool(rest) and made[: len(rest)] == rest for rest, made in pairs]


def rouge(rests: Sequence[str], generated: Sequence[str]) -> list[float]:
    """ROUGE-L of each: the F1 of the longest common subsequence of words; 0 where either is empty.

    >>> rouge(["a b c d"], ["a x c d"]), rouge(["a b"], ["b a"]), rouge(["a"], [""])
    ([0.75], [0.5], [0.0])
    """
    marks = []
    for rest, made in zip(rests, generated, strict=True):
        a, b = rest.split(), made.split()
        longest = [0] * (len(b) + 1)
        for word in a:
            before = 0
            for j, other in enumerate(b, 1):
                before, longest[j] = longest[j], before + 1 if word == other else max(longest[j], longest[j - 1])
        marks.append(2 * longest[-1] / (len(a) + len(b)) if a and b else 0.0)
    return marks


def half_life(curve: Mapping[int, float], chance: float = 0.0) -> int | None:
    """The first of the measured updates at which half of the score above chance is lost; None if it never is.

    >>> half_life({0: 0.9, 1: 0.8, 10: 0.4, 100: 0.1}), half_life({0: 1.0, 100: 0.9}, chance=0.5)
    (10, None)
    """
    first = min(curve)
    level = chance + (curve[first] - chance) / 2
    return next((updates for updates in sorted(curve) if updates > first and curve[updates] <= level), None)
