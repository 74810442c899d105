"""Keeps secrets in the process: what looks like one is replaced before it is written anywhere.

Two things give a secret away: the name it stands under (`API_KEY=`, `--password`), and how it looks (the credentials of
an address, the prefixes that services give their keys, a long run of letters and digits without pattern). Where it is
not clear the value goes: a fact that is missing costs less than a key that is shown.
"""

from __future__ import annotations

import re

from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

    from tracker.client.pace import Pace

HIDDEN = "[redacted]"
MOST_VARIABLES = 300
MOST_VALUE_CHARS = 2000

# What has none of this is harmless, as most command lines and parameters are, and needs none of the patterns below.
_SUSPICIOUS = re.compile(r"token|secret|pass|pwd|key|cred|auth|bearer|jwt|sign|cookie|-u|@|[a-z0-9_+/=-]{16}")
# Patterns are compiled when they are used first, and `re` keeps them: all together that takes 4 ms (see `prepare`).
_SHAPES = (
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl[a-z]{2,5}-[A-Za-z0-9_-]{16,}"
    r"|hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_-]{20,})",
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|do[opr]_v1_[a-f0-9]{32,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r"|MUNGE:[A-Za-z0-9+/=]{16,}:?)",
)
_ADDRESS = r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}://)([^\s/?#\"'<>]{1,500})@"
_RUN = r"[A-Za-z0-9_+=-]{20,}|[A-Za-z0-9+/=]{40,}"
_DEVICE = r"(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"
_HEX = r"[0-9a-fA-F]{32,}\Z"
_WORDS = (
    r"(?:token|secret|password|passwd|passphrase|passcode|pass|pwd|apikey|key|cred(?:ential)?|auth(?:orization)?"
    r"|bearer|signature|cookie|jwt)"
)
_NAME = rf"(?ai){_WORDS}(?:s|_?(?:id|value|string|base64|b64|hex))?"
_NAMED = (
    _NAME + r"(?P<mid>(?:[\"'\]]{0,3}[ \t]{0,20}(?:=>|:=|[=:])|[\"'],)[ \t]{0,20}(?:[bfru]{0,2}(?=[\"']))?"
    r"(?:[\"']?(?:bearer|basic|token)[ \t]+)?)"
    r"(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s\"'&|;,)\]}]+)"
)
_OPTION = (
    rf"(?ai)(?<![^\s\"'(,=])--?[a-z0-9_.-]{{0,60}}?{_WORDS}s?(?P<mid>[ \t]+)(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s-]\S*)"
)
_SPOKEN = (
    r"(?ai)(?:\b(?:password|passphrase|basic|bearer|token|sshpass[ \t]+-p)(?=\s)|\s-(?:u|-user)[ =]?[^\s:\"']{1,100}:)"
    r"(?P<mid>[ \t]*)(?P<value>[^\s\"']{4,})"
)
_WEIGHTY = (
    r"(?ai)passw|passphrase|passcode|pwd|secret|cred|bearer|cookie|jwt"
    r"|(?:api|access|private|auth|client|account|master|encryption|signing|ssh|deploy|license|wandb|hf|openai|aws|azure"
    r"|github|gitlab|slack|comet|neptune)[_.-]?(?:api[_.-]?)?(?:key|token|auth|pass)"
)
_STRONG = _WEIGHTY + r"|(?-i:^[A-Z][A-Z0-9]*_[A-Z0-9_]+\s*\Z)"
_NAME_BEFORE = r"[A-Za-z0-9_.-]{0,60}\Z"
_REFERENCE = r"[\"']?(?:\$|<|%\(|\{\{)|[\"']{0,2}\Z"
_PLAIN = r"(?ai)[\"']?(?:\d{1,6}(?:\.\d*)?|none|null|true|false|yes|no|on|off|auto|str|int|bool|bytes|any)?[\"',:]*\Z"
_COUNTED = r"(?ai)tokens[\"']?\s*\Z"
_NUMBER = r"[\"']?[0-9][0-9_]*(?:\.[0-9]*)?(?:e[+-]?[0-9]{1,3}|[kmbt])?[\"',:]*\Z"
_KEY_BEGINS = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_KEY_ENDS = r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"

_SECRET_VARIABLE = r"(?ai)token|key|secret|pass|cred|auth|jwt|cookie|session|signature|private"
_TOLD_VARIABLE = (
    r"(?:SLURM_(?!SPANK_|JWT)|SLURMD_NODENAME\Z|CUDA_|ROCR_|HIP_|HSA_|ZE_|GPU_DEVICE_ORDINAL\Z|NVIDIA_|OMP_|KMP_|GOMP_|MKL_"
    r"|OPENBLAS_|NUMEXPR_|NCCL_|RCCL_|UCX_|FI_|GLOO_|OMPI_MCA_|I_MPI_|PYTHON|TORCH|PYTORCH_|XLA_|JAX_|TF_|CUBLAS_|CUDNN_|TRITON_"
    r"|(?:LOCAL_|GROUP_|NODE_)?RANK\Z|(?:LOCAL_)?WORLD_SIZE\Z|MASTER_(?:ADDR|PORT)\Z|LD_LIBRARY_PATH\Z|LD_PRELOAD\Z|LANG\Z"
    r"|LC_ALL\Z|TZ\Z|TRACKER_(?:EXPERIMENT|MODE|CAPTURE|SPOOL|HOME|URL)\Z)"
)


def prepare(pace: Pace) -> None:
    """Compile what is needed below, with pauses in between; without it the first line waits for all of it."""
    for pattern in (*_SHAPES, _ADDRESS, _RUN, _NAMED, _OPTION, _SPOKEN, _STRONG, _PLAIN, _TOLD_VARIABLE):
        re.compile(pattern)
        pace.step()


def variables(env: Mapping[str, str], pace: Pace) -> dict[str, str]:
    """Return the variables that tell how a job was set up, by name; most of an environment is nobody's business."""
    told = {}
    for name in [name for name in sorted(env) if re.match(_TOLD_VARIABLE, name)][:MOST_VARIABLES]:
        hide = re.search(_SECRET_VARIABLE, name)
        told[name] = HIDDEN if hide else line(env[name][: 2 * MOST_VALUE_CHARS])[:MOST_VALUE_CHARS]
        pace.step()
    return told


def _is_suspicious(text: str) -> bool:
    return _SUSPICIOUS.search(text.lower()) is not None


def params(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return parameters or tags, of what JSON has, without what is clearly a secret; and the paths of what is hidden.

    They are named by a person, so a weak name (`key`, `pad_token`) hides nothing, nor does a long random value.
    """
    hidden: list[str] = []
    return {name: _param(value, name, hidden) for name, value in given.items()}, hidden


def _param(value: Any, path: str, hidden: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _param(inner, f"{path}/{name}", hidden) for name, inner in value.items()}
    if isinstance(value, list):
        return [_param(inner, path, hidden) for inner in value]
    text = "" if value is None or isinstance(value, bool) else str(value)
    if not text or not (_is_suspicious(path) or _is_suspicious(text)):
        return value
    name = path.rpartition("/")[2]
    if re.search(_NAME + r"\Z", name) and re.search(_WEIGHTY, name) and not _is_plain(name, text):
        told = HIDDEN
    else:
        told = re.sub(_ADDRESS, _without_credentials, text)
        for shape in _SHAPES:
            told = re.sub(shape, HIDDEN, told)
    if told == text:
        return value
    hidden.append(path)
    return told


def arguments(argv: Sequence[str]) -> list[str]:
    """Return the command line; the argument after `--api-key` is hidden, too."""
    if not any(map(_is_suspicious, argv)):
        return list(argv)
    told: list[str] = []
    for at, argument in enumerate(argv):
        before = argv[at - 1] if at else ""
        named = before.startswith("-") and "=" not in before and re.search(rf"(?ai){_WORDS}s?\Z", before)
        if named and not argument.startswith("-") and not _is_plain(before, argument):
            told.append(HIDDEN)
        else:
            told.append(line(argument))
    return told


class Lines:
    """Hides secrets in the lines of a text, one after the other. `hidden` counts the lines that are not as they were.

    `code`: these are lines of programs, in which `key="loss"` and `pad_token = "<pad>"` are no secrets.
    """

    def __init__(self, *, code: bool = False) -> None:
        self.hidden = 0
        self._code, self._in_key = code, False

    def told(self, text: str) -> str:
        """Return the next line as it may be told."""
        if self._in_key or re.search(_KEY_BEGINS, text):
            self._in_key = not re.search(_KEY_ENDS, text)
            told = HIDDEN + "\n" * text.endswith("\n")
        else:
            told = line(text, code=self._code)
        self.hidden += told != text
        return told

    def begin_again(self) -> None:
        """Say that the next line does not follow the last."""
        self._in_key = False


def line(text: str, *, code: bool = False) -> str:
    """Return a line of text without what looks like a secret. See `Lines` for `code`."""
    text = re.sub(_ADDRESS, _without_credentials, text)
    for shape in _SHAPES:
        text = re.sub(shape, HIDDEN, text)
    text = re.sub(_NAMED, lambda found: _hidden_value(found, code), text)
    text = re.sub(_OPTION, lambda found: _hidden_value(found, code), text)
    text = re.sub(_SPOKEN, lambda found: _hidden_value(found, code), text)
    return re.sub(_RUN, _hidden_run, text)


def address(url: str) -> str:
    """Return an address without user and password, but for the `git@` that everybody has."""
    return line(re.sub(_ADDRESS, _without_credentials, url))


def _without_credentials(found: re.Match[str]) -> str:
    harmless = found[2] == "git" or (":" not in found[2] and not found[1].lower().startswith("http"))
    return found[0] if harmless else f"{found[1]}{HIDDEN}@"


def _hidden_value(found: re.Match[str], code: bool) -> str:
    before = re.search(_NAME_BEFORE, found.string[max(0, found.start() - 60) : found.start()])
    name = (before[0] if before else "") + found.string[found.start() : found.start("mid")]
    value = found["value"]
    if value.startswith(HIDDEN[:-1]) or _is_plain(name, value) or (code and not _is_secret_in_code(found, name, value)):
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    end = quote if quote and len(value) > 1 and value.endswith(quote) else ""
    return found.string[found.start() : found.end("mid")] + quote + HIDDEN + end


def _is_plain(name: str, value: str) -> bool:
    """Say whether the value is a reference such as `$TOKEN`, or too simple a secret for a name as weak as `key`."""
    if re.match(_REFERENCE, value) or (re.search(_COUNTED, name) and re.match(_NUMBER, value)):
        return True
    return bool(re.match(_PLAIN, value)) and (not re.search(_STRONG, name) or not re.search(r"\d", value))


def _is_secret_in_code(found: re.Match[str], name: str, value: str) -> bool:
    bare = value.strip("\"'")
    mixed = bool(re.search(r"\d", bare) and re.search(r"[A-Za-z]", bare))
    if name.rstrip().lower().endswith(bare.lower()):
        return False  # `Client(api_key=api_key)`
    if found["mid"].isspace() or not found["mid"]:
        return mixed  # `password for the` is no `password hunter2`
    if re.search(_STRONG, name):
        # A literal is in quotes, or is a word in a configuration; a call or a path through objects is none.
        return value[0] in "\"'" or not re.search(r"[(\[{.]", bare)
    if not mixed or not re.match(r"[\w+/=~!@#$%^&*-]{8,}\Z", bare):
        return False
    return not re.search(r"(?ai)keys?\Z", name) or _is_random(bare)


def _hidden_run(found: re.Match[str]) -> str:
    run = found[0]
    before = found.string[max(0, found.start() - 8) : found.start()].lower()
    if re.match(_DEVICE, run) or before.endswith(("sha256:", "sha512:", "sha1:", "sha256-", "sha512-", "md5:")):
        return run
    if run.startswith(("sha256", "sha512")):
        return run
    if run.count("/") * 12 <= len(run) and _is_random(run):
        return HIDDEN
    return "/".join(HIDDEN if len(part) >= 20 and _is_random(part) else part for part in run.split("/"))


def _is_random(run: str) -> bool:
    """Say whether letters and digits follow each other as in a key, not as in words and numbers."""
    if re.match(_HEX, run):
        return len(set(run)) >= 8 and bool(re.search(r"\d", run)) and bool(re.search(r"[a-fA-F]", run))
    kinds = ["0" if one.isdigit() else "a" if one.islower() else "A" for one in run if one.isalnum()]
    if len(kinds) < 16 or len(set(kinds)) < 2 or "0" not in kinds:
        return False
    turns = sum(one != other for one, other in zip(kinds, kinds[1:]))
    return turns >= 0.3 * len(kinds)
