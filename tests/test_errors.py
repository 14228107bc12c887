"""The kinds of failure and the words for a name that is not known."""

from __future__ import annotations

import pytest

from cyclegan.errors import CycleganError, UnfinishedError, UsageError, did_you_mean, lookup, reason_of


def test_every_kind_of_failure_has_its_exit_code() -> None:
    codes = {kind: kind("why").exit_code for kind in (CycleganError, UsageError, UnfinishedError)}
    assert codes == {CycleganError: 1, UsageError: 2, UnfinishedError: 3}
    assert all(issubclass(kind, CycleganError) for kind in codes)


def test_a_name_close_to_a_known_one_is_answered_with_that_one() -> None:
    assert did_you_mean("bach_size", ["batch_size", "load_size", "seed"]) == "; did you mean 'batch_size'?"


def test_a_name_close_to_none_is_answered_with_all_of_them_in_order() -> None:
    assert did_you_mean("zzz", ["seed", "data"]) == "; known are data, seed"


def test_the_chosen_entry_is_the_one_in_the_table() -> None:
    entry = object()
    assert lookup({"patch": entry}, "patch", "--discriminator") is entry


def test_an_unknown_entry_is_refused_in_a_sentence_that_names_the_option() -> None:
    with pytest.raises(UsageError) as caught:
        lookup({"patch": 1, "pixel": 2}, "patches", "--discriminator")
    assert str(caught.value) == "--discriminator: unknown value 'patches'; did you mean 'patch'?"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "/runs/x"), "No space left on device"),
        (OSError("cannot write mode F as JPEG\nmore"), "cannot write mode F as JPEG"),
        (ValueError("\n  too short  \nrow 3"), "too short"),
        (MemoryError(), "MemoryError"),
        (
            ValueError("1 validation error\nheight\n  must be positive [type=x]"),
            "height: must be positive",
        ),
    ],
)
def test_the_reason_of_an_error_is_one_line_without_number_and_path(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
