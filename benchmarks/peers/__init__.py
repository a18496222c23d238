"""Servers that the gateway is compared with, each a process of its own."""
