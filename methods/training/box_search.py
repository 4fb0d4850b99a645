"""Making a function of a few numbers smaller by looking at its values alone, inside a box. No torch.

Powell, "A direct search optimization method that models the objective and constraint functions by linear
interpolation", 1994 (COBYLA), with bounds as the only constraints, which every point keeps to. With n numbers it holds
n + 1 points that span a simplex, and a radius rho:

    begin     the start, then from the best point so far one step of rho along each number in turn
    model     the linear function through all n + 1 values; the step d of length rho at most, inside the box, that
              makes it smallest, from the best point on; the value there
    replace   the new point takes the place of the one whose loss keeps the simplex widest
    geometry  where a step gained less than a tenth of what the model said: a point that is further than 2.1 rho from
              the best, or nearer than rho / 4 to the plane of the others, moves to rho / 2 from that plane
    shrink    where such a step gained little and the simplex is sound, or just mended: rho is halved

One value is looked at for each point; nothing is drawn at random.
"""

import numpy as np

Vector = np.ndarray

LEAST = 1e-3  # of the first radius: it is not halved any further
FAR, FLAT = (
    2.1,
    0.25,
)  # Powell's beta and alpha: how far a point may be from the best, and how near to the others' plane
GAIN = 0.1  # share of the promised gain that a step has to bring


class BoxSearch:
    """One point at a time: `ask` gives it, `tell` takes its value. `best` is the point with the smallest value."""

    def __init__(self, start: Vector, lower: Vector, upper: Vector, radius: float = 1.0) -> None:
        """A start outside the box is brought into it."""
        self.lower, self.upper = lower, upper
        self.radius, self._least = radius, LEAST * radius
        self.points = np.clip(start, lower, upper)[None]
        self.values = np.zeros(0)
        self._asked = self.points[0]
        self._replaces = -1  # number of the point that a step of geometry replaces
        self._promised = 0.0  # what the model says that the step gains
        self._poor = False  # whether the last step gained too little
        self._mended = False  # whether the last look mended the simplex

    @property
    def best(self) -> Vector:
        """The point with the smallest value so far; the start before the first."""
        return self.points[self.values.argmin()] if len(self.values) else self.points[0]

    def ask(self) -> Vector:
        """The next point to look at."""
        count = len(self.values)
        if count == 0:
            self._asked = self.points[0]
        elif count <= self.points.shape[1]:
            self._asked = self._along(count - 1)
        else:
            self._asked = self._next()
        return self._asked

    def tell(self, value: float) -> None:
        """The value of the point that was asked for last."""
        count = len(self.values)
        if count == 0:
            self.values = np.array([value])
        elif count <= self.points.shape[1]:
            self.points = np.concatenate([self.points, self._asked[None]])
            self.values = np.append(self.values, value)
        elif self._replaces >= 0:
            self._put(self._replaces, value)
        else:
            self._judge(value)

    def _along(self, number: int) -> Vector:
        """From the best point a step of the radius along one number: upwards where there is room, or else downwards."""
        point = self.best.copy()
        up, down = self.upper[number] - point[number], point[number] - self.lower[number]
        point[number] += min(self.radius, up) if up >= min(self.radius, down) else -min(self.radius, down)
        return point

    def _next(self) -> Vector:
        """A step of the model, or one that mends the simplex, or, where neither is due, the same at half the radius."""
        while True:
            best = int(self.values.argmin())
            others = np.delete(np.arange(len(self.values)), best)
            edges = self.points[others] - self.points[best]
            inverse = np.linalg.inv(edges)
            slope = inverse @ (self.values[others] - self.values[best])
            step = self._downhill(slope, self.points[best])
            due = not self._poor and np.linalg.norm(step) >= 0.5 * self.radius
            if due and -slope @ step > 0:
                self._replaces, self._promised, self._mended = -1, float(-slope @ step), False
                return np.clip(self.points[best] + step, self.lower, self.upper)
            far = np.linalg.norm(edges, axis=1)
            heights = 1.0 / np.linalg.norm(inverse, axis=0)
            bad = far.max() > FAR * self.radius or heights.min() < FLAT * self.radius
            self._poor = False
            if (bad and not self._mended) or self.radius <= self._least:
                worst = int(far.argmax() if far.max() > FAR * self.radius else heights.argmin())
                self._replaces, self._mended = int(others[worst]), True
                return self._off_the_plane(inverse[:, worst] * heights[worst], slope, self.points[best])
            self.radius, self._mended = max(self.radius / 2.0, self._least), False

    def _downhill(self, slope: Vector, origin: Vector) -> Vector:
        """The step against a slope, of the radius at most and inside the box: what meets a side of it stays there, and
        the rest goes on.
        """
        step, free = np.zeros_like(slope), np.ones(len(slope), bool)
        while free.any() and (size := np.linalg.norm(slope[free])) > 0:
            left = self.radius**2 - np.square(step[~free]).sum()
            wanted = np.where(free, -slope / size * np.sqrt(max(left, 0.0)), step)
            place = origin + wanted
            met = free & ((place < self.lower) | (place > self.upper))
            if not met.any():
                return wanted
            step = np.where(met, np.clip(place, self.lower, self.upper) - origin, step)
            free &= ~met
        return step

    def _off_the_plane(self, normal: Vector, slope: Vector, origin: Vector) -> Vector:
        """Half a radius from the best point along a normal of the plane of the others, downhill where the box allows.

        Where it allows neither side in full: the side on which the point comes out further from the plane.
        """
        down = -1.0 if slope @ normal > 0 else 1.0
        ways = [np.clip(origin + 0.5 * self.radius * side * normal, self.lower, self.upper) for side in (down, -down)]
        heights = [abs((way - origin) @ normal) for way in ways]
        return ways[0] if heights[0] >= FLAT * self.radius or heights[0] >= heights[1] else ways[1]

    def _judge(self, value: float) -> None:
        """Take a step of the model into the simplex, and say whether it brought what was promised."""
        best = int(self.values.argmin())
        others = np.delete(np.arange(len(self.values)), best)
        edges = self.points[others] - self.points[best]
        gained = self.values[best] - value
        shares = np.abs((self._asked - self.points[best]) @ np.linalg.inv(edges))
        weights = shares * np.maximum(1.0, np.linalg.norm(edges, axis=1) / (1.1 * self.radius))
        if gained > 0 or weights.max() > 1:
            self._put(int(others[weights.argmax()]), value)
        self._poor = bool(gained < GAIN * self._promised)

    def _put(self, place: int, value: float) -> None:
        self.points[place], self.values[place] = self._asked, value
