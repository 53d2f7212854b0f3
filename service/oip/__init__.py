"""Open Inference Protocol v2, over HTTP and gRPC, as KServe and Triton clients speak it."""
