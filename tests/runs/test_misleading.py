"""Results do not mislead: which run it was, what is pooled, what is overwritten, what is impossible."""

import json

import pytest
import torch

from dlx.errors import UsageError
from dlx.interpretability.choice import parse_class
from dlx.models.markov.viterbi import viterbi
from dlx.runs.outputs import check_outputs, record_outputs
from dlx.runs.rundir import find_run
from tests.verbs import fake


def test_last_refuses_where_a_newer_run_failed_and_names_the_older():
    fake("old", "2026-01-01T00:00:00.000+00:00")
    fake("new", "2026-01-02T00:00:00.000+00:00", status="failed", error="memory ran out")
    with pytest.raises(UsageError, match=r"outputs/new, which failed \(memory ran out\).*outputs/old; type old"):
        find_run("last")
    assert find_run("old").directory.name == "old"
    assert find_run("last", allow_failed=True).directory.name == "new"


def test_a_file_of_another_run_is_not_overwritten(tmp_path):
    one, two = fake("one", "2026-01-01"), fake("two", "2026-01-02")
    picture = tmp_path / "sample.png"
    check_outputs(one, [picture])
    picture.write_bytes(b"one")
    record_outputs(one, [picture])
    check_outputs(one, [picture])
    with pytest.raises(UsageError, match=r"sample.png is there already, and is not of outputs/two; type -o "):
        check_outputs(two, [picture])
    picture.unlink()
    picture.write_bytes(b"the user's own")
    with pytest.raises(UsageError, match="is there already"):
        check_outputs(one, [picture])


def test_runs_by_says_what_it_pools(capsys):
    for name, dataset, seed in (("a", "digits", 0), ("b", "iris", 0), ("c", "digits", 1)):
        fake(name, "2026-01-01", metrics={"test/accuracy": 0.5}, model="mlp", dataset=dataset, seed=seed)
    from dlx.cli.commands.runs import command

    command.main(["--by", "model"], standalone_mode=False)
    assert "a mean over different dataset: digits, iris; type --by model,dataset" in capsys.readouterr().err
    command.main(["--by", "model,dataset"], standalone_mode=False)
    assert "different" not in capsys.readouterr().err


def test_a_class_is_its_name_first_and_its_number_only_else():
    assert parse_class("1", ["2", "1", "0"], 3) == 1
    assert parse_class("0", ["2", "1", "0"], 3) == 2
    assert parse_class("0", ["cat", "dog"], 2) == 0


def test_an_impossible_sequence_has_no_path():
    log_start, log_transition = torch.tensor([0.5, 0.5]).log(), torch.full((2, 2), 0.5).log()
    possible, impossible = torch.zeros(3, 2), torch.tensor([[0.0, 0.0], [-torch.inf, -torch.inf], [0.0, 0.0]])
    path, score = viterbi(log_start, log_transition, torch.stack([possible, impossible]), torch.tensor([3, 3]))
    assert path.tolist() == [[0, 0, 0], [-1, -1, -1]]
    assert score[0].isfinite()
    assert score[1] == -torch.inf


def test_an_impossible_sequence_is_said_with_what_helps(train, capsys):
    """A symbol that training never saw: log p is -inf everywhere, never NaN, and JSON says "-inf"."""
    from dlx.cli.commands.evaluate import command

    run = train("run", "model=categorical_hmm", "dataset.examples=40", "trainer.epochs=1", "model.emission_prior=1.0")
    path = run.checkpoints / ("best.pt" if (run.checkpoints / "best.pt").exists() else "last.pt")
    content = torch.load(path, weights_only=True)
    (name,) = [name for name in content["model"] if "emission" in name]
    content["model"][name][:, 0] = -torch.inf  # no state gives the first symbol
    torch.save(content, path)
    capsys.readouterr()
    command.main([str(run.directory), "--json"], standalone_mode=False)
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["test/log_likelihood"] == "-inf"
    assert metrics["test/nats_per_next_step"] == "inf"
    assert 0 < metrics["test/impossible"] <= 1
    command.main([str(run.directory)], standalone_mode=False)
    assert "sequences are impossible under this model" in capsys.readouterr().err
