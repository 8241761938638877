"""Watch what a verb does in a stranger's directory: files written, processes, sockets, and modules that it brings."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from dlx.cli.main import run as run_words
from dlx.errors import DlxError

PLACES = (".config", ".cache")
WRITES = {"os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"}
PROCESSES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
SOCKETS = {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"}
# Libraries make their own, wherever they are imported first.
CACHES = (os.path.join(tempfile.gettempdir(), "torchinductor_"), *(f"{Path.home()}/{at}/matplotlib" for at in PLACES))
CODE = "import pathlib\npathlib.Path(__file__).with_name('pwned').touch()\nclass Thing:\n    pass\n"
# Modules that Python, Hydra or a library might look for: each leaves a file behind where it is run.
MODULES = ("evil", "json", "random", "mido", "safetensors", "onnx", "tabulate", "tensorboard", "sitecustomize")

_seen: list | None = None


def _watch(event, args):
    if _seen is None:
        return
    if event == "open" and isinstance(args[0], str | bytes | Path):
        mode, flags = args[1], args[2]
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
        if writes:
            _seen.append(("write", os.path.abspath(os.fsdecode(args[0]))))
    elif event in WRITES:
        paths = [os.fsdecode(path) for path in args[:2] if isinstance(path, str | bytes)]
        _seen.extend(("write", os.path.abspath(path)) for path in paths)
    elif event in PROCESSES or event in SOCKETS:
        _seen.append((event, str(args[:2])))


_installed = False


@contextlib.contextmanager
def watched():
    """Everything within the block that reaches out, as (what, where)."""
    global _seen, _installed
    if not _installed:
        sys.addaudithook(_watch)  # it cannot be taken away again
        _installed = True
    _seen = found = []
    try:
        yield found
    finally:
        _seen = None


def make_stranger(run, place: Path) -> Path:
    """A copy of a run in `place`, beside modules that leave `pwned` where they are run, and a ./conf that names one."""
    shutil.copytree(run.directory, place)
    for name in MODULES:
        (place / f"{name}.py").write_text(CODE)
    (place / "hydra_plugins" / "evil").mkdir(parents=True)
    (place / "hydra_plugins" / "evil" / "__init__.py").write_text(CODE)
    (place / "conf" / "model").mkdir(parents=True)
    (place / "conf" / "model" / "evil.yaml").write_text("# @package _global_\nmodel:\n  _target_: evil.Thing\n")
    return place


def run_verb(words: list[str], place: Path, writable: Path) -> tuple[str, list]:
    """How a command line ended in a directory: `ok`, or the error's type; and what it did that it must not."""
    before, path = Path.cwd(), list(sys.path)
    os.chdir(place)
    try:
        with watched() as found:
            try:
                code = run_words(words)
                outcome = f"exit {code}"
            except DlxError as error:
                outcome = f"{type(error).__name__}: {error}"
            except SystemExit as stop:
                outcome = f"exit {stop.code}"
            except Exception as error:
                outcome = f"RAW {type(error).__name__}: {error}"
    finally:
        os.chdir(before)
        sys.path[:] = path
    inside = (str(writable), "/dev/", "/proc/", *CACHES)
    bad = [
        (what, where)
        for what, where in found
        if not (what == "write" and (where.startswith(inside) or "__pycache__" in where))
    ]
    bad += [("executed", str(file)) for file in place.rglob("pwned")]
    if outcome.startswith("RAW"):
        bad.append(("raw", outcome))
    return outcome, bad
