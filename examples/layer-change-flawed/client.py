"""Client of the Parcel Sorting environment."""

from typing import Any, Dict

from openenv.core import EnvClient
from openenv.core.client_types import StepResult
from openenv.core.env_server.types import State

from .models import ParcelSortingAction, ParcelSortingObservation


class ParcelSortingEnv(EnvClient[ParcelSortingAction, ParcelSortingObservation, State]):
    """
    One session with a running server.

    Example:
        >>> with ParcelSortingEnv(base_url="http://localhost:8000").sync() as env:
        ...     result = env.reset(seed=7)
        ...     while not result.done:
        ...         result = env.step(ParcelSortingAction(bin="north"))
    """

    def _step_payload(self, action: ParcelSortingAction) -> Dict[str, Any]:
        return {"bin": action.bin}

    def _parse_result(self, payload: Dict[str, Any]) -> StepResult[ParcelSortingObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        observation = ParcelSortingObservation(**{**payload.get("observation", {}), "reward": reward, "done": done})
        return StepResult(observation=observation, reward=reward, done=done, metadata=payload.get("metadata"))

    def _parse_state(self, payload: Dict[str, Any]) -> State:
        return State(episode_id=payload.get("episode_id"), step_count=payload.get("step_count", 0))
