"""The command line beside `serve`: for people, for tables of everyone, for load tests."""
