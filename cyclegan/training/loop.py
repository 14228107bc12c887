"""The training loop, flat and whole: read it from top to bottom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig
from cyclegan.data import build_loader, held_out, record_of
from cyclegan.methods import Method
from cyclegan.tracking import open_tracker
from cyclegan.training.alarms import Alarms
from cyclegan.training.batches import Batches
from cyclegan.training.checkpoint import States, restore, save_generators
from cyclegan.training.compilation import compile_players, wanted
from cyclegan.training.evaluating import open_evaluation
from cyclegan.training.health import Averages, Guard, Pictures
from cyclegan.training.plan import make_plan
from cyclegan.training.players import Players
from cyclegan.training.progress import open_progress
from cyclegan.training.rows import Rows
from cyclegan.training.run import open_run
from cyclegan.training.samples import write_grids
from cyclegan.training.signals import Preempted, stop_on_signals
from cyclegan.training.step import Outcome, play

log = logging.getLogger("cyclegan")


def train(config: TrainConfig, run: str | Path | None = None) -> Path:
    """Train as `config` says, in the directory `run` (default `runs/<a>2<b>`), and return that directory.

    A directory that was trained in before is taken up from its newest whole state, exactly: weights, both optimizers,
    averages, image pool, order of the data and augmentation. Learning rate, order, augmentation and noise are
    functions of (seed, step), so there is nothing about them to restore.

    Raises `UsageError` for what cannot be done as asked, `Preempted` after SIGINT or SIGTERM with the state saved,
    and `CycleganError` when the run had to stop; the newest good state stays in each case.
    """
    plan = make_plan(config, run)
    config, path, device, steps = plan.config, plan.path, plan.device, plan.steps
    domains, views, method = plan.domains, plan.views, plan.method
    evaluation = open_evaluation(config, domains, views, path, device, tuple(method.generators))

    with open_run(path, config, domains, record_of(views)) as directory, stop_on_signals() as stop:
        players = Players(plan)
        generators, precision = players.ema.generators, players.precision  # those that are shown and saved
        guard = Guard(device)
        averages = Averages()
        alarms = Alarms(config, domains, views, method, path)

        # Everything that must survive; what is not named here is a function of the configuration and the step.
        others: dict[str, Any] = {"guard": guard, "averages": averages, "alarms": alarms, "evaluation": evaluation}
        states = States(path / "checkpoints")
        state = states.load_newest() if directory.began else None
        step = 0
        if state is not None:
            players.restore(state)
            restore(state, **others)
            step = state["step"]
            log.info("resuming %s at step %d of %d", path, step, steps)
        del state

        # Compiled where the rest of the run is long enough to pay for it.
        if wanted(config.compile, device, steps - step):
            compile_players(method, device)

        # What is looked at, and where it is written.
        shown = dict(zip("ab", held_out(domains, config, config.samples, views), strict=True))
        tracker = open_tracker(
            path,
            mode=config.wandb,
            project=config.wandb_project,
            config=plan.saved_config,
            resumed=step > 0,
            run_id=directory.meta["tracking_id"],
            name=path.name,
        )
        if tracker.note:
            log.info("%s", tracker.note)
        saved = step
        loader = build_loader(config, domains, views, start=step, stop=steps, pin=device.type == "cuda")
        batches = Batches(loader, device, config.accumulate)
        pictures = Pictures(len(domains.train_a) + len(domains.train_b), config.crop_size)
        rows = Rows(players, averages, pictures, batches, step)
        outcome: Outcome | None = None
        ending = "failed"

        try:
            alarms.begin(step, tracker)
            with open_progress(step, steps) as progress:
                while True:
                    # Looking and saving come before the step: so step 0 is seen and the last state is written.
                    if evaluation.due(step):
                        rows.leave_out(evaluation.look(step, generators, plan.info, tracker, stop))
                    over = step == steps or evaluation.exhausted
                    last = over or step >= steps or bool(stop)  # more: after a resume with a smaller --steps
                    if outcome is not None and (step % config.log_every == 0 or over):
                        row = rows.row(step, outcome, alarms.finite(step, guard))
                        tracker.log(step, row)
                        alarms.look(step, row)
                        progress.report(step, row)
                        rows.begin(step)
                        outcome = None

                    alarms.probe(step, generators, precision)
                    last = last or bool(alarms.ended_by)

                    if config.sample_every and (step % config.sample_every == 0 or over):
                        grids = _sample(method, generators, shown, path / "samples", step, device, config.precision)
                        for name, grid in grids.items():
                            tracker.images(step, f"samples/{name}", grid)

                    if step != saved and (step % config.state_every == 0 or last):
                        alarms.finite(step, guard)  # a bad run must not replace the last good state
                        states.save(step, about=plan.about, **players.lasting, **others)
                        kept = config.generators_every
                        model = save_generators(path / "checkpoints", generators, plan.info, step, every=kept)
                        if over or (kept and step % kept == 0):
                            tracker.model(step, model)
                        directory.status("running", step)
                        saved = step

                    if last:
                        break

                    # A batch, from the readers to the device.
                    batch = next(batches)
                    pictures.update(batch.unreadable, batch.enlarged)

                    # The step. What is random in it (pool, dropout, interpolation) follows from the seed and the step.
                    torch.manual_seed((config.seed * 1_000_003 + step + 1) % 2**63)
                    players.set_rates(step)
                    outcome = play(method, players.generators, players.discriminators, batch.parts, precision)
                    step += 1
                    players.ema.update(step)
                    guard.update(outcome.skipped)
                    averages.update(outcome.figures)
                    progress.advance(step)

            alarms.obey(step)
            if stop.signal is not None and step < steps and not over:
                ending = "preempted"
                raise Preempted(
                    f"stopped by {stop.signal.name} at step {step} of {steps}, state saved; "
                    f"go on with `cyclegan train --resume {path}`",
                    stop.signal,
                )
            evaluation.finish(step, generators, tracker)
            ending = "done"
            directory.status("done", step, evaluation.reason(step))
        finally:
            tracker.finish(ending)
    return path


def _sample(method: Method, *arguments: Any) -> dict[str, Path]:
    """Write the grids; a disk that is full for a picture is no reason to stop learning."""
    try:
        return write_grids(*arguments)
    except OSError as error:
        log.warning("the sample grids could not be written (%s); training goes on", error.strerror or error)
        return {}
    finally:
        method.train()
