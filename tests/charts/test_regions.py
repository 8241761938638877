"""Decision regions: the drawn classes are those of scikit-learn's own classifier, and of a network's weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

import dlx as api
from dlx.charts.plane import make_plane
from dlx.charts.regions import PlaneClassifier
from dlx.charts.study import Study
from dlx.errors import UsageError
from tests.verbs import dlx, trained


def study_of(run):
    parts = api.load(run.directory).parts
    return Study(parts.model, parts.dataset, "test", parts.trainer.device)


@pytest.fixture(scope="module")
def svm(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "svm", "model=svm", "dataset=moons", "model.scale=standard")


def test_classes_in_the_plane_are_scikit_learns(svm):
    study = study_of(svm)
    plane = make_plane(study)
    points = np.stack(np.meshgrid(np.linspace(-1, 2, 15), np.linspace(-1, 1, 15)), -1).reshape(-1, 2)
    truth = study.model.pipeline.predict(points)
    assert set(truth) == {0, 1}
    assert (PlaneClassifier(plane).predict(points) == truth).mean() > 0.99  # float32 of the inputs


def test_support_vectors_lie_on_training_examples(svm):
    study = study_of(svm)
    places = make_plane(study).project_inputs(study.from_estimator_rows(study.estimator.support_vectors_))
    train = study.dataset.splits["train"].x.numpy()
    nearest = np.linalg.norm(places[:, None] - train[None], axis=2).min(1)
    assert len(places) == len(study.estimator.support_vectors_) > 2
    assert nearest.max() < 1e-5


def test_the_plane_of_many_features_is_that_of_principal_components(digits):
    from sklearn.decomposition import PCA

    study = study_of(digits)
    plane = make_plane(study)
    x = study.take("train").x.flatten(1).double().numpy()
    pca = PCA(2, svd_solver="full").fit(x)
    raw = study.take().raw[:7]
    mine = plane.project(raw)
    assert np.allclose(np.abs(mine), np.abs(pca.transform(raw.flatten(1).double().numpy() / 16)), atol=1e-5)
    again = plane.project_inputs(plane.lift(mine))
    assert np.allclose(again, mine, atol=1e-5)


def test_of_a_network_beside_others_and_over_epochs(train, svm):
    run = train("net", "model=mlp", "dataset=moons", "trainer.epochs=2", "trainer.visuals=[regions]",
                "trainer.pictures_every=1")  # fmt: skip
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.directory), {"images": 0}).Reload()
    assert len(found.Images("visuals/regions")) >= 2
    plain = train("plain", "model=mlp", "dataset=moons", "trainer.epochs=2")
    weights = [torch.load(one.checkpoints / "last.pt", weights_only=True)["model"] for one in (run, plain)]
    assert all(torch.equal(*pair) for pair in zip(*(one.values() for one in weights), strict=True))
    said = dlx("compare", run.directory, svm.directory, "--figure", "regions")
    assert Path("compare_regions.png").stat().st_size > 10_000
    assert "net" in said or "mlp" in said
    dlx("compare", run.directory, svm.directory, "--figure", "regions", "-o", "there/two.png")
    assert Path("there/two.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--figure", "regoins"], "did you mean regions"), (["-o", "x.png"], "--figure regions"),
     (["--figure", "os.path"], "derives from")],
)  # fmt: skip
def test_what_is_refused(svm, words, message):
    with pytest.raises(UsageError, match=message):
        dlx("compare", svm.directory, *words)


def test_a_chart_of_ones_own(svm, own):
    Path(f"{own}.py").write_text(
        "from dlx.charts.chart import Chart\n\n\nclass Answers(Chart):\n"
        "    def panel(self, study, axes):\n        axes.hist(study.answer(study.take().x).argmax(1))\n"
    )
    dlx("visualize", svm.directory, "--method", f"{own}.Answers", "-o", "there")
    assert Path("there/visuals_answers.png").exists()


def test_only_classifiers(train):
    run = train("ridge", "model=ridge")
    with pytest.raises(UsageError, match="regions needs a classifier"):
        dlx("visualize", run.directory, "--method", "regions")
    with pytest.raises(UsageError, match="regions needs a classifier"):
        train("b", "model=ridge", "trainer.visuals=[regions]")
