"""The commands of the server wing. Each reads its options, calls one action and prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from tracker.cli import people, reading, tokens
from tracker.cli.database import db
from tracker.cli.gpus import gpus
from tracker.cli.hooks import hooks
from tracker.errors import TrackerError


class Door(click.Group):
    """A group that tells our errors in one sentence, and none of them as a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except TrackerError as problem:
            click.secho(f"tracker: {problem}", fg="red", err=True)
            context.exit(1)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of a pipe went away, which is no error of ours
            context.exit(0)


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slurm-tracker", prog_name="tracker")
def cli() -> None:
    """Every Slurm job becomes a truthful, searchable experiment run.

    \b
    tracker up                       a server for yourself, and a link to its page
    tracker submit -- python t.py    a job
    tracker log loss=0.3 --step 10   a point, from any script
    tracker ls 'metrics.loss < 0.3'  runs that fit; show, compare, tail, queue
    """


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1)
def log(arguments: tuple[str, ...]) -> None:
    """Log metrics from a shell script inside a job."""  # runs in tracker.cli before click is imported


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1)
def agent(arguments: tuple[str, ...]) -> None:
    """Ship spools to the server: one agent per node."""  # runs in tracker.cli before click is imported


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1)
def sync(arguments: tuple[str, ...]) -> None:
    """Ship a copied spool or job folder to the server."""  # runs in tracker.cli before click is imported


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page; 0 takes a free one.")
@click.option("--listen", metavar="ADDRESS", help="Address of the page.")
@click.option("--database", metavar="URL", help="SQLite or PostgreSQL; SQLite in TRACKER_HOME if not given.")
@click.option(
    "--sample-every", metavar="SECONDS", type=click.IntRange(0, 3600), help="Samples of the hardware; 0: none."
)
def up(port: int | None, listen: str | None, database: str | None, sample_every: int | None) -> None:
    """Run everything that one person or one site's head node needs, until Ctrl-C.

    That is the server, the watcher of the cluster that this machine belongs to (if any), and an agent for jobs that
    spool into TRACKER_HOME. Prints a login link when ready.
    """
    from tracker import settings
    from tracker.cli.up import run_all

    run_all(settings.load(port=port, listen=listen, database=database, sample_every_s=sample_every))


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--listen", metavar="ADDRESS", help="Address to listen on.")
@click.option("--database", metavar="URL", help="SQLite or PostgreSQL.")
def server(port: int | None, listen: str | None, database: str | None) -> None:
    """Run the web page and the API alone."""
    from tracker import settings
    from tracker.cli.server import serve

    serve(settings.load(port=port, listen=listen, database=database))


@cli.command()
@click.option("--once", is_flag=True, help="Do each once and end.")
@click.option("--database", metavar="URL", help="SQLite or PostgreSQL.")
def chores(once: bool, database: str | None) -> None:
    """Do what a server does beside answering, such as compaction. A server starts this itself."""
    from tracker import settings
    from tracker.cli.chores import run_chores

    run_chores(settings.load(database=database), once)


@cli.command()
@click.option("--once", is_flag=True, help="Look once and end.")
@click.option("--database", metavar="URL", help="SQLite or PostgreSQL.")
def watch(once: bool, database: str | None) -> None:
    """Follow the queue and the accounting of the Slurm cluster that this machine belongs to."""
    from tracker import settings
    from tracker.actions.watch import Watcher

    watcher = Watcher(settings.load(database=database))
    if once:
        try:
            watcher.look()
        finally:
            watcher.leave()
    else:
        watcher.run()


@cli.command()
@click.option("--database", metavar="URL", help="SQLite or PostgreSQL.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings for a program.")
def doctor(database: str | None, as_json: bool) -> None:
    """Tell what works here, what does not, and what to do about it. Ends with 1 if something does not."""
    from tracker import settings
    from tracker.cli.doctor import look_over

    findings = []
    for finding in look_over(settings.load(database=database)):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'ok     ' if finding.ok else 'missing'}  {finding.name}: {finding.detail}")
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@cli.command()
@click.option("--sample", is_flag=True, help="Print a tracker.toml with every setting, its default and its meaning.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def config(sample: bool, as_json: bool) -> None:
    """Show the settings in force."""
    from dataclasses import asdict

    from tracker import settings

    if sample:
        click.echo(settings.sample(), nl=False)
        return
    found = asdict(settings.load())
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name} = {value!r}")


@cli.command()
@click.option("--template", default="train", show_default=True, metavar="NAME", help="One of `tracker templates`.")
@click.option("--experiment", metavar="NAME", help="The group of runs it belongs to.")
@click.option("--name", metavar="NAME", help="Name of the job and the run.")
@click.option(
    "--set", "options", multiple=True, metavar="OPTION=VALUE", help="An option of the template, such as time=1:00:00."
)
@click.option("--dry-run", is_flag=True, help="Print the script instead of submitting it.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("command", nargs=-1, required=True)
def submit(
    template: str, experiment: str | None, name: str | None, options: tuple[str, ...], dry_run: bool, as_json: bool,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    """Submit a command as a job, from an sbatch template.

    \b
    tracker submit --template train -- python train.py --lr 0.1
    tracker submit --set gpus=2 --set time=4:00:00 --experiment mnist -- python train.py
    tracker submit --dry-run -- python train.py
    """
    from tracker.actions.submit import Submission, submit_job

    submission = Submission(template=template, command=command, experiment=experiment, name=name, options=options)
    if dry_run:
        click.echo(submission.script(Path.cwd()), nl=False)
        return
    job_id = submit_job(submission, Path.cwd())
    click.echo(json.dumps({"job_id": job_id}) if as_json else f"Submitted job {job_id}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def templates(as_json: bool) -> None:
    """List the sbatch templates and their options."""
    from tracker.actions.submit import manifests

    found = manifests()
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, manifest in found.items():
        click.secho(name, bold=True, nl=False)
        click.echo(f"  {manifest['about']}")
        for option, meaning in manifest["options"].items():
            click.echo(f"    {option:<12} {meaning['about']} (default: {meaning['default'] or 'none'})")


for command in (
    db, gpus, hooks, people.audit, people.user, reading.compare, reading.list_runs, reading.queue, reading.show,
    reading.tail, tokens.login, tokens.token,
):  # fmt: skip
    cli.add_command(command)
