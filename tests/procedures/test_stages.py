"""Greedy learning equals learning by hand; stages follow one another, and resume in the middle of any of them."""

from functools import partial

import pytest
import torch

from dlx.batch import Batch
from dlx.config.report import ConfigError
from dlx.errors import UsageError
from dlx.models.boltzmann.dbm.dbm import DBM
from dlx.models.boltzmann.dbn import DBN
from dlx.procedures.backprop import Backprop
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.procedures.greedy import Greedy
from dlx.procedures.stages import Stages
from dlx.tasks.classification import Classification
from dlx.tasks.density import Density
from dlx.training.checkpoint import load
from tests.conftest import same

SGD = partial(torch.optim.SGD, lr=0.1)
LEARNER = partial(ContrastiveDivergence, optimizer=SGD)


def batches(n=5):
    torch.manual_seed(7)
    return [Batch((torch.rand(20, 6) < 0.5).float(), torch.arange(20) % 3) for _ in range(n)]


def network(**options):
    torch.manual_seed(0)
    return DBN([6], [5, 4], **options)


def test_greedy_equals_layers_learned_by_hand():
    ours, theirs, data = network(), network(), batches()
    procedure = Greedy(LEARNER, epochs=2)
    procedure.bind(ours, Density())
    assert procedure.passes == 4
    torch.manual_seed(1)
    for _ in range(4):
        for batch in data:
            procedure.step(batch)
        procedure.end_epoch()
    torch.manual_seed(1)
    for layer, below in ((theirs.layers[0], lambda x: x), (theirs.top, theirs.layers[0].encode)):
        own = LEARNER()
        own.bind(layer, Density())
        for _ in range(2):
            for batch in data:
                own.step(Batch(below(batch.x).detach()))
            own.end_epoch()
    assert same(ours.state_dict(), theirs.state_dict())


def test_each_layer_has_its_rate():
    procedure = Greedy(LEARNER, epochs=1, rates=[0.3, 0.02])
    procedure.bind(network(), Density())
    assert [learner.optimizer.param_groups[0]["lr"] for learner in procedure.learners] == [0.3, 0.02]
    with pytest.raises(UsageError, match="for 2 layers"):
        Greedy(LEARNER, epochs=1, rates=[0.3]).bind(network(), Density())


def test_a_learner_that_needs_an_optimizer_is_refused_without_one():
    with pytest.raises(UsageError, match=r"learner\.optimizer="):
        Greedy(partial(ContrastiveDivergence), epochs=1).bind(network(), Density())


@pytest.mark.parametrize(("passes", "momentum"), [(4, 0.5), (6, 0.9)])
def test_by_default_layers_learn_with_half_the_momentum_for_five_passes(train, passes, momentum):
    words = ("model=dbn", "model.hidden=[8,8]", "task=density", "procedure=greedy", "dataset.limit=100")
    content = load(train("run", *words, f"trainer.epochs={passes}").checkpoints / "last.pt")
    groups = [learner["optimizer"]["param_groups"][0] for learner in content["procedure"]["learners"]]
    assert [group["momentum"] for group in groups] == [momentum, momentum]


def test_layers_learn_for_as_many_passes_as_each_other(train, resume):
    words = ("model=dbm", "model.hidden=[8,8]", "procedure=greedy", "dataset.limit=100")
    with pytest.raises(ConfigError, match=r"procedure\.epochs=3: .* it is 60, .*; type trainer\.epochs=3 instead"):
        train("unlike", *words, "procedure.epochs=3")
    straight = train("straight", *words, "trainer.epochs=2", "procedure.epochs=2")
    run = train("run", *words, "trainer.epochs=2", "trainer.max_steps=5")
    resume(run, trainer__max_steps=None)
    one, two = (load(each.checkpoints / "last.pt") for each in (straight, run))
    assert one["trainer"]["epoch"] == 2 * 2
    assert same(one["model"], two["model"])
    resume(run, trainer__epochs=3)  # the last layer goes on
    assert load(run.checkpoints / "last.pt")["trainer"]["epoch"] == 2 + 3


def test_values_are_named_by_their_layer():
    procedure = Greedy(LEARNER, epochs=1)
    procedure.bind(network(), Density())
    assert {"layer1/free_energy_gap"} < set(procedure.step(batches()[0]))
    assert set(procedure.end_epoch()) == {"layer1/lr"}
    assert {"layer2/free_energy_gap"} < set(procedure.step(batches()[0]))


def test_the_top_layer_sees_labels():
    dbn = network(outputs=3, labelled=True)
    batch = batches()[0]
    seen = dbn.below(1, batch).x
    assert seen.shape == (20, 5 + 3)
    assert torch.equal(seen[:, 5:].argmax(1), batch.y)
    with pytest.raises(UsageError, match=r"model\.labelled=false"):
        dbn.below(1, Batch(batch.x))


def test_stages_follow_one_another():
    model, calls = network(outputs=3), []
    model.unroll = lambda: calls.append(procedure.epoch)
    procedure = Stages(Greedy(LEARNER, epochs=1), Backprop, SGD)
    procedure.bind(model, Classification())
    assert procedure.pretraining_epochs == 2
    seen = []
    for _ in range(4):
        seen.append(set(procedure.step(batches()[0])))
        procedure.end_epoch()
    assert ["loss" in names for names in seen] == [False, False, True, True]
    assert calls == [2]


def test_pretraining_must_know_its_end():
    with pytest.raises(UsageError, match="Greedy"):
        Stages(LEARNER(), Backprop, SGD).bind(network(outputs=3).top, Density())


def test_stages_within_stages():
    inner = Stages(Greedy(LEARNER, epochs=2), LEARNER, SGD, epochs=3)
    model = network(outputs=3)
    model.free_energy, model.gibbs = model.top.free_energy, model.top.gibbs
    outer = Stages(inner, Backprop, SGD)
    outer.bind(model, Classification())
    assert outer.pretraining_epochs == 2 * 2 + 3


def test_pairs_of_a_deep_machine_count_their_own_input_twice():
    torch.manual_seed(0)
    dbm = DBM([3], [4, 5, 2])
    for p in dbm.parameters():
        p.data.normal_()
    factors = []
    dbm.requires_grad_(False)
    for i, pair in enumerate(dbm.stack()):
        v, h = torch.ones(1, len(dbm.b[i])), torch.ones(1, len(dbm.b[i + 1]))
        up = (pair.hidden_inputs(v) - dbm.b[i + 1]) / (v @ dbm.W[i])
        down = (pair.visible_inputs(h) - dbm.b[i]) / (h @ dbm.W[i].T)
        factors.append((round(float(up.mean())), round(float(down.mean()))))
        assert pair.W is dbm.W[i]  # what it learns, the machine has learned
    assert factors == [(2, 1), (2, 2), (1, 2)]
    seen = dbm.below(1, Batch(torch.ones(2, 3))).x
    assert torch.allclose(seen, torch.sigmoid(2 * torch.ones(2, 3) @ dbm.W[0] + dbm.b[1]))


def test_the_unrolled_machine_is_its_mean_field():
    """Where mean field has settled, the feed-forward network's hidden layers are its means (§3.4 of the paper)."""
    torch.manual_seed(0)
    dbm = DBM([5], [4, 3], outputs=2, iterations=200)
    for p in dbm.parameters():
        p.data.normal_(std=0.5)
    dbm.unroll()
    x = torch.rand(7, 5)
    layers, net = dbm.mean_field(x), dbm.unrolled
    h1 = net.first(torch.cat([x, layers[2]], 1)).sigmoid()
    assert torch.allclose(h1, layers[1], atol=1e-5)
    assert torch.allclose(net.rest[0](h1).sigmoid(), layers[2], atol=1e-5)
    assert torch.allclose(dbm(x), net.head(layers[2]), atol=1e-5)


def test_a_classifier_begins_with_a_machine_that_was_learned_before(train):
    options = ("model=dbm", "dataset.limit=300", "model.hidden=[16,8]", "trainer.epochs=1")
    machine = train("a", *options)
    run = train(
        "b", *options, "model.outputs=10", "task=classification", "procedure=backprop", "optimizer.lr=1e-9",
        f"pretrained={machine.directory}",
    )  # fmt: skip
    assert run.read()["pretrained"]["fresh"] == {"unrolled": "made of the others"}
    theirs = torch.load(machine.checkpoints / "last.pt", weights_only=True)["model"]
    ours = torch.load(run.checkpoints / "last.pt", weights_only=True)["model"]
    assert torch.equal(ours["W.1"], theirs["W.1"])
    assert torch.allclose(ours["unrolled.first.weight"], torch.cat([theirs["W.0"].T, theirs["W.1"]], 1), atol=1e-5)


OPTIONS = ("dataset.limit=300", "model.hidden=[16,8]", "trainer.epochs=2")
RUNS = {
    "fine_tune": ("model=dbn", "procedure.pretrain.epochs=2"),
    "up_down": ("model=dbn", "model.labelled=true", "procedure=up_down", "procedure.pretrain.epochs=2"),
    "dbm": (
        "model=dbm", "model.outputs=10", "task=classification", "procedure=fine_tune_dbm",
        "procedure.pretrain.pretrain.epochs=1", "procedure.pretrain.epochs=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("stop", [3, 12, 21])
def test_resumed_runs_go_on_exactly(train, resume, name, stop):
    """240 training examples are 4 steps: stopped in the first layer, in the second stage, in the last one."""
    whole = train("a", *RUNS[name], *OPTIONS)
    half = train("b", *RUNS[name], *OPTIONS, f"trainer.max_steps={stop}")
    resume(half, trainer__max_steps=None)
    one, other = (torch.load(run.checkpoints / "last.pt", weights_only=True) for run in (whole, half))
    assert one["trainer"]["step"] == other["trainer"]["step"] >= 24
    assert same(one["model"], other["model"])
    assert same(one["procedure"], other["procedure"])


def test_nothing_is_judged_before_the_last_stage(train):
    run = train("a", *RUNS["fine_tune"], *OPTIONS)
    best = torch.load(run.checkpoints / "best.pt", weights_only=True)
    assert best["epoch"] > 4
    assert run.read()["epoch"] == 6


def test_pretraining_helps_a_deep_network(train):
    """Five layers of logistic units learn little in twenty passes from small weights; pretrained they do."""
    options = ("model=dbn", "model.hidden=[64,64,64,64,64]", "trainer.epochs=20", "optimizer.lr=0.003")
    alone = train("a", *options, "procedure=backprop").read()["metrics"]["test/accuracy"]
    pretrained = train("b", *options, "procedure.pretrain.epochs=20").read()["metrics"]["test/accuracy"]
    # three seeds: 0.25 to 0.27 alone, 0.71 to 0.93 pretrained
    assert alone < 0.4
    assert pretrained > 0.6
