"""The training loop, flat and whole: read it from top to bottom."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.training.alarms import AlarmMonitor
from cyclegan.training.batch_size import explain_out_of_memory
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.evaluation.periodic import open_evaluation
from cyclegan.training.loop_io.device_loader import open_batches
from cyclegan.training.loop_io.metrics import MetricsRow
from cyclegan.training.loop_io.output import hold_directory, open_output
from cyclegan.training.loop_io.samples import SampleGrids
from cyclegan.training.setup import prepare_run
from cyclegan.training.signals import preempted, stop_on_signals
from cyclegan.training.update.state import TrainState


def training_loop(config: TrainConfig, path: Path, ranks: Ranks) -> Path:
    """Train as `config` says in the run directory `path`, as one of `ranks`; returns that directory.

    A run that was begun before is resumed exactly from its newest valid state: weights, both optimizers, averages,
    image pool, order of the data and augmentation. Learning rate, order, augmentation and noise are functions of
    (seed, step), so there is nothing about them to restore.

    Raises `UsageError` for what cannot be done as asked, `Preempted` after a request to stop with the state saved,
    and `CycleganError` when the run had to stop; the newest good state stays in each case.
    """
    run = prepare_run(config, path, ranks)
    config, device, steps = run.config, run.device, run.steps
    evaluation = ranks.raise_on_all(lambda: open_evaluation(run))

    with stop_on_signals() as stop, hold_directory(run) as directory:
        stop.interrupt_now(True)  # until a step is done there is nothing to save
        state = TrainState(run.method, config, device, run.dtype, ranks)
        generators = state.ema.generators  # those that are sampled, evaluated and saved
        alarms = AlarmMonitor(run, state.guard)

        # Everything that a state holds; what is not named here is a function of the configuration and the step.
        others: dict[str, Any] = {"alarms": alarms, "evaluation": evaluation}
        step = state.resume(path, directory is not None and directory.began, **others)
        state.compile(steps - step)

        samples = SampleGrids(run, state)
        with open_output(directory, run, generators, step, stop) as output:
            tracker, saver, progress = output.tracker, output.saver, output.progress
            batches = open_batches(run, step)
            rows = MetricsRow(state, batches, step)
            saved, evaluated = step, False  # step of the newest state; whether it lacks the last evaluation
            alarms.begin(step, tracker)
            with progress, saver, explain_out_of_memory(config, device, lambda: step):
                while True:
                    saver.check()
                    # Evaluation and saving come before the step, so that step 0 is seen and the last state is written.
                    if evaluation.due(step):
                        rows.leave_out(evaluation.evaluate(step, generators, run.info, tracker, stop))
                        evaluated = not evaluation.due(step)
                    asked = ranks.delayed_max(stop.signal or 0)  # agreed, so that all ranks stop at the same step
                    over = step == steps or evaluation.exhausted
                    last = over or step >= steps or asked > 0  # more: after a resume with a smaller --steps
                    if rows.pending and (step % config.log_every == 0 or over):
                        row = rows.row(step, alarms.check_finite(step))
                        tracker.log(step, row)
                        alarms.look(step, row)
                        progress.report(step, row)
                        rows.begin(step)

                    alarms.probe(step, generators, state.precision)
                    last = last or bool(alarms.ended_by)

                    # After a request to stop grids are left to the next start, which begins with this step
                    if config.sample_every and (over or (step % config.sample_every == 0 and not asked)):
                        for name, (grid, columns) in samples.write(step).items():
                            tracker.images(step, f"samples/{name}", grid, columns)

                    # An evaluation that was made up for after the last step belongs into the state of that step
                    if (step != saved and (step % config.state_every == 0 or last)) or (evaluated and last):
                        alarms.check_finite(step)  # a bad run must not replace the last good state
                        state.gather()
                        saver.save(step, about=run.state_info, final=over, **state.stateful, **others)
                        saved, evaluated = step, False

                    if last:
                        break

                    # A request to stop does not wait for a picture that hangs; with several processes it does, since
                    # the others may be in the step already.
                    batch = next(batches) if ranks.world > 1 else stop.run_interruptible(lambda: next(batches))
                    if batch is None:
                        continue
                    rows.pending = state.step(batch, step)
                    step += 1
                    stop.interrupt_now(False)
                    progress.advance(step)

            alarms.raise_if_stopped(step)
            if asked and step < steps and not over:
                stop.signal = stop.signal or signal.Signals(int(asked))
                output.directory.status("preempted", step)  # before the tracker is waited for
                raise preempted(stop, step, steps, path)
            if ranks.rank == 0:
                evaluation.finish(step, generators, tracker, stop)
            output.directory.status("done", step, evaluation.reason(step))
    return path
