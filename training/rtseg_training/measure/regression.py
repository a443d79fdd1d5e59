"""Regression of a share between 0 and 1 (a Dice) on figures, for several groups (organs) at once, and of its error.

All of it is plain numpy on vectors. No function here knows what an organ is.
"""

from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array

NEWTON_STEPS = 30
LEAST_SHARE = 1e-3
"""A Dice of 0 or 1 is taken as this far from it: no finite figure stands for certainty."""


@dataclass(frozen=True)
class Linear:
    """raw = intercepts[group] + slopes[group] . x, with `intercepts` `(groups,)` and `slopes` `(groups, p)`."""

    intercepts: Array
    slopes: Array

    def raw(self, x: Array, group: Array) -> Array:
        """The linear part for figures `(n, p)` and group numbers `(n,)`."""
        return np.asarray(self.intercepts[group] + (self.slopes[group] * x).sum(axis=1))

    def share(self, x: Array, group: Array) -> Array:
        """The logistic function of the linear part."""
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(self.raw(x, group), -30, 30))))


@dataclass(frozen=True)
class Design:
    """Standardised figures with an intercept per group, slopes common to all groups, and each group's own deviations.

    Args:
        penalties: of the common slopes and of the groups' own ones.
    """

    mean: Array
    scale: Array
    groups: int
    penalties: tuple[float, float]

    @classmethod
    def of(cls, x: Array, groups: int, penalties: tuple[float, float]) -> "Design":
        """The design whose standard is that of `x` `(n, p)`. A figure that never changes gets the slope 0."""
        scale = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(scale > 1e-9, scale, np.inf), groups, penalties)

    def matrix(self, x: Array, group: Array) -> Array:
        """`(n, groups + p + groups * p)`."""
        z, one_hot = (x - self.mean) / self.scale, np.eye(self.groups)[group]
        return np.hstack([one_hot, z, (one_hot[:, :, None] * z[:, None, :]).reshape(len(z), -1)])

    def penalty(self) -> Array:
        """Of each column of the matrix."""
        p = len(self.mean)
        return np.concatenate(
            [np.full(self.groups, 0.1), np.full(p, self.penalties[0]), np.full(self.groups * p, self.penalties[1])]
        )

    def linear(self, found: Array) -> Linear:
        """The coefficients on the figures as they are."""
        p = len(self.mean)
        slopes = (found[self.groups : self.groups + p] + found[self.groups + p :].reshape(self.groups, p)) / self.scale
        return Linear(found[: self.groups] - slopes @ self.mean, slopes)


def fit_share(x: Array, y: Array, group: Array, weights: Array, groups: int, penalties: tuple[float, float]) -> Linear:
    """Fractional logistic regression (Papke and Wooldridge, J. Appl. Econometrics 11:619, 1996) with ridge penalties.

    Args:
        x, y, group, weights: figures `(n, p)`, shares in [0, 1], group numbers and weights `(n,)`.
    """
    design = Design.of(x, groups, penalties)
    matrix, penalty = design.matrix(x, group), design.penalty()
    aim = np.clip(y, LEAST_SHARE, 1 - LEAST_SHARE)
    found = np.zeros(matrix.shape[1])
    for _ in range(NEWTON_STEPS):
        share = 1.0 / (1.0 + np.exp(-np.clip(matrix @ found, -30, 30)))
        curve = weights * share * (1 - share)
        slope = matrix.T @ (weights * (aim - share)) - penalty * found
        step = np.linalg.solve((matrix.T * curve) @ matrix + np.diag(penalty), slope)
        found = found + step
        if np.abs(step).max() < 1e-8:
            break
    return design.linear(found)


def fit_scale(
    x: Array, errors: Array, group: Array, weights: Array, groups: int, penalties: tuple[float, float]
) -> Linear:
    """The logarithm of an error's size, by weighted ridge regression on `log |errors|`.

    Errors below LEAST_SHARE count as that, so that a chance hit does not bend the line.
    """
    design = Design.of(x, groups, penalties)
    matrix, penalty = design.matrix(x, group), design.penalty()
    aim = np.log(np.maximum(np.abs(errors), 10 * LEAST_SHARE))
    centre = float(np.average(aim, weights=weights))
    found = np.linalg.solve((matrix.T * weights) @ matrix + np.diag(penalty), matrix.T @ (weights * (aim - centre)))
    line = design.linear(found)
    return Linear(line.intercepts + centre, line.slopes)


def levels_of(residuals: Array, weights: Array, count: int) -> Array:
    """Weighted quantiles of `residuals` at the levels (i + 0.5) / count, ascending."""
    order = np.argsort(residuals, kind="stable")
    ordered, share = residuals[order], weights[order]
    place = (np.cumsum(share) - share / 2) / share.sum()
    return np.asarray(np.interp((np.arange(count) + 0.5) / count, place, ordered))


def group_levels(residuals: Array, group: Array, groups: int, count: int, prior: float) -> Array:
    """For each group the levels `(groups, count)` of its own residuals, and those of all others with the weight of
    `prior` residuals together."""
    out = np.empty((groups, count))
    for k in range(groups):
        own = group == k
        others = max(int((~own).sum()), 1)
        out[k] = levels_of(residuals, np.where(own, 1.0, prior / others), count)
    return out
