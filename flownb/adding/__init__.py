"""A tree on its way in: nodes are checked and planned, then sent to the server."""
