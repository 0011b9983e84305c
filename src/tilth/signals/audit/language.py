"""Which language a text is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core.run import Run
from tilth.core.signal import Columns, PureSignal

__all__ = ["Language"]


class Language(PureSignal):
    """Names the language of each text, with a confidence, by py3langid's naive Bayes over byte n-grams.

    `code` is the ISO 639 code (``en``, ``de``, ``zh``; ``zxx`` for numbers and symbols), `confidence` the model's
    probability, tempered for length. Where nothing speaks for any language (an empty text, a single letter) both are
    null: unknown, not wrong.

    Cost: about 5 MB of text a second, so only the beginning is read; 2,000 characters are plenty. Trap: one label per
    text, so a page with an English menu and a Danish body gets one of the two; close relatives (Indonesian and Malay,
    Danish and Norwegian) are confused even on whole paragraphs, and confidence does not say so.
    Source: Lui and Baldwin 2012, langid.py (ACL demo P12-3005); py3langid ships its model, nothing is downloaded.

    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> texts = ["Der Regen fällt auf das Feld.", "The rain falls on the field.", "", None]
    >>> made = score_in_memory(Language(), TablePool(pa.table({"text": texts}))).column("language").to_pylist()
    >>> [row["code"] for row in made]
    ['de', 'en', None, None]
    """

    characters: int = Field(2000, ge=20, description="how many characters from the beginning are read")

    @property
    def needs(self) -> Sequence[str]:
        """The text."""
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        """ISO 639 code and the model's probability."""
        return {"code": pa.string(), "confidence": pa.float32()}

    def map(self, batch: pa.RecordBatch, run: Run) -> Columns:
        heads = pc.utf8_slice_codeunits(batch.column("text"), 0, self.characters).to_pylist()
        # Two columns of the model share a label, so a text without any feature scores twice chance.
        chance = 2.01 / len(_identifier().nb_classes)
        found = [_identifier().classify(head or "") for head in heads]
        return {
            "code": pa.array([code if p > chance else None for code, p in found], pa.string()),
            "confidence": pa.array([p if p > chance else None for _, p in found], pa.float32()),
        }


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
