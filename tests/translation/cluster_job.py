"""A program: pictures of a folder through `--engine ray`, telling on stdout what is settled, for tests.

`python -m tests.translation.cluster_job MODEL SOURCE DEST [ADDRESS]`. What DEST has already is not done again. Reading
a picture takes a moment, so that there is time to kill something; one called `fatal.png` brings its process down.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from cyclegan.errors import CycleganError
from cyclegan.translation.jobs import Failure, Job, PictureIO
from cyclegan.translation.ray import engine
from cyclegan.translation.runners import EngineOptions, TranslationSettings

MOMENT = 0.02  # seconds


@dataclass(frozen=True)
class Slow(PictureIO):
    """Pictures that take a while to come."""

    def read(self, job: Job, *arguments: Any, **options: Any) -> Any:
        """As `PictureIO.read`, later or never."""
        time.sleep(MOMENT)
        if job.name == "fatal.png":
            os._exit(1)
        return super().read(job, *arguments, **options)


def settings_for(model: str, dest: str, io: type[PictureIO] = Slow) -> TranslationSettings:
    """What gives the same bytes in whatever company a picture is; files are begun beside `dest`, as by the command."""
    return TranslationSettings(
        io(dest, temporary=f"{dest}.tmp"), model=model, precision="fp32", batch_size=1, tile=None
    )


def jobs_for(source: str, dest: str) -> list[Job]:
    """One for each file of `source` that `dest` has not."""
    there = set(os.listdir(dest))
    return [Job(name, os.path.join(source, name), name) for name in sorted(os.listdir(source)) if name not in there]


def tell(**words: Any) -> None:
    """One line of JSON for the test."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def on_result(job: Job, failure: Failure | None) -> None:
    """Say what became of a picture."""
    tell(name=job.name, **({} if failure is None else {"error": failure.error, "reason": failure.reason}))


def main(model: str, source: str, dest: str, address: str | None = None) -> None:
    """Do the job, or say in one line why not."""
    engine.PATIENCE = 15.0
    try:
        engine.run(settings_for(model, dest), jobs_for(source, dest), on_result, EngineOptions(address=address))
    except CycleganError as error:
        tell(raised=type(error).__name__, text=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
