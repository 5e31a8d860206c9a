"""What a Stem is made of: settings, plugins, tasks and a runtime, each resolved on first use.

Rule of this module: it resolves and holds. Nothing is sent from here.
"""

from __future__ import annotations

import logging
from types import ModuleType

from attrs import evolve

from stem_core.contracts.clock import Clock, Dice
from stem_core.discovery.forklock import ForkSafeLock
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import StemError
from stem_core.model.ids import check_name
from stem_core.model.options import Defaults
from stem_core.model.settings import StemConfig
from stem_core.observe.events import Observers
from stem_core.producer.lane import Lane
from stem_core.producer.pipeline import Pipeline
from stem_core.producer.registry import TaskDecorator, TaskRegistry
from stem_core.producer.routes import Routes
from stem_core.producer.runtime import Runtime, Wiring, build
from stem_core.producer.tasks import AnyTask

__all__ = ["Resolved"]

_log = logging.getLogger("stem.producer")


class Resolved(TaskDecorator):
    """A registry of tasks and what their calls run on.

    Attributes:
        registry: the tasks.
    """

    def __init__(
        self,
        wiring: Wiring,
        registry: TaskRegistry | None,
        *,
        config: StemConfig | None,
        namespace: str | None,
        plugins: PluginHost | None,
    ) -> None:
        self.registry = TaskRegistry() if registry is None else registry
        self._wiring = wiring
        self._lock = ForkSafeLock()
        self._namespace = None if namespace is None else check_name(namespace, kind="namespace")
        self._config = None if config is None else self._accepted(config)
        self._plugins = plugins
        self._made: Runtime | None = None

    def _keep(self, task: AnyTask) -> None:
        self.registry._keep(task)

    def include(self, source: TaskRegistry | ModuleType) -> None:
        """Take in the tasks of a registry, those that come later too, or of a module."""
        self.registry.include(source)

    @property
    def config(self) -> StemConfig:
        """The settings; read from the environment when first asked for."""
        if self._config is None:
            with self._lock:
                if self._config is None:
                    config = StemConfig.from_environment(require_broker=False)
                    self._config = self._accepted(config)
        return self._config

    def _accepted(self, config: StemConfig) -> StemConfig:
        """Return *config* with what was given in code, which wins."""
        for warning in config.warnings:
            _log.warning("%s", warning)
        if self._namespace is None:
            return config
        origins = {**config.origins, "namespace": "code"}
        return evolve(config, namespace=self._namespace, origins=origins)

    @property
    def plugins(self) -> PluginHost:
        """Who opens URLs; `stem.plugins.register(...)` adds a plugin by hand."""
        if self._plugins is None:
            with self._lock:
                if self._plugins is None:
                    self._plugins = PluginHost(PluginSettings.of(self.config))
        return self._plugins

    @property
    def pipeline(self) -> Pipeline:
        """Makes messages of calls, and envelopes of messages."""
        return self._runtime.pipeline

    @property
    def defaults(self) -> Defaults:
        """What holds for a task when neither the call nor a registration says."""
        return self._runtime.pipeline.defaults

    @property
    def routes(self) -> Routes:
        """Queues by pattern of task names."""
        return self._runtime.pipeline.routes

    @property
    def observers(self) -> Observers:
        """Those whom plugins brought to watch the producer."""
        return self._runtime.observers

    @property
    def clock(self) -> Clock:
        """Where its time comes from."""
        return self._runtime.clock

    @property
    def dice(self) -> Dice:
        """Where its chance comes from."""
        return self._runtime.dice

    async def lane(self) -> Lane:
        """Return the broker and backend as the event loop that runs uses them; connects."""
        return await (self._made or self._runtime).lane()

    def cut_off(self, error: StemError) -> None:
        """Raise *error* whenever its broker is asked for from now on: it cannot be reached from
        this process, and an empty one of its own would swallow what is sent to it."""
        self._runtime.lanes.cut_off(error)

    @property
    def _runtime(self) -> Runtime:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = build(self._wiring, self.config, self.registry, self.plugins)
        return self._made

    def _swap(self, wiring: Wiring) -> Runtime | None:
        """Run on *wiring* from now on; return what it ran on before."""
        runtime = build(wiring, self.config, self.registry, self.plugins)
        with self._lock:
            before, self._made = self._made, runtime
        return before

    def _restore(self, before: Runtime | None) -> Runtime:
        """Run on what it ran on before; return what it ran on until now."""
        with self._lock:
            until_now, self._made = self._runtime, before
        return until_now
