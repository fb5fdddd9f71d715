"""The main job: a file for each step that the run summary prints."""
