"""The plane that a chart of many features is drawn in: two features, or the first two principal components."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.charts.study import Study
from dlx.errors import UsageError


class Plane(NamedTuple):
    """A plane in the space of the inputs, with its axes' names."""

    study: Study
    components: Tensor | None  # (2, features) float64; None where the two features themselves are the axes
    mean: Tensor  # (features,)
    labels: tuple[str, str]

    def project(self, raw: Tensor) -> np.ndarray:
        """Return places (n, 2) of raw examples (n, *shape)."""
        if self.components is None:
            return raw.flatten(1).cpu().double().numpy()
        return self.project_inputs(self.study.see(raw))

    def project_inputs(self, x: Tensor) -> np.ndarray:
        """Return places (n, 2) of examples (n, *shape) as the model sees them."""
        rows = x.detach().flatten(1).cpu().double()
        if self.components is None:
            return self.study.dataset.inverse_transform(x.cpu()).flatten(1).double().numpy()
        return ((rows - self.mean) @ self.components.T).numpy()

    def lift(self, points: Any) -> Tensor:
        """Return the model's inputs (n, *shape) at places (n, 2) of the plane."""
        given = torch.as_tensor(np.asarray(points), dtype=torch.float64)
        shape = tuple(self.study.dataset.shape or ())
        if self.components is None:
            return self.study.see(given.to(self.study.dataset.dtype or torch.float32).view(-1, *shape))
        x = self.mean + given @ self.components
        return x.float().view(-1, *shape).to(self.study.device)


def make_plane(study: Study) -> Plane:
    """Return the plane of a study: fitted to its training split, so that it is the same for every split and epoch.

    Raises:
        UsageError: the data has one feature only.
    """
    features = torch.Size(study.dataset.shape or ()).numel()
    if features < 2:
        raise UsageError(
            f"the data of {study.dataset.source} has {features} feature; needed: two or more; try --method fit"
        )
    names = study.feature_names
    if features == 2:
        return Plane(study, None, torch.zeros(2), (names[0], names[1]))
    from sklearn.decomposition import PCA

    x = study.take("train").x.flatten(1).cpu().double()
    pca = PCA(2, svd_solver="full").fit(x.numpy())
    signs = np.sign(pca.components_[np.arange(2), np.abs(pca.components_).argmax(1)])
    shares = [f"{100 * share:.0f} % of the variance" for share in pca.explained_variance_ratio_]
    labels = (f"first principal component ({shares[0]})", f"second principal component ({shares[1]})")
    return Plane(study, torch.from_numpy(pca.components_ * signs[:, None]), torch.from_numpy(pca.mean_), labels)
