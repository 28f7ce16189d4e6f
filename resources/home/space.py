"""Room on the disks of a home: nothing is started where little is left, so that nothing breaks off half done.

Belongs here: looking. Does not belong here: making room (see ``crowd_assets.operations.retention``).
"""

import shutil
from pathlib import Path

from resources.settings.settings import Settings


def free_mib(settings: Settings) -> dict[str, int]:
    """MiB free where the home keeps its files on local disks, by folder; a folder that is not there yet is its parent's."""
    places = [Path(settings.home)]
    for given in (settings.files, settings.inbox, settings.outbox, settings.frames, settings.models):
        if given and "://" not in given:
            places.append(Path(given))
    return {str(place): shutil.disk_usage(_there(place)).free >> 20 for place in places}


def lacking_space(settings: Settings) -> str | None:
    """Why nothing starts for want of room; None where there is room."""
    for place, free in free_mib(settings).items():
        if free < settings.least_free_mib:
            return (
                f"{place} has {free} MiB free, and CROWD_LEAST_FREE_MIB={settings.least_free_mib}: make room (crowd-rounds compact, other "
                "files), then the round goes on without a command"
            )
    return None


def _there(place: Path) -> Path:
    place = place.resolve()
    while not place.exists():
        place = place.parent
    return place
