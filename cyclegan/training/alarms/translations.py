"""Alarms about the look of translations, from the probe, each for the worst direction."""

from __future__ import annotations

from cyclegan.directions import Direction
from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, ending

# Correlation of the luminance of input and output: 0.6 in a healthy run of the demo, 0.9 in one of horse2zebra,
# -1 for a perfect negative.
INVERTED = -0.4
# A reconstruction is good where it is nearer to the input than another input is, by this factor.
FINE_CYCLE = 0.6
# Levels of 255. A generator that redraws a picture misses it by 5 levels and more for most of a run; one that is nearer
# has learnt to copy.
COPIED = 4.0
# Variety of outputs as a share of that of inputs and of real pictures of the target. Real sets differ in this by a
# factor of two.
ALIKE = 0.2
VARIED = 4.0  # levels: inputs that differ by less are alike themselves
# The noise on the translation has 1.6 levels in the mean. A reconstruction from what is visible passes on as much or
# less, and four times as much where it makes day of a night that has a quarter of the contrast.
HIDDEN_RATIO, HIDDEN_LEVELS = 2.0, 10.0
# Photographs have some thousandths of their energy there; a checkerboard that can be seen has several times as much.
CHEQUERED_RATIO, CHEQUERED_SHARE = 4.0, 0.03


class ColoursInverted(Alarm):
    """Light becomes dark, and the cycle loss is small: two inversions undo each other."""

    observes = "probe"
    restartable = True
    cause = "nothing but the identity term fixes colours, and both generators settled on the negative"
    cure = (
        "begin anew with another --seed (--on-alarm restart does it), or raise --lambda-identity to 1; "
        "a run seldom leaves that state"
    )

    def look(self, observation: Observation) -> Finding | None:
        found = ending(observation.figures, "luminance_correlation")
        if not found:  # no direction starts from pictures
            return None
        direction = min(found, key=lambda way: found[way])
        error = observation.figures.get(f"cycle_l1_{Direction.parse(direction).source}", 0.0)
        others = observation.figures[f"variety_source_{direction}"]
        if found[direction] > INVERTED or (others and error > FINE_CYCLE * others):
            return None
        return Finding(
            found[direction],
            f"{_named(direction)} turns light into dark: input and output correlate by {found[direction]:.2f}",
        )


class NothingChanges(Alarm):
    """Translations equal their inputs."""

    observes = "probe"
    restartable = True
    cause = "the terms that hold the translators back outweigh the discriminator, or it has learnt nothing"
    cure = (
        "look at scores; raise --lr-discriminator if they are equal, else lower --lambda-identity to 0.1 and "
        "--lambda-cycle to 5"
    )

    def look(self, observation: Observation) -> Finding | None:
        found = ending(observation.figures, "change")
        if not found:  # input and output have the same number of channels in neither direction
            return None
        direction = min(found, key=lambda way: found[way])
        if found[direction] > COPIED or observation.figures[f"variety_source_{direction}"] < VARIED:
            return None
        return Finding(
            found[direction],
            f"{_named(direction)} copies its input: they differ by {found[direction]:.1f} of 255 levels",
        )


class OutputsAlike(Alarm):
    """Mode collapse: inputs differ and translations do not."""

    observes = "probe"
    restartable = True
    cause = "the generator found one picture that pleases, and the cycle term is too weak or is cheated"
    cure = (
        "begin anew with another --seed or a higher --lambda-cycle, try --adversarial hinge --spectral-norm, and look "
        "for pictures that are nearly the same (`cyclegan data check`)"
    )

    def look(self, observation: Observation) -> Finding | None:
        found = ending(observation.figures, "variety")
        shares = {}
        for direction in (name for name in found if "_" not in name):  # beside variety_source_… and variety_real_…
            kinds = (f"{kind}_{direction}" for kind in ("source", "real"))
            least = min(found[kind] for kind in kinds if kind in found)  # noise has no source pictures
            if least >= VARIED:
                shares[direction] = found[direction] / least
        direction = min(shares, key=lambda way: shares[way], default="")
        if not direction or shares[direction] > ALIKE:
            return None
        return Finding(
            shares[direction],
            f"{_named(direction)} makes the same of everything: its outputs differ by {shares[direction]:.0%} of what "
            "real pictures differ by",
        )


class HiddenSignal(Alarm):
    """Steganography: reconstructions depend on detail too faint to see.

    See Chu et al. 2017, https://arxiv.org/abs/1712.02950.
    """

    observes = "probe"
    cause = "the generator writes its input into faint detail of the translation, which satisfies the cycle term"
    cure = (
        "give --cycle-noise 4, lower --lambda-cycle, or let the discriminator see more (--discriminator multiscale); a "
        "fine cycle loss says nothing here"
    )

    def look(self, observation: Observation) -> Finding | None:
        ratios = ending(observation.figures, "cycle_noise_ratio")
        if not ratios:  # no direction has a reverse
            return None
        domain = max(ratios, key=lambda name: ratios[name])
        clean, noisy = (observation.figures[f"{name}_{domain}"] for name in ("cycle_l1", "cycle_noise_l1"))
        if ratios[domain] < HIDDEN_RATIO or noisy - clean < HIDDEN_LEVELS:
            return None
        return Finding(
            ratios[domain],
            f"translations of {domain.upper()} carry it as a hidden signal: with noise on them that is too faint to "
            f"see the way back is wrong by {noisy:.1f} of 255 levels, without it by {clean:.1f}",
        )


class Checkerboard(Alarm):
    """A pattern of 2 or 4 pixels (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard)."""

    observes = "probe"
    patience = 3  # early pictures have it, and most lose it
    cause = "transposed convolutions give every other pixel more than the next"
    cure = "train a new run with --upsampling resize, which cannot draw it; a longer training makes it fainter"

    def look(self, observation: Observation) -> Finding | None:
        real = ending(observation.figures, "checkerboard_real")
        shares = {way: observation.figures[f"checkerboard_{way}"] for way in real}
        over = {way: shares[way] for way in real if shares[way] > max(CHEQUERED_SHARE, CHEQUERED_RATIO * real[way])}
        direction = max(over, key=lambda way: over[way], default="")
        if not direction:
            return None
        return Finding(
            shares[direction],
            f"{_named(direction)} draws a checkerboard: {shares[direction]:.1%} of its pictures' energy is in patterns "
            f"of 2 and 4 pixels (real ones: {real[direction]:.1%})",
        )


def _named(key: str) -> str:
    direction = Direction.parse(key)
    source, target = direction.source.upper(), direction.target.upper()
    return f"the generator of {target}" if direction.from_noise else f"the translator from {source} to {target}"
