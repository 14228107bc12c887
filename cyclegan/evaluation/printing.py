"""Figures as lines to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cyclegan.evaluation.selection import HIGHER, LOWER, SELECTABLE

Figures = Mapping[str, float]


def verdict(figures: Figures, names: tuple[str, str], suffix: str = "") -> str | None:
    """`83 % of the translated pictures are taken for zebras (real zebras: 97 %, untranslated horses: 4 %)`.

    `names` are those of the source and of the target. None where no judge has spoken.
    """
    if f"judge{suffix}" not in figures:
        return None
    source, target = names
    beside = [(f"judge_real{suffix}", f"real {target}"), (f"judge_source{suffix}", f"untranslated {source}")]
    said = ", ".join(f"{words}: {figures[key]:.0%}" for key, words in beside if key in figures).replace("%", " %")
    share = f"{figures[f'judge{suffix}']:.0%}".replace("%", " %")
    return f"{share} of the translated pictures are taken for {target} ({said})"


def summary_line(figures: Figures, names: Mapping[str, str], directions: Sequence[str]) -> str:
    """`83 % taken for zebras (real: 97 %, untranslated: 4 %), 79 % for horses (real: …)`, for a line among others.

    `names` are those of the domains. The figures are those of a bench with a judge.
    """
    said: list[str] = []
    for way in directions:
        share, real, source = (_percent(figures[f"judge{part}_{way}"]) for part in ("", "_real", "_source"))
        said.append(f"{share} {'for' if said else 'taken for'} {names[way[1]]} (real: {real}, untranslated: {source})")
    return ", ".join(said)


def way(figures: Figures, names: tuple[str, str], suffix: str, source_suffix: str, target_suffix: str) -> Iterator[str]:
    """The lines of one direction. Suffixes are those of the direction ("_ab") and of the domains ("_a", "_b")."""
    said = verdict(figures, names, suffix)
    if said is not None:
        yield said
    if f"fid{suffix}" in figures:
        yield f"{'':24}{'translated':>12}{'real':>10}{'untranslated':>14}"
        for name, label, form in _TABLE:
            cells = (f"{name}{part}{suffix}" for part in ("", "_real", "_source"))
            shown = [form.format(figures[key]) if key in figures else "" for key in cells]
            if shown[0] and "nan" not in shown[0]:
                yield f"{label:24}{shown[0]:>12}{shown[1]:>10}{shown[2]:>14}"
    for key, label, form in _alone(suffix, source_suffix, target_suffix):
        if key in figures and math.isfinite(figures[key]):
            yield f"{label:24}{form.format(figures[key]):>12}"


def side_by_side(
    measured: Sequence[tuple[Mapping[str, Any], Figures]], names: Mapping[str, str], directions: Sequence[str]
) -> Iterator[str]:
    """The last and the best generators, each by its checkpoint in the protocol and its figures, in one table.

    Only what has a better end is compared, and the better one marked, where it differs as far as it is shown.
    """
    yield _row("", [f"{checkpoint['which']}  " for checkpoint, _ in measured])
    yield _row("", [f"step {checkpoint['step']}  " for checkpoint, _ in measured])
    for label, figure, form, better in _comparable(names, directions):
        values = [figures.get(figure, math.nan) for _, figures in measured]
        if all(map(math.isfinite, values)):
            shown = [form.format(value).replace("%", " %") for value in values]
            best = shown[values.index({LOWER: min, HIGHER: max}[better](values))]
            differ = len(set(shown)) > 1
            yield _row(label, [text + (" *" if differ and text == best else "  ") for text in shown])
    yield "* the better one"
    for checkpoint, _ in measured:
        if "chosen_on" in checkpoint:
            yield f"{checkpoint['which']}: {_chosen(checkpoint['chosen_on'])}"


def classifier_note(protocol: Mapping[str, Any], threshold: float) -> str | None:
    """What to know of the judge: how often it is right, and whether that is enough."""
    about = protocol.get("judge")
    if about is None:
        return None
    a, b = about["marked_with"]
    said = f"the judge tells {about['accuracy']:.1%} of {a} + {b} other real pictures rightly".replace("%", " %")
    if about["accuracy"] < threshold:
        said += f"; below {threshold:.0%} it cannot tell the two domains apart, and its verdict means little".replace(
            "%", " %"
        )
    return said


def protocol_lines(protocol: Mapping[str, Any]) -> Iterator[str]:
    """What was measured and how, with every figure."""
    if "checkpoint" in protocol:
        file = protocol["checkpoint"]
        yield f"measured: {file['file']}, {file['which']}, step {file['step']}"
        if "chosen_on" in file:
            yield f"it was {_chosen(file['chosen_on'])}"
    for role, about in protocol["pictures"].items():
        some = "" if about["count"] == about["of"] else f" of {about['of']}"
        lost = f", {about['unreadable']} unreadable" if about["unreadable"] else ""
        yield f"{role}: {about['count']}{some} pictures in {about['folder']}{lost}"
    yield f"scaled: {protocol['scaling']}"
    if "features" in protocol:
        about = protocol["features"]
        yield f"features: {about['name']} ({about['sha256'][:12]}), {about['how']}"
    yield f"seed {protocol['seed']}, cyclegan {protocol['versions']['cyclegan']}, torch {protocol['versions']['torch']}"


# What has a figure for real and untranslated pictures too
_TABLE = (
    ("fid", "FID", "{:.2f}"),
    ("kid", "KID", "{:.4f}"),
    ("kid_std", "  ±", "{:.4f}"),
    ("diversity", "diversity", "{:.3f}"),
    ("nearest", "nearest training picture", "{:.3f}"),
    ("checkerboard", "checkerboard energy", "{:.3%}"),
)


def _alone(way: str, source: str, target: str) -> Iterator[tuple[str, str, str]]:
    yield f"luminance_correlation{way}", "luminance correlation", "{:.3f}"
    yield f"cycle_l1{source}", "cycle L1 (levels)", "{:.2f}"
    yield f"cycle_ssim{source}", "cycle SSIM", "{:.3f}"
    yield f"cycle_noise_ratio{source}", "cycle L1 with noise", "{:.2f} ×"
    yield f"identity_l1{target}", "identity L1 (levels)", "{:.2f}"
    yield f"psnr{way}", "PSNR", "{:.2f} dB"
    yield f"ssim{way}", "SSIM", "{:.4f}"
    yield f"l1{way}", "L1 (levels)", "{:.2f}"
    yield f"rmse{way}", "RMSE (levels)", "{:.2f}"
    yield f"within{way}", "pixels within threshold", "{:.1%}"
    yield f"lpips{way}", "LPIPS", "{:.4f}"
    yield f"pixel_accuracy{way}", "per-pixel accuracy", "{:.1%}"
    yield f"class_accuracy{way}", "per-class accuracy", "{:.1%}"
    yield f"class_iou{way}", "class IoU", "{:.1%}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _row(label: str, cells: Sequence[str]) -> str:
    return (f"{label:32}" + "".join(f"{cell:>20}" for cell in cells)).rstrip()


def _comparable(names: Mapping[str, str], directions: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Label, name of the figure, format, and which end is better."""
    for stem, (label, form) in _COMPARED.items():
        for ending in SELECTABLE[stem].endings(directions):
            of = " to ".join(names[domain] for domain in ending)
            yield f"{label}, {of}", f"{stem}_{ending}", form, SELECTABLE[stem].better


def _chosen(on: Mapping[str, Any]) -> str:
    if on["these"]:
        return f"chosen by {on['a']} + {on['b']} of these very pictures, so that its figures flatter it a little"
    return "chosen by held-out pictures of its run, which may be among these"


# What of the last and of the best is shown side by side
_COMPARED = {
    "judge": ("taken for the target", "{:.0%}"),
    "kid": ("KID", "{:.4f}"),
    "fid": ("FID", "{:.2f}"),
    "cycle_l1": ("cycle L1", "{:.2f}"),
    "cycle_ssim": ("cycle SSIM", "{:.3f}"),
    "identity_l1": ("identity L1", "{:.2f}"),
}
