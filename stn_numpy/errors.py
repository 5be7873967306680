"""Errors that a user of the command line can cause, and can mend."""


class UserError(Exception):
    """Something outside the program is wrong: a file, an argument, a missing package.

    The message is one plain line that names the thing and says what to do. The command line
    prints it and exits with code 2, without a traceback.
    """


class DataError(UserError, ValueError):
    """A data file is missing, truncated, corrupt or not what its name says."""


class CheckpointError(UserError, ValueError):
    """A checkpoint is corrupt, or was written by another program or for another network."""
