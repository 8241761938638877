"""One iteration of EM on 1,000 sequences of 100 symbols: dlx, plain torch, hmmlearn, and dynamax where installed."""

from collections.abc import Callable
from typing import Any

import numpy as np

CASES = {"hmm8": 8, "hmm64": 64}  # states
SYMBOLS, SEQUENCES, STEPS = 10, 1000, 100


def begin(states: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Tables to begin with, rows of probabilities in float64, and the symbols (SEQUENCES, STEPS)."""
    random = np.random.default_rng(0)
    tables = [random.dirichlet(np.ones(k), n) for n, k in ((1, states), (states, states), (states, SYMBOLS))]
    return [tables[0][0], *tables[1:]], random.integers(0, SYMBOLS, (SEQUENCES, STEPS))


def plain(states: int, single: bool) -> Callable[[], Any]:
    """Scaled forward-backward over the batch as one writes it down, with a new tensor for each result."""
    import torch

    given, symbols = begin(states)
    dtype = torch.float32 if single else torch.float64
    tables = [torch.tensor(table, dtype=dtype) for table in given]
    x = torch.tensor(symbols)

    @torch.no_grad()
    def iteration() -> None:
        start, A, B = tables
        b = B.T[x]
        alpha = start * b[:, 0]
        scale = alpha.sum(1, keepdim=True)
        alphas, scales = [alpha / scale], [scale]
        for t in range(1, STEPS):
            alpha = (alphas[-1] @ A) * b[:, t]
            scale = alpha.sum(1, keepdim=True)
            alphas.append(alpha / scale)
            scales.append(scale)
        betas = [torch.ones_like(alpha)]
        for t in range(STEPS - 2, -1, -1):
            betas.append((b[:, t + 1] * betas[-1] / scales[t + 1]) @ A.T)
        a, beta, c = torch.stack(alphas, 1), torch.stack(betas[::-1], 1), torch.stack(scales, 1)
        gamma = a * beta
        future = b[:, 1:] * beta[:, 1:] / c[:, 1:]
        pairs = A * (a[:, :-1].reshape(-1, states).T @ future.reshape(-1, states))
        counts = torch.zeros(SYMBOLS, states, dtype=dtype).index_add_(0, x.flatten(), gamma.flatten(0, 1)).T
        float(c.log().sum())
        for k, table in enumerate((gamma[:, 0].sum(0), pairs, counts)):
            tables[k] = table / table.sum(-1, keepdim=True)

    return iteration


def dlx(states: int, single: bool) -> Callable[[], Any]:
    """dlx's model and its procedure, with the products' kernels as a run chooses them."""
    import torch

    from dlx.batch import Batch
    from dlx.hardware.device import choose_matmul_precision
    from dlx.models.markov.categorical_hmm import CategoricalHMM
    from dlx.procedures.em import EM
    from dlx.tasks.density import Density

    tables, symbols = begin(states)
    model = CategoricalHMM(SYMBOLS, states, (STEPS,), dtype="float32" if single else "float64")
    with torch.no_grad():
        for name, table in zip(("log_start", "log_transition", "log_emission"), tables, strict=True):
            getattr(model, name).copy_(torch.tensor(table).log())
    choose_matmul_precision("auto", model, SEQUENCES, torch.device("cpu"))
    procedure, batch = EM(tolerance=0), Batch(torch.tensor(symbols))
    procedure.bind(model, Density())

    def iteration() -> None:
        procedure.step(batch)
        procedure.end_epoch()

    return iteration


def hmmlearn(states: int, implementation: str) -> Callable[[], Any]:
    """hmmlearn's fit of one iteration from the parameters that it has."""
    from hmmlearn.hmm import CategoricalHMM

    tables, symbols = begin(states)
    model = CategoricalHMM(states, n_iter=1, init_params="", n_features=SYMBOLS, implementation=implementation)
    model.startprob_, model.transmat_, model.emissionprob_ = tables
    x, lengths = symbols.reshape(-1, 1), [STEPS] * SEQUENCES
    return lambda: model.fit(x, lengths)


def dynamax(states: int) -> Callable[[], Any]:
    """An iteration of dynamax's fit_em, compiled once as it does: fit_em itself would compile at every call."""
    from functools import partial

    import jax
    from dynamax.hidden_markov_model import CategoricalHMM

    tables, symbols = begin(states)
    model = CategoricalHMM(states, 1, SYMBOLS)
    params, props = model.initialize(
        initial_probs=tables[0], transition_matrix=tables[1], emission_probs=tables[2][:, None],
        key=jax.random.PRNGKey(0), method="prior",
    )  # fmt: skip
    x = symbols[:, :, None]

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        statistics, log_likelihoods = jax.vmap(partial(model.e_step, params))(x)
        return *model.m_step(params, props, statistics, state), log_likelihoods.sum()

    kept = [params, model.initialize_m_step_state(params, props)]

    def iteration() -> None:
        *kept[:], log_likelihood = step(*kept)
        float(log_likelihood)

    return iteration


COMPETITORS: dict[str, tuple[str, Callable[[int], Callable[[], Any]]]] = {
    "bare": ("plain scaled torch, float32", lambda states: plain(states, True)),
    "bare_double": ("plain scaled torch, float64", lambda states: plain(states, False)),
    "dlx_single": ("dlx, model.dtype=float32", lambda states: dlx(states, True)),
    "dlx": ("dlx, float64", lambda states: dlx(states, False)),
    "hmmlearn_scaling": ("hmmlearn, implementation=scaling, float64", lambda states: hmmlearn(states, "scaling")),
    "hmmlearn_log": ("hmmlearn, implementation=log (its default)", lambda states: hmmlearn(states, "log")),
    "dynamax": ("dynamax, compiled, float32", dynamax),
}
SLOW = {"hmmlearn_scaling", "hmmlearn_log"}


def turn(name: str, case: str) -> tuple[Callable[[int], None], int]:
    """What trains so many iterations, and how many of them a turn has."""
    iteration = COMPETITORS[name][1](CASES[case])

    def several(iterations: int) -> None:
        for _ in range(iterations):
            iteration()

    return several, 1 if name in SLOW else 5
