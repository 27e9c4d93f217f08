"""What the command line is called."""

PROGRAM = "python -m deepmoviematch.server"
