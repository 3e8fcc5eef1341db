"""Things that tests share: benches, peers, servers, scenes; nothing here is collected as a test."""
