"""Run by test_killed.py: a job that is killed again and again, in processes that need not start anew.

Arguments: the source, the destination, a log, and the seconds after which each process is killed, with commas between.
Every process but the last is killed; a line is printed when each has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import torch
from torch import Tensor

from cyclegan.translation import Translator, translate_folder
from cyclegan.translation.jobs import PictureIO
from cyclegan.translation.runners import TranslationSettings
from tests.translation.examples import Plain

BATCH = 4
SECONDS = 0.01  # that a batch takes


class Logged(Plain):
    """The identity, slowly, which writes down the numbers of the pictures it sees, in their first pixels."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def forward(self, x: Tensor) -> Tensor:
        values = ((x[:, :, 0, 0] + 1) * 127.5).round().int().tolist()
        os.write(self._log, "".join(f"{high * 256 + low}\n" for high, low, _ in values).encode())
        time.sleep(SECONDS)
        return x


def main(source: str, dest: str, log: str, moments: str) -> None:
    """See above."""
    torch.set_num_threads(1)
    for moment in [*map(float, moments.split(",")), None]:
        child = os.fork()
        if not child:
            translator = Translator(Logged(log), device="cpu", precision="fp32")
            settings = TranslationSettings(
                PictureIO(), batch_size=BATCH, tile=None
            )  # no tiles: what they take would be tried out, and logged
            summary = translate_folder(translator, source, dest, settings=settings)
            os._exit(0 if summary.finished == summary.translated + summary.skipped else 1)
        if moment is not None:
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.write(1, f"{status}\n".encode())
        sys.stdin.readline()  # the test looks at what is there


if __name__ == "__main__":
    main(*sys.argv[1:])
