"""What a worker counts and says of itself: readers' counts on their way (`readings`), metrics (`series`, `exporter`), health."""
