"""One reader per source of texts; each yields (text, label) pairs in the order of its file."""
