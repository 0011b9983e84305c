"""keep: what it accepts, how it treats nulls, what it writes down, and that it cannot reach out."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError, EmptyPlan, MissingColumns
from tilth.policies.select.keep import Keep, explain

BUDGET = Budget(100, "records")


def pool(fragment: int = 1 << 16) -> TablePool:
    quality = pa.StructArray.from_arrays(
        [pa.array([10, 60, None, 90, 120]), pa.array([0.1, 0.9, 0.8, None, 0.7], pa.float32())], ["words", "score"]
    )
    table = pa.table(
        {
            "text": ["short", "Zürich \x00 naïve", "🙂\u0301", "", "مرحبا\r\n"],
            "quality": quality,
            "dup": [True, False, False, False, None],
        }
    )
    return TablePool(table, fragment=fragment)


def decide(where: str, on: TablePool | None = None, plan: Plan | None = None, **fields: str) -> Plan:
    on = on or pool()
    plan = plan or Plan.everything(on, BUDGET)
    return Keep(where=where, **fields).revise(plan, on, Goal(on, on, BUDGET), Run())


def test_keeps_what_holds_and_counts_the_rest() -> None:
    plan = decide("quality.words >= 50 and not dup")
    assert plan.kept.tolist() == [False, True, False, True, False]
    decision = plan.decisions[0]
    assert decision.records == (5, 2)
    assert decision.details["conjuncts"] == [
        {"where": "(quality.words >= 50)", "false": 1, "unknown": 1},
        {"where": "(NOT dup)", "false": 1, "unknown": 1},
    ]
    assert "2 unknown (dropped)" in decision.note


def test_unknown_is_kept_or_an_error_only_when_asked() -> None:
    kept = decide("quality.words >= 50 and not dup", unknown="keep")
    assert kept.kept.tolist() == [False, True, True, True, True]
    with pytest.raises(DataError, match=r"2 of 5 records leave \(quality.words >= 50\) and \(NOT dup\) unknown"):
        decide("quality.words >= 50 and not dup", unknown="error")


def test_false_wins_over_unknown() -> None:
    """NULL AND FALSE is FALSE in SQL: such a record is not 'unknown'."""
    plan = decide("quality.words is null or quality.words > 50", unknown="error")
    assert plan.kept.tolist() == [False, True, True, True, True]
    plan = decide("quality.score > 0.75 and quality.words > 50 and quality.words < 80", unknown="keep")
    assert plan.kept.tolist() == [False, True, True, False, False]


def test_only_kept_records_are_considered() -> None:
    first = decide("quality.words is not null")
    second = decide("quality.words < 100", plan=first, unknown="error")
    assert second.kept.tolist() == [True, True, False, True, False]
    assert second.dropped_by.tolist() == [-1, -1, 0, -1, 1]


@pytest.mark.parametrize("fragment", [1, 2, 5])
def test_fragments_do_not_matter(fragment: int) -> None:
    assert decide("quality.words > 50 or dup", pool(fragment)).kept.tolist() == [True, True, False, True, True]


def test_drops_nothing_is_said_and_drops_all_is_an_error() -> None:
    assert decide("length(text) >= 0").decisions[0].note.endswith("drops nothing")
    with pytest.raises(EmptyPlan, match="keep drops all 5 records"):
        decide("quality.words > 1000")


def test_strings_and_constants() -> None:
    assert decide("text like 'Z%' or text = 'مرحبا\r\n'").kept.tolist() == [False, True, False, False, True]
    assert (
        decide("length(text) > 0 and text <> '\"'").decisions[0].details["conjuncts"][0]["where"]
        == "(length(text) > 0)"
    )
    assert decide("true").kept.all()


def test_empty_pool_is_read_without_error() -> None:
    empty = TablePool(pool()._table.slice(0, 0))
    with pytest.raises(EmptyPlan, match="drops all 0 records"):
        decide("quality.words > 5", empty)


def test_needs_are_read_from_the_condition() -> None:
    keep = Keep(where="rps.words >= 5 and not (minhash.duplicate or source in ('a', 'b')) and rps.words < 9")
    assert keep.needs == ("rps.words", "minhash.duplicate", "source")


def test_unknown_column_names_the_nearest() -> None:
    with pytest.raises(MissingColumns, match=r"quality.word.*Did you mean quality.words"):
        decide("quality.word > 5")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("a = 1; drop table b", "more than one expression|cannot be read"),
        ("a = 1; select 2", "more than one expression"),
        ("a from b", "more than one expression"),
        ("a > 1 limit 1", "more than one expression"),
        ("a > 1, b > 1", "more than one expression"),
        ("a > 1 union select true", "more than one expression"),
        ("(select true)", "uses subquery"),
        ("exists (from read_text('/etc/passwd'))", "uses subquery"),
        ("count(*) over () > 1", "uses window"),
        ("random() < 0.5", "calls random"),
        ("now() > created", "calls now"),
        ("max(a) > 1", "calls max"),
        ("read_text('/etc/passwd') = ''", "calls read_text"),
        ("lenght(a) > 1", "did you mean length"),
        ("*", "uses star"),
        ("a >", "cannot be read as SQL"),
        ("", "cannot be read as SQL"),
    ],
)
def test_anything_but_a_condition_is_refused(where: str, why: str) -> None:
    with pytest.raises(BadField, match=why):
        Keep(where=where)


def test_a_number_is_not_a_condition() -> None:
    with pytest.raises(BadField, match="not true or false"):
        decide("quality.words")
    with pytest.raises(BadField, match="keep cannot evaluate"):
        decide("text + 1 > quality.words")


def test_a_negative_control_keeps_the_same_records() -> None:
    keep = Keep(where="n > 2 and not dup")
    assert keep.worst() == keep


def test_explain_agrees_with_the_decision() -> None:
    where = "quality.words >= 50 and not dup and (quality.score > 0.5 or text = '')"
    plan, on = decide(where), pool()
    rows = on.table(list(Keep(where=where).needs)).to_pylist()
    for row, kept in zip(rows, plan.kept, strict=True):
        held = explain(where, row)
        assert [h for _, h, _ in held].count(True) == 3 if kept else any(h is not True for _, h, _ in held)
    assert explain(where, rows[4])[1] == ("(NOT dup)", None, {"dup": None})
