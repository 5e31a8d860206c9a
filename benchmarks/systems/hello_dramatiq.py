"""From a cold process to a first finished task on dramatiq's StubBroker."""

import os
import time

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

broker = StubBroker()
broker.add_middleware(Results(backend=StubBackend()))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def hello(name: str) -> str:
    return f"Hello, {name}!"


worker = dramatiq.Worker(broker, worker_threads=1)
worker.start()
assert hello.send("dramatiq").get_result(block=True, timeout=10_000) == "Hello, dramatiq!"
print(time.time() - float(os.environ["STARTED_AT"]))
worker.stop()
