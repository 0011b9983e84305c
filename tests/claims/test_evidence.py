"""Claims about evidence itself need no data: truth is simulated. Every statement must hold."""

from __future__ import annotations

import importlib

import pytest

NAMES = ("vilares2017_learning_curves", "dodge2020_seeds", "akinwande2023_pac_bayes", "dahl2023_algoperf")


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_holds(name: str) -> None:
    rows = importlib.import_module(f"tilth.claims.{name}").run(None)
    assert len(rows) >= 7
    assert [row for row in rows if row["holds"] != "yes"] == []
