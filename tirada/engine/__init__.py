"""Runs a plan: concurrency, retries, money and resuming live here and nowhere else."""
