"""Stand-ins, which no file of the package knows: the methods, networks, loss, metric and alarm of CONTRIBUTING.md.

`python -m tests.support.stand_ins COMMAND …` is `cyclegan` with these in its tables, also as one of several processes.
"""

from __future__ import annotations

from cyclegan.evaluation.metrics.registry import METRICS
from cyclegan.figures import FIGURES, LOWER, Figure
from cyclegan.losses import ADVERSARIAL_LOSSES
from cyclegan.methods import METHODS, Method
from cyclegan.networks import GENERATORS
from cyclegan.training.alarms import ALARMS
from tests.support.documents import example

STAND_INS: dict[str, type[Method]] = {
    "from-noise": example("FromNoise"),
    "pairs": example("Pairs"),
    "one-way": example("OneWay"),
}


def register() -> None:
    """Put the stand-ins into the tables of this process."""
    METHODS.update(STAND_INS)
    GENERATORS.update({"up": example("Up"), "plain": example("Plain")})
    ADVERSARIAL_LOSSES["least-absolute"] = example("LeastAbsolute")
    METRICS["brightness"] = example("Brightness")
    FIGURES["brightness"] = Figure("brightness", "{:.1f}", LOWER, compared=True)
    ALARMS["large-loss"] = example("LargeLoss")


if __name__ == "__main__":
    from cyclegan.cli import main

    register()
    main()
