"""Messages and stubs generated from recommender.proto."""
