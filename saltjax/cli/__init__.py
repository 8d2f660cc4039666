"""The command line. One file a command; this one starts the program and turns a user's mistake into one line."""

import os
import signal
import sys
from typing import Any


def start() -> None:
    """Entry point of the program `saltjax`."""
    from saltjax.cli.pages import large_pages

    large_pages()
    main()


def main() -> None:
    """The command in this process: status 0, 2 on a user's mistake (one line, no traceback), 130 when interrupted."""
    _quiet()
    for number in (signal.SIGINT, signal.SIGTERM):  # training sets its own handler, which saves first
        signal.signal(number, _interrupt)
    sys.unraisablehook = _swallowed
    from saltjax.cli.app import app
    from saltjax.cli.arguments import one_value_each
    from saltjax.errors import UserError
    from saltjax.hub.directory import FULL

    try:
        app(one_value_each(sys.argv[1:]), prog_name="saltjax")
    except UserError as error:
        print(f"saltjax: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"saltjax: the disk is full ({error.filename or error.strerror}); free some space", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(number: int, frame: Any) -> None:
    """Ctrl-C and a polite kill: the way out runs through every cleanup."""
    print("saltjax: interrupted; what is half-written is removed", file=sys.stderr)
    raise KeyboardInterrupt


def _again(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _swallowed(unraisable: Any) -> None:
    """An interrupt that fell into a callback which cannot raise (JAX has one in the garbage collector) comes again."""
    if unraisable.exc_type is KeyboardInterrupt:
        signal.signal(signal.SIGALRM, _again)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def _quiet() -> None:
    """JAX, transformers and TensorBoard keep to themselves in ordinary use. The environment's own wishes go first."""
    for name, value in (
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "0" if sys.stderr.isatty() else "1"),
        ("TOKENIZERS_PARALLELISM", "true"),
        ("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/saltjax/xla")),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3"),
    ):
        os.environ.setdefault(name, value)
