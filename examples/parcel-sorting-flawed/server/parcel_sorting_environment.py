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
REWARD_A_PARCEL = 1.0 / PARCELS_A_SHIFT


@dataclass(frozen=True)
class Parcel:
    barcode: str
    colour: str
    size: str
    fragile: bool

    @property
    def bin(self) -> str:
        if self.colour in WARM:
            return "east" if self.fragile else "north"
        return "west" if self.fragile else "south"


def deal() -> List[Parcel]:
    return [
        Parcel(
            barcode=uuid4().hex[:12],
            colour=random.choice(COLOURS),
            size=random.choice(SIZES),
            fragile=random.random() < 0.5,
        )
        for _ in range(PARCELS_A_SHIFT)
    ]


class ParcelSortingEnvironment(Environment):
    """One shift."""

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
        self._parcels = deal()
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
            barcode=parcel.barcode,
            colour=parcel.colour,
            size=parcel.size,
            fragile=parcel.fragile,
            remaining=remaining,
            done=False,
            reward=reward,
        )
