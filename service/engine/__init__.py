"""Step-level continuous batching: admission, planning and execution of denoising steps."""
