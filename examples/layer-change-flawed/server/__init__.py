"""Parcel Sorting environment, server side."""

from .parcel_sorting_environment import ParcelSortingEnvironment

__all__ = ["ParcelSortingEnvironment"]
