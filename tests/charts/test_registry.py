"""Every chart on every learner: it draws, or says what it needs; nothing else happens."""

import numpy as np
import pytest

import dlx as api
from dlx.charts import CHARTS
from dlx.charts.study import Study
from dlx.errors import UsageError
from dlx.interpretability.visuals import draw_chart
from tests.conftest import MODELS, small

# Deep convolutional networks are one kind to a chart: two stand for all, whose pictures of 224² would take minutes.
DEEP = ("alexnet", "googlenet", "inception_v4", "preact_", "resnet", "vgg", "zfnet")
SOME = [model for model in MODELS if model == "resnet20" or not model.startswith(DEEP)]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", SOME)
def test_draws_or_says_what_it_needs(model, train, monkeypatch):
    for name, value in {"regions.RESOLUTION": 30, "clusters.RESOLUTION": 30, "importances.MAX_CALLS": 2000}.items():
        monkeypatch.setattr(f"dlx.charts.{name}", value)
    run = train("run", f"model={model}", *small(model), "trainer.max_steps=2", "dataset.limit=64", "trainer.batch=32",
                "trainer.test=false", "trainer.pictures=false", "logger=[]")  # fmt: skip
    parts = api.load(run.directory).parts
    task = type(parts.task).__name__
    study = Study(parts.model, parts.dataset, "test", parts.trainer.device)
    fitting, said = set(), {}
    for name in CHARTS:
        try:
            drawing = draw_chart(name, study)
        except UsageError as error:
            said[name] = str(error)
            continue
        fitting.add(name)
        assert drawing.pictures
        for title, picture in drawing.pictures.items():
            assert title.split("/")[0] == name
            assert picture.ndim == 3
            assert np.ptp(picture.numpy()) > 0
        assert all(drawing.tables.values())
    assert all("needs" in text or "needed" in text for text in said.values()), said
    always = {
        "Classification": {"regions", "importances", "roc", "precision_recall", "report"},
        "Regression": {"fit", "importances", "predictions", "residuals"},
        "Clustering": {"clusters"},
    }
    needed = always.get(task, set())
    if parts.dataset.kind in ("image", "vector"):
        assert needed <= fitting
