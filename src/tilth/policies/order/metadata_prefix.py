"""MetadataPrefix: most of the training behind what is known of a record, such as its source; the rest on plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from tilth.core import Conditioning, Goal, Groups, Plan, Policy, Pool, Run
from tilth.core.errors import DataError, UsageError
from tilth.policies.select._ranked import Unknown

__all__ = ["MetadataPrefix"]

Bools = npt.NDArray[np.bool_]
KINDS = ("text", "labeled")
OFF = 0.05  # a source's share that differs by more between the two parts is worth a warning
SINGLE = 0.5  # values of one record each, above which values name records rather than groups


class MetadataPrefix(Policy):
    """Puts a column's value before each record for the first part of the budget; the rest is plain, unseen text.

    A model that is told where a text comes from need not work it out, and can keep apart what sources say differently.
    It must end on plain text, or it depends on being told. MeCo (Gao et al. 2025, arXiv 2501.01956) puts the host of a
    page's URL before it for 90 % of the training and reads plain text for the last 10 %, the learning-rate schedule
    going on; that is ``by: url, host: true, template: "URL: {value}\\n\\n"``. With ``share: 1`` these are source tags
    for good.

    Every source keeps its share of both parts, and a record with all its readings is in one of them, so plain text is
    unseen. Records with a rank are taken in its order, others by lot. A plan that has phases keeps them; the one in
    which the cut falls becomes two. Put this last in a plan, as what reads it holds record by record.

    Prefixes are read and never learned: `tilth.Stream` gives them the label -100, the proofs tiny_lm, compression and
    exact_match learn as many tokens of records as without. Exports keep `prefix` apart from `text`; token files, which
    have no place for it, are refused, and so are other proofs. Values come from data: white space in one is made single
    spaces, what is longer than `longest` is cut off, and ``{value}`` is replaced by it as it is.

    Cost: the prefix's tokens in every record, computed but not learned, so short records become dear. Trap: **after
    the first part the model is bad at plain text** (see `worst`), so do not stop early, and let the schedule run over
    both parts. A value that names one record tells nothing of others; `details` counts them. In our own trial (claim
    `gao2025_meco`) models obey the prefix, but small ones gain nothing on plain text that we could tell from 0, and on
    real text lose 0.04 nats per token: prove it before believing it.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> urls = ["https://a.org/1", "https://a.org/2", "http://b.net/x", "http://b.net/y"] * 5
    >>> pool = TablePool(pa.table({"text": ["x"] * 20, "url": urls}))
    >>> goal = Goal(pool, pool, Budget(20, "records"))
    >>> policy = MetadataPrefix(by="url", host=True, template="URL: {value}\\n\\n")
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.conditioning.prefixes
    ('', 'URL: a.org\\n\\n', 'URL: b.net\\n\\n')
    >>> [int(plan.conditioning.told[plan.phase == phase].sum()) for phase in (0, 1)], (plan.phase == 1).sum()
    ([18, 0], np.int64(2))
    """

    paper: ClassVar[str] = "metadata_conditioning_accelerates_language_model_pretraining"

    by: str = Field("source", description="column whose value is put before a record")
    template: str = Field(
        "{value}\n\n", description="what is put there, around the value", examples=["URL: {value}\n\n"]
    )
    share: float = Field(0.9, gt=0, le=1, description="part of the budget that has it, the first; the rest is plain")
    host: bool = Field(False, description="of a URL take the host only")
    longest: int = Field(100, ge=1, le=10_000, description="characters of a value, from its beginning")
    unknown: Unknown = Field("keep", description="records without a value: read without a prefix, dropped, or an error")
    reverse: bool = Field(False, description="the plain part first, as a negative control")

    @model_validator(mode="after")
    def _tells(self) -> Self:
        if "{value}" not in self.template:
            raise ValueError("template must hold {value}, or it would say the same of every record")
        return self

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The same records and prefixes, the plain part first: the model ends where it is told everything."""
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        if pool.kind not in KINDS:
            raise UsageError(
                f"metadata_prefix goes before a text, and this pool holds {pool.kind} records. Say what is known of "
                f"them in their own fields, such as a system turn."
            )
        if plan.steering is not None and self.share < 1:
            raise UsageError(
                "metadata_prefix makes two phases, and an online policy says anew at every step what is read. Set "
                "share: 1, or leave one of the two out."
            )
        values = self._values(plan, pool)
        known = np.array([bool(name) for name in values.names], bool)[values.index]
        missing = int((plan.kept & ~known).sum())
        if missing and self.unknown == "error":
            raise DataError(
                f"metadata_prefix: {missing:,} of {int(plan.kept.sum()):,} records have no {self.by}, and unknown is "
                f"'error'. Fill the column, or choose unknown: keep or drop."
            )
        if not (plan.kept & known).any():
            raise DataError(f"metadata_prefix: none of the records kept has a value in {self.by}. Name another column.")
        keep = plan.kept & (known | (self.unknown != "drop"))
        first, phase = self._parted(plan, keep, run)
        has = first != self.reverse
        told = pc.if_else(pa.array(has & keep & known), values.column(), "")
        conditioning = Conditioning.of(self.by, self.template, told)
        details, warnings = self._judged(plan, keep, has, known, values)
        made = plan.revised(
            self.describe(),
            self._note(plan, keep, has & known, missing),
            keep=keep,
            phase=phase,
            reason=f"no {self.by}",
            details={**details, "unknown": missing},
        ).conditioned(conditioning)
        for warning in warnings:
            made = made.warned(warning)
        return made

    def _values(self, plan: Plan, pool: Pool) -> Groups:
        """Each record's value as it is put before it; "" where there is none."""
        pool.require([self.by], "metadata_prefix")
        column = pool.column(self.by)
        try:
            raw = pc.fill_null(pc.cast(column, pa.string()), "")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # which types become text, Arrow tells only when tried
            raise DataError(
                f"metadata_prefix puts text before records, and {self.by} is of type {column.type}. Name a column of "
                f"text or numbers, such as one field of it: {self.by}.FIELD."
            ) from None
        found = Groups.of(self.by, pa.array(raw.combine_chunks()))
        clean = [self._clean(name) for name in found.names]
        return Groups.of(self.by, pa.array(clean, pa.string()).take(pa.array(found.index)))

    def _clean(self, value: str) -> str:
        if self.host:
            try:
                value = urlsplit(value if "//" in value else f"//{value}").hostname or ""
            except ValueError:  # no URL, so its host is unknown
                value = ""
        return " ".join(value.split())[: self.longest].rstrip()

    def _parted(self, plan: Plan, keep: Bools, run: Run) -> tuple[Bools, npt.NDArray[np.int16]]:
        """Which records are in the first part, and the phase of each; every source is cut at the same share."""
        read = (plan.sizes * plan.repeats * keep).astype(np.float64)
        cut = (1 - self.share if self.reverse else self.share) * read.sum()
        lot, by = run.uniform(plan.ids, "phase"), plan.sources
        first, phase = np.zeros(len(plan), bool), np.zeros(len(plan), np.int16)
        before, number = 0.0, 0
        for stage in np.unique(plan.phase[keep]):
            mine = np.flatnonzero(keep & (plan.phase == stage))
            amount = read[mine].sum()
            part = (cut - before) / max(amount, 1.0)
            # ranked ones first, in their order: whoever ranked them wants that
            order = mine[np.lexsort((lot[mine], plan.rank[mine], by.index[mine]))]
            whole = np.bincount(by.index[order], read[order], len(by.names))
            ahead = (np.cumsum(whole) - whole)[by.index[order]]
            place = (np.cumsum(read[order]) - read[order] / 2 - ahead) / np.maximum(whole, 1.0)[by.index[order]]
            early = place < part
            first[order] = early
            phase[order] = number + (~early if early.any() else 0)
            number = int(phase[order].max()) + 1
            before += amount
        return first, phase

    def _judged(
        self, plan: Plan, keep: Bools, has: Bools, known: Bools, values: Groups
    ) -> tuple[dict[str, Any], list[str]]:
        read = plan.sizes * plan.repeats * keep
        parts = [read * has, read * ~has]
        shares = [plan.sources.sums(part) / max(part.sum(), 1) for part in parts]
        counts = values.sums(keep & has & known)
        counts = counts[counts > 0]
        details = {
            "conditioned": int((parts[0] * known).sum()),
            "plain": int((parts[1] + parts[0] * ~known).sum()),
            "values": int(counts.size),
            "of_one_record": int((counts == 1).sum()),
            "sources": [dict(zip(plan.sources.names, row.tolist(), strict=True)) for row in shares],
        }
        warnings = []
        if self.share < 1 and not parts[1].any():
            warnings.append("nothing is left for the plain part: the model ends on prefixes. Keep more records")
        elif self.share < 1 and np.abs(shares[0] - shares[1]).max() > OFF:
            name = plan.sources.names[int(np.abs(shares[0] - shares[1]).argmax())]
            warnings.append(f"{name!r} has another share of the plain part than of the rest: too few records")
        if counts.size == 1:
            warnings.append(f"all records have the same {self.by}: the prefix tells nothing")
        elif (counts == 1).sum() > SINGLE * counts.sum():
            hint = "" if self.host else "; of URLs take the `host`"
            warnings.append(f"most values of {self.by} name a single record, which tells nothing of others{hint}")
        return details, warnings

    def _note(self, plan: Plan, keep: Bools, has: Bools, missing: int) -> str:
        read = plan.sizes * plan.repeats * keep
        part = float((read * has).sum() / max(read.sum(), 1))
        order = "the rest is plain" if not self.reverse else "the rest is plain and read first"
        way = {"keep": "read plain", "drop": "dropped", "error": ""}[self.unknown]
        lost = f"; {missing:,} without one {way}" if missing else ""
        again = "; prefixes of before are gone" if plan.conditioning is not None else ""
        return f"{self.by} before {part:.0%} of what is read, {order}{lost}{again}"
