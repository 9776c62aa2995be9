"""The `dsanet` command, one module per group of subcommands."""
