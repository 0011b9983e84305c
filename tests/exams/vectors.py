"""What the exams of policies on embeddings share: a pool with planted clusters, and a policy run on it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Policy, Run, TablePool

Array = np.ndarray


def clustered(sizes: list[int], width: int, seed: int, noise: float = 0.3) -> tuple[Array, Array]:
    """Vectors around random directions, and which direction each is of."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return centres[group] + noise / np.sqrt(width) * rng.standard_normal((group.size, width)), group


def column(values: Array) -> pa.Array:
    """Vectors as a column."""
    flat = pa.array(np.asarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def pool_of(values: Array, **columns: object) -> TablePool:
    """A pool with an embedding per record."""
    texts = [f"text {i}" for i in range(len(values))]
    return TablePool(pa.table({"text": texts, "embedding": column(values), **columns}), fragment=700)


def planned(policy: Policy, pool: TablePool, records: int, target: TablePool | None = None, seed: int = 0) -> Plan:
    """The plan of a policy for a number of records."""
    goal = Goal(target or pool, target or pool, Budget(records, "records"))
    return policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))


def unit(values: Array) -> Array:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def coverage(values: Array, chosen: Array) -> float:
    """The mean cosine of all records to the nearest chosen one."""
    return float(np.maximum(unit(values) @ unit(values[chosen]).T, 0).max(1).mean())


def radius(values: Array, chosen: Array) -> float:
    """The largest distance of a record from the nearest chosen one, vectors scaled to length one."""
    near = (unit(values) @ unit(values[chosen]).T).max(1)
    return float(np.sqrt(np.maximum(2 - 2 * near, 0)).max())
