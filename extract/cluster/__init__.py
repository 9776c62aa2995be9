"""Work on the nodes of a Ray cluster, in shards: small enough to be lost, large enough to be worth a task.

    this process ◀──pipe──▶ driver process ◀──Ray──▶ tasks on the nodes
    owns the files          knows Ray                keep nothing

The driver process is the only one on this machine that loads Ray. Ray ends the process that uses it when the
head or the node of this machine is lost: then another driver process is started, and the work goes on with
what is left.
"""
