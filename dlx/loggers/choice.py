"""The loggers that the group `logger` names."""

from omegaconf import DictConfig

from dlx.config.resolved import ResolvedConfig
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.loggers.logger import Logger


def make_loggers(config: DictConfig | ResolvedConfig) -> dict[str, Logger]:
    """Build the loggers of the group `logger`, by name; they are opened in the run directory later.

    Raises:
        UsageError: one of them refuses its values, or is no logger.
    """
    loggers: dict[str, Logger] = {}
    for name in config.get("logger") or {}:
        logger = build(config, f"logger.{name}")
        if not isinstance(logger, Logger):
            raise UsageError(
                f"logger.{name}._target_={type(logger).__module__}.{type(logger).__name__} was given; "
                "needed: a subclass of dlx.loggers.logger.Logger"
            )
        loggers[str(name)] = logger
    return loggers
