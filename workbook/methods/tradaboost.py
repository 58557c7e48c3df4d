"""TrAdaBoost: boosting on a large source and a few labelled target rows (Dai et al. 2007)."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin, clone

_LEAST_ERROR, _LARGEST_ERROR = 1e-3, 0.499
"""A round's target error is kept in here: 0 would give a vote without limit, 1/2 or more none or a negative one."""


@dataclass(frozen=True)
class TrAdaBoost:
    """A fitted ensemble; call it with rows.

    Attributes:
        classes: the labels, sorted.
        members: fitted classifiers, one a round.
        errors: ``(rounds,)`` weighted error of each on the target rows, before it is kept inside its limits.
        votes: ``(rounds,)`` ln(1/β_t) for the second half of the rounds, 0 for the first.
        source_weights: ``(rounds + 1, n_S)``: share of each source row in the total weight, round by round.
    """

    classes: np.ndarray
    members: list
    errors: np.ndarray
    votes: np.ndarray
    source_weights: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the label with most votes for every row ``(n, d)``: ``(n,)``."""
        scores = np.zeros((len(rows), len(self.classes)))
        for member, vote in zip(self.members, self.votes, strict=True):
            if vote > 0:
                scores += vote * (member.predict(rows)[:, None] == self.classes)
        return self.classes[scores.argmax(axis=1)]


def tradaboost(
    source: tuple[np.ndarray, np.ndarray],
    target: tuple[np.ndarray, np.ndarray],
    *,
    learner: ClassifierMixin,
    rounds: int = 30,
) -> TrAdaBoost:
    """Boost on both domains: wrong target rows gain weight, wrong source rows lose it (Dai et al. 2007).

    All rows start with weight 1. Round t fits the learner with the normalised weights, takes its error ε_t on the
    target rows (weighted among them), and sets β_t = ε_t/(1 − ε_t) and β = 1/(1 + √(2 ln n_S / rounds)). A target
    row that was wrong is multiplied by 1/β_t (AdaBoost's rule), a source row that was wrong by β (Hedge's rule: it
    contradicts the target). The rounds of the second half vote, each with ln(1/β_t); for two classes that is the
    paper's rule, for more it is the plain generalisation.

    Args:
        source: inputs ``(n_S, d)`` and labels ``(n_S,)``, at least two rows.
        target: inputs ``(n_T, d)`` and labels ``(n_T,)``: the few.
        learner: a scikit-learn classifier whose ``fit`` takes ``sample_weight``; it is cloned, never fitted itself.
        rounds: N of the paper, at least 2.

    Raises:
        ValueError: too few rows or rounds, or inputs and labels that do not fit.
    """
    (xs, ys), (xt, yt) = (tuple(map(np.asarray, part)) for part in (source, target))
    if len(xs) != len(ys) or len(xt) != len(yt) or len(xs) < 2 or not len(xt) or rounds < 2:
        raise ValueError(
            f"{len(xs)} source rows with {len(ys)} labels, {len(xt)} target rows with {len(yt)} labels, {rounds} "
            "rounds: expected a label a row, at least two source rows, a target row and two rounds"
        )
    n, rows, labels = len(xs), np.concatenate([xs, xt]), np.concatenate([ys, yt])
    for_source = np.log1p(np.sqrt(2 * np.log(n) / rounds))  # ln(1/β)
    logs = np.zeros(len(rows))  # weights as logarithms: products of many factors vanish otherwise
    members, errors, votes, history = [], [], [], []
    for _ in range(rounds):
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        history.append(weights[:n])
        members.append(clone(learner).fit(rows, labels, sample_weight=weights * len(rows)))
        wrong = members[-1].predict(rows) != labels
        errors.append(weights[n:] @ wrong[n:] / weights[n:].sum())
        kept = np.clip(errors[-1], _LEAST_ERROR, _LARGEST_ERROR)
        votes.append(np.log((1 - kept) / kept))  # ln(1/β_t)
        logs = logs + np.where(np.arange(len(rows)) < n, -for_source, votes[-1]) * wrong
    final = np.exp(logs - logs.max())
    history.append(final[:n] / final.sum())
    late = np.arange(rounds) >= rounds // 2
    return TrAdaBoost(np.unique(labels), members, np.array(errors), np.array(votes) * late, np.array(history))
