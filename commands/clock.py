"""Times in words, for people who wait."""


def clock_time(seconds: float) -> str:
    """1:02, or 2:03:04.

    >>> clock_time(62.4), clock_time(3 * 3600)
    ('1:02', '3:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """A time that is not known well, in steps that say so.

    >>> about(3.2), about(47), about(101), about(4000)
    ('0:05', '0:50', '1:40', '1:07:00')
    """
    step = 5 if seconds < 30 else 10 if seconds < 600 else 60
    return clock_time(-(-seconds // step) * step)
