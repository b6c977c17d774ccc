"""The language of policies: from a file's text to a typed policy, or to every mistake at once."""
