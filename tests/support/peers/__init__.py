"""The programs that share queues with flownb in the tests of interoperability."""
