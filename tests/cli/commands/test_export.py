"""Exported files give the numbers of the model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.errors import UsageError
from tests.verbs import dlx, trained, truth


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
@pytest.mark.parametrize("bare", [False, True])
def test_export(digits, images, name, bare):
    dlx("export", digits.directory, "-o", name, *["--bare"] * bare)
    x = torch.from_numpy(images)[:, None].to(torch.uint8)
    x = x.float() / 16 if bare else x
    if name.endswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(name)
        given = [session.run(None, {"x": x[:n].numpy()})[0] for n in (1, 20)]
    else:
        module = torch.export.load(name).module()
        given = [module(x[:n])["output" if bare else "probability"].detach().numpy() for n in (1, 20)]
    logits = torch.from_numpy(truth(digits, images))
    assert np.allclose(given[1], logits if bare else logits.softmax(1), atol=1e-4)
    assert np.allclose(given[0], given[1][:1], atol=1e-4)
    assert [p.name for p in Path().iterdir() if p.is_file()] == [name]


@pytest.mark.slow
def test_export_of_a_part(tmp_path):
    run = trained(tmp_path / "gan", "model=gan", "trainer.max_steps=3", "model.average=0")
    dlx("export", run.directory, "--module", "generator", "-o", "generator.onnx")
    import onnxruntime

    made = onnxruntime.InferenceSession("generator.onnx").run(None, {"x": np.zeros((3, 64), np.float32)})[0]
    assert made.shape == (3, 1, 8, 8)
    with pytest.raises(UsageError, match="generator"):
        dlx("export", run.directory, "--module", "genrator", "-o", "generator.onnx")


def test_export_of_an_estimator(tmp_path):
    run = trained(tmp_path / "run", "model=logistic", "model.scale=standard", "dataset=iris")
    dlx("export", run.directory, "-o", "net.skops")
    from skops import io

    from dlx.parts import load_trained
    from dlx.runs.saved import load_config

    pipeline = io.load("net.skops", trusted=[])
    parts, _ = load_trained(run, load_config(run))
    raw = parts.dataset.splits["test"].x
    expected = parts.task.predict(parts.model, parts.dataset.transform(raw, False, None))
    assert (pipeline.predict(raw.double().numpy()) == expected.numpy()).all()
    with pytest.raises(UsageError, match=r"net\.skops"):
        dlx("export", run.directory, "-o", "net.onnx")


def test_export_is_not_kept_if_it_differs(digits, monkeypatch):
    from dlx.trained.portable import files

    zeros = {"probability": (10,), "label": ()}
    fake = {name: lambda n, shape=shape: torch.zeros(n, *shape) for name, shape in zeros.items()}
    monkeypatch.setattr(
        files, "load_pt2", lambda path: lambda given: {name: make(len(given["x"])) for name, make in fake.items()}
    )
    with pytest.raises(UsageError, match="other results"):
        dlx("export", digits.directory, "-o", "net.pt2")
    assert not any(Path().glob("*pt2*"))


class FixedBatch(torch.nn.Module):
    def forward(self, x):
        return torch.zeros(len(x))


class DependsOnValues(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("model", "message"), [(FixedBatch, "size of the batch"), (DependsOnValues, "values")])
def test_what_cannot_be_exported(digits, model, message):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config
    from dlx.trained.export import export

    parts, _ = load_trained(digits, load_config(digits))
    with pytest.raises(UsageError, match=message):
        export(parts._replace(model=model()), Path("net.pt2"))
    assert not any(Path().glob("*pt2*"))


def test_export_errors(digits, monkeypatch):
    with pytest.raises(UsageError, match=r"\.onnx, \.pt2"):
        dlx("export", digits.directory, "-o", "net.h5")
    with pytest.raises(UsageError, match="scikit-learn"):
        dlx("export", digits.directory, "-o", "net.skops")
    from dlx.trained import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onnx onnxscript onnxruntime"):
        dlx("export", digits.directory, "-o", "net.onnx")
