"""Initializers, penalties and constraints of recurrent networks and autoencoders, whichever layers hold the weights."""

import math

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.config.compose import compose
from dlx.errors import UsageError
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.models.autoencoders.conv_autoencoder import ConvAutoencoder
from dlx.models.autoencoders.vae.vae import VAE
from dlx.models.layers import find_constrained, find_penalized
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.jordan import Jordan
from dlx.models.recurrent.lstm import LSTM
from dlx.parts import assemble
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification
from dlx.tasks.reconstruction import Reconstruction
from tests.models.oracle import import_keras

MODELS = [
    *("elman", "gru", "lstm", "bigru", "bilstm", "birnn", "jordan"),
    *("autoencoder", "denoising_autoencoder", "sparse_autoencoder", "contractive_autoencoder", "deep_autoencoder"),
    *("stacked_autoencoder", "conv_autoencoder", "vae", "conv_vae"),
]
SETTINGS = [
    "model.kernel_init=glorot_normal",
    "model.bias_init=0.125",
    "model.l1=1e-3",
    "model.l2=1e-2",
    "model.recurrent_l1=1e-3",
    "model.recurrent_l2=1e-2",
    "model.bias_l2=0.1",
    "model.bias_constraint=non_neg",
    "model.max_norm=0.9",
]


def weights(model):
    """Its kernels, recurrent kernels and biases by name, as the parameters' names say."""
    parts = {"kernel": [], "recurrent": [], "bias": []}
    for name, p in model.named_parameters():
        if "embedding" in name or "log_var" in name or "std" in name:
            continue
        parts["bias" if "bias" in name else "recurrent" if "_hh" in name else "kernel"].append(p)
    return parts


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_them_by_configuration(name):
    activity = [] if "vae" in name else ["model.activity_l2=0.01"]
    recurrent = name in MODELS[:7]
    data = "dataset=sequence_digits" if recurrent else "dataset=digits28" if "conv" in name else "dataset=digits"
    words = [f"model={name}", data, *SETTINGS, *activity, "trainer.device=cpu"]
    parts = assemble(compose([*words, "task=classification"] if recurrent else words))
    model = parts.model
    (rules,) = (module for module in model.modules() if type(module).__name__ == "WeightRules")
    held = weights(model)
    assert {id(one.weight) for one in rules.held} == {id(p) for each in held.values() for p in each}
    expected = sum(1e-3 * p.abs().sum() + 1e-2 * p.square().sum() for p in held["kernel"] + held["recurrent"])
    expected = expected + sum(0.1 * p.square().sum() for p in held["bias"])
    torch.testing.assert_close(rules.penalty(), expected)
    assert rules in find_penalized(model)
    assert rules in find_constrained(model)
    rules.constrain()
    assert all(p.min() >= 0 for p in held["bias"])
    if not isinstance(parts.procedure, Backprop):
        return
    batch = next(iter(parts.data.train(0)))
    model.train()
    loss = parts.procedure.loss(batch)
    torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    if activity:
        model.eval()
        parts.task.loss(model, batch)
        assert model.activity_penalty.value is None


def test_gates_begin_apart():
    torch.manual_seed(0)
    model = LSTM([5, 300], 2, hidden=200, kernel_init="glorot_uniform", recurrent_init="orthogonal", bias_init=0.5)
    rnn = model.layers[0].rnn
    for block in rnn.weight_ih_l0.split(200):
        assert block.abs().max().item() == pytest.approx(math.sqrt(6 / 500), rel=1e-3)
    for block in rnn.weight_hh_l0.split(200):
        torch.testing.assert_close(block @ block.T, torch.eye(200), atol=1e-5, rtol=0)
    total = rnn.bias_ih_l0 + rnn.bias_hh_l0
    assert [part.unique().tolist() for part in total.split(200)] == [[0.5], [1.0], [0.5], [0.5]], "forget_bias is 1"


def test_penalties_of_a_recurrent_layer_equal_keras():
    keras = import_keras()
    x = torch.randn(3, 6, 4)
    layer = keras.layers.SimpleRNN(
        5,
        return_sequences=True,
        kernel_regularizer=keras.regularizers.L1(0.1),
        recurrent_regularizer=keras.regularizers.L2(0.2),
        bias_regularizer=keras.regularizers.L2(0.3),
        bias_initializer="ones",
    )
    activity = keras.layers.ActivityRegularization(0.4, 0.5)  # Keras 3.15's recurrent layers lose their own
    activity(layer(x))
    theirs = sum(torch.as_tensor(loss) for loss in [*layer.losses, *activity.losses]).detach().cpu()
    model = Elman([6, 4], 1, hidden=5, activity_l1=0.4, activity_l2=0.5, l1=0.1, recurrent_l2=0.2, bias_l2=0.3).train()
    rnn = model.layers[0].rnn
    with torch.no_grad():
        kernel, recurrent, _ = (torch.as_tensor(w.value).cpu() for w in layer.weights)
        rnn.weight_ih_l0.copy_(kernel.T)
        rnn.weight_hh_l0.copy_(recurrent.T)
        rnn.bias_ih_l0.fill_(1)
        rnn.bias_hh_l0.zero_()
        model.readout.weight.zero_()
        model.readout.bias.zero_()
    model(x)
    ours = sum(module.penalty() for module in find_penalized(model))
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("kind", [Elman, GRU, LSTM, Jordan])
def test_constraints_hold_while_learning_and_not_for_the_scores(kind):
    torch.manual_seed(0)
    recurrent = {} if kind is Jordan else {"recurrent_constraint": {"min_max_norm": {"min": 0.2, "max": 0.4}}}
    model = kind([6, 4], 3, hidden=5, kernel_constraint="unit_norm", **recurrent)
    procedure = Backprop(lambda p: torch.optim.SGD(p, lr=0.3))
    procedure.bind(model, Classification())
    batch = Batch(torch.randn(8, 6, 4), torch.randint(3, (8,)))
    for _ in range(3):
        procedure.step(batch)
    for name, p in model.named_parameters():
        if "weight" in name and "readout" not in name:
            norms = p.detach().norm(dim=1)
            assert norms.min() > (0.2 if "_hh" in name else 1) - 1e-4
            assert norms.max() < (0.4 if "_hh" in name else 1) + 1e-4
    assert (model.readout.weight.norm(dim=1) - 1).abs().max() > 1e-3


@pytest.mark.parametrize("tied", [False, True])
def test_activity_of_a_code(tied):
    torch.manual_seed(0)
    model = Autoencoder([6], hidden=[5, 3], activity_l1=0.1, bias_l1=0.2, tied=tied).train()
    task, batch = Reconstruction(), Batch(torch.rand(7, 6), None)
    procedure = Backprop(lambda p: torch.optim.SGD(p, lr=0.1))
    procedure.bind(model, task)
    code = model.encode(batch.x)
    biases = sum(p.abs().sum() for name, p in model.named_parameters() if "bias" in name)
    expected = task.loss(model, batch) + 0.1 * code.abs().sum() / 7 + 0.2 * biases
    torch.testing.assert_close(procedure.loss(batch), expected)


def test_transposed_filters_count_their_own_inputs():
    torch.manual_seed(0)
    model = ConvAutoencoder([1, 16, 16], channels=[8, 16], kernel_init="he_uniform")
    last = [module for module in model.modules() if isinstance(module, nn.ConvTranspose2d)][-1]
    assert last.weight.shape == (8, 1, 4, 4)
    assert last.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (8 * 16)), rel=0.1)


def test_a_code_with_a_prior_has_no_activity_penalty():
    with pytest.raises(UsageError, match="has a prior already"):
        VAE([6], activity_l1=0.1)


def test_without_settings_there_is_nothing():
    model = GRU([6, 4], 3, hidden=5)
    assert find_penalized(model) == find_constrained(model) == []
    assert not hasattr(model, "weight_rules")
