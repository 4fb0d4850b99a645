"""The package version, in one place: the build reads it, `edge-adapt --version` prints it and every report records it."""

__version__ = "0.1.0"
