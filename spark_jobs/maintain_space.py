from typing import Any


def run(spark: Any, settings: Any, repair: bool = False, force: bool = False) -> str:
    raise NotImplementedError
