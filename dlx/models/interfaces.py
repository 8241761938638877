"""Every optional capability of a model as a Protocol, on one page.

A model is a `torch.nn.Module` whose `forward` answers its task. Whatever else it can do it shows by having the methods
of a Protocol here; it need not name or inherit it. Tasks, procedures, pictures and the command line ask for it with
`isinstance(model, Encoder)`, and do without it, or say what is missing, where it is not there. So a model of your own
gets `dlx sample` by a method `sample(n)`, and the map of its codes in TensorBoard by `encode(x)`.

Some flags are plain class or instance attributes (`conditional`, `labelled`); a model without one is as if it were
false, where its Protocol says no other. What `dlx list` and the check of a configuration read from the source of a
model's class is no Protocol: they do not import it. These are `accepts`, `min_size`, and `declares`, the metrics that
it adds to those of its task (`dlx.metrics`). `intensities` and `signs`, which say what data may stand for, are read by
dlx.datasets.images.input_range, a layer below this one.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from dlx.batch import Batch

if TYPE_CHECKING:
    from dlx.models.boltzmann.ais import Bipartite


class _CapabilityMeta(type(Protocol)):  # type: ignore[misc]
    """`isinstance` by `getattr`: from Python 3.12 on typing's looks attributes up past `__getattr__`.

    It would miss a submodule, as in `self.encode = nn.Linear(64, 2)`, since `nn.Module` keeps these elsewhere.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        if not getattr(cls, "_is_protocol", False):  # a class that inherits one: only its own instances
            return bool(super().__instancecheck__(instance))
        return all(
            callable(getattr(instance, name, None)) if is_method else hasattr(instance, name)
            for name, is_method in _members(cls)
        )


@cache
def _members(protocol: type) -> list[tuple[str, bool]]:
    """Return the names of a Protocol's members, inherited ones included, and whether each is a method."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False) and base is not Protocol]
    names = {name: None for base in bases for name in (*vars(base), *base.__annotations__) if not name.startswith("_")}
    return [(name, callable(getattr(protocol, name, None))) for name in names]


class Capability(Protocol, metaclass=_CapabilityMeta):
    """Base of the Protocols of this page."""


# -- codes and reconstructions -----------------------------------------------------------------------------------------


@runtime_checkable
class Encoder(Capability, Protocol):
    """Has codes. Used by the tasks reconstruction and density, `dlx predict --encode`, the embedding in TensorBoard."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes (batch, …) of x (batch, *shape).

        A conditional model may take `labels` (batch,) too, by that name: they are given where they are known.
        """


@runtime_checkable
class Decoder(Capability, Protocol):
    """Makes examples of codes. Used for the ways from code to code of the tasks reconstruction and generation."""

    def decode(self, z: Tensor) -> Tensor:
        """Return the examples (batch, *shape) of codes z (batch, …); a conditional one may take labels (batch,)."""


@runtime_checkable
class Reconstructor(Capability, Protocol):
    """Gives back what it saw. Used by the tasks reconstruction and density, and `dlx predict --reconstruct`."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the reconstructions of x (batch, *shape), of the same shape; may take `labels` as `encode` may."""


@runtime_checkable
class SigmoidOutputs(Capability, Protocol):
    """Says whether its reconstructions are probabilities, which task.loss=cross_entropy needs; without it: yes."""

    sigmoid: bool


@runtime_checkable
class SoftmaxOutputs(Capability, Protocol):
    """Says which softmax its scores stand for, None for none: losses such as mse look behind it (task=classification).

    `forward` gives the scores before it; `dlx.models.layer_spec.OutputSpec` makes it of `{activation: softmax}`.
    """

    softmax: nn.Module | None


# -- samples -----------------------------------------------------------------------------------------------------------


@runtime_checkable
class Sampling(Capability, Protocol):
    """Generates. Used by the tasks generation and density, `dlx sample` and `dlx export --module`."""

    def sample(self, n: int) -> Tensor:
        """Return n examples (n, *shape).

        `dlx sample` gives, by name, what the signature has of `labels` (n,), `length` and `prompt` of a sequence, and
        `temperature`; task generation gives a conditional model labels (n,) as the second argument.
        """


@runtime_checkable
class Conditional(Capability, Protocol):
    """May be told the class of an example. Used by adversarial learning, `dlx sample --clamp` and `dlx predict`."""

    conditional: bool


@runtime_checkable
class ClassConditional(Conditional, Protocol):
    """Knows how many classes there are, too. Used by the task generation, which draws evenly of all."""

    classes: int | None


@runtime_checkable
class Interpolator(Decoder, Protocol):
    """Has ways between its noises. Used for the pictures of the task generation."""

    def latent(self, n: int) -> Tensor:
        """Return noise (n, …) to generate from, on the model's device."""

    def between(self, start: Tensor, end: Tensor, part: Tensor) -> Tensor:
        """Return the noise at `part` (n, 1), in [0, 1], of the ways from `start` to `end` (n, …)."""


@runtime_checkable
class Discriminator(Capability, Protocol):
    """Tells data from samples. Used by the task generation (`discriminator_auc`)."""

    def discriminate(self, x: Tensor) -> Tensor:
        """Return scores (batch,) of x (batch, *shape): log-odds that x is real, or a critic's value.

        A conditional one takes labels (batch,) after x.
        """


@runtime_checkable
class Adversaries(Capability, Protocol):
    """Two players: what procedure=adversarial needs; a `Conditional` one takes labels (n,) after z and after x."""

    def players(self) -> tuple[nn.Module, nn.Module]:
        """Return the generator and the discriminator, which share no parameter."""

    def latent(self, n: int) -> Tensor:
        """Return noise to generate from, (n, …), on the model's device."""

    def generate(self, z: Tensor) -> Tensor:
        """Return examples (n, *shape) of noise z."""

    def discriminate(self, x: Tensor) -> Tensor:
        """Return scores (batch,) of x, as a `Discriminator` does."""

    def follow(self) -> None:
        """Hear that the generator was updated; a moving average of it takes a step."""


# -- answers at every step of a sequence -------------------------------------------------------------------------------


@runtime_checkable
class StepModel(Capability, Protocol):
    """Answers at every step: what the tasks prediction, tagging and transduction and procedure=tbptt need."""

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Return scores (batch, T, outputs) of x (batch, T, …), going on from a state, and the state after it."""


@runtime_checkable
class Bidirectional(Capability, Protocol):
    """Says whether sequences are read from both ends, which task=prediction and procedure=tbptt refuse."""

    bidirectional: bool


@runtime_checkable
class NextStep(StepModel, Bidirectional, Protocol):
    """Tells the next step: what dlx.models.recurrent.sampling draws from."""

    shape: tuple[int, ...]  # (T, features), or (T,) symbols
    symbols: int | None
    outputs: int


@runtime_checkable
class Traceable(Capability, Protocol):
    """Shows what happens within it. Used for the pictures of the task transduction."""

    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Return tables (rows, T) by name, of one sequence x (T, …); NaN is drawn as a gap."""


@runtime_checkable
class StateGradientModel(Capability, Protocol):
    """Has hidden states over time: what procedure.diagnose=gradients needs."""

    def state_gradients(self, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return ‖∂L/∂h_t‖ at each step t, (T,) by name of the state; the first one is what the curves show.

        Args:
            loss: computes L, 0-d, with this model.
        """


# -- probabilities -----------------------------------------------------------------------------------------------------


@runtime_checkable
class Scorer(Capability, Protocol):
    """Says how probable examples are: what the task density needs."""

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return values (batch,) of each example x (batch, *shape).

        `log_likelihood` in nats where it is exact, with a gradient if it is to be back-propagated; else what there is
        instead: `log_likelihood_bound`, `free_energy`, `variational_free_energy`, `pseudo_log_likelihood`.
        """


@runtime_checkable
class Probabilistic(Capability, Protocol):
    """Says whether its scores are logits; without it: yes. Used by the task classification: no loss without them."""

    probabilistic: bool


@runtime_checkable
class PartitionFunction(Capability, Protocol):
    """Has a partition function Z. Used by the task density and `dlx evaluate --ais`."""

    def log_partition(self) -> Tensor | None:
        """Return log Z, 0-d float64; None where it cannot be summed."""


@runtime_checkable
class Temperable(Capability, Protocol):
    """A Boltzmann machine of two sides: what annealed importance sampling (task density) and tempered chains need."""

    def bipartite(self) -> "Bipartite | None":
        """Return its weights and biases, with the visible units of an RBM as side s; None where it is none."""


@runtime_checkable
class TwoSided(Capability, Protocol):
    """Knows the means of both sides of `bipartite`. Used by the task density, for where annealing starts."""

    def sides(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means (batch, units) of sides s and t where v (batch, visible) is seen."""


@runtime_checkable
class StateDecoder(Capability, Protocol):
    """A hidden Markov model. Used by the task density, which then reports likelihoods per step, too."""

    def decode_states(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the most probable states (batch, T) of sequences x (batch, T, …), -1 beyond each length."""


@runtime_checkable
class StatePosterior(Capability, Protocol):
    """Knows how probable its hidden states are. Used by the task density, for `dlx predict`."""

    def posterior_states(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return p(z_t | x), (batch, T, states), of sequences x (batch, T, …); zero beyond each length."""


# -- clusters and memories ---------------------------------------------------------------------------------------------


@runtime_checkable
class Centred(Capability, Protocol):
    """Has a centre for each cluster. Used by the task clustering; without them the clusters' means stand in."""

    centres: Tensor | None  # (clusters, *shape)


@runtime_checkable
class Measuring(Capability, Protocol):
    """Measures single examples. Used by the task clustering, which logs it beside its own metrics."""

    def measures(self, x: Tensor) -> dict[str, Tensor]:
        """Return values (batch,) of x (batch, *shape), or 0-d ones of the model itself."""


class RecallResult(NamedTuple):
    """Where the dynamics came to, from each of a batch of cues."""

    states: Tensor  # (batch, N)
    sweeps: Tensor  # (batch,) int64: sweeps over all units in which the state still changed
    stable: Tensor  # (batch,) bool: no unit would move any more


@runtime_checkable
class Recalling(Capability, Protocol):
    """An associative memory of N units: what the tasks recall and capacity need."""

    def states(self, x: Tensor) -> Tensor:
        """Return examples x (batch, *shape) as states of the units, (batch, N), from -1 to 1."""

    def values(self, states: Tensor) -> Tensor:
        """Return states (batch, N) as examples, (batch, *shape)."""

    def recall(self, cues: Tensor) -> RecallResult:
        """Return what the memory makes of cues (batch, N)."""

    def energy(self, states: Tensor) -> Tensor:
        """Return the energies, (batch,), of states (batch, N)."""


@runtime_checkable
class Storing(Capability, Protocol):
    """Stores patterns: what procedure=hebbian and the task capacity need."""

    def gather(self, gathered: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Return what was gathered, empty at first, with the examples x (batch, *shape) added."""

    def store(self, gathered: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Hold what was gathered, and nothing else; may return numbers of it."""


@runtime_checkable
class Remarking(Capability, Protocol):
    """Warns of what it learned. Used by procedure=hebbian and fit."""

    def remark(self, told: Mapping[str, float]) -> str | None:
        """Return what the user should hear of the numbers that `store` or `fit` returned; None for nothing."""


@runtime_checkable
class CapacityTheory(Capability, Protocol):
    """Knows what is to be expected of it. Used by the task capacity, which draws it beside what is measured."""

    def theory(self) -> tuple[Tensor, Tensor] | None:
        """Return loads (n,) and the mean overlaps (n,) expected at them; None where nobody knows."""


# -- what procedures need ----------------------------------------------------------------------------------------------


@runtime_checkable
class Fittable(Capability, Protocol):
    """Learns at once: what procedure=fit needs."""

    def fit(self, x: Tensor, y: Tensor | None) -> Mapping[str, float] | None:
        """Learn from all examples x (examples, *shape), with labels or targets y; may return numbers of the fit."""


@runtime_checkable
class Expectable(Capability, Protocol):
    """What procedure=em needs; `LearnsFromLabels`, `Complete` and `Prior` are optional beside it."""

    def statistics(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return the expected counts of a batch (E-step), and `log_likelihood`, 0-d, summed over it."""

    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the parameters that the summed counts make most likely (M-step)."""


@runtime_checkable
class LearnsFromLabels(Capability, Protocol):
    """Says whether `statistics` takes the labels as well, by the name `y`. Used by procedure=em."""

    labelled: bool


@runtime_checkable
class Complete(Capability, Protocol):
    """Says whether nothing is hidden from the model, so that one pass is all. Used by procedure=em."""

    complete: bool


@runtime_checkable
class Prior(Capability, Protocol):
    """Has a prior over its parameters. Used by procedure=em, which raises it with the likelihood."""

    def log_prior(self) -> float:
        """Return log p of the parameters, up to a constant."""


@runtime_checkable
class GibbsSampler(Capability, Protocol):
    """What the chains of contrastive divergence need."""

    def gibbs(self, v: Tensor, steps: int) -> Tensor:
        """Return states (batch, *shape) after `steps` of Gibbs sampling from v."""


@runtime_checkable
class EnergyModel(GibbsSampler, Protocol):
    """What contrastive divergence (procedure=cd, pcd, …) needs; `FreeEnergyGap` and `Contrast` save work."""

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v), (batch,), of v (batch, *shape), differentiable in the parameters."""

    def gibbs(self, v: Tensor, steps: int) -> Tensor:
        """Return states (batch, *shape) after `steps` of Gibbs sampling from v."""


@runtime_checkable
class FreeEnergyGap(Capability, Protocol):
    """Knows the gradient of its free energy; others are differentiated by autograd. Used by contrastive divergence."""

    def free_energy_gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return mean F(v) - mean F(fantasy), 0-d, and its gradients in all parameters, in their order."""


@runtime_checkable
class Contrast(Capability, Protocol):
    """Samples and differentiates in one. Used by contrastive divergence that begins at the data."""

    def contrast(self, v: Tensor, steps: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the fantasy (batch, *shape) after `steps` from v, and what `free_energy_gap` returns of both."""


@runtime_checkable
class Sparse(Capability, Protocol):
    """What a target for the hidden units' activity (procedure.sparsity_target) needs."""

    def sparsity_gradient(self, v: Tensor, target: float) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the mean distance of the activities from the target, 0-d, and the gradients of all parameters."""


@runtime_checkable
class DeepEnergyModel(Capability, Protocol):
    """What procedure=mean_field needs; each list holds (batch, units) of v and of every hidden layer."""

    def mean_field(self, v: Tensor, iterations: int | None = None) -> list[Tensor]:
        """Return v (batch, visible), and the means of the hidden layers given it."""

    def start(self, n: int) -> list[Tensor]:
        """Return random states of n chains."""

    def gibbs_layers(self, layers: list[Tensor], steps: int) -> list[Tensor]:
        """Return the states after `steps` of Gibbs sampling."""

    def mean_field_parameters(self) -> list[str]:
        """Return the names of the parameters that the energy is made of."""

    def energy_gap(self, data: list[Tensor], fantasy: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return mean E(data) - mean E(fantasy), 0-d, and its gradient in these parameters, in their order."""


@runtime_checkable
class WakeSleepModel(Capability, Protocol):
    """What procedure=wake_sleep and up_down need."""

    def wake_sleep_parameters(self) -> list[str]:
        """Return the names of the parameters that it teaches."""

    def wake_sleep(self, x: Tensor, y: Tensor | None, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return values to be logged, 0-d, and a direction for each of these parameters, to be gone against."""


@runtime_checkable
class Layered(Capability, Protocol):
    """What procedure=greedy needs."""

    def stack(self) -> list[nn.Module]:
        """Return its layers, from the data upwards, each something that the learner can train."""

    def below(self, index: int, batch: Batch) -> Batch:
        """Return what layer `index` sees of a batch."""


@runtime_checkable
class Unrollable(Capability, Protocol):
    """Has a second form that takes over its weights. Used between two stages (procedure=fine_tune), and for files."""

    def unroll(self) -> None:
        """Copy the weights that were learned in one form into the other."""


@runtime_checkable
class UnrolledModules(Capability, Protocol):
    """Names the modules that `unroll` makes of the others. Used by `pretrained=`: a file may lack these."""

    unrolls: tuple[str, ...]


@runtime_checkable
class Competing(Capability, Protocol):
    """What procedure=competitive needs; other updates than online need `CompetingAtOnce`."""

    updates: ClassVar[tuple[str, ...]]  # which of online, minibatch and batch it knows

    def online(self, x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Learn from x (batch, *shape), one after the other, `seen` of `total` examples into the training."""


@runtime_checkable
class CompetingAtOnce(Capability, Protocol):
    """What procedure=competitive needs for its updates minibatch and batch."""

    def minibatch(self, x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Learn from all of x (batch, *shape) at once, `seen` of `total` examples into the training."""

    def gather(self, sums: Mapping[str, Tensor], x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Return the sums of a pass, empty at first, with x (batch, *shape) added."""

    def replace(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set the prototypes by the sums of a pass, and return values to be logged."""


# -- beside learning ---------------------------------------------------------------------------------------------------


@runtime_checkable
class DataInitialized(Capability, Protocol):
    """Sets weights by the data, before anything is learned; `trainer.strategy=fsdp` refuses it."""

    def prepare(self, x: Tensor) -> None:
        """See the first training examples x (n, *shape); not called where weights come from a file."""


@runtime_checkable
class Penalized(Capability, Protocol):
    """A model or a part of one whose penalty belongs to the loss. Used by back-propagation."""

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss, 0-d, after the forward pass; None for nothing."""


@runtime_checkable
class Constrained(Capability, Protocol):
    """A model or a part of one that is set right after each update by an optimizer."""

    def constrain(self) -> None:
        """Bring the weights back to where they may be, in place."""


@runtime_checkable
class Pictured(Capability, Protocol):
    """Draws itself at the end of an epoch. Used by dlx.training.pictures."""

    def pictures(self) -> dict[str, Tensor]:
        """Return pictures by name, (channels, height, width) each, in [0, 1].

        Given, by name, what the signature has of `symbols`, names of the dataset's symbols, and `classes`, those of its
        classes: each a list of strings, or None where there are none.
        """


@runtime_checkable
class Pipelined(Capability, Protocol):
    """Wraps an estimator of scikit-learn, with the scaling before it. Used by `dlx export` and charts."""

    pipeline: Any
    estimator: Any
