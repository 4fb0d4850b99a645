"""What a chip file may say of its arrays."""

from dataclasses import dataclass

from .values import spec


@dataclass(frozen=True)
class Array:
    """Geometry and coding of one crossbar array."""

    rows: int = spec("array.rows", "", "word lines", kind="integer", low=1, high=65536)
    columns: int = spec("array.columns", "", "bit lines", kind="integer", low=1, high=65536)
    slices: int = spec(
        "array.slices",
        "",
        "digits to base `levels` that a weight is cut into",
        kind="integer",
        low=1,
        high=32,
    )
    input_bits: int = spec("array.input_bits", "", "bits of an input value", kind="integer", low=1, high=16)
    integration_seconds: float | None = spec(
        "array.integration_time",
        "s",
        "how long cells conduct in this circuit: in each array cycle, or in each pulse where digits are pulses",
        nullable=True,
        open_low=True,
        absent="as long as read.time of the cell file",
    )
    mapping: str = spec(
        "array.mapping",
        "",
        "the sign of a weight: a pair of cells, or an offset and a reference column in each array",
        kind="choice",
        choices=("differential", "offset"),
        absent="differential",
        default="differential",
    )
    spare_columns: int = spec(
        "array.spare_columns",
        "",
        "bit lines of an array kept to stand in for faulty ones",
        kind="integer",
        high=65535,
        absent="none",
        default=0,
    )
    rotation: str = spec(
        "array.rotation",
        "",
        "Walsh-Hadamard transform of weights and inputs, after random signs or without",
        kind="choice",
        choices=("none", "hadamard", "random_hadamard"),
        absent="weights are written as they are",
        default="none",
    )
    wires: str = spec(
        "array.wires",
        "",
        "resistance of the lines: ideal (none), of every segment (exact), and of access devices too",
        kind="choice",
        choices=("none", "exact", "exact_with_access"),
        absent="lines are ideal",
        default="none",
    )
    drift_compensation: str = spec(
        "array.drift_compensation",
        "",
        "digital factor from calibration reads whenever time has passed: of a whole matrix, or of each of its outputs",
        kind="choice",
        choices=("none", "matrix", "column"),
        absent="what drift takes is lost",
        default="none",
    )
    backward: str = spec(
        "array.backward",
        "",
        "gradients through transposed arrays: exact (and charged all the same), or read as they are charged (analog)",
        kind="choice",
        choices=("exact", "analog"),
        absent="exact",
        default="exact",
    )
    backward_range: str = spec(
        "array.backward_range",
        "",
        "range of the converters that drive gradients: one for each token, or one for all tokens of a batch",
        kind="choice",
        choices=("token", "batch"),
        absent="one for each token",
        default="token",
    )
    scale: str = spec("array.scale", "", "what shares one weight scale", kind="choice", choices=("column", "tile"))
