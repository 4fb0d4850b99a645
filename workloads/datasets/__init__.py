"""One reader per source of texts or images; each yields (text, label) or (image, label) in the order of its file."""
