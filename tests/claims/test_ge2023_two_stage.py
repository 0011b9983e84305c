from __future__ import annotations

from tilth.claims import ge2023_two_stage


def test_every_statement_holds() -> None:
    rows = ge2023_two_stage.run(None)
    assert len(rows) == 7
    assert [row["statement"] for row in rows if row["holds"] != "yes"] == []
    slopes = [row["here"] for row in rows if "slope" in row["statement"]]
    assert all(-1.15 <= value <= -0.85 for value in slopes)
