"""The package version, in one place: for the build, `edge-adapt --version` and every report."""

__version__ = "0.1.0"
