"""What several tests share: inputs, clients, and ways to look at what the service keeps."""
