"""The Parcel Sorting environment: a shift of four parcels, each of which belongs into one of four bins."""

import random
from dataclasses import dataclass
from typing import Any, List, Optional
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import EnvironmentMetadata, State

try:
    from ..models import ParcelSortingAction, ParcelSortingObservation
except ImportError:
    from models import ParcelSortingAction, ParcelSortingObservation

COLOURS = ("red", "orange", "green", "blue")
SIZES = ("small", "medium", "large")
WARM = {"red", "orange"}

PARCELS_A_SHIFT = 4
# A quarter is exact in binary: a faultless shift adds up to 1.0 and not to 0.9999999999999999.
REWARD_A_PARCEL = 1.0 / PARCELS_A_SHIFT


@dataclass(frozen=True)
class Parcel:
    colour: str
    size: str
    fragile: bool

    @property
    def bin(self) -> str:
        """The rule that the agent has to find out. Size has nothing to do with it, and each bin is as likely."""
        if self.colour in WARM:
            return "east" if self.fragile else "north"
        return "west" if self.fragile else "south"


def deal(rng: random.Random) -> List[Parcel]:
    return [
        Parcel(colour=rng.choice(COLOURS), size=rng.choice(SIZES), fragile=rng.random() < 0.5)
        for _ in range(PARCELS_A_SHIFT)
    ]


class ParcelSortingEnvironment(Environment):
    """One shift. Everything that varies comes from the seed given to `reset`, and nothing is shared with another
    session: the same seed and the same actions give the same shift, however often and wherever it is played."""

    SUPPORTS_CONCURRENT_SESSIONS: bool = True

    def __init__(self) -> None:
        super().__init__()
        self._parcels: List[Parcel] = []
        self._next = 0
        self._state = State(episode_id=str(uuid4()), step_count=0)

    def reset(
        self,
        seed: Optional[int] = None,
        episode_id: Optional[str] = None,
        **kwargs: Any,
    ) -> ParcelSortingObservation:
        self._parcels = deal(random.Random(seed))
        self._next = 0
        self._state = State(episode_id=episode_id if episode_id is not None else str(uuid4()), step_count=0)
        return self._observe(reward=None)

    def step(
        self,
        action: ParcelSortingAction,
        timeout_s: Optional[float] = None,
        **kwargs: Any,
    ) -> ParcelSortingObservation:
        self._state.step_count += 1
        parcel = self._at_hand()
        if parcel is None:
            # The shift is over, or was never begun: nothing more can be earned.
            return self._observe(reward=0.0)
        self._next += 1
        return self._observe(reward=REWARD_A_PARCEL if action.bin == parcel.bin else 0.0)

    @property
    def state(self) -> State:
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name="parcel_sorting",
            description="Sort parcels into four bins by a rule that only the reward gives away",
            version="0.1.0",
        )

    def _at_hand(self) -> Optional[Parcel]:
        return self._parcels[self._next] if self._next < len(self._parcels) else None

    def _observe(self, reward: Optional[float]) -> ParcelSortingObservation:
        parcel = self._at_hand()
        remaining = len(self._parcels) - self._next
        if parcel is None:
            return ParcelSortingObservation(remaining=remaining, done=True, reward=reward)
        return ParcelSortingObservation(
            colour=parcel.colour,
            size=parcel.size,
            fragile=parcel.fragile,
            remaining=remaining,
            done=False,
            reward=reward,
        )
