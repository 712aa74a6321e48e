"""A fresh Python process that sees this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *folders: Path, **environment: str) -> str:
    """What ``code`` prints in a process of its own that imports from ``folders`` too; fails with its error output."""
    paths = [str(ROOT), str(ROOT / "methods"), *map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
