"""From a cold process to a first finished task on huey's MemoryHuey, with its own consumer."""

import os
import time

from huey import MemoryHuey

huey = MemoryHuey("hello")


@huey.task()
def hello(name: str) -> str:
    return f"Hello, {name}!"


consumer = huey.create_consumer(workers=1, periodic=False, initial_delay=0.001, max_delay=0.001)
consumer.start()
assert hello("huey").get(blocking=True, timeout=10, backoff=1, max_delay=0.001) == "Hello, huey!"
print(time.time() - float(os.environ["STARTED_AT"]))
consumer.stop()
