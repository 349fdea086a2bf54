"""What several tests use: inputs, clients, and looks at what the service keeps."""
