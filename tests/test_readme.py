"""The Python example of the README runs as it stands, on less."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

README = Path(__file__).parent.parent / "README.md"
SMALL = "steps=2, channels=2, load_size=32, crop_size=32, workers=0, device='cpu', wandb='disabled'"


def test_the_python_example_runs(tmp_path, folder, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    example = blocks[0]
    assert len(example.strip().splitlines()) <= 10
    assert "steps=20_000" in example
    folder("horses", 4, 40)
    folder("zebras", 4, 40)
    Image.fromarray(np.zeros((50, 31, 3), np.uint8)).save(folder("photos", 0) / "horse.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("steps=20_000", SMALL), "README.md", "exec"), {})
    with Image.open("zebra.png") as zebra:
        assert zebra.size == (31, 50)
