"""CIFAR-10 and CIFAR-100, through torchvision."""

import torch

from dlx.datasets.images.downloaded import Downloaded
from dlx.datasets.splits import Split, Stream


class Cifar10(Downloaded):
    """60,000 colour photographs of 32×32 pixels. A. Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html."""

    folder, class_name = "cifar-10-batches-py", "CIFAR10"

    def read(self) -> dict[str, Split | Stream]:
        from torchvision import datasets

        cls = getattr(datasets, self.class_name)
        parts = self.fetch(
            self.folder, lambda root, name, download: cls(root, train=name == "train", download=download)
        )
        self.names = list(parts["train"].classes)
        return {
            name: Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
            for name, part in parts.items()
        }


class Cifar100(Cifar10):
    """As CIFAR-10, with a hundred classes."""

    folder, class_name = "cifar-100-python", "CIFAR100"
