"""What the product can do on this machine, beside others in the same run; docs/performance.md."""
