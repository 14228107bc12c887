from pathlib import Path

import pytest

from cyclegan.system import memory
from cyclegan.system.memory import UNKNOWN, available_memory


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable:    8000 kB\n")
    return tmp_path / "proc"


def group(path: Path, **files: object) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_a_limit_it_is_what_the_system_has_left(proc: Path, tmp_path: Path) -> None:
    assert available_memory(proc, tmp_path / "none") == 8000 * 1024
    (proc / "self/cgroup").write_text("0::/job\n")
    group(tmp_path / "groups/job", memory__max="max", memory__current=5)
    assert available_memory(proc, tmp_path / "groups") == 8000 * 1024


def test_a_control_group_limits_it_and_so_does_one_that_holds_it(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/outer/inner\n")
    root = tmp_path / "groups"
    stat = "anon 5\ninactive_file 300"
    group(root / "outer/inner", memory__max=4000, memory__current=1000, memory__stat=stat)
    assert available_memory(proc, root) == 3300  # files that were read give way
    group(root / "outer", memory__max=2000, memory__current=1500)
    assert available_memory(proc, root) == 500
    group(root / "outer", memory__max=2000, memory__current=2500)
    assert available_memory(proc, root) == 0


def test_in_a_container_the_root_of_the_groups_counts(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/docker/0123\n")  # a path of the host's, which cannot be seen
    group(tmp_path / "groups", memory__max=700, memory__current=100)
    assert available_memory(proc, tmp_path / "groups") == 600


def test_the_first_version_of_control_groups_is_known_too(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("5:cpu,cpuacct:/job\n4:memory:/job\n")
    files = {"memory__limit_in_bytes": 900, "memory__usage_in_bytes": 300, "memory__stat": "total_inactive_file 50"}
    group(tmp_path / "groups/memory/job", **files)
    assert available_memory(proc, tmp_path / "groups") == 650


def test_a_system_that_says_nothing_has_two_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory.os, "sysconf", silent)
    assert available_memory(tmp_path, tmp_path) == UNKNOWN == 2**31


def test_this_machine_has_some() -> None:
    assert available_memory() > 2**20
