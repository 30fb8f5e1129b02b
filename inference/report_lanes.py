"""The people of a video in the report: a lane for each over time, on it when the score stays high, and who counts."""

from collections.abc import Sequence

from inference.pipeline import VideoResult
from inference.video_people import Person
from systems.tracks import PERSON

_WIDTH = 1000  # of a lane, in its own units
_LANES = 20  # that are shown, of the highest scores
_DISAGREE = 0.5  # between the highest and the lowest score of a video's people
_HIGH = 0.5  # a score from which on a person looks rather fake


def name_of(person: Person) -> str:
    """What the page calls a person."""
    return f"Person {person.track}"


def lanes(result: VideoResult, people: Sequence[Person], strategy: str) -> list[str]:
    """The paragraph on a video's people, and their lanes; nothing where nobody could be followed."""
    if not people:
        return []
    shown = sorted(people, key=lambda person: -person.score)[:_LANES]
    first = min(person.first_second for person in people)
    last = max(person.last_second for person in people)
    worst = max(people, key=lambda person: person.score) if strategy == PERSON else None
    rows = "".join(_lane(person, first, last, person is worst) for person in sorted(shown, key=lambda each: each.track))
    more = len(people) - len(shown)
    return [
        f"<p>{_sentence(people, worst)}</p>\n",
        f'<div class="lanes">\n{rows}<div class="times" aria-hidden="true">'
        f"<span>{first:.1f} s</span><span>{last:.1f} s</span></div>\n</div>\n",
        f'<p class="note">{more} more people, of lower scores, are in --tracks-csv.</p>\n' if more else "",
    ]


def _sentence(people: Sequence[Person], worst: Person | None) -> str:
    """Who was followed, whose score the video's is, and whether they disagree."""
    scores = [person.score for person in people]
    told = "One person was followed" if len(people) == 1 else f"{len(people)} people were followed"
    if worst:
        told += f"; the video's score is that of {name_of(worst).lower()}"
    elif len(people) > 1:
        told += "; the video's score is of all faces together"
    if max(scores) - min(scores) > _DISAGREE:
        high = sum(score > _HIGH for score in scores)
        told += f". <strong>They disagree</strong>: {high} of them above {_HIGH}, from {min(scores):.3f} "
        told += f"to {max(scores):.3f}"
    return told + "."


def _lane(person: Person, first: float, last: float, counts: bool) -> str:
    """When a person is seen, and in colour when the score stays high."""
    seconds = max(last - first, 1e-9)

    def bar(start: float, end: float) -> str:
        left, width = round(_WIDTH * (start - first) / seconds), max(3, round(_WIDTH * (end - start) / seconds))
        return f"M{min(left, _WIDTH - width)} 0h{width}v10h-{width}z"

    high = "".join(bar(interval.start, interval.end) for interval in person.intervals)
    spans = ", ".join(f"{interval.start:.1f} to {interval.end:.1f} s" for interval in person.intervals)
    label = f"{name_of(person)}: seen from {person.first_second:.1f} to {person.last_second:.1f} s"
    label += f"; high from {spans}" if spans else "; never high"
    mark = " <small>counts</small>" if counts else ""
    return (
        f'<div class="lane{" counts" if counts else ""}"><span>{name_of(person)}{mark}</span>'
        f'<svg viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"<title>{label}</title>"
        f'<path class="seen" d="{bar(person.first_second, person.last_second)}"/><path class="high" d="{high}"/></svg>'
        f"<b>{person.score:.3f}</b></div>\n"
    )
