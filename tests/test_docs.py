"""The documents say what is so: links lead somewhere, commands exist, examples work."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

import cyclegan
from cyclegan.cli import cli
from cyclegan.config import PRESETS, TrainConfig, flatten, resolve
from cyclegan.methods import CycleGAN
from tests.support.documents import FENCE, ROOT, blocks

LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
SHELLS = ("sh", "bash", "console", "shell")


def documents() -> list[Path]:
    folders = [ROOT, *(ROOT / name for name in ("docs", "datasets", "benchmarks"))]
    return sorted(path for folder in folders for path in folder.glob("*.md"))


def anchors(path: Path) -> set[str]:
    """The names that a page of GitHub gives to its headings."""
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines() -> Iterator[tuple[str, str]]:
    for path in documents():
        for block in blocks(path, *SHELLS):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;|\||>", line.removeprefix("$ ")):
                    if re.search(r"(^|\s)cyclegan\s", part):
                        yield path.name, part.strip()


def check_command(line: str) -> None:
    """Read `line` as the program would, without running it; raises what the program would raise."""
    words = shlex.split(line, comments=True)
    variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
    words = words[len(variables) :]
    words = words[2:] if words[:2] == ["python", "-m"] else words
    if words[0] == "torchrun":  # whose own options are its own
        assert words[words.index("cyclegan") - 1] == "-m", line
        words = words[words.index("cyclegan") :]
    assert words[0] == "cyclegan", line
    command: click.Command = cli
    name, *rest = words
    parent = click.Context(cli, info_name=name, **cli.context_settings)  # commands take what it says, -h, from it
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        found = command.get_command(parent, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command = found
    with contextlib.suppress(click.exceptions.Exit), command.make_context(name, rest, parent=parent):  # as --help ends
        pass
    prefix = f"CYCLEGAN_{name.upper()}_"
    for variable in (word.split("=")[0] for word in variables):
        if variable.startswith("CYCLEGAN_"):
            assert variable.removeprefix(prefix).lower() in {param.name for param in command.params}, line


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_the_command_line_is_what_the_program_says() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == script("make_cli_reference").reference(), "run python scripts/make_cli_reference.py"


def dead_links(path: Path) -> Iterator[str]:
    """Relative links of a document to a page, or a heading of one, that is not there."""
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            yield f"{path.name}: {target}"


def test_every_relative_link_leads_somewhere() -> None:
    assert not [link for path in documents() for link in dead_links(path)]


def test_a_dead_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading\n[a](page.md#a-heading) [b](#b) [c](gone.md) [d](https://x.org)\n```\n[e](x.md)\n```\n"
    )
    assert list(dead_links(page)) == ["page.md: #b", "page.md: gone.md"]


def test_every_command_in_a_document_is_one_that_the_program_takes() -> None:
    lines = list(command_lines())
    assert len(lines) > 20, "the commands are no longer found"
    for name, line in lines:
        try:
            check_command(line)
        except click.ClickException as error:
            pytest.fail(f"{name}: {line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    [
        "cyclegan trian --a x --b y",
        "cyclegan train --batchsize 4",
        "cyclegan train --norm layer",
        "cyclegan translate runs/x in",
        "cyclegan data chekc x",
    ],
)
def test_a_command_that_the_program_does_not_take_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        check_command(line)


def test_a_variable_that_the_program_does_not_read_is_noticed() -> None:
    check_command("CYCLEGAN_TRAIN_BATCH_SIZE=2 cyclegan train")
    with pytest.raises(AssertionError):
        check_command("CYCLEGAN_TRAIN_BATCHSIZE=2 cyclegan train")


def test_every_pipeline_in_a_document_can_be_trained_with(tmp_path: Path) -> None:
    from cyclegan.data.transforms import build_transform

    examples = blocks(ROOT / "docs" / "augmentation.md", "yaml")
    assert len(examples) >= 4
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example, encoding="utf-8")
        build_transform(TrainConfig(augment=str(file)))  # which tries it on two pictures


def test_every_configuration_in_a_document_is_one() -> None:
    examples = blocks(ROOT / "docs" / "training.md", "yaml")
    assert examples
    for example in examples:
        values = yaml.safe_load(example)
        preset = values.pop("preset", "paper")
        resolve([PRESETS[preset], values], CycleGAN.Options)


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_says_what_its_page_promises(path: Path) -> None:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = {"name", "a", "b", "paper", "address", "bytes", "sha256", "pictures", "source", "terms", "layout", "train"}
    assert wanted <= recipe.keys()
    assert recipe["name"] == path.stem
    assert recipe["sha256"] == "unknown" or re.fullmatch(r"[0-9a-f]{64}", recipe["sha256"])
    train = dict(recipe["train"])
    resolve([PRESETS[train.pop("preset", "paper")], train], CycleGAN.Options)
    assert f"({path.name})" in (path.parent / "README.md").read_text(encoding="utf-8")


def test_python_examples_compile() -> None:
    for path in documents():
        for block in blocks(path, "python"):
            compile(block, path.name, "exec")


def test_the_training_that_a_document_shows_in_python_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[TrainConfig] = []

    def instead(config: TrainConfig, run: str) -> str:
        started.append(resolve([flatten(config)], CycleGAN.Options))  # as the first line of train does
        return run

    monkeypatch.setattr(cyclegan, "train", instead, raising=False)
    (example,) = (block for block in blocks(ROOT / "docs" / "training.md", "python") if "train(" in block)
    exec(example, {})
    assert [config.steps for config in started] == [20_000]


def test_no_document_names_a_place_of_one_machine() -> None:
    for path in [*documents(), *(ROOT / "datasets").glob("*.yaml")]:
        found = re.findall(r"/(?:home|root|tmp|work|Users)/\S*", path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: {found}"


def test_every_place_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text().partition("## Where is …?")[2].partition("\n## ")[0]
    places = re.findall(r"\| `([\w/]+\.py)` \|", text)
    assert len(places) >= 30
    assert not [place for place in places if not (ROOT / "cyclegan" / place).is_file()]
