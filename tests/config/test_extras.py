"""The packages that messages name are those of pyproject.toml's extras."""

import re
import tomllib

from dlx.config.extras import EXTRAS, install_command
from tests.conftest import ROOT


def test_extras_are_those_of_the_distribution():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {
        extra: tuple(re.split(r"[<>=\[]", package)[0] for package in packages if not package.startswith("dlx-lab"))
        for extra, packages in declared.items()
    }
    names.pop("dev")
    assert names == EXTRAS
    assert install_command("export") == "pip install onnx onnxscript onnxruntime"


def test_no_message_names_an_extra_of_the_other_project():
    for path in [*(ROOT / "dlx").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        assert "dlx[" not in path.read_text(encoding="utf-8").replace("dlx[bench]", ""), path
