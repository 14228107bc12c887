"""Train a tiny run undisturbed, and again and again under random faults: it has to end with the same weights.

    python -m tests.soak --minutes 60 --seed 3 --output benchmarks/results/soak.json
    python -m tests.soak --rounds 1 --fault SIGKILL --fault "disk full"
    python -m tests.soak --long 10000
    python -m tests.soak --fill docs/reliability.md --output benchmarks/results/soak.json

Every other round lies on a small disk of its own, where that is allowed (root), so that it can be filled. Each attempt
meets one fault and is resumed by the same command. What is promised is in docs/reliability.md; a promise that was not
kept is told with the log of its attempt, and ends this program with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cyclegan.system.files import atomic_write, write_json
from tests.soak.faults import END_S, FAULTS, possible
from tests.soak.judging import Broken, Missed, unequal
from tests.soak.ledger import Ledger, filled, table
from tests.soak.long import long_run
from tests.soak.processes import alone_with_mounts
from tests.soak.rig import Attempt
from tests.soak.setting import Soak

MOST_ATTEMPTS = 40  # of a round; then it may end undisturbed
MOST_REFUSALS = 3  # in a row, of a run that cannot be resumed; then the next round begins


def main() -> None:
    """Read the command line, soak, say what came of it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup trainers would be right to pass over it
    parser = argparse.ArgumentParser("python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="no round begins after these (60)")
    parser.add_argument("--rounds", type=int, default=10**6, help="at most so many disturbed runs")
    parser.add_argument("--steps", type=int, default=120, help="of each run (120)")
    parser.add_argument("--seed", type=int, default=0, help="which fault comes when (0)")
    parser.add_argument("--nproc", type=int, default=1, help="processes that train together (1)")
    parser.add_argument("--evaluate-every", type=int, default=0, metavar="STEPS", help="also evaluate (0: no)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--long", type=int, metavar="STEPS", help="instead: so many, undisturbed; nothing may grow")
    parser.add_argument("--work", type=Path, help="scratch folder, kept; without it one is made, and kept if needed")
    parser.add_argument("--output", type=Path, help="JSON with what came of it")
    parser.add_argument("--fill", type=Path, metavar="DOCUMENT", help="instead: put what --output holds into this")
    given = parser.parse_args()
    if given.fill:
        summary = json.loads(given.output.read_text())
        atomic_write(given.fill, filled(given.fill.read_text(encoding="utf-8"), summary).encode())
        return
    mounts = alone_with_mounts()
    made = given.work is None
    work = Path(tempfile.mkdtemp(prefix="soak-")) if made else given.work.absolute()
    for name in ("tmp", "logs"):
        (work / name).mkdir(parents=True, exist_ok=True)
    soak = Soak(work, work / "demo", given.steps, given.nproc, mounts, random.Random(given.seed), given.evaluate_every)
    ledger = Ledger(given.minutes, soak, given.seed)

    draw = [sys.executable, "-m", "cyclegan", "data", "demo", str(soak.data), "--count", "12", "--test-count", "4"]
    subprocess.run(draw, env=soak.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if given.long:
        soak.steps = given.long
        try:
            figures = long_run(soak)
        except Broken as error:
            sys.exit(f"{error}\nthe log is in {work / 'logs'}")
        print(json.dumps(figures, indent=2))
        if given.output:
            write_json(given.output, figures)
        return
    undisturbed = work / "undisturbed"
    first = Attempt(soak, undisturbed, work / "logs" / "undisturbed.log")
    first.start()
    if first.end(within=END_S + given.steps):
        sys.exit(f"the undisturbed run failed:\n{first.text}")
    print(f"undisturbed: {given.steps} steps; {'with' if mounts else 'without'} a small disk", flush=True)
    ledger.began = time.monotonic()
    while len(ledger.rounds) < given.rounds and not ledger.time_is_up:
        one_round(soak, ledger, undisturbed, given.fault or list(FAULTS))
        if given.output:
            write_json(given.output, ledger.summary())
    print(f"\n{table(ledger.summary())}")
    if ledger.failures:
        sys.exit(f"{len(ledger.failures)} promises were not kept; the logs are in {work / 'logs'}")
    if made:
        shutil.rmtree(work)


def one_round(soak: Soak, ledger: Ledger, undisturbed: Path, names: list[str]) -> None:
    """One disturbed run to its end, compared with the undisturbed one."""
    small = soak.mounts and len(ledger.rounds) % 2 == 0
    number, gaps, attempts, refusals = len(ledger.rounds) + 1, False, 0, 0
    with soak.place(f"round-{number}", small=small) as run:
        while True:
            attempts += 1
            ledger.attempts += 1
            attempt = Attempt(soak, run, soak.work / "logs" / f"{number}-{attempts}.log")
            choice = possible(attempt, names)
            calm = ledger.time_is_up or attempts > MOST_ATTEMPTS or not choice
            fault = "none" if calm else soak.rng.choices(choice, [FAULTS[name].weight for name in choice])[0]
            over = meet(fault, attempt, ledger)
            gaps = gaps or attempt.gaps
            refusals = refusals + 1 if not attempt.acted and attempt.code else 0
            if over or refusals == MOST_REFUSALS or attempts > MOST_ATTEMPTS + 5:
                break
        differing = unequal(undisturbed, run, soak.steps, gaps=gaps) if over else ["it did not come to its end"]
        if differing:
            kept = soak.work / f"unequal-{number}"
            shutil.copytree(run, kept)
            ledger.broken("end of a round", f"{len(differing)} differences: {', '.join(differing[:5])}", kept)
        entry = {"disk": "small" if small else "usual", "attempts": attempts, "equal": not differing}
        ledger.rounds.append(entry)
        print(f"round {number}: {attempts} attempts, {'equal' if not differing else 'UNEQUAL'}", flush=True)


def meet(fault: str, attempt: Attempt, ledger: Ledger) -> bool:
    """One attempt with one fault; whether the run has come to its end."""
    print(f"  {attempt.log.stem:>6} {fault:<24}", end="", flush=True)
    kept = True
    try:
        if fault == "none":
            attempt.start()
            if code := attempt.end(within=END_S + ledger.soak.steps):
                raise Broken(f"exit code {code} without any fault")
        else:
            attempt.wandb = FAULTS[fault].wandb
            FAULTS[fault].do(attempt)
        attempt.judge()
        ledger.soak.judge_orphans()
    except Missed:
        if attempt.end(within=END_S) and not attempt.ended_meanwhile():
            kept = False
            ledger.broken(fault, f"ended with exit code {attempt.code} before the fault came", attempt.log)
    except Broken as error:
        kept = False
        ledger.broken(fault, str(error), attempt.log)
    finally:
        attempt.put_down()
    ledger.tries[fault] += attempt.acted
    ledger.kills_while_writing += attempt.mid_writing
    ledger.lost += [] if attempt.lost is None else [attempt.lost]
    words = "" if attempt.acted else ", missed"
    print(f" exit {attempt.code}{words}, lost {attempt.lost}{', while writing' * attempt.mid_writing}", flush=True)
    return kept and attempt.code == 0


if __name__ == "__main__":
    main()
