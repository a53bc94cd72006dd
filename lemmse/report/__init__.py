"""Answers for one network or one picture: `explain` and its page, restoration of a file, and their commands."""
