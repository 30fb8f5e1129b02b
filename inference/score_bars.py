"""How pages draw a score: a bar, and the colour of its level."""


def bar(score: float) -> str:
    return (
        f'<svg class="bar {level(score)}" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 0h{100 * score:.1f}v1H0z"/></svg>'
    )


def level(score: float) -> str:
    """By the confident strategy's bounds."""
    return "high" if score > 0.8 else "low" if score < 0.2 else "middle"
