"""Tests of what stands around the program: make, systemd, Nginx."""
