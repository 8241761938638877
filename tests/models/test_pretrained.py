"""Weights from elsewhere: what is loaded, what is refused, and runs that begin with them."""

import copy
import json
import os
import pickle
import sys

import pytest
import torch
from torch import nn

from dlx.cli.main import main
from dlx.errors import UsageError
from dlx.models.convolutional.cnn import CNN
from dlx.models.convolutional.lenet5.lenet5 import LeNet5
from dlx.models.mlp import MLP
from dlx.models.pretrained import load_pretrained
from dlx.models.tensor_file import find_tensor_file, load_tensors
from dlx.training import checkpoint
from tests.conftest import same

LAYERS = [
    {"conv": 4, "padding": "same", "batch_norm": True},
    {"max_pool": 2},
    {"conv": 6, "batch_norm": True},
    {"dense": 8, "dropout": 0.5},
]
NET = ["model=cnn", "dataset=digits", "dataset.limit=200", "trainer.batch=32", "trainer.epochs=2"]
NET.append("model.layers=[{conv: 4, padding: same, batch_norm: true}, {max_pool: 2}, {conv: 6, batch_norm: true}]")


def cnn(channels=1, outputs=10, seed=0):
    torch.manual_seed(seed)
    return CNN((channels, 8, 8), outputs, LAYERS)


def saved(content, name="weights.pth"):
    torch.save(content, name)
    return find_tensor_file(name)


def weights(run, name="last"):
    return checkpoint.load(run.checkpoints / f"{name}.pt")["model"]


# -- files -----------------------------------------------------------------------------------------------------------

FORMS = {
    "state_dict": lambda state: state,
    "wrapped": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "wrapped twice": lambda state: {"model": {"params": state}},
    "DataParallel": lambda state: {f"module.{name}": t for name, t in state.items()},
    "compiled and parallel": lambda state: {"model": {f"module._orig_mod.{name}": t for name, t in state.items()}},
    "lightning": lambda state: {"state_dict": {f"net.{name}": t for name, t in state.items()}, "loops": {}},
    "PyTorch 0.4": lambda state: {name: t for name, t in state.items() if "num_batches" not in name},
    "parameters": lambda state: {name: nn.Parameter(t, requires_grad=False) for name, t in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_files_as_others_write_them(form):
    source, model = cnn(), cnn(seed=1)
    with torch.no_grad():
        source.layers.conv0_norm.running_mean.fill_(0.7)
    taken = load_pretrained(model, saved(FORMS[form](source.state_dict())), 10)
    assert same(model.state_dict(), source.state_dict())
    assert taken.fresh == {}
    assert taken.loaded == len(source.state_dict()) - (2 if form == "PyTorch 0.4" else 0)


def test_half_precision_becomes_the_models_own():
    source, model = cnn(), cnn(seed=1)
    load_pretrained(
        model, saved({name: t.half() if t.is_floating_point() else t for name, t in source.state_dict().items()}), 10
    )
    for one, two in zip(model.parameters(), source.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_old_files_without_an_archive():
    source, model = cnn(), cnn(seed=1)
    torch.save(source.state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    load_pretrained(model, find_tensor_file("old.pth"), 10)
    assert same(model.state_dict(), source.state_dict())


def test_safetensors_where_the_package_is():
    source, model = cnn(), cnn(seed=1)
    try:
        from safetensors.torch import save_file
    except ImportError:
        open("x.safetensors", "w").close()
        with pytest.raises(UsageError, match="pip install safetensors"):
            load_pretrained(model, find_tensor_file("x.safetensors"), 10)
    else:
        save_file(source.state_dict(), "x.safetensors")
        load_pretrained(model, find_tensor_file("x.safetensors"), 10)
        assert same(model.state_dict(), source.state_dict())


class Command:
    """Unpickled, it would run a command."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("write", ["torch", "torch, old", "pickle"])
def test_code_is_refused_and_not_run(write, tmp_path):
    content = {"state_dict": cnn().state_dict(), "extra": Command()}
    if write == "pickle":
        with open("weights.pth", "wb") as file:
            pickle.dump(content, file)
    else:
        torch.save(content, "weights.pth", _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(
        UsageError, match="nothing in it was run" if write == "pickle" else f"asks for {os.name}.system"
    ):
        load_tensors(find_tensor_file("weights.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_pickled_network_is_refused():
    torch.save(nn.Linear(2, 2), "weights.pth")
    with pytest.raises(UsageError, match=r"torch.nn.modules.linear.Linear.*torch.save\(model.state_dict\(\), FILE\)"):
        load_tensors(find_tensor_file("weights.pth"))


def test_files_that_hold_no_weights(tmp_path):
    path = saved(cnn().state_dict())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 100, b"hello"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"weights.pth (cannot be read|is not a file)"):
            load_tensors(path)
    bit = bytearray(whole)
    bit[len(whole) // 2] ^= 1
    path.write_bytes(bytes(bit))
    with pytest.raises(UsageError, match=r"weights.pth (is damaged|cannot be read)"):
        load_tensors(path)
    for content, has in (([1], "a list"), ({"lr": 0.1}, "the keys lr"), ({"model": {}}, "the keys model")):
        with pytest.raises(UsageError, match=f"holds {has}; needed: tensors by name"):
            load_tensors(saved(content))
    for missing in ("nowhere.pth", str(tmp_path)):
        with pytest.raises(UsageError, match=f"pretrained={missing} was given"):
            find_tensor_file(missing)


# -- what fits -------------------------------------------------------------------------------------------------------


def test_another_number_of_classes_leaves_the_head_fresh():
    source, model = cnn(outputs=1000), cnn(seed=1)
    before = copy.deepcopy(model.layers.output.state_dict())
    taken = load_pretrained(model, saved(source.state_dict()), 10)
    assert taken.fresh == {"layers.output": "weight is [10, 8] here, [1000, 8] there"}
    assert same(dict(model.layers.output.state_dict()), dict(before))
    for name in ("conv0", "conv0_norm", "conv2", "conv2_norm", "dense3"):
        assert same(dict(getattr(model.layers, name).state_dict()), dict(getattr(source.layers, name).state_dict()))
    assert "fresh: layers.output (" in str(taken)


def test_another_number_of_channels_leaves_the_first_layer_fresh():
    source, model = cnn(channels=3), cnn(seed=1)
    before = copy.deepcopy(model.layers.conv0.state_dict())
    taken = load_pretrained(model, saved(source.state_dict()), 10)
    assert list(taken.fresh) == ["layers.conv0"]
    assert same(dict(model.layers.conv0.state_dict()), dict(before)), "its bias is fresh too"
    assert torch.equal(model.layers.conv2.weight, source.layers.conv2.weight)


def test_another_architecture_is_refused_whole():
    model = LeNet5((1, 28, 28), 10)
    before = copy.deepcopy(model.state_dict())
    state = LeNet5((1, 28, 28), 10).state_dict()
    state["features.c_1.weight"] = state.pop("features.c1.weight")
    with pytest.raises(UsageError) as error:
        load_pretrained(model, saved(state), 10)
    assert "1 not in the file: features.c1.weight (closest there: features.c_1.weight)" in str(error.value)
    assert "1 not in the model: features.c_1.weight" in str(error.value)
    with pytest.raises(
        UsageError, match=r"classifier.c5.weight is \[120, 400\] here, \[120, 784\] there; .*dataset.size"
    ):
        load_pretrained(model, saved(LeNet5((1, 40, 40), 10).state_dict()), 10)
    with pytest.raises(UsageError, match=r"does not fit LeNet5: 10 not in the file"):
        load_pretrained(model, saved(MLP([4], 10).state_dict()), 10)
    assert same(dict(model.state_dict()), dict(before)), "nothing was loaded"


def test_auxiliary_heads_may_be_left_out():
    source, model = cnn(), cnn(seed=1)
    state = {**source.state_dict(), "aux1.fc.weight": torch.zeros(3), "aux1.fc.bias": torch.zeros(3)}
    load_pretrained(model, saved(state), 10)
    assert same(dict(model.state_dict()), dict(source.state_dict()))


# -- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_begins_where_another_ended(train):
    first = train("first", *NET)
    source = first.checkpoints / "best.pt"
    second = train(
        "second", *NET, f"pretrained={first.directory}", "freeze=[layers.conv*]", "seed=1", "optimizer=adamw"
    )
    about = second.read()
    assert about["pretrained"]["file"] == str(source)
    assert about["pretrained"]["loaded"] == about["pretrained"]["tensors"] == 16
    assert about["frozen"] == ["layers.conv0", "layers.conv0_norm", "layers.conv2", "layers.conv2_norm"]
    before, after = weights(first, "best"), weights(second)
    moved = {name for name in before if not same(before[name], after[name])}
    assert moved == {"layers.output.weight", "layers.output.bias"}, "running means stay too"
    assert weights(train("third", *NET, f"pretrained={source}", "seed=1")).keys() == before.keys()


def test_what_was_done_is_said_before_training(train, capsys):
    torch.save(CNN((3, 8, 8), 1000, LAYERS[:3]).state_dict(), "net.pth")
    run = train("run", *NET, "pretrained=net.pth", "freeze=[layers.conv2*]")
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("pretrained: 12 of 16 tensors from net.pth; fresh: layers.conv0 (")
    assert "layers.output (weight is [10, 24] here, [1000, 24] there" in out[1]
    assert out[2] == f"frozen: layers.conv2, layers.conv2_norm, {4 * 6 * 9 + 6 + 12} parameters"
    assert list(run.read()["pretrained"]["fresh"]) == ["layers.conv0", "layers.output"]


def test_resumed_equals_uninterrupted_without_the_file(train, resume, tmp_path):
    torch.save(CNN((1, 8, 8), 7, LAYERS[:3]).state_dict(), "net.pth")
    settings = (*NET, "pretrained=net.pth", "freeze=[layers.conv0*]", "trainer.epochs=3")
    straight = train("straight", *settings)
    stopped = train("stopped", *settings, "trainer.max_steps=7")
    (tmp_path / "net.pth").unlink()
    resume(stopped, trainer__max_steps=None)
    one, two = (checkpoint.load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert all(same(one[part], two[part]) for part in ("model", "procedure", "trainer", "random"))
    from dlx import api

    assert api.load(stopped.directory).evaluate()["test/accuracy"] == stopped.read()["metrics"]["test/accuracy"]


def test_a_run_that_saved_nothing_begins_anew_with_the_file(train, resume):
    torch.save(CNN((1, 8, 8), 10, LAYERS[:3]).state_dict(), "net.pth")
    run = train("run", *NET, "pretrained=net.pth")
    expected = weights(run)
    for file in run.checkpoints.glob("*.pt"):
        file.unlink()
    resume(run)
    assert same(weights(run), expected)


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["dlx", *words])
    code = 0
    try:
        code = main() or 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrained=nowhere.pth"], "there is no such file"),
        (["pretrained=3"], "pretrained was given 3; needed: text or null"),
        (["freeze=0.5"], "freeze was given 0.5; needed: text or a list"),
        (["freeze=[layers]"], "leaves nothing to learn"),
        (["freeze=[nothing]"], "no module of the model has such a name"),
        (["pretrained=net.pth", "freeze=backbone"], "layers.conv0, which net.pth has no weights for"),
        (["model=svm", "freeze=backbone"], "Classifier"),
        (["model=svm", "pretrained=net.pth"], "needed: a model with parameters"),
    ],
    ids=str,
)
def test_mistakes_leave_no_run_behind(words, message, monkeypatch, capsys, tmp_path):
    torch.save(CNN((3, 8, 8), 10, LAYERS[:3]).state_dict(), "net.pth")
    code, err = command(monkeypatch, capsys, "train", *(words if words[0] == "model=svm" else [*NET, *words]))
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("outputs/**/run.json"))


# -- torchvision's weights -------------------------------------------------------------------------------------------


def test_torchvisions_resnet18_with_a_frozen_backbone(train):
    """Random weights: the features of an untrained network tell digits apart well enough for a linear layer."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18()
    theirs.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.save(theirs.state_dict(), "resnet18.pth")
    run = train(
        "run",
        *("model=resnet18", "dataset=digits28", "dataset.limit=300", "dataset.scale=standard", "optimizer.lr=0.01"),
        *("pretrained=resnet18.pth", "freeze=backbone", "trainer.epochs=3", "trainer.batch=64"),
    )
    about, after = run.read(), weights(run)
    assert list(about["pretrained"]["fresh"]) == ["fc"]
    assert about["frozen_parameters"] == about["parameters"] - (512 * 10 + 10)
    moved = {name for name, t in theirs.state_dict().items() if not same(t, after[name])}
    assert moved == {"fc.weight", "fc.bias"}
    assert about["metrics"]["test/accuracy"] > 0.5
    assert json.loads((run.directory / "run.json").read_text())["frozen"][:3] == ["conv1", "bn1", "layer1"]
