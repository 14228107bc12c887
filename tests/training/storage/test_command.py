from __future__ import annotations

from cyclegan.training.storage.run_directory import without_secrets

KEY = "0123456789abcdef" * 2


def test_a_secret_that_a_shell_has_put_in_is_told_by_its_name() -> None:
    environment = {"WANDB_API_KEY": KEY, "HF_TOKEN": KEY + "more", "HOME": "/root", "SHORT_KEY": "abc"}
    words = ["cyclegan", "train", "--wandb-project", KEY, f"--b={KEY}more/x", "/root/abc"]
    expected = ["cyclegan", "train", "--wandb-project", "$WANDB_API_KEY", "--b=$HF_TOKEN/x", "/root/abc"]
    assert without_secrets(words, environment) == expected
    assert without_secrets(words, {}) == words
