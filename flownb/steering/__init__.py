"""What a person does to stored jobs: cancel, retry, remove."""
