"""Autoencoders against principal components, explicit Jacobians, and formulas written out."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.models.autoencoders.contractive_autoencoder import ContractiveAutoencoder
from dlx.models.autoencoders.conv_autoencoder import ConvAutoencoder
from dlx.models.autoencoders.deep_autoencoder import DeepAutoencoder
from dlx.models.autoencoders.denoising_autoencoder import DenoisingAutoencoder
from dlx.models.autoencoders.noise import corrupt
from dlx.models.autoencoders.sparse_autoencoder import SparseAutoencoder
from dlx.models.autoencoders.stacked_autoencoder import StackedAutoencoder
from dlx.models.boltzmann.layer_rbm import LayerRBM
from dlx.models.boltzmann.rbm import RBM
from dlx.procedures.backprop import Backprop
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.procedures.greedy import Greedy
from dlx.tasks.density import Density
from dlx.tasks.reconstruction import Reconstruction
from tests.conftest import same


def learned(model, x, steps, lr=0.01, loss="mse"):
    task = Reconstruction(loss=loss)
    procedure = Backprop(partial(torch.optim.Adam, lr=lr))
    procedure.bind(model, task)
    for _ in range(steps):
        procedure.step(Batch(x))
    return task


@pytest.mark.slow
def test_a_linear_code_spans_the_principal_components():
    """Baldi and Hornik 1989: the optimum's subspace is that of the largest components, angles below 1e-3."""
    torch.manual_seed(0)
    digits = torch.from_numpy(load_digits().data).double() / 16
    x = digits - digits.mean(0)
    model = Autoencoder([64], hidden=[4], activation=None).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16)
    task = Reconstruction()

    def closure():
        optimizer.zero_grad()
        loss = task.loss(model, Batch(x))
        loss.backward()
        return loss

    optimizer.step(closure)
    components = torch.linalg.svd(x, full_matrices=False).Vh[:4]
    span = torch.linalg.qr(model.decoder[0].weight.detach()).Q
    cosines = torch.linalg.svdvals(components @ span)
    angles = cosines.clamp(max=1).arccos()
    assert float(angles.max()) < 1e-3


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus"])
def test_the_contraction_is_the_jacobians_squared_norm(activation):
    torch.manual_seed(0)
    model = ContractiveAutoencoder([5], hidden=[4], weight=0.3, activation=activation).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    explicit = torch.stack([torch.autograd.functional.jacobian(model.encode, row[None]).square().sum() for row in x])
    model.reconstruct(x)
    assert torch.allclose(model.squared_jacobian_norm(model.preactivation), explicit)
    assert torch.allclose(model.penalty(), 0.3 * explicit.mean())
    W = model.encoder[0].weight
    (gradient,) = torch.autograd.grad(model.penalty(), W)
    step = 1e-6
    with torch.no_grad():  # by a finite difference of the explicit one
        W[1, 2] += step
        moved = torch.stack([torch.autograd.functional.jacobian(model.encode, row[None]).square().sum() for row in x])
    assert float(gradient[1, 2]) == pytest.approx(float(0.3 * (moved - explicit).mean() / step), rel=1e-3)


def test_contraction_shrinks_the_jacobian():
    x = torch.from_numpy(load_digits().data[:500]).float() / 16
    found = {}
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        model = ContractiveAutoencoder([64], hidden=[16], weight=weight, output="sigmoid")
        learned(model, x, 200)
        model.train()
        model.encode(x)
        found[weight] = float(model.squared_jacobian_norm(model.preactivation).mean().detach())
    assert found[0.1] < 0.3 * found[0.0]


def test_sparsity_by_its_formulas():
    torch.manual_seed(0)
    x = torch.rand(20, 6, dtype=torch.float64)
    model = SparseAutoencoder([6], hidden=[5], target=0.1, weight=2.0).double()
    model.reconstruct(x)
    q = model.encode(x).detach().numpy().mean(0)
    kl = sum(0.1 * math.log(0.1 / r) + 0.9 * math.log(0.9 / (1 - r)) for r in q)
    assert float(model.penalty().detach()) == pytest.approx(2 * kl)
    one = SparseAutoencoder([6], hidden=[5], sparsity="l1", weight=2.0, activation="tanh").double()
    h = one.encode(x).detach().numpy()
    assert float(one.penalty().detach()) == pytest.approx(2 * np.abs(h).sum(1).mean())


def test_sparse_codes_reach_their_target():
    torch.manual_seed(0)
    x = torch.from_numpy(load_digits().data[:500]).float() / 16
    model = SparseAutoencoder([64], hidden=[32], target=0.1, weight=0.1, output="sigmoid")
    learned(model, x, 400)
    model.eval()
    assert float(model.encode(x).detach().mean()) == pytest.approx(0.1, abs=0.02)
    with pytest.raises(UsageError, match=r"model\.sparsity=l1"):
        SparseAutoencoder([64], activation="relu")


def test_corruption_statistics():
    torch.manual_seed(0)
    x = torch.full((400, 500), 0.7)
    masked = corrupt(x, "masking", 0.3)
    assert set(masked.unique().tolist()) == {0.0, x[0, 0].item()}
    assert float((masked == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    spoilt = corrupt(x, "salt_and_pepper", 0.4)
    assert float((spoilt == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float((spoilt == 1).float().mean()) == pytest.approx(0.2, abs=0.01)
    noise = corrupt(x, "gaussian", 0.5) - x
    assert float(noise.std()) == pytest.approx(0.5, abs=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)


def test_the_loss_compares_with_the_clean_example():
    torch.manual_seed(0)
    x = torch.rand(50, 6)
    model = DenoisingAutoencoder([6], hidden=[4], level=0.5)
    torch.manual_seed(1)
    loss = Reconstruction().loss(model, Batch(x))
    torch.manual_seed(1)
    again = model.decode(model.encode(corrupt(x, "masking", 0.5)))
    assert torch.allclose(loss, (again - x).square().mean())
    model.eval()
    assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)))  # nothing is spoilt where it is measured


def test_tied_weights_go_both_ways():
    model = Autoencoder([6], hidden=[4, 3], tied=True, activation=None)
    x = torch.rand(5, 6)
    W, V = (layer.weight for layer in model.encoder)
    a, b = (layer.bias for layer in model.encoder)
    code = (x @ W.T + a) @ V.T + b
    assert torch.allclose(model.encode(x), code)
    assert torch.allclose(model.decode(code), (code @ V + model.biases[1]) @ W + model.biases[0])
    assert sum(p.numel() for p in model.parameters()) == 6 * 4 + 4 * 3 + 4 + 3 + 4 + 6


@pytest.mark.parametrize("kinds", [("binary", "binary"), ("binary", "gaussian"), ("gaussian", "binary")])
def test_a_layer_learns_as_an_rbm_does(kinds):
    torch.manual_seed(0)
    there, back = torch.nn.Linear(6, 4), torch.nn.Linear(4, 6)
    layer = LayerRBM(there.weight, back.bias, there.bias, *kinds)
    rbm = RBM([6], hidden=4, visible_units=kinds[0], hidden_units=kinds[1])
    with torch.no_grad():
        rbm.W.copy_(layer.W)
        rbm.b.copy_(layer.b)
        rbm.c.copy_(layer.c)
    x = (torch.rand(20, 6) < 0.5).float()
    for machine in (layer, rbm):
        procedure = ContrastiveDivergence(partial(torch.optim.SGD, lr=0.1, momentum=0.5), steps=2)
        procedure.bind(machine, Density())
        torch.manual_seed(1)
        for _ in range(5):
            procedure.step(Batch(x))
    assert torch.allclose(there.weight.T, rbm.W, atol=1e-6)
    assert torch.allclose(back.bias, rbm.b, atol=1e-6)
    assert torch.allclose(there.bias, rbm.c, atol=1e-6)


def test_unrolling_copies_the_way_there():
    torch.manual_seed(0)
    model = DeepAutoencoder([8], hidden=[6, 3], output="sigmoid")
    procedure = Greedy(partial(ContrastiveDivergence, optimizer=partial(torch.optim.SGD, lr=0.01)), epochs=1)
    procedure.bind(model, Reconstruction())
    kinds = [(type(layer.visible_kind).__name__, type(layer.hidden_kind).__name__) for layer in model.stack()]
    assert kinds == [("Binary", "Binary"), ("Binary", "Gaussian")]  # the code is linear
    x = torch.rand(10, 8)
    procedure.step(Batch(x))
    model.unroll()
    W, V = (layer.weight for layer in model.encoder)
    code = torch.sigmoid(x @ W.T + model.encoder[0].bias) @ V.T + model.encoder[1].bias
    again = torch.sigmoid(torch.sigmoid(code @ V + model.decoder[1].bias) @ W + model.decoder[0].bias)
    assert torch.allclose(model.reconstruct(x), again, atol=1e-6)


def test_a_stack_is_learned_by_hand():
    """Greedy learning of the pairs equals training each as an autoencoder of what the layer below makes."""
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    made = partial(torch.optim.Adam, lr=0.01)

    def network():
        torch.manual_seed(0)
        return StackedAutoencoder([6], hidden=[5, 4], outputs=3, level=0.3)

    ours, theirs = network(), network()
    procedure = Greedy(partial(Backprop, optimizer=made), epochs=3, task=Reconstruction())
    procedure.bind(ours, Reconstruction())
    torch.manual_seed(1)
    for _ in range(6):
        procedure.step(Batch(x))
        procedure.end_epoch()
    torch.manual_seed(1)
    h = x
    for pair, layer in zip(theirs.stack(), theirs.layers, strict=True):
        optimizer = made([*pair.there.parameters(), *pair.back.parameters()])
        for _ in range(3):
            spoilt = corrupt(h, "masking", 0.3)
            again = pair.back(torch.sigmoid(pair.there(spoilt)))
            again = again.sigmoid() if pair.sigmoid else again
            optimizer.zero_grad()
            (again - h).square().mean().backward()
            optimizer.step()
        h = torch.sigmoid(layer(h)).detach()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_convolutions_there_and_back():
    for shape in ([1, 8, 8], [3, 17, 12]):
        model = ConvAutoencoder(shape, code=5, channels=(4, 6))
        x = torch.rand(3, *shape)
        assert model.encode(x).shape == (3, 5)
        assert model.reconstruct(x).shape == x.shape
    with pytest.raises(UsageError, match="at least 8 pixels"):
        ConvAutoencoder([1, 7, 7], channels=(4, 4, 4))


def test_one_layer_has_a_closed_jacobian():
    with pytest.raises(UsageError, match=r"model\.hidden=\[8\]"):
        ContractiveAutoencoder([6], hidden=[16, 8])


OPTIONS = ("dataset.limit=300", "trainer.epochs=2")


@pytest.mark.parametrize("name", ["deep_autoencoder", "stacked_autoencoder"])
@pytest.mark.parametrize("stop", [3, 7, 13])
def test_resumed_runs_go_on_exactly(train, resume, name, stop):
    options = (f"model={name}", "model.hidden=[16,8]", "procedure.pretrain.epochs=1", *OPTIONS)
    whole = train("a", *options)
    half = train("b", *options, f"trainer.max_steps={stop}")
    resume(half, trainer__max_steps=None)
    one, other = (torch.load(run.checkpoints / "last.pt", weights_only=True) for run in (whole, half))
    assert same(one["model"], other["model"])
    assert same(one["procedure"], other["procedure"])


def test_pictures(train):
    run = train("a", "model=conv_autoencoder", *OPTIONS)
    assert {"reconstructions.png", "interpolations.png", "latent_map.png"} <= {
        path.name for path in run.directory.glob("figures/*")
    }


def test_autoencoders_beat_the_mean(train):
    run = train("a", "model=autoencoder", "trainer.epochs=30", "optimizer.lr=0.01")
    assert run.read()["metrics"]["test/explained_variance"] > 0.6


def test_saturated_units_leave_finite_gradients():
    """A logistic unit whose value is 1 to the last bit has a logarithm of minus infinity on one side."""
    logits = torch.tensor([[200.0, -200.0, 0.3]], requires_grad=True)

    class Saturated(torch.nn.Module):
        def reconstruct(self, x):
            return logits.sigmoid()

    x = torch.tensor([[0.0, 1.0, 1.0]])
    loss = Reconstruction(loss="cross_entropy").loss(Saturated(), Batch(x))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert float(logits.grad[0, 2]) == pytest.approx(float(torch.tensor(0.3).sigmoid()) - 1)


def test_cross_entropy_wants_probabilities(train):
    with pytest.raises(UsageError, match=r"type task\.loss=mse"):
        train("a", "model=autoencoder", "dataset=iris", "task.loss=cross_entropy")
    with pytest.raises(UsageError, match=r"procedure\.pretrain\.task\.loss=mse"):
        train("b", "model=stacked_autoencoder", "model.activation=relu", "procedure.pretrain.task.loss=cross_entropy")


def test_principal_components_beside_the_model(train):
    """What the task measures of them is what scikit-learn's own leave, whichever model stands beside."""
    options = ("model.estimator.n_components=5", "task.components=5", "trainer.batch=700")
    pca = train("a", "model=pca", *options).read()["metrics"]
    assert pca["test/pca_squared_error"] == pytest.approx(pca["test/squared_error"], rel=1e-6)
    other = train("b", "model=autoencoder", "task.components=5", "trainer.epochs=1").read()["metrics"]
    assert other["test/pca_squared_error"] == pytest.approx(pca["test/pca_squared_error"], rel=1e-12)
    with pytest.raises(UsageError, match="at most as many"):
        train("c", "model=autoencoder", "task.components=65")
