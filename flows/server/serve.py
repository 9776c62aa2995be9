"""`python -m flows.server.serve`: all deployments of `prefect.yaml` in one process, without a work pool.

Needs a Prefect server (PREFECT_API_URL). Runs start as child processes; Ctrl-C stops serving.
"""

from flows.server.prefect_defaults import configure_logging, set_environment_defaults

if __name__ == "__main__":
    set_environment_defaults()
    configure_logging(debug=True)
    from prefect import serve

    from flows.server.deployments import served_deployments

    serve(*served_deployments())
