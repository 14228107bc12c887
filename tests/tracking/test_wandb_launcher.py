"""In which mode a run is tracked, by which key, under which id. The client itself is not started here."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from cyclegan.errors import UsageError
from cyclegan.tracking.wandb_launcher import describe_session, is_installed, pick_mode, service, sync_command
from tests.fake_wandb import KEY, isolated


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who never heard of Weights & Biases."""
    monkeypatch.delenv("WANDB_IDENTITY_TOKEN_FILE", raising=False)
    for name, value in isolated(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


def test_auto_is_offline_without_a_key_and_says_so() -> None:
    mode, reason = pick_mode("auto")
    assert mode == "offline"
    assert "no key for https://api.wandb.ai" in reason


def test_auto_is_online_with_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert pick_mode("auto") == ("online", "")


def test_auto_is_online_with_a_key_for_this_service_in_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine curves.example.org login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert pick_mode("auto")[0] == "offline", "the key is for another service"
    monkeypatch.setenv("WANDB_BASE_URL", "https://curves.example.org")
    assert pick_mode("auto")[0] == "online"


def test_the_service_is_the_one_that_wandb_login_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert service() == "https://api.wandb.ai"
    (tmp_path / "settings").write_text("[default]\nbase_url = http://10%.example.org/\n")
    assert service() == "http://10%.example.org"


@pytest.mark.parametrize(
    ("said", "mode"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled"), ("online", "online")]
)
def test_auto_does_as_wandb_mode_says(monkeypatch: pytest.MonkeyPatch, said: str, mode: str) -> None:
    monkeypatch.setenv("WANDB_MODE", said)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert pick_mode("auto")[0] == mode


def test_a_mode_asked_for_beats_wandb_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert pick_mode("offline")[0] == "offline"


@pytest.mark.parametrize("said", ["onlin", ""])
def test_an_unknown_mode_is_a_usage_error(said: str) -> None:
    with pytest.raises(UsageError, match="--wandb: unknown value"):
        pick_mode(said)


def test_online_without_a_key_is_a_usage_error_that_names_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"wandb login.*--wandb offline"):
        pick_mode("online")


def test_without_wandb_auto_is_disabled_and_anything_else_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert pick_mode("auto") == ("disabled", "wandb is not installed")
    assert pick_mode("disabled") == ("disabled", "")
    with pytest.raises(UsageError, match="--wandb offline: wandb is not installed"):
        pick_mode("offline")


def test_a_folder_of_runs_called_wandb_is_not_taken_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not is_installed()


def test_a_run_keeps_its_id(tmp_path: Path) -> None:
    def describe(run_id: str | None) -> str:
        return describe_session(tmp_path, run_id=run_id, project="p", name="n", config={"lr": 0.1})

    first = describe(None)
    assert len(first) == 8
    assert describe(None) == first
    assert describe("given") == "given"
    assert json.loads((tmp_path / "wandb" / "session.json").read_text())["id"] == "given"


def test_a_config_that_holds_the_key_is_a_mistake_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(AssertionError, match="API key"):
        describe_session(tmp_path, run_id=None, project="p", name="n", config={"command": f"WANDB_API_KEY={KEY}"})


def test_the_sync_command_survives_a_space_in_the_name(tmp_path: Path) -> None:
    command = sync_command(tmp_path / "my run")
    assert shlex.split(command)[2] == str(tmp_path / "my run" / "wandb") + "/offline-run-*"
    assert command.endswith("/offline-run-*"), "the star must stand outside the quotes"
