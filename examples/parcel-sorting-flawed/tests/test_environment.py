import json
from pathlib import Path

from server.parcel_sorting_environment import Parcel


def test_bins():
    for row in json.loads((Path(__file__).parent / "fixtures" / "parcels.json").read_text()):
        wanted = row.pop("bin")
        assert Parcel(barcode="", **row).bin == wanted
