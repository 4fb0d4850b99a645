"""The subcommands of `edge-adapt`, one file each: `add_parser` describes it, `run` calls the room for it."""
