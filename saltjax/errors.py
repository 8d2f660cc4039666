"""The one exception that a user sees."""


class UserError(Exception):
    """A user's mistake: one line that names the file, the value and the mend.

    The command line prints it without a traceback and ends with status 2. Everything that is written when it is
    raised has been removed again (see `hub.directory`).
    """
