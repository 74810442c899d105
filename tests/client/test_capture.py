"""What is captured once of a script, and what never leaves it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import JOB, Scripts
from tests.client.test_git import Checkout
from tracker.client import capture, encode, redact
from tracker.client.pace import OutOfTime, Pace


@pytest.fixture
def repository(scripts: Scripts) -> Checkout:
    """The scripts' folder as a checkout."""
    checkout = Checkout(scripts.home / "project")
    checkout.folder.mkdir()
    checkout.git("init", "-q", "-b", "main", "--template=")
    checkout.write("train.py", "import tracker\ntracker.log({'loss': 1})\n")
    checkout.commit()
    return checkout


def start(scripts: Scripts, *words: str, cwd: Path | None = None, **env: str) -> None:
    done = subprocess.run(words, cwd=cwd or scripts.home, env={**scripts.env, **env}, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def captured(scripts: Scripts) -> list[dict[str, Any]]:
    found = [one for folder in scripts.folders() for one in scripts.messages(folder) if one.get("event") == "capture"]
    return sorted(found, key=lambda one: str(one["argv"]))


def test_a_script_tells_how_it_was_called_and_what_it_runs_on(scripts: Scripts, repository: Checkout) -> None:
    changed = "import tracker\ntracker.log({'loss': 2})\n"
    script = repository.write("train.py", changed)
    env = {
        "LOADEDMODULES": "gcc/12:cuda/12.1", "CONDA_DEFAULT_ENV": "torch", "APPTAINER_CONTAINER": "/images/torch.sif",
        "OMP_NUM_THREADS": "4", "NCCL_DEBUG": "INFO", "HOMEWORK": "private",
    }  # fmt: skip
    start(scripts, sys.executable, "-O", str(script), "--lr", "0.1", cwd=scripts.home, **env, **JOB)
    (told,) = captured(scripts)
    assert told["argv"] == [sys.executable, "-O", str(script), "--lr", "0.1"]
    assert (told["cwd"], told["attempt"]) == (str(scripts.home), 1)
    assert told["python"]["version"] == sys.version.split()[0]
    assert told["python"]["prefix"] == sys.prefix == told["venv"]
    assert told["host"]["name"] == os.uname().nodename
    assert told["modules"] == ["gcc/12", "cuda/12.1"]
    assert told["conda"] == {"name": "torch"}
    assert told["container"] == {"kind": "apptainer", "image": "/images/torch.sif"}
    assert told["env"]["OMP_NUM_THREADS"] == "4"
    assert told["env"]["SLURM_JOB_ID"] == "12"
    assert "HOMEWORK" not in told["env"]
    assert any(one.startswith("pytest==") for one in told["packages"])
    assert told["packages"] == sorted(
        told["packages"], key=lambda one: one.partition("==")[0].lower().replace("_", "-")
    )
    assert told["git"]["commit"] == repository.git("rev-parse", "HEAD").strip()
    assert told["git"]["dirty"] is True
    assert "+tracker.log({'loss': 2})\n" in told["git"]["diff"]


def test_the_code_is_found_beside_the_script_not_only_in_the_working_folder(
    scripts: Scripts, repository: Checkout
) -> None:
    start(scripts, sys.executable, str(repository.folder / "train.py"))
    start(scripts, sys.executable, "-m", "train", cwd=repository.folder)
    assert [told["git"]["root"] for told in captured(scripts)] == [str(repository.folder)] * 2


def test_versions_of_packages_are_those_that_python_itself_finds(scripts: Scripts) -> None:
    found = scripts.run("""
        import json, importlib.metadata as m
        print(json.dumps([f"{one.metadata['Name']}=={one.version}" for one in m.distributions()]))
    """)

    def alike(names: list[str]) -> set[str]:
        return {name.lower().replace("_", "-").replace(".", "-") for name in names}

    (told,) = captured(scripts) or [{"packages": []}]
    scripts.run("tracker.init()")
    told = captured(scripts)[-1]
    assert alike(told["packages"]) == alike(json.loads(found.stdout))


def test_each_script_of_a_job_is_captured_and_none_of_its_children(scripts: Scripts) -> None:
    code = """
        import multiprocessing, os, subprocess, sys
        def work(n): tracker.log({"worker": n})
        tracker.init()
        if os.fork() == 0:
            work(1)
            os._exit(0)
        for kind in ("fork", "spawn"):
            child = multiprocessing.get_context(kind).Process(target=print if kind == "spawn" else work, args=(2,))
            child.start()
            child.join()
        subprocess.run([sys.executable, "-c", "import tracker; tracker.log({'child': 1})"], check=True)
    """
    scripts.run(code, **JOB)
    assert len(captured(scripts)) == 1
    scripts.run("tracker.log({'second': 1})", **JOB)
    assert len(captured(scripts)) == 2
    assert len([one for one in scripts.messages() if one.get("event") == "writer"]) >= 4


@pytest.mark.parametrize(
    "env", [{"SLURM_PROCID": "1"}, {"RANK": "3"}, {"TRACKER_CAPTURE": "off"}, {"TRACKER_MODE": "off"}], ids=str
)
def test_other_ranks_and_those_who_do_not_want_it_are_not_captured(scripts: Scripts, env: dict[str, str]) -> None:
    scripts.run("tracker.log({'a': 1})", **{**JOB, **env})
    assert captured(scripts) == []


def test_a_requeued_job_and_one_submitted_from_a_run_are_captured_again(scripts: Scripts) -> None:
    scripts.run("tracker.init()", **JOB, TRACKER_CAPTURED="dev.12/1", SLURM_RESTART_COUNT="1")
    scripts.run("tracker.init()", **{**JOB, "SLURM_JOB_ID": "13"}, TRACKER_CAPTURED="dev.12/1")
    assert [one["attempt"] for one in captured(scripts)] == [2, 1]


SECRETS = {
    "an API key of 40 digits": "0123456789abcdef0123456789abcdef01234567",
    "a GitHub token": "ghp_Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3d",
    "a Hugging Face token": "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "an OpenAI key": "sk-proj-aBcD1234eFgH5678iJkL9012",
    "an AWS key id": "AKIAIOSFODNN7EXAMPLE",
    "an AWS secret": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12",
    "a JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    "a Slack token": "xoxb-123456789012-abcdefghijkl",
    "a password in an address": "hunter2hunter",
    "a plain password": "correcthorse",
    "a PEM key": "MIIEpAIBAAKCAQEA7bq0k3Jd9",
}


def test_secrets_never_leave_the_process(scripts: Scripts, repository: Checkout) -> None:
    """Planted wherever a careless person would put them; not one may be found in any file of the spool."""
    a = SECRETS
    keys = list(a.values())[:8]
    address = f"https://alice:{a['a password in an address']}@example.org/x.git"
    repository.git("remote", "add", "origin", address)
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{a['a PEM key']}\n-----END RSA PRIVATE KEY-----\n"
    planted = "".join(f'KEY{n} = "{one}"\n' for n, one in enumerate(keys))
    planted += f"password = '{a['a plain password']}'\nurl = '{address}'\nKEY = '''{pem}'''\n"
    repository.write("secrets_of_alice.py", "x\n")
    repository.write("config.yaml", "x: 1\n")
    repository.write("server.pem", "old\n")
    repository.commit()
    repository.write("train.py", f"import tracker\ntracker.init()\n{planted}")
    repository.write("secrets_of_alice.py", planted)
    repository.write("config.yaml", f"db:\n  password: {a['a plain password']}\n  api_key: {keys[0]}\n")
    repository.write("server.pem", pem)
    env = {
        "WANDB_API_KEY": keys[0], "NCCL_AUTH_TOKEN": "correcthorse", "PYTHON_DB_PASSWORD": "correcthorse",
        "TRACKER_TOKEN": keys[1], "SLURM_JWT": keys[6], "SLURM_JOB_COMMENT": f"see {address}", "OMP_NOTE": keys[2],
        "TORCH_HUB_URL": f"https://example.org/?access_token={keys[3]}", "PYTHONPYCACHEPREFIX": f"/tmp/{keys[0]}",
    }  # fmt: skip
    words = [f"--api-key={keys[0]}", "--password", a["a plain password"], "--token", keys[1], f"HF_TOKEN={keys[2]}"]
    words += [
        address,
        f"--header=Authorization: Bearer {keys[6]}",
        "-c",
        f"--data.url={address}",
        keys[4],
        keys[7],
        keys[3],
    ]
    script = f"#!/bin/bash\nexport AWS_SECRET_ACCESS_KEY={keys[5]}\nexport AWS_ACCESS_KEY_ID={keys[4]}\n"
    script += f"wandb login {keys[0]}\ncurl -u alice:{a['a plain password']} {address}\ncat <<END\n{pem}END\n"
    script += f"PGPASSWORD={a['a plain password']} psql\nhuggingface-cli login --token {keys[2]}\n"
    words = [sys.executable, "train.py", *words]
    script += f'# machine example.org login alice password {a["a plain password"]}\n"$@"\n'
    spool = scripts.home / "slurm" / "slurm_script"
    spool.parent.mkdir()
    spool.write_text(script)
    quiet = {"curl", "wandb", "psql", "huggingface-cli"}
    for name in quiet:
        (scripts.home / name).write_text("#!/bin/sh\nexit 0\n")
        (scripts.home / name).chmod(0o755)
    path = f"{scripts.home}:{os.environ['PATH']}"
    command = ["/bin/bash", str(spool), *words]
    done = subprocess.run(
        command,
        cwd=repository.folder,
        env={**scripts.env, **JOB, **env, "PATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    (told,) = captured(scripts)
    assert "wandb login [redacted]" in told["script"]["text"]
    assert told["git"]["dirty"] is True
    assert "train.py" in told["git"]["diff"]
    assert "OMP_NOTE" in told["env"]
    raw = b"".join(file.read_bytes() for file in scripts.home.glob("t/spool/jobs/*/*"))
    assert {what for what, secret in SECRETS.items() if secret.encode() in raw} == set()


HARMLESS = (
    "python train.py --tokenizer=gpt2 --max-tokens 512 --key-frames=3 --lr 0.001",
    "for key, value in metrics.items():",
    'pad_token = "<pad>"',
    "num_tokens=1024",
    "def f(password: str, token: str | None = None):",
    "Client(api_key=api_key)",
    "key = jax.random.PRNGKey(0)",
    'plot(key="val/loss")',
    "state_dict[key] = value",
    "attention_mask=mask, past_key_values=past",
    "ckpt=/scratch/alice/resnet50_baseline_2026-01-21_12-33-44/checkpoint-step120000.pt",
    "CUDA_VISIBLE_DEVICES=GPU-550e8400-e29b-41d4-a716-446655440000",
    "distributed_data_parallel_resnet50_v2_bs256",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "git@github.com:lab/digits.git ssh://git@example.org/digits.git",
    "login --token $TOKEN",
    "--n-tokens=1e9 --train_tokens=300000000000",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_code_is_full_of_is_no_secret(text: str) -> None:
    assert redact.line(text, code=True) == text


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://alice:p@ss@example.org/x", "https://[redacted]@example.org/x"),
        ("https://token@example.org/x", "https://[redacted]@example.org/x"),
        ("https://example.org/x?private_token=abc", "https://example.org/x?private_token=[redacted]"),
        ("ssh://git@example.org/x", "ssh://git@example.org/x"),
    ],
)
def test_addresses_are_told_without_their_secrets(address: str, told: str) -> None:
    assert redact.address(address) == told


def test_parameters_and_tags_that_are_clearly_secrets_are_hidden_and_named(scripts: Scripts) -> None:
    done = scripts.run("""
        secret = {"hf_token": "hf_x", "login": {"api_key": "abc", "password": 12345}, "db": "sql://u:pw@host/db"}
        plain = {"pad_token": "<pad>", "key": "val/loss", "max_tokens": 5 * 10**9, "data": "0123456789abcdef" * 2}
        tracker.log_params({**secret, **plain})
        tracker.set_tags({"GITHUB_TOKEN": "x1", "stage": "draft"})
    """)
    hidden = {"hf_token": "[redacted]", "db": "sql://[redacted]@host/db"}
    login = {"api_key": "[redacted]", "password": "[redacted]"}
    plain = {"pad_token": "<pad>", "key": "val/loss", "max_tokens": 5 * 10**9, "data": "0123456789abcdef" * 2}
    assert scripts.event("params")["params"] == {**hidden, "login": login, **plain}
    assert scripts.event("tags")["tags"] == {"GITHUB_TOKEN": "[redacted]", "stage": "draft"}
    named = [one["key"] for one in scripts.messages() if one.get("event") == "note"]
    assert named == [
        "params hf_token",
        "params login/api_key",
        "params login/password",
        "params db",
        "tags GITHUB_TOKEN",
    ]
    assert done.stderr.count("looks like a secret and is hidden") == len(named)


@pytest.mark.parametrize(
    "unit", ["a", "key", 'key="', "-key ", "token=", "x://", "://a@", "password ", "--", "eyJ", "a.b-c_"]
)
def test_hiding_takes_no_time_for_endless_lines(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    began = time.process_time()
    redact.line(text)
    redact.line(text, code=True)
    assert time.process_time() - began < 30  # quadratic, it would be minutes


def test_the_line_fits_however_much_there_is(
    scripts: Scripts, repository: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("train.py", "\x01" * 200_000 + "\n")
    line = capture.line({f"SLURM_{n}": "\x02" * 1000 for n in range(300)}, [str(repository.folder)], Pace(60))
    assert len(line) <= encode.MAX_LINE_BYTES
    told = json.loads(line)
    assert "diff is left out: all together was too long" in told["notes"]
    assert told["git"]["changed"] == ["M train.py"]


def test_a_batch_script_is_only_taken_from_a_plain_small_file_of_this_user_s_job(scripts: Scripts) -> None:
    folder = scripts.home / "slurm"
    folder.mkdir()
    script = folder / "slurm_script"
    body = f'{sys.executable} -c "import tracker; tracker.init()"\n'

    def told(**env: str) -> Any:
        shutil.rmtree(scripts.home / "t", ignore_errors=True)
        start(scripts, "/bin/bash", str(script), **{**JOB, **env})
        return captured(scripts)[0].get("script")

    script.write_text(body)
    assert told() == {"text": body, "hidden_lines": 0}
    assert told(SLURM_JOB_ID="") is None
    script.write_text(body + "#" * capture.MOST_SCRIPT_BYTES)
    assert told() is None
    real = folder / "real"
    real.write_text(body)
    script.unlink()
    script.symlink_to(real)
    assert told() is None


@pytest.mark.parametrize("encoder", ["orjson", "json"])
def test_the_background_loads_no_module_that_a_forked_child_could_wait_for(scripts: Scripts, encoder: str) -> None:
    done = scripts.run(f"""
        import sys
        if {encoder == "json"}: sys.modules["orjson"] = None
        from tracker.client import worker
        later, jobs = worker.later, []
        worker.later = lambda *job: jobs.append(job)
        tracker.init()
        before, worker.later = set(sys.modules), later
        worker.later(*jobs[0])
        worker.drain()
        print(*sorted(name for name in set(sys.modules) - before if not name.startswith("tracker.client.")))
    """)
    assert done.stdout.strip() == "_sha1"  # which only this room asks for
    assert len(captured(scripts)) == 1


def test_the_last_of_a_disk_is_left_for_points(scripts: Scripts, small_disk: Path) -> None:
    done = scripts.run("tracker.log({'a': 1})", TRACKER_HOME=str(small_disk))
    assert "capture is not logged: the disk is nearly full" in done.stderr
    (folder,) = (small_disk / "spool" / "jobs").iterdir()
    assert [one.get("event") for one in scripts.messages(folder)] == ["writer", None, "note", "finish"]


def test_a_script_that_ends_waits_for_a_second_at_most() -> None:
    pace = Pace(60, hurried=lambda: True)
    with pytest.raises(OutOfTime):
        while True:
            pace.step()


def test_work_in_the_background_has_an_end() -> None:
    pace = Pace(0.01)
    with pytest.raises(OutOfTime):
        while True:
            pace.step()
