"""Where the tables of a space lie."""

from dataclasses import dataclass

from schemas.conform import quoted
from schemas.evaluations import EVALUATIONS
from schemas.exports import EXPORTS
from schemas.runs import RUNS
from schemas.spaces import SPACES
from spark_jobs.settings import Settings
from spark_jobs.settings_sections import StoreSettings

_STORE_WIDE = {RUNS.name, SPACES.name, EVALUATIONS.name, EXPORTS.name}


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
        return self._in_catalog(f"embedlake__{table}" if whole else f"{self.library}__{self.space}__{table}")

    @property
    def view(self) -> str | None:
        """Quoted name of the view of the library's active vectors; None with a path, where nothing has names."""
        return None if self.store.path is not None else self._in_catalog(f"{self.library}__vectors")

    def _in_catalog(self, name: str) -> str:
        return ".".join(quoted(part) for part in (self.store.catalog or "", self.store.schema_ or "", name))


def place_of(settings: Settings) -> Place:
    """Finds where the tables of the settings' space lie.

    Args:
        settings: The whole configuration.

    Returns:
        The place.
    """
    return Place(settings.store, settings.library, settings.space)
