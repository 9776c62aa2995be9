"""Make the library's database and the workspace's bucket, unless they are there.

Reads DSANET_LIBRARY_URL and DSANET_WORKSPACE.
"""

import os
import sys

import fsspec
import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url


def make_database(url: URL) -> bool:
    """Create the PostgreSQL database that a URL names; True if it was not there."""
    maintenance = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(url.database))))
        except psycopg.errors.DuplicateDatabase:
            return False
    return True


def make_bucket(address: str) -> bool:
    """Create the bucket of an `s3://` address; True if it was not there."""
    bucket = address.removeprefix("s3://").partition("/")[0]
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    if store.exists(bucket):
        return False
    store.mkdir(bucket)
    return True


def main() -> None:
    url, workspace = make_url(os.environ["DSANET_LIBRARY_URL"]), os.environ["DSANET_WORKSPACE"]
    print(f"database {url.database}: {'made' if make_database(url) else 'there'}")
    print(f"bucket of {workspace}: {'made' if make_bucket(workspace) else 'there'}")


if __name__ == "__main__":
    sys.exit(main())
