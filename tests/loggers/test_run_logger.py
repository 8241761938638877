"""What a run's logger writes, TensorBoard's files read by TensorBoard's own code."""

import json
import math
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as ServerAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.histogram_pb2 import HistogramProto
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c, masked_crc32c
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from torch import nn

from dlx.errors import TrainingError, UsageError
from dlx.figures import figures
from dlx.loggers import jsonl
from dlx.loggers.histogram import compute_histogram, compute_histograms, compute_parameter_histograms
from dlx.loggers.logger import Logger
from dlx.loggers.run_logger import RunLogger
from dlx.loggers.tensorboard import events, graph
from dlx.loggers.tensorboard.histogram import encode_histogram
from dlx.loggers.tensorboard.tensorboard import TensorBoardLogger, flatten_config


def accumulate(directory: Path) -> EventAccumulator:
    # Its default keeps a sample of the points; 0 keeps all.
    return EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0, "histograms": 0}).Reload()


def points(directory: Path, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in accumulate(directory).Scalars(tag)]


def logged(directory: Path, resume_step: int | None = None, every: int = 50, keep: int = 1, **given: bool) -> RunLogger:
    """A run's logger with TensorBoard's."""
    return RunLogger(directory, resume_step, {"tensorboard": TensorBoardLogger(**given)}, every=every, keep=keep)


def train(logger: RunLogger, first: int, last: int) -> None:
    for step in range(first, last + 1):
        logger.scalars("train", {"loss": torch.tensor(1 / step), "rate": 0.1}, step)
        if step % 10 == 0:
            logger.epoch = step // 10
            logger.scalars("val", {"accuracy": 1 - 1 / step}, step)
            assert logger.flush() is None


# -- the event file


@pytest.mark.parametrize("length", [4, 5, 8, 255, 256, 257, 1000])
def test_checksum_is_tensorboards(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()
    assert events.mask_checksum(events.compute_crc32c(data)) == masked_crc32c(data)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**35 - 1, 2**63 - 1, -1])
def test_varint_is_protobufs(number: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    assert Event.FromString(events.field(2, number)).step == number


def test_scalars_reach_tensorboard_exactly(tmp_path: Path) -> None:
    tags = ["a", "train/loss", "ü/" + "long" * 100]
    given = [(tag, step, 1e9 + step / 7, step / 3) for step in (0, 1, 127, 128, 2**34) for tag in tags]
    file = events.EventFile(tmp_path)
    file.scalars([])
    file.scalars(given)
    file.scalars([("nan", 1, 0.0, math.nan), ("nan", 2, 0.0, -math.inf), ("nan", 3, 0.0, 1e300)])
    file.close()
    assert all(len(raw) for raw in RawEventFileLoader(str(file.path)).Load())  # every checksum is right
    read = accumulate(tmp_path)
    assert read.file_version == 2.0
    for tag in tags:
        wanted = [(wall, step, float(np.float32(value))) for name, step, wall, value in given if name == tag]
        assert [(point.wall_time, point.step, point.value) for point in read.Scalars(tag)] == wanted
    nan, low, high = (point.value for point in read.Scalars("nan"))
    assert math.isnan(nan)
    assert (low, high) == (-math.inf, math.inf)


def test_files_of_one_second_keep_their_order(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        file = events.EventFile(tmp_path)
        names.append(file.path.name)
        file.close()
    assert names == sorted(names)
    assert len(set(names)) == 3


def test_pictures_text_histograms(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    picture = torch.rand(3, 5, 7)
    logger.images("task/picture", torch.zeros(1, 4, 4), 1)
    logger.images("task/picture", picture, 2)
    logger.images("grey", torch.full((4, 6), 255, dtype=torch.uint8), 2)
    logger.config("model:\n  hidden: 9")
    model = nn.Linear(100, 50)
    with torch.no_grad():
        model.bias.fill_(2.0)
    logger.histograms(partial(compute_parameter_histograms, model), 3)
    logger.close()
    read = accumulate(tmp_path)
    first, second = read.Images("task/picture")
    assert (first.step, second.step, second.height, second.width) == (1, 2, 5, 7)
    assert second.encoded_image_string == (tmp_path / "figures/task_picture.png").read_bytes()
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "figures/task_picture.png"))
    assert np.array_equal(pixels, (picture * 255).round().byte().permute(1, 2, 0).numpy())
    assert np.asarray(Image.open(tmp_path / "figures/grey.png")).tolist() == [[255] * 6] * 4
    (text,) = read.Tensors("config")
    assert text.tensor_proto.string_val[0].decode() == "    model:\n      hidden: 9\n"
    assert read.SummaryMetadata("config").plugin_data.plugin_name == "text"
    (weight,), (bias,) = read.Histograms("weights/weight"), read.Histograms("weights/bias")
    values = model.weight.detach().numpy()
    counts, edges = np.histogram(values, 40)
    assert np.abs(np.array(weight.histogram_value.bucket) - counts).sum() <= 2  # a value on an edge
    assert weight.histogram_value.bucket_limit == pytest.approx(edges[1:], abs=1e-7)
    assert weight.histogram_value.sum_squares == pytest.approx((values**2).sum(), rel=1e-5)
    assert (bias.histogram_value.num, bias.histogram_value.min, bias.histogram_value.max) == (50, 2, 2)


def test_histograms_of_many_are_those_of_each() -> None:
    torch.manual_seed(0)
    rows = torch.randn(9, 40, 7)
    rows[3] = 2.0
    for own, proto in zip(rows, map(encode_histogram, compute_histograms(rows)), strict=True):
        theirs = HistogramProto.FromString(encode_histogram(compute_histogram(own)))
        ours = HistogramProto.FromString(proto)
        assert (ours.min, ours.max, ours.num) == (theirs.min, theirs.max, theirs.num)
        assert (list(ours.bucket), list(ours.bucket_limit)) == (list(theirs.bucket), list(theirs.bucket_limit))
        assert (ours.sum, ours.sum_squares) == pytest.approx((theirs.sum, theirs.sum_squares), rel=1e-5, abs=1e-4)
    rows[5, 0, 0] = float("nan")
    assert compute_histograms(rows)[5].size == 279
    assert compute_histograms(torch.empty(2, 0)) == [None, None]


def test_checksums_of_long_records_are_tensorboards() -> None:
    noise = np.random.default_rng(0).bytes(200_001)
    for size in (4, 9, 255, 256, 257, 1000, 65_536, 65_541, 200_001):
        assert events.compute_crc32c(noise[:size]) ^ 0xFFFFFFFF == crc32c(noise[:size])


def test_histograms_thin_out(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    for epoch in range(1, 131):
        logger.epoch = epoch
        logger.histograms(partial(compute_parameter_histograms, nn.Linear(1, 1)), epoch)
    logger.close()
    steps = [point.step for point in accumulate(tmp_path).Histograms("weights/bias")]
    assert steps == [*range(1, 11), *range(20, 101, 10)]


# -- curves


def test_every_value_in_both_files(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    train(logger, 1, 25)
    logger.close()
    lines = jsonl.read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 26))
    assert [line["epoch"] for line in lines] == [*[0] * 9, *[1] * 10, *[2] * 6]
    assert [np.float32(line["train/loss"]) for line in lines] == [np.float32(1 / k) for k in range(1, 26)]
    assert [line["val/accuracy"] for line in lines if "val/accuracy" in line] == [0.9, 0.95]
    assert points(tmp_path, "train/loss") == [(k, float(np.float32(1 / k))) for k in range(1, 26)]
    assert points(tmp_path, "val/accuracy") == [(10, pytest.approx(0.9)), (20, pytest.approx(0.95))]


def test_one_line_a_step_across_flushes(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    logger.scalars("train", {"loss": torch.tensor(0.5, dtype=torch.float64) / 3}, 1)
    logger.flush()
    logger.scalars("train", {"lr": 1}, 1)
    logger.flush()
    logger.scalars("val", {"accuracy": True}, 1)
    logger.scalars("train", {"loss": torch.tensor(7)}, 2)
    logger.close()
    logger.close()
    first, second = jsonl.read_metrics(tmp_path / "metrics.jsonl")
    assert (first["train/loss"], first["train/lr"], first["val/accuracy"]) == (0.5 / 3, 1.0, 1.0)
    assert second["train/loss"] == 7
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert list(json.loads(line))[:3] == ["step", "epoch", "time"]


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device: those are fetched together."""

    is_cpu = False

    def item(self) -> float:
        raise AssertionError("a device was waited for")


def test_tensors_of_a_device_are_fetched_together(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    given = [0.1, 2, True, 3.5]
    dtypes = [torch.float32, torch.int64, torch.bool, torch.bfloat16]
    for step, (value, dtype) in enumerate(zip(given, dtypes, strict=True)):
        tensor = torch.tensor([value], dtype=dtype).as_subclass(Elsewhere)
        logger.scalars("train", {"there": tensor, "here": torch.tensor(float(step)), "plain": step}, step)
    logger.close()
    lines = jsonl.read_metrics(tmp_path / "metrics.jsonl")
    assert [np.float32(line["train/there"]) for line in lines] == [np.float32(value) for value in given]
    assert [line["train/here"] for line in lines] == [line["train/plain"] for line in lines] == [0, 1, 2, 3]


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    logger = logged(tmp_path, every=5)
    for step in range(1, 12):
        logger.scalars("train", {"loss": torch.tensor(math.nan if step in (7, 9) else 1.0)}, step)
    assert logger.flush() == 7
    logger.scalars("val", {"silhouette": math.nan, "ratio": math.inf}, 11)
    assert logger.flush() is None
    logger.scalars("train", {"loss": torch.tensor(math.inf)}, 12)
    logger.scalars("train", {"loss": torch.tensor(-math.inf)}, 13)
    assert logger.flush() == 12
    logger.close()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    assert math.isnan(jsonl.read_metrics(tmp_path / "metrics.jsonl")[6]["train/loss"])


@pytest.mark.parametrize("flushes", [(), (4, 8, 12)])
def test_keep_thins_what_is_written(tmp_path: Path, flushes: tuple[int, ...]) -> None:
    logger = logged(tmp_path, keep=4)
    for step in range(1, 13):
        logger.scalars("train", {"loss": torch.tensor(math.nan if step == 11 else 1.0)}, step)
        if step == 6:
            logger.scalars("train", {"lr": 0.1}, step)
            logger.scalars("val", {"loss": 2.0}, step)
        if step in flushes:
            assert logger.flush() == (11 if step == 12 else None)
    assert logger.flush() == (None if flushes else 11)
    logger.close()
    lines = jsonl.read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [4, 6, 8, 12]
    assert set(lines[1]) == {"step", "epoch", "time", "train/lr", "val/loss"}


def test_resumed_curves_equal_uninterrupted_ones(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    logger = logged(whole)
    train(logger, 1, 40)
    logger.close()
    logger = logged(broken)
    train(logger, 1, 27)
    logger.close()
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 28, "epo')  # killed while it wrote
    logger = logged(broken, resume_step=20)  # of the last checkpoint
    assert logger.epoch == 2
    train(logger, 21, 40)
    logger.close()

    def content(directory: Path) -> list[dict[str, float]]:
        return [{**line, "time": 0} for line in jsonl.read_metrics(directory / "metrics.jsonl")]

    assert content(broken) == content(whole)
    # What the server holds, without its fast loader.
    server = ServerAccumulator(str(broken), tensor_size_guidance={"scalars": 0}).Reload()
    for tag in ("train/loss", "train/rate", "val/accuracy"):
        assert points(broken, tag) == points(whole, tag)
        assert [point.step for point in server.Tensors(tag)] == [step for step, _ in points(whole, tag)]


def test_resume_before_the_first_step_and_without_a_file(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    train(logger, 1, 5)
    logger.close()
    logged(tmp_path, resume_step=0).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert not accumulate(tmp_path).Tags()["scalars"]
    (tmp_path / "metrics.jsonl").unlink()
    logger = logged(tmp_path, resume_step=5)
    train(logger, 6, 6)
    logger.close()
    assert [line["step"] for line in jsonl.read_metrics(tmp_path / "metrics.jsonl")] == [6]


def test_resume_goes_on_with_the_last_line(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    train(logger, 1, 3)
    logger.close()
    logger = logged(tmp_path, resume_step=3)
    logger.scalars("val", {"loss": 1.0}, 3)
    logger.close()
    assert {"train/loss", "val/loss"} < set(jsonl.read_metrics(tmp_path / "metrics.jsonl")[-1])


def test_nobody_flushes(tmp_path: Path) -> None:
    logger = logged(tmp_path, every=5)
    for step in range(1, 21):
        logger.scalars("train", {"loss": 1.0}, step)
    assert len(jsonl.read_metrics(tmp_path / "metrics.jsonl")) == 20
    logger.close()


# -- HParams, graph, projector


def test_hparams_of_a_directory_of_runs(tmp_path: Path) -> None:
    for name, hidden, accuracy in (("one", 10, 0.8), ("two", 20, 0.9)):
        logger = logged(tmp_path / name)
        config = {"model": {"_target_": "dlx.models.mlp.MLP", "hidden": [hidden]}, "seed": hidden, "bias": True}
        logger.hparams(config)
        logger.scalars("test", {"accuracy": accuracy}, 30)
        logger.hparams(config, {"test/accuracy": accuracy, "val/best_accuracy": accuracy - 0.1})
        logger.close()
    # A resumed run with another configuration: its row is the new one.
    logger = logged(tmp_path / "two", resume_step=30)
    logger.hparams({**config, "seed": 21}, {"test/accuracy": 0.95})
    logger.close()

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = Context(TBContext(data_provider=provider, logdir=str(tmp_path)))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    assert set(metadata) == {"one", "two"}  # no stray sub-runs
    experiment = context.experiment_from_metadata(
        request, "", True, metadata, context.hparams_from_data_provider(request, "", None)
    )
    assert {info.name for info in experiment.hparam_infos} == {"model", "model.hidden", "seed", "bias"}
    assert {info.name.tag for info in experiment.metric_infos} == {"test/accuracy", "val/best_accuracy"}
    groups = Handler(
        request_context=request,
        backend_context=context,
        experiment_id="",
        request=api_pb2.ListSessionGroupsRequest(
            start_index=0,
            slice_size=10,
            allowed_statuses=[api_pb2.STATUS_SUCCESS],
            col_params=[
                api_pb2.ColParams(metric=api_pb2.MetricName(tag=tag)) for tag in ("test/accuracy", "val/best_accuracy")
            ],
        ),
    ).run()
    rows = {group.sessions[0].name: group for group in groups.session_groups}
    assert rows["one"].hparams["seed"].number_value == 10
    assert rows["one"].hparams["bias"].bool_value is True
    assert rows["one"].hparams["model"].string_value == "MLP"
    assert rows["two"].hparams["seed"].number_value == 21
    values = {(name, value.name.tag): value.value for name, group in rows.items() for value in group.metric_values}
    assert values[("one", "test/accuracy")] == pytest.approx(0.8)
    assert values[("two", "test/accuracy")] == pytest.approx(0.95)
    assert values[("one", "val/best_accuracy")] == pytest.approx(0.7)


def test_hparams_message(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    logger.hparams({"a": 1}, {})
    logger.close()
    read = accumulate(tmp_path)
    assert read.Tags()["scalars"] == []
    end = plugin_data_pb2.HParamsPluginData.FromString(
        read.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    )
    assert end.session_end_info.status == api_pb2.STATUS_SUCCESS
    assert end.session_end_info.end_time_secs > 1e9


def test_flat() -> None:
    config = {"model": {"_target_": "a.b.MLP", "hidden": [9], "_partial_": True, "none": None}, "allow": [], "x": {}}
    assert flatten_config(config) == {"model": "MLP", "model.hidden": [9], "allow": []}


class Branches(nn.Module):
    """Two layers, one of them twice, a function between, and an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.shared = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.layers(x))
        return self.shared(self.shared(h)) + h.T.T


def test_graph_shows_calls_and_shapes(tmp_path: Path) -> None:
    model = Branches()
    model.train()
    example, before = torch.rand(2, 4), torch.random.get_rng_state()
    logger = logged(tmp_path)
    logger.graph(model, example)
    logger.close()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    nodes = {node.name: node for node in accumulate(tmp_path).Graph().node}
    assert nodes["Branches/relu"].input == ["Branches/layers/1/dropout"]
    assert nodes["Branches/shared/linear"].input == ["Branches/relu"]
    assert nodes["Branches/shared/linear_1"].input == ["Branches/shared/linear"]
    assert list(nodes["Branches/add"].input) == ["Branches/shared/linear_1", "Branches/T_1"]
    assert nodes["output"].input == ["Branches/add"]
    shape = nodes["Branches/T"].attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [4, 2]


@pytest.mark.parametrize("model", [nn.LSTM(3, 4), nn.Conv1d(5, 2, 3), nn.Embedding(5, 3)])
def test_graph_of_torchs_modules(model: nn.Module) -> None:
    example = torch.tensor([[1, 2]]) if isinstance(model, nn.Embedding) else torch.rand(2, 5, 3)
    nodes = graph.trace_graph(model, example)
    assert nodes[-1].inputs
    names = {node.name for node in nodes}
    assert all(name in names for node in nodes for name in node.inputs)


def test_no_graph_is_no_reason_to_stop(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    logger.graph(nn.Linear(3, 3), torch.rand(2, 4))
    logger.close()
    (note,) = accumulate(tmp_path).Tensors("graph")
    assert b"no graph of Linear" in note.tensor_proto.string_val[0]


def test_projector_reads_the_embeddings(tmp_path: Path) -> None:
    logger = logged(tmp_path)
    vectors = torch.randn(10, 3)
    logger.embedding("hidden", vectors, labels=["a\tb", *range(9)], images=torch.rand(10, 1, 4, 6))
    logger.embedding("hidden", vectors, labels=["a\tb", *range(9)], images=torch.rand(10, 1, 4, 6))
    logger.embedding("input", torch.randn(5, 2))
    logger.close()
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    plugin = ProjectorPlugin(TBContext(data_provider=provider, logdir=str(tmp_path)))
    plugin._update_configs()
    (config,) = plugin._configs.values()
    assert [(e.tensor_name, list(e.tensor_shape)) for e in config.embeddings] == [
        ("hidden", [10, 3]),
        ("input", [5, 2]),
    ]
    hidden = config.embeddings[0]
    assert list(hidden.sprite.single_image_dim) == [6, 4]
    assert (tmp_path / hidden.metadata_path).read_text().splitlines() == ["a b", *map(str, range(9))]
    width, height = struct.unpack(">II", (tmp_path / hidden.sprite.image_path).read_bytes()[16:24])
    assert (width, height) == (4 * 6, 4 * 4)  # ten pictures in four rows of four
    read = np.loadtxt(tmp_path / hidden.tensor_path)
    assert read == pytest.approx(vectors.numpy(), rel=1e-5)


# -- switches and failures


def test_without_a_directory_only_checks() -> None:
    logger = RunLogger(None)
    logger.scalars("train", {"loss": torch.tensor(math.nan)}, 3)
    logger.images("x", torch.rand(1, 2, 2), 1)
    logger.histograms(partial(compute_parameter_histograms, nn.Linear(1, 1)), 1)
    logger.embedding("x", torch.rand(2, 2))
    logger.hparams({}, {})
    logger.config("a: 1")
    logger.graph(nn.Linear(1, 1), torch.rand(1, 1))
    assert logger.flush() == 3
    logger.close()


def test_everything_off(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, pictures=False)
    train(logger, 1, 10)
    logger.images("x", torch.rand(1, 2, 2), 1)
    logger.histograms(partial(compute_parameter_histograms, nn.Linear(1, 1)), 1)
    logger.embedding("x", torch.rand(2, 2))
    logger.hparams({}, {})
    logger.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_scalars_off_leaves_the_row_its_metrics(tmp_path: Path) -> None:
    logger = logged(tmp_path, scalars=False)
    train(logger, 1, 10)
    logger.hparams({}, {"val/accuracy": 0.5})
    logger.close()
    assert accumulate(tmp_path).Tags()["scalars"] == ["val/accuracy"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    logger = logged(tmp_path)
    logger.scalars("train", {"loss": 1.0}, 1)
    with pytest.raises(TrainingError, match=r"metrics\.jsonl .*No space left on device.*dlx resume"):
        logger.flush()
    logger.close()  # says it no second time


class Failing(Logger):
    """Fails in one of its methods, at the given call."""

    def __init__(self, method: str, call: int = 1) -> None:
        self.method, self.call, self.calls = method, call, []

    def _note(self, method: str) -> None:
        self.calls.append(method)
        if self.calls.count(self.method) == self.call and method == self.method:
            raise RuntimeError("no connection")

    def open(self, directory, resume_step=None) -> None:
        self._note("open")

    def is_enabled(self, kind: str) -> bool:
        self._note("is_enabled")
        return True

    def scalars(self, step, values, epoch, time) -> None:
        self._note("scalars")

    def flush(self) -> None:
        self._note("flush")

    def image(self, name, picture, step, png) -> None:
        self._note("image")

    def text(self, name, markdown, step) -> None:
        self._note("text")

    def config(self, yaml) -> None:
        self._note("config")

    def histograms(self, values, step) -> None:
        self._note("histograms")

    def graph(self, model, example) -> None:
        self._note("graph")

    def hparams(self, config, metrics, step) -> None:
        self._note("hparams")

    def embedding(self, name, vectors, labels=None, images=None) -> None:
        self._note("embedding")

    def close(self) -> None:
        self._note("close")


METHODS = [name for name in vars(Logger) if not name.startswith("_")]


@pytest.mark.parametrize("method", METHODS)
def test_a_logger_that_fails_is_said_once_and_the_others_go_on(tmp_path: Path, method: str) -> None:
    told: list[str] = []
    bad = Failing(method)
    loggers = {"bad": bad, "tensorboard": TensorBoardLogger()}
    logger = RunLogger(tmp_path, loggers=loggers, every=5, report=told.append)
    logger.config("a: 1")
    logger.hparams({"a": 1})
    logger.graph(nn.Linear(3, 3), torch.rand(2, 3))
    train(logger, 1, 20)
    logger.images("x", torch.rand(1, 2, 2), 20)
    logger.text("news", "word", 20)
    logger.histograms(partial(compute_parameter_histograms, nn.Linear(1, 1)), 20)
    logger.embedding("x", torch.rand(2, 2))
    logger.close()
    (line,) = told
    assert line == "logger bad failed and is left out from here on: RuntimeError: no connection"
    after = bad.calls[bad.calls.index(method) + 1 :]
    assert after == ([] if method == "close" else ["close"])  # its files are closed, and nothing else is asked of it
    assert [step for step, _ in points(tmp_path, "train/loss")] == list(range(1, 21))
    assert len(jsonl.read_metrics(tmp_path / "metrics.jsonl")) == 20
    assert accumulate(tmp_path).Graph() is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_full_disk_of_a_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    tensorboard = TensorBoardLogger()
    logger = RunLogger(tmp_path, loggers={"tensorboard": tensorboard}, report=told.append)
    tensorboard._events._file.close()
    tensorboard._events._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    train(logger, 1, 30)
    logger.close()
    assert told == ["logger tensorboard failed and is left out from here on: OSError: No space left on device"]
    assert len(jsonl.read_metrics(tmp_path / "metrics.jsonl")) == 30


def test_a_logger_takes_what_its_class_writes() -> None:
    class Mine(Logger):
        def scalars(self, step, values, epoch, time) -> None: ...

        def graph(self, model, example) -> None: ...

    assert {kind for kind in METHODS if kind != "is_enabled" and Mine().is_enabled(kind)} == {"scalars", "graph"}


def test_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file.*cannot be written.*hydra\.run\.dir"):
        RunLogger(tmp_path / "file" / "run")


def test_plain_scalars_import_nothing_heavy(tmp_path: Path) -> None:
    script = f"""
import sys
from dlx.loggers.csv import CSVLogger
from dlx.loggers.run_logger import RunLogger
from dlx.loggers.tensorboard.tensorboard import TensorBoardLogger
logger = RunLogger({str(tmp_path)!r}, loggers={{"tensorboard": TensorBoardLogger(), "csv": CSVLogger()}})
logger.scalars("train", {{"loss": 1.0}}, 1)
logger.hparams({{"a": 1}}, {{"x": 2.0}})
logger.config("a: 1")
logger.close()
heavy = {{"tensorboard", "google.protobuf", "PIL", "matplotlib", "torchvision", "tensorflow"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


# -- figures


def test_grid_places_pictures_row_by_row() -> None:
    sheet = figures.make_grid(torch.arange(5).view(5, 1, 1, 1).expand(5, 1, 2, 3) / 5, columns=2, padding=1, scale=1)
    assert sheet.shape == (1, 3 * 3 + 1, 2 * 4 + 1)
    assert [[round(sheet[0, 1 + 3 * i, 1 + 4 * j].item(), 1) for j in range(2)] for i in range(3)] == [
        [0.0, 0.2],
        [0.4, 0.6],
        [0.8, 0.5],
    ]
    assert figures.make_grid(torch.full((2, 8, 8), 255, dtype=torch.uint8)).max() == 1


def test_filters_are_scaled_each_for_itself() -> None:
    sheet = figures.plot_filters(torch.tensor([[1.0, 0, -1, 0], [100, 0, -100, 0]]), (2, 2))
    assert set(sheet.unique().tolist()) == {0.0, 0.5, 1.0}
    assert figures.plot_filters(torch.randn(4, 8, 3, 3)).shape[0] == 1
    assert figures.plot_filters(torch.randn(4, 3, 5, 5)).shape[0] == 3
    assert figures.plot_filters(torch.zeros(2, 4), (2, 2)).isfinite().all()


def test_drawn_figures_are_pictures_and_leave_matplotlib_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # captum imports it in other tests
    counts = torch.tensor([[5, 1], [0, 3]])
    x = torch.linspace(0, 1, 20)
    drawn = [
        figures.plot_confusion_matrix(counts),
        figures.plot_confusion_matrix(counts, ["a long name that is cut", "b"]),
        figures.plot_confusion_matrix(torch.eye(100, dtype=torch.int64)),
        figures.plot_scatter(torch.randn(50, 2), torch.arange(50) % 12),
        figures.plot_scatter(torch.randn(50, 2)),
        figures.plot_lines({"one": (x, x.square()), "two": (x, x + 1)}, "title", "x", "y", logarithmic=True),
    ]
    for picture in drawn:
        assert picture.shape[0] == 3
        assert 0 <= figures.to_unit_range(picture).min() < figures.to_unit_range(picture).max() <= 1
        figures.save_png(tmp_path / "figures" / "picture.png", picture)
    assert "matplotlib.pyplot" not in sys.modules
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["picture.png"]


def test_confusion_matrix_colours_rows_by_share() -> None:
    same = figures.plot_confusion_matrix(torch.tensor([[90, 10], [9, 1]]))
    blue, orange = (same[2] > same[0] + 0.2).sum(), (same[0] > same[2] + 0.2).sum()
    assert blue > 0  # 90 of 100 right
    assert orange > 0  # 9 of 10 wrong


def test_a_run_resumed_between_a_step_and_its_epochs_end_writes_nine_digits(tmp_path):
    """The first line that it writes joins values of the file to new ones; what follows is written as ever."""
    value = torch.tensor(1 / 3)
    first = logged(tmp_path)
    first.scalars("train", {"loss": value}, 1)
    first.close()
    again = logged(tmp_path, resume_step=1)
    for step in (1, 2):
        if step == 2:
            again.scalars("train", {"loss": value}, 2)
        again.scalars("val", {"accuracy": 0.5}, step)
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/loss"] for line in lines] == [0.333333343, 0.333333343]
