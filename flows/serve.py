"""`python -m flows.serve`: every deployment of `prefect.yaml` in one process, without a work pool.

It needs a server (PREFECT_API_URL); runs start as child processes, Ctrl-C ends it.
"""

from flows import quiet

if __name__ == "__main__":
    quiet.apply(debug=True)
    from prefect import serve

    from flows.deployments import to_serve

    serve(*to_serve())
