"""Where the tables of a space lie."""

from dataclasses import dataclass

from schemas.conform import quoted
from schemas.runs import RUNS
from schemas.spaces import SPACES
from spark_jobs.settings import Settings
from spark_jobs.settings_sections import StoreSettings

_STORE_WIDE = {RUNS.name, SPACES.name}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables of one space lie.

    Attributes:
        store: The store's settings.
        library: Name of the library.
        space: Name of the space.
    """

    store: StoreSettings
    library: str
    space: str

    def name(self, table: str) -> str:
        """Names a table the way SQL takes it, quoted.

        Args:
            table: Last part of the name, such as `vectors`.

        Returns:
            ``delta.`<path>` `` or a three-part catalog name.
        """
        whole = table in _STORE_WIDE
        if self.store.path is not None:
            folder = "_embedlake" if whole else f"{self.library}/{self.space}"
            root = self.store.path.rstrip("/")
            return f"delta.{quoted(f'{root}/{folder}/{table}')}"
        flat = f"embedlake__{table}" if whole else f"{self.library}__{self.space}__{table}"
        return ".".join(quoted(part) for part in (self.store.catalog or "", self.store.schema_ or "", flat))


def place_of(settings: Settings) -> Place:
    """Finds where the tables of the settings' space lie.

    Args:
        settings: The whole configuration.

    Returns:
        The place.
    """
    return Place(settings.store, settings.library, settings.space)
