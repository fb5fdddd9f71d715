"""What the model sees before the text of a chunk: its parts, and how they are put together. No Spark."""

# The part that is no column: the path of headings above a chunk.
HEADINGS = "headings"
# Between parts, and between a context and its text; both are part of what `text_hash` is of.
PART_END = " > "
CONTEXT_END = "\n\n"
