"""The gRPC shell: translation, status, interceptors, server."""
