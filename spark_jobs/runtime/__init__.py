"""The process and its Spark session: session, properties, progress, signals, and what all commands share."""
