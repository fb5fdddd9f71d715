"""The main job: one file for each step that the run summary prints."""
