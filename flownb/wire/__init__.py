"""BullMQ's stored layout and nothing above it: keys, records, scripts, the store."""
