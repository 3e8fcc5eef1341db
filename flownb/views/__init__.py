"""Pure functions from a snapshot to text: drawings, tables, timelines, pages. They never touch a server."""
