"""One process of those that train together: `python -m tests.training.rank PLAN.json`.

The plan is `{"run": {option: value, …}, …}`: one training after another, each in a directory of that name beside the
plan; of one with "back" the states after that step are lost, and it is resumed; "probe_every" says how often a few
translations are looked at for alarms. All are in double precision, in which
the order of sums does not show; but for those that are evaluated, since translation is in fp32. Each process leaves the
fingerprint of its weights in `run/weights-RANK`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyclegan.config import TrainConfig
from cyclegan.evaluation.features.classifier import DomainClassifier
from cyclegan.evaluation.features.classifier_training import ClassifierNetwork
from cyclegan.training import loop, train
from cyclegan.training.alarms import probe
from cyclegan.training.evaluation import periodic
from cyclegan.training.loop_io.device_loader import DeviceLoader


def main(plan: Path) -> None:
    """Play the whole plan."""
    torch.set_num_threads(1)
    judge = DomainClassifier(_network(), 0.9, "planted", {"accuracy": 0.9}, torch.device("cpu"), ("a", "b"))
    periodic.find_classifier = lambda training, **options: judge
    scaled = DeviceLoader._scaled
    DeviceLoader._scaled = lambda self, pictures: scaled(self, pictures).to(torch.get_default_dtype())  # type: ignore[method-assign]
    built: list[Any] = []

    class Measured(loop.TrainState):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            built.append(self)

    loop.TrainState = Measured  # type: ignore[misc]
    for name, values in json.loads(plan.read_text()).items():
        torch.set_default_dtype(torch.float32 if values.get("evaluate_every") else torch.float64)
        back = values.pop("back", None)
        probe.EVERY = values.pop("probe_every", probe.EVERY)
        run = train(TrainConfig(**values), plan.parent / name)
        if back is not None:
            if os.environ.get("RANK", "0") == "0":
                for state in (run / "checkpoints").glob("state-*.pt"):
                    if int(state.stem.removeprefix("state-")) > back:
                        state.unlink()
            train(TrainConfig(**values), run)  # begins as soon as the first process does
        weights = b"".join(_bytes(value) for value in built[-1].method.state_dict().values() if torch.is_tensor(value))
        (run / f"weights-{os.environ.get('RANK', '0')}").write_text(hashlib.sha256(weights).hexdigest())


def _network() -> ClassifierNetwork:
    """A judge that is not taught: its features are those of random weights."""
    torch.manual_seed(0)
    return ClassifierNetwork().eval().requires_grad_(False)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
