"""The driver side: each file here is a job that people start, and `cli` lists them as commands."""
