"""The errors for input that a person has to mend: where it is, what is wrong, what to do."""


class InputError(ValueError):
    """Something in a file or an argument that only its owner can mend.

    Parameters
    ----------
    what : str
        What is wrong, with the numbers that show it.
    where : str
        File or call, and the variable in it: ``"cell.nwb: /units/spike_times"``.
    remedy : str
        What to do about it.

    ``str(error)`` is two lines: ``where: what`` and, indented, the remedy.
    """

    def __init__(self, what: str, *, where: str, remedy: str):
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  {self.remedy}"

    def __reduce__(self):
        # Keyword-only arguments do not survive the default pickling, which worker processes use.
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


class RecordingError(InputError):
    """A file, folder or object that cannot be opened as a recording."""


def _rebuild(kind: type[InputError], what: str, where: str, remedy: str) -> InputError:
    return kind(what, where=where, remedy=remedy)
