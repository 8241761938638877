"""Check whether a procedure can run in several processes, by the attributes of its class."""

from collections.abc import Iterator, Mapping
from typing import Any

from dlx.config.catalogue import find_signature


def check_distributed_support(
    procedure: Mapping[str, Any], trainer: Mapping[str, Any], name: str
) -> tuple[str, str] | None:
    """Return why `trainer.strategy` cannot work, and the remedy; None if it can.

    Args:
        procedure, trainer: their nodes of the configuration.
        name: the name that the procedure was chosen by.
    """
    strategy = trainer["strategy"]
    for target in _iter_procedure_targets(procedure):
        signature = find_signature(target)
        declared = signature.attributes if signature else {}
        own = target.rpartition(".")[2]
        which = f"procedure={name}" + (f" ({own})" if target != procedure.get("_target_") else "")
        if declared.get("distributes") is False:
            return f"{which} learns in one process only", "type trainer=default"
        if strategy == "fsdp" and declared.get("shards") is False:
            return (
                f"{which} needs the whole model in each process, of which trainer.strategy=fsdp leaves it a part",
                "type trainer=ddp",
            )
    if procedure.get("compile"):
        what = f"procedure.compile={procedure['compile']} makes one graph of a step, in which nothing is exchanged"
        return what, "type procedure.compile=null"
    if strategy == "fsdp" and (trainer.get("compile") or str(trainer.get("precision")) == "16"):
        what = "trainer.strategy=fsdp works without trainer.compile, and with trainer.precision=32 or bf16"
        return what, "type trainer.compile=false trainer.precision=bf16"
    return None


def _iter_procedure_targets(node: Any) -> Iterator[str]:
    """Yield the classes of procedures: a node's own, and those within."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if isinstance(target, str) and not target.startswith("torch."):
            yield target
        for value in node.values():
            yield from _iter_procedure_targets(value)
