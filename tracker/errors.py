"""Every error that tracker shows to people and programs.

A message is one sentence that says what happened and the way out. `code` is stable: programs may rely on it.
`status` is the HTTP status that the server answers with.
"""


class TrackerError(Exception):
    """Something tracker can explain. All errors below are of this family."""

    code = "error"
    status = 500


class BadInput(TrackerError):
    """What was given cannot be used."""

    code = "bad_input"
    status = 400


class BadManifest(BadInput):
    """An ingest request is not in the form of docs/protocol.md."""

    code = "bad_manifest"


class BadFilter(BadInput):
    """A filter or an order of runs is not understood."""

    code = "bad_filter"


class TooLarge(BadInput):
    """More was sent than is accepted at once."""

    code = "too_large"
    status = 413


class Unauthenticated(TrackerError):
    """Nobody known is asking."""

    code = "unauthenticated"
    status = 401


class Forbidden(TrackerError):
    """Somebody known is asking for what is not theirs."""

    code = "forbidden"
    status = 403


class NotKnownYet(TrackerError):
    """Slurm has not told yet whose job this is; trying again later is right."""

    code = "not_known_yet"
    status = 409


class NotFound(TrackerError):
    """There is no such thing, or it may not be seen."""

    code = "not_found"
    status = 404


class Conflict(TrackerError):
    """There is one already."""

    code = "conflict"
    status = 409


class TooMany(TrackerError):
    """This is too much at once; trying again later is right."""

    code = "too_many_requests"
    status = 429


class Unavailable(TrackerError):
    """A part that is needed does not answer now; trying again later is right."""

    code = "unavailable"
    status = 503


class SlurmUnavailable(Unavailable):
    """A Slurm command failed or gave no answer in time."""

    code = "slurm_unavailable"


class DatabaseUnavailable(Unavailable):
    """The database does not answer, is full, or is of another version."""

    code = "database_unavailable"


class SetupProblem(TrackerError):
    """Something on this machine must be put right first (rights, ports, disk, files)."""

    code = "setup_problem"
