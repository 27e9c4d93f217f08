"""The root of every error that a user can cause and cure.

    MovieMatchError
      DataError      a data file breaks a rule of the two tables
      FetchError     a data set cannot be had

The other folders add theirs in an `errors` module of their own. A message gives
the rule, then the value received, then the cure where there is one.
"""


class MovieMatchError(Exception):
    """Something that the user can put right; the command line prints it without a traceback."""


class DataError(MovieMatchError):
    """A data file breaks a rule of the two tables; the message names file, line and value."""


class FetchError(MovieMatchError):
    """A data set cannot be downloaded or is not what it should be."""
