"""Real models, real tasks and LoRA pools: pinned downloads, readers, fixed splits, `peft` folders, model shapes."""
