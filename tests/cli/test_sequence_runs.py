"""Sequences from the configuration to the prediction: trained, resumed, and each predicted as if it stood alone."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.datasets.images import idx
from dlx.errors import UsageError
from tests.conftest import same, write
from tests.datasets.images.test_images import write_mnist
from tests.datasets.sequences.test_music import matlab
from tests.verbs import dlx, trained

SHORT = ("trainer.epochs=2", "trainer.batch=4", "logger.tensorboard.graph=true")
NETWORK = ("model=gru", "model.hidden=8", *SHORT)


def table(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


@pytest.fixture
def series(random):
    """Rising and falling series of two channels and 3 to 9 steps, the files of a training and of a test part."""
    lines = []
    for i in range(40):
        n, up = int(random.integers(3, 10)), i % 2
        values = np.arange(n) * (1 if up else -1) + random.normal(size=(2, n)) * 0.1
        lines.append(":".join(",".join(f"{v:.3f}" for v in channel) for channel in values) + f":{('down', 'up')[up]}")
    header = "@dimensions 2\n@classLabel true down up\n@data\n"
    write(header + "\n".join(lines[:30]), "a_TRAIN.ts")
    return [
        "dataset=timeseries",
        "dataset.path=a_TRAIN.ts",
        f"dataset.test_path={write(header + chr(10).join(lines[30:]), 'a_TEST.ts')}",
    ]


def test_time_series_are_told_apart_and_predicted(tmp_path, series):
    run = trained(tmp_path / "run", *series, *NETWORK, "trainer.epochs=30", "optimizer.lr=0.02")
    assert run.read()["metrics"]["test/accuracy"] == 1
    found = table(dlx("predict", run.directory, "a_TEST.ts"))
    assert [row["label"] for row in found] == ["down", "up"] * 5
    lines = Path("a_TEST.ts").read_text().splitlines()
    for i, line in enumerate(lines[3:]):
        write("\n".join([*lines[:3], line]), "one.ts")
        (alone,) = table(dlx("predict", run.directory, "one.ts"))
        assert float(alone["probability_up"]) == pytest.approx(float(found[i]["probability_up"]), abs=1e-5)


def test_the_next_values_of_series_cost_their_squared_error(tmp_path, series):
    """And not the Bernoulli cost, which real numbers have none of; the outputs are the channels', not the labels'."""
    named = (*series, "task=prediction", "dataset.scale=none")
    run = trained(tmp_path / "run", *named, *NETWORK)
    import dlx as package

    model, costs = package.load(run.directory).model, []
    for line in Path("a_TEST.ts").read_text().splitlines()[3:]:
        x = torch.tensor([[float(v) for v in channel.split(",")] for channel in line.split(":")[:-1]]).T
        costs.append((model.steps(x[None, :-1])[0][0] - x[1:]).square().mean(1))
    metrics = run.read()["metrics"]
    assert metrics["test/loss"] == pytest.approx(torch.cat(costs).mean().item(), rel=1e-4)
    assert metrics["test/rmse"] ** 2 == pytest.approx(metrics["test/loss"])
    with pytest.raises(UsageError, match=r"holds values from -.* to .*; needed: from 0 to 1; type task.cost=mse"):
        trained(tmp_path / "bits", *named, *NETWORK, "task.cost=bernoulli")
    bits = ("dataset=switching_bits", "dataset.regimes=2", "dataset.examples=20", "task=prediction")
    with pytest.raises(UsageError, match=r"of 2 outputs; needed: 12, one for each value .*; type model.outputs=12"):
        trained(tmp_path / "labels", *bits, *NETWORK)
    assert not any((tmp_path / name).exists() for name in ("bits", "labels"))


def test_series_of_different_lengths_for_a_model_of_one_length(tmp_path, series):
    run = trained(tmp_path / "run", *series, "model=mlp", "model.hidden=[8]", "trainer.epochs=20", "trainer.batch=4")
    assert run.read()["metrics"]["test/accuracy"] > 0.8
    assert len(table(dlx("predict", run.directory, "a_TEST.ts"))) == 10
    np.save("long.npy", np.zeros((1, 12, 2)))
    with pytest.raises(UsageError, match=r"12 steps were given; needed: at most 9"):
        dlx("predict", run.directory, "long.npy")


def test_numbers_of_series(tmp_path):
    rows = "\n".join(f"{i / 10}\t{i}\t{i + 1}\t{i - 1}" for i in range(40))
    named = ("dataset=timeseries", f"dataset.path={write(rows, 'a.tsv')}")
    run = trained(tmp_path / "run", *named, "task=regression", *NETWORK, "trainer.epochs=60", "optimizer.lr=0.03")
    assert run.read()["metrics"]["test/r2"] > 0.9
    write("20\t21\t19\n", "new.tsv")  # no label
    (row,) = table(dlx("predict", run.directory, "new.tsv"))
    assert float(row["prediction"]) == pytest.approx(2, abs=0.3)
    with pytest.raises(UsageError, match="type task=regression"):
        trained(tmp_path / "no", *named, *NETWORK)


def sentences(random, n):
    words = {"N": ["dog", "cat", "bird"], "V": ["sees", "likes"], "D": ["the", "a"]}
    lines = []
    for _ in range(n):
        for tag in "DNVDN"[: int(random.integers(2, 6))]:
            lines.append(f"{random.choice(words[tag])}\t{tag}")
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("model", ["gru", "bilstm"])
def test_words_are_tagged(tmp_path, random, model):
    named = ("dataset=conll", f"dataset.path={write(sentences(random, 60), 'a.conll')}", f"model={model}")
    run = trained(tmp_path / "run", *named, *SHORT, "model.hidden=8", "trainer.epochs=15", "optimizer.lr=0.02")
    assert run.read()["metrics"]["test/accuracy"] == 1
    write("the\ncat\nsees\na\nunicorn\n\na\nbird\n", "new.txt")
    found = table(dlx("predict", run.directory, "new.txt"))
    assert [(row["sequence"], row["word"], row["label"]) for row in found][:4] == [
        ("0", "the", "D"),
        ("0", "cat", "N"),
        ("0", "sees", "V"),
        ("0", "a", "D"),
    ]
    assert [(row["sequence"], row["step"], row["word"], row["label"]) for row in found][5:] == [
        ("1", "0", "a", "D"),
        ("1", "1", "bird", "N"),
    ]
    dlx("predict", run.directory, "new.txt", "-o", "tagged.txt")
    lines = Path("tagged.txt").read_text().split("\n")
    assert (lines[1], lines[5:8]) == ("cat\tN", ["", "a\tD", "bird\tN"])
    dlx("predict", run.directory, "new.txt", "-o", "tagged.npz")
    with np.load("tagged.npz") as saved:
        assert saved["lengths"].tolist() == [5, 2]
        assert saved["label"][1, 2:].tolist() == [-1, -1, -1]


def test_chords_are_predicted(tmp_path, random):
    def pieces(n, steps=9):
        return [(random.random((int(random.integers(3, steps)), 12)) < 0.3).astype(np.uint8) for _ in range(n)]

    named = (
        "dataset=piano_roll",
        f"dataset.path={matlab(traindata=pieces(20), validdata=pieces(5), testdata=pieces(4))}",
    )
    run = trained(tmp_path / "run", *named, "model=lstm", "model.hidden=8", *SHORT, "dataset.transpose=2")
    assert run.read()["metrics"]["test/nats_per_step"] > 0
    given = pieces(3)
    matlab("new.mat", traindata=given)
    dlx("predict", run.directory, "new.mat", "-o", "out.npz")
    with np.load("out.npz") as saved:
        lengths, prediction = saved["lengths"], saved["prediction"]
    assert lengths.tolist() == [len(piece) for piece in given]
    np.save("one.npy", given[1])
    dlx("predict", run.directory, "one.npy", "-o", "one.npz")
    with np.load("one.npz") as saved:
        assert np.allclose(saved["prediction"][0], prediction[1, : lengths[1]], atol=1e-6)
    assert len(table(dlx("predict", run.directory, "new.mat"))) == sum(lengths)


def test_lists_of_sequences_from_python(tmp_path, series):
    import dlx as package

    run = trained(tmp_path / "run", *series, *NETWORK)
    loaded = package.load(run.directory)
    given = [np.ones((n, 2)) for n in (3, 5, 4)]
    found = loaded.predictions(given)["probability"]
    for x, wanted in zip(given, found, strict=True):
        assert np.allclose(loaded.predictions(x)["probability"][0], wanted, atol=1e-6)


@pytest.mark.parametrize("data", ["series", "sentences"])
def test_a_run_cut_off_within_an_epoch_goes_on_exactly(train, resume, series, random, data):
    from dlx.training.checkpoint import load

    if data == "series":
        options = [*series, *NETWORK]
    else:
        options = ["dataset=conll", f"dataset.path={write(sentences(random, 60), 'a.conll')}", *NETWORK]
    straight = train("straight", *options)
    stopped = train("stopped", *options, "trainer.max_steps=5")
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert all(same(one[part], two[part]) for part in ("model", "procedure", "trainer", "random"))


def test_pixels_are_predicted_from_pictures(tmp_path, images):
    from PIL import Image

    options = ("dataset=sequence_digits", "dataset.shape=[8,8]", "dataset.permutation=1")
    run = trained(tmp_path / "run", *options, *NETWORK, "dataset.limit=100")
    np.save("x.npy", images)
    np.save("rows.npy", images.reshape(20, 64))
    Path("pictures").mkdir()
    for i, image in enumerate(images):
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(f"pictures/{i:02}.png")
    found = [table(dlx("predict", run.directory, name)) for name in ("x.npy", "rows.npy", "pictures")]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert float(a["probability_3"]) == pytest.approx(float(b["probability_3"]), abs=1e-5)


def test_text_is_predicted_at_its_own_length(tmp_path):
    write("to be or not to be, " * 40, "a.txt")
    run = trained(tmp_path / "run", "dataset=text", "dataset.path=a.txt", "dataset.length=16", *NETWORK)
    assert torch.isfinite(torch.tensor(run.read()["metrics"]["test/bits_per_step"]))
    write("to be or not to be, to be", "b.txt")
    found = table(dlx("predict", run.directory, "b.txt"))
    assert [int(row["sequence"]) for row in found] == [0] * 16 + [1] * 9
    assert {row["prediction"] for row in found} <= set("tobernta, ")  # characters, not their numbers


def test_piano_rolls_are_predicted_from_a_folder_and_drawn(tmp_path):
    import mido
    from PIL import Image

    for k in range(12):
        file = mido.MidiFile(ticks_per_beat=480)
        track = mido.MidiTrack()
        file.tracks.append(track)
        for note in range(60 + k, 70 + k):
            track += [mido.Message("note_on", note=note), mido.Message("note_off", note=note, time=480)]
        Path("songs").mkdir(exist_ok=True)
        file.save(f"songs/{k:02}.mid")
    run = trained(tmp_path / "run", "dataset=piano_roll", "dataset.path=songs", *NETWORK)
    found = table(dlx("predict", run.directory, "songs"))
    assert {int(row["sequence"]) for row in found} == set(range(12))
    dlx("sample", run.directory, "-n", "2", "--length", "20", "--temperature", "0", "-o", "rolls.png")
    dlx("sample", run.directory, "-n", "2", "--length", "20", "--temperature", "0", "-o", "rolls.npy")
    rolls, drawn = np.load("rolls.npy"), np.asarray(Image.open("rolls.png"))
    assert rolls.shape == (2, 20, 88)
    for k, roll in enumerate(rolls):  # black where a note sounds, the highest in the first row
        assert ((drawn[2:90, 2 + 22 * k : 22 + 22 * k] == 0) == (roll.T[::-1] > 0)).all()


def test_what_fits_is_told_before_anything_is_read(tmp_path):
    from dlx.config.report import ConfigError

    with pytest.raises(ConfigError, match=r"at every step; mlp does not; jsb is fit by .*elman.*type model="):
        trained(tmp_path / "run", "dataset=jsb")
    with pytest.raises(ConfigError, match=r"bigru reads from both ends"):
        trained(tmp_path / "run", "dataset=shakespeare", "model=bigru")
    told = dlx("list", "models", "--fits", "dataset=jsb")
    assert {"elman", "gru", "lstm"} <= set(told.split())
    assert not {"mlp", "bilstm", "lenet5"} & set(told.split())
    assert {"mlp", "bilstm"} <= set(dlx("list", "models", "--fits", "dataset=timeseries").split())
    assert {"jsb", "conll", "text"} <= set(dlx("list", "datasets", "--fits", "model=gru").split())


def test_the_chorales_below_the_data_folder(tmp_path, random):
    """The published file's place and form; and a batch of padded pieces is measured as its pieces one by one."""
    Path("data/music").mkdir(parents=True)
    pieces = [(random.random((n, 88)) < 0.05).astype(np.uint8) for n in (2, 9, 5, 3, 7, 160)]
    matlab("data/music/JSB_Chorales.mat", traindata=pieces, validdata=pieces[:2], testdata=pieces[:5])
    run = trained(tmp_path / "run", "dataset=jsb", "dataset.root=data", *NETWORK, "model.recurrent_dropout=0.5")
    found = [
        json.loads(dlx("evaluate", run.directory, f"trainer.batch={batch}", "--json"))["test/nats_per_step"]
        for batch in (1, 2, 5)
    ]
    assert found == pytest.approx([run.read()["metrics"]["test/nats_per_step"]] * 3, rel=1e-6)
    import dlx as package

    model, costs = package.load(run.directory).model, []
    for piece in pieces[:5]:
        x = torch.from_numpy(piece).float()
        p = model.steps(x[None, :-1])[0][0].sigmoid()
        costs.append(-(x[1:] * p.log() + (1 - x[1:]) * (1 - p).log()).sum(1))
    assert found[0] == pytest.approx(torch.cat(costs).mean().item(), rel=1e-4)


def test_a_hidden_markov_model_and_a_network_stand_on_one_curve(tmp_path, random):
    """What each pays for the steps that follow others, by hand; and the two curves drawn over each other."""
    pieces = [(random.random((int(random.integers(2, 9)), 12)) < 0.3).astype(np.uint8) for _ in range(20)]
    path = matlab(traindata=pieces, validdata=pieces[:5], testdata=pieces[:4])
    named = ("dataset=piano_roll", f"dataset.path={path}", "trainer.epochs=2")
    chain = trained(tmp_path / "chain", *named, "model=bernoulli_hmm", "model.states=2")
    network = trained(tmp_path / "network", *named, "model=elman", "model.hidden=8")
    import dlx as package

    model, nats = package.load(chain.directory).model, []
    for x in (torch.from_numpy(piece)[None].float() for piece in pieces[:4]):
        whole, first = (float(model.scores(part)["log_likelihood"].detach()) for part in (x, x[:, :1]))
        nats.append(first - whole)
    steps = sum(len(piece) - 1 for piece in pieces[:4])
    metrics = chain.read()["metrics"]
    assert metrics["test/nats_per_next_step"] == pytest.approx(sum(nats) / steps, rel=1e-5)
    metrics = network.read()["metrics"]
    assert metrics["test/nats_per_next_step"] == metrics["test/nats_per_step"]
    told = dlx("compare", chain.directory, network.directory, "--curve", "val/nats_per_next_step")
    ids = [run.read()["id"] for run in (chain, network)]
    assert told.rstrip().endswith(f"A {ids[0]}   B {ids[1]}")
    rows = [line.split() for line in told.splitlines() if line.startswith("val/nats_per_next_step ")]
    assert [row[1] for row in rows[1:3]] == ids


@pytest.mark.parametrize("dataset", ["sequence_mnist", "permuted_mnist"])
def test_digits_of_mnist_row_by_row(tmp_path, dataset):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    options = (f"dataset={dataset}", f"dataset.root={tmp_path}", "dataset.shape=[28,28]", "dataset.val=0.2")
    run = trained(tmp_path / "run", *options, *NETWORK)
    assert 0 <= run.read()["metrics"]["test/accuracy"] <= 1
    np.save("x.npy", idx.read_idx(raw / "t10k-images-idx3-ubyte"))
    assert len(table(dlx("predict", run.directory, "x.npy"))) == len(np.load("x.npy"))


def test_the_adding_problem_is_solved_when_it_is_short(tmp_path):
    options = ("dataset=adding", "dataset.length=6", "dataset.examples=2000", "trainer.epochs=8", "trainer.batch=32")
    run = trained(tmp_path / "run", "model=gru", "model.hidden=16", "optimizer.lr=0.02", *options)
    assert run.read()["metrics"]["test/mse"] < 0.02  # 1 always: 0.167
    found = json.loads(dlx("evaluate", run.directory, "--json"))
    assert found["test/mse"] == pytest.approx(run.read()["metrics"]["test/mse"], rel=1e-6)  # the same sequences


@pytest.mark.parametrize("procedure", ["backprop", "tbptt"])
def test_a_die_is_foretold(tmp_path, procedure):
    options = ("dataset=casino", f"procedure={procedure}", "model=elman", "model.hidden=8")
    run = trained(tmp_path / "run", *options, "trainer.epochs=3", "dataset.limit=60", "optimizer.lr=0.02")
    assert run.read()["metrics"]["test/nats_per_step"] < np.log(6) + 0.02
