"""Running tasks in processes of their own: the children of a worker, and what is said to them.

    pool ─▶ process, one for each child ⇄ a socket ⇄ link ─▶ child ─▶ attempt
                     the worker's side                 the child's side

Rule of this room: what crosses the socket is bytes of the codec and values of `wire`;
nothing is pickled but the way to import the application.
"""
