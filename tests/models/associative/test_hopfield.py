"""Associative memories against enumeration, against the theorems about them, and against the published capacity."""

import itertools

import numpy
import pytest
import torch

from dlx.batch import Batch
from dlx.datasets.synthetic.patterns import Patterns
from dlx.errors import UsageError
from dlx.models.associative.dynamics import update_asynchronously, update_synchronously
from dlx.models.associative.hopfield import Hopfield
from dlx.models.associative.memory import Memory
from dlx.models.associative.modern_hopfield import ModernHopfield
from dlx.procedures.hebbian import Hebbian
from dlx.tasks.capacity import Capacity
from dlx.tasks.recall import Recall
from tests.conftest import same


def signs(rows, columns, seed=0):
    return 2.0 * torch.randint(0, 2, (rows, columns), generator=torch.Generator().manual_seed(seed)) - 1


def drawn(*sizes, **options):
    data = Patterns(*sizes, **options)
    data.load()
    return data.splits["train"].x


def every(n):
    """All states of n units, (2^n, n)."""
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=n)), dtype=torch.float64)


def symmetric(n, seed, diagonal=0.0):
    W = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    W = (W + W.T) / 2
    return W.fill_diagonal_(diagonal)


def holding(x, **options):
    memory = Hopfield(x.shape[1:], **options)
    memory.store(memory.gather({}, x))
    return memory


def attending(x, **options):
    memory = ModernHopfield(x.shape[1:], **options).to(x.dtype)
    memory.store(memory.gather({}, x))
    return memory


# -- storage ----------------------------------------------------------------------------------------------------------


def test_hebbian_weights_are_the_definition():
    x = signs(5, 12)
    W = torch.zeros(12, 12, dtype=torch.float64)
    for i, j in itertools.product(range(12), repeat=2):
        W[i, j] = sum(float(p[i] * p[j]) for p in x) / 12 if i != j else 0
    assert torch.allclose(holding(x).W, W)
    assert torch.allclose(holding(x, self_coupling=True).W, W + 5 / 12 * torch.eye(12).double())


def test_pseudo_inverse_weights_are_the_definition():
    x = signs(5, 12)
    W = torch.linalg.pinv(x.double()) @ x.double()
    assert torch.allclose(holding(x, rule="pseudo_inverse", self_coupling=True).W, W)
    repeated = torch.cat([x, x[:2], -x[3:4]])  # nothing new
    assert torch.allclose(holding(repeated, rule="pseudo_inverse", self_coupling=True).W, W)


@pytest.mark.parametrize("neurons", [10, 40, 150])
@pytest.mark.parametrize("self_coupling", [False, True])
@pytest.mark.parametrize("update", ["asynchronous", "synchronous"])
def test_pseudo_inverse_holds_one_pattern_less_than_units(neurons, self_coupling, update):
    for seed in range(5):
        x = signs(neurons - 1, neurons, seed)
        if torch.linalg.matrix_rank(x.double()) < neurons - 1:
            continue
        memory = holding(x, rule="pseudo_inverse", self_coupling=self_coupling, update=update)
        found = memory.recall(memory.states(x))
        assert torch.equal(found.states, x.double())
        assert found.stable.all()
        assert not found.sweeps.any()


@pytest.mark.parametrize("self_coupling", [False, True])
@pytest.mark.parametrize(("patterns", "copies"), [(5, 0), (11, 0), (12, 0), (30, 0), (6, 8), (12, 4)])
def test_pseudo_inverse_says_when_nothing_can_be_recalled(patterns, copies, self_coupling):
    """Patterns that depend on others cost nothing; those that span all states leave none to be told from another."""
    for seed in range(6):
        x = signs(patterns, 12, seed)
        x = torch.cat([x, -x[:copies]])
        memory = Hopfield([12], rule="pseudo_inverse", self_coupling=self_coupling)
        told = memory.store(memory.gather({}, x))
        rank = numpy.linalg.matrix_rank(x.numpy())
        assert told == {"patterns": len(x), "load": len(x) / 12, "rank": rank}
        s = every(12)
        if rank == 12:
            assert f"{len(x)} patterns of rank 12 span all states of 12 units" in memory.remark(told)
            assert torch.equal(memory.recall(s).states, s), "nothing moves, patterns or not"
        else:
            assert memory.remark(told) is None
            assert torch.equal(memory.recall(memory.states(x)).states, x.double())


def test_what_cannot_be_recalled_is_said_once(train, capsys):
    options = ("model=hopfield", "model.rule=pseudo_inverse", "dataset.neurons=20")
    train("many", *options, "dataset.patterns=50")
    assert capsys.readouterr().out.count("50 patterns of rank 20 span all states") == 1
    train("few", *options, "dataset.patterns=10")
    assert "span" not in capsys.readouterr().out


def test_pseudo_inverse_holds_patterns_that_are_alike():
    x = drawn(200, 60, correlation=0.6)
    cues = x.clone()
    cues[:, :10] *= -1
    for rule, exact in (("hebbian", False), ("pseudo_inverse", True)):
        memory = holding(x, rule=rule)
        assert torch.equal(memory.recall(memory.states(cues)).states, x.double()) is exact


@pytest.mark.parametrize("make", [Hopfield, ModernHopfield])
@pytest.mark.parametrize("rule", ["hebbian", "pseudo_inverse"])
def test_what_is_stored_does_not_depend_on_the_batches(make, rule):
    x = torch.rand(23, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    stored = []
    for size in (1, 4, 23):
        memory = make([1, 6, 5], **({"rule": rule} if make is Hopfield else {}))
        memory.prepare(x)
        procedure = Hebbian()
        procedure.bind(memory, Recall())
        for part in x.split(size):
            procedure.step(Batch(part))
        told = procedure.end_epoch()
        assert procedure.done
        assert told["patterns"] == 23
        stored.append(memory.state_dict())
    assert same(stored[0], stored[1])
    assert same(stored[0], stored[2])


# -- dynamics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("diagonal", [0.0, 0.7])
def test_the_energy_never_rises_whichever_unit_moves(seed, diagonal):
    n = 24
    memory = Hopfield([n])
    memory.W.copy_(symmetric(n, seed, diagonal))
    generator = torch.Generator().manual_seed(seed)
    s = torch.randint(-1, 2, (50, n), generator=generator).double()  # 0: a unit that the cue says nothing of
    before = memory.energy(s)
    flips = 0
    for unit in torch.randint(0, n, (300,), generator=generator):
        moved = update_asynchronously(memory.W, s, unit.view(1))
        after = memory.energy(moved)
        assert (after <= before + 1e-12).all()
        flips += int((moved != s).sum())
        s, before = moved, after
    assert flips > 300


def test_energy_is_the_definition():
    memory = holding(signs(3, 7))
    s = every(7)
    expected = [-0.5 * sum(memory.W[i, j] * p[i] * p[j] for i in range(7) for j in range(7)) for p in s[:20]]
    assert torch.allclose(memory.energy(s[:20]), torch.stack(expected))


def test_a_sweep_is_one_unit_after_the_other():
    """The blocks and the fields kept up to date change nothing: a unit at a time, from its whole row of weights."""
    n = 90
    W, s = symmetric(n, 3, 0.2), signs(7, n).double()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    slow = s.clone()
    for unit in order:
        slow[:, unit] = (slow @ W[unit]).sign()
    given = s.clone()
    assert torch.equal(update_asynchronously(W, s, order), slow)
    assert torch.equal(s, given)
    assert torch.equal(update_asynchronously(W, s[:1], order), slow[:1])
    assert torch.equal(update_synchronously(W, s), (s @ W).sign())


def test_a_unit_without_a_field_stays():
    W = torch.tensor([[0.0, 1, -1], [1, 0, 0], [-1, 0, 0]]).double()
    s = torch.tensor([[1.0, 1, 1], [-1, -1, -1]]).double()  # unit 0 hears 1 - 1
    assert torch.equal(update_asynchronously(W, s, torch.tensor([0])), s)
    assert torch.equal(update_synchronously(W, s)[:, 0], s[:, 0])
    assert torch.equal(Hopfield([3]).recall(s).states, s)  # nothing stored, nothing moves


@pytest.mark.parametrize("n", [3, 6, 10])
@pytest.mark.parametrize("update", ["asynchronous", "synchronous"])
def test_resting_places_are_those_that_enumeration_finds(n, update):
    for seed in range(5):
        memory = Hopfield([n], update=update, seed=seed)
        memory.W.copy_(symmetric(n, seed))
        s = every(n)
        resting = torch.tensor([all(float(p[i] * (memory.W[i] @ p)) >= 0 for i in range(n)) for p in s])
        found = memory.recall(s)
        assert torch.equal(found.sweeps == 0, resting)
        assert torch.equal(found.states[resting], s[resting])
        wanted = {tuple(p) for p in s[resting].tolist()}
        rested = {tuple(p) for p in found.states[found.stable].tolist()}
        assert rested == wanted
        if update == "asynchronous":
            assert found.stable.all()
            # No single flip of a resting state lowers the energy.
            for i in range(n):
                flipped = s[resting].clone()
                flipped[:, i] *= -1
                assert (memory.energy(flipped) >= memory.energy(s[resting]) - 1e-12).all()


def test_all_at_once_may_go_to_and_fro():
    memory = Hopfield([2], update="synchronous", sweeps=50)
    memory.W.copy_(torch.tensor([[0.0, 1], [1, 0]]))
    found = memory.recall(torch.tensor([[1.0, -1], [1, 1]]).double())
    assert found.stable.tolist() == [False, True]
    assert found.sweeps.tolist() == [2, 0]  # seen after the second, not after fifty


def test_recall_depends_on_the_cue_alone():
    x = signs(20, 100)
    memory = holding(x, seed=3)
    cues = signs(9, 100, seed=5).double()
    together = memory.recall(cues)
    alone = [memory.recall(cue) for cue in cues.split(1)]
    assert torch.equal(together.states, torch.cat([one.states for one in alone]))
    assert torch.equal(together.sweeps, torch.cat([one.sweeps for one in alone]))
    assert not torch.equal(together.states, holding(x, seed=4).recall(cues).states), "another order ends elsewhere"


# -- capacity ---------------------------------------------------------------------------------------------------------


def test_the_theory_solves_the_equations_of_amit_gutfreund_and_sompolinsky():
    loads, overlaps = holding(signs(2, 4)).theory()
    assert float(loads.max()) == pytest.approx(0.138, abs=5e-4)
    assert float(overlaps[loads.argmax()]) == pytest.approx(0.967, abs=1e-3)
    for k in (0, 10, 30, 60, 100):
        load, m, r = loads[k], torch.tensor(1.0).double(), torch.tensor(1.0).double()
        for _ in range(20_000 if k == 0 else 500):  # m, r and C at temperature zero, to their fixed point
            spread = load * r
            C = (2 / (torch.pi * spread)).sqrt() * (-m.square() / (2 * spread)).exp()
            m, r = torch.erf(m / (2 * spread).sqrt()), 1 / (1 - C).square()
        assert float(m) == pytest.approx(float(overlaps[k]), abs=2e-3 if k == 0 else 1e-8)
    assert holding(signs(2, 4), rule="pseudo_inverse").theory() is None


# Of N = 1000 units, four sets of patterns; one run's standard deviations are .0003, .018, .031 and .038 (ten seeds).
@pytest.mark.parametrize(
    ("load", "overlap", "tolerance"),
    [(0.1, 0.998, 0.001), (0.138, 0.966, 0.02), (0.15, 0.849, 0.04), (0.18, 0.485, 0.05)],
)
def test_overlap_at_a_load(load, overlap, tolerance):
    found = []
    for seed in range(4):
        x = signs(round(1000 * load), 1000, seed)
        memory = holding(x, update="synchronous")
        found.append(float((memory.recall(memory.states(x)).states * x).mean()))
    assert sum(found) / 4 == pytest.approx(overlap, abs=tolerance)


def test_asynchronous_recall_repairs_cues_well_below_capacity():
    x = signs(20, 400)
    task = Recall(flip=0.2)
    values = task.metrics(holding(x), Batch(x))
    assert values["cue_overlap"].tolist() == pytest.approx([0.6] * 20)
    assert values["exact"].all()
    assert (values["energy"] < values["cue_energy"]).all()


def test_capacity_measures_every_load(train):
    run = train(
        *("run", "model=hopfield", "task=capacity", "task.loads=[0.05,0.2]", "dataset.neurons=200"),
        *("dataset.patterns=40", "trainer.validate_every=0"),
    )
    metrics = run.read()["metrics"]
    x = drawn(200, 40)
    for share, patterns in ((0.05, 10), (0.2, 40)):
        memory = holding(x[:patterns])
        s = memory.states(x[:patterns])
        assert metrics[f"test/overlap_at_{share:g}"] == float((memory.recall(s).states * s).mean())
    assert metrics["test/overlap_at_0.05"] > 0.99
    assert metrics["test/overlap_at_0.2"] < 0.9
    assert {path.name for path in run.directory.glob("figures/*")} == {"capacity.png", "recall.png"}


def test_capacity_asks_for_enough_patterns():
    x = signs(10, 50)
    with pytest.raises(UsageError, match=r"type dataset.patterns=25"):
        Capacity(loads=[0.5]).split_metrics(holding(x), [Batch(x)])

    class Deaf(Memory):
        def recall(self, cues): ...

        def energy(self, states): ...

    for model, lacking in ((Deaf([50]), "stores patterns"), (torch.nn.Linear(2, 2), "recall")):
        with pytest.raises(UsageError, match=lacking):
            Capacity(loads=[0.1]).split_metrics(model, [Batch(x)])


# -- the modern network -----------------------------------------------------------------------------------------------


def test_the_update_is_attention():
    X, xi = torch.randn(7, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    memory = attending(X, beta=0.7)
    p = (0.7 * X @ xi.T).exp()
    assert torch.allclose(memory.update(xi), (p / p.sum(0)).T @ X)
    attention = torch.nn.functional.scaled_dot_product_attention(xi[None], X[None], X[None], scale=0.7)[0]
    assert torch.allclose(memory.update(xi), attention)


@pytest.mark.parametrize("beta", [0.2, 1.0, 8.0])
def test_the_update_descends_the_energy(beta):
    """Eq. 3 is the concave-convex procedure on eq. 2: no update raises it, and its fixed points have no slope."""
    torch.manual_seed(0)
    memory = attending(torch.randn(15, 6, dtype=torch.float64), beta=beta, steps=5000, tolerance=1e-12)
    xi = 3 * torch.randn(40, 6, dtype=torch.float64)
    before = memory.energy(xi)
    assert (before >= 0).all()  # the constants of eq. 2 make it so
    for _ in range(30):
        xi = memory.update(xi)
        after = memory.energy(xi)
        assert (after <= before + 1e-12).all()
        before = after
    rest = memory.recall(xi).states.requires_grad_()
    (slope,) = torch.autograd.grad(memory.energy(rest).sum(), rest)
    assert float(slope.abs().max()) < 1e-9


@pytest.mark.parametrize("beta", [0.5, 2.0])
@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_one_update_retrieves_within_the_bound(beta, distance):
    """Ramsauer et al., theorem 5: |f(ξ) - x_i| ≤ 2 (n - 1) M exp(-β (Δ_i - 2 |ξ - x_i| M)), Δ_i the separation."""
    torch.manual_seed(1)
    X = torch.randn(20, 64, dtype=torch.float64)
    memory, M = attending(X, beta=beta), X.norm(dim=1).max()
    products = X @ X.T
    separation = products.diagonal() - (products - torch.diag(torch.full((20,), torch.inf).double())).amax(1)
    assert (separation > 0).all()
    away = torch.nn.functional.normalize(torch.randn(20, 64, dtype=torch.float64), dim=1) * distance
    error = (memory.update(X + away) - X).norm(dim=1)
    bound = 2 * 19 * M * (-beta * (separation - 2 * distance * M)).exp()
    assert (error <= bound + 1e-12).all()
    assert float(bound.min()) < 1e-3, "a bound that says something"


@pytest.mark.parametrize("values", ["signs", "normal"])
def test_it_retrieves_where_the_classical_network_fails(values):
    """At load one half, with a tenth of the signs wrong."""
    x = drawn(300, 150, values=values)
    spoilt = Recall(flip=0.1)
    modern = spoilt.metrics(attending(x, steps=1), Batch(x))
    assert modern["exact"].all()
    assert modern["overlap"].tolist() == pytest.approx([1.0] * 150, abs=1e-6)
    classical = spoilt.metrics(holding(x), Batch(x))
    assert not classical["exact"].any()
    assert float(classical["overlap"].mean()) < 0.4


def test_images_are_recalled_from_their_upper_half(train):
    options = ("dataset=digits", "dataset.binarize=threshold", "dataset.limit=60", "task.mask=0.5", "task.flip=0")
    modern = train("modern", "model=modern_hopfield", *options).read()["metrics"]
    classical = train("classical", "model=hopfield", *options).read()["metrics"]
    assert modern["test/exact"] > 0.8
    assert classical["test/exact"] == 0
    assert classical["train/patterns"] == 60
