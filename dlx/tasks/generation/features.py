"""Features of images from a LeNet-5 of one's own, for the Fréchet distance between data and samples."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.runs.rundir import find_run
from dlx.runs.saved import load_config
from dlx.tasks.task import LoadModel

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset


class LeNetFeatures:
    """The 84 values of layer F6 of a finished LeNet-5, frozen, of images in [0, 1].

    The Fréchet distance is known with the Inception network trained on ImageNet; such a distance is named FID and does
    not compare with one of these features, nor these of two LeNets with each other.

    Args:
        run: directory (or id) of a finished run of lenet5.
        shape: of the images to be measured.
        load_model: returns the trained model of a run and its dataset.

    Raises:
        UsageError: no run, not finished, another model, or images of another shape.
    """

    def __init__(self, run: str, shape: tuple[int, ...], load_model: LoadModel) -> None:
        from dlx.models.convolutional.lenet5.lenet5 import LeNet5

        directory = find_run(run)
        given = f"task.features={run} was given"
        needed = (
            "needed: a finished run of lenet5 on images of the same shape; type dlx train experiment=lenet5_mnist "
            "(5 minutes), then task.features= with its run directory"
        )
        target = str(load_config(directory).model.get("_target_"))
        if target != f"{LeNet5.__module__}.{LeNet5.__name__}":
            raise UsageError(f"{given}, a run of {target.rpartition('.')[2]}; {needed}")
        status = directory.read().get("status")
        if status != "finished":
            raise UsageError(f"{given}, a run that is {status}; {needed}")
        # On the processor first: which device it will be, the samples say.
        overrides = ["trainer.device=cpu", "trainer.memory=stream"]
        model, self.dataset = load_model(directory, overrides)
        if tuple(self.dataset.shape or ()) != tuple(shape):
            raise UsageError(f"{given}, a network for images of {list(self.dataset.shape or ())}; {needed}")
        self.model: Any = model.requires_grad_(False)
        self.dataset.splits = {}  # only its scaling is used from here on

    @torch.no_grad()
    def __call__(self, images: Tensor, batch: int = 1000) -> Tensor:
        """Compute features (n, 84) of images (n, channels, height, width) in [0, 1]."""
        model, levels = self.model.to(images.device), float(getattr(self.dataset, "levels", 1.0))
        features = []
        with torch.autocast(images.device.type, enabled=False):  # a distance of a half-precise run compares with others
            for part in images.float().split(batch):
                x = self.dataset.transform(part * levels, False, None)
                features.append(model.classifier[:-1](model.features(x).flatten(1)))
        return torch.cat(features)


def make_features(run: str | None, dataset: "Dataset", load_model: LoadModel | None) -> LeNetFeatures | None:
    """Make the features that `task.features` asks for; None if it asks for none.

    Raises:
        UsageError: as `LeNetFeatures`, or a dataset that has no images.
    """
    if run is None:
        return None
    if len(dataset.shape or ()) != 3:
        raise UsageError(
            f"task.features={run} was given with examples of shape {list(dataset.shape or ())}; needed: images; "
            "type task.features=null"
        )
    assert load_model is not None, "whoever builds the task hands it in"
    return LeNetFeatures(run, tuple(dataset.shape or ()), load_model)


def to_unit_range(x: Tensor, dataset: "Dataset") -> Tensor:
    """Scale images (n, *shape), as the dataset gives them, back to [0, 1]; other data stay as they are."""
    if len(dataset.shape or ()) != 3:
        return x
    return (dataset.inverse_transform(x) / float(getattr(dataset, "levels", 1.0))).to(x.dtype)
