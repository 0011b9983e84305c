"""Counts and shares that tell prose from noise: the RedPajama-V2 and Gopher signals of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pydantic import Field

from tilth.core.run import Run
from tilth.core.signal import Columns, PureSignal
from tilth.kernels.quality import COUNTS, FRACTIONS, REPETITION, quality

__all__ = ["Quality"]


class Quality(PureSignal):
    """Measures what web filters look at: words, lines, symbols, stop words, repetition. Numbers only; `keep` decides.

    The outputs bear the names published with RedPajama-V2 (its line signals averaged over the lines of a text), plus
    the Gopher numbers it leaves out: the eight stop words, repeated lines and repeated paragraphs. Every rule, and
    the C4 and Gopher filters as conditions for `keep`, are written down in docs/quality_signals.md.

    Cost: one pass over the bytes and a few small hash tables, around a hundred megabytes a second on a core. Trap:
    words are what white space separates, so Chinese, Japanese and Thai have few and long ones, and the stop words are
    English: these numbers say little about texts in such languages.

    Source: RedPajama, an open dataset for training large language models (arXiv 2411.12372); the rules behind the
    Gopher outputs come from its appendix A (arXiv 2112.11446).

    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> texts = ["The end of the rainy season is the best time to sow.", "CLICK HERE ... CLICK HERE ... CLICK HERE ..."]
    >>> made = score_in_memory(Quality(), TablePool(pa.table({"text": texts})), None, Run()).column("quality")
    >>> for name in "gopher_stop_words", "rps_doc_frac_all_caps_words", "rps_doc_frac_chars_top_2gram":
    ...     print(name, [round(row[name], 2) for row in made.to_pylist()])
    gopher_stop_words [3, 0]
    rps_doc_frac_all_caps_words [0.0, 0.67]
    rps_doc_frac_chars_top_2gram [0.0, 1.0]
    """

    paper = "redpajama"

    repetition: bool = Field(True, description="also measure repeated n-grams, the costly part")

    @property
    def needs(self) -> Sequence[str]:
        """The text."""
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        """The counts and the shares."""
        shares = FRACTIONS + REPETITION * self.repetition
        return {**dict.fromkeys(COUNTS, pa.int32()), **dict.fromkeys(shares, pa.float64())}

    def map(self, batch: pa.RecordBatch, run: Run) -> Columns:
        counts, shares = quality(batch.column("text"), self.repetition)
        return dict(zip(self.makes, (*counts.T, *shares.T), strict=True))
