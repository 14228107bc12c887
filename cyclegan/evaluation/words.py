"""Figures as lines to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

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


def sure(protocol: Mapping[str, Any], threshold: float) -> str | None:
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
