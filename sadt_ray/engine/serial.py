"""The executor of one process: rolls each batch out when it is collected."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence

from sadt_ray.engine.executor import MAX_HELD, BatchTimes, Finished, NodeFlows, NodeStates
from sadt_ray.engine.plan import default_batch_size, plan_search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward, States, Tickets
from sadt_ray.methods import Method
from sadt_ray.numerics.threads import limited_threads
from sadt_ray.rollout.spec import RolloutFactory, RolloutSpec
from sadt_ray.tree.search import Search


class SerialExecutor:
    """Runs each batch in this process, when it is collected, in the order of submission.

    Args:
        process, reward, problems: what is rolled out and scored.
        batch_size: tickets per batch.
        slots: batches in flight at once. One is best for the tree; more imitate an executor that has workers.
        rollout_spec: how tickets are rolled out; plain rollouts, at the branch steps of the process, if not given.
        flow: F_phi, for a spec whose twist is the flow.
        threads: that PyTorch may use. Results are the same to the last bit wherever they are computed with the same
            number of threads, and differ in rounding otherwise.

    Raises:
        ValueError: for a size below 1, or a spec that process, reward or flow cannot serve.
    """

    def __init__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        batch_size: int = 64,
        slots: int = 1,
        rollout_spec: RolloutSpec | None = None,
        flow: Flow | None = None,
        threads: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("slots", slots), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.batch_size, self.slots = batch_size, slots
        if rollout_spec is None:
            rollout_spec = RolloutSpec(())
        else:
            process = process.with_branch_steps(rollout_spec.branch_steps)
        self._threads, self._flow = threads, flow
        with limited_threads(threads):
            self._chain = process.bind(problems)
            self._factory = RolloutFactory(self._chain, reward.bind(problems), process.num_levels, rollout_spec)
            self._rollout = self._factory.rollout_fn(flow)
        self._looked: list[NodeFlows] = []
        self._waiting: deque[Tickets] = deque()
        self._times: deque[BatchTimes] = deque(maxlen=MAX_HELD)

    def root_states(self) -> States:
        """The roots that a search over the executor's problems begins with: [P, *state_shape]."""
        return self._chain.root_states()

    def submit(self, tickets: Tickets) -> None:
        self._waiting.append(tickets)

    def collect(self) -> Sequence[Finished]:
        tickets, began = self._waiting.popleft(), time.perf_counter()
        with limited_threads(self._threads):
            results = self._rollout(tickets)
        self._times.append(BatchTimes(0, len(tickets), began, began, time.perf_counter(), results.weights_version))
        return [Finished(tickets, results)]

    def cancel(self) -> None:
        self._waiting.clear()

    def use_flow(self, flow: Flow) -> None:
        """Raises ValueError for a flow that does not fit the process, the reward or lambda."""
        with limited_threads(self._threads):
            self._flow, self._rollout = flow, self._factory.rollout_fn(flow)

    def look_at(self, nodes: NodeStates) -> None:
        """Raises ValueError if there is no flow."""
        if self._flow is None:
            raise ValueError("there is no flow to compute log flows with; call use_flow first")
        with limited_threads(self._threads):
            log_flow, nfe = self._factory.log_flow(self._flow, nodes.state, nodes.level, nodes.problem)
        self._looked = [NodeFlows(nodes.node, nodes.problem, log_flow, nfe)]

    def looked_at(self) -> Sequence[NodeFlows]:
        looked, self._looked = self._looked, []
        return looked

    def gauges(self) -> Mapping[str, float]:
        """The version of its weights, if it has any."""
        return {} if self._flow is None else {"weights_version": float(self._flow.version)}

    def batch_times(self) -> list[BatchTimes]:
        """See ``TimesBatches``. The worker is this process, number 0."""
        times = list(self._times)
        self._times.clear()
        return times


def start_search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    flow: Flow | None = None,
    threads: int = 1,
) -> tuple[Search, SerialExecutor]:
    """A search that has not begun, and an executor in this process for it.

    Args:
        batch_size: tickets in flight at once; ``plan.default_batch_size`` if not given.
        flow: F_phi, for the methods that use one; they begin with the reward's own look-ahead if it is not given.
        threads: CPU threads of PyTorch.
    """
    plan = plan_search(process, problems, method)
    size = default_batch_size(len(problems), plan.smc.particles) if batch_size is None else batch_size
    executor = SerialExecutor(
        process, reward, problems, size, rollout_spec=plan.rollout_spec, flow=flow, threads=threads
    )
    return plan.begin(), executor
