"""Object stores: workspaces and videos at addresses such as `s3://bucket/prefix`."""
