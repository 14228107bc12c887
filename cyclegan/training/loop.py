"""The training loop, flat and whole: read it from top to bottom."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cyclegan.config import TrainConfig, flatten, in_steps, resolve
from cyclegan.data import build_loader, find_domains, find_views, held_out, ranges_of, record_of, steps_per_epoch
from cyclegan.devices import is_exact, peak_memory, pick_device, pick_precision, prepare
from cyclegan.methods import Method, build_method, options_of
from cyclegan.networks import Generator, arrange
from cyclegan.tracking import open_tracker
from cyclegan.training.alarms import Alarms
from cyclegan.training.batches import Batches
from cyclegan.training.checkpoint import States, restore, save_generators
from cyclegan.training.compilation import compile_players, wanted
from cyclegan.training.ema import build_ema
from cyclegan.training.evaluating import open_evaluation
from cyclegan.training.health import Averages, Guard, Pictures
from cyclegan.training.optimizers import build_optimizer, match_layout, rate_factor, set_betas, set_rate
from cyclegan.training.precision import Precision
from cyclegan.training.progress import open_progress
from cyclegan.training.run import absolute, default_run, kept_record, open_run, refuse_run_among_pictures
from cyclegan.training.samples import write_grids
from cyclegan.training.signals import Preempted, stop_on_signals
from cyclegan.training.step import Outcome, Side, play

log = logging.getLogger("cyclegan")


def train(config: TrainConfig, run: str | Path | None = None) -> Path:
    """Train as `config` says, in the directory `run` (default `runs/<a>2<b>`), and return that directory.

    A directory that was trained in before is taken up from its newest whole state, exactly: weights, both optimizers,
    averages, image pool, order of the data and augmentation. Learning rate, order, augmentation and noise are
    functions of (seed, step), so there is nothing about them to restore.

    Raises `UsageError` for what cannot be done as asked, `Preempted` after SIGINT or SIGTERM with the state saved,
    and `CycleganError` when the run had to stop; the newest good state stays in each case.
    """
    # What may fail, fails first, while it is cheap: values, device, pictures, directory.
    config = resolve([flatten(config)], options_of(config.method))
    device = pick_device(config.device)
    dtype = pick_precision(config.precision, device)
    domains = find_domains(config)
    for warning in domains.warnings:
        log.warning("%s", warning)
    config = in_steps(absolute(config), steps_per_epoch(domains, config.batch_size))
    assert config.steps is not None
    assert config.decay_steps is not None
    path = Path(run) if run is not None else default_run(config)
    refuse_run_among_pictures(path, domains)
    views = find_views(config, domains, kept_record(path))
    torch.manual_seed(config.seed)
    method = build_method(config, {domain: view.channels for domain, view in views.items()})
    evaluation = open_evaluation(config, domains, views, path, device, tuple(method.generators))

    with open_run(path, config, domains, record_of(views)) as directory, stop_on_signals() as stop:
        # The players, and what moves them.
        prepare(device, exact=is_exact(config.precision))
        arrange(method, device, exact=is_exact(config.precision))
        for network in method.modules():
            if isinstance(network, Generator):
                network.recompute = config.checkpoint_activations
        ema = build_ema(method.generators, config.ema_decay)
        betas = (config.beta1, config.beta2)
        build = partial(build_optimizer, betas=betas)
        rates = (config.lr_generator, config.lr_discriminator)
        players = (list(method.generator_parameters()), list(method.discriminator_parameters()))
        sides = [
            Side(parameters, build(parameters, lr=rate), config.clip_gradient)
            for parameters, rate in zip(players, rates, strict=True)
        ]
        precision = Precision(device, dtype)
        guard = Guard(device)
        averages = Averages()
        alarms = Alarms(config, domains, views, method, path)

        # Everything that must survive; what is not named here is a function of the configuration and the step.
        lasting: dict[str, Any] = {
            "method": method,
            "ema": ema,
            "generator_optimizer": sides[0].optimizer,
            "discriminator_optimizer": sides[1].optimizer,
            "precision": precision,
            "guard": guard,
            "averages": averages,
            "alarms": alarms,
            "evaluation": evaluation,
        }
        states = States(path / "checkpoints")
        state = states.load_newest() if directory.began else None
        step = 0
        if state is not None:
            restore(state, **lasting)
            for side in sides:
                set_betas(side.optimizer, betas)
                match_layout(side.optimizer)
            step = state["step"]
            log.info("resuming %s at step %d of %d", path, step, config.steps)
        del state

        # Compiled where the rest of the run is long enough to pay for it.
        if wanted(config.compile, device, config.steps - step):
            compile_players(method, device)

        # What is looked at, and where it is written.
        shown = dict(zip("ab", held_out(domains, config, config.samples, views), strict=True))
        pictures = Pictures(len(domains.train_a) + len(domains.train_b), config.crop_size)
        info: dict[str, Any] = {"method": config.method, "load_size": config.load_size, "crop_size": config.crop_size}
        info |= {"a": domains.train_a.root.name, "b": domains.train_b.root.name}
        ranges = ranges_of(views)
        info |= {} if ranges is None else {"ranges": ranges}
        specs = {direction: generator.spec for direction, generator in method.generators.items()}
        saved_config = flatten(config, options_of(config.method))
        about = {"config": saved_config, "generator_specs": specs, "ranges": ranges}
        tracker = open_tracker(
            path,
            mode=config.wandb,
            project=config.wandb_project,
            config=saved_config,
            resumed=step > 0,
            run_id=directory.meta["tracking_id"],
            name=path.name,
        )
        if tracker.note:
            log.info("%s", tracker.note)
        saved = step
        loader = build_loader(config, domains, views, start=step, stop=config.steps, pin=device.type == "cuda")
        batches = Batches(loader, device, config.accumulate)
        since, since_step = time.perf_counter(), step
        outcome: Outcome | None = None
        ending = "failed"

        try:
            alarms.begin(step, tracker)
            with open_progress(step, config.steps) as progress:
                while True:
                    # Looking and saving come before the step: so step 0 is seen and the last state is written.
                    if evaluation.due(step):
                        since += evaluation.look(step, ema.generators, info, tracker, stop)  # is no time of training
                    over = step == config.steps or evaluation.exhausted
                    last = over or step >= config.steps or bool(stop)  # more: after a resume with a smaller --steps
                    if outcome is not None and (step % config.log_every == 0 or over):
                        elapsed = time.perf_counter() - since
                        skipped = alarms.finite(step, guard)
                        row = averages.read()
                        with precision.autocast():
                            scores = method.scores(outcome.batch, outcome.images)
                        row |= {f"scores/{name}": float(score) for name, score in scores.items()}
                        row |= {
                            "learning_rate/generators": sides[0].optimizer.param_groups[0]["lr"],
                            "learning_rate/discriminators": sides[1].optimizer.param_groups[0]["lr"],
                            "speed/images_per_second": (step - since_step) * config.batch_size / elapsed,
                            "speed/data_wait": batches.waited / elapsed,
                            "memory/peak_gib": peak_memory(device),
                            "health/skipped_steps": skipped,
                            "health/unreadable_pictures": len(pictures.unreadable),
                        }
                        tracker.log(step, row)
                        alarms.look(step, row)
                        progress.report(step, row)
                        since, batches.waited, since_step = time.perf_counter(), 0.0, step
                        outcome = None

                    alarms.probe(step, ema.generators, precision)
                    last = last or bool(alarms.ended_by)

                    if config.sample_every and (step % config.sample_every == 0 or over):
                        grids = _sample(method, ema.generators, shown, path / "samples", step, device, config.precision)
                        for name, grid in grids.items():
                            tracker.images(step, f"samples/{name}", grid)

                    if step != saved and (step % config.state_every == 0 or last):
                        alarms.finite(step, guard)  # a bad run must not replace the last good state
                        states.save(step, about=about, **lasting)
                        kept = config.generators_every
                        model = save_generators(path / "checkpoints", ema.generators, info, step, every=kept)
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
                    factor = rate_factor(step, steps=config.steps, decay_steps=config.decay_steps)
                    for side, rate in zip(sides, rates, strict=True):
                        set_rate(side.optimizer, rate * factor)
                    outcome = play(method, sides[0], sides[1], batch.parts, precision)
                    step += 1
                    ema.update(step)
                    guard.update(outcome.skipped)
                    averages.update(outcome.figures)
                    progress.advance(step)

            alarms.obey(step)
            if stop.signal is not None and step < config.steps and not over:
                ending = "preempted"
                raise Preempted(
                    f"stopped by {stop.signal.name} at step {step} of {config.steps}, state saved; "
                    f"go on with `cyclegan train --resume {path}`",
                    stop.signal,
                )
            evaluation.finish(step, ema.generators, tracker)
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
