"""Facts: what a task, its options, its bytes and its outcomes *are*.

Pure values and pure decisions. Nothing in this room opens a socket or a file,
reads a clock or rolls dice: time and randomness arrive as arguments.
"""
