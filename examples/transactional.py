"""An order and its task are committed together: kill the seller whenever you like.

    stem migrate up postgresql://localhost/shop
    python examples/transactional.py postgresql://localhost/shop --trials 200

Each trial starts a seller, who writes orders and enqueues a task for each in the same transaction,
and kills it at a random moment. At the end every order has its task, and every task its order. A
seller who ends in another way than by the kill is an error: nothing would have been tried.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import time
import uuid

import psycopg

from stem_core import Stem

TASK = "shop.ship"
NAMESPACE = "transactional-example"


async def sell(url: str) -> None:
    """Sell for ever."""
    stem = Stem(url, namespace=NAMESPACE)
    async with stem, await psycopg.AsyncConnection.connect(_plain(url)) as connection:
        for n in range(1_000_000):
            order = str(uuid.uuid4())
            await connection.execute("INSERT INTO example_orders (id) VALUES (%s)", (order,))
            await stem.enqueue(TASK, {"order": order}, task_id=order, connection=connection)
            await connection.commit()
            if n == 0:
                print("selling", flush=True)


def kill_a_seller(url: str, after_s: float) -> None:
    """Let a seller sell for *after_s* beyond its first order, and kill it.

    Raises:
        SystemExit: it has ended by itself, and said why on stderr.
    """
    command = [sys.executable, __file__, url, "--sell"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as seller:
        assert seller.stdout is not None
        word = seller.stdout.readline()
        time.sleep(after_s)
        seller.kill()
    if word.strip() != b"selling" or seller.returncode != -signal.SIGKILL:
        raise SystemExit(f"a seller ended by itself, with exit code {seller.returncode}")


async def orders_without_tasks(url: str, orders: list[str]) -> list[str]:
    """Return those of *orders* that nobody will ship."""
    async with Stem(url, namespace=NAMESPACE) as stem:
        return [order for order in orders if await stem.status(order) is None]


def compare(url: str) -> dict[str, int]:
    """Return how many orders there are, were undone, lack a task, and how many tasks an order."""
    with psycopg.connect(_plain(url)) as connection:
        orders = [id for (id,) in connection.execute("SELECT id FROM example_orders")]
        # A number that was drawn stays drawn, also where a kill has undone the order.
        (drawn,) = connection.execute("SELECT last_value FROM example_orders_n_seq").fetchone()
        tasks = connection.execute("SELECT id FROM stem.tasks WHERE namespace = %s", (NAMESPACE,))
        surplus = {id for (id,) in tasks} - set(orders)
    return {
        "orders": len(orders),
        "undone by a kill": drawn - len(orders),
        "without a task": len(asyncio.run(orders_without_tasks(url, orders))),
        "tasks without an order": len(surplus),
    }


def _plain(url: str) -> str:
    """Return *url* without the options that only Stem knows."""
    return url.partition("?")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", help="for the same moments again")
    parser.add_argument("--sell", action="store_true", help="be a seller, to be killed")
    given = parser.parse_args()
    if given.sell:
        asyncio.run(sell(given.url))
    with psycopg.connect(_plain(given.url)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS example_orders "
            "(id text PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY)"
        )
    dice = random.Random(given.seed)
    for _ in range(given.trials):
        kill_a_seller(given.url, dice.uniform(0, 0.1))
    found = compare(given.url)
    told = ", ".join(f"{count} {what}" for what, count in found.items())
    print(f"{given.trials} sellers killed: {told}")
    return int(bool(found["without a task"] or found["tasks without an order"]))


if __name__ == "__main__":
    sys.exit(main())
