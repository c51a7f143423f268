"""How an extra of this distribution is installed: never by its bare name, which is another project's on PyPI."""


def how_to_install(extra: str) -> str:
    """Return what to run so that an extra is there, for a checkout and for a wheel."""
    return f"`make setup` or `uv sync --extra {extra}` in a checkout, `pip install 'WHEEL[{extra}]'` for a wheel"
