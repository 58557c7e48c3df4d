"""Where things stand in the checkout: every path is resolved from the repository root, never from the cwd."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = ROOT / "chapters"
SOLUTIONS = ROOT / "solutions"
LABS = ROOT / "labs"
RUNS = ROOT / "runs"
