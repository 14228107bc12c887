"""Worker processes that read and prepare pictures, and the buffers they fill."""
