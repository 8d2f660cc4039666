"""saltjax quickstart"""


def quickstart() -> None:
    """x"""
