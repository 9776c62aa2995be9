"""Start of every container: NAME takes what is in the file that NAME_FILE names, then the command takes over.

So a secret comes from a file and stands in no image, compose file or list of processes, as in PostgreSQL's
own image. Only Prefect's settings are looked at.

    PREFECT_SERVER_DATABASE_PASSWORD_FILE=/run/secrets/database_password entrypoint.py prefect server start
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PREFIX, SUFFIX = "PREFECT_", "_FILE"


def from_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose values lie in files, stripped. Raises OSError for a file that cannot be read."""
    return {
        name.removesuffix(SUFFIX): Path(path).read_text().strip()
        for name, path in environment.items()
        if name.startswith(PREFIX) and name.endswith(SUFFIX)
    }


def main() -> None:
    try:
        os.environ.update(from_files(os.environ))
    except OSError as error:
        sys.exit(f"a secret cannot be read: {error}; it must be readable for user {os.getuid()}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
