"""The generations that answer: the current one, and those whose pages somebody still walks through."""
