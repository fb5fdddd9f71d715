"""The library as it was written: formats, columns, ids and versions."""
