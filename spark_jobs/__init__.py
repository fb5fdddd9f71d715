"""The driver side: jobs, the store, sources, settings and what is printed."""
