"""Every task declares what it measures, and measures what it declares."""

import pytest
from omegaconf import OmegaConf

from dlx.config.catalogue import Catalogue
from dlx.config.search import find_search_path
from dlx.metrics import CATALOGUE, get_metric_name, resolve_declared
from dlx.parts import load_trained
from dlx.runs.saved import load_config
from dlx.trained.trained import measure
from tests.conftest import ROOT, emitted, undeclared

TASKS = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))
TINY = ("trainer.epochs=1", "dataset.limit=200", "trainer.pictures=false", "logger=[]")
# What each task is measured by: runs that together emit everything that it declares.
RUNS = {
    "capacity": ["model=hopfield dataset=patterns task=capacity dataset.neurons=100"],
    "classification": ["model=mlp task.top=[3]"],
    "clustering": ["model=kmeans dataset=iris"],
    "density": [
        "model=categorical_hmm dataset=casino",
        "model=rbm dataset=digits model.hidden=4",
        "model=rbm dataset=digits model.hidden=40 task.ais=10 task.ais_chains=4",
        "model=dbm dataset=digits model.hidden=[4,4]",
        "model=dbm dataset=digits model.hidden=[40,40] task.ais=10 task.ais_chains=4",
    ],
    "elbo": [
        "model=vae dataset=digits task.importance=8",
        "model=vae dataset=digits dataset.binarize=threshold model.beta=2 task.bound=importance task.samples=3",
        "model=vae dataset=digits model.likelihood=gaussian model.beta=2",
    ],
    "generation": ["model=gan dataset=ring dataset.std=2 task.samples=50 task.parzen=50"],
    "prediction": [
        "model=elman dataset=casino task=prediction model.outputs=6",
        "model=elman dataset=adding dataset.length=10 task=prediction model.outputs=2",
    ],
    "recall": ["model=hopfield"],
    "reconstruction": ["model=autoencoder dataset=digits task.loss=cross_entropy task.components=2"],
    "regression": [
        "model=linear dataset=diabetes task.metrics=[mape,msle,log_cosh,cosine_similarity,explained_variance]"
    ],
    "tagging": ["model=hmm_tagger"],
    "transduction": ["model=lstm dataset=dynamic_ngrams dataset.length=10"],
}
# What a task declares and none of these runs emits, with what it takes.
ELSEWHERE = {
    "density": {"impossible"},  # a sequence of probability zero: tests/models/markov/test_hmm.py
    "generation": {"frechet_lenet"},  # task.features, a finished run of lenet5
}


@pytest.mark.parametrize("task", TASKS)
def test_what_is_measured_is_declared(task, train):
    measured: set[str] = set()
    for number, words in enumerate(RUNS[task]):
        run = train(str(number), *words.split()[:2], *TINY, *words.split()[2:])
        assert not undeclared(run), words
        config = OmegaConf.load(run.directory / "config.yaml")
        measured |= {get_metric_name(tag) for tag in emitted(run) if not tag.startswith("train/")}
        parts, _ = load_trained(run, load_config(run))
        measured |= {get_metric_name(tag) for tag in measure(parts, parts.dataset.held_out)}
    catalogue = Catalogue(find_search_path(None))
    entry = catalogue.entry("task", task)
    assert entry is not None
    assert config.task._target_ == entry.target
    declared = resolve_declared(entry.attributes["declares"], task)
    never = {metric.name for metric in declared if not any(metric.matches(name) for name in measured)}
    assert never == ELSEWHERE.get(task, set())


def test_every_metric_of_the_catalogue_is_declared_by_somebody():
    catalogue = Catalogue(find_search_path(None))
    groups = ("task", "model", "procedure")
    declared = {
        metric.name
        for group in groups
        for one in catalogue.entries(group)
        for metric in resolve_declared(one.attributes.get("declares", ()), one.target)
    }
    assert {metric.name for metric in CATALOGUE} == declared
