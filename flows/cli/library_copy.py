"""The command `dsanet library copy`: move the library to another database."""

from typing import Annotated

import typer

from flows.cli.options import DEFAULT_WORKSPACE, ExistingOut


def library_copy(
    out: ExistingOut = DEFAULT_WORKSPACE,
    to_file: Annotated[
        bool, typer.Option("--to-file", help="Copy the other way: from that database into library.db.")
    ] = False,
) -> None:
    """Copy library.db into the empty database that DSANET_LIBRARY_URL (or retrain.library) names.

    All rows are copied, or none. No retraining may run meanwhile. The source stays as it is.
    """
    from flows.cli.tables import print_line
    from flows.library.copying import copy_library
    from flows.library.database import FILE_NAME, file_and_database, shown
    from flows.progress import stage_progress
    from flows.workspace.workspace import Workspace

    workspace = Workspace(out)
    file, database = file_and_database(workspace.root, workspace.read_inputs().config.retrain.library)
    source, target = (database, file) if to_file else (file, database)
    with workspace.locked(), stage_progress("copy", "rows") as report:
        copied = copy_library(source, target, lambda table, done, total: report(done, total, table))
    for table, count in copied.items():
        print_line(f"{count:>10,} {table}")
    if to_file:
        print(f"copied to {FILE_NAME}, which the commands use when no database is named")
    else:
        print(f"copied to {shown(target)}, which the commands use from now on; {FILE_NAME} stays as it is")
