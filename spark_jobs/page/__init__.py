"""The page of a report: facts of a store gathered, drawn as charts and tables, and written as one HTML file."""
