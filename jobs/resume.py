"""Going on with a run that was stopped or killed: the same settings, the checkpoints where it left them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs

from sadt_ray.engine.checkpoint import Checkpoints
from sadt_ray.runs.environment import describe_environment

CONFIG = "config.json"
QUESTIONS = "questions.jsonl"  # what a run of stages has in place of problems.parquet


class Resumed(NamedTuple):
    """A run to go on with.

    Attributes:
        config: its config.json.
        run: its directory; None if only the address of its checkpoints is known.
        checkpoint_to: that address; None if they are in its directory.
    """

    config: Mapping[str, Any]
    run: Path | None
    checkpoint_to: str | None

    def arguments(self, given: Sequence[str]) -> list[str]:
        """The command line of the run, and behind it what was given now.

        Raises ValueError for another place: a run stays where it is.
        """
        given = without_resume(given)
        fixed = ("--checkpoint-to",) if self.run is None else ("--checkpoint-to", "--out")
        for argument in given:
            if argument.replace("_", "-").split("=")[0] in fixed:
                raise ValueError(f"a run stays where it is; leave {argument} out when you resume it")
        return [*self.config["arguments"], *given]

    def check_settings(self, settings: Mapping[str, Any], began: Mapping[str, Any]) -> None:
        """Raises ValueError for a setting that was another one when the run began, or another version of sadt-ray.

        Args:
            settings: of now.
            began: those of the run, under today's names; what did not exist then counts as not given.
        """
        before, now = self.config["environment"]["sadt-ray"], describe_environment()["sadt-ray"]
        if before != now:
            raise ValueError(f"the run was begun by sadt-ray {before}, this is {now}; install {before} to resume it")
        plain = json.loads(json.dumps(settings, default=str))
        for name, value in plain.items():
            if began.get(name) != value:
                raise ValueError(
                    f"a run keeps its settings: {name} was {began.get(name)!r} when it began, and is {value!r} now"
                )


def kind_of_run(config: Mapping[str, Any]) -> str:
    """``forecast`` or ``stage``; older versions did not say."""
    return str(config.get("kind") or ("stage" if "stage" in config.get("search", {}) else "forecast"))


def find_run(where: str) -> Resumed:
    """The run in a directory or at the address of its checkpoints.

    Raises:
        ValueError: if there is none, or it is complete.
    """
    run = Path(where)
    asked = any((run / name).exists() for name in ("problems.parquet", QUESTIONS))
    if "://" in where or ((run / CONFIG).exists() and not asked):
        return _resumed(_read(where), None, where)
    if not (run / CONFIG).exists():
        raise ValueError(f"{run} is not a run directory: it has no {CONFIG}")
    refuse_complete(run)
    return _resumed((run / CONFIG).read_bytes(), run, where)


def _resumed(config: bytes, run: Path | None, where: str) -> Resumed:
    """Raises ValueError for a configuration that is damaged, or of a version that could not be resumed."""
    try:
        content = json.loads(config)
        kept = content["execution"]["checkpoint_to"]
        return Resumed(content, run, where if run is None else kept)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{CONFIG} in {where} is not of a run that can be resumed: {error!r}") from None


def refuse_complete(run: Path) -> None:
    """Raises ValueError if the run spent its budgets."""
    summary = run / "summary.json"
    if summary.exists() and json.loads(summary.read_text()).get("complete"):
        raise ValueError(f"{run} is complete; there is nothing to resume")


def without_resume(arguments: Sequence[str]) -> list[str]:
    """A command line without ``--resume RUN``."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--resume="):
            skip = False
        elif argument == "--resume":
            skip = True
        else:
            kept.append(argument)
    return kept


def settled(address: str | None) -> str | None:
    """The address as every process understands it: a tree owner does not stand where its driver stands."""
    if address is None or "://" in address:
        return address
    return str(Path(address).expanduser().absolute())


def check_address(run: Path, checkpoint_to: str | None) -> None:
    """Raises ValueError, before a run begins, unless its checkpoints can be kept there, apart from other runs'."""
    if checkpoint_to is None:
        return
    if checkpoint_to == str(run.absolute()):
        raise ValueError(f"{run} is the run directory; leave --checkpoint-to out, or give a folder inside it")
    Checkpoints(checkpoint_to)
    filesystem, path = _open(checkpoint_to)
    if filesystem.get_file_info(f"{path}/{CONFIG}").type != fs.FileType.NotFound:
        raise ValueError(
            f"{checkpoint_to} holds the checkpoints of a run; go on with it by --resume {checkpoint_to}, or choose "
            "another --checkpoint-to"
        )


def copy_config(run: Path, checkpoint_to: str | None) -> None:
    """Put the configuration beside checkpoints that are kept elsewhere, so that they can be resumed from there."""
    if checkpoint_to is None:
        return
    filesystem, path = _open(checkpoint_to)
    filesystem.create_dir(path, recursive=True)
    with filesystem.open_output_stream(f"{path}/{CONFIG}") as file:
        file.write((run / CONFIG).read_bytes())


def remove_config(checkpoint_to: str | None) -> None:
    """Undo ``copy_config``: a complete run is not resumed."""
    if checkpoint_to is not None:
        filesystem, path = _open(checkpoint_to)
        with contextlib.suppress(FileNotFoundError):  # another process went on from there too, and was faster
            filesystem.delete_file(f"{path}/{CONFIG}")


def _read(address: str) -> bytes:
    filesystem, path = _open(address)
    try:
        with filesystem.open_input_stream(f"{path}/{CONFIG}") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"there is no run to resume at {address}: {error}") from None


def _open(address: str) -> tuple[fs.FileSystem, str]:
    if "://" not in address:
        return fs.LocalFileSystem(), str(Path(address).absolute())
    return fs.FileSystem.from_uri(address)
