"""A world in virtual time: the real server, with everything around it drawn from a seed.

Given are the clock, the sockets, the random numbers, the thread under SQLite, the threads for
files, the process that looks at a video, and the provider. Everything else is the product's own
code, composed by its own `App`. One seed is one history for the checker of `tests/history`.

    python -m tests.simworld 0 50000        # those seeds, on all cores; prints each that fails
    python -m tests.simworld 4711           # one of them, with its history
"""
