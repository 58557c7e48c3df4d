"""Episodes: small tasks drawn from many classes, on which frozen features are judged by nearest class means.

Vinyals et al. (2016) and Snell et al. (2017) score few-shot learning in this way. Here episodes are drawn once and
played with every set of features, so that differences between sets are paired.
"""

import numpy as np


def draw_episodes(
    labels: np.ndarray,
    *,
    ways: int,
    support: int,
    queries: int,
    count: int,
    seed: int,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Draw tasks of ``ways`` classes, and of each class ``support + queries`` rows, all of them different.

    Args:
        labels: ``(N,)`` of all rows.
        ways: classes an episode.
        support: rows a class that may be learned from; they stand first.
        queries: rows a class that are to be named.
        count: how many episodes.
        seed: of the draws.
        classes: the labels that may be drawn; all unless told otherwise.

    Returns:
        int64 ``(count, ways, support + queries)`` row numbers.

    Raises:
        ValueError: a number is below 1 (``ways`` below 2), or there are too few classes or rows of a class.
    """
    if ways < 2 or min(support, queries, count) < 1:
        raise ValueError(
            f"ways={ways}, support={support}, queries={queries}, count={count}: expected at least 2 ways and 1 of each"
        )
    classes = np.unique(labels if classes is None else classes)
    if len(classes) < ways:
        raise ValueError(f"{len(classes)} classes: too few for episodes of {ways}")
    rows_of = {label: np.flatnonzero(labels == label) for label in classes}
    for label, rows in rows_of.items():
        if len(rows) < support + queries:
            raise ValueError(f"class {label} has {len(rows)} rows, fewer than support + queries = {support + queries}")
    generator = np.random.default_rng(seed)
    episodes = [
        [
            generator.choice(rows_of[label], support + queries, replace=False)
            for label in generator.choice(classes, ways, replace=False)
        ]
        for _ in range(count)
    ]
    return np.array(episodes, dtype=np.int64)


def play_episodes(features: np.ndarray, episodes: np.ndarray, *, support: int, shots: int) -> np.ndarray:
    """Return each episode's accuracy when a query is given the class with the nearest mean (Euclidean distance).

    Args:
        features: ``(N, d)``.
        episodes: as `draw_episodes` returns them.
        support: the rows at the front that are no queries.
        shots: how many of them make a class's mean; the queries stay the same, so that numbers of shots are paired.

    Returns:
        float ``(count,)``; chance is one over the number of ways.

    Raises:
        ValueError: more shots than support, or no queries left.
    """
    if not 1 <= shots <= support < episodes.shape[2]:
        raise ValueError(f"shots={shots}, support={support} of {episodes.shape[2]} rows a class")
    ways = episodes.shape[1]
    scores = np.empty(len(episodes))
    for number, rows in enumerate(episodes):
        means = features[rows[:, :shots]].mean(axis=1)
        queries = features[rows[:, support:]]
        distances = np.square(means).sum(axis=-1) - 2 * queries @ means.T  # ‖q − μ‖² without ‖q‖²
        scores[number] = (distances.argmin(axis=-1) == np.arange(ways)[:, None]).mean()
    return scores
