"""What a stranger may send, and how it is refused: hosts, headers, bodies, slow clients."""
