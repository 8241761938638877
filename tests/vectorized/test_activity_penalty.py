"""Penalties on activities in a stack: each trial's by its own weights, equal to those of the models alone."""

import pytest
import torch

from dlx.batch import Batch
from dlx.models.layers import find_penalized
from dlx.models.mlp import MLP
from dlx.models.recurrent.gru import GRU
from dlx.tasks.classification import Classification
from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.stack import Stack


def test_each_trial_has_its_own_weight():
    models = [MLP([4], 3, hidden=[5], activity_l1=l1, activity_l2=0.2).train() for l1 in (0.1, 0.3, 0.5)]
    batch = Batch(torch.randn(6, 4), torch.randint(3, (6,)))
    task = Classification(loss="focal")
    alone = [task.loss(model, batch) + sum(m.penalty() for m in find_penalized(model)) for model in models]
    stack = Stack(models, task)
    losses, _ = stack.compute_losses(
        stack.split_rows(stack.weights), [], [], [number.values for number in stack.numbers], batch, False
    )
    torch.testing.assert_close(losses, torch.stack(alone))


def test_rules_of_a_whole_model_are_not_stacked():
    with pytest.raises(NotVectorizable, match="whole model"):
        Stack([GRU([6, 4], 3, hidden=5, recurrent_l2=0.1) for _ in range(2)], Classification())
