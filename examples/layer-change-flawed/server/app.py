"""
The Parcel Sorting environment over HTTP and WebSocket.

    uvicorn server.app:app --host 0.0.0.0 --port 8000
"""

import os

from openenv.core.env_server.http_server import create_app

try:
    from ..models import ParcelSortingAction, ParcelSortingObservation
    from .parcel_sorting_environment import ParcelSortingEnvironment
except ImportError:
    from models import ParcelSortingAction, ParcelSortingObservation
    from server.parcel_sorting_environment import ParcelSortingEnvironment

app = create_app(
    ParcelSortingEnvironment,
    ParcelSortingAction,
    ParcelSortingObservation,
    env_name="parcel_sorting",
    max_concurrent_envs=int(os.environ.get("MAX_CONCURRENT_ENVS", "8")),
)


def main() -> None:
    """Runs the server outside a container: `uv run --project . server`."""
    import argparse

    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
