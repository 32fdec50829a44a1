"""What a proof has measured: printed, and left as JSON beside the test's other files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def report(folder: Path, proof: str, figures: Mapping[str, object], text: str = "") -> None:
    """Writes PROOF.json, and PROOF.md for people."""
    (folder / f"{proof}.json").write_text(json.dumps(figures, indent=2, default=str) + "\n")
    lines = [f"# {proof}", "", *(f"- {name}: {value}" for name, value in figures.items())]
    if text:
        lines += ["", "```", text, "```"]
    (folder / f"{proof}.md").write_text("\n".join(lines) + "\n")
    print("\n" + "\n".join(lines))
