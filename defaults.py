"""What a study is about unless told otherwise: known to `--help`, so nothing is imported here."""

DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES = 50, 400

DEFAULT_METHODS = ("frozen", "probe", "pool", "lora:DIGITAL", "lora:NVM_TASK", "lorafusion")
"""What is compared, and counted: the method it is about, what it starts from, and the usual yardsticks. The two
placements of LoRA share one training; those that rewrite cells at every step, and full tuning, run on request."""

DEFAULT_READAPT = ("lorafusion",)
"""Which of them adapt again on the aged chip. The others do on request."""

DEFAULT_EXPORT = "lorafusion"
"""Whose bundle is exported."""
