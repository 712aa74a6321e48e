"""The exceptions for user mistakes, exit codes, and messages that name near matches."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MISTAKE: Final = 2
"""The input or the environment: what the user can mend, and what would fail again until then."""
BUG: Final = 70
"""A defect of fsseg-bench or of a method."""
LATER: Final = 75
"""The same command may succeed later: see :func:`later`."""
STOPPED: Final = 130
"""Interrupted by Ctrl-C."""
TERMINATED: Final = 143
"""Told to end by SIGTERM or SIGUSR1, and ended in an orderly way."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def _byte(surrogate: str) -> str:
    code = ord(surrogate)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class UserError(Exception):
    """A mistake in the input or the environment that the user can mend.

    The command line prints the message without a traceback and exits with code 2. The message says what is
    wrong, where, and what to do. Bytes of file names that are not UTF-8 are shown as ``\\xe9``.
    """

    def __init__(self, message: object = "") -> None:
        """``message`` is text, or an error whose text it is."""
        text = str(message)
        # a lone surrogate cannot be printed: each message can
        super().__init__(text if text.isascii() else _SURROGATE.sub(lambda found: _byte(found[0]), text))
        self.place = ""
        """What comes before the message where it alone would not say where the fault is: ``stage base``."""

    def __str__(self) -> str:
        """The message, after its place."""
        text = super().__str__()
        return f"{self.place}: {text}" if self.place else text


class TrainingError(UserError):
    """A mistake that a training finds, with advice that names its settings and how it begins anew.

    Whoever knows whose training it is sets :attr:`recipe` and :attr:`anew`.
    """

    def __init__(self, message: object = "", advice: str = "") -> None:
        """``advice`` follows the message: a format with ``{recipe}`` and ``{anew}``."""
        super().__init__(message)
        self.advice = advice
        self.recipe = "recipe"
        """What ``--set`` calls the recipe."""
        self.anew = "start again with --fresh"

    def __str__(self) -> str:
        """The message with its advice."""
        return super().__str__() + self.advice.format(recipe=self.recipe, anew=self.anew)


class LaterError(UserError):
    """The same command may succeed later, without a change to it; the command line ends with code 75."""


class LockedError(LaterError):
    """Another process does there what this one would do."""


class FullDiskError(LaterError):
    """There is no room for what is to be written: other work that writes would fail just as well."""


class NotHereError(UserError):
    """Data or published weights that a run needs are nowhere on this machine: a plan can be shown without them."""


_MOST_LISTED = 150
"""Known names that :func:`unknown` shows: all methods, keys and backbones; not a thousand classes."""


def unknown(kind: str, name: str, known: Iterable[str], where: str = "", prefix: str = "") -> UserError:
    """An error for a name that is not in ``known``, with near matches and the whole list, unless it is long.

    Args:
        kind: what is named, for example ``"method"``.
        name: the name that was given.
        known: the names that exist.
        where: an optional place, for example a file.
        prefix: what stands before each of the names where they are shown.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(prefix + n) for n in near)}?" if near else ""
    listing = ", ".join(prefix + n for n in names[:_MOST_LISTED]) if names else "none"
    if len(names) > _MOST_LISTED:  # the classes of a data set, say
        listing += f", ... ({len(names):,} in all)"
    place = f"{where}: " if where else ""
    return UserError(f"{place}unknown {kind} {prefix + name!r}.{hint} Known: {listing}.")


_MEMORY_HINT = (
    "what needs less: --head-batch 1, --cache-gib 0, --set recipe.batch=... (in training), a smaller image, or, on a "
    "GPU, --precision bf16"
)
_MEMORY_WORDS = ("can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc", "ALLOC_FAILED")
LOADER_ADVICE = (
    "--workers 0 loads images in the main process; in a container, docker run --shm-size=2g (or --ipc=host) gives the "
    "processes more shared memory, and --memory more of the other. The same command goes on from the last checkpoint"
)
"""What helps against loader processes that cannot be started, die or fall silent."""
_DEVICE_WORDS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "NVIDIA driver")
_DEVICE_CONSTANT = ("device-side assert", "no kernel image", "invalid device", "NVIDIA driver")
"""Of those, what is the same each time: numbers out of range in a kernel, and a build that does not fit the GPU."""
_OTHER_PROCESS = "gloo/transport"
"""In what a process of torchrun hears of another's death, before it is ended, too."""
_LOADER = "DataLoader"
"""The first word of what torch says of loader processes; raised wherever the main process is when it hears of it."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


def explain(error: BaseException) -> str | None:
    """What happened and what to do, where the fault is the environment's or the input's; None for a bug.

    It covers what the system, the interpreter and torch raise for lack of rights, disk, memory or a home folder, for
    text that has no form in an encoding, and for numbers and nesting out of all bounds.
    """
    text = last_words(error)
    if isinstance(error, UserError):
        return str(error)
    if _lacks_memory(error, text):
        return f"out of memory ({text or type(error).__name__}); {_MEMORY_HINT}"
    if isinstance(error, OSError):
        return _system_words(error, text)
    if isinstance(error, UnicodeEncodeError):
        return _encoding_words(error)
    if isinstance(error, UnicodeError):
        return f"text is not in the encoding that was expected ({text}); save the file as UTF-8"
    if isinstance(error, RecursionError):
        return f"an input is nested too deeply to be read ({text})"
    if isinstance(error, OverflowError):
        return f"a number is out of all bounds ({text})"
    if isinstance(error, ImportError):
        return f"a package cannot be imported ({text}); install fsseg-bench again"
    if isinstance(error, RuntimeError):
        if "determine home directory" in text:
            return "a path begins with ~, and there is no such user or no home folder; write the path out"
        if any(words in text for words in _DEVICE_WORDS):
            return f"torch: {text}"
        if _OTHER_PROCESS in text:
            return f"another process of the training ended ({text}); the same command goes on from the last checkpoint"
        if text.startswith(_LOADER):
            return f"{text}: {LOADER_ADVICE}"
    if isinstance(error, ValueError) and "null byte" in text:
        return "a name holds a NUL character; no file can be called so"
    return None


def later(error: BaseException) -> bool:
    """Whether the same command may succeed later or elsewhere, without a change to it.

    So it is where the fault is another process's or the disk's, where a GPU broke down, where a process that worked
    for this one died, and where memory is lacking: others may have it now. Whoever tries again counts how often.
    """
    if isinstance(error, UserError):
        return isinstance(error, LaterError)
    text = last_words(error)
    if _lacks_memory(error, text):
        return True
    if isinstance(error, OSError):
        return error.errno in _FULL
    if not isinstance(error, RuntimeError):
        return False
    if any(words in text for words in _DEVICE_WORDS):
        return not any(words in text for words in _DEVICE_CONSTANT)
    return _OTHER_PROCESS in text or text.startswith(_LOADER)


class BugError(Exception):
    """A bug that its message describes whole, where it was raised included: in another process, for instance."""


def bug_words(error: BaseException) -> str:
    """What a bug says, and where it was raised."""
    if isinstance(error, BugError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {last_words(error) or 'without a message'}{place}"


def last_words(error: BaseException) -> str:
    """An exception's message in one line; of one that a loader's process wrapped in its traceback, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return ""
    wrapped = lines[0].startswith("Caught ") and any(line.startswith("Original Traceback") for line in lines)
    return lines[-1].partition(": ")[2] or lines[-1] if wrapped else lines[0]


def _lacks_memory(error: BaseException, text: str) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_WORDS)


def _system_words(error: OSError, text: str) -> str:
    reason = error.strerror or text or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' and '.join(names)}: {reason}" if names else reason


def _encoding_words(error: UnicodeEncodeError) -> str:
    shown = ascii(error.object[error.start : error.end][:20])
    if error.encoding.replace("-", "").lower() == "utf8":
        return f"a name or text is not valid UTF-8 (it holds {shown}); rename the file or correct the text"
    return (
        f"the output is in {error.encoding}, which has no {shown}; set PYTHONIOENCODING=utf-8, or write to a file with "
        "--out"
    )
