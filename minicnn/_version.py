__version__ = "0.1.0"


def version() -> str:
    """The version of this library."""
    return __version__
