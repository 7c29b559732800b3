"""What only reads records opens without torch."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "torchvision", "timm", "cv2")
CODE = """
import importlib.abc, pkgutil, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ImportError("refused: " + name)

sys.meta_path.insert(0, Refuse())
import provenet.records, provenet.report, provenet.stats
for package in (provenet.records, provenet.report, provenet.stats):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        __import__(module.name)
from provenet.cli.main import run
sys.exit(run(["report", sys.argv[1]]))
"""


def test_records_report_and_stats_open_without_torch(tmp_path):
    (tmp_path / "recipe.yaml").write_text("task: classification\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=HEAVY), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.html").stat().st_size > 1000
