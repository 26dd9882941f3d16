"""Parcel Sorting environment."""

from .client import ParcelSortingEnv
from .models import ParcelSortingAction, ParcelSortingObservation

__all__ = ["ParcelSortingAction", "ParcelSortingEnv", "ParcelSortingObservation"]
