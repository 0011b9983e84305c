"""DataFilterNetwork: do a pair's two sides belong together, by a small model of pairs that are known to?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.core.records import Kind
from tilth.models.alignment import Alignment
from tilth.models.encoder import encoder
from tilth.signals._by_id import ById

__all__ = ["DataFilterNetwork"]

SIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "retrieval": ("query", "positive"),
    "preference": ("prompt", "chosen"),
    "instruction": ("messages",),
}


class DataFilterNetwork(Signal[ById]):
    """Alignment of a record's sides, such as query and passage, by a bi-encoder trained on the target's pairs alone.

    The target is a small set of pairs that are trusted; the pool is large and its pairs may be mismatched. Texts become
    vectors (`encoder`), and two matrices are learnt by contrast so that partners of the target find each other.
    ``score`` is the cosine of a record's sides, ``centred`` the same less how near each side is to the trusted pairs in
    general: general texts align with everything, and a cut on ``score`` collects them. A policy keeps the top share.
    An instruction's sides are what comes before its last reply, and that reply.

    The filter must be chosen by the model that its selection makes, never by its own accuracy: more training pairs of
    lower quality make a filter that does better at a task like them and selects worse. The claim fang2023_filtering
    measures that.

    A record with a side in which no word is known gets nulls; so do all where the target has fewer than two pairs.
    Cost: one encoding of each side and seconds of training. Trap: a cut takes out whole sources whose wording the
    target lacks, so cut by source; a pair that stands in the target has been seen; copies of good pairs are all good.
    Texts without two sides are for `importance` or `domain_specificity`. Weights of the goal are not used.
    Source: Fang et al. 2023, arXiv 2309.17425, there for images and captions.

    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> things = ["rain", "soil", "seed", "wind", "barn", "mill", "horse", "plough"]
    >>> about = [f"the {a} and the {b}" for a in things for b in things if a != b]
    >>> def pairs(right):
    ...     return TablePool(pa.table({"query": about, "positive": right, "negatives": [[]] * len(about)}), "retrieval")
    >>> good = pairs([f"it is said of {t[4:]} that they are old" for t in about])
    >>> mixed = pairs([t if i % 2 else about[i - 9] for i, t in enumerate(about)])
    >>> scored = score_in_memory(DataFilterNetwork(), mixed, Goal(good, good, Budget(1, "pairs")))
    >>> score = scored.column("data_filter_network.score").to_numpy()
    >>> bool(score[1::2].min() > score[0::2].mean())
    True
    """

    paper: ClassVar[str] = "data_filtering_networks"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)
    target_kinds: ClassVar[tuple[Kind, ...]] = ("retrieval", "preference", "instruction")

    pair: Literal["retrieval", "preference", "instruction"] = Field("retrieval", description="kind of the records")
    encoder: str = Field("static", description="static, minilm, or the path of an encoder's folder")
    temperature: float = Field(0.05, gt=0, le=1, description="small looks at a pair's nearest rivals only")
    pull: float = Field(1e-3, ge=0, description="how strongly the matrices are kept near the encoder's own cosine")
    steps: int = Field(400, ge=0, le=100_000, description="updates of the matrices; 0 leaves the encoder's cosine")
    batch: int = Field(128, ge=2, le=4096, description="pairs of an update, each other's rivals")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", *SIDES[self.pair])

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "centred": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("data_filter_network learns from the goal's target; state a goal.")
        goal.target.require(SIDES[self.pair], "data_filter_network's target")
        left, right = sides(pool, self.pair)
        good_left, good_right = sides(goal.target, self.pair)
        if not len(left) or len(good_left) < 2:
            return ById.of(pool, np.zeros(0, np.int64), {"score": np.zeros(0), "centred": np.zeros(0)})
        texts = pa.concat_arrays([left, right, good_left, good_right])
        reader = encoder(self.encoder, texts, run)
        x, y = reader.encode(left), reader.encode(right)
        known, trusted = reader.encode(good_left), reader.encode(good_right)
        some = known.any(1) & trusted.any(1)
        model = Alignment.train(
            known[some], trusted[some], run.rng("align"), temperature=self.temperature, pull=self.pull,
            steps=self.steps, batch=self.batch,
        )  # fmt: skip
        score, centred = model.score(x, y)
        empty = ~(x.any(1) & y.any(1))
        score[empty], centred[empty] = np.nan, np.nan
        return ById.of(pool, np.arange(len(left)), {"score": score, "centred": centred})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))


def sides(pool: Pool, pair: str) -> tuple[pa.Array, pa.Array]:
    """The two texts of each record; empty where there is none."""
    if pair != "instruction":
        both = [pc.fill_null(pool.column(name), "") for name in SIDES[pair]]
        left, right = (pa.array(column.to_pylist(), pa.string()) for column in both)
        return left, right
    asked, said = [], []
    for turns in pool.column("messages").to_pylist():
        replies = [i for i, turn in enumerate(turns or ()) if turn["role"] == "assistant"]
        last = replies[-1] if replies else len(turns or ())
        asked.append("\n\n".join(turn["content"] or "" for turn in (turns or ())[:last]))
        said.append((turns[last]["content"] or "") if replies else "")
    return pa.array(asked, pa.string()), pa.array(said, pa.string())
