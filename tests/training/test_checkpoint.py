import errno
import os

import pytest
import torch

from dlx.errors import TrainingError, UsageError
from dlx.training.checkpoint import Checkpoints, load, save


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_round_trip_keeps_tensors_and_numbers(tmp_path):
    save(tmp_path / "a.pt", {"w": torch.arange(3.0), "n": 3, "names": ["a"]})
    content = load(tmp_path / "a.pt")
    assert torch.equal(content["w"], torch.arange(3.0))
    assert (content["n"], content["names"]) == (3, ["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"], "nothing is left aside"


@pytest.mark.parametrize("keep", [0, 10, 500, -20])
def test_truncated_is_named(tmp_path, keep):
    path = tmp_path / "a.pt"
    save(path, {"w": torch.arange(1000.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"a\.pt"):
        load(path)


def test_flipped_bit_is_named(tmp_path):
    path = tmp_path / "a.pt"
    save(path, {"w": torch.zeros(1000)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UsageError, match="damaged"):
        load(path)


def test_code_is_never_run(tmp_path):
    torch.save({"format": 1, "model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match=r"evil\.pt"):
        load(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


def test_previous_is_used_when_the_last_is_damaged(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_last({"n": 1})
    checkpoints.save_last({"n": 2})
    assert checkpoints.load_latest() == ({"format": 1, "n": 2}, None)
    (tmp_path / "last.pt").write_bytes(b"half a file")
    content, note = checkpoints.load_latest()
    assert content["n"] == 1
    assert note is not None
    assert "last.pt" in note
    assert "previous.pt" in note


def test_best_is_written_with_the_next_last(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    w = torch.ones(2)
    checkpoints.save_best({"w": w}, {"epoch": 1})
    w.zero_()  # learning goes on; the best stays as it was
    checkpoints.save_last({"n": 1})
    assert torch.equal(load(tmp_path / "best.pt")["model"]["w"], torch.ones(2))


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save(path, {"n": 1})

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space left"):
        save(path, {"n": 2})
    assert load(path)["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the kernel's full device")
def test_a_really_full_device(tmp_path):
    (tmp_path / "a.pt.new").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="No space left"):
        save(tmp_path / "a.pt", {"w": torch.zeros(100000)})
