"""`tracker hooks`: put the hooks on a node, look them over, take them away."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tracker.cli import hook_check, hook_files
from tracker.errors import BadInput, SetupProblem

_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=hook_files.DEFAULT_DIRECTORY,
    show_default=True,
    help="Folder of the hooks; only root may change it, all may read it.",
)


@click.group()
def hooks() -> None:
    """Slurm's Prolog, Epilog and TaskProlog, which tell tracker of each job."""


@hooks.command()
@_directory
@click.option(
    "--spool",
    default=hook_files.DEFAULT_SPOOL,
    show_default=True,
    help="Where hooks and jobs write. %n stands for the node's name. Must be on a local disk.",
)
@click.option("--conf", type=click.Path(path_type=Path), help="Write the lines for slurm.conf into this file as well.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
def install(directory: Path, spool: str, conf: Path | None, dry_run: bool) -> None:
    """Install the hooks, or bring them up to date; running jobs and slurmd are not disturbed.

    Slurm's own configuration is never edited: the lines to add are printed.
    """
    lines = hook_files.slurm_conf_lines(directory)
    if conf:
        _check_snippet(conf)
    if dry_run:
        hook_files.check_directory(directory)
        hook_files.check_spool(spool)
        click.echo(f"would install hooks into {directory}, spool {spool}")
    else:
        hook_files.install(directory, spool)
        click.echo(f"installed hooks in {directory}, spool {spool}")
    if conf:
        _write_snippet(conf, lines, dry_run=dry_run)
    _tell_of_other_hooks(directory)
    click.echo("\nslurm.conf needs these lines, followed by `scontrol reconfigure`:\n")
    click.echo("\n".join(lines))


def _check_snippet(conf: Path) -> None:
    if conf.name == "slurm.conf":
        raise BadInput("slurm.conf itself is never written: name a file of its own and include it from slurm.conf.")
    if not conf.parent.is_dir():
        raise BadInput(f"There is no folder {conf.parent} for {conf.name}.")


def _write_snippet(conf: Path, lines: list[str], *, dry_run: bool) -> None:
    if dry_run:
        click.echo(f"would write {conf}")
        return
    try:
        hook_files.write_atomically(conf, "\n".join(["# tracker's hooks", *lines, ""]), mode=0o644)
    except OSError as problem:
        raise SetupProblem(f"{conf} cannot be written: {problem.strerror}.") from problem
    click.echo(f"wrote {conf}: slurm.conf needs the line `include {conf}`")


def _tell_of_other_hooks(directory: Path) -> None:
    for line in hook_files.other_hooks(directory):
        script = directory / hook_files.HOOKS[line.option]
        click.echo(
            f"\n{line.file} has {line.option}={line.value} already. Keep it, and let that script call {script} "
            f"at its end, with its output passed on: ours always succeeds."
        )


@hooks.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(directory: Path, as_json: bool) -> None:
    """Check the installed hooks and try them with a made-up job. Exit code 1 if something is wrong."""
    findings = list(hook_check.look_over(directory))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.ok else 'NOT'}  {finding.name}: {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@hooks.command()
@_directory
@click.option("--purge", is_flag=True, help="Remove the files, once slurm.conf no longer names them.")
def uninstall(directory: Path, purge: bool) -> None:
    """Make the hooks do nothing. The files stay, because slurmd drains a node whose Prolog is missing."""
    if purge:
        hook_files.purge(directory)
        click.echo(f"removed the hooks from {directory}")
        return
    hook_files.disarm(directory)
    click.echo(
        f"the hooks in {directory} do nothing now. Remove these lines from slurm.conf, run `scontrol reconfigure`,"
    )
    click.echo("then remove the files with `tracker hooks uninstall --purge`:\n")
    click.echo("\n".join(hook_files.slurm_conf_lines(directory)))
