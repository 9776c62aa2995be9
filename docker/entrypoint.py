"""Entry point of every container: set a variable X from the file that X_FILE names, then run the command.

X begins with PREFECT_, DSANET_ or PG; the variables of other programs that end in _FILE stay as they are.

A secret given as a file appears in no image, compose file or process list. PostgreSQL's image does the same.

    PREFECT_SERVER_DATABASE_PASSWORD_FILE=/run/secrets/database_password entrypoint.py prefect server start
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PREFIXES, SUFFIX = ("PREFECT_", "DSANET_", "PG"), "_FILE"


def variables_from_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose values are in files, stripped. Raises OSError for a file that cannot be read."""
    return {
        name.removesuffix(SUFFIX): Path(path).read_text().strip()
        for name, path in environment.items()
        if name.startswith(PREFIXES) and name.endswith(SUFFIX)
    }


def main() -> None:
    try:
        os.environ.update(variables_from_files(os.environ))
    except OSError as error:
        sys.exit(f"cannot read a secret: {error}; the file must be readable for user {os.getuid()}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
