"""Histograms of the weights, and pictures, between epochs."""

from dlx.distributed.group import current_group
from dlx.training.callbacks.callback import Callback, Training


class Histograms(Callback):
    """Log histograms of the weights, at the epochs that the logger chooses."""

    def on_epoch_end(self, trainer: Training) -> None:
        with current_group().full_parameters(trainer.model):
            trainer.logger.histograms(trainer.compute_histograms, trainer.step)


class Pictures(Callback):
    """Log the procedure's pictures of each pass, and every so often the model's, the task's and the visuals.

    Args:
        every: epochs between the latter; 0 for none before the end.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_epoch_end(self, trainer: Training) -> None:
        if trainer.logger.is_enabled("images"):
            for name, picture in trainer.procedure.pictures().items():
                trainer.logger.images(name, picture, trainer.step)
        if self.every and trainer.epoch % self.every == 0:
            with current_group().full_parameters(trainer.model):
                trainer.log_pictures()
