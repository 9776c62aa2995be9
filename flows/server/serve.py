"""`python -m flows.server.serve`: every deployment of `prefect.yaml` in one process, without a work pool.

It needs a server (PREFECT_API_URL); runs start as child processes, Ctrl-C ends it.
"""

from flows.server import prefect_defaults

if __name__ == "__main__":
    prefect_defaults.apply(debug=True)
    from prefect import serve

    from flows.server.deployments import to_serve

    serve(*to_serve())
