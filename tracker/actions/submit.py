"""Submit a command as a job, from an sbatch template and its manifest of options."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tracker.actions import comments
from tracker.errors import BadInput
from tracker.slurm import asking

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUBMIT_TIMEOUT_S = 60.0
_NAME = re.compile(r"[\w.@+-][\w .@+-]{0,127}\Z")


@dataclass(frozen=True)
class Submission:
    """A command and how it should run. `options` are `name=value` of the template's options."""

    template: str
    command: Sequence[str]
    experiment: str | None = None
    name: str | None = None
    options: Sequence[str] = ()

    def script(self, directory: Path) -> str:
        """The batch script. Raises BadInput for an unknown template or option, and for a script that is not there."""
        manifest = _manifest(self.template)
        _check_command(self.command, directory)
        name = self.name or _name_of(self.command)
        if not _NAME.match(name):
            raise BadInput(f"{name!r} is no name for a job: letters, digits, spaces and `.@+-_` make one.")
        values = _values(self.template, manifest, self.options)
        values |= {"name": shlex.quote(name), "comment": comments.comment(self.experiment)}
        template = _environment().from_string(_text(f"{self.template}.sbatch.j2"))
        return template.render(**values, command=shlex.join(self.command))


def submit_job(submission: Submission, directory: Path) -> int:
    """Submit from that folder; the job's id. Raises BadInput, and SlurmUnavailable with sbatch's own words."""
    return asking.submit(submission.script(directory), directory=directory, timeout_s=SUBMIT_TIMEOUT_S)


def manifests() -> dict[str, dict[str, Any]]:
    """The templates by name: what each is about, and its options."""
    files = sorted(one.name for one in resources.files("sbatch_templates").iterdir() if one.name.endswith(".toml"))
    return {name[: -len(".toml")]: tomllib.loads(_text(name)) for name in files}


def _manifest(template: str) -> dict[str, Any]:
    known = manifests()
    if template not in known:
        raise BadInput(f"There is no template `{template}`; known are: {', '.join(known)}.")
    return known[template]


def _values(template: str, manifest: dict[str, Any], options: Sequence[str]) -> dict[str, str]:
    known = manifest["options"]
    values = {name: option["default"] for name, option in known.items()}
    for given in options:
        name, mark, value = given.partition("=")
        if not mark:
            raise BadInput(f"An option is given as name=value, not as `{given}`.")
        if name not in known:
            raise BadInput(f"Template `{template}` has no option `{name}`; it has: {', '.join(known)}.")
        if not re.fullmatch(known[name]["pattern"], value):
            raise BadInput(f"`{value}` cannot be `{name}`: {known[name]['about']}.")
        values[name] = value
    return values


def _check_command(command: Sequence[str], directory: Path) -> None:
    """Find a missing script now, not when the job has waited for its turn."""
    if "/" in command[0] and not (directory / command[0]).exists():
        raise BadInput(f"There is no program `{command[0]}` in {directory}: is the path right?")
    for word in command[1:]:
        if word in ("-m", "-c"):
            return  # what follows is no script's path
        if word.endswith((".py", ".sh")):
            if not (directory / word).is_file():
                raise BadInput(f"There is no script `{word}` in {directory}: is the path right?")
            return


def _name_of(command: Sequence[str]) -> str:
    script = next((one for one in command if one.endswith((".py", ".sh"))), command[0])
    return re.sub(r"[^\w.@+-]", "-", Path(script).stem)[:128] or "job"


def _text(name: str) -> str:
    return resources.files("sbatch_templates").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    # The scripts are shell, not HTML: values are checked against the manifest's patterns, the command is quoted.
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
