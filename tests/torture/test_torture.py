"""A small part of `make torture`: one chain of kills, one of failing writes."""

import pytest

from tests.torture.chain import torture


@pytest.mark.integration
@pytest.mark.parametrize("kinds", [("kill at save", "torn write"), ("EIO", "two signals")])
def test_a_broken_run_becomes_the_unbroken_one(kinds, tmp_path):
    result = torture("mlp", tmp_path / "runs", seed=0, faults=2, kinds=kinds)
    assert result["differences"] == []
