"""`python -m tests.torture [SECONDS] [MODEL ...]`: break runs of every model until the time is used up."""

import contextlib
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import dlx  # noqa: F401 - before torch: it decides how threads wait
from tests.conftest import MODELS
from tests.torture.chain import torture


def main(words: list[str]) -> int:
    """Report a line for each chain, and the sums. Returns 1 if any differs."""
    import torch

    from dlx import run  # noqa: F401 - imported once, here, and not in every forked process

    warnings.filterwarnings("ignore", message=".*fork.*")
    torch.set_num_threads(1)
    limit = float(words[0]) if words else 3600.0
    models, started = words[1:] or MODELS, time.monotonic()
    sums: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1000):
            for model in models:
                if time.monotonic() - started > limit:
                    break
                with contextlib.suppress(KeyboardInterrupt):
                    result = torture(model, Path(folder, f"{model}-{seed}"), seed, faults=3)
                    sums.update(chains=1, faults=result["struck"], different=bool(result["differences"]))
                    found = "; ".join(result["differences"]) or "equal"
                    print(f"{model:28} {result['struck']} of {', '.join(result['kinds'])}: {found}", flush=True)
    print(f"{sums['chains']} chains, {sums['faults']} runs broken off, {sums['different']} differ")
    return int(sums["different"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
