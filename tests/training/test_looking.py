"""Looking changes nothing: pictures, validation and metrics take no part in what is learned, or drawn for it."""

import pytest

from dlx.config.compose import compose
from dlx.parts import assemble
from dlx.training.checkpoint import load
from tests.conftest import MODELS, same, small

SHORT = ("trainer.epochs=2", "dataset.limit=160", "trainer.batch=40", "trainer.test=false", "optimizer.lr=1e-3")
LOOKS = {
    "never": ("trainer.validate_every=0",),
    "pictures": ("trainer.validate_every=1", "trainer.pictures_every=1"),
    "both splits": ("trainer.validate_every=2", "trainer.evaluate=[train,val]"),
}


def finds(run):
    """What a run learned and what it would draw next."""
    content = load(run.checkpoints / "last.pt")
    own = {name: value for name, value in content["procedure"].items() if name != "collapse"}  # it watches validations
    return content["model"], own, content["random"]


@pytest.mark.parametrize("model", MODELS)
def test_looking_changes_neither_weights_nor_draws(model, train):
    words = (f"model={model}", *small(model), *SHORT)
    ways = dict(LOOKS)
    if _takes_visuals(words):
        ways["visuals"] = ("trainer.validate_every=1", "trainer.pictures_every=1", "trainer.visuals=[saliency]")
    found = {way: finds(train(way, *words, *looks)) for way, looks in ways.items()}
    for way in list(ways)[1:]:
        for part, one, other in zip(("model", "procedure", "random"), found["never"], found[way], strict=True):
            assert same(one, other), f"{part} differs with {way}"


def _takes_visuals(words):
    from dlx.errors import UsageError

    try:
        assemble(compose([*words, "trainer.device=cpu", "trainer.threads=1", "trainer.visuals=[saliency]"]))
    except UsageError:
        return False
    return True


def test_measuring_again_finds_the_same(train):
    """Also where a metric is estimated by chance: what `dlx evaluate` says is what the run said."""
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config
    from dlx.trained.trained import measure

    run = train("run", "model=helmholtz", "trainer.epochs=1", "dataset.limit=160")
    parts, _ = load_trained(run, load_config(run))
    metrics = {name: value for name, value in run.read()["metrics"].items() if name.startswith("test/")}
    assert metrics
    assert measure(parts, "test") == metrics
