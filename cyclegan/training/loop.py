"""The training loop, flat and whole: read it from top to bottom."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any

from cyclegan.config import TrainConfig
from cyclegan.data import build_loader, held_out_pictures, record_of
from cyclegan.errors import reason_of
from cyclegan.methods import Method
from cyclegan.tracking import Tracker, open_tracker
from cyclegan.training.alarms import AlarmMonitor
from cyclegan.training.batch_size import explain_out_of_memory, with_batch_size
from cyclegan.training.distributed.null_writers import NullProgress, NullRun, NullSaver, NullTracker, hold_run
from cyclegan.training.distributed.ranks import Ranks
from cyclegan.training.evaluation.periodic import open_evaluation
from cyclegan.training.loop_io.device_loader import DeviceLoader
from cyclegan.training.loop_io.health import NonFiniteGuard, RunningMeans, UnreadableImages
from cyclegan.training.loop_io.metrics import MetricsRow
from cyclegan.training.loop_io.progress import open_progress
from cyclegan.training.loop_io.samples import write_grids
from cyclegan.training.setup import check_ranks_agree, prepare_run
from cyclegan.training.signals import Interrupted, preempted, stop_on_signals
from cyclegan.training.storage.async_saver import AsyncSaver
from cyclegan.training.storage.checkpoint import States, restore
from cyclegan.training.storage.disk_space import check_space
from cyclegan.training.storage.run_directory import read_data_record
from cyclegan.training.update.compilation import compile_players, wanted
from cyclegan.training.update.state import TrainState
from cyclegan.training.update.step import StepResult

log = logging.getLogger("cyclegan")

_OTHER_NUMBER = (
    "the state was saved by {} processes and goes on with {}: pictures, pool and draws are the same, sums are taken in "
    "another order, so that results agree but for rounding; dropout and cycle noise are drawn anew"
)


def training_loop(config: TrainConfig, path: Path, ranks: Ranks) -> Path:
    """Train as `config` says, in the directory `path`, as one of `ranks`, and return that directory.

    A directory that was trained in before is taken up from its newest whole state, exactly: weights, both optimizers,
    averages, image pool, order of the data and augmentation. Learning rate, order, augmentation and noise are
    functions of (seed, step), so there is nothing about them to restore.

    Raises `UsageError` for what cannot be done as asked, `Preempted` after a request to stop with the state saved,
    and `CycleganError` when the run had to stop; the newest good state stays in each case.
    """
    kept = ranks.on_rank_zero(lambda: read_data_record(path))
    plan = with_batch_size(ranks.raise_on_all(lambda: prepare_run(config, path, kept, ranks)), ranks)
    config, device, steps = plan.config, plan.device, plan.steps
    domains, views, method = plan.domains, plan.views, plan.method
    check_ranks_agree(plan, ranks)
    ranks.connect(device)
    ways = tuple(method.generators)
    evaluation = ranks.raise_on_all(lambda: open_evaluation(config, domains, views, path, device, ways, ranks))
    ranks.on_rank_zero(lambda: check_space(path, method, config))

    with stop_on_signals() as stop, hold_run(ranks, plan, record_of(views)) as directory:
        stop.interrupt_now(True)  # until a step is done there is nothing to save
        players = TrainState(method, config, device, plan.dtype, ranks)
        generators, precision = players.ema.generators, players.precision  # those that are shown and saved
        guard = NonFiniteGuard(device)
        averages = RunningMeans(ranks)
        alarms = AlarmMonitor(config, domains, views, method, path, ranks)

        # Everything that must survive; what is not named here is a function of the configuration and the step.
        others: dict[str, Any] = {"guard": guard, "averages": averages, "alarms": alarms, "evaluation": evaluation}
        state = ranks.on_rank_zero(lambda: States(path / "checkpoints").load_newest() if directory.began else None)
        step = 0
        if state is not None:
            players.restore(state)
            restore(state, **others)
            step = state["step"]
            log.info("resuming %s at step %d of %d", path, step, steps)
            if (before := state["processes"]) != ranks.world:
                log.info("%s", _OTHER_NUMBER.format(before, ranks.world))
        del state
        players.broadcast()

        # Compiled where the rest of the run is long enough to pay for it.
        if wanted(config.compile, device, steps - step):
            compile_players(method, device)

        # What is looked at, and where it is written.
        shown = held_out_pictures(domains, config, config.samples, views)
        # The first process writes. The others compute the same, and come to the same decisions.
        tracker: Tracker | NullTracker = NullTracker()
        if not isinstance(directory, NullRun):
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
        saved, found = step, False  # of the newest state; whether an evaluation has come to an end since
        share = {"rank": ranks.rank, "world": ranks.world}
        loader = build_loader(config, domains, views, start=step, stop=steps, pin=device.type == "cuda", **share)
        batches = DeviceLoader(loader, device, config.accumulate)
        pictures = UnreadableImages(sum(map(len, domains.train.values())), config.crop_size)
        rows = MetricsRow(players, averages, pictures, batches, step, ranks)
        outcome: StepResult | None = None
        ending = "failed"

        try:
            alarms.begin(step, tracker)
            saver: AsyncSaver | NullSaver = NullSaver()
            if not isinstance(directory, NullRun) and isinstance(tracker, Tracker):
                states, every = States(path / "checkpoints"), config.generators_every
                saver = AsyncSaver(directory, states, tracker, generators, plan.info, every=every, step=step, stop=stop)
            writes = ranks.rank == 0
            memory = explain_out_of_memory(config, device, lambda: step)
            with open_progress(step, steps) if writes else NullProgress() as progress, saver, memory:
                while True:
                    saver.check()
                    # Looking and saving come before the step: so step 0 is seen and the last state is written.
                    if evaluation.due(step):
                        rows.leave_out(evaluation.evaluate(step, generators, plan.info, tracker, stop))
                        found = not evaluation.due(step)
                    asked = ranks.delayed_max(stop.signal or 0)  # of all processes, which are to stop at one step
                    over = step == steps or evaluation.exhausted
                    last = over or step >= steps or asked > 0  # more: after a resume with a smaller --steps
                    if outcome is not None and (step % config.log_every == 0 or over):
                        row = rows.row(step, outcome, alarms.finite(step, guard))
                        tracker.log(step, row)
                        alarms.look(step, row)
                        progress.report(step, row)
                        rows.begin(step)
                        outcome = None

                    alarms.probe(step, generators, precision)
                    last = last or bool(alarms.ended_by)

                    # Who is asked to stop has them made by the next start, which begins with this step
                    if config.sample_every and (over or (step % config.sample_every == 0 and not asked)):
                        of_this = path / "samples", step, device, config, ranks
                        grids = _sample(method, generators, shown, *of_this)
                        for name, (grid, columns) in grids.items():
                            tracker.images(step, f"samples/{name}", grid, columns)

                    # A look that was made up for after the last step belongs into a state, though there is one
                    if (step != saved and (step % config.state_every == 0 or last)) or (found and last):
                        alarms.finite(step, guard)  # a bad run must not replace the last good state
                        players.gather_pools()
                        averages.collect()
                        about = plan.about | {"processes": ranks.world}
                        saver.save(step, about=about, final=over, **players.stateful, **others)
                        saved, found = step, False

                    if last:
                        break

                    # A batch, from the readers to the device. Whoever is asked to stop does not wait for a picture that
                    # hangs; one of several processes does, since the others may be in the step already.
                    batch = next(batches) if ranks.world > 1 else stop.run_interruptible(lambda: next(batches))
                    if batch is None:
                        continue
                    pictures.update(batch.unreadable, batch.enlarged)

                    # The step. What is random in it (pool, dropout, interpolation) follows from the seed and the step.
                    drawing = players.draws_for(step + 1)
                    players.set_rates(step)
                    outcome = players.step(batch.parts, drawing)
                    step += 1
                    stop.interrupt_now(False)
                    players.ema.update(step)
                    guard.update(outcome.skipped)
                    averages.update(outcome.figures)
                    progress.advance(step)

            alarms.raise_if_stopped(step)
            if asked and step < steps and not over:
                stop.signal = stop.signal or signal.Signals(int(asked))
                ending = "preempted"
                directory.status("preempted", step)  # before the tracker is waited for
                raise preempted(stop, step, steps, path)
            if writes:
                evaluation.finish(step, generators, tracker, stop)
            ending = "done"
            directory.status("done", step, evaluation.reason(step))
        except Interrupted:
            ending = "preempted"
            raise
        finally:
            tracker.finish(ending)
    return path


def _sample(method: Method, *arguments: Any) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Write the grids; a disk that is full for a picture is no reason to stop learning."""
    try:
        return write_grids(method, *arguments)
    except OSError as error:
        log.warning("the sample grids could not be written (%s); training goes on", reason_of(error))
        return {}
    finally:
        method.train()
