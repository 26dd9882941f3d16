"""What the agent sees and does in the Parcel Sorting environment."""

from typing import Literal, Optional

from openenv.core.env_server.types import Action, Observation
from pydantic import Field

Bin = Literal["north", "east", "south", "west"]
Colour = Literal["red", "orange", "green", "blue"]
Size = Literal["small", "medium", "large"]


class ParcelSortingAction(Action):
    """Puts the parcel at hand into one of the four bins."""

    bin: Bin = Field(..., description="The bin that the parcel at hand goes into")


class ParcelSortingObservation(Observation):
    """The parcel at hand. The fields that describe it are null once the shift is over."""

    colour: Optional[Colour] = Field(default=None, description="Colour of the parcel's label")
    size: Optional[Size] = Field(default=None, description="Size of the parcel")
    fragile: Optional[bool] = Field(default=None, description="Whether the parcel must not be dropped")
    remaining: int = Field(default=0, ge=0, description="Parcels left in this shift, the one at hand included")
