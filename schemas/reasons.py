"""Why a document is quarantined: a fixed list, so that counts by reason are comparable.

Separate from the tables because the inference engine needs these words without Spark.
"""

# Tokenizing takes about a hundred bytes of memory per token.
MAX_CHARACTERS = 50_000_000
# Java copies a text several times before a worker sees it.
MAX_BYTES = 100_000_000

INVALID_UTF8 = "invalid_utf8"
BINARY = "binary"
TOO_LARGE = "too_large"
UNPARSABLE = "unparsable"
ENCRYPTED = "encrypted"
PARSER_TIMEOUT = "parser_timeout"
NO_TEXT_LAYER = "no_text_layer"
INVALID_VECTOR = "invalid_vector"
MODEL_ERROR = "model_error"
OUT_OF_MEMORY = "out_of_memory"
REASONS = {
    INVALID_UTF8: "the text holds bytes that are not UTF-8",
    BINARY: "the text looks like the content of a binary file",
    TOO_LARGE: "the text is longer than a worker can hold safely",
    UNPARSABLE: "the document is damaged, or of a type that is not taken",
    ENCRYPTED: "the document is protected by a password",
    PARSER_TIMEOUT: "parsing the document takes longer than is allowed",
    NO_TEXT_LAYER: "the PDF has no text, only pictures of it",
    INVALID_VECTOR: "the model returned a vector that is not finite or is zero",
    MODEL_ERROR: "the model raised an error for this text alone",
    OUT_OF_MEMORY: "the model has not enough memory for this text alone",
}
