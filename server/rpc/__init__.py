"""From a request on the wire to the reply."""
