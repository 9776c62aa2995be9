"""Errors that the user can mend: a bad file, a wrong setting, a missing path.

Their message is one line: what was given, what was expected, what to do. The command line prints it and exits
with code 2; any other exception is reported as a bug. No imports, so that every package can use the classes
(`evaluate` included).
"""


class InputError(ValueError):
    """Input that cannot be used; the base of every error that the user can mend."""


class MissingFileError(InputError, FileNotFoundError):
    """A file that the user named, or that an earlier step should have written, does not exist."""
